//! How hard others press on a budget that nobody divides: learnt from refusals.

use std::time::{Duration, Instant};

use crate::BackOff;

/// How long the first refusal in a row makes everyone pause, and how long any does at most.
const PAUSE: BackOff = BackOff::new(Duration::from_millis(500), Duration::from_secs(20));
/// Refusals within so long are one sign, not several.
const ONE_SIGN: Duration = Duration::from_secs(1);
const MOST: f64 = 31.0;

/// What refusals (429) say of a budget that is shared with strangers.
///
/// Slows down by steps and speeds up bit by bit, so that all who share the budget without knowing of
/// one another come to rest near its limit.
#[derive(Clone, Debug, Default)]
pub struct Pressure {
    level: f64,
    in_a_row: u32,
    raised: Option<Instant>,
    until: Option<Instant>,
}

impl Pressure {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self { level: 0.0, in_a_row: 0, raised: None, until: None }
    }

    /// A request was refused: nobody asks for a while, at least `retry_after`, and then less often.
    /// `jitter` is a random draw from 0 to 1.
    pub fn refused(&mut self, now: Instant, retry_after: Option<Duration>, jitter: f64) {
        if self.raised.is_none_or(|raised| now.saturating_duration_since(raised) >= ONE_SIGN) {
            self.level = (self.level + 1.0).min(MOST);
            self.raised = Some(now);
        }
        let pause = PAUSE.wait(self.in_a_row, jitter);
        // Whoever was told the same time comes back a little apart.
        let told = retry_after.map_or(Duration::ZERO, |told| told + pause / 4);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.until = self.until.max(now.checked_add(pause.max(told)));
    }

    /// A request was served.
    pub fn served(&mut self) {
        self.in_a_row = 0;
        self.level = (self.level - 0.05).max(0.0);
    }

    /// The time until requests may be made again, if it has not come.
    #[must_use]
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// How many times as long as usual to wait between requests; at least 1.
    #[must_use]
    pub fn stretch(&self) -> f64 {
        1.0 + self.level
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_pauses_for_as_long_as_it_says_and_many_at_once_are_one_sign() {
        let (now, mut pressure) = (Instant::now(), Pressure::new());
        assert_eq!(pressure.pause(now), None);
        pressure.refused(now, Some(Duration::from_secs(30)), 0.5);
        pressure.refused(now, None, 0.5);
        let pause = pressure.pause(now).expect("it pauses");
        assert!((30..32).contains(&pause.as_secs()), "{pause:?}");
        assert_eq!(pressure.pause(now + Duration::from_secs(32)), None);
        assert!((pressure.stretch() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn refusals_in_a_row_pause_longer_and_service_ends_the_pressure() {
        let (mut now, mut pressure) = (Instant::now(), Pressure::new());
        let mut last = Duration::ZERO;
        for _ in 0..6 {
            pressure.refused(now, None, 1.0);
            let pause = pressure.pause(now).expect("it pauses");
            assert!(pause > last);
            (now, last) = (now + pause, pause);
        }
        assert!(last >= Duration::from_secs(10) && pressure.stretch() > 4.0);
        (0..200).for_each(|_| pressure.served());
        assert!((pressure.stretch() - 1.0).abs() < 1e-9);
    }

    /// Two hundred strangers, each of whom would ask once in five seconds, on a budget of 20 a second:
    /// they settle where few are refused, and the budget is used.
    #[test]
    fn strangers_come_to_rest_near_the_limit() {
        struct Stranger {
            pressure: Pressure,
            next: Duration,
            draw: u32,
        }
        let start = Instant::now();
        let jitter = |draw: &mut u32| {
            *draw = draw.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(*draw >> 8) / f64::from(1 << 24)
        };
        let mut strangers: Vec<_> = (0..200_u32)
            .map(|n| Stranger {
                pressure: Pressure::new(),
                next: Duration::ZERO,
                draw: n.wrapping_mul(2_654_435_761),
            })
            .collect();
        let (mut served, mut refused, mut window) = (0, 0, Vec::new());
        for tick in 0..12_000_u32 {
            let now = Duration::from_millis(50) * tick;
            window.retain(|at| now - *at < Duration::from_secs(1));
            for stranger in strangers.iter_mut().filter(|stranger| stranger.next <= now) {
                let (draw, late) = (jitter(&mut stranger.draw), tick > 6000);
                if window.len() < 20 {
                    window.push(now);
                    stranger.pressure.served();
                    let wait = Duration::from_secs(5).mul_f64(stranger.pressure.stretch());
                    stranger.next = now + wait.mul_f64(0.8 + 0.2 * draw);
                    served += u32::from(late);
                } else {
                    stranger.pressure.refused(start + now, None, draw);
                    stranger.next = now + stranger.pressure.pause(start + now).expect("it pauses");
                    refused += u32::from(late);
                }
            }
        }
        assert!(refused * 4 < served, "{refused} refused, {served} served");
        assert!(served > 300 * 20 / 2, "{served} served in 300 s");
    }
}
