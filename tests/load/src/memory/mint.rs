//! An upstream that does nothing but mint, and keeps nothing: in a process of its own, so that its memory is not
//! the cache's.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use axum::{
    Router,
    extract::RawQuery,
    http::{HeaderName, StatusCode},
    routing::post,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};
use valet_clock::{Clock, SystemClock};

use crate::Outcome;

/// A running one.
#[derive(Debug)]
pub(super) struct Mint {
    address: SocketAddr,
    /// Ends with this value.
    _process: Child,
}

impl Mint {
    /// Starts it.
    pub(super) async fn start() -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("mint").stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let output = process.stdout.take().ok_or("the upstream has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await?;
        let address = line.trim().parse().map_err(|_| "the upstream did not start")?;
        Ok(Self { address, _process: process })
    }

    pub(super) fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }
}

/// The process itself, on a free port, which it tells `started`.
pub(crate) async fn serve(started: impl FnOnce(SocketAddr) -> std::io::Result<()>) -> Outcome<()> {
    let router = Router::new().route("/api/v1/tokens", post(mint));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    started(listener.local_addr()?)?;
    axum::serve(listener, router).await?;
    Ok(())
}

/// A token and an id of the length of the service's own (Model Studio, *Generate a temporary API key*).
async fn mint(RawQuery(query): RawQuery) -> Result<([(HeaderName, String); 1], String), StatusCode> {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let seconds = query.as_deref().and_then(|query| query.strip_prefix("expire_in_seconds=")?.parse().ok());
    let seconds = seconds.ok_or(StatusCode::BAD_REQUEST)?;
    let number = NUMBER.fetch_add(1, Relaxed);
    let expires_at = (SystemClock.unix() + Duration::from_secs(seconds)).as_secs();
    let body = format!("{{\"token\":\"st-{number:032x}\",\"expires_at\":{expires_at}}}");
    Ok(([(HeaderName::from_static("x-request-id"), format!("{number:036x}"))], body))
}
