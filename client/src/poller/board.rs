//! What is known of each task that is watched, and which call to make next. Told the time; makes no call.

mod waits;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::AbortHandle;
use tokio::sync::mpsc::UnboundedSender;
use valet_pacing::{Agenda, BackOff, Expected, Forecast, Listing, Progress};

pub(super) use self::waits::Waited;
use super::{
    Manner, News, Seen,
    held::Held,
    recent::{Recent, Submitted},
    sweep::{Sweep, status_of},
};
use crate::{Error, Kind, Status, Task, TaskId, list::TaskPage};

const BACK_OFF: BackOff = BackOff::new(Duration::from_millis(500), Duration::from_secs(20));
/// So many looks that fail in a row, of whatever tasks, are a trouble of all; then all pause so long, and
/// do not each find out alone. No longer: it may be a trouble of those few after all.
const TROUBLE: u32 = 4;
const PAUSE: BackOff = BackOff::new(Duration::from_millis(250), Duration::from_secs(1));
/// The longest that a task is left alone because the service asks for it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Pages of the list that are under way at a time: as they are asked for one after another, so are they read.
const PAGES: u32 = 8;
/// Senseless answers in a row that are taken for a passing trouble, as of a proxy that restarts.
const SENSELESS: u32 = 3;
/// A call to make.
pub(super) enum Step {
    Look {
        key: u64,
        id: TaskId,
    },
    List {
        /// Which pass over the list it is of.
        sweep: u64,
        status: Status,
        page: u32,
    },
    /// A look at several tasks, held back until there is something to tell of any, for `wait` at most.
    Wait {
        number: u64,
        ids: Vec<TaskId>,
        wait: Duration,
    },
}

/// What a look told.
pub(super) struct Looked {
    pub(super) sent: Instant,
    pub(super) outcome: Result<Task, Error>,
}

#[derive(Default)]
pub(super) struct Board {
    tasks: HashMap<u64, Entry>,
    keys: HashMap<TaskId, u64>,
    agenda: Agenda<u64>,
    recent: Recent,
    forecast: Forecast,
    listing: Listing,
    sweep: Option<Sweep>,
    held: Held,
    /// Who was missing on the last list, and is due for that: another list would tell nothing of them.
    missing: HashSet<u64>,
    trouble: Trouble,
    numbers: u64,
    pub(super) is_driven: bool,
}

struct Entry {
    id: TaskId,
    manner: Manner,
    /// When it was submitted, if this client did it; else when it was first watched.
    born: Instant,
    is_ours: bool,
    watched: Instant,
    status: Option<Status>,
    /// When it was last known not to have ended.
    unfinished: Instant,
    failures: u32,
    seats: Vec<(u64, UnboundedSender<News>)>,
    flight: Option<AbortHandle>,
}

/// What a look told of a task.
enum Learnt {
    Ended,
    Unfinished { changed: bool },
}

/// Looks that failed in a row, whatever the task.
#[derive(Default)]
struct Trouble {
    count: u32,
    until: Option<Instant>,
}

impl Board {
    pub(super) fn submitted(&mut self, id: &TaskId, at: Instant, length: Option<Duration>) {
        self.recent.add(id, Submitted { at, length });
    }

    /// Seats a watcher; also tells whether somebody must begin to drive.
    pub(super) fn watch(
        &mut self,
        id: &TaskId,
        manner: Manner,
        sender: UnboundedSender<News>,
        now: Instant,
    ) -> (u64, bool) {
        self.numbers += 1;
        let seat = self.numbers;
        if let Some(entry) = self.keys.get(id).and_then(|key| self.tasks.get_mut(key)) {
            entry.seats.push((seat, sender));
        } else {
            let recent = self.recent.find(id);
            let born = recent.map_or(now, |submitted| submitted.at);
            let length = manner.length.or(recent.and_then(|submitted| submitted.length));
            let entry = Entry {
                id: id.clone(),
                manner: Manner { length, ..manner },
                born,
                is_ours: recent.is_some(),
                watched: now,
                status: None,
                unfinished: born,
                failures: 0,
                seats: vec![(seat, sender)],
                flight: None,
            };
            // Of another's task nobody knows the age: it may have ended long ago.
            let first =
                if recent.is_some() { entry.wait(self.expected(&entry), born, 1.0) } else { Duration::ZERO };
            self.agenda.put(seat, (born + first).max(now));
            self.keys.insert(id.clone(), seat);
            self.tasks.insert(seat, entry);
        }
        (seat, !std::mem::replace(&mut self.is_driven, true))
    }

