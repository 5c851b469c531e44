//! `/metrics` in the OpenMetrics text format, on a listener of its own.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderValue, Response, header},
    routing::get,
};
use prometheus_client::{encoding::text, registry::Registry};

/// The routes of the private listener.
pub fn metrics_routes(registry: Arc<Registry>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(registry)
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response<Body> {
    let mut page = String::new();
    text::encode(&mut page, &registry).expect("a String takes what is written");
    let mut response = Response::new(Body::from(page));
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
