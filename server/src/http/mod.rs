//! Requests in, responses out: the routes on one screen, and thin doors around `issue::Issue`.

mod body;
mod cors;
mod credential;
mod dashscope;
mod errors;
mod fields;
mod forwarded;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod health;
mod listener;
mod listing;
mod metadata;
mod metrics;
mod oauth;
mod openapi;
mod patience;
mod playground;
mod relay;
mod revoke;
mod tls;
mod v1;
mod wishes;

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::IntoResponse,
    routing::any,
};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header, request::Parts};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use tower::ServiceExt;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{cors::Page, errors::Fault};
pub use self::{
    errors::catalogue_markdown,
    health::Readiness,
    listener::{Answer, Listener, Peer},
    metrics::{ConnectionMetrics, MetricsPage},
    openapi::document,
    tls::acceptor,
};
use crate::{
    audit::Door,
    config::Bounds,
    issue::{self, Arrival, Ask, Issue, Issued, Refusal},
    relay::Relay,
    request_id::{RequestId, RequestIds},
    site::Form,
};

/// What the doors share.
#[derive(Debug)]
pub struct Doors {
    /// The use case behind them.
    pub issue: Arc<Issue>,
    /// The relay.
    pub relay: Arc<Relay>,
    /// What a body may cost.
    pub bounds: Bounds,
    /// Whether the broker takes requests.
    pub readiness: Readiness,
    /// The names of requests.
    pub request_ids: RequestIds,
}

/// Every public route.
#[derive(Clone, Debug)]
pub struct Routes {
    doors: Arc<Doors>,
    rest: Router,
}

impl Routes {
    /// The routes to `doors`.
    #[must_use]
    pub fn new(doors: Arc<Doors>) -> Self {
        let (pages, _) = pages().split_for_parts();
        let rest = pages
            .route("/v1/tokens", any(only_post))
            .route("/api/v1/tokens", any(only_post))
            .route("/oauth/token", any(only_post))
            .route("/oauth/revoke", any(only_post))
            .method_not_allowed_fallback(only_get)
            .merge(playground::routes(doors.clone()))
            .fallback(not_found)
            .with_state(doors.clone());
        Self { doors, rest }
    }
}

/// What is read by GET, beside the documentation of the doors: a page is served where it says that it is.
fn pages() -> OpenApiRouter<Arc<Doors>> {
    OpenApiRouter::with_openapi(openapi::of_doors())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(errors::page))
        .routes(routes!(openapi::page))
        .routes(routes!(metadata::page))
        .routes(routes!(metadata::keys))
        .merge(relay::routes())
}

/// Here and behind the doors, functions that are given something large return their futures themselves: an `async fn`
/// keeps its arguments twice, and every connection has room for the largest of these futures.
impl Answer for Routes {
    type Body = Either<Full<Bytes>, Body>;

    /// The issuing doors are matched first: a router's boxes cost more than all that is decided behind
    /// them.
    fn answer(
        &self,
        peer: &Peer,
        request: http::Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send {
        let page = Page::of(&request);
        let (parts, body) = request.into_parts();
        async move {
            let doors = &*self.doors;
            if let Some(preflight) = page.preflight(doors) {
                return preflight.map(Either::Left);
            }
            let mut response = match (&parts.method, parts.uri.path()) {
                (_, path) if !names_a_host(&parts) => refuse(doors, path, &no_host()).map(Either::Right),
                (&Method::POST, "/v1/tokens") => v1::issue(doors, peer, &parts, body).await.map(Either::Left),
                (&Method::POST, "/api/v1/tokens") => {
                    dashscope::issue(doors, peer, &parts, body).await.map(Either::Left)
                }
                (&Method::POST, "/oauth/token") => {
                    oauth::issue(doors, peer, &parts, body).await.map(Either::Left)
                }
                (&Method::POST, "/oauth/revoke") => {
                    revoke::revoke(doors, peer, &parts, body).await.map(Either::Left)
                }
                (&Method::POST, playground::SIGN_IN) => {
                    playground::sign_in(doors, peer, &parts, body).await.map(Either::Left)
                }
                // Nothing is called so: no name in a path is anything but text.
                (_, path) if percent_decode_str(path).decode_utf8().is_err() => {
                    refuse(doors, path, &nothing_here()).map(Either::Right)
                }
                _ => self.elsewhere(peer, parts, body).await.map(Either::Right),
            };
            page.share(doors, &mut response);
            response
        }
    }
}

impl Routes {
    /// Whatever is no issuing door.
    fn elsewhere(
        &self,
        peer: &Peer,
        mut parts: Parts,
        body: Incoming,
    ) -> impl Future<Output = Response<Body>> + Send + use<> {
        parts.extensions.insert(peer.clone());
        if let Some(uri) = listing::straightened(&parts.uri) {
            parts.uri = uri;
        }
        let answered = self.rest.clone().oneshot(http::Request::from_parts(parts, body));
        answered.map(|answered: Result<_, Infallible>| answered.unwrap_or_else(|never| match never {}))
    }
}

/// RFC 9112 §3.2.
fn names_a_host(parts: &Parts) -> bool {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (named, again) = (hosts.next().is_some(), hosts.next().is_some());
    !again && (named || parts.version != Version::HTTP_11)
}

fn no_host() -> Fault {
    Fault::of(&errors::INVALID_REQUEST, &"Host: every HTTP/1.1 request names one")
}

impl Doors {
    fn arrival(&self, door: Door, peer: &Peer, headers: &HeaderMap) -> Arrival {
        let Peer { address, text: peer } =
            forwarded::caller(peer, headers, self.issue.site.load().trusted_proxies);
        let origin = Self::origin(headers).map(Into::into);
        let at = self.issue.clock.now();
        Arrival { door, request_id: self.request_ids.next(), address, peer, origin, at, read: at }
    }

