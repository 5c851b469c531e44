//! Every task of an upstream that has not ended, and which call to make next. Told the time; makes no call.
//!
//! First come tasks that are known to have ended, or of which nothing is known: a look tells somebody something.
//! Then the list, where it tells of many at once. Then looks at tasks that somebody waits for. Then the others:
//! every task is followed to its end, for the sake of quotas and of the record.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use valet_pacing::{BackOff, Forecast, Listing, PollSchedule, Progress, Sequence, Stage};

use super::{
    fair::Fair,
    sweep::{Page, Sweep},
};
use crate::relay::task::{Task, is_final};

/// Looks at tasks that somebody waits for: a second after the submit, then by age, every five seconds at the
/// least often.
const WATCHED: PollSchedule = PollSchedule::new(Duration::from_secs(1), 0.8, Duration::from_secs(5));
/// Looks at the others.
const IDLE: PollSchedule = PollSchedule::new(Duration::from_secs(30), 3.0, Duration::from_secs(600));
const BACK_OFF: BackOff = BackOff::new(Duration::from_secs(1), Duration::from_secs(60));
/// One look in so many is at a task that nobody waits for, if one is due.
const IDLE_TURN: u32 = 8;
/// So many due looks are counted at the most.
const COUNTED: usize = 10_000;
/// The page that is always taken (*Manage asynchronous tasks*: the default of `page_size`).
const SMALL_PAGE: u32 = 10;

/// A call to make.
#[derive(Debug)]
pub(super) enum Step {
    Look { number: u64, task: Arc<Task> },
    List { sweep: u64, stage: Stage, page: u32, size: u32 },
}

#[derive(Debug, Default)]
pub(super) struct Board {
    places: HashMap<u64, Place>,
    numbers: HashMap<String, u64>,
    apps: HashMap<Arc<str>, u32>,
    ended: Fair,
    unlisted: Fair,
    watched: Fair,
    idle: Fair,
    sweep: Option<Sweep>,
    /// How many passes have begun.
    sweeps: u64,
    listing: Listing,
    /// Of those that run, by number.
    sequence: Sequence<u64>,
    forecast: Forecast,
    /// The last call was a look at one that no list tells of.
    was_unlisted: bool,
    /// Counts looks at tasks of which none is known to have ended.
    turn: u32,
    /// The largest page that the upstream has refused.
    refused_page: Option<u32>,
    next_number: u64,
    next_app: u32,
}

#[derive(Debug)]
struct Place {
    task: Arc<Task>,
    app: u32,
    born: Instant,
    /// When it was last known not to have ended.
    unfinished: Instant,
    /// It was missing on the list.
    is_missing: bool,
    /// And it had not ended nonetheless: the list does not tell of it.
    is_unlisted: bool,
    queue: Queue,
    failures: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Queue {
    Ended,
    /// Somebody waits for it, and no list tells of it.
    Unlisted,
    Watched,
    Idle,
    /// Somebody is looking.
    Flying,
}

impl Board {
    /// Takes in a task of this `age`, unless it is here already; gives the one that is.
    pub(super) fn add(&mut self, task: Arc<Task>, age: Duration, now: Instant) -> Arc<Task> {
        if let Some(place) = self.numbers.get(&task.key.id).and_then(|number| self.places.get(number)) {
            return place.task.clone();
        }
        let number = self.next_number;
        self.next_number += 1;
        let next_app = &mut self.next_app;
        let app = *self.apps.entry(task.owner.app.clone()).or_insert_with(|| {
            *next_app += 1;
            *next_app
        });
        self.numbers.insert(task.key.id.clone(), number);
        let born = now.checked_sub(age).unwrap_or(now);
        let known = task.known();
        let place = Place {
            task: task.clone(),
            app,
            born,
            unfinished: born,
            is_missing: false,
            is_unlisted: false,
            queue: Queue::Idle,
            failures: 0,
        };
        self.places.insert(number, place);
        match known.document {
            // Its results are asked for.
            None if known.is_final() => self.queue(number, Queue::Ended, now),
            // Of one that was submitted before the broker started nobody knows how far it is. There may be many: the
            // list tells of them all.
            None => self.queue(number, Queue::Idle, now),
            Some(_) => self.later(number, now),
        }
        task
    }

    /// Somebody asks how far a task is: it is looked at as soon as its turn comes. Tells whether that is next.
    pub(super) fn hurry(&mut self, id: &str, now: Instant) -> bool {
        let Some(&number) = self.numbers.get(id) else { return false };
        let Some(place) = self.places.get(&number) else { return false };
        match place.queue {
            Queue::Flying => return true,
            Queue::Ended | Queue::Unlisted => {}
            _ if self.due(number).is_some_and(|due| due <= now) && place.queue == Queue::Watched => {}
            Queue::Watched | Queue::Idle => self.queue(number, Queue::Watched, now),
        }
        self.sweep.is_none() && self.ended.count_due(now, 2) + self.watched.count_due(now, 2) <= 1
    }

