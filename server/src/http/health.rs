//! Whether the process lives, and whether it takes requests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::{body::Body, extract::State};
use bytes::Bytes;
use http::{Response, StatusCode};
use utoipa::ToSchema;

use super::Doors;

/// Whether the broker takes requests; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    draining: Arc<AtomicBool>,
}

impl Readiness {
    /// From now on the broker asks load balancers to send nothing more.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }
}

/// The body of both pages.
#[derive(ToSchema)]
#[expect(dead_code, reason = "each of the few bodies is a constant")]
struct Health {
    status: String,
    /// `away`, while the state that replicas share is not to be had; the broker serves all the same.
    shared: Option<String>,
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "pages",
    responses((status = 200, description = "It does.", body = Health)))]
pub(super) async fn live(State(doors): State<Arc<Doors>>) -> Response<Body> {
    answer(&doors, StatusCode::OK, r#"{"status":"ok"}"#)
}

/// Whether the broker takes requests.
#[utoipa::path(get, path = "/readyz", tag = "pages",
    responses(
        (status = 200, description = "It does.", body = Health),
        (status = 503, description = "Not now: `status` says why.", body = Health)
    ))]
pub(super) async fn ready(State(doors): State<Arc<Doors>>) -> Response<Body> {
    let site = doors.issue.site.load();
    if doors.readiness.draining.load(Relaxed) {
        answer(&doors, StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#)
    } else if !doors.issue.trail.accepts() {
        answer(&doors, StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"audit_trail_failing"}"#)
    } else if site.upstreams.iter().any(|upstream| upstream.has_usable_key()) {
        // Without what it shares it goes on: another replica would not do better.
        let is_away = site.identities.shared().is_some_and(|shared| !shared.is_there());
        let body = if is_away { r#"{"status":"ready","shared":"away"}"# } else { r#"{"status":"ready"}"# };
        answer(&doors, StatusCode::OK, body)
    } else {
        answer(&doors, StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"no_usable_upstream_key"}"#)
    }
}

fn answer(doors: &Doors, status: StatusCode, body: &'static str) -> Response<Body> {
    let (id, body) = (doors.request_ids.next(), Bytes::from_static(body.as_bytes()));
    super::response(status, "application/json", id, body).map(Body::new)
}
