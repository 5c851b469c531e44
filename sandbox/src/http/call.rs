//! A request that was read whole, and what the handlers ask of it.

use std::{sync::Mutex, time::Instant};

use bytes::Bytes;
use hyper::{HeaderMap, Response, StatusCode, header::CONTENT_TYPE, http::request::Parts};
use jiff::SignedDuration;
use serde::Serialize;
use url::form_urlencoded;

use super::{Route, upload::Form};
use crate::{accounts::Caller, contract::Refusal, core::Core, fault::Effect, storage::Denial};

/// A request, read whole.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) route: Route,
    pub(super) parts: Parts,
    pub(super) body: Bytes,
    /// The form of an upload, until it is answered.
    pub(super) form: Mutex<Option<Result<Form, Denial>>>,
    pub(super) request_id: String,
    /// What a fault does to it, as far as handlers carry it out.
    pub(super) effect: Effect,
}

impl Call {
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Who calls.
    ///
    /// # Errors
    /// 401 `InvalidApiKey`.
    pub(super) fn caller(&self, core: &Core, now: Instant) -> Result<Caller, Refusal> {
        core.accounts.caller(self.headers(), now)
    }

    /// The parameters of the query string, each of which must be one of `known` and stand there once.
    ///
    /// # Errors
    /// 400 `InvalidParameter` that names the parameter.
    pub(super) fn query<const N: usize>(&self, known: [&str; N]) -> Result<[Option<String>; N], Refusal> {
        let mut values = [const { None }; N];
        for (name, value) in form_urlencoded::parse(self.parts.uri.query().unwrap_or_default().as_bytes()) {
            let name: String = name.chars().take(64).collect();
            let at = known.iter().position(|known| *known == name);
            let slot = at.and_then(|at| values.get_mut(at));
            let slot = slot.ok_or_else(|| Refusal::parameter(&name, "is no documented parameter"))?;
            if slot.replace(value.into_owned()).is_some() {
                return Err(Refusal::parameter(&name, "stands there more than once"));
            }
        }
        Ok(values)
    }

    /// Whether `X-DashScope-Async` says `enable`.
    pub(super) fn wants_async(&self) -> bool {
        self.headers().get("x-dashscope-async").is_some_and(|value| value == "enable")
    }

    /// Whether `X-DashScope-OssResourceResolve` says `enable`.
    pub(super) fn resolves_oss(&self) -> bool {
        self.headers().get("x-dashscope-ossresourceresolve").is_some_and(|value| value == "enable")
    }

    /// How far off the answer's times are to be.
    pub(super) fn skew(&self) -> SignedDuration {
        match self.effect {
            Effect::Skew { seconds } => SignedDuration::from_secs(seconds),
            _ => SignedDuration::ZERO,
        }
    }
}

/// 200 with a JSON body.
pub(super) fn json(body: &impl Serialize) -> Response<Bytes> {
    with_status(StatusCode::OK, body)
}

/// A JSON body under any status.
pub(super) fn with_status(status: StatusCode, body: &impl Serialize) -> Response<Bytes> {
    let body = serde_json::to_vec(body).expect("the sandbox's own wire types are valid JSON");
    typed(status, "application/json", body)
}

/// A body of any content type.
pub(super) fn typed(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    request_id: &'a str,
}

/// The documented error body: `{code, message, request_id}`.
pub(super) fn refused(refusal: &Refusal, request_id: &str) -> Response<Bytes> {
    let body = ErrorBody { code: &refusal.code, message: &refusal.message, request_id };
    with_status(refusal.status, &body)
}
