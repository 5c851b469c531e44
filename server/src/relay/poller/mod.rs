//! One poller for each upstream: it alone asks how far tasks are, for all who wait for them and for the record.
//! Within the account's query budget, of which it leaves direct callers their part.

mod board;
mod drive;
mod fair;
mod lease;
mod sweep;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

pub(super) use self::drive::answered;
use self::{board::Board, lease::Polls};
use super::task::{Known, Task};
use crate::{shared_redis, site::Site};

/// The pollers of all upstreams.
#[derive(Debug, Default)]
pub(super) struct Poller {
    lines: Mutex<HashMap<Service, Arc<Line>>>,
    /// Told when there is one more.
    opened: Notify,
}

/// An upstream, by its name and its account: under the same name there may be another account one day.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Service {
    upstream: Arc<str>,
    account: String,
}

/// The poller of an upstream.
#[derive(Debug)]
struct Line {
    service: Service,
    board: Mutex<Board>,
    polls: Mutex<Polls>,
    /// Told when it is another's turn to poll.
    turned: Arc<Notify>,
    /// Told whenever there may be something else to do.
    changed: Notify,
    /// Whoever takes a query beside the poller's holds it meanwhile.
    beside: tokio::sync::Mutex<()>,
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
    pub(super) fn hurry(&self, task: &Arc<Task>, now: Instant, unix: Duration) -> bool {
        task.ask(now);
        self.ensure(task, now, unix);
        let line = self.line(task);
        let is_next = line.lock().hurry(&task.key.id, now);
        line.changed.notify_one();
        is_next
    }

    /// Somebody begins to wait for a task.
    pub(super) fn watch(&self, task: &Arc<Task>, now: Instant, unix: Duration) {
        self.ensure(task, now, unix);
        let line = self.line(task);
        line.lock().watch(&task.key.id, now);
        line.changed.notify_one();
    }

    /// A task of another replica's is followed here as well, once somebody asks here, unless that one polls for all.
    fn ensure(&self, task: &Arc<Task>, now: Instant, unix: Duration) {
        if !task.is_own() && !task.has_ended() && !self.is_elsewhere(task) {
            self.follow(task.clone(), now, unix);
        }
    }

    /// Another replica has told of a task: it is followed, if this one polls for all.
    pub(super) fn hear(&self, task: &Arc<Task>, now: Instant, unix: Duration) {
        if matches!(self.line(task).polls(), Polls::Here(_)) {
            self.follow(task.clone(), now, unix);
        }
    }

    /// Another replica has told that a task has ended.
    pub(super) fn forget(&self, task: &Task) {
        self.line(task).lock().remove(&task.key.id);
    }

    /// Whether another replica polls.
    pub(super) fn is_elsewhere(&self, task: &Task) -> bool {
        self.line(task).polls() == Polls::Elsewhere
    }

    /// Whether this replica polls, for all or for itself.
    pub(super) fn polls_here(&self, task: &Task) -> bool {
        matches!(self.line(task).polls(), Polls::Here(_) | Polls::Each)
    }

    /// Completes when it is another's turn to poll a task. Told of what happens from now on.
    pub(super) fn turned(&self, task: &Task) -> impl Future<Output = ()> + use<> {
        let mut turned = Box::pin(self.line(task).turned.clone().notified_owned());
        turned.as_mut().enable();
        turned
    }

    /// The fence of the lease under which a task is polled here, for all, and what it is of.
    pub(super) fn lease_of(&self, task: &Task) -> Option<(Service, String)> {
        let line = self.line(task);
        match line.polls() {
            Polls::Here(fence) => Some((line.service.clone(), fence)),
            _ => None,
        }
    }

    /// It is another's turn by now.
    pub(super) fn fenced(&self, task: &Task) {
        let line = self.line(task);
        line.set_polls(Polls::Elsewhere);
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
        let line = Arc::new(Line {
            service: service.clone(),
            board: Mutex::default(),
            polls: Mutex::default(),
            turned: Arc::default(),
            changed: Notify::new(),
            beside: tokio::sync::Mutex::default(),
        });
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
    /// As replicas call it.
    pub(super) fn shared(&self) -> shared_redis::Service<'_> {
        shared_redis::Service { upstream: &self.upstream, account: &self.account }
    }

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
    fn polls(&self) -> Polls {
        self.polls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whose turn it is from now on; gives whose it was.
    fn set_polls(&self, polls: Polls) -> Polls {
        let mut now = self.polls.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *now, polls);
        if before != *now {
            self.turned.notify_waiters();
        }
        before
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
