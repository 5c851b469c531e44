//! How many seconds of audio are used today, or set aside for tasks that have not ended. A day is one of UTC, and
//! what a task uses is of the day of its submit.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::daily::{DAY, until_next};

/// The seconds of a day, as this process has set them aside and used them.
#[derive(Debug, Default)]
pub(super) struct Audio(Mutex<Today>);

#[derive(Debug, Default)]
struct Today {
    day: u64,
    seconds: u64,
}

impl Audio {
    /// Sets seconds aside, of `most` a day.
    ///
    /// # Errors
    /// How long it is until the next day. Tasks that end before may leave room earlier.
    pub(super) fn reserve(&self, unix: Duration, seconds: u64, most: u64) -> Result<(), Duration> {
        let mut today = self.of(unix);
        let sum = today.seconds.saturating_add(seconds);
        if sum > most {
            return Err(until_next(unix));
        }
        today.seconds = sum;
        Ok(())
    }

    /// Counts seconds that were set aside where all replicas count them.
    pub(super) fn know(&self, unix: Duration, seconds: u64) {
        self.settle(unix, 0, seconds);
    }

    /// Has `used` seconds in place of those that were `reserved` at the time of a submit.
    pub(super) fn settle(&self, submitted: Duration, reserved: u64, used: u64) {
        let mut today = self.of(submitted);
        // What is of a day that is over is over.
        if today.day == submitted.as_secs() / DAY {
            today.seconds = today.seconds.saturating_sub(reserved).saturating_add(used);
        }
    }

    /// The day of a time, or a later one: a clock that is set back makes no new day of an old one.
    fn of(&self, unix: Duration) -> MutexGuard<'_, Today> {
        let mut today = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let day = unix.as_secs() / DAY;
        if day > today.day {
            *today = Today { day, seconds: 0 };
        }
        today
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: Duration = Duration::from_secs(100 * DAY + DAY / 2);

    #[test]
    fn what_is_set_aside_is_used_up_until_it_is_settled() {
        let audio = Audio::default();
        assert_eq!(audio.reserve(NOON, 60, 100), Ok(()));
        assert_eq!(audio.reserve(NOON, 60, 100), Err(Duration::from_secs(DAY / 2)));
        audio.settle(NOON, 60, 10);
        assert_eq!(audio.reserve(NOON, 90, 100), Ok(()));
        assert!(audio.reserve(NOON, 1, 100).is_err());
    }

    #[test]
    fn the_next_day_has_its_seconds_again_and_owes_nothing() {
        let audio = Audio::default();
        let next = NOON + Duration::from_secs(DAY);
        assert_eq!(audio.reserve(NOON, 100, 100), Ok(()));
        assert_eq!(audio.reserve(next, 100, 100), Ok(()));
        audio.settle(NOON, 100, 5);
        assert!(audio.reserve(next, 1, 100).is_err());
    }

    proptest! {
        /// Whatever is submitted and ends: what is used and set aside together never exceeds the quota, if no task
        /// uses more than was set aside for it.
        #[test]
        fn a_quota_is_never_exceeded(
            most in 1_u64..1000, tasks in prop::collection::vec((1_u64..300, 0_u64..300, any::<bool>()), 1..60),
        ) {
            let (audio, mut used, mut open) = (Audio::default(), 0, Vec::new());
            for (reserved, uses, ends) in tasks {
                if audio.reserve(NOON, reserved, most).is_ok() {
                    open.push((reserved, uses.min(reserved)));
                }
                if ends && let Some((reserved, uses)) = open.pop() {
                    audio.settle(NOON, reserved, uses);
                    used += uses;
                }
                let aside: u64 = open.iter().map(|(reserved, _)| reserved).sum();
                prop_assert!(used + aside <= most);
            }
        }
    }
}