    /// A watcher leaves; a task that nobody watches is not looked at any more.
    pub(super) fn leave(&mut self, id: &TaskId, seat: u64) {
        let Some(&key) = self.keys.get(id) else { return };
        let Some(entry) = self.tasks.get_mut(&key) else { return };
        entry.seats.retain(|(number, _)| *number != seat);
        if entry.seats.is_empty() {
            self.forget(key);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// When there is a call to make; `None` while there is not.
    pub(super) fn next_time(&self, now: Instant) -> Option<Instant> {
        let next = match &self.sweep {
            Some(sweep) => sweep.pass.has_page().then_some(now),
            None => self.agenda.next(),
        };
        next.map(|next| self.trouble.until.map_or(next, |until| next.max(until)))
    }

    /// The call to make, if there is one. Where the service holds answers back, a request can wait for
    /// `most` tasks.
    pub(super) fn next(&mut self, now: Instant, most: Option<usize>) -> Option<Step> {
        if let Some(sweep) = &mut self.sweep {
            let (number, status) = (sweep.number, status_of(sweep.pass.stage()));
            return sweep.pass.ask().map(|page| Step::List { sweep: number, status, page });
        }
        if let Some(most) = most {
            return self.next_wait(now, most);
        }
        let due = self.agenda.count_due(now, self.tasks.len()).saturating_sub(self.missing.len());
        if let Some(mut pass) = self.listing.pass(now, due, PAGES) {
            let (status, page) = (status_of(pass.stage()), pass.ask()?);
            self.numbers += 1;
            self.sweep = Some(Sweep::new(self.numbers, now, pass));
            return Some(Step::List { sweep: self.numbers, status, page });
        }
        let key = self.agenda.take(now)?;
        self.missing.remove(&key);
        let id = self.tasks.get(&key)?.id.clone();
        Some(Step::Look { key, id })
    }

    /// By this the look at a task that nobody watches any more is given up.
    pub(super) fn fly(&mut self, key: u64, flight: AbortHandle) {
        if let Some(entry) = self.tasks.get_mut(&key) {
            entry.flight = Some(flight);
        }
    }

    /// A look has ended.
    pub(super) fn looked(&mut self, now: Instant, key: u64, looked: Looked, stretch: f64) {
        match looked.outcome {
            Ok(task) => {
                if let Learnt::Unfinished { .. } = self.learn(now, looked.sent, key, task) {
                    self.look_later(key, now, stretch);
                }
            }
            Err(error) => {
                if self.failed(now, key, &error) {
                    self.trouble.note(now, looked.sent, &error);
                }
            }
        }
    }

    /// Something was learnt of a task by a look that began at `sent`.
    fn learn(&mut self, now: Instant, sent: Instant, key: u64, task: Task) -> Learnt {
        let Some(entry) = self.tasks.get_mut(&key) else { return Learnt::Ended };
        (entry.flight, entry.failures) = (None, 0);
        self.trouble = Trouble::default();
        let changed = entry.status.replace(task.status().clone()).as_ref() != Some(task.status());
        let is_final = task.status().is_final();
        if !is_final {
            entry.unfinished = sent;
        } else if entry.is_ours {
            // It ended between the last two looks.
            let took = (entry.unfinished - entry.born + (now - entry.born)) / 2;
            self.forecast.learn(took, entry.manner.length);
        }
        self.tell(key, &Ok(Seen::Task(Arc::new(task))));
        if is_final {
            self.forget(key);
            return Learnt::Ended;
        }
        Learnt::Unfinished { changed }
    }

    /// A look at a task has failed; whether the wait for it goes on.
    fn failed(&mut self, now: Instant, key: u64, error: &Error) -> bool {
        let Some(entry) = self.tasks.get_mut(&key) else { return false };
        entry.flight = None;
        if !passes(error, entry.failures) {
            self.tell(key, &Err(error.clone()));
            self.forget(key);
            return false;
        }
        tracing::debug!(%error, task = %entry.id, "a look at the task failed");
        let wait = match error.status() {
            // All pause together, by the query budget.
            Some(429) => Duration::ZERO,
            _ => BACK_OFF.wait(entry.failures, fastrand::f64()),
        };
        entry.failures += 1;
        let told = error.retry_after().unwrap_or_default().min(LONGEST_WAIT);
        self.agenda.put(key, now + wait.max(told));
        self.tell(key, &Ok(Seen::Trouble(error.clone())));
        true
    }

    /// A page of the list of unfinished tasks has come.
    pub(super) fn listed(&mut self, now: Instant, number: u64, page: Result<TaskPage, Error>, stretch: f64) {
        let Some(sweep) = self.sweep.as_mut().filter(|sweep| sweep.number == number) else { return };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(%error, "the list of tasks cannot be used");
                if error.is_retryable() {
                    self.listing.fails(now);
                } else {
                    self.listing.disappoints(now);
                }
                self.sweep = None;
                return;
            }
        };
        let progress = sweep.pass.note(page.total_page);
        sweep.note(page);
        self.listing.note(now, &sweep.pass);
        match progress {
            Progress::GoesOn => {}
            Progress::NotWorthIt(calls) => {
                self.listing.learn(now, calls, 0);
                self.sweep = None;
            }
            Progress::Done => {
                if let Some(sweep) = self.sweep.take() {
                    self.swept(now, &sweep, stretch);
                }
            }
        }
    }

