//! Transcription tasks: kept, worked off, and forgotten in time; knows no HTTP.

mod document;
mod results;
mod task;
mod work;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::contract::Refusal;

pub(crate) use results::Results;
pub use task::TaskStatus;
pub(crate) use task::{Moment, Subtask, Task, View};
pub(crate) use work::Work;

/// All tasks that are not yet forgotten.
#[derive(Debug)]
pub(crate) struct Tasks {
    by_id: Mutex<HashMap<String, Arc<Task>>>,
    /// How long a task is remembered after its end.
    ttl: Duration,
    /// How many tasks there are at which the ended ones are looked through again.
    sweep_at: AtomicUsize,
    worked: watch::Sender<u64>,
    /// How many are being worked on.
    at_work: watch::Sender<u64>,
}

/// A task that is being worked on.
pub(crate) struct AtWork<'a>(&'a Tasks);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.send_modify(|at_work| *at_work -= 1);
    }
}

/// A bound on memory, not a documented limit.
const TASKS_MAX: usize = 100_000;
const SWEEP_STEP: usize = 100;

impl Tasks {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            by_id: Mutex::default(),
            ttl,
            sweep_at: AtomicUsize::new(SWEEP_STEP),
            worked: watch::Sender::default(),
            at_work: watch::Sender::default(),
        }
    }

    /// Keeps a new task.
    ///
    /// # Errors
    /// 503 if the sandbox holds too many.
    pub(crate) fn add(&self, task: Arc<Task>, now: Instant) -> Result<(), Refusal> {
        let mut tasks = self.lock();
        if tasks.len() >= self.sweep_at.load(Relaxed) {
            tasks.retain(|_, task| !task.is_forgotten(now, self.ttl));
            self.sweep_at.store((tasks.len() * 2).clamp(SWEEP_STEP, TASKS_MAX), Relaxed);
        }
        if tasks.len() >= TASKS_MAX {
            return Err(Refusal::exhausted("The sandbox holds too many tasks."));
        }
        tasks.insert(task.id.clone(), task);
        Ok(())
    }

    /// The task, if the account has such a one and it is not forgotten.
    pub(crate) fn find(&self, account: &str, id: &str, now: Instant) -> Option<Arc<Task>> {
        let task = self.lock().get(id).cloned()?;
        (task.account == account && !task.is_forgotten(now, self.ttl)).then_some(task)
    }

    /// All tasks of all accounts that are not forgotten, in no order.
    pub(crate) fn all(&self, now: Instant) -> Vec<Arc<Task>> {
        let tasks = self.lock();
        tasks.values().filter(|task| !task.is_forgotten(now, self.ttl)).cloned().collect()
    }

    /// Notes that the downloads and recognition of one more task are done.
    pub(crate) fn note_worked(&self) {
        self.worked.send_modify(|worked| *worked += 1);
    }

    /// Completes once that is so for `count` tasks.
    pub(crate) async fn wait_worked(&self, count: u64) {
        let mut worked = self.worked.subscribe();
        let _seen = worked.wait_for(|worked| *worked >= count).await;
    }

    /// Notes that a task is being worked on, until what comes of it is dropped.
    pub(crate) fn begin_work(&self) -> AtWork<'_> {
        self.at_work.send_modify(|at_work| *at_work += 1);
        AtWork(self)
    }

    /// Completes once none is being worked on.
    pub(crate) async fn wait_rest(&self) {
        let mut at_work = self.at_work.subscribe();
        let _seen = at_work.wait_for(|at_work| *at_work == 0).await;
    }

    /// Changes are single insertions and removals, so a poisoned lock guards nothing broken.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Task>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
