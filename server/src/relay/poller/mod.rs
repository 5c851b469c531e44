//! One poller for each upstream: it alone asks how far tasks are, for all who wait for them and for the record.
//! Within the account's query budget, of which it leaves direct callers their part.

mod board;
mod drive;
mod fair;
mod sweep;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use self::board::Board;
use super::task::Task;

/// The pollers of all upstreams, by name.
#[derive(Debug, Default)]
pub(super) struct Poller {
    lines: Mutex<HashMap<Arc<str>, Arc<Line>>>,
    /// Told when there is one more.
    opened: Notify,
}

/// The poller of an upstream.
#[derive(Debug)]
struct Line {
    upstream: Arc<str>,
    board: Mutex<Board>,
    /// Told whenever there may be something else to do.
    changed: Notify,
}

impl Poller {
    /// Follows a task to its end. Gives the one that is followed: of two that are the same, the first.
    pub(super) fn follow(&self, task: Arc<Task>, now: Instant, unix: Duration) -> Arc<Task> {
        let age = unix.saturating_sub(Duration::from_secs(task.key.submitted));
        self.add(task, age, now)
    }

    /// Has a task looked at once more that has ended: its results are asked for.
    pub(super) fn follow_again(&self, task: &Arc<Task>, now: Instant) {
        self.add(task.clone(), Duration::ZERO, now);
    }

    fn add(&self, task: Arc<Task>, age: Duration, now: Instant) -> Arc<Task> {
        let line = self.line(&task.upstream);
        let followed = line.lock().add(task, age, now);
        line.changed.notify_one();
        followed
    }

    /// Somebody asks how far a task is, and does not wait. Tells whether somebody will look right away.
    pub(super) fn hurry(&self, task: &Task, now: Instant) -> bool {
        task.ask(now);
        let line = self.line(&task.upstream);
        let is_next = line.lock().hurry(&task.key.id, now);
        line.changed.notify_one();
        is_next
    }

    /// Somebody begins to wait for a task.
    pub(super) fn watch(&self, task: &Task, now: Instant) {
        let line = self.line(&task.upstream);
        line.lock().watch(&task.key.id, now);
        line.changed.notify_one();
    }

    fn line(&self, upstream: &Arc<str>) -> Arc<Line> {
        let mut lines = self.lock();
        if let Some(line) = lines.get(upstream) {
            return line.clone();
        }
        let line =
            Arc::new(Line { upstream: upstream.clone(), board: Mutex::default(), changed: Notify::new() });
        lines.insert(upstream.clone(), line.clone());
        drop(lines);
        self.opened.notify_one();
        line
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
