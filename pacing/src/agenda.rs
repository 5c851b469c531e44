//! Who is looked at next: whoever has been due for the longest.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// Entries that each become due at a time of their own.
///
/// They are taken in the order in which they became due, however late that is. One that is taken and
/// put back is due later than all that were due already, so when there is more to do than time to do
/// it, everyone waits about equally long and nobody is left out.
#[derive(Clone, Debug, Default)]
pub struct Agenda<K> {
    order: BTreeSet<(Instant, K)>,
    times: BTreeMap<K, Instant>,
}

impl<K: Copy + Ord> Agenda<K> {
    /// An empty agenda.
    #[must_use]
    pub const fn new() -> Self {
        Self { order: BTreeSet::new(), times: BTreeMap::new() }
    }

    /// Makes `key` due at `at`; at no other time, if it was due already.
    pub fn put(&mut self, key: K, at: Instant) {
        if let Some(before) = self.times.insert(key, at) {
            self.order.remove(&(before, key));
        }
        self.order.insert((at, key));
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: K) {
        if let Some(at) = self.times.remove(&key) {
            self.order.remove(&(at, key));
        }
    }

    /// Takes whoever has been due for the longest, if anyone is at `now`.
    pub fn take(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.order.first()?;
        if at > now {
            return None;
        }
        self.remove(key);
        Some(key)
    }

    /// When the next entry is due, or was.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// When `key` is due, if it is on the agenda.
    #[must_use]
    pub fn due(&self, key: K) -> Option<Instant> {
        self.times.get(&key).copied()
    }

    /// How many entries are due at `now`; counts no further than `most`.
    #[must_use]
    pub fn count_due(&self, now: Instant, most: usize) -> usize {
        self.order.iter().take(most).take_while(|(at, _)| *at <= now).count()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{PollSchedule, Quota, RateBudget};

    #[test]
    fn what_is_not_due_is_not_taken_and_what_is_removed_never() {
        let (now, mut agenda) = (Instant::now(), Agenda::new());
        let later = now + Duration::from_secs(1);
        agenda.put('a', later);
        agenda.put('b', now);
        agenda.put('c', now);
        agenda.put('c', later);
        agenda.remove('b');
        assert_eq!((agenda.take(now), agenda.next(), agenda.len()), (None, Some(later), 2));
        assert_eq!((agenda.count_due(later, 9), agenda.count_due(later, 1)), (2, 1));
        assert_eq!(
            (agenda.take(later), agenda.take(later), agenda.take(later)),
            (Some('a'), Some('c'), None)
        );
    }

    /// Looks at `tasks` for ten minutes, a permit a look: when each was looked at.
    fn looks(tasks: usize, per_second: u32, seed: u64) -> Vec<(Duration, usize)> {
        let start = Instant::now();
        let (budget, quota) = (RateBudget::new(start), Quota::per_second(per_second, 1));
        let (schedule, mut agenda, mut draw) = (PollSchedule::default(), Agenda::new(), seed | 1);
        let mut jitter = || {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            f64::from((draw >> 33) as u32) / f64::from(u32::MAX >> 1)
        };
        for task in 0..tasks {
            agenda.put(task, start + schedule.wait(Duration::ZERO, None, jitter()));
        }
        let (mut now, mut looks) = (start, Vec::new());
        while now < start + Duration::from_secs(600) {
            let due = agenda.next().expect("every task is put back");
            if due > now {
                now = due;
            } else if let Err(wait) = budget.take(now, quota) {
                now += wait;
            } else {
                let task = agenda.take(now).expect("one is due");
                looks.push((now - start, task));
                agenda.put(task, now + schedule.wait(now - start, None, jitter()));
            }
        }
        looks
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Never over the budget, and nobody is looked at twice while another waits for its turn: each
        /// task's looks lie at most a round of all tasks, or its own longest wait, apart.
        #[test]
        fn the_budget_is_kept_and_everyone_has_a_turn(tasks in 1_usize..400, rate in 1_u32..30, seed: u64) {
            let looks = looks(tasks, rate, seed);
            for pair in looks.windows(2) {
                prop_assert!(pair[1].0 - pair[0].0 >= Quota::per_second(rate, 1).interval());
            }
            let round = Duration::from_secs_f64(tasks as f64 / f64::from(rate));
            let most = round + Duration::from_secs(6);
            let mut last = vec![Duration::ZERO; tasks];
            for (at, task) in looks {
                prop_assert!(at - last[task] <= most, "{task} was left out from {:?} to {at:?}", last[task]);
                last[task] = at;
            }
            prop_assert!(last.iter().all(|at| Duration::from_secs(600) - *at <= most));
        }
    }
}