    /// The web origin that a request says it comes from; one that is no text is none of anybody's.
    fn origin(headers: &HeaderMap) -> Option<String> {
        headers.get(header::ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned())
    }

    /// Has an ask decided, and answers it in a door's own format.
    fn decide(
        &self,
        arrival: Arrival,
        form: Form,
        ask: &Result<Ask, Refusal>,
        success: impl FnOnce(&issue::Answer<'_>) -> Vec<u8> + Send,
        refusal: impl FnOnce(RequestId, &Fault) -> Response<Full<Bytes>> + Send,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send {
        let (id, is_page) = (arrival.request_id, arrival.origin.is_some());
        let answer = move |decided: Result<&Issued<'_>, &Refusal>| match decided {
            Ok(issued) => {
                let body = issued.body(form, success);
                let mut response = response(StatusCode::OK, "application/json", id, body);
                if is_page && !issued.is_for_pages() {
                    response.extensions_mut().insert(cors::ForNoPage);
                }
                (StatusCode::OK.as_u16(), response)
            }
            Err(refused) => {
                let fault = Fault::from(refused);
                let response = refusal(id, &fault);
                (response.status().as_u16(), response)
            }
        };
        self.issue.serve(arrival, ask, answer)
    }
}

/// A response with the headers that every one has; nothing that Valet says may be kept by a cache.
fn response(
    status: StatusCode,
    content_type: &'static str,
    id: RequestId,
    body: Bytes,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    // Room for these and two more, so that the map never grows.
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(&id.text()).expect("a request id is plain ASCII"));
    *response.headers_mut() = headers;
    response
}

const X_REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");

async fn not_found(State(doors): State<Arc<Doors>>, request: Request) -> impl IntoResponse {
    refuse(&doors, request.uri().path(), &nothing_here())
}

fn nothing_here() -> Fault {
    Fault::of(&errors::NOT_FOUND, &"there is nothing at this path")
}

async fn only_post(State(doors): State<Arc<Doors>>, request: Request) -> impl IntoResponse {
    let fault = Fault::of(&errors::METHOD_NOT_ALLOWED, &"tokens are asked for by POST");
    ([(header::ALLOW, "POST")], refuse(&doors, request.uri().path(), &fault))
}

async fn only_get(State(doors): State<Arc<Doors>>, request: Request) -> impl IntoResponse {
    let path = request.uri().path();
    let is_asked_for = ["transcription", "cancel", "tasks/wait"].iter().any(|end| path.ends_with(end));
    let (said, allowed) = match is_asked_for {
        true => ("this is asked for by POST", "POST"),
        false => ("this page is read by GET", "GET, HEAD"),
    };
    ([(header::ALLOW, allowed)], refuse(&doors, path, &Fault::of(&errors::METHOD_NOT_ALLOWED, &said)))
}

/// A refusal in the format of whoever would use such a path.
fn refuse(doors: &Doors, path: &str, fault: &Fault) -> Response<Body> {
    let id = doors.request_ids.next();
    let refusal = if path.starts_with("/api/v1/") {
        dashscope::refusal(id, fault)
    } else if path.starts_with("/oauth/") {
        oauth::refusal(doors, id, fault, Form::OAuth)
    } else {
        v1::problem(doors, id, fault)
    };
    refusal.map(Body::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever waits at the relay for a task holds it all the while.
    #[test]
    fn a_connection_has_little_room_for_answers() {
        fn size<'a, F>(_: impl FnOnce(&'a Routes, &'a Peer, http::Request<Incoming>) -> F) -> usize {
            size_of::<F>()
        }
        let answer = size(Routes::answer);
        // What is larger takes a block of 2048 bytes of the allocator's.
        assert!(answer <= 1792, "{answer} bytes");
    }
}
