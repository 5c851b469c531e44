//! The machine's own clock; the one place that reads it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::{Clock, Sleep};

/// The machine's clock. Its sleeps need a tokio runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn unix(&self) -> Duration {
        // A machine whose date lies before 1970 has no usable date; the epoch is as good as any.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }
}
