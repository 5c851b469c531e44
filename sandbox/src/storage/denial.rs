//! Why the storage does not take a file, in OSS's words.

use std::borrow::Cow;

use hyper::StatusCode;

/// Why the storage does not take a file: an HTTP status, and the `Code` and `Message` of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: Cow<'static, str>,
}

impl Denial {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// 403 with this code.
    pub(crate) fn forbidden(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// 403 `AccessDenied`: the policy does not allow it.
    pub(crate) fn policy(why: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDenied", format!("Invalid according to Policy: {why}"))
    }

    /// 400 `MalformedPOSTRequest`: it is no form.
    pub(crate) fn malformed() -> Self {
        let message = "The body of your POST request is not well-formed multipart/form-data.";
        Self::new(StatusCode::BAD_REQUEST, "MalformedPOSTRequest", message)
    }

    /// 400 `InvalidArgument`: a field of the form is missing or unknown.
    pub(crate) fn argument(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
    }

    /// 400 `EntityTooLarge`.
    pub(crate) fn too_large() -> Self {
        let message = "Your proposed upload exceeds the maximum allowed size.";
        Self::new(StatusCode::BAD_REQUEST, "EntityTooLarge", message)
    }

    /// 503: the sandbox itself is at an end of its means.
    pub(crate) fn exhausted(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }
}
