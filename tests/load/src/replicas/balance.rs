//! The least of a load balancer: each connection goes to the next replica that takes it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use crate::Outcome;

/// Starts one as a task of the present runtime; where it listens.
pub(super) async fn before(replicas: Vec<SocketAddr>) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (replicas, next): (Arc<[SocketAddr]>, _) = (replicas.into(), AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            let (replicas, first) = (replicas.clone(), next.fetch_add(1, Relaxed));
            tokio::spawn(async move {
                for turn in 0..replicas.len() {
                    let replica = replicas[(first + turn) % replicas.len()];
                    if let Ok(mut replica) = TcpStream::connect(replica).await {
                        // What breaks off is the caller's to try again.
                        let _: std::io::Result<_> = copy_bidirectional(&mut caller, &mut replica).await;
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}