    /// Somebody begins to wait for a task.
    pub(super) fn watch(&mut self, id: &str, now: Instant) {
        let Some(&number) = self.numbers.get(id) else { return };
        if self.places.get(&number).is_some_and(|place| place.queue == Queue::Idle) {
            self.later(number, now);
        }
    }

    /// When there is a call to make; `None` while there is not.
    pub(super) fn next_time(&self, now: Instant) -> Option<Instant> {
        let others = match &self.sweep {
            Some(sweep) => sweep.pass.has_page().then_some(now),
            None => [self.watched.next(), self.idle.next()].into_iter().flatten().min(),
        };
        [self.ended.next(), self.unlisted.next(), others].into_iter().flatten().min()
    }

    /// The call to make, if there is one. Lists have at most `page` tasks a page; 0 if there is to be none.
    pub(super) fn next(&mut self, now: Instant, page: u32) -> Option<Step> {
        if let Some(number) = self.ended.take(now) {
            return self.look(number);
        }
        // By turns with the list, so that neither keeps the other waiting.
        self.was_unlisted = !self.was_unlisted;
        if self.was_unlisted
            && let Some(number) = self.unlisted.take(now)
        {
            return self.look(number);
        }
        let size = if self.refused_page.is_some_and(|refused| refused <= page) { SMALL_PAGE } else { page };
        if let Some(sweep) = &mut self.sweep {
            let (sweep_number, stage) = (sweep.number, sweep.pass.stage());
            if let Some(page) = sweep.pass.ask() {
                return Some(Step::List { sweep: sweep_number, stage, page, size });
            }
            let number = self.unlisted.take(now)?;
            return self.look(number);
        }
        let due = self.watched.count_due(now, COUNTED);
        let due = due + self.idle.count_due(now, COUNTED);
        // One page at a time: the budget is shared with looks.
        if page > 0
            && let Some(mut pass) = self.listing.pass(now, due, 1)
        {
            let (stage, first) = (pass.stage(), pass.ask()?);
            self.sweeps += 1;
            self.sweep = Some(Sweep::new(self.sweeps, now, pass));
            return Some(Step::List { sweep: self.sweeps, stage, page: first, size });
        }
        self.turn = self.turn.wrapping_add(1);
        if self.turn.is_multiple_of(IDLE_TURN)
            && let Some(number) = self.idle.take(now)
        {
            return self.look(number);
        }
        while let Some(number) = self.watched.take(now) {
            if self.places.get(&number).is_some_and(|place| place.task.is_watched(now)) {
                return self.look(number);
            }
            // Nobody waits for it any more.
            self.queue(number, Queue::Idle, self.idle_time(number, now));
        }
        let number = self.idle.take(now).or_else(|| self.unlisted.take(now))?;
        self.look(number)
    }

    /// A look has ended: the task has, or has not, or nobody knows.
    pub(super) fn looked(&mut self, now: Instant, number: u64, looked: Looked) {
        let Some(place) = self.places.get_mut(&number) else { return };
        match looked {
            Looked::Ended => {
                let took = (place.unfinished - place.born + (now - place.born)) / 2;
                self.forecast.learn(took, None);
                self.forget(number);
            }
            Looked::Unfinished { sent } => {
                place.failures = 0;
                place.is_unlisted |= std::mem::take(&mut place.is_missing);
                place.unfinished = sent;
                self.later(number, now);
            }
            Looked::Failed { retry_after } => {
                let wait = BACK_OFF.wait(place.failures, fastrand::f64());
                place.failures += 1;
                self.queue(number, Queue::Watched, now + wait.max(retry_after.unwrap_or_default()));
            }
            // It is the account's trouble, not this task's.
            Looked::Throttled => self.queue(number, Queue::Ended, now),
        }
    }

    /// A page of the list has come, for the pass of that number. Tells who, in the upstream's words, has which status.
    pub(super) fn listed(&mut self, now: Instant, sweep: u64, page: &Page) -> Vec<(Arc<Task>, String)> {
        let Some(mut sweep) = self.sweep.take_if(|current| current.number == sweep) else {
            return Vec::new();
        };
        let stage = sweep.pass.stage();
        let (mut told, mut numbers) = (Vec::new(), Vec::new());
        for listed in page.data.iter().filter(|listed| !is_final(&listed.status)) {
            let Some(&number) = self.numbers.get(&listed.task_id) else { continue };
            let Some(place) = self.places.get_mut(&number) else { continue };
            sweep.seen.insert(number);
            numbers.push(number);
            place.unfinished = now;
            (place.is_missing, place.is_unlisted) = (false, false);
            told.push((place.task.clone(), listed.status.clone()));
            let queue = place.queue;
            if matches!(queue, Queue::Unlisted | Queue::Watched | Queue::Idle) {
                let is_due = || self.due(number).is_some_and(|due| due <= now);
                sweep.spared += usize::from(queue == Queue::Watched || is_due());
                self.later(number, now);
            }
        }
        if stage == Stage::Running {
            for number in self.sequence.read(&numbers) {
                self.has_ended(number, now);
            }
        }
        let progress = sweep.pass.note(page.total_page);
        self.listing.note(now, &sweep.pass);
        match progress {
            Progress::GoesOn => self.sweep = Some(sweep),
            // Its length is remembered: it is not asked for again before it is worth it.
            Progress::NotWorthIt(calls) => {
                self.sequence.give_up();
                self.listing.learn(now, calls, calls + 1);
            }
            Progress::Done => {
                self.sequence.end();
                self.listing.learn(now, sweep.pass.calls(), sweep.spared);
                let missed = self.places.iter().filter(|(number, place)| {
                    place.unfinished < sweep.began && !place.is_unlisted && !sweep.seen.contains(number)
                });
                for number in missed.map(|(number, _)| *number).collect::<Vec<_>>() {
                    self.has_ended(number, now);
                }
            }
        }
        told
    }

