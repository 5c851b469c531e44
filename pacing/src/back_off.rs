//! How long to wait before trying again: exponential, capped, with full jitter.

use std::time::Duration;

/// Waits that double from `base` up to `cap`, each drawn from the upper half of its range.
///
/// Half of each wait is certain, so that a struggling service gets its rest; the other half is
/// random, so that those who failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    base: Duration,
    cap: Duration,
}

impl BackOff {
    /// The first wait is at most `base`, and none is longer than `cap`.
    #[must_use]
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The wait after the failure numbered `failures`, counted from 0. `jitter` is a random draw
    /// from 0 to 1.
    #[must_use]
    pub fn wait(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(failures.min(31)));
        let most = doubled.min(self.cap);
        most / 2 + (most / 2).mul_f64(jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_grow_to_the_cap_and_never_beyond(failures in 0_u32..100, jitter in 0.0..1.0) {
            let back_off = BackOff::new(Duration::from_millis(250), Duration::from_secs(20));
            let wait = back_off.wait(failures, jitter);
            prop_assert!(wait <= Duration::from_secs(20));
            prop_assert!(wait >= Duration::from_millis(125));
            prop_assert!(back_off.wait(failures + 1, jitter) >= wait);
            if failures >= 7 {
                prop_assert!(wait >= Duration::from_secs(10));
            }
        }
    }
}
