//! Requests in, responses out: the routes on one screen, and thin doors around `issue::Issue`.

mod body;
mod credential;
mod dashscope;
mod errors;
mod fields;
mod health;
mod listener;
mod metrics;
mod v1;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Response, StatusCode, header},
    routing::{get, post},
};
use bytes::Bytes;

pub use self::{
    errors::catalogue_markdown,
    health::Readiness,
    listener::{Listener, Peer},
    metrics::metrics_routes,
};
use crate::{
    audit::Door,
    config::Bounds,
    issue::{Arrival, Issue},
    request_id::{RequestId, RequestIds},
};

/// What the doors share.
#[derive(Debug)]
pub struct Doors {
    /// The use case behind them.
    pub issue: Issue,
    /// What a body may cost.
    pub bounds: Bounds,
    /// Where problem types point.
    pub errors_url: String,
    /// Whether the broker takes requests.
    pub readiness: Readiness,
    /// The names of requests.
    pub request_ids: RequestIds,
}

/// Every public route.
pub fn routes(doors: Arc<Doors>) -> Router {
    Router::new()
        .route("/v1/tokens", post(v1::issue))
        .route("/api/v1/tokens", post(dashscope::issue))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/errors", get(errors::page))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(doors)
}

impl Doors {
    fn arrival(&self, door: Door, peer: SocketAddr) -> Arrival {
        Arrival { door, request_id: self.request_ids.next(), peer, at: self.issue.clock.now() }
    }
}

/// A response with the headers that every one has; nothing that Valet says may be kept by a cache.
fn response(status: StatusCode, content_type: &'static str, id: RequestId, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-request-id", HeaderValue::from_bytes(&id.text()).expect("a request id is plain ASCII"));
    response
}

async fn not_found(State(doors): State<Arc<Doors>>, request: Request) -> Response<Body> {
    refuse(&doors, &request, &errors::Fault::of(&errors::NOT_FOUND, &"there is nothing at this path"))
}

async fn method_not_allowed(State(doors): State<Arc<Doors>>, request: Request) -> Response<Body> {
    refuse(&doors, &request, &errors::Fault::of(&errors::METHOD_NOT_ALLOWED, &"this path has no such method"))
}

/// A refusal in the format of whoever would use such a path.
fn refuse(doors: &Doors, request: &Request, fault: &errors::Fault) -> Response<Body> {
    let id = doors.request_ids.next();
    if request.uri().path().starts_with("/api/v1/") {
        dashscope::refusal(id, fault)
    } else {
        v1::problem(doors, id, fault)
    }
}
