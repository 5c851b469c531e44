//! `POST /oauth/revoke` (RFC 7009): an app ends a relay token of its own.

use std::time::Instant;

use bytes::Bytes;
use http::{Response, StatusCode, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use utoipa::ToSchema;

use super::{Doors, Peer, errors::Fault, fields::Fields, oauth, openapi};
use crate::{
    audit::Door,
    identity::{Credential, Unidentified},
    issue::Refusal,
    site::Form,
};

/// Which token is to end. Fields that are not listed are not looked at.
#[derive(ToSchema)]
#[schema(as = RevocationRequest)]
#[expect(dead_code, reason = "fields are read one by one, so that errors name them")]
struct RequestForm {
    /// The relay token.
    token: String,
    /// What kind of token it is; not looked at.
    token_type_hint: Option<String>,
    /// The app's id, unless it is in the header.
    client_id: Option<String>,
    /// The app's secret, unless it is in the header.
    client_secret: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`, with `client_assertion`.
    client_assertion_type: Option<String>,
    /// A JWT that the app signed (RFC 7523 §2.2).
    client_assertion: Option<String>,
}

/// End a relay token of the app's own.
#[utoipa::path(
    post,
    path = "/oauth/revoke",
    operation_id = "revokeToken",
    tag = "tokens",
    request_body(content = RequestForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "It opens nothing any more, or never did for this app.",
            content_type = "application/json", body = Object),
        openapi::RevocationErrors
    ),
    security((), ("basic" = []))
)]
pub(super) async fn revoke(
    doors: &Doors,
    peer: &Peer,
    parts: &Parts,
    body: Incoming,
) -> Response<Full<Bytes>> {
    let mut arrival = doors.arrival(Door::OAuth, peer, &parts.headers);
    let id = arrival.request_id;
    let asked = read(doors, parts, body, &mut arrival.read).await;
    let answer = |revoked: Result<(), &Refusal>| {
        let response = match revoked {
            Ok(()) => super::response(StatusCode::OK, "application/json", id, Bytes::from_static(b"{}")),
            Err(refused) => oauth::refusal(doors, id, &Fault::from(refused), Form::OAuth),
        };
        (response.status().as_u16(), response)
    };
    doors.issue.revoke(arrival, asked, answer).await
}

async fn read(
    doors: &Doors,
    parts: &Parts,
    body: Incoming,
    at: &mut Instant,
) -> Result<(Credential, String), Refusal> {
    let body = oauth::body(doors, parts, body, at).await?;
    let mut fields = Fields::parameters(&parts.headers, &body)?;
    let credential = oauth::own_credential(&parts.headers, &mut fields)?.ok_or(Unidentified::Missing)?;
    Ok((credential, oauth::required(&mut fields, "token")?.into_owned()))
}
