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
        // The first look is drawn from no range.
        age += schedule.wait(age, expected, if looks == 0 { 1.0 } else { draws.next() });
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
fn a_task_of_an_unknown_time_is_found_sooner_than_by_the_vendor_with_no_more_looks() {
    let (delay, looks) = against_the_vendor(2.0, 120.0, None);
    assert!(delay <= 0.86 && looks <= 1.0, "delay {delay:.2}, looks {looks:.2}");
    let spans = [(1.0, 3.0), (3.0, 10.0), (10.0, 60.0), (60.0, 600.0), (600.0, 7200.0)];
    for ((least, most), bound) in spans.into_iter().zip([0.65, 0.8, 0.95, 1.02, 1.02]) {
        let (delay, looks) = against_the_vendor(least, most, None);
        let what = format!("{least} to {most} s: delay {delay:.2}, looks {looks:.2}");
        assert!(delay <= bound && looks <= 1.05, "{what}");
    }
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

/// Not even who knows that tasks take from two seconds to two minutes, as often in each doubling, finds their ends in
/// half of the vendor's delay with no more looks. For each price of a look the cheapest schedule is found; what
/// as many looks as the vendor's leave of its cost is a delay that none can be below (a Lagrangian bound).
#[test]
fn nobody_finds_tasks_of_unknown_times_twice_as_soon_with_no_more_looks() {
    let (least, most, tasks) = (2.0_f64, 120.0_f64, 5000);
    let times = (0..tasks).map(|n| least * (most / least).powf((f64::from(n) + 0.5) / f64::from(tasks)));
    let (looks, delay) = times.map(vendor).fold((0.0, 0.0), |(looks, delay), found| {
        (looks + found.looks / f64::from(tasks), delay + found.delay / f64::from(tasks))
    });
    let bound = (1..40)
        .map(|price| f64::from(price) / 50.0)
        .map(|price| cheapest(least, most, price) - price * looks);
    let bound = bound.fold(0.0, f64::max);
    assert!((0.6..0.65).contains(&(bound / delay)), "{bound:.2} s of {delay:.2} s");
}

/// The least that looks at `price` seconds each and the delay cost together, on average; looks are on a grid, which
/// makes it less by its step.
fn cheapest(least: f64, most: f64, price: f64) -> f64 {
    const STEP: f64 = 0.1;
    let span = (most / least).ln();
    let at: Vec<f64> =
        (0..).map(|n| least + STEP * f64::from(n)).take_while(|at| *at < most + STEP).collect();
    // The part of the tasks that end until then, and the sum of their times.
    let ended: Vec<(f64, f64)> =
        at.iter().map(|at| at.min(most)).map(|at| ((at / least).ln() / span, (at - least) / span)).collect();
    let mut cost = vec![0.0; at.len()];
    for from in (0..at.len() - 1).rev() {
        let next = (from + 1..at.len()).map(|to| {
            let (part, times) = (ended[to].0 - ended[from].0, ended[to].1 - ended[from].1);
            price * (1.0 - ended[from].0) + at[to] * part - times + cost[to]
        });
        cost[from] = next.fold(f64::INFINITY, f64::min);
    }
    cost[0] - STEP
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
