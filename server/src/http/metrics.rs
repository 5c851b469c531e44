//! `/metrics` in the OpenMetrics text format, on a listener of its own.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Answer, Peer};
use crate::request_id::RequestIds;

/// The connections that are open, by listener.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics(Family<Listening, Gauge>);

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Listening {
    listener: &'static str,
}

impl ConnectionMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let open = Family::default();
        registry.register("open_connections", "Connections that are open, by listener", open.clone());
        Self(open)
    }

    /// Those of one listener.
    #[must_use]
    pub fn of(&self, listener: &'static str) -> Gauge {
        self.0.get_or_create_owned(&Listening { listener })
    }
}

/// A connection that counts as open until this is dropped.
pub(super) struct OpenConnection(Gauge);

impl OpenConnection {
    pub(super) fn new(open: Gauge) -> Self {
        open.inc();
        Self(open)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The one page of the private listener.
#[derive(Clone, Debug)]
pub struct MetricsPage(Arc<(Registry, RequestIds)>);

impl MetricsPage {
    /// The page of what is registered.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self(Arc::new((registry, RequestIds::new())))
    }
}

impl Answer for MetricsPage {
    type Body = Full<Bytes>;

    async fn answer(&self, _: &Peer, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (registry, request_ids) = &*self.0;
        if (request.method(), request.uri().path()) != (&Method::GET, "/metrics") {
            let body = Bytes::from_static(b"the page is GET /metrics\n");
            return super::response(StatusCode::NOT_FOUND, "text/plain", request_ids.next(), body);
        }
        let mut page = String::new();
        text::encode(&mut page, registry).expect("a String takes what is written");
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        super::response(StatusCode::OK, content_type, request_ids.next(), page.into())
    }
}
