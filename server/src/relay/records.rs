//! The tasks that were submitted through the relay, for as long as the upstream knows them: a day.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Owner, handle::TaskKey, task::Task};
use crate::shared_redis::TaskName;

/// How long the upstream knows a task (*Fun-ASR recording*: tasks and results last 24 hours).
pub(super) const LIFE: Duration = Duration::from_secs(24 * 3600);
/// The most that are kept; beyond it the oldest are forgotten, and looked up again when they are asked for.
const MOST: usize = 200_000;
/// So much of what the upstream said of tasks that have ended is kept, in bytes; beyond it the oldest is forgotten, and
/// asked for again when somebody asks.
const MOST_SAID: usize = 256 << 20;

/// All tasks that are known.
#[derive(Debug, Default)]
pub(super) struct Records(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_name: HashMap<TaskName, Arc<Task>>,
    by_owner: HashMap<Owner, VecDeque<Arc<Task>>>,
    /// In the order of their submits, nearly.
    oldest_first: VecDeque<Arc<Task>>,
    said: Said,
}

/// What the upstream said of tasks that have ended: of which, and how much.
#[derive(Debug, Default)]
struct Said {
    names: HashSet<TaskName>,
    oldest_first: VecDeque<(Arc<Task>, usize)>,
    bytes: usize,
}

impl Records {
    /// Keeps a task, unless it is kept already; gives the one that is.
    pub(super) fn keep(&self, task: Arc<Task>, now: Duration) -> Arc<Task> {
        let mut kept = self.lock();
        kept.forget(now);
        let name = task.key.name();
        if let Some(known) = kept.by_name.get(&name) {
            return known.clone();
        }
        kept.by_name.insert(name, task.clone());
        kept.by_owner.entry(task.owner.clone()).or_default().push_back(task.clone());
        kept.oldest_first.push_back(task.clone());
        task
    }

    /// The upstream has said what became of a task.
    pub(super) fn said(&self, task: &Arc<Task>, now: Duration) {
        // It is not kept, and whoever asked for it has it.
        if task.is_over(now) {
            return;
        }
        let bytes = task.known().document.map_or(0, |document| document.len());
        let mut kept = self.lock();
        if !kept.said.names.insert(task.key.name()) {
            return;
        }
        kept.said.oldest_first.push_back((task.clone(), bytes));
        kept.said.bytes += bytes;
        kept.said.forget(MOST_SAID, now);
    }

    pub(super) fn find(&self, key: &TaskKey, now: Duration) -> Option<Arc<Task>> {
        let mut kept = self.lock();
        kept.forget(now);
        kept.by_name.get(&key.name()).cloned()
    }

    /// The task that replicas know by this name.
    pub(super) fn named(&self, name: &TaskName) -> Option<Arc<Task>> {
        self.lock().by_name.get(name).cloned()
    }

    /// All tasks.
    pub(super) fn all(&self, now: Duration) -> Vec<Arc<Task>> {
        let mut kept = self.lock();
        kept.forget(now);
        kept.oldest_first.iter().cloned().collect()
    }

    /// The tasks of an upstream that have not ended, as far as is known.
    pub(super) fn unfinished_of(&self, upstream: &str, account: &str, now: Duration) -> Vec<Arc<Task>> {
        let is_one = |task: &Arc<Task>| {
            *task.upstream == *upstream && task.key.account == account && !task.has_ended()
        };
        self.all(now).into_iter().filter(is_one).collect()
    }

    /// The tasks of an owner, the latest first.
    pub(super) fn of(&self, owner: &Owner, now: Duration) -> Vec<Arc<Task>> {
        let mut kept = self.lock();
        kept.forget(now);
        let mut tasks: Vec<_> = kept.by_owner.get(owner).into_iter().flatten().cloned().collect();
        drop(kept);
        tasks.sort_by_key(|task| std::cmp::Reverse(task.key.submitted));
        tasks
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    fn forget(&mut self, most: usize, now: Duration) {
        while self.oldest_first.front().is_some_and(|(task, _)| task.is_over(now) || self.bytes > most) {
            let Some((task, bytes)) = self.oldest_first.pop_front() else { return };
            self.names.remove(&task.key.name());
            self.bytes -= bytes;
            task.forget_results();
        }
    }
}

impl Kept {
    fn forget(&mut self, now: Duration) {
        self.said.forget(MOST_SAID, now);
        while self
            .oldest_first
            .front()
            .is_some_and(|task| task.is_over(now) || self.oldest_first.len() > MOST)
        {
            let Some(task) = self.oldest_first.pop_front() else { return };
            self.by_name.remove(&task.key.name());
            if let Some(tasks) = self.by_owner.get_mut(&task.owner) {
                // Both are in the order in which tasks were kept.
                tasks.pop_front();
                if tasks.is_empty() {
                    self.by_owner.remove(&task.owner);
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    fn task(app: &str, id: &str, submitted: u64) -> Arc<Task> {
        let owner = Owner { app: app.into(), subject: None };
        let key = TaskKey { account: "a".into(), id: id.into(), submitted };
        Arc::new(Task::new(owner, key, format!("handle of {id}"), "beijing".into(), None, "PENDING"))
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_owner_sees_its_own_tasks_for_a_day() {
        let records = Records::default();
        let first = records.keep(task("acme", "1", 100), at(100));
        records.keep(task("acme", "2", 200), at(200));
        records.keep(task("other", "3", 300), at(300));
        assert!(Arc::ptr_eq(&first, &records.keep(task("acme", "1", 100), at(300))), "it is kept once");
        let ids = |now| -> Vec<String> {
            records.of(&first.owner, now).iter().map(|task| task.key.id.clone()).collect()
        };
        assert_eq!(ids(at(300)), ["2", "1"]);
        assert_eq!(ids(at(100) + LIFE), ["2"]);
        assert!(records.find(&first.key, at(300)).is_none(), "forgotten is forgotten");
        assert!(ids(at(200) + LIFE).is_empty());
    }

    #[test]
    fn what_the_upstream_said_is_kept_as_far_as_there_is_room() {
        let (records, now) = (Records::default(), Instant::now());
        let document = json!({ "output": { "task_status": "SUCCEEDED", "text": "x".repeat(MOST_SAID / 3) } });
        let tasks = ["1", "2", "3"].map(|id| {
            let task = records.keep(task("acme", id, 100), at(100));
            task.learn(&document, now);
            records.said(&task, at(100));
            // It is asked for and told again and again.
            records.said(&task, at(100));
            task
        });
        let known = tasks.each_ref().map(|task| task.known());
        assert!(known.iter().all(|known| &*known.status == "SUCCEEDED"));
        assert_eq!(known.map(|known| known.document.is_some()), [false, true, true]);
        records.all(at(100) + LIFE);
        assert_eq!(records.lock().said.bytes, 0);
    }
}
