//! A request's body: bounded in size and time.

use std::time::Instant;

use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use valet_clock::{Clock, ClockExt};

use crate::{config::Bounds, issue::Unreadable};

/// The whole body, or why not; `at` is when it was there, if that took any time.
pub(super) async fn read(
    mut body: Incoming,
    bounds: &Bounds,
    clock: &dyn Clock,
    at: &mut Instant,
) -> Result<Vec<u8>, Unreadable> {
    let mut read = Vec::new();
    if body.is_end_stream() {
        return Ok(read);
    }
    let most = bounds.body_bytes;
    if body.size_hint().lower() > most as u64 {
        return Err(Unreadable::TooLarge { limit: most });
    }
    // Most bodies came along with the head: they need no timer.
    match read_on(&mut body, most, &mut read).now_or_never() {
        Some(whole) => whole?,
        None => {
            let whole = clock.timeout(bounds.body_time, read_on(&mut body, most, &mut read));
            let slow = |_| Unreadable::TooSlow { seconds: bounds.body_time.as_secs() };
            let whole = Box::pin(whole).await;
            *at = clock.now();
            whole.map_err(slow)??;
        }
    }
    Ok(read)
}

/// Reads `body` to its end, or until there are more than `most` bytes. Given up and begun again it goes on where it was.
async fn read_on(body: &mut Incoming, most: usize, read: &mut Vec<u8>) -> Result<(), Unreadable> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unreadable::Body("the body broke off".into()))?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if data.len() > most - read.len() {
            return Err(Unreadable::TooLarge { limit: most });
        }
        read.extend_from_slice(data);
    }
    Ok(())
}
