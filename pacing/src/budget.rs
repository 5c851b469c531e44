//! A rate budget by the generic cell rate algorithm (GCRA, ITU-T I.371): one atomic number.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// How many permits a budget gives: one each `interval` in the long run, `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    interval: Duration,
    burst: u32,
}

impl Quota {
    /// `permits` in each `period`, at most `burst` of them at once.
    ///
    /// Zero permits or a zero burst count as one, and a rate beyond one a nanosecond as that.
    #[must_use]
    pub fn new(permits: u32, period: Duration, burst: u32) -> Self {
        let interval = (period / permits.max(1)).max(Duration::from_nanos(1));
        Self { interval, burst: burst.max(1) }
    }

    /// `permits` a second, at most `burst` of them at once.
    #[must_use]
    pub fn per_second(permits: u32, burst: u32) -> Self {
        Self::new(permits, Duration::from_secs(1), burst)
    }

    /// A permit each `interval`, at most `burst` of them at once.
    #[must_use]
    pub fn every(interval: Duration, burst: u32) -> Self {
        Self::new(1, interval, burst)
    }

    /// The time in which one permit accrues.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The most permits at once.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst
    }
}

/// A budget of permits over time. The quota is given at each check, so that a changed quota acts at
/// once and without a reset.
#[derive(Debug)]
pub struct RateBudget {
    origin: Instant,
    /// The theoretical arrival time of the next permit, in nanoseconds after `origin`.
    arrival: AtomicU64,
}

impl RateBudget {
    /// A full budget. `origin` is a time not later than any that [`take`](Self::take) will see;
    /// earlier ones count as `origin`.
    #[must_use]
    pub fn new(origin: Instant) -> Self {
        Self { origin, arrival: AtomicU64::new(0) }
    }

    /// Takes one permit.
    ///
    /// # Errors
    /// The exact time until a permit is there, if there is none at `now`; nothing is taken then.
    pub fn take(&self, now: Instant, quota: Quota) -> Result<(), Duration> {
        self.take_many(now, quota, 1)
    }

    /// How long it is until a permit is there; nothing is taken.
    #[must_use]
    pub fn wait(&self, now: Instant, quota: Quota) -> Duration {
        let now = nanos(now.saturating_duration_since(self.origin));
        let depth = nanos(quota.interval).saturating_mul(u64::from(quota.burst));
        let next = self.arrival.load(Relaxed).max(now).saturating_add(nanos(quota.interval));
        Duration::from_nanos(next.saturating_sub(now.saturating_add(depth)))
    }

    /// Takes `count` permits, all or none.
    ///
    /// # Errors
    /// The time until that many permits are there. More than the burst never are: then it is the
    /// time to the full burst, and asking again will not help.
    pub fn take_many(&self, now: Instant, quota: Quota, count: u32) -> Result<(), Duration> {
        let now = nanos(now.saturating_duration_since(self.origin));
        let interval = nanos(quota.interval);
        let cost = interval.saturating_mul(u64::from(count));
        let depth = interval.saturating_mul(u64::from(quota.burst));
        let mut arrival = self.arrival.load(Relaxed);
        loop {
            let next = arrival.max(now).saturating_add(cost);
            if let Some(early @ 1..) = next.checked_sub(now.saturating_add(depth)) {
                return Err(Duration::from_nanos(early));
            }
            match self.arrival.compare_exchange_weak(arrival, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(seen) => arrival = seen,
            }
        }
    }
}

/// Nanoseconds, saturating after 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_is_followed_by_one_permit_an_interval() {
        let start = Instant::now();
        let (budget, quota) = (RateBudget::new(start), Quota::per_second(10, 3));
        for _ in 0..3 {
            assert_eq!(budget.take(start, quota), Ok(()));
        }
        assert_eq!(budget.take(start, quota), Err(Duration::from_millis(100)));
        let later = start + Duration::from_millis(100);
        assert_eq!(budget.take(later, quota), Ok(()));
        assert_eq!(budget.take(later, quota), Err(Duration::from_millis(100)));
    }

    #[test]
    fn a_changed_quota_acts_at_once() {
        let start = Instant::now();
        let budget = RateBudget::new(start);
        assert_eq!(budget.take(start, Quota::per_second(1, 1)), Ok(()));
        assert!(budget.take(start, Quota::per_second(1, 1)).is_err());
        assert_eq!(budget.take(start, Quota::per_second(1, 2)), Ok(()));
    }

    proptest! {
        /// In no window does a budget give more than the burst and what accrues in the window.
        #[test]
        fn no_window_exceeds_the_quota(
            permits in 1_u32..50, burst in 1_u32..20,
            steps in prop::collection::vec(0_u64..500, 1..200),
        ) {
            let start = Instant::now();
            let (budget, quota) = (RateBudget::new(start), Quota::per_second(permits, burst));
            let mut at = start;
            let mut taken = Vec::new();
            for step in steps {
                at += Duration::from_millis(step);
                if budget.take(at, quota).is_ok() {
                    taken.push(at);
                }
            }
            for (i, first) in taken.iter().enumerate() {
                for (j, last) in taken.iter().enumerate().skip(i) {
                    let accrued = (*last - *first).as_nanos() / quota.interval().as_nanos();
                    prop_assert!((j - i + 1) as u128 <= u128::from(burst) + accrued);
                }
            }
        }

        /// The wait that a refusal names is exact: not a nanosecond earlier, and then surely.
        #[test]
        fn the_wait_is_exact(permits in 1_u32..50, burst in 1_u32..20, offset in 0_u64..1000) {
            let start = Instant::now();
            let (budget, quota) = (RateBudget::new(start), Quota::per_second(permits, burst));
            let now = start + Duration::from_millis(offset);
            let wait = loop {
                if let Err(wait) = budget.take(now, quota) {
                    break wait;
                }
            };
            prop_assert_eq!(budget.wait(now, quota), wait);
            prop_assert_eq!(budget.wait(now + wait, quota), Duration::ZERO);
            prop_assert!(budget.take(now + wait - Duration::from_nanos(1), quota).is_err());
            prop_assert!(budget.take(now + wait, quota).is_ok());
        }
    }
}
