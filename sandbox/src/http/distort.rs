//! What a fault makes of an answer.

use std::time::Duration;

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use valet_clock::SharedClock;

use super::{
    body::{Body, dripping, endless, half, whole},
    call::{Call, refused, typed, with_status},
};
use crate::{contract::Refusal, fault::Effect};

/// The answer that a fault puts in the place of carrying out the request, if it does.
pub(super) fn instead(call: &Call) -> Option<Response<Bytes>> {
    match &call.effect {
        Effect::Refuse { status, code, message, retry_after_s } => {
            let refusal = Refusal::new(known(*status), code.clone(), message.clone());
            let mut response = refused(&refusal, &call.request_id);
            if let Some(wait) = retry_after_s {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*wait));
            }
            Some(response)
        }
        Effect::Replace { status, content_type, body } => {
            let mut response = typed(known(*status), "text/plain", body.clone());
            if let Ok(content_type) = HeaderValue::from_str(content_type) {
                response.headers_mut().insert(CONTENT_TYPE, content_type);
            }
            Some(response)
        }
        _ => None,
    }
}

/// The answer as it goes out.
pub(super) fn distorted(response: Response<Bytes>, effect: &Effect, clock: &SharedClock) -> Response<Body> {
    match effect {
        Effect::Truncate => {
            let length = HeaderValue::from(response.body().len());
            let mut response = response.map(|bytes| half(&bytes));
            response.headers_mut().insert(CONTENT_LENGTH, length);
            response
        }
        Effect::Enormous { bytes } => {
            let response = with_status(StatusCode::OK, &());
            response.map(|_| endless(*bytes))
        }
        Effect::Drip { bytes, pause_ms } => {
            let pause = Duration::from_millis(*pause_ms);
            response.map(|body| dripping(body, *bytes, pause, clock.clone()))
        }
        _ => response.map(whole),
    }
}

/// Faults are checked when they are scripted.
fn known(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
