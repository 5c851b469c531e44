//! A request's body: bounded in size and time.

use std::{future::Future, pin::pin};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use valet_clock::{Clock, ClockExt};

use crate::{config::Bounds, issue::Unreadable};

/// The whole body, or why not.
pub(super) async fn read(body: Incoming, bounds: &Bounds, clock: &dyn Clock) -> Result<Bytes, Unreadable> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let too_large = Unreadable::TooLarge { limit: bounds.body_bytes };
    if body.size_hint().lower() > bounds.body_bytes as u64 {
        return Err(too_large);
    }
    let mut whole = pin!(Limited::new(body, bounds.body_bytes).collect());
    // Most bodies came along with the head: they need no timer.
    let collected = match whole.as_mut().now_or_never() {
        Some(collected) => collected,
        None => within(clock, bounds, whole).await?,
    };
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() { too_large } else { Unreadable::Body("the body broke off".into()) }
    })
}

async fn within<F: Future + Send>(
    clock: &dyn Clock,
    bounds: &Bounds,
    body: F,
) -> Result<F::Output, Unreadable> {
    let slow = |_| Unreadable::TooSlow { seconds: bounds.body_time.as_secs() };
    clock.timeout(bounds.body_time, body).await.map_err(slow)
}
