//! Every refusal of every stage → its status, code and words. The one place that knows both sides.

use std::{fmt::Write, sync::Arc, time::Duration};

use axum::{body::Body, extract::State};
use bytes::Bytes;
use http::{Response, StatusCode};

use super::Doors;
use crate::{
    identity::Unidentified,
    issue::{Refusal, Unreadable},
    policy::Denial,
    token::{Failure, Kind},
};

/// A kind of refusal, as the documentation lists it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) status: StatusCode,
    /// Valet's own code, and the fragment of the problem type.
    pub(super) code: &'static str,
    pub(super) title: &'static str,
    /// The nearest code that DashScope documents.
    pub(super) dashscope: &'static str,
    /// The code of RFC 6749 §5.2 and its extensions.
    pub(super) oauth: &'static str,
    pub(super) remedy: &'static str,
}

macro_rules! catalogue {
    ($($name:ident: $status:ident, $code:literal, $title:literal, $dashscope:literal, $oauth:literal, $remedy:literal;)*) => {
        $(pub(super) const $name: Entry = Entry {
            status: StatusCode::$status, code: $code, title: $title, dashscope: $dashscope, oauth: $oauth, remedy: $remedy,
        };)*
        /// Every kind of refusal there is.
        pub(super) const CATALOGUE: &[&Entry] = &[$(&$name),*];
    };
}

