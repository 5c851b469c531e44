//! What an OAuth library can find out by itself: authorization server metadata (RFC 8414).

use std::sync::Arc;

use axum::{body::Body, extract::State};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Doors, oauth::GRANT_TYPES};
use crate::{jwt::ALGORITHMS, keyring::Keyring, policy::SCOPE};

/// RFC 8414 §2.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthorizationServerMetadata)]
struct Metadata<'s> {
    /// The audience of client assertions.
    issuer: &'s str,
    /// Where tokens are.
    token_endpoint: String,
    /// None: nobody is sent here to sign in.
    response_types_supported: [&'static str; 0],
    /// The grant types of the token endpoint.
    grant_types_supported: [&'static str; 3],
    /// How an app proves itself there.
    token_endpoint_auth_methods_supported: [&'static str; 4],
    /// By which algorithms its assertions may be signed.
    token_endpoint_auth_signing_alg_values_supported: &'static [&'static str],
    /// The scopes that there are.
    scopes_supported: [&'static str; 1],
    /// Where relay tokens are revoked.
    revocation_endpoint: String,
    /// How an app proves itself there.
    revocation_endpoint_auth_methods_supported: [&'static str; 3],
    /// By which algorithms its assertions may be signed.
    revocation_endpoint_auth_signing_alg_values_supported: &'static [&'static str],
    /// The keys that relay tokens are signed with.
    jwks_uri: String,
    /// What is documented for people.
    service_documentation: String,
}

/// Authorization server metadata (RFC 8414).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", operation_id = "metadata", tag = "pages",
    responses((status = 200, description = "The metadata.", body = Metadata<'_>)))]
pub(super) async fn page(State(doors): State<Arc<Doors>>) -> Response<Body> {
    let site = doors.issue.site.load();
    let issuer = &site.issuer;
    let metadata = Metadata {
        issuer,
        token_endpoint: format!("{issuer}/oauth/token"),
        response_types_supported: [],
        grant_types_supported: GRANT_TYPES,
        token_endpoint_auth_methods_supported: [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
            "none",
        ],
        token_endpoint_auth_signing_alg_values_supported: &ALGORITHMS,
        scopes_supported: [SCOPE],
        revocation_endpoint: format!("{issuer}/oauth/revoke"),
        revocation_endpoint_auth_methods_supported: [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ],
        revocation_endpoint_auth_signing_alg_values_supported: &ALGORITHMS,
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        service_documentation: format!("{issuer}/openapi.json"),
    };
    let body = Bytes::from(serde_json::to_vec(&metadata).expect("plain fields serialize"));
    super::response(StatusCode::OK, "application/json", doors.request_ids.next(), body).map(Body::new)
}

/// The keys that relay tokens are signed with (RFC 7517); none, if there is no relay.
#[utoipa::path(get, path = "/.well-known/jwks.json", operation_id = "keys", tag = "pages",
    responses((status = 200, description = "A JWK set.", content_type = "application/json", body = Object)))]
pub(super) async fn keys(State(doors): State<Arc<Doors>>) -> Response<Body> {
    let site = doors.issue.site.load();
    let keys = site.keyring().map_or_else(|| json!({ "keys": [] }), Keyring::jwks);
    let body = Bytes::from(keys.to_string());
    super::response(StatusCode::OK, "application/json", doors.request_ids.next(), body).map(Body::new)
}