    /// The upstream refused a page of this size: a smaller one is asked for, or none for a while.
    pub(super) fn page_refused(&mut self, sweep: u64, size: u32, now: Instant) {
        if self.sweep.take_if(|current| current.number == sweep).is_none() {
            return;
        }
        self.sequence.give_up();
        if size > SMALL_PAGE {
            self.refused_page = Some(size);
        } else {
            self.listing.disappoints(now);
        }
    }

    /// A page did not come. It is asked for again, unless that has failed before: what was read so far is not thrown
    /// away for one page.
    pub(super) fn page_failed(&mut self, sweep: u64, now: Instant, is_throttled: bool) {
        let Some(sweep) = self.sweep.as_mut().filter(|current| current.number == sweep) else { return };
        if !sweep.ask_again(is_throttled) {
            self.sweep = None;
            self.sequence.give_up();
            self.listing.fails(now);
        }
    }

    /// Another has polled meanwhile: what a pass has shown until then shows nothing any more.
    pub(super) fn begin_again(&mut self) {
        self.sweep = None;
        self.sequence = Sequence::default();
    }

    /// A task has ended, as somebody else says.
    pub(super) fn remove(&mut self, id: &str) {
        if let Some(&number) = self.numbers.get(id) {
            self.forget(number);
        }
    }

    /// How many tasks have not ended.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// It is not on the list any more.
    fn has_ended(&mut self, number: u64, now: Instant) {
        let Some(place) = self.places.get_mut(&number) else { return };
        if matches!(place.queue, Queue::Unlisted | Queue::Watched | Queue::Idle) {
            place.is_missing = true;
            self.queue(number, Queue::Ended, now);
        }
    }

    fn look(&mut self, number: u64) -> Option<Step> {
        let place = self.places.get_mut(&number)?;
        place.queue = Queue::Flying;
        Some(Step::Look { number, task: place.task.clone() })
    }

    /// Puts a task where it belongs by who waits for it.
    fn later(&mut self, number: u64, now: Instant) {
        let Some(place) = self.places.get(&number) else { return };
        if place.task.is_watched(now) {
            let expected = self.forecast.expect(None);
            let wait = WATCHED.wait(now.saturating_duration_since(place.born), expected, fastrand::f64());
            let queue = if place.is_unlisted { Queue::Unlisted } else { Queue::Watched };
            self.queue(number, queue, (place.unfinished + wait).max(now));
        } else {
            self.queue(number, Queue::Idle, self.idle_time(number, now));
        }
    }

    fn idle_time(&self, number: u64, now: Instant) -> Instant {
        let born = self.places.get(&number).map_or(now, |place| place.born);
        now + IDLE.wait(now.saturating_duration_since(born), None, fastrand::f64())
    }

    fn queue(&mut self, number: u64, queue: Queue, at: Instant) {
        self.unqueue(number);
        let Some(place) = self.places.get_mut(&number) else { return };
        place.queue = queue;
        match queue {
            Queue::Ended => self.ended.put(place.app, number, at),
            Queue::Unlisted => self.unlisted.put(place.app, number, at),
            Queue::Watched => self.watched.put(place.app, number, at),
            Queue::Idle => self.idle.put(place.app, number, at),
            Queue::Flying => {}
        }
    }

    fn unqueue(&mut self, number: u64) {
        let Some(place) = self.places.get(&number) else { return };
        match place.queue {
            Queue::Ended => self.ended.remove(place.app, number),
            Queue::Unlisted => self.unlisted.remove(place.app, number),
            Queue::Watched => self.watched.remove(place.app, number),
            Queue::Idle => self.idle.remove(place.app, number),
            Queue::Flying => {}
        }
    }

    fn due(&self, number: u64) -> Option<Instant> {
        let place = self.places.get(&number)?;
        match place.queue {
            Queue::Watched => self.watched.due(place.app, number),
            Queue::Idle => self.idle.due(place.app, number),
            Queue::Ended | Queue::Unlisted | Queue::Flying => None,
        }
    }

    fn forget(&mut self, number: u64) {
        self.unqueue(number);
        let Some(place) = self.places.remove(&number) else { return };
        self.numbers.remove(&place.task.key.id);
    }
}

/// What a look told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Looked {
    Ended,
    Unfinished {
        sent: Instant,
    },
    /// Nobody could look.
    Failed {
        retry_after: Option<Duration>,
    },
    /// Too many look at the account's tasks.
    Throttled,
}

#[cfg(test)]
mod tests;
