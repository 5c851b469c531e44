//! The door `POST /api/v1/tokens?expire_in_seconds=`: for code that mints at DashScope today and
//! changes only host and key (Model Studio, *Generate a temporary API key*).

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Doors, Peer, body, credential, errors::Fault, fields::wrong, openapi};
use crate::{
    audit::Door,
    identity::Unidentified,
    issue::{Answer, Ask, Refusal, Unreadable},
    policy::TokenRequest,
    request_id::RequestId,
    site::Form,
};

/// The documented success body.
#[derive(Serialize, ToSchema)]
#[schema(as = TemporaryKey)]
struct TokenBody<'s> {
    /// The token.
    token: &'s str,
    /// When it expires, in Unix seconds.
    expires_at: u64,
}

/// The documented error body.
#[derive(Serialize, ToSchema)]
#[schema(as = DashScopeError)]
pub(super) struct ErrorBody<'s> {
    /// The nearest code that DashScope documents.
    code: &'static str,
    /// What is wrong, and what to do about it.
    message: &'s str,
    /// The name of this request in the audit trail.
    request_id: String,
}

/// Mint as at DashScope, with the app's secret in place of the API key.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    operation_id = "mintTemporaryKey",
    tag = "tokens",
    params(("expire_in_seconds" = Option<u32>, Query, minimum = 1, maximum = 1800,
        description = "The lifetime; the app's usual one unless given.")),
    responses((status = 200, description = "A token.", body = TokenBody<'_>), openapi::ErrorBodies),
    security(("bearer" = []), ("basic" = []))
)]
pub(super) fn issue(
    doors: &Doors,
    peer: &Peer,
    parts: &Parts,
    body: Incoming,
) -> impl Future<Output = Response<Full<Bytes>>> + Send {
    let mut arrival = doors.arrival(Door::DashScope, peer, &parts.headers);
    async move {
        let ask = read(doors, parts, body, &mut arrival.read).await;
        doors.decide(arrival, Form::DashScope, &ask, success, refusal).await
    }
}

async fn read(doors: &Doors, parts: &Parts, body: Incoming, at: &mut Instant) -> Result<Ask, Refusal> {
    // The call has no body; one that comes along is bounded like any other, and not looked at.
    body::read(body, &doors.bounds, &*doors.issue.clock, at).await?;
    let credential = credential::in_header(&parts.headers)?.ok_or(Unidentified::Missing)?;
    let lifetime = lifetime(parts.uri.query().unwrap_or_default())?;
    let origin = Doors::origin(&parts.headers);
    Ok(Ask { credential, request: TokenRequest { lifetime, origin, ..TokenRequest::default() } })
}

/// `expire_in_seconds`: 1 to 1800, the app's usual lifetime if it is not there.
fn lifetime(query: &str) -> Result<Option<u32>, Unreadable> {
    let mut lifetime = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "expire_in_seconds" {
            return Err(wrong(&name, "is not a parameter; the only one is expire_in_seconds"));
        }
        if lifetime.is_some() {
            return Err(wrong(&name, "stands there twice"));
        }
        lifetime = value.parse().ok().filter(|seconds| (1..=1800).contains(seconds));
        if lifetime.is_none() {
            return Err(wrong(&name, "must be a whole number from 1 to 1800"));
        }
    }
    Ok(lifetime)
}

fn success(answer: &Answer<'_>) -> Vec<u8> {
    let body = TokenBody { token: answer.token, expires_at: answer.expires_at };
    serde_json::to_vec(&body).expect("plain fields serialize")
}

/// A refusal of the upstream's, told as it is.
pub(super) fn repeated(
    id: RequestId,
    status: u16,
    code: &str,
    message: &str,
    retry_after: Option<u64>,
) -> Response<Full<Bytes>> {
    let body = json!({ "code": code, "message": message, "request_id": id.to_string() });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = super::response(status, "application/json", id, Bytes::from(body.to_string()));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

pub(super) fn refusal(id: RequestId, fault: &Fault) -> Response<Full<Bytes>> {
    let body = ErrorBody { code: fault.entry.dashscope, message: &fault.detail, request_id: id.to_string() };
    let body = Bytes::from(serde_json::to_vec(&body).expect("plain fields serialize"));
    let mut response = super::response(fault.entry.status, "application/json", id, body);
    if fault.entry.status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static(fault.bearer_challenge());
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = fault.retry_after_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
