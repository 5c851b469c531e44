//! The door `POST /v1/tokens`: for Valet's own clients. JSON in and out, problem details (RFC 9457).

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Doors, Peer, body, credential, errors::Fault, fields::Fields, openapi, wishes};
use crate::{
    audit::Door,
    identity::{Credential, Unidentified},
    issue::{Answer, Ask, Refusal, Unreadable},
    request_id::RequestId,
    site::Form,
};

/// What is asked for; nothing of it is needed.
#[derive(ToSchema)]
#[schema(as = TokenRequest)]
#[expect(dead_code, reason = "fields are read one by one, so that errors name them; a test compares both")]
struct RequestBody {
    /// The least life that the token must have, in seconds.
    #[schema(minimum = 0)]
    min_ttl: Option<u32>,
    /// The SHA-256 of a token that the upstream refused, as 64 lower-case hexadecimal digits: if it is the
    /// one in hand, another is minted.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    rejected: Option<String>,
    /// The end user whom the app asks for, if its policy allows it.
    #[schema(min_length = 1, max_length = 256)]
    subject: Option<String>,
    /// The one scope there is.
    #[schema(pattern = "^transcribe$")]
    scope: Option<String>,
    /// The caller's own name for this request, kept in the audit trail.
    #[schema(min_length = 1, max_length = 256)]
    client_reference_id: Option<String>,
}

/// The same as a form, which may carry the credential too (RFC 6749 §2.3.1).
#[derive(ToSchema)]
#[schema(as = TokenRequestForm)]
#[expect(dead_code, reason = "fields are read one by one, so that errors name them; a test compares both")]
struct RequestForm {
    #[serde(flatten)]
    request: RequestBody,
    /// The app's id.
    client_id: Option<String>,
    /// The app's secret.
    client_secret: Option<String>,
}

/// A token that works at `base_url` for `expires_in` seconds.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
struct TokenBody<'s> {
    /// The token: send it as `Authorization: Bearer`.
    token: &'s str,
    /// Always `Bearer`.
    token_type: &'static str,
    /// The life that it has left, in whole seconds.
    expires_in: u64,
    /// When it expires, in Unix seconds, by the clock of whoever made it.
    expires_at: u64,
    /// Where it works.
    base_url: &'s str,
    /// `direct`: it is a token of the upstream's own; `relay`: it is one of Valet's, which opens the relay.
    mode: &'static str,
    /// The status queries a second that the holder of a direct token may make.
    #[serde(skip_serializing_if = "Option::is_none")]
    queries_per_second: Option<f64>,
}

/// A problem document (RFC 9457 §3.1), with members of our own (§3.2).
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'s> {
    /// Where this kind of refusal is described.
    r#type: String,
    /// The kind of refusal, in words.
    title: &'static str,
    /// The status of the response.
    status: u16,
    /// What is wrong, and what to do about it.
    detail: &'s str,
    /// The kind of refusal, as a word that does not change.
    code: &'static str,
    /// The name of this request in the audit trail.
    request_id: String,
    /// The field that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'s str>,
    /// The limit that was reached, as the configuration calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    /// The seconds to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// The upstream's own code.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_code: Option<&'s str>,
}

/// Exchange the app's credential for a token.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    operation_id = "issueToken",
    tag = "tokens",
    request_body(content((RequestBody = "application/json"), (RequestForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "A token.", body = TokenBody<'_>), openapi::Problems),
    security(("basic" = []), ("bearer" = []))
)]
pub(super) fn issue(
    doors: &Doors,
    peer: &Peer,
    parts: &Parts,
    body: Incoming,
) -> impl Future<Output = Response<Full<Bytes>>> + Send {
    let mut arrival = doors.arrival(Door::V1, peer, &parts.headers);
    async move {
        let ask = read(doors, parts, body, &mut arrival.read).await;
        doors.decide(arrival, Form::V1, &ask, success, |id, fault| problem(doors, id, fault)).await
    }
}

async fn read(doors: &Doors, parts: &Parts, body: Incoming, at: &mut Instant) -> Result<Ask, Refusal> {
    let body = body::read(body, &doors.bounds, &*doors.issue.clock, at).await?;
    if parts.uri.query().is_some() {
        return Err(Unreadable::Body("put nothing in the query: URLs end up in logs".into()).into());
    }
    let mut fields = Fields::read(&parts.headers, &body)?;
    let in_form = if fields.is_form() { in_form(&mut fields)? } else { None };
    let request = wishes::request(&mut fields, &parts.headers)?;
    fields.finish()?;
    let credential = match (credential::in_header(&parts.headers)?, in_form) {
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return Err(Unidentified::Missing.into()),
        (Some(_), Some(_)) => return Err(Unidentified::TwoMethods.into()),
    };
    Ok(Ask { credential, request })
}

/// The credential in the fields of a form (RFC 6749 §2.3.1); JSON has none.
fn in_form(fields: &mut Fields<'_>) -> Result<Option<Credential>, Refusal> {
    match (fields.text("client_id")?, fields.text("client_secret")?) {
        (None, None) => Ok(None),
        (Some(id), Some(secret)) => Ok(Some(Credential::id_and_secret(id.into_owned(), secret.as_bytes()))),
        _ => Err(Unidentified::Malformed("client_id and client_secret go together").into()),
    }
}

pub(super) fn success(answer: &Answer<'_>) -> Vec<u8> {
    let body = TokenBody {
        token: answer.token,
        token_type: "Bearer",
        expires_in: answer.expires_in,
        expires_at: answer.expires_at,
        base_url: answer.base_url,
        mode: answer.mode.name(),
        queries_per_second: answer.queries_per_second,
    };
    serde_json::to_vec(&body).expect("plain fields serialize")
}

pub(super) fn problem(doors: &Doors, id: RequestId, fault: &Fault) -> Response<Full<Bytes>> {
    let retry_after = fault.retry_after_seconds();
    let problem = Problem {
        r#type: format!("{}/errors#{}", doors.issue.site.load().public_url, fault.entry.code),
        title: fault.entry.title,
        status: fault.entry.status.as_u16(),
        detail: &fault.detail,
        code: fault.entry.code,
        request_id: id.to_string(),
        field: fault.field.as_deref(),
        limit: fault.limit,
        retry_after,
        upstream_code: fault.upstream_code.as_deref(),
    };
    let body = Bytes::from(serde_json::to_vec(&problem).expect("plain fields serialize"));
    let mut response = super::response(fault.entry.status, "application/problem+json", id, body);
    if fault.entry.status == StatusCode::UNAUTHORIZED {
        // RFC 9110 §11.6.1: a 401 names a way to authenticate.
        for challenge in ["Basic realm=\"valet\"", fault.bearer_challenge()] {
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
        }
    }
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
