//! The door `POST /oauth/token`: for every OAuth 2.0 library. Client credentials (RFC 6749 §4.4), token
//! exchange (RFC 8693) and JWT bearer grants (RFC 7523 §2.1).

use std::{borrow::Cow, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Doors, Peer, body, credential,
    errors::Fault,
    fields::{Fields, wrong},
    openapi, wishes,
};
use crate::{
    audit::Door,
    identity::{By, Credential, Unidentified},
    issue::{Answer, Ask, Refusal, Unreadable},
    policy::SCOPE,
    request_id::RequestId,
    site::Form,
};

/// The grant types that there are (`grant_types_supported` of RFC 8414).
pub(super) const GRANT_TYPES: [&str; 3] = [
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
];

const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The types of subject tokens: which of them an app accepts, the token itself has to prove.
const SUBJECT_TOKENS: [&str; 3] =
    [ACCESS_TOKEN, "urn:ietf:params:oauth:token-type:id_token", "urn:ietf:params:oauth:token-type:jwt"];

/// What is asked for. Fields that are not listed are not looked at (RFC 6749 §3.2).
#[derive(ToSchema)]
#[schema(as = OAuthTokenRequest)]
#[expect(dead_code, reason = "fields are read one by one, so that errors name them; a test compares both")]
struct RequestForm {
    /// `client_credentials`, `urn:ietf:params:oauth:grant-type:token-exchange` or
    /// `urn:ietf:params:oauth:grant-type:jwt-bearer`.
    grant_type: String,
    /// The app's id, unless it is in the header.
    client_id: Option<String>,
    /// The app's secret, unless it is in the header.
    client_secret: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`, with `client_assertion`.
    client_assertion_type: Option<String>,
    /// A JWT that the app signed (RFC 7523 §2.2).
    client_assertion: Option<String>,
    /// Of a JWT bearer grant: the token that vouches for a user.
    assertion: Option<String>,
    /// Of a token exchange: the token that vouches for a user.
    subject_token: Option<String>,
    /// Of a token exchange: `urn:ietf:params:oauth:token-type:id_token`, `…:access_token` or `…:jwt`.
    subject_token_type: Option<String>,
    /// Of a token exchange: `urn:ietf:params:oauth:token-type:access_token`, if anything.
    requested_token_type: Option<String>,
    /// The one scope there is.
    #[schema(pattern = "^transcribe$")]
    scope: Option<String>,
    /// As at `/v1/tokens`.
    #[schema(minimum = 0)]
    min_ttl: Option<u32>,
    /// As at `/v1/tokens`.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    rejected: Option<String>,
    /// As at `/v1/tokens`.
    #[schema(min_length = 1, max_length = 256)]
    subject: Option<String>,
    /// As at `/v1/tokens`.
    #[schema(min_length = 1, max_length = 256)]
    client_reference_id: Option<String>,
}

/// The success body of RFC 6749 §5.1, with members of our own.
#[derive(Serialize, ToSchema)]
#[schema(as = OAuthToken)]
struct TokenBody<'s> {
    /// The token: send it as `Authorization: Bearer`.
    access_token: &'s str,
    /// What it is (RFC 8693 §2.2.1); only of a token exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    /// Always `Bearer`.
    token_type: &'static str,
    /// The life that it has left, in whole seconds.
    expires_in: u64,
    /// The one scope there is.
    scope: &'static str,
    /// Where it works.
    base_url: &'s str,
    /// `direct`: it is a token of the upstream's own; `relay`: it is one of Valet's, which opens the relay.
    mode: &'static str,
    /// The status queries a second that the holder of a direct token may make.
    #[serde(skip_serializing_if = "Option::is_none")]
    queries_per_second: Option<f64>,
}

/// The error body of RFC 6749 §5.2.
#[derive(Serialize, ToSchema)]
#[schema(as = OAuthError)]
pub(super) struct ErrorBody {
    /// The code.
    error: &'static str,
    /// What is wrong, and what to do about it.
    error_description: String,
    /// Where this kind of refusal is described.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_uri: Option<String>,
}

/// The token endpoint of OAuth 2.0.
#[utoipa::path(
    post,
    path = "/oauth/token",
    operation_id = "oauthToken",
    tag = "tokens",
    request_body(content = RequestForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "A token.", body = TokenBody<'_>), openapi::OAuthErrors),
    security((), ("basic" = []))
)]
pub(super) fn issue(
    doors: &Doors,
    peer: &Peer,
    parts: &Parts,
    body: Incoming,
) -> impl Future<Output = Response<Full<Bytes>>> + Send {
    let mut arrival = doors.arrival(Door::OAuth, peer, &parts.headers);
    async move {
        let mut form = Form::OAuth;
        let ask = read(doors, parts, body, &mut arrival.read, &mut form).await;
        let refusal = |id, fault: &Fault| refusal(doors, id, fault, form);
        let mut response = doors.decide(arrival, form, &ask, |answer| success(answer, form), refusal).await;
        // RFC 6749 §5.1.
        response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        response
    }
}

/// Reads the request, and notes whether it is a token exchange.
async fn read(
    doors: &Doors,
    parts: &Parts,
    body: Incoming,
    at: &mut Instant,
    form: &mut Form,
) -> Result<Ask, Refusal> {
    let body = self::body(doors, parts, body, at).await?;
    let mut fields = Fields::parameters(&parts.headers, &body)?;
    let credential;
    (credential, *form) = self::credential(&parts.headers, &mut fields)?;
    Ok(Ask { credential, request: wishes::request(&mut fields, &parts.headers)? })
}

/// The body of a request, in which all parameters are.
pub(super) async fn body(
    doors: &Doors,
    parts: &Parts,
    body: Incoming,
    at: &mut Instant,
) -> Result<Vec<u8>, Unreadable> {
    let body = body::read(body, &doors.bounds, &*doors.issue.clock, at).await?;
    if parts.uri.query().is_some() {
        return Err(Unreadable::Body("put nothing in the query: URLs end up in logs".into()));
    }
    Ok(body)
}

/// The credential of the app itself.
pub(super) fn own_credential(
    headers: &HeaderMap,
    fields: &mut Fields<'_>,
) -> Result<Option<Credential>, Refusal> {
    match client(headers, fields)? {
        Client::Proves(credential) => Ok(Some(credential)),
        Client::IsNamed(_) | Client::IsSilent => Ok(None),
    }
}

/// Who asks, by which grant.
pub(super) fn credential(
    headers: &HeaderMap,
    fields: &mut Fields<'_>,
) -> Result<(Credential, Form), Refusal> {
    let grant_type = fields.text("grant_type")?;
    let grant_type = grant_type.ok_or_else(|| wrong("grant_type", "is missing"))?;
    let place = GRANT_TYPES.iter().position(|known| *known == grant_type);
    let client = client(headers, fields)?;
    match place.ok_or(Unreadable::GrantType)? {
        0 => match client {
            Client::Proves(credential) => Ok((credential, Form::OAuth)),
            Client::IsNamed(_) | Client::IsSilent => Err(Unidentified::Missing.into()),
        },
        1 => Ok((Credential::subject(client.into(), subject_token(fields)?.into_owned()), Form::Exchange)),
        _ => {
            let assertion = required(fields, "assertion")?.into_owned();
            Ok((Credential::subject(client.into(), assertion), Form::OAuth))
        }
    }
}

/// What a client says of itself.
enum Client {
    Proves(Credential),
    IsNamed(String),
    IsSilent,
}

impl From<Client> for By {
    fn from(client: Client) -> Self {
        match client {
            Client::Proves(credential) => Self::Proved(Box::new(credential)),
            Client::IsNamed(app) => Self::App(app),
            Client::IsSilent => Self::Anyone,
        }
    }
}

/// Client authentication (RFC 6749 §2.3, RFC 7521 §4.2): at most one method.
fn client(headers: &HeaderMap, fields: &mut Fields<'_>) -> Result<Client, Refusal> {
    let in_header = credential::client_in_header(headers)?;
    let (id, secret) = (fields.text("client_id")?, fields.text("client_secret")?);
    let assertion_type = fields.text("client_assertion_type")?;
    let assertion = fields.text("client_assertion")?;
    match (in_header, secret, assertion) {
        (None, None, None) if assertion_type.is_some() => {
            Err(wrong("client_assertion", "is missing: client_assertion_type stands there").into())
        }
        (None, None, None) => Ok(id.map_or(Client::IsSilent, |id| Client::IsNamed(id.into_owned()))),
        (Some(credential), None, None) => match &credential {
            Credential::IdAndSecret { app, .. } if id.is_some_and(|id| id != *app) => {
                Err(wrong("client_id", "is another than in the header").into())
            }
            _ => Ok(Client::Proves(credential)),
        },
        (None, Some(secret), None) => {
            let id = id.ok_or_else(|| wrong("client_id", "is missing: client_secret stands there"))?;
            Ok(Client::Proves(Credential::id_and_secret(id.into_owned(), secret.as_bytes())))
        }
        (None, None, Some(assertion)) => match assertion_type.as_deref() {
            Some(CLIENT_ASSERTION) => {
                let id = id.map(Cow::into_owned);
                Ok(Client::Proves(Credential::assertion(id, assertion.into_owned())))
            }
            Some(_) => {
                let known = "client_assertion_type: must be \
                             urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                Err(Unidentified::Malformed(known).into())
            }
            None => Err(wrong("client_assertion_type", "is missing: client_assertion stands there").into()),
        },
        _ => Err(Unidentified::TwoMethods.into()),
    }
}

/// The subject token of an exchange (RFC 8693 §2.1).
fn subject_token<'b>(fields: &mut Fields<'b>) -> Result<Cow<'b, str>, Unreadable> {
    let token = required(fields, "subject_token")?;
    if !SUBJECT_TOKENS.contains(&&*required(fields, "subject_token_type")?) {
        let known = "must be urn:ietf:params:oauth:token-type:id_token, …:access_token or …:jwt";
        return Err(wrong("subject_token_type", known));
    }
    if fields.text("requested_token_type")?.is_some_and(|wanted| wanted != ACCESS_TOKEN) {
        let known = "must be urn:ietf:params:oauth:token-type:access_token, or left out";
        return Err(wrong("requested_token_type", known));
    }
    for name in ["actor_token", "actor_token_type"] {
        if fields.text(name)?.is_some() {
            return Err(wrong(name, "nobody acts for another here; leave it out"));
        }
    }
    for name in ["resource", "audience"] {
        if fields.text(name)?.is_some() {
            return Err(Unreadable::Target);
        }
    }
    Ok(token)
}

pub(super) fn required<'b>(fields: &mut Fields<'b>, name: &'static str) -> Result<Cow<'b, str>, Unreadable> {
    fields.text(name)?.ok_or_else(|| wrong(name, "is missing"))
}

fn success(answer: &Answer<'_>, form: Form) -> Vec<u8> {
    let body = TokenBody {
        access_token: answer.token,
        issued_token_type: (form == Form::Exchange).then_some(ACCESS_TOKEN),
        token_type: "Bearer",
        expires_in: answer.expires_in,
        scope: SCOPE,
        base_url: answer.base_url,
        mode: answer.mode.name(),
        queries_per_second: answer.queries_per_second,
    };
    serde_json::to_vec(&body).expect("plain fields serialize")
}

pub(super) fn refusal(doors: &Doors, id: RequestId, fault: &Fault, form: Form) -> Response<Full<Bytes>> {
    let error = match fault.entry.oauth {
        // RFC 8693 §2.2.2: of an exchange, a bad subject token is the request's own fault.
        "invalid_grant" if form == Form::Exchange => "invalid_request",
        error => error,
    };
    let public_url = &doors.issue.site.load().public_url;
    let body = ErrorBody {
        error,
        error_description: fault.detail.replace('…', "...").chars().map(in_description).collect(),
        error_uri: (!public_url.is_empty()).then(|| format!("{public_url}/errors#{}", fault.entry.code)),
    };
    let body = Bytes::from(serde_json::to_vec(&body).expect("plain fields serialize"));
    let mut response = super::response(status(error, fault.entry.status), "application/json", id, body);
    let headers = response.headers_mut();
    if error == "invalid_client" {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"valet\""));
    }
    if let Some(seconds) = fault.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The status of an error: 400 but for what the standard excepts, and for what has no code in it.
pub(super) fn status(error: &str, natural: StatusCode) -> StatusCode {
    match error {
        "invalid_client" => StatusCode::UNAUTHORIZED,
        "temporarily_unavailable" if natural == StatusCode::TOO_MANY_REQUESTS => natural,
        "temporarily_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        // Faults of HTTP, before there is any request of OAuth.
        _ => match natural {
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::PAYLOAD_TOO_LARGE => natural,
            _ => StatusCode::BAD_REQUEST,
        },
    }
}

/// The characters that a description may have (RFC 6749 §5.2).
fn in_description(c: char) -> char {
    match c {
        '"' => '\'',
        ' '..='~' if c != '\\' => c,
        _ => '?',
    }
}
