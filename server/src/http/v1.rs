//! The door `POST /v1/tokens`: for Valet's own clients. JSON in and out, problem details (RFC 9457).

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;

use super::{
    Doors, Peer, body, credential,
    errors::Fault,
    fields::{Fields, wrong},
};
use crate::{
    audit::Door,
    identity::{Credential, Unidentified},
    issue::{Answer, Ask, Refusal, Unreadable},
    policy::TokenRequest,
    request_id::RequestId,
};

/// The longest subject or reference of a caller, in bytes.
const LONGEST_WORD: usize = 256;

/// The success body.
#[derive(Serialize)]
struct TokenBody<'s> {
    token: &'s str,
    token_type: &'static str,
    expires_in: u64,
    expires_at: u64,
    base_url: &'s str,
    mode: &'static str,
    queries_per_second: f64,
}

/// A problem document (RFC 9457 §3.1), with members of our own (§3.2).
#[derive(Serialize)]
struct Problem<'s> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'s str,
    code: &'static str,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_code: Option<&'s str>,
}

pub(super) async fn issue(doors: &Doors, peer: Peer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let arrival = doors.arrival(Door::V1, peer, &parts.headers);
    let ask = read(doors, &parts, body).await;
    doors.decide(arrival, ask, success, |id, fault| problem(doors, id, fault)).await
}

async fn read(doors: &Doors, parts: &Parts, body: Incoming) -> Result<Ask, Refusal> {
    let body = body::read(body, &doors.bounds, &*doors.issue.clock).await?;
    if parts.uri.query().is_some() {
        return Err(Unreadable::Body("put nothing in the query: URLs end up in logs".into()).into());
    }
    let mut fields = Fields::read(&parts.headers, &body)?;
    let in_form = if fields.is_form() { in_form(&mut fields)? } else { None };
    let request = TokenRequest { origin: Doors::origin(&parts.headers), ..request(fields)? };
    let credential = match (credential::in_header(&parts.headers)?, in_form) {
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return Err(Unidentified::Missing.into()),
        (Some(_), Some(_)) => {
            return Err(
                Unidentified::Malformed("there is a credential in the header and one in the form").into()
            );
        }
    };
    Ok(Ask { credential, request })
}

/// The credential in the fields of a form (RFC 6749 §2.3.1); JSON has none.
fn in_form(fields: &mut Fields) -> Result<Option<Credential>, Refusal> {
    match (fields.text("client_id")?, fields.text("client_secret")?) {
        (None, None) => Ok(None),
        (Some(id), Some(secret)) => Ok(Some(Credential::id_and_secret(id, secret.as_bytes()))),
        _ => Err(Unidentified::Malformed("client_id and client_secret go together").into()),
    }
}

/// The request that the fields make.
fn request(mut fields: Fields) -> Result<TokenRequest, Unreadable> {
    let request = TokenRequest {
        min_ttl: fields.number("min_ttl")?,
        lifetime: None,
        rejected: fields.text("rejected")?.map(|text| sha256("rejected", &text)).transpose()?,
        subject: word(&mut fields, "subject")?,
        scope: word(&mut fields, "scope")?,
        client_reference_id: word(&mut fields, "client_reference_id")?,
        origin: None,
    };
    fields.finish()?;
    Ok(request)
}

/// A short text of the caller's own choice.
fn word(fields: &mut Fields, name: &'static str) -> Result<Option<String>, Unreadable> {
    let text = fields.text(name)?;
    let fits =
        |text: &String| (1..=LONGEST_WORD).contains(&text.len()) && !text.chars().any(char::is_control);
    if text.as_ref().is_none_or(fits) {
        return Ok(text);
    }
    Err(wrong(name, &format!("must have 1 to {LONGEST_WORD} bytes and no control characters")))
}

fn sha256(name: &'static str, text: &str) -> Result<[u8; 32], Unreadable> {
    let digest = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    let problem = "must be the SHA-256 of the refused token, as 64 lower-case hexadecimal digits";
    digest.ok_or_else(|| wrong(name, problem))
}

fn success(answer: &Answer<'_>) -> Vec<u8> {
    let body = TokenBody {
        token: answer.token,
        token_type: "Bearer",
        expires_in: answer.expires_in,
        expires_at: answer.expires_at,
        base_url: answer.base_url,
        mode: "direct",
        // Two decimals are enough to obey.
        queries_per_second: (answer.queries_per_second * 100.0).round() / 100.0,
    };
    serde_json::to_vec(&body).expect("plain fields serialize")
}

pub(super) fn problem(doors: &Doors, id: RequestId, fault: &Fault) -> Response<Full<Bytes>> {
    let retry_after = fault.retry_after_seconds();
    let problem = Problem {
        r#type: format!("{}#{}", doors.issue.site.load().errors_url, fault.entry.code),
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
        let challenge = HeaderValue::from_static("Basic realm=\"valet\", Bearer realm=\"valet\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
