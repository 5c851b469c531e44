//! Results through the relay: in parts, without end, from a store that is slow, changes, breaks off, or points elsewhere.

use std::{
    convert::Infallible,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    sync::Notify,
};
use valet_sandbox::{Fault, Operation};

use crate::{
    harness::{Answer, SECOND, answered_elsewhere, promptly},
    relayed::{Relayed, code},
};

/// What a result has in pieces, and how many there are of a large one.
const PIECE: usize = 64 << 10;
const PIECES: u64 = 1024;

/// What the store has at its one place.
#[derive(Clone, Debug)]
enum Content {
    /// This text under this tag.
    Text(String, &'static str),
    /// The same, but the connection ends in the middle of it, once that is wanted.
    Broken(String, &'static str, Arc<Notify>),
    /// As many pieces as there are.
    Large,
    Redirect(String),
}

/// The store that the upstream's URLs are of.
#[derive(Clone)]
struct Store {
    base: String,
    shared: Arc<Shared>,
}

struct Shared {
    content: Mutex<Content>,
    /// What it was asked: path and query, and the names of the headers.
    asked: Mutex<Vec<(String, HeaderMap)>>,
    /// Bytes of a large result that could be written.
    pushed: AtomicU64,
}

impl Store {
    async fn new() -> Self {
        let shared = Shared {
            content: Mutex::new(Content::Large),
            asked: Mutex::default(),
            pushed: AtomicU64::new(0),
        };
        let shared = Arc::new(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base, shared }
    }

    fn has(&self, content: Content) {
        *self.shared.content.lock().unwrap() = content;
    }

    fn asked(&self) -> Vec<(String, HeaderMap)> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How much of a large result could be written by the time that no more can.
    async fn stands(&self, relayed: &Relayed) -> u64 {
        promptly(async {
            loop {
                let before = self.shared.pushed.load(SeqCst);
                for _ in 0..100 {
                    relayed.stage.page("/healthz").await;
                }
                if self.shared.pushed.load(SeqCst) == before {
                    return before;
                }
            }
        })
        .await
    }

    /// A stage with a task that has ended with a result here; the result's path at the relay.
    async fn behind(&self, more: &str) -> (Relayed, String) {
        let relayed = Relayed::with(more, "").await;
        let bearer = relayed.token(None).await;
        let handle = relayed.submitted(&bearer).await;
        let body = json!({ "request_id": "1", "output": { "task_id": "1", "task_status": "SUCCEEDED", "results": [
            { "file_url": "https://files.example.com/a", "subtask_status": "SUCCEEDED",
              "transcription_url": format!("{}/1.json?Expires=1&Signature=a%2Fb%3D", self.base) },
        ] } });
        let fault = Fault::on(Operation::Query).replace(200, "application/json", body.to_string());
        relayed.stage.stack.sandbox.script(fault.always());
        relayed.stage.clock.advance(SECOND * 2);
        let ended = relayed.ended(&handle, &bearer).await;
        let url = ended["output"]["results"][0]["transcription_url"].as_str().unwrap();
        let path = url.strip_prefix(&relayed.stage.stack.broker_url).unwrap().to_owned();
        (relayed, path)
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path_and_query().unwrap().to_string();
    shared.asked.lock().unwrap().push((path, request.headers().clone()));
    let content = shared.content.lock().unwrap().clone();
    match content {
        Content::Text(text, tag) => part(&text, tag, request.headers()),
        Content::Broken(text, tag, end) => {
            let half = Bytes::from(text[..text.len() / 2].to_owned());
            let pieces = stream::iter([Ok(half)]).chain(stream::once(async move {
                end.notified().await;
                Err(std::io::Error::other("it broke off"))
            }));
            let headers = [(header::ETAG, tag.to_owned()), (header::CONTENT_LENGTH, text.len().to_string())];
            (headers, Body::from_stream(pieces)).into_response()
        }
        Content::Large => {
            let pieces = stream::unfold((shared, 0), |(shared, count)| async move {
                if count == PIECES {
                    return None;
                }
                shared.pushed.fetch_add(PIECE as u64, SeqCst);
                let piece = Bytes::from(vec![u8::try_from(count % 251).unwrap(); PIECE]);
                Some((Ok::<_, Infallible>(piece), (shared, count + 1)))
            });
            Body::from_stream(pieces).into_response()
        }
        Content::Redirect(place) => (StatusCode::FOUND, [(header::LOCATION, place)]).into_response(),
    }
}

/// One range of a text, as a store has it (RFC 9110 §14, §13.1.5).
fn part(text: &str, tag: &'static str, headers: &HeaderMap) -> Response {
    let told = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let common =
        [(header::ETAG, tag), (header::ACCEPT_RANGES, "bytes"), (header::CONTENT_TYPE, "text/x-store")];
    let range = told(header::RANGE).filter(|_| told(header::IF_RANGE).is_none_or(|known| known == tag));
    let Some(range) = range else { return (common, text.to_owned()).into_response() };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let last = last.parse().unwrap_or(usize::MAX).min(text.len() - 1);
    if first >= text.len() {
        let length = [(header::CONTENT_RANGE, format!("bytes */{}", text.len()))];
        return (StatusCode::RANGE_NOT_SATISFIABLE, length, "<Error>of the store's own</Error>")
            .into_response();
    }
    let place = [(header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", text.len()))];
    (StatusCode::PARTIAL_CONTENT, common, place, text[first..=last].to_owned()).into_response()
}

fn text() -> String {
    let mut text = String::new();
    for number in 0..500 {
        write!(text, "{number:04} ").unwrap();
    }
    text
}

fn ranged(request: RequestBuilder, range: &str, validator: Option<&str>) -> RequestBuilder {
    let request = request.header("range", range);
    match validator {
        Some(validator) => request.header("if-range", validator),
        None => request,
    }
}

#[tokio::test]
async fn a_result_is_read_in_parts_and_goes_on_where_it_broke_off() {
    let store = Store::new().await;
    let (relayed, path) = store.behind("").await;
    let read = || relayed.stage.request(Method::GET, &path);
    let (whole, first, second) = (text(), "\"first\"", "\"second\"");
    store.has(Content::Text(whole.clone(), first));
    let answer = answered_elsewhere(read()).await;
    assert_eq!((answer.status, &answer.text), (200, &whole));
    assert_eq!(answer.header("content-length"), Some(whole.len().to_string().as_str()));
    assert_eq!((answer.header("etag"), answer.header("accept-ranges")), (Some(first), Some("bytes")));
    assert_eq!(answer.header("content-type"), Some("application/json"), "whatever the store says");

    let range = |range: &str, validator: Option<&str>| answered_elsewhere(ranged(read(), range, validator));
    let said = |answer: &Answer| (answer.status, answer.header("content-range").map(str::to_owned));
    let place = |range: &str| (206, Some(format!("bytes {range}/{}", whole.len())));
    for (wanted, from, to) in
        [("bytes=0-9", 0, 9), ("bytes=10-", 10, whole.len() - 1), ("bytes=10-99999", 10, whole.len() - 1)]
    {
        let answer = range(wanted, None).await;
        assert_eq!((said(&answer), &*answer.text), (place(&format!("{from}-{to}")), &whole[from..=to]));
        assert_eq!(answer.header("content-length"), Some((to - from + 1).to_string().as_str()));
    }
    let beyond = range("bytes=99999-", None).await;
    assert_eq!((said(&beyond), &*beyond.text), ((416, Some(format!("bytes */{}", whole.len()))), ""));
    let several = range("bytes=0-1,5-6", None).await;
    assert_eq!((several.status, &several.text), (200, &whole), "the whole is as good an answer");

    // The store breaks off in the middle: what came is kept, and the rest is of the same result.
    let end = Arc::new(Notify::new());
    store.has(Content::Broken(whole.clone(), first, end.clone()));
    let kept = promptly(async {
        let mut response = read().send().await.unwrap();
        assert_eq!(response.headers()["etag"], first);
        let mut kept = Vec::new();
        while let Ok(Some(piece)) = response.chunk().await {
            kept.extend_from_slice(&piece);
            if kept.len() == whole.len() / 2 {
                end.notify_one();
            }
        }
        kept
    });
    let kept = String::from_utf8(kept.await).unwrap();
    assert_eq!(kept, whole[..whole.len() / 2]);
    store.has(Content::Text(whole.clone(), first));
    let rest = range(&format!("bytes={}-", kept.len()), Some(first)).await;
    assert_eq!((rest.status, kept.clone() + &rest.text), (206, whole.clone()));
    // Of another result the whole comes.
    store.has(Content::Text(whole.to_uppercase() + "2", second));
    let other = range(&format!("bytes={}-", kept.len()), Some(first)).await;
    assert_eq!((other.status, other.header("etag")), (200, Some(second)));
    assert_eq!(other.text.len(), whole.len() + 1);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_slow_reader_holds_the_store_back_and_nothing_is_gathered() {
    let store = Store::new().await;
    let (relayed, path) = store.behind("").await;
    let mut reader = promptly(socket_to(&relayed)).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    promptly(reader.write_all(request.as_bytes())).await.unwrap();
    let mut head = [0; 12];
    promptly(reader.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    // What is pushed on and on comes to a stop: all that lies between store and reader is full.
    let all = PIECE as u64 * PIECES;
    let pushed = || store.shared.pushed.load(SeqCst);
    let stood = store.stands(&relayed).await;
    assert!(stood <= all / 2, "{stood} of {all} bytes are on the way to one who reads nothing");
    // And all of it comes, once it is read.
    let mut bytes = Vec::new();
    promptly(reader.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(pushed(), all);
    assert!(bytes.len() as u64 > all, "{} bytes", bytes.len());
    // Nor is anything read for one who has gone.
    let mut gone = promptly(socket_to(&relayed)).await;
    promptly(gone.write_all(request.as_bytes())).await.unwrap();
    promptly(gone.read_exact(&mut head)).await.unwrap();
    drop(gone);
    let wasted = store.stands(&relayed).await - all;
    assert!(wasted <= all / 2, "{wasted} bytes were read for nobody");
    relayed.stage.stop().await;
}

/// A connection of a reader whose system takes little on its behalf.
async fn socket_to(relayed: &Relayed) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.connect(relayed.stage.stack.broker_addr).await.unwrap()
}

#[tokio::test]
async fn nothing_is_fetched_but_what_the_upstream_named() {
    let (store, elsewhere) = (Store::new().await, Store::new().await);
    let (relayed, path) = store.behind("").await;
    store.has(Content::Text(text(), "\"1\""));
    let place = format!("{}/evil", elsewhere.base);
    let read = |path: &str| relayed.stage.request(Method::GET, path);
    // Whatever a caller adds, the store is asked for the very URL, and told nothing of whoever asks.
    for request in [
        read(&path).header("authorization", format!("Bearer {}", relayed.token(None).await)),
        read(&path).header("cookie", "a=b").header("x-forwarded-host", "evil.example"),
        read(&path).header("host", "evil.example").header("referer", &place),
        read(&format!("{path}?url={place}&Signature=x")),
        read(&path).header("range", "bytes=0-").header("x-oss-process", "evil"),
    ] {
        assert_eq!(answered_elsewhere(request).await.text, text());
    }
    let bytes = path.rsplit_once('/').unwrap().1;
    for path in [
        format!("{path}/../evil"),
        format!("{path}/evil"),
        format!("{path}%2F..%2Fevil"),
        format!("/api/v1/results/{place}"),
        format!("/api/v1/results/{}", place.replace('/', "%2F")),
        format!("/api/v1/results/{}{bytes}", &bytes[..8]),
    ] {
        assert_eq!(code(&answered_elsewhere(read(&path)).await), (404, "NotFound".into()), "{path}");
    }
    for (asked, headers) in store.asked() {
        assert_eq!(asked, "/1.json?Expires=1&Signature=a%2Fb%3D");
        let names: Vec<&str> = headers.keys().map(header::HeaderName::as_str).collect();
        let known = ["accept", "host", "range", "user-agent"];
        assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    }
    assert_eq!(store.asked().len(), 5);
    // A store that sends its readers elsewhere is not followed.
    store.has(Content::Redirect(place));
    assert_eq!(answered_elsewhere(read(&path)).await.status, 503);
    assert_eq!(elsewhere.asked().len(), 0);
    relayed.stage.stop().await;
}
