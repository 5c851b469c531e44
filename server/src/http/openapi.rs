//! The OpenAPI document of the public routes, made from the doors' own types and the catalogue of errors.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use axum::{body::Body, extract::State};
use bytes::Bytes;
use http::{Response, StatusCode};
use utoipa::{
    IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        ContentBuilder, HeaderBuilder, Info, ObjectBuilder, OpenApi as OpenApiDocument, Ref, RefOr, Required,
        ResponseBuilder, Server, Type,
        response::Response as Documented,
        schema::Schema,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    Doors, dashscope,
    errors::{self, Entry},
    oauth, revoke, v1,
};

/// What the pages add to, each where it is served.
#[derive(OpenApi)]
#[openapi(
    paths(v1::issue, dashscope::issue, oauth::issue, revoke::revoke),
    components(schemas(v1::Problem<'_>, dashscope::ErrorBody<'_>, oauth::ErrorBody)),
    modifiers(&Credentials)
)]
struct OfDoors;

/// The document of the issuing doors.
pub(super) fn of_doors() -> OpenApiDocument {
    let mut document = OfDoors::openapi();
    document.info = Info::new("Valet broker", env!("CARGO_PKG_VERSION"));
    document.info.description =
        Some("Exchanges an app's own credential for a DashScope token that lives a minute.".into());
    for path in document.paths.paths.values_mut() {
        if let Some(RefOr::T(body)) = path.post.as_mut().and_then(|door| door.request_body.as_mut()) {
            // Nothing has to be said in it.
            body.required = Some(Required::False);
        }
    }
    document
}

/// How an app proves itself.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut OpenApiDocument) {
        let scheme = |scheme, description: &str| {
            let http = HttpBuilder::new().scheme(scheme).description(Some(description)).build();
            RefOr::T(SecurityScheme::Http(http))
        };
        let schemes = &mut document.components.get_or_insert_default().security_schemes;
        schemes.insert("basic".into(), scheme(HttpAuthScheme::Basic, "The app's id and secret."));
        schemes.insert(
            "bearer".into(),
            scheme(
                HttpAuthScheme::Bearer,
                "The app's secret; or a token by which an issuer vouches for its user.",
            ),
        );
    }
}

/// The refusals of `/v1/tokens`: problem documents.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        let not_here = [
            errors::LIFETIME_TOO_LONG.code,
            errors::UNSUPPORTED_GRANT_TYPE.code,
            errors::UNSUPPORTED_TOKEN_TYPE.code,
            errors::INVALID_TARGET.code,
            errors::INVALID_ASSERTION.code,
            errors::INVALID_RELAY_TOKEN.code,
            errors::TOO_MANY_ASSERTIONS.code,
        ];
        let name = v1::Problem::name();
        refusals(&not_here, "application/problem+json", &name, |entry| entry.code, |entry| entry.status)
    }
}

/// The refusals of `/api/v1/tokens`: DashScope's error bodies.
pub(super) struct ErrorBodies;

impl IntoResponses for ErrorBodies {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        let not_here = [
            errors::UNSUPPORTED_MEDIA_TYPE.code,
            errors::MIN_TTL_TOO_LONG.code,
            errors::SUBJECT_NOT_ALLOWED.code,
            errors::UNKNOWN_SCOPE.code,
            errors::UNSUPPORTED_GRANT_TYPE.code,
            errors::UNSUPPORTED_TOKEN_TYPE.code,
            errors::INVALID_TARGET.code,
            errors::INVALID_ASSERTION.code,
            errors::INVALID_RELAY_TOKEN.code,
            errors::TOO_MANY_ASSERTIONS.code,
        ];
        let name = dashscope::ErrorBody::name();
        refusals(&not_here, "application/json", &name, |entry| entry.dashscope, |entry| entry.status)
    }
}

/// The refusals of `/oauth/token`: RFC 6749's error bodies.
pub(super) struct OAuthErrors;

impl IntoResponses for OAuthErrors {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        refusals(
            &[
                errors::LIFETIME_TOO_LONG.code,
                errors::UNSUPPORTED_TOKEN_TYPE.code,
                errors::INVALID_RELAY_TOKEN.code,
            ],
            "application/json",
            &oauth::ErrorBody::name(),
            |entry| entry.oauth,
            |entry| oauth::status(entry.oauth, entry.status),
        )
    }
}

/// The refusals of the relay: DashScope's error bodies.
pub(super) struct RelayErrors;

