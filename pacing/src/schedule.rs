//! When to look at a task again: early at first, then in proportion to its age.

use std::time::Duration;

/// A schedule of looks at a task that nobody knows the length of.
///
/// The delay between a task's end and the look that finds it is at most one interval, so intervals in
/// proportion to the age keep the delay a small share of the whole wait, with a number of looks that
/// grows only with the logarithm of the age, until `longest` bounds the delay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PollSchedule {
    first: Duration,
    share: f64,
    longest: Duration,
}

impl PollSchedule {
    /// A first look after `first`; then every `share` of the age, at least `first` and at most
    /// `longest`.
    #[must_use]
    pub const fn new(first: Duration, share: f64, longest: Duration) -> Self {
        Self { first, share, longest }
    }

    /// The wait until the next look at a task of this age. `jitter`, from 0 to 1, draws it from the
    /// upper fifth of its range, so that tasks submitted together are not looked at together.
    #[must_use]
    pub fn wait(&self, age: Duration, jitter: f64) -> Duration {
        let wait = age.mul_f64(self.share).clamp(self.first, self.longest.max(self.first));
        wait.mul_f64(0.8 + 0.2 * jitter.clamp(0.0, 1.0))
    }
}

impl Default for PollSchedule {
    /// For file transcription: seconds for a short recording, an hour or more for a long one.
    fn default() -> Self {
        Self::new(Duration::from_millis(500), 0.15, Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_stay_in_their_range_and_grow_with_the_age(age in 0_u64..100_000_000, jitter in 0.0..1.0) {
            let schedule = PollSchedule::default();
            let age = Duration::from_millis(age);
            let wait = schedule.wait(age, jitter);
            prop_assert!(wait >= Duration::from_millis(400) && wait <= Duration::from_secs(10));
            prop_assert!(schedule.wait(age + Duration::from_secs(1), jitter) >= wait);
            if age > Duration::from_secs(4) {
                prop_assert!(wait <= age.mul_f64(0.16));
            }
        }

        /// A task of any length is found within a sixth of it, or ten seconds, by few looks.
        #[test]
        fn an_end_is_found_soon_and_with_few_looks(length in 1_u64..43_200, seed: u64) {
            let (schedule, length) = (PollSchedule::default(), Duration::from_secs(length));
            let (mut age, mut looks, mut draw) = (Duration::ZERO, 0_u32, seed | 1);
            while age < length {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                age += schedule.wait(age, f64::from((draw >> 33) as u32) / f64::from(u32::MAX >> 1));
                looks += 1;
            }
            prop_assert!(age - length <= (length / 6).clamp(Duration::from_millis(500), Duration::from_secs(10)));
            prop_assert!(f64::from(looks) <= 35.0 + length.as_secs_f64() / 8.0);
        }
    }
}
