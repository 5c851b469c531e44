//! When requests are sent: as soon as a connection is free, or at a fixed rate.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How load is laid on.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Load {
    /// Each connection sends as soon as it has its response: finds the most that the server can do.
    Closed,
    /// Requests are due at a fixed rate, whether or not the server keeps up; latency counts from when
    /// a request was due.
    Open {
        /// Requests a second.
        per_second: u32,
    },
}

/// Says when the next request is due.
#[derive(Debug)]
pub(super) struct Pace {
    load: Load,
    start: Instant,
    end: Instant,
    sent: u64,
}

impl Pace {
    pub(super) fn new(load: Load, start: Instant, end: Instant) -> Self {
        Self { load, start, end, sent: 0 }
    }

    /// The time at which a request was due that is to be sent now, if there is one.
    pub(super) fn next(&mut self, now: Instant) -> Option<Instant> {
        let due = match self.load {
            Load::Closed => now,
            Load::Open { per_second } => {
                self.start + Duration::from_secs(1).mul_f64(self.sent as f64 / f64::from(per_second))
            }
        };
        let is_due = due <= now && now < self.end;
        self.sent += u64::from(is_due);
        is_due.then_some(due)
    }
}