catalogue! {
    INVALID_REQUEST: BAD_REQUEST, "invalid_request", "The request cannot be read", "InvalidParameter", "invalid_request",
        "Mend the field that the message names.";
    UNSUPPORTED_GRANT_TYPE: BAD_REQUEST, "unsupported_grant_type", "There is no such grant type here", "InvalidParameter", "unsupported_grant_type",
        "Use client_credentials, token exchange or a JWT bearer grant.";
    UNSUPPORTED_TOKEN_TYPE: BAD_REQUEST, "unsupported_token_type", "Such a token cannot be revoked", "InvalidParameter", "unsupported_token_type",
        "Direct tokens live to their end, at most their minute; only relay tokens can be revoked.";
    INVALID_TARGET: BAD_REQUEST, "invalid_target", "A token exchange names no target here", "InvalidParameter", "invalid_target",
        "Leave out resource and audience: an app has one upstream.";
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large", "InvalidParameter", "invalid_request",
        "Send less; a token request has a few hundred bytes.";
    BODY_TOO_SLOW: REQUEST_TIMEOUT, "body_too_slow", "The body did not arrive in time", "RequestTimeOut", "invalid_request",
        "Send the body along with the head.";
    UNSUPPORTED_MEDIA_TYPE: UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body's type is not read here", "InvalidParameter", "invalid_request",
        "Send JSON or a form, and say so in Content-Type; or send no body.";
    MISSING_CREDENTIAL: UNAUTHORIZED, "missing_credential", "No credential was sent", "InvalidApiKey", "invalid_client",
        "Send the app's id and secret by HTTP Basic, or its secret as bearer.";
    MALFORMED_CREDENTIAL: UNAUTHORIZED, "malformed_credential", "The credential cannot be read", "InvalidApiKey", "invalid_client",
        "Send one credential, as Basic or Bearer.";
    TWO_METHODS: UNAUTHORIZED, "two_credentials", "There is more than one credential", "InvalidApiKey", "invalid_request",
        "Send one, in the header or in the form.";
    INVALID_CREDENTIAL: UNAUTHORIZED, "invalid_credential", "The credential is wrong", "InvalidApiKey", "invalid_client",
        "Check the app's id and secret; the operator makes a new one with `valet-server app new`.";
    INVALID_ASSERTION: UNAUTHORIZED, "invalid_assertion", "The client assertion proves nothing", "InvalidApiKey", "invalid_client",
        "Mend the claim that the message names; sign a new assertion, with its own jti, for each request.";
    INVALID_SUBJECT_TOKEN: UNAUTHORIZED, "invalid_subject_token", "The subject token proves nothing", "InvalidApiKey", "invalid_grant",
        "Have the user sign in again; if that does not help, compare the token's claims with subject_tokens in the configuration.";
    INVALID_RELAY_TOKEN: UNAUTHORIZED, "invalid_relay_token", "The relay token opens nothing", "InvalidApiKey", "invalid_token",
        "Get a new one from the broker.";
    ISSUER_UNAVAILABLE: SERVICE_UNAVAILABLE, "issuer_unavailable", "The keys of the issuer cannot be had", "SystemError", "temporarily_unavailable",
        "Wait for Retry-After; the operator finds the reason in the log.";
    TOO_MANY_ASSERTIONS: SERVICE_UNAVAILABLE, "too_many_assertions", "Too many client assertions are in use", "SystemError", "temporarily_unavailable",
        "Wait for Retry-After, and use each token for its whole life.";
    APP_DISABLED: FORBIDDEN, "app_disabled", "The app is disabled", "AccessDenied", "invalid_client",
        "Ask the operator of this broker.";
    LIFETIME_TOO_LONG: BAD_REQUEST, "lifetime_too_long", "The app may not have so long a lifetime", "InvalidParameter", "invalid_request",
        "Ask for no more than the message says; the operator can raise max_lifetime.";
    MIN_TTL_TOO_LONG: BAD_REQUEST, "min_ttl_too_long", "So much remaining life cannot be promised", "InvalidParameter", "invalid_request",
        "Ask for no more than the message says, and renew in time; the operator can raise max_lifetime.";
    SUBJECT_NOT_ALLOWED: FORBIDDEN, "subject_not_allowed", "The app may not name a subject", "AccessDenied", "unauthorized_client",
        "Leave it out; the operator can set may_name_subject.";
    ORIGIN_NOT_ALLOWED: FORBIDDEN, "origin_not_allowed", "The app's requests come from other origins", "AccessDenied", "unauthorized_client",
        "Ask from one of the app's own pages; the operator lists them in origins.";
    NOT_RELAYED: FORBIDDEN, "not_relayed", "The relay is not for this app", "AccessDenied", "unauthorized_client",
        "Call DashScope itself, at the base_url that comes with the app's tokens; the operator can set mode = \"relay\".";
    MODEL_NOT_ALLOWED: FORBIDDEN, "model_not_allowed", "The app may not use this model", "Model.AccessDenied", "invalid_scope",
        "Use one that the message names; the operator lists them in models.";
    TOO_MANY_URLS: BAD_REQUEST, "too_many_urls", "The task has more recordings than the app may have", "InvalidParameter", "invalid_scope",
        "Split it; the operator can raise urls_per_task.";
    HOST_NOT_ALLOWED: FORBIDDEN, "host_not_allowed", "The recordings lie on another host than the app's may", "AccessDenied", "invalid_scope",
        "Put them where the app's recordings lie; the operator lists the hosts in file_hosts.";
    VOCABULARY_NOT_ALLOWED: FORBIDDEN, "vocabulary_not_allowed", "The app may not use this vocabulary", "AccessDenied", "invalid_scope",
        "Leave it out; the operator lists them in vocabularies.";
    OUTCOME_UNKNOWN: CONFLICT, "outcome_unknown", "The task was sent, and nobody knows whether it arrived", "SubmitOutcomeUnknown", "invalid_request",
        "It may run, and be paid for, and no list of the relay has it. Send it again only if that may cost twice, under a new key.";
    NO_RESULT: NOT_FOUND, "no_result", "There is no such result, or not any more", "NotFound", "invalid_request",
        "Query the task again: each query names its results anew, for ten minutes.";
    UNKNOWN_SCOPE: BAD_REQUEST, "invalid_scope", "There is no such scope", "InvalidParameter", "invalid_scope",
        "Ask for \"transcribe\", or leave it out.";
    RATE_LIMITED: TOO_MANY_REQUESTS, "rate_limited", "A limit is reached", "Throttling.RateQuota", "temporarily_unavailable",
        "Wait for Retry-After, and use each token for its whole life; `limit` names the setting.";
    MINT_CAP: TOO_MANY_REQUESTS, "mint_cap", "The app's cap on new tokens is reached", "Throttling.RateQuota", "temporarily_unavailable",
        "Wait for Retry-After; with sharing = \"app\" one token serves any number of callers.";
    UNRECORDED: SERVICE_UNAVAILABLE, "unrecorded", "The audit trail cannot be written", "SystemError", "temporarily_unavailable",
        "Wait for Retry-After; the operator has asked for no token that is not recorded.";
    SHARED_STATE_AWAY: SERVICE_UNAVAILABLE, "shared_state_away", "What the broker's replicas share is away", "SystemError", "temporarily_unavailable",
        "Wait for Retry-After; an app with a secret can use that instead of an assertion.";
    UPSTREAM_THROTTLED: SERVICE_UNAVAILABLE, "upstream_throttled", "The upstream asks for fewer mints", "SystemError", "temporarily_unavailable",
        "Wait for Retry-After.";
    UPSTREAM_REFUSED: BAD_GATEWAY, "upstream_refused", "The upstream refuses the broker", "SystemError", "temporarily_unavailable",
        "Ask the operator: the upstream key lacks rights, or a bill is open.";
    NO_UPSTREAM_KEY: SERVICE_UNAVAILABLE, "no_upstream_key", "The broker has no usable upstream key", "SystemError", "temporarily_unavailable",
        "Ask the operator: the upstream does not accept the key.";
    UPSTREAM_UNAVAILABLE: SERVICE_UNAVAILABLE, "upstream_unavailable", "The upstream does not answer", "SystemError", "temporarily_unavailable",
        "Wait for Retry-After.";
    UPSTREAM_MALFORMED: BAD_GATEWAY, "upstream_malformed", "The upstream's answer makes no sense", "SystemError", "temporarily_unavailable",
        "Ask the operator whether base_url is right.";
    SUPERSEDED: SERVICE_UNAVAILABLE, "superseded", "What the token depends on has just changed", "SystemError", "temporarily_unavailable",
        "Ask again.";
    NOT_FOUND: NOT_FOUND, "not_found", "There is nothing here", "NotFound", "invalid_request",
        "Check the path.";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED, "method_not_allowed", "This path has no such method", "NotFound", "invalid_request",
        "Token requests are POST.";
}

