//! When requests are sent: as soon as a connection is free, at a fixed rate, or all at once.

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
    /// The same where half a millisecond does not matter: between requests the core is left to others.
    Steady {
        /// Requests a second.
        per_second: u32,
    },
    /// Every connection sends one request, all of them due when the first is sent.
    Once {
        /// Whether one more caller asks before all others, and hangs up before it is answered.
        after_one_that_hangs_up: bool,
    },
}

/// Says when the next request is due.
#[derive(Debug)]
pub(super) struct Pace {
    load: Load,
    start: Instant,
    end: Instant,
    sent: u64,
    connections: u64,
}

impl Pace {
    pub(super) fn new(load: Load, connections: usize, start: Instant, end: Instant) -> Self {
        Self { load, start, end, sent: 0, connections: connections as u64 }
    }

    /// Whether nothing will be sent any more, however long one waits.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.load, Load::Once { .. }) && self.sent == self.connections
    }

    /// The time at which a request was due that is to be sent now, if there is one.
    pub(super) fn next(&mut self, now: Instant) -> Option<Instant> {
        let due = match self.load {
            Load::Closed => now,
            Load::Open { per_second } | Load::Steady { per_second } => {
                self.start + Duration::from_secs(1).mul_f64(self.sent as f64 / f64::from(per_second))
            }
            Load::Once { .. } => {
                if self.sent == 0 {
                    self.start = now;
                }
                self.start
            }
        };
        let is_due = due <= now && now < self.end && !self.is_over();
        self.sent += u64::from(is_due);
        is_due.then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use valet_clock::{Clock, SystemClock};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_closed_loop_sends_whenever_it_can_until_the_end() {
        let start = SystemClock.now();
        let mut pace = Pace::new(Load::Closed, 1, start, start + SECOND);
        for after in [0, 0, 1, 999] {
            let now = start + Duration::from_millis(after);
            assert_eq!(pace.next(now), Some(now));
        }
        assert_eq!(pace.next(start + SECOND), None);
    }

    #[test]
    fn an_open_loop_owes_what_it_could_not_send_in_time() {
        let start = SystemClock.now();
        let mut pace = Pace::new(Load::Open { per_second: 4 }, 1, start, start + SECOND);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(pace.next(start), Some(start));
        assert_eq!(pace.next(at(249)), None);
        // Two are late by then, each from its own time on; the next is not due yet.
        assert_eq!(pace.next(at(700)), Some(at(250)));
        assert_eq!(pace.next(at(700)), Some(at(500)));
        assert_eq!(pace.next(at(700)), None);
        assert_eq!(pace.next(at(1000)), None, "nothing is sent after the end");
    }

    #[test]
    fn a_herd_is_due_when_its_first_is_sent() {
        let start = SystemClock.now();
        let mut pace = Pace::new(Load::Once { after_one_that_hangs_up: false }, 2, start, start + SECOND);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(pace.next(at(100)), Some(at(100)));
        assert!(!pace.is_over());
        assert_eq!(pace.next(at(103)), Some(at(100)));
        assert_eq!((pace.next(at(104)), pace.is_over()), (None, true));
    }
}
