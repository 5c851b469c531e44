//! A redis-server beside the replicas, which can be killed, paused and emptied.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rustix::process::Signal;

use crate::{
    cluster::{Process, until},
    island::Island,
};

/// What serves the shared state.
const SERVES: &str = "redis-server";

/// A redis-server.
pub(crate) struct Redis {
    process: Process,
    /// Where each replica finds it.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Redis {
    /// For so many replicas; on an island, each by its own wire.
    pub(crate) async fn start(replicas: usize, island: Option<&Island>) -> Self {
        let port = free_port();
        let address = |replica| island.map_or(Ipv4Addr::LOCALHOST, |island| island.address(replica));
        let addresses: Vec<SocketAddr> =
            (0..replicas).map(|replica| (address(replica), port).into()).collect();
        let server = island.map_or_else(|| Command::new(SERVES), |island| island.command(SERVES));
        let redis = Self { process: serve(server, &addresses), addresses };
        redis.serves().await;
        // As if it had been there for a while: nobody waits for what others may still add.
        let _: () = redis::cmd("SET").arg("valet:epoch").arg("0:0").query(&mut redis.connection()).unwrap();
        redis
    }

    fn client(&self) -> redis::Client {
        let address = self.addresses[0];
        redis::Client::open((address.ip().to_string(), address.port())).unwrap()
    }

    fn connection(&self) -> redis::Connection {
        self.client().get_connection().unwrap()
    }

    async fn serves(&self) {
        until(async || self.client().get_connection().is_ok()).await;
    }

    pub(crate) fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    pub(crate) fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.process = serve(Command::new(SERVES), &self.addresses);
    }

    pub(crate) fn flush(&self) {
        let _: () = redis::cmd("FLUSHALL").query(&mut self.connection()).unwrap();
    }
}

fn serve(mut server: Command, addresses: &[SocketAddr]) -> Process {
    let hosts: BTreeSet<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    server.args(["--protected-mode", "no", "--save", "", "--port"]).arg(addresses[0].port().to_string());
    server.arg("--bind").args(hosts);
    let started = server.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    Process(started.expect("redis-server is installed"))
}

/// A port that is free, below those that the system gives to connections that go out, so that none takes it before it is
/// bound, or bound again; each is given once.
fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicUsize> = LazyLock::new(|| AtomicUsize::new(fastrand::u16(..).into()));
    let next = || 20_000 + u16::try_from(NEXT.fetch_add(1, Relaxed) % 12_000).unwrap();
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..1000).map(|_| next()).find(free).expect("not every port is taken")
}
