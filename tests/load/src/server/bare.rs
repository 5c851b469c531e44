//! The baseline: a bare axum route that answers a fixed response, and does nothing else.

use std::{net::SocketAddr, process::Stdio};

use axum::{Router, body::Body, http, routing::post};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use super::Endpoint;
use crate::{Outcome, cores};

/// A response to copy, without what every HTTP server adds by itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Answer {
    /// The path that it is the answer at.
    pub(crate) path: String,
    /// The headers, in their order.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

/// The baseline in a process of its own.
#[derive(Debug)]
pub(crate) struct Bare {
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    /// Ends with this value.
    _process: Child,
}

impl Bare {
    /// Starts it.
    pub(crate) async fn start(answer: &Answer) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("bare").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = cores::on(cores::SERVER, || command.spawn())?;
        let pid = process.id().ok_or("the bare route ended at once")?;
        let mut input = process.stdin.take().expect("it is piped");
        input.write_all(&serde_json::to_vec(answer)?).await?;
        drop(input);
        let mut line = String::new();
        let output = process.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).await?;
        let address = line.trim().parse().map_err(|_| "the bare route did not start")?;
        Ok(Self { endpoint: Endpoint { address, pid }, _process: process })
    }
}

/// The process itself: serves `answer` on a free port, which it tells `started`.
///
/// What it answers is built once and leaked, so that it does as little as if it stood in the source.
pub(crate) fn serve(answer: Answer, started: impl FnOnce(SocketAddr) -> std::io::Result<()>) -> Outcome<()> {
    let headers: Vec<_> = answer.headers.into_iter().map(header).collect::<Outcome<_>>()?;
    let headers: &'static [_] = headers.leak();
    let body: &'static str = answer.body.leak();
    let route = async move || {
        let mut response = http::Response::new(Body::from(Bytes::from_static(body.as_bytes())));
        for (name, value) in headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    };
    let router = Router::new().route(&answer.path, post(route).get(route));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        started(listener.local_addr()?)?;
        axum::serve(listener, router).await?;
        Ok(())
    })
}

fn header((name, value): (String, String)) -> Outcome<(http::HeaderName, http::HeaderValue)> {
    Ok((name.parse()?, http::HeaderValue::from_static(value.leak())))
}
