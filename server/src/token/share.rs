//! How much of an account's query budget each direct caller may spend.
//!
//! Direct callers are told apart by nothing but their asking: each asks once for every token it
//! uses, so the hand-outs of the last while are the callers. One that asks more often is counted
//! more often, and its fellows wait longer. It is an estimate: what it gets wrong, the clients' back-off
//! on a 429 corrects.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use valet_pacing::{Quota, RateBudget};

/// About how often a client of one-minute tokens asks: it gets one with 42 to 60 s left, and renews
/// it before its end.
const WINDOW: Duration = Duration::from_secs(40);

/// The least share: below it a caller would seem to hang.
const LEAST: f64 = 0.05;

/// Who draws on the query budget of an account, whichever of its upstreams they use.
#[derive(Debug)]
pub struct Share {
    current: AtomicU32,
    windows: Mutex<Windows>,
    /// What the relay has used.
    relay: RateBudget,
}

#[derive(Debug)]
struct Windows {
    began: Instant,
    previous: u32,
}

impl Share {
    /// Nobody draws on it yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            current: AtomicU32::new(0),
            windows: Mutex::new(Windows { began: now, previous: 0 }),
            relay: RateBudget::new(now),
        }
    }

    /// A token was handed to a direct caller.
    pub(super) fn handed_out(&self) {
        self.current.fetch_add(1, Relaxed);
    }

    /// Takes a query of the relay, of the `per_second` that the account may make.
    pub(super) fn take_query(&self, per_second: u32, now: Instant) -> Result<(), Duration> {
        let direct = self.callers(now) > 0;
        let permits = if direct { (per_second * 3 / 4).max(1) } else { per_second };
        self.relay.take(now, Quota::per_second(permits, 2))
    }

    /// The queries a second that one caller may make, of the `per_second` that the account may.
    pub(super) fn of(&self, per_second: f64, now: Instant) -> f64 {
        (per_second / f64::from(self.callers(now).max(1))).max(LEAST)
    }

    /// How many direct callers there are, about.
    fn callers(&self, now: Instant) -> u32 {
        let mut windows = self.windows.lock().expect("no code panics while it holds the windows");
        let age = now.saturating_duration_since(windows.began);
        if age >= WINDOW {
            let ended = self.current.swap(0, Relaxed);
            // After a quiet window the one before it says nothing.
            windows.previous = if age < WINDOW * 2 { ended } else { 0 };
            windows.began = now;
        }
        windows.previous.max(self.current.load(Relaxed))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_parted_among_those_who_asked_lately() {
        let start = Instant::now();
        let share = Share::new(start);
        let is = |at: u64, wanted: f64| {
            let got = share.of(20.0, start + Duration::from_secs(at));
            assert!((got - wanted).abs() < 1e-9, "{got} at {at}");
        };
        share.handed_out();
        is(0, 20.0);
        (0..9).for_each(|_| share.handed_out());
        is(1, 2.0);
        is(41, 2.0);
        is(200, 20.0);
    }

    #[test]
    fn nobody_is_left_without_a_share() {
        let start = Instant::now();
        let share = Share::new(start);
        (0..100_000).for_each(|_| share.handed_out());
        assert!(share.of(20.0, start) >= LEAST);
    }
}