/// One refusal, ready for a door to put in its own words.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) entry: &'static Entry,
    pub(super) detail: String,
    pub(super) retry_after: Option<Duration>,
    /// The field that is at fault.
    pub(super) field: Option<String>,
    /// The limit that was reached.
    pub(super) limit: Option<&'static str>,
    /// The upstream's own code.
    pub(super) upstream_code: Option<Arc<str>>,
}

impl Fault {
    pub(super) fn of(entry: &'static Entry, detail: &dyn ToString) -> Self {
        let detail = detail.to_string();
        Self { entry, detail, retry_after: None, field: None, limit: None, upstream_code: None }
    }

    /// Whole seconds to wait, rounded up: asking then is not too early.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        let wait = self.retry_after?;
        Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }
}

impl Fault {
    /// What a bearer is told with a 401 (RFC 6750 §3): an error only of one that was shown.
    pub(super) fn bearer_challenge(&self) -> &'static str {
        match self.entry.code {
            "invalid_relay_token" | "invalid_subject_token" => {
                "Bearer realm=\"valet\", error=\"invalid_token\""
            }
            _ => "Bearer realm=\"valet\"",
        }
    }
}

impl From<&Refusal> for Fault {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Unreadable(unreadable) => unreadable.into(),
            Refusal::Unidentified(who) => who.into(),
            Refusal::Denied(denial) => {
                let (entry, field) = match denial {
                    Denial::LifetimeTooLong { .. } => (&LIFETIME_TOO_LONG, "expire_in_seconds"),
                    Denial::MinTtlTooLong { .. } => (&MIN_TTL_TOO_LONG, "min_ttl"),
                    Denial::SubjectNotAllowed => (&SUBJECT_NOT_ALLOWED, "subject"),
                    Denial::OriginNotAllowed => (&ORIGIN_NOT_ALLOWED, "Origin"),
                    Denial::UnknownScope => (&UNKNOWN_SCOPE, "scope"),
                    Denial::NotRelayed => (&NOT_RELAYED, "Authorization"),
                    Denial::ModelNotAllowed { .. } => (&MODEL_NOT_ALLOWED, "model"),
                    Denial::TooManyUrls { .. } => (&TOO_MANY_URLS, "input.file_urls"),
                    Denial::HostNotAllowed { .. } => (&HOST_NOT_ALLOWED, "input.file_urls"),
                    Denial::VocabularyNotAllowed => (&VOCABULARY_NOT_ALLOWED, "parameters.vocabulary_id"),
                };
                Self { field: Some(field.to_owned()), ..Self::of(entry, denial) }
            }
            Refusal::Limited(reached) => Self {
                retry_after: Some(reached.retry_after),
                limit: Some(reached.limit),
                ..Self::of(&RATE_LIMITED, reached)
            },
            Refusal::Unrecorded => {
                // The writer tries again every second.
                Self { retry_after: Some(Duration::from_secs(1)), ..Self::of(&UNRECORDED, refusal) }
            }
            Refusal::Away(away) => {
                Self { retry_after: Some(Duration::from_secs(1)), ..Self::of(&SHARED_STATE_AWAY, away) }
            }
            Refusal::Failed(failure) => failure.into(),
        }
    }
}