    /// Who is on the list is looked at later; who is not, at once.
    fn swept(&mut self, now: Instant, sweep: &Sweep, stretch: f64) {
        let older = self.tasks.iter().filter(|(_, entry)| entry.watched <= sweep.began);
        let keys: Vec<u64> = older.map(|(key, _)| *key).collect();
        let mut spared = 0;
        for key in keys {
            let (Some(due), Some(entry)) = (self.agenda.due(key), self.tasks.get_mut(&key)) else { continue };
            let Some(status) = sweep.seen.get(&entry.id) else {
                self.agenda.put(key, due.min(now));
                self.missing.insert(key);
                continue;
            };
            spared += usize::from(due <= now);
            entry.unfinished = sweep.began;
            if entry.status.replace(status.clone()).as_ref() != Some(status) {
                let task = Task::listed(entry.id.clone(), status.clone());
                self.tell(key, &Ok(Seen::Task(Arc::new(task))));
            }
            self.missing.remove(&key);
            self.look_later(key, now, stretch);
        }
        self.listing.learn(now, sweep.pass.calls(), spared);
    }

    fn look_later(&mut self, key: u64, now: Instant, stretch: f64) {
        let Some(entry) = self.tasks.get(&key) else { return };
        let wait = entry.wait(self.expected(entry), now, fastrand::f64()).mul_f64(stretch);
        self.agenda.put(key, now + wait);
    }

    fn expected(&self, entry: &Entry) -> Option<Expected> {
        entry.is_ours.then(|| self.forecast.expect(entry.manner.length)).flatten()
    }

    fn tell(&self, key: u64, news: &News) {
        for (_, seat) in self.tasks.get(&key).into_iter().flat_map(|entry| &entry.seats) {
            // A watcher that has gone is not told.
            let _ = seat.send(news.clone());
        }
    }

    fn forget(&mut self, key: u64) {
        self.agenda.remove(key);
        self.missing.remove(&key);
        if let Some(entry) = self.tasks.remove(&key) {
            self.keys.remove(&entry.id);
            entry.flight.iter().for_each(AbortHandle::abort);
            self.held.leave(key);
        }
    }

    /// Nobody drives any more: who still watches is to find another driver.
    pub(super) fn stop(&mut self) {
        let keys: Vec<u64> = self.tasks.keys().copied().collect();
        keys.into_iter().for_each(|key| self.forget(key));
        (self.sweep, self.is_driven) = (None, false);
    }
}

impl Entry {
    fn wait(&self, expected: Option<Expected>, now: Instant, jitter: f64) -> Duration {
        self.manner.schedule.wait(now.saturating_duration_since(self.born), expected, jitter)
    }
}

impl Trouble {
    fn note(&mut self, now: Instant, sent: Instant, error: &Error) {
        // What was under way when the trouble was noticed tells nothing new.
        if error.status() == Some(429) || self.until.is_some_and(|until| sent < until) {
            return;
        }
        self.count += 1;
        if self.count >= TROUBLE {
            self.until = Some(now + PAUSE.wait(self.count - TROUBLE, fastrand::f64()));
        }
    }
}

/// Whether a wait goes on after this error: the task does, and it is paid for.
fn passes(error: &Error, failures: u32) -> bool {
    let senseless = error.kind() == Kind::Malformed && failures < SENSELESS;
    error.is_retryable() || error.status() == Some(429) || senseless
}

#[cfg(test)]
mod tests;
