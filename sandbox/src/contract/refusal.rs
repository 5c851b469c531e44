//! A refused request, in the vendor's words and statuses; how it is sent is the HTTP part's.

use std::{borrow::Cow, fmt};

use hyper::StatusCode;

/// Why a request is refused: an HTTP status and the `code` and `message` of the body.
///
/// Codes and statuses: Model Studio, *Error messages*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    /// 400 `InvalidParameter`: `field` breaks its rule.
    pub(crate) fn parameter(field: &str, rule: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidParameter", format!("{field}: {rule}"))
    }

    /// 400 with a code of its own.
    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 401 `InvalidApiKey`: no key, an unknown one, or a token that has expired.
    ///
    /// The code for an expired token is not documented; the service has none better.
    pub(crate) fn key(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "InvalidApiKey", message)
    }

    /// 403 `AccessDenied`.
    pub(crate) fn access(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDenied", message)
    }

    /// 404 `NotFound`.
    pub(crate) fn not_found(message: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// 429 `Throttling.RateQuota` (*Rate limits*).
    pub(crate) fn throttled() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Throttling.RateQuota",
            "Requests rate limit exceeded, please try again later.",
        )
    }

    /// 503 `SystemError`: the sandbox itself is at an end of its means.
    pub(crate) fn exhausted(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SystemError", message)
    }
}
