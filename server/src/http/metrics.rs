//! `/metrics` in the OpenMetrics text format, on a listener of its own.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use prometheus_client::{encoding::text, registry::Registry};

use super::{Answer, Peer};

/// The one page of the private listener.
#[derive(Clone, Debug)]
pub struct MetricsPage(pub Arc<Registry>);

impl Answer for MetricsPage {
    type Body = Full<Bytes>;

    async fn answer(self, _: Peer, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        if (request.method(), request.uri().path()) == (&Method::GET, "/metrics") {
            let mut page = String::new();
            text::encode(&mut page, &self.0).expect("a String takes what is written");
            let content_type =
                HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            *response.body_mut() = Full::from(page);
        } else {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response
    }
}
