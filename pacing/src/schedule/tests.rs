//! The schedule against the one of the vendor's Python SDK, and the laws it keeps.

use proptest::prelude::*;

use super::*;

/// Random draws from 0 to 1.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((self.0 >> 33) as u32) / f64::from(u32::MAX >> 1)
    }

    /// From `least` to `most`, as often in each doubling.
    fn time(&mut self, least: f64, most: f64) -> f64 {
        least * (most / least).powf(self.next())
    }
}

/// How many looks find the end of a task that takes `time`, and how late.
#[derive(Default)]
struct Found {
    looks: f64,
    delay: f64,
}

/// The vendor's Python SDK looks at once, then after 1 s, doubling every third time up to 5 s.
fn vendor(time: f64) -> Found {
    let (mut at, mut wait, mut looks) = (0.0, 1.0_f64, 0_u32);
    loop {
        looks += 1;
        if looks.is_multiple_of(3) {
            wait = (wait * 2.0).min(5.0);
        }
        if at >= time {
            return Found { looks: f64::from(looks), delay: at - time };
        }
        at += wait;
    }
}

fn ours(time: f64, expected: Option<Expected>, draws: &mut Draws) -> Found {
    let (schedule, mut age, mut looks) = (PollSchedule::default(), Duration::ZERO, 0_u32);
    while age.as_secs_f64() < time || looks == 0 {
        age += schedule.wait(age, expected, draws.next());
        looks += 1;
    }
    Found { looks: f64::from(looks), delay: age.as_secs_f64() - time }
}

/// Delay and looks, ours divided by the vendor's, over many tasks that take from `least` to `most` seconds.
/// `known` says how well their time is known.
fn against_the_vendor(least: f64, most: f64, known: Option<f64>) -> (f64, f64) {
    let (mut draws, mut sums) = (Draws(7), (Found::default(), Found::default()));
    for _ in 0..3000 {
        let time = draws.time(least, most);
        let expected = known.map(|spread| {
            // About normal: the sum of uniform draws.
            let normal = (0..12).map(|_| draws.next()).sum::<f64>() - 6.0;
            Expected { median: Duration::from_secs_f64(time * (spread * normal).exp()), spread }
        });
        for (sum, found) in [(&mut sums.0, ours(time, expected, &mut draws)), (&mut sums.1, vendor(time))] {
            sum.looks += found.looks;
            sum.delay += found.delay;
        }
    }
    (sums.0.delay / sums.1.delay, sums.0.looks / sums.1.looks)
}

#[test]
fn a_short_task_is_found_twice_as_soon_as_by_the_vendor_with_no_more_looks() {
    let (delay, looks) = against_the_vendor(1.0, 3.0, None);
    assert!(delay <= 0.5 && looks <= 1.0, "delay {delay:.2}, looks {looks:.2}");
}

#[test]
fn a_task_of_a_known_time_is_found_twice_as_soon_as_by_the_vendor_with_no_more_looks() {
    for (least, most) in [(1.0, 3.0), (3.0, 10.0), (10.0, 30.0), (30.0, 120.0)] {
        for spread in [0.1, 0.2] {
            let (delay, looks) = against_the_vendor(least, most, Some(spread));
            let what = format!("{least} to {most} s, {spread}: delay {delay:.2}, looks {looks:.2}");
            assert!(delay <= 0.5 && looks <= 1.07, "{what}");
        }
    }
    let (delay, looks) = against_the_vendor(120.0, 900.0, Some(0.1));
    assert!(delay <= 0.5 && looks <= 1.0, "delay {delay:.2}, looks {looks:.2}");
}

/// Nobody can do both for a time that nobody knows: this is where the two meet.
#[test]
fn a_long_task_of_an_unknown_time_is_found_sooner_than_by_the_vendor() {
    for (least, most) in [(3.0, 10.0), (10.0, 60.0), (60.0, 600.0), (600.0, 7200.0)] {
        let (delay, looks) = against_the_vendor(least, most, None);
        assert!(delay <= 0.95 && looks <= 1.35, "{least} to {most} s: delay {delay:.2}, looks {looks:.2}");
    }
}

proptest! {
    #[test]
    fn waits_stay_in_their_range(
        age in 0_u64..100_000_000, jitter in 0.0..1.0,
        expected in prop::option::of((0_u64..100_000_000, 0.0..0.7)),
    ) {
        let age = Duration::from_millis(age);
        let expected =
            expected.map(|(median, spread)| Expected { median: Duration::from_millis(median), spread });
        let wait = PollSchedule::default().wait(age, expected, jitter);
        prop_assert!(wait >= LEAST);
        prop_assert!(wait <= Duration::from_secs(5).max(age * 2));
    }
}
