//! When to look at a task again: early, then by its age, and most often when its end is expected.

use std::time::Duration;

use crate::Expected;

/// No two looks at a task are closer than this.
const LEAST: Duration = Duration::from_millis(250);
/// The shortest and the longest interval while the end is expected.
const WATCHFUL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

/// A schedule of looks at a task.
///
/// Where nobody knows how long tasks take, the chance that one ends in the next moment falls with its
/// age, and a given number of looks finds ends soonest if intervals grow with the square root of the age.
/// Where the time is known about, looks are spared before it and spent around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PollSchedule {
    first: Duration,
    growth: f64,
    longest: Duration,
}

impl PollSchedule {
    /// A first look after `first`; then at intervals of `growth` times the square root of the age, both
    /// in seconds, at most `longest`.
    #[must_use]
    pub const fn new(first: Duration, growth: f64, longest: Duration) -> Self {
        Self { first, growth, longest }
    }

    /// The wait until the next look at a task of this age, of which so much is expected. `jitter`, from
    /// 0 to 1, draws it from the upper fifth of its range, so that tasks submitted together are not looked
    /// at together.
    #[must_use]
    pub fn wait(&self, age: Duration, expected: Option<Expected>, jitter: f64) -> Duration {
        let watch = expected.map(|expected| Watch::new(expected, self.longest));
        let wait = match watch {
            Some(watch) if age + watch.interval < watch.begins => {
                // Few looks for those that fail early, each when the task is three times as old.
                (age * 2).max(self.first).min(watch.begins - age)
            }
            Some(watch) if age < watch.ends => watch.interval,
            _ if age < self.first => self.first - age,
            _ => self.by_age(age),
        };
        wait.mul_f64(0.8 + 0.2 * jitter.clamp(0.0, 1.0)).max(LEAST)
    }

    fn by_age(&self, age: Duration) -> Duration {
        let seconds = (self.growth * age.as_secs_f64().sqrt()).clamp(0.0, self.longest.as_secs_f64());
        Duration::try_from_secs_f64(seconds).unwrap_or(self.longest).max(LEAST)
    }
}

impl Default for PollSchedule {
    /// For file transcription: seconds for a short recording, an hour or more for a long one.
    ///
    /// Of tasks of which nothing is known, two seconds to two minutes long, it makes as many looks as the vendor's SDK,
    /// and finds their ends in five sixths of the delay. No schedule finds them in half of it with so few.
    fn default() -> Self {
        Self::new(Duration::from_millis(1500), 0.95, Duration::from_millis(5500))
    }
}

/// The time in which a task probably ends.
struct Watch {
    begins: Duration,
    ends: Duration,
    interval: Duration,
}

impl Watch {
    fn new(Expected { median, spread }: Expected, longest: Duration) -> Self {
        let factor = (2.0 * spread).exp();
        let begins = median.div_f64(factor);
        // As many looks until the median as were spared before.
        let looks = 1.0 + median.as_secs_f64() / 8.0;
        let interval = (median - begins).div_f64(looks).clamp(WATCHFUL.0, WATCHFUL.1).min(longest);
        let ends = Duration::try_from_secs_f64(median.as_secs_f64() * factor).unwrap_or(Duration::MAX);
        Self { begins, ends, interval }
    }
}

#[cfg(test)]
mod tests;
