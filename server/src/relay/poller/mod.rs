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
use super::task::{Known, Task};
use crate::site::Site;

/// The pollers of all upstreams.
#[derive(Debug, Default)]
pub(super) struct Poller {
    lines: Mutex<HashMap<Service, Arc<Line>>>,
    /// Told when there is one more.
    opened: Notify,
}

/// An upstream, by its name and its account: under the same name there may be another account one day.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Service {
    upstream: Arc<str>,
    account: String,
}

/// The poller of an upstream.
#[derive(Debug)]
struct Line {
    service: Service,
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

    /// Has a task looked at once more that ended before the broker started: its results are asked for.
    pub(super) fn follow_again_if_ended(&self, task: &Arc<Task>, known: &Known, now: Instant) {
        if known.is_final() && known.document.is_none() {
            self.add(task.clone(), Duration::ZERO, now);
        }
    }

    /// Somebody asks how far a task is, and does not wait. Tells whether somebody will look right away.
    pub(super) fn hurry(&self, task: &Task, now: Instant) -> bool {
        task.ask(now);
        let line = self.line(task);
        let is_next = line.lock().hurry(&task.key.id, now);
        line.changed.notify_one();
        is_next
    }

    /// Somebody begins to wait for a task.
    pub(super) fn watch(&self, task: &Task, now: Instant) {
        let line = self.line(task);
        line.lock().watch(&task.key.id, now);
        line.changed.notify_one();
    }

    fn add(&self, task: Arc<Task>, age: Duration, now: Instant) -> Arc<Task> {
        let line = self.line(&task);
        let followed = line.lock().add(task, age, now);
        line.changed.notify_one();
        followed
    }

    fn line(&self, task: &Task) -> Arc<Line> {
        let service = Service { upstream: task.upstream.clone(), account: task.key.account.clone() };
        let mut lines = self.lock();
        if let Some(line) = lines.get(&service) {
            return line.clone();
        }
        let line =
            Arc::new(Line { service: service.clone(), board: Mutex::default(), changed: Notify::new() });
        lines.insert(service, line.clone());
        drop(lines);
        self.opened.notify_one();
        line
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Service, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Its place in a site: under its name, or else, if that was changed, any of its account's.
    fn place(&self, site: &Site) -> Option<usize> {
        let mut of_account = (site.upstreams.iter().enumerate())
            .filter(|(_, upstream)| *upstream.config().account == *self.account)
            .map(|(place, upstream)| (place, upstream.config().name == self.upstream));
        let named = of_account.clone().find(|(_, is_named)| *is_named);
        named.or_else(|| of_account.next()).map(|(place, _)| place)
    }
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
