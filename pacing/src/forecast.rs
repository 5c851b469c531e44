//! How long tasks take, learnt from those that have ended.

use std::time::Duration;

/// How much a new task changes what is known.
const WEIGHT: f64 = 0.2;
/// So few tasks say nothing of the next.
const FEW: u32 = 2;
/// A spread of the logarithm beyond which an expectation is of no use.
const WIDEST: f64 = 0.7;

/// How long a task is expected to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Half of all tasks take less.
    pub median: Duration,
    /// The standard deviation of the logarithm of the time.
    pub spread: f64,
}

/// What is known of the times that tasks take: of all, and in proportion to the length of their audio.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    times: Logarithms,
    ratios: Logarithms,
}

impl Forecast {
    /// A task took `took`; `length` is that of its audio, if it is known.
    pub fn learn(&mut self, took: Duration, length: Option<Duration>) {
        let took = took.as_secs_f64().max(0.001);
        self.times.learn(took);
        if let Some(length) = length.filter(|length| !length.is_zero()) {
            self.ratios.learn(took / length.as_secs_f64());
        }
    }

    /// How long a task will take whose audio is as long as `length`, if enough is known to say.
    #[must_use]
    pub fn expect(&self, length: Option<Duration>) -> Option<Expected> {
        let by_length = length.and_then(|length| self.ratios.expect(length.as_secs_f64()));
        by_length.or_else(|| self.times.expect(1.0))
    }
}

/// The mean and variance of logarithms, of which the latest count most.
#[derive(Clone, Debug, Default)]
struct Logarithms {
    count: u32,
    mean: f64,
    variance: f64,
}

impl Logarithms {
    fn learn(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        // As a plain mean at first, until the weight of one is the usual one.
        let weight = WEIGHT.max(1.0 / f64::from(self.count));
        let off = value.ln() - self.mean;
        self.mean += weight * off;
        self.variance = (1.0 - weight) * (self.variance + weight * off * off);
    }

    fn expect(&self, factor: f64) -> Option<Expected> {
        // What few tasks say is uncertain beside how much they differ.
        let spread = (self.variance + 0.1 / f64::from(self.count.max(1)) + 0.005).sqrt();
        if self.count < FEW || spread > WIDEST {
            return None;
        }
        let median = Duration::try_from_secs_f64(self.mean.exp() * factor).ok()?;
        Some(Expected { median, spread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn times_that_agree_are_expected_again_and_others_say_nothing() {
        let mut forecast = Forecast::default();
        assert_eq!(forecast.expect(None), None);
        for took in [50, 60, 55, 60, 52, 58, 61, 50] {
            forecast.learn(seconds(took), None);
        }
        let expected = forecast.expect(Some(seconds(600))).expect("it knows");
        assert!((50..60).contains(&expected.median.as_secs()) && expected.spread < 0.3, "{expected:?}");
        for took in [1, 1000, 2, 4000, 3] {
            forecast.learn(seconds(took), None);
        }
        assert_eq!(forecast.expect(None), None);
    }

    #[test]
    fn tasks_of_all_lengths_are_expected_by_their_length() {
        let mut forecast = Forecast::default();
        for length in [60, 3600, 600, 30, 7200, 1200] {
            forecast.learn(seconds(length) / 20, Some(seconds(length)));
        }
        let expected = forecast.expect(Some(seconds(2000))).expect("it knows");
        assert!((99..=101).contains(&expected.median.as_secs()), "{expected:?}");
        assert_eq!(forecast.expect(None), None);
    }
}
