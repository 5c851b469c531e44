//! The sandbox in a process of its own, for what is asked of it directly.

use std::{net::SocketAddr, process::Stdio, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use valet_clock::SystemClock;
use valet_sandbox::Settings;

use super::{Endpoint, KEY};
use crate::{Outcome, cores};

/// Tasks begin so late that none does.
const NEVER: Duration = Duration::from_secs(86_400);

/// A running one.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    /// Ends with this value.
    _process: Child,
}

impl Sandbox {
    /// Starts it.
    pub(crate) async fn start() -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("sandbox").stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = cores::on(cores::SERVER, || command.spawn())?;
        let pid = process.id().ok_or("the sandbox ended at once")?;
        let mut line = String::new();
        let output = process.stdout.take().ok_or("the sandbox has no output")?;
        BufReader::new(output).read_line(&mut line).await?;
        let address = line.trim().parse().map_err(|_| "the sandbox did not start")?;
        Ok(Self { endpoint: Endpoint { address, pid }, _process: process })
    }

    /// What it is like: its limits are in nobody's way, and its tasks wait to begin.
    pub(crate) fn settings() -> Settings {
        Settings::default()
            .with_task_time(NEVER, Duration::ZERO)
            .with_queries_per_second(10_000_000)
            .with_submits_per_minute(10_000_000)
    }
}

/// The process itself: tells `started` its address.
pub(crate) async fn serve(started: impl FnOnce(SocketAddr) -> std::io::Result<()>) -> Outcome<()> {
    let settings = Sandbox::settings().with_key(KEY);
    let sandbox = valet_sandbox::Sandbox::bind(settings, Arc::new(SystemClock)).await?;
    started(sandbox.local_addr())?;
    sandbox.run(std::future::pending()).await;
    Ok(())
}
