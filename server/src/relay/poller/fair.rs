//! Whose turn it is: the apps take turns, and of each app whatever has been due for the longest.

use std::{collections::HashMap, time::Instant};

use valet_pacing::Agenda;

/// Tasks that each become due at a time of their own, by app. However many of one app's are due, another's
/// waits for one of them at most.
#[derive(Debug, Default)]
pub(super) struct Fair {
    lines: HashMap<u32, Agenda<u64>>,
    /// When the next of each app is due; of one that has just had its turn, not before the others.
    turns: Agenda<u32>,
}

impl Fair {
    /// Makes a task of an app due at `at`; at no other time, if it was due already.
    pub(super) fn put(&mut self, app: u32, task: u64, at: Instant) {
        let line = self.lines.entry(app).or_default();
        line.put(task, at);
        if self.turns.due(app).is_none_or(|turn| at < turn) {
            self.turns.put(app, at);
        }
    }

    /// Forgets a task of an app.
    pub(super) fn remove(&mut self, app: u32, task: u64) {
        let Some(line) = self.lines.get_mut(&app) else { return };
        line.remove(task);
        if line.is_empty() {
            self.lines.remove(&app);
            self.turns.remove(app);
        }
    }

    /// Takes the task whose turn it is, if one is due at `now`.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        loop {
            let app = self.turns.take(now)?;
            let Some(line) = self.lines.get_mut(&app) else { continue };
            let task = line.take(now);
            match line.next() {
                // Behind all who are due.
                Some(next) => self.turns.put(app, next.max(now)),
                None => {
                    self.lines.remove(&app);
                }
            }
            if task.is_some() {
                return task;
            }
        }
    }

    /// When the next task is due, or was.
    pub(super) fn next(&self) -> Option<Instant> {
        self.turns.next()
    }

    /// When a task of an app is due.
    pub(super) fn due(&self, app: u32, task: u64) -> Option<Instant> {
        self.lines.get(&app)?.due(task)
    }

    /// How many tasks are due at `now`; counts no further than about `most`.
    pub(super) fn count_due(&self, now: Instant, most: usize) -> usize {
        let mut count = 0;
        for line in self.lines.values() {
            count += line.count_due(now, most - count);
            if count >= most {
                break;
            }
        }
        count
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_app_with_many_tasks_does_not_keep_another_waiting() {
        let (start, mut fair) = (Instant::now(), Fair::default());
        (0..1000).for_each(|task| fair.put(0, task, start));
        let later = start + Duration::from_secs(1);
        fair.put(1, 5000, later);
        fair.put(1, 5001, later);
        let taken: Vec<u64> =
            (0_u32..5).filter_map(|n| fair.take(later + Duration::from_millis(50) * n)).collect();
        assert_eq!(taken.iter().filter(|task| **task >= 5000).count(), 2, "{taken:?}");
    }

    #[test]
    fn what_is_removed_has_no_turn() {
        let (now, mut fair) = (Instant::now(), Fair::default());
        fair.put(0, 1, now);
        fair.put(0, 2, now);
        fair.remove(0, 1);
        assert_eq!((fair.count_due(now, 9), fair.take(now), fair.take(now)), (1, Some(2), None));
        assert_eq!(fair.next(), None);
    }

    proptest! {
        /// Nothing is lost, nothing is taken early, and among apps that are due the turns go round.
        #[test]
        fn everyone_has_a_turn(dues in prop::collection::vec((0_u32..5, 0_u64..2000), 1..200)) {
            let (start, mut fair) = (Instant::now(), Fair::default());
            let at = |millis: u64| start + Duration::from_millis(millis);
            for (task, (app, due)) in dues.iter().enumerate() {
                fair.put(*app, task as u64, at(*due));
            }
            let mut taken = Vec::new();
            for step in 0..500 {
                let now = 2000 + step;
                if let Some(task) = fair.take(at(now)) {
                    taken.push((dues[usize::try_from(task).unwrap()].0, task));
                }
            }
            let mut tasks: Vec<u64> = taken.iter().map(|(_, task)| *task).collect();
            tasks.sort_unstable();
            prop_assert_eq!(tasks, (0..dues.len() as u64).collect::<Vec<_>>());
            // While an app has a task left, it waits for no more turns than there are other apps.
            for app in 0..5 {
                let turns: Vec<usize> = (0..taken.len()).filter(|place| taken[*place].0 == app).collect();
                prop_assert!(turns.windows(2).all(|pair| pair[1] - pair[0] <= 5));
                prop_assert!(turns.first().is_none_or(|first| *first < 5));
            }
        }
    }
}
