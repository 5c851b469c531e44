//! The baseline: a bare axum handler that waits for ever.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};
use valet_clock::{ClockExt, SystemClock};

use crate::{Outcome, cores, process::resident};

/// How long it has to take all in.
const SETTLED: Duration = Duration::from_secs(5);

/// The baseline in a process of its own.
pub(super) struct Bare {
    address: SocketAddr,
    pid: u32,
    /// Ends with this value.
    _process: Child,
}

impl Bare {
    pub(super) async fn start() -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bare-wait").stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = cores::on(cores::SERVER, || command.spawn())?;
        let pid = process.id().ok_or("the bare handler ended at once")?;
        let mut line = String::new();
        let output = process.stdout.take().ok_or("the bare handler has no output")?;
        BufReader::new(output).read_line(&mut line).await?;
        let address = line.trim().parse().map_err(|_| "the bare handler did not start")?;
        Ok(Self { address, pid, _process: process })
    }

    /// The memory that each of so many waiting requests takes, in bytes.
    pub(super) async fn each(&self, clients: u32) -> Outcome<f64> {
        let before = resident(self.pid)?;
        let mut open = Vec::new();
        for _ in 0..clients {
            let mut stream = TcpStream::connect(self.address).await?;
            // As long as the relay's: a handle and a secret.
            let (handle, secret) = ("h".repeat(130), "s".repeat(50));
            let request = format!(
                "GET /api/v1/tasks/{handle} HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {secret}\r\n\
                 prefer: wait=30\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await?;
            open.push(stream);
        }
        SystemClock.sleep(SETTLED).await;
        Ok(resident(self.pid)?.saturating_sub(before) as f64 / f64::from(clients))
    }
}

/// The process itself: tells `started` its address.
pub(crate) async fn serve(started: impl FnOnce(SocketAddr) -> std::io::Result<()>) -> Outcome<()> {
    let router = Router::new().route("/api/v1/tasks/{handle}", get(std::future::pending::<&str>));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    started(listener.local_addr()?)?;
    axum::serve(listener, router).await?;
    Ok(())
}
