//! How much of an account's query budget each direct caller may spend.
//!
//! Direct callers are told apart by nothing but their asking: each asks once for every token it
//! uses, so the hand-outs of the last while are the callers. One that asks more often is counted
//! more often, and its fellows wait longer. It is an estimate: what it gets wrong, the clients' back-off
//! on a 429 corrects.
//!
//! The relay asks for all of its callers. While there are direct callers too, it leaves them a quarter; while it
//! asks, they are told of no more than that.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use valet_pacing::{Pressure, Quota, RateBudget};

use crate::shared_redis::{self, Attended, Away, Queried, Query, Shared};

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
    relay: Relay,
    shared: Option<Arc<Shared>>,
    /// Another replica has direct callers.
    has_direct_elsewhere: AtomicBool,
}

/// What the relay uses.
#[derive(Debug)]
struct Relay {
    budget: RateBudget,
    state: Mutex<RelayState>,
}

#[derive(Debug, Default)]
struct RelayState {
    /// What refusals say of others on the account.
    pressure: Pressure,
    asked: Option<Instant>,
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
            relay: Relay { budget: RateBudget::new(now), state: Mutex::default() },
            shared: None,
            has_direct_elsewhere: AtomicBool::new(false),
        }
    }

    /// The same, drawn on by other replicas as well: each has its part of it, and its part of the callers.
    #[must_use]
    pub fn shared_by(self, shared: Option<Arc<Shared>>) -> Self {
        Self { shared, ..self }
    }

    fn replicas(&self) -> u32 {
        self.shared.as_ref().map_or(1, |shared| shared.replicas())
    }

    /// A token was handed to a direct caller.
    pub(super) fn handed_out(&self) {
        self.current.fetch_add(1, Relaxed);
    }

    /// Takes a query of the relay, of the `per_second` that the account may make.
    pub(super) fn take_query(&self, per_second: u32, burst: u32, now: Instant) -> Result<(), Duration> {
        let wait = self.query_wait(per_second, burst, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.relay.budget.take(now, self.quota(per_second, burst, now))?;
        self.relay.lock().asked = Some(now);
        Ok(())
    }

    /// Takes a query of the relay from what all replicas take of the account's; under the lease of that `fence`, or
    /// under none.
    pub(super) async fn draw_query(
        &self,
        (service, per_second): (shared_redis::Service<'_>, u32),
        burst: u32,
        fence: Option<&str>,
        now: Instant,
    ) -> Result<Queried, Away> {
        let shared = self.shared.as_ref().ok_or(Away)?;
        if let Some(pause) = self.relay.lock().pressure.pause(now) {
            return Ok(Queried::Wait(pause));
        }
        let (quota, share) = (self.quota_of(1, per_second, burst, now), self.quota(per_second, burst, now));
        let queried = shared.query(Query { service, fence, quota, share, memory: WINDOW }).await?;
        if queried == Queried::Taken {
            // So that this replica can tell about when there will be another.
            let _ = self.relay.budget.take(now, quota);
            self.relay.lock().asked = Some(now);
        }
        Ok(queried)
    }

    /// From now on this replica asks by itself, at its share: not before the first of it has accrued, whatever was
    /// asked until now, and whether two may be asked at once, as a cancel may.
    pub(super) fn fall_back(&self, per_second: u32, now: Instant) {
        let _ = self.relay.budget.take_many(now, self.quota(per_second, 3, now), 2);
    }

    /// For how long there are direct callers of this replica's.
    pub(super) fn direct(&self, now: Instant) -> Duration {
        if self.callers(now) > 0 { WINDOW } else { Duration::ZERO }
    }

    /// What the replicas know of the account.
    pub(super) fn attended(&self, attended: &Attended, now: Instant) {
        self.has_direct_elsewhere.store(attended.has_direct, Relaxed);
        if attended.is_asked {
            self.relay.lock().asked = Some(now);
        }
    }

    /// How long it is until the relay may ask.
    pub(super) fn query_wait(&self, per_second: u32, burst: u32, now: Instant) -> Duration {
        let paused = self.relay.lock().pressure.pause(now);
        paused.unwrap_or_default().max(self.relay.budget.wait(now, self.quota(per_second, burst, now)))
    }

    /// The upstream answered a query of the relay: refused it, for as long as it says, or served it.
    pub(super) fn answered(&self, refused: Option<Option<Duration>>, now: Instant) {
        let mut state = self.relay.lock();
        match refused {
            Some(retry_after) => state.pressure.refused(now, retry_after, fastrand::f64()),
            None => state.pressure.served(),
        }
    }

    /// What may be asked, of one of as many replicas as there are.
    fn quota(&self, per_second: u32, burst: u32, now: Instant) -> Quota {
        self.quota_of(self.replicas(), per_second, burst, now)
    }

    /// The same, of one of so many replicas. What is sent a second apart may arrive closer together: of each party one
    /// more in some second than it sends in any. So all of them have one less for each than the account may make; and
    /// one less again, if others ask as well.
    fn quota_of(&self, replicas: u32, per_second: u32, burst: u32, now: Instant) -> Quota {
        let has_direct = self.callers(now) > 0 || self.has_direct_elsewhere.load(Relaxed);
        let others = if has_direct { reserve(per_second) + 1 } else { 0 };
        let permits = f64::from(per_second.saturating_sub(others + replicas).max(1))
            / self.relay.lock().pressure.stretch();
        Quota::every(Duration::from_secs_f64(1.0 / permits) * replicas, burst)
    }

    /// The queries a second that one caller may make, of the `per_second` that the account may.
    pub(super) fn of(&self, per_second: u32, now: Instant) -> f64 {
        let asked = self.relay.lock().asked;
        let is_shared = asked.is_some_and(|asked| now.saturating_duration_since(asked) < WINDOW);
        let theirs = if is_shared { reserve(per_second) } else { per_second };
        let callers = f64::from(self.callers(now).max(1)) * f64::from(self.replicas());
        (f64::from(theirs) / callers).max(LEAST)
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

/// What is left to direct callers.
fn reserve(per_second: u32) -> u32 {
    per_second.div_ceil(4).min(per_second - 1).max(1)
}

impl Relay {
    fn lock(&self) -> MutexGuard<'_, RelayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
            let got = share.of(20, start + Duration::from_secs(at));
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
        assert!(share.of(20, start) >= LEAST);
    }

    #[test]
    fn relay_and_direct_callers_leave_each_other_their_part() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let share = Share::new(start);
        let asks =
            |from: u64| (0..1000).filter(|step| share.take_query(20, 1, at(from + step)).is_ok()).count();
        assert_eq!(asks(0), 19, "alone, it has all but one");
        share.handed_out();
        assert_eq!(asks(1000), 13);
        assert!((share.of(20, at(2000)) - 5.0).abs() < 1e-9);
        assert!((share.of(20, at(42_000)) - 20.0).abs() < 1e-9, "the relay has long been silent");
    }

    #[test]
    fn a_refusal_makes_the_relay_pause_and_slow_down() {
        let start = Instant::now();
        let share = Share::new(start);
        assert_eq!(share.take_query(20, 1, start), Ok(()));
        share.answered(Some(Some(Duration::from_secs(2))), start);
        assert!(share.query_wait(20, 1, start) >= Duration::from_secs(2));
        let later = start + Duration::from_secs(10);
        assert_eq!(share.take_query(20, 1, later), Ok(()));
        assert!(share.query_wait(20, 1, later) > Duration::from_millis(100), "half as often");
    }
}
