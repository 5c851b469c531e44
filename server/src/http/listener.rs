//! Accepts connections and serves each within its bounds, until it is told to stop.

use std::{
    convert::Infallible,
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use valet_clock::{ClockExt, SharedClock, Sleep};

use super::{metrics::OpenConnection, patience::Patient};
use crate::{config::Bounds, lifecycle::Shutdown};

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    bounds: Bounds,
    clock: SharedClock,
    open: Gauge,
}

/// Where requests of a connection come from.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address.
    pub address: IpAddr,
    /// Address and port as text: written once, recorded many times.
    pub text: Arc<str>,
}

/// Answers requests. Each connection has room for the future of an answer from its first request on.
pub trait Answer: Clone + Send + Sync + 'static {
    /// What its responses carry.
    type Body: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// The response to a request.
    fn answer(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

impl Listener {
    /// Binds `address`; port 0 takes a free one. `open` is how many connections it has.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        bounds: Bounds,
        clock: SharedClock,
        open: Gauge,
    ) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, bounds, clock, open })
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Lets `answers` answer until the first stage of a stop; then closes idle connections, and lets the others
    /// finish the request in hand, which the second stage cuts off. Returns once none is accepted any
    /// more; `connections` tells when all ended.
    pub async fn serve(
        self,
        answers: impl Answer,
        tls: Option<TlsAcceptor>,
        shutdown: Shutdown,
        connections: TaskTracker,
    ) {
        let room = Arc::new(Semaphore::new(self.bounds.connections));
        loop {
            let accept = async {
                let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
                (self.socket.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                () = shutdown.soft().cancelled() => return,
                accepted = accept => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        peer,
                        bounds: self.bounds,
                        clock: self.clock.clone(),
                        shutdown: shutdown.clone(),
                    };
                    let (answers, tls) = (answers.clone(), tls.clone());
                    let open = OpenConnection::new(self.open.clone());
                    connections.spawn(async move {
                        connection.run(stream, tls, answers).await;
                        drop((open, permit));
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: those in use must end first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::select! {
                        () = shutdown.soft().cancelled() => return,
                        () = self.clock.sleep(Duration::from_millis(100)) => {}
                    }
                }
            }
        }
    }
}

/// One accepted connection.
struct Connection {
    peer: SocketAddr,
    bounds: Bounds,
    clock: SharedClock,
    shutdown: Shutdown,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>, answers: impl Answer) {
        // Failing to set it costs latency only.
        let _ = stream.set_nodelay(true);
        let stream = Patient::new(stream, self.bounds.header_time, self.clock.clone());
        match tls {
            None => self.converse(stream, answers).await,
            // In a box: who speaks plainly is not to hold the room that TLS takes.
            Some(tls) => Box::pin(self.encrypted(stream, &tls, answers)).await,
        }
    }

    async fn encrypted(self, stream: Patient<TcpStream>, tls: &TlsAcceptor, answers: impl Answer) {
        let handshake = self.clock.timeout(self.bounds.header_time, tls.accept(stream));
        let peer = self.peer;
        tokio::select! {
            () = self.shutdown.soft().cancelled() => {}
            shaken = handshake => match shaken {
                Ok(Ok(stream)) => self.converse(stream, answers).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS came about"),
                Err(elapsed) => tracing::debug!(%peer, %elapsed, "no TLS came about"),
            },
        }
    }

    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        answers: impl Answer,
    ) {
        let Self { peer, bounds, clock, shutdown } = self;
        let from = Peer { address: peer.ip(), text: peer.to_string().into() };
        let service = service_fn(|request| answers.answer(&from, request).map(Ok::<_, Infallible>));
        let serving = http1::Builder::new()
            .timer(Timer(clock))
            .header_read_timeout(bounds.header_time)
            .max_buf_size(bounds.header_bytes)
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = shutdown.soft().cancelled() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    // Polled first, so that a request that is answered now is answered.
                    biased;
                    ended = serving => ended,
                    () = shutdown.cut_off() => return,
                }
            }
        };
        if let Err(error) = ended {
            // A peer that speaks no HTTP, or went away: its affair.
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }
}

/// hyper's deadlines by our clock.
#[derive(Clone, Debug)]
struct Timer(SharedClock);

struct TimerSleep(Sleep);

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(self.0.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(TimerSleep(self.0.sleep_until(deadline)))
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, deadline: Instant) {
        *sleep = self.sleep_until(deadline);
    }
}

impl Future for TimerSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl hyper::rt::Sleep for TimerSleep {}