impl From<&Unidentified> for Fault {
    fn from(who: &Unidentified) -> Self {
        let (entry, retry_after) = match who {
            Unidentified::Missing => (&MISSING_CREDENTIAL, None),
            Unidentified::Malformed(_) => (&MALFORMED_CREDENTIAL, None),
            Unidentified::TwoMethods => (&TWO_METHODS, None),
            Unidentified::Wrong => (&INVALID_CREDENTIAL, None),
            Unidentified::Assertion(_) => (&INVALID_ASSERTION, None),
            Unidentified::Subject(_) => (&INVALID_SUBJECT_TOKEN, None),
            Unidentified::RelayToken => (&INVALID_RELAY_TOKEN, None),
            // They are looked for twice a minute at most.
            Unidentified::NoKeys | Unidentified::Fetch(_) => (&ISSUER_UNAVAILABLE, Some(30)),
            Unidentified::Crowded => (&TOO_MANY_ASSERTIONS, Some(30)),
            Unidentified::Away(_) | Unidentified::Record(_) => (&SHARED_STATE_AWAY, Some(1)),
            Unidentified::Disabled(_) => (&APP_DISABLED, None),
        };
        Self { retry_after: retry_after.map(Duration::from_secs), ..Self::of(entry, who) }
    }
}

impl From<&Unreadable> for Fault {
    fn from(unreadable: &Unreadable) -> Self {
        let entry = match unreadable {
            Unreadable::Field { .. } | Unreadable::Body(_) => &INVALID_REQUEST,
            Unreadable::MediaType { .. } => &UNSUPPORTED_MEDIA_TYPE,
            Unreadable::GrantType => &UNSUPPORTED_GRANT_TYPE,
            Unreadable::Target => &INVALID_TARGET,
            Unreadable::NotRevocable => &UNSUPPORTED_TOKEN_TYPE,
            Unreadable::TooLarge { .. } => &BODY_TOO_LARGE,
            Unreadable::TooSlow { .. } => &BODY_TOO_SLOW,
        };
        let field = match unreadable {
            Unreadable::Field { field, .. } => Some(field.clone()),
            _ => None,
        };
        Self { field, ..Self::of(entry, unreadable) }
    }
}

impl From<&Failure> for Fault {
    fn from(failure: &Failure) -> Self {
        let entry = match failure.kind {
            Kind::InvalidKey | Kind::NoUsableKey => &NO_UPSTREAM_KEY,
            Kind::Refused => &UPSTREAM_REFUSED,
            Kind::Throttled => &UPSTREAM_THROTTLED,
            Kind::Unavailable | Kind::Unreachable | Kind::Timeout => &UPSTREAM_UNAVAILABLE,
            Kind::Malformed | Kind::TooShort => &UPSTREAM_MALFORMED,
            Kind::MintCap => &MINT_CAP,
            Kind::SharedAway => &SHARED_STATE_AWAY,
            Kind::Superseded => &SUPERSEDED,
        };
        Self {
            retry_after: Some(failure.retry_after),
            upstream_code: failure.code.clone(),
            limit: (failure.kind == Kind::MintCap).then_some("mints"),
            ..Self::of(entry, &format!("{}. {}", entry.title, entry.remedy))
        }
    }
}

/// The catalogue as the page that problem types point to.
#[must_use]
pub fn catalogue_markdown() -> String {
    let mut page = String::from(
        "# Errors\n\nEvery refusal of the broker, by its `code`. At `/v1/tokens` it is a problem document \
         (RFC 9457) whose `type` points here; at `/api/v1/tokens` it is DashScope's \
         `{code, message, request_id}` with the first code in brackets; at `/oauth/token` it is \
         `{error, error_description}` (RFC 6749 §5.2) with the second.\n",
    );
    for Entry { status, code, title, dashscope, oauth, remedy } in CATALOGUE {
        let status = status.as_u16();
        write!(page, "\n## {code}\n\n{title}. Status {status} (`{dashscope}`, `{oauth}`).\n\n{remedy}\n")
            .expect("a String takes what is written");
    }
    page
}

/// What each refusal means, and what to do about it.
#[utoipa::path(get, path = "/errors", operation_id = "errors", tag = "pages",
    responses((status = 200, description = "The catalogue.", content_type = "text/markdown", body = String)))]
pub(super) async fn page(State(doors): State<Arc<Doors>>) -> Response<Body> {
    let body = Bytes::from(catalogue_markdown());
    super::response(StatusCode::OK, "text/markdown; charset=utf-8", doors.request_ids.next(), body)
        .map(Body::new)
}
