//! Connections to one address, spread over several in turn: as much of a load balancer as tests of replicas need.
//! Knows nothing of what passes through.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A listener whose connections go to several addresses in turn, past those that accept none. Dropped, it ends them.
#[derive(Debug)]
pub struct RoundRobin {
    _running: JoinSet<()>,
    address: SocketAddr,
}

impl RoundRobin {
    /// Listens at `address` for `targets`.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(address: SocketAddr, targets: Vec<SocketAddr>) -> io::Result<Self> {
        Self::on(TcpListener::bind(address).await?, targets)
    }

    /// The same, of a listener that there is already.
    ///
    /// # Errors
    /// If it has no address.
    pub fn on(listener: TcpListener, targets: Vec<SocketAddr>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let mut running = JoinSet::new();
        running.spawn(serve(listener, targets.into()));
        Ok(Self { _running: running, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, targets: Arc<[SocketAddr]>) {
    let (next, mut connections) = (AtomicUsize::new(0), JoinSet::new());
    // What cannot be accepted was hung up by its caller.
    loop {
        let Ok((mut inbound, _)) = listener.accept().await else { continue };
        let (first, targets) = (next.fetch_add(1, Relaxed), targets.clone());
        connections.spawn(async move {
            for place in 0..targets.len() {
                let Ok(mut outbound) = TcpStream::connect(targets[(first + place) % targets.len()]).await
                else {
                    continue;
                };
                // Small messages are not to wait for one another.
                let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
                // However it ends, both ends know.
                let _ = copy_bidirectional(&mut inbound, &mut outbound).await;
                return;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
