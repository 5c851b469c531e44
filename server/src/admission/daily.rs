//! How many of a day's permits are used. A day is one of UTC.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

pub(super) const DAY: u64 = 24 * 60 * 60;

/// The permits used today: the day's number in the upper half, their count in the lower.
#[derive(Debug, Default)]
pub(super) struct Daily(AtomicU64);

impl Daily {
    /// How many are used on the day of `unix`.
    pub(super) fn used(&self, unix: Duration) -> u32 {
        let today = (unix.as_secs() / DAY) << 32;
        let used = self.0.load(Relaxed).max(today) & u64::from(u32::MAX);
        u32::try_from(used).unwrap_or(u32::MAX)
    }

    /// Takes one of `most` permits a day, or says how long it is until the next day.
    pub(super) fn take(&self, unix: Duration, most: u32) -> Result<(), Duration> {
        let today = (unix.as_secs() / DAY) << 32;
        let take = |used: u64| {
            // A clock that is set back does not make a new day of an old one.
            let used = used.max(today);
            ((used & u64::from(u32::MAX)) < u64::from(most)).then_some(used + 1)
        };
        self.0.fetch_update(Relaxed, Relaxed, take).map(|_| ()).map_err(|_| until_next(unix))
    }

    /// Counts what was taken elsewhere, or before this process began.
    pub(super) fn know(&self, unix: Duration) {
        let day = (unix.as_secs() / DAY) << 32;
        let know = |used: u64| {
            let used = used.max(day);
            // What is of a day that is over is over.
            (used >> 32 == day >> 32).then_some(used + 1)
        };
        // Then there is nothing to count.
        let _ = self.0.fetch_update(Relaxed, Relaxed, know);
    }
}

/// The number of a time's day.
pub(super) fn day(unix: Duration) -> u64 {
    unix.as_secs() / DAY
}

/// How long it is until the next day.
pub(super) fn until_next(unix: Duration) -> Duration {
    Duration::from_secs((unix.as_secs() / DAY + 1) * DAY).saturating_sub(unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_permits_and_the_next_one_has_them_again() {
        let (daily, noon) = (Daily::default(), Duration::from_secs(100 * DAY + DAY / 2));
        assert_eq!([daily.take(noon, 2), daily.take(noon, 2)], [Ok(()), Ok(())]);
        let wait = daily.take(noon, 2).unwrap_err();
        assert_eq!(wait, Duration::from_secs(DAY / 2));
        assert!(daily.take(noon + wait - Duration::from_millis(1), 2).is_err(), "not a moment too early");
        assert_eq!(daily.take(noon + wait, 2), Ok(()));
    }

    #[test]
    fn a_changed_quota_acts_at_once_and_without_a_reset() {
        let (daily, noon) = (Daily::default(), Duration::from_secs(DAY / 2));
        assert_eq!(daily.take(noon, 1), Ok(()));
        assert!(daily.take(noon, 1).is_err());
        assert_eq!(daily.take(noon, 2), Ok(()));
        assert!(daily.take(noon, 1).is_err());
    }

    #[test]
    fn what_was_taken_before_counts_for_its_day() {
        let (daily, noon) = (Daily::default(), Duration::from_secs(9 * DAY));
        daily.know(noon - Duration::from_secs(DAY));
        daily.know(noon);
        daily.know(noon - Duration::from_secs(DAY));
        assert_eq!([daily.take(noon, 2).is_ok(), daily.take(noon, 2).is_ok()], [true, false]);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing_away() {
        let (daily, noon) = (Daily::default(), Duration::from_secs(9 * DAY));
        assert_eq!(daily.take(noon, 1), Ok(()));
        assert!(daily.take(noon - Duration::from_secs(DAY), 1).is_err());
    }
}
