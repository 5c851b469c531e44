//! An upstream that mints at once: all that the broker needs of one here.

use std::{net::SocketAddr, sync::atomic::AtomicU64, sync::atomic::Ordering::Relaxed};

use axum::{
    Json, Router,
    extract::{Query, State},
    routing::post,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use valet_clock::{Clock, SystemClock};

/// Ends with the runtime that it was started on.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

#[derive(Deserialize)]
struct Mint {
    expire_in_seconds: u64,
}

#[derive(Serialize)]
struct Minted {
    token: String,
    expires_at: u64,
}

impl Upstream {
    /// Starts it as a task of the present runtime.
    pub(crate) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router =
            Router::new().route("/api/v1/tokens", post(mint)).with_state(&*Box::leak(Box::default()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address })
    }
}

/// Tokens of one length, each a new one (Model Studio, *Generate a temporary API key*).
async fn mint(State(count): State<&'static AtomicU64>, Query(mint): Query<Mint>) -> Json<Minted> {
    let number = count.fetch_add(1, Relaxed);
    let expires_at = SystemClock.unix().as_secs() + mint.expire_in_seconds;
    Json(Minted { token: format!("st-{number:032x}"), expires_at })
}
