//! A server that answers as its script says, writes down what it was asked, and can break off.

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, connect_info::Connected},
    http,
    serve::{IncomingStream, Listener},
};
use serde_json::Value;
use tokio::{
    io::{self, AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use valet_clock::{Clock, ManualClock};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) headers: http::HeaderMap,
    /// `Null` if it is no JSON.
    pub(crate) body: Value,
    pub(crate) bytes: Vec<u8>,
    /// When it arrived, after the start.
    pub(crate) at: Duration,
}

impl Request {
    /// The bearer token it came with.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
    }

    /// Where it was sent, as a base URL of the service.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.headers["host"].to_str().unwrap())
    }

    pub(crate) fn is_for_token(&self) -> bool {
        self.path == "/v1/tokens"
    }

    pub(crate) fn is_submit(&self) -> bool {
        self.method == "POST" && self.path.ends_with("/asr/transcription")
    }

    pub(crate) fn is_query(&self) -> bool {
        self.method == "GET" && self.path.contains("/tasks/")
    }
}

/// What a request is answered with.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Status(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The request was read, and the connection breaks before a byte of an answer.
    HangUp,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Status(status, Vec::new(), body.to_string().into())
    }

    pub(crate) fn raw(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Status(status, Vec::new(), body.into())
    }

    /// The same, and still good JSON, but larger than `bytes`.
    pub(crate) fn padded(mut self, bytes: usize) -> Self {
        if let Self::Status(_, _, body) = &mut self {
            body.resize(body.len() + bytes, b' ');
        }
        self
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Status(_, headers, _) = &mut self {
            headers.push((name, value.into()));
        }
        self
    }
}

/// A scripted server; it ends with the test's runtime.
pub(crate) struct Server {
    address: SocketAddr,
    journal: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) async fn start(
        clock: &ManualClock,
        script: impl FnMut(&Request) -> Reply + Send + 'static,
    ) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), clock, script)
    }

    pub(crate) fn start_on(
        listener: TcpListener,
        clock: &ManualClock,
        script: impl FnMut(&Request) -> Reply + Send + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let journal: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (clock, start) = (clock.clone(), clock.now());
        let (script, written) = (Arc::new(Mutex::new(script)), Arc::clone(&journal));
        let answer = move |ConnectInfo(Line(broken)), request: http::Request<Body>| {
            let (clock, script, journal) = (clock.clone(), script.clone(), Arc::clone(&written));
            async move {
                let request = read(request, clock.now() - start).await;
                journal.lock().unwrap().push(request.clone());
                let reply = (script.lock().unwrap())(&request);
                answered(reply, &broken)
            }
        };
        let service = Router::new().fallback(answer).into_make_service_with_connect_info::<Line>();
        tokio::spawn(async move { axum::serve(Breakable(listener), service).await });
        Self { address, journal }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that it was asked.
    pub(crate) fn journal(&self) -> Vec<Request> {
        self.journal.lock().unwrap().clone()
    }

    /// Those of the requests that are such.
    pub(crate) fn those(&self, are_such: fn(&Request) -> bool) -> Vec<Request> {
        self.journal().into_iter().filter(are_such).collect()
    }

    /// How many of the requests are such.
    pub(crate) fn count(&self, are_such: fn(&Request) -> bool) -> usize {
        self.those(are_such).len()
    }
}

async fn read(request: http::Request<Body>, at: Duration) -> Request {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 4 << 20).await.unwrap();
    Request {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        bytes: body.into(),
        at,
    }
}

fn answered(reply: Reply, broken: &AtomicBool) -> http::Response<Body> {
    match reply {
        Reply::Status(status, headers, body) => {
            let mut response = http::Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(body.into()).unwrap()
        }
        Reply::HangUp => {
            broken.store(true, Ordering::Relaxed);
            http::Response::default()
        }
    }
}

/// The connection of a request: whether it is to break.
#[derive(Clone)]
struct Line(Arc<AtomicBool>);

impl Connected<IncomingStream<'_, Breakable>> for Line {
    fn connect_info(stream: IncomingStream<'_, Breakable>) -> Self {
        Self(stream.io().broken.clone())
    }
}

struct Breakable(TcpListener);

impl Listener for Breakable {
    type Io = BreakableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BreakableStream, SocketAddr) {
        let (stream, address) = self.0.accept().await.expect("a test has sockets enough");
        (BreakableStream { stream, broken: Arc::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

struct BreakableStream {
    stream: TcpStream,
    broken: Arc<AtomicBool>,
}

impl BreakableStream {
    fn whole(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl AsyncRead for BreakableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.whole()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for BreakableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.whole()?.poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole()?.poll_shutdown(cx)
    }
}
