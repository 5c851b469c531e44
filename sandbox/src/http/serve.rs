//! Accepts connections and speaks HTTP/1.1 on them; resets one where the front says so.

use std::{error::Error, future::poll_fn, io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use valet_clock::{ClockExt, SystemClock};

use super::{
    body::Body,
    front::{Front, Reset},
};

/// More wait in the listener's queue.
const CONNECTIONS_MAX: usize = 4096;
/// Bounds the head of a request.
const HEAD_MAX: usize = 64 * 1024;
/// How long connections may take to end after the sandbox was told to stop.
const STOP_TIME: Duration = Duration::from_secs(5);
/// How long to wait before accepting again when the machine has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`; then ends idle connections at once and busy ones after their answer.
///
/// The machine's clock measures what is the machine's: neither pause belongs to the course of a test.
pub(crate) async fn serve(listener: TcpListener, front: Arc<Front>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some(accepted) = next(&listener, &stop).await {
        while connections.try_join_next().is_some() {}
        let (stream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                SystemClock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(slot) = stop.run_until_cancelled(slots.clone().acquire_owned()).await else { break };
        let (front, stop) = (front.clone(), stop.clone());
        connections.spawn(async move {
            connection(stream, front, stop).await;
            drop(slot);
        });
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if SystemClock.timeout(STOP_TIME, ended).await.is_err() {
        tracing::warn!("connections that would not end were cut off");
    }
}

async fn next(
    listener: &TcpListener,
    stop: &CancellationToken,
) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    stop.run_until_cancelled(listener.accept()).await
}

async fn connection(stream: TcpStream, front: Arc<Front>, stop: CancellationToken) {
    // Small answers in pieces would otherwise wait for the peer's acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    let service = service_fn(move |request: Request<Incoming>| -> BoxFuture<'static, _> {
        let front = front.clone();
        async move { front.answer(request).await as Result<Response<Body>, Reset> }.boxed()
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut stopping = false;
    let outcome = loop {
        tokio::select! {
            outcome = poll_fn(|context| connection.poll_without_shutdown(context)) => break outcome,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let mut stream = connection.into_parts().io.into_inner();
    let reset = outcome
        .as_ref()
        .is_err_and(|error| error.source().and_then(|cause| cause.downcast_ref::<Reset>()).is_some());
    let closed = if reset {
        // Closing a socket that does not linger resets the connection.
        stream.set_zero_linger()
    } else {
        stream.shutdown().await
    };
    if let Err(error) = closed {
        tracing::trace!(%error, "a connection was gone already");
    }
}
