//! `GET` of a `transcription_url`: whoever knows the URL may read the result, until it expires.

use hyper::{StatusCode, header::AUTHORIZATION};

use super::{
    Answer,
    call::{Call, typed},
};
use crate::{contract::Refusal, core::Core};

pub(super) fn answer(core: &Core, call: &Call, name: &str) -> Answer {
    if call.headers().contains_key(AUTHORIZATION) {
        // The store behind a signed URL takes one proof or the other; and a key has no business there.
        return Err(Refusal::parameter("Authorization", "a signed URL is read without it"));
    }
    let body = core.results.find(name, core.clock.now());
    let body = body.ok_or_else(|| Refusal::not_found("There is no such result, or it has expired."))?;
    Ok(typed(StatusCode::OK, "application/json", body))
}