impl IntoResponses for RelayErrors {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        let codes = |status| errors::CATALOGUE.iter().filter(move |entry| entry.status == status);
        let statuses: std::collections::BTreeSet<_> =
            errors::CATALOGUE.iter().map(|entry| entry.status).collect();
        let response = |status: StatusCode| {
            let said = codes(status)
                .map(|entry| format!("- `{}`: {}. {}", entry.dashscope, entry.title, entry.remedy));
            let schema = Ref::from_schema_name(dashscope::ErrorBody::name());
            let response = ResponseBuilder::new()
                .description(said.collect::<Vec<_>>().join("\n"))
                .content("application/json", ContentBuilder::new().schema(Some(schema)).build());
            (status.as_str().to_owned(), RefOr::T(response.build()))
        };
        statuses
            .into_iter()
            .filter(|status| *status != StatusCode::METHOD_NOT_ALLOWED)
            .map(response)
            .collect()
    }
}

/// The refusals of `/oauth/revoke`.
pub(super) struct RevocationErrors;

impl IntoResponses for RevocationErrors {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        let here = [
            errors::INVALID_REQUEST.code,
            errors::BODY_TOO_LARGE.code,
            errors::BODY_TOO_SLOW.code,
            errors::UNSUPPORTED_MEDIA_TYPE.code,
            errors::UNSUPPORTED_TOKEN_TYPE.code,
            errors::MISSING_CREDENTIAL.code,
            errors::MALFORMED_CREDENTIAL.code,
            errors::TWO_METHODS.code,
            errors::INVALID_CREDENTIAL.code,
            errors::INVALID_ASSERTION.code,
            errors::APP_DISABLED.code,
            errors::RATE_LIMITED.code,
            errors::ISSUER_UNAVAILABLE.code,
            errors::TOO_MANY_ASSERTIONS.code,
        ];
        let others = errors::CATALOGUE.iter().map(|entry| entry.code).filter(|code| !here.contains(code));
        refusals(
            &others.collect::<Vec<_>>(),
            "application/json",
            &oauth::ErrorBody::name(),
            |entry| entry.oauth,
            |entry| oauth::status(entry.oauth, entry.status),
        )
    }
}

/// What a token request can be refused with, by status.
fn refusals(
    not_here: &[&str],
    content_type: &str,
    schema: &str,
    code: impl Fn(&Entry) -> &'static str,
    status: impl Fn(&Entry) -> StatusCode,
) -> BTreeMap<String, RefOr<Documented>> {
    let mut by_status: BTreeMap<StatusCode, Vec<&Entry>> = BTreeMap::new();
    let no_route = [
        errors::NOT_FOUND.code,
        errors::METHOD_NOT_ALLOWED.code,
        errors::NOT_RELAYED.code,
        errors::MODEL_NOT_ALLOWED.code,
        errors::TOO_MANY_URLS.code,
        errors::HOST_NOT_ALLOWED.code,
        errors::VOCABULARY_NOT_ALLOWED.code,
        errors::OUTCOME_UNKNOWN.code,
        errors::NO_RESULT.code,
    ];
    for entry in errors::CATALOGUE {
        if !no_route.contains(&entry.code) && !not_here.contains(&entry.code) {
            by_status.entry(status(entry)).or_default().push(entry);
        }
    }
    let response = |(status, entries): (StatusCode, Vec<&Entry>)| {
        let said =
            entries.iter().map(|entry| format!("- `{}`: {}. {}", code(entry), entry.title, entry.remedy));
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
        let mut response = ResponseBuilder::new()
            .description(said.collect::<Vec<_>>().join("\n"))
            .content(content_type, content)
            .header("x-request-id", text("The name of this request in the audit trail."));
        if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
            response = response.header("Retry-After", text("The seconds to wait."));
        }
        if status == StatusCode::UNAUTHORIZED {
            response = response.header("WWW-Authenticate", text("The ways to prove oneself."));
        }
        (status.as_str().to_owned(), RefOr::T(response.build()))
    };
    by_status.into_iter().map(response).collect()
}

fn text(description: &str) -> utoipa::openapi::Header {
    let schema = Schema::Object(ObjectBuilder::new().schema_type(Type::String).build());
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}

/// The document, for a broker that is reached at `public_url`; without one, where the document was read.
#[must_use]
pub fn document(public_url: &str) -> Vec<u8> {
    static DOCUMENT: LazyLock<OpenApiDocument> = LazyLock::new(|| super::pages().into_openapi());
    let mut document = DOCUMENT.clone();
    document.servers = (!public_url.is_empty()).then(|| vec![Server::new(public_url)]);
    serde_json::to_vec(&document).expect("a document serializes")
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "pages",
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json", body = Object)))]
pub(super) async fn page(State(doors): State<Arc<Doors>>) -> Response<Body> {
    let body = Bytes::from(document(&doors.issue.site.load().public_url));
    super::response(StatusCode::OK, "application/json", doors.request_ids.next(), body).map(Body::new)
}
