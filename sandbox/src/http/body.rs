//! Bodies: whole ones, and those that a fault sends instead.

use std::{convert::Infallible, io, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use valet_clock::{ClockExt, SharedClock};

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(super) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// The first half of `bytes`; then the connection breaks.
pub(super) fn half(bytes: &Bytes) -> Body {
    let half = bytes.slice(..bytes.len() / 2);
    let breaks = stream::once(async {
        // The first half is handed to the socket before the break is noticed.
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    });
    streamed(stream::iter([Ok(half)]).chain(breaks))
}

/// `bytes` in pieces of `size`, with a pause between two.
pub(super) fn dripping(bytes: Bytes, size: usize, pause: Duration, clock: SharedClock) -> Body {
    let pieces = stream::unfold((bytes, None), move |(mut rest, wait)| {
        let clock = clock.clone();
        async move {
            if rest.is_empty() {
                return None;
            }
            if let Some(wait) = wait {
                clock.sleep(wait).await;
            }
            let piece = rest.split_to(size.clamp(1, rest.len()));
            Some((Ok(piece), (rest, Some(pause))))
        }
    });
    streamed(pieces)
}

/// A string in JSON that goes on for `length` bytes and never ends.
pub(super) fn endless(length: u64) -> Body {
    const PIECE: &[u8] = &[b'a'; 64 * 1024];
    let pieces = stream::unfold(length, |left| async move {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE.len());
        (piece > 0).then(|| (Ok(Bytes::from_static(&PIECE[..piece])), left - piece as u64))
    });
    streamed(stream::iter([Ok(Bytes::from_static(b"{\"output\":\""))]).chain(pieces))
}

fn streamed(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}
