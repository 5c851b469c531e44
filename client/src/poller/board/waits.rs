//! The board where the service holds its answers back: who waits together, and what they are told.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures_util::future::AbortHandle;

use super::{Board, Learnt, Step};
use crate::{Error, Kind, Task, TaskId};

/// The longest that an answer is waited for where the service offers that (RFC 7240, `wait`).
const LONG_POLL: Duration = Duration::from_secs(25);
/// Who is due so soon waits along: to ask the service too early costs nothing where it holds its answer back.
const AHEAD: Duration = Duration::from_secs(1);
/// A request for several tasks is made again after so long, so that what changes together is told together.
const GATHER: Duration = Duration::from_millis(100);
/// An answer that came sooner, and told nothing new, was not held back.
const LEAST_HELD: Duration = Duration::from_secs(1);

/// What was told of several tasks by an answer that was to be held back.
pub(in crate::poller) struct Waited {
    pub(in crate::poller) sent: Instant,
    pub(in crate::poller) outcome: Result<Vec<Task>, Error>,
    /// Whether the service says that it held it back.
    pub(in crate::poller) applied: bool,
}

impl Board {
    /// The request to make where the service holds answers back: for whoever is due, of `most` at most.
    pub(super) fn next_wait(&mut self, now: Instant, most: usize) -> Option<Step> {
        let mut keys = vec![self.agenda.take(now)?];
        while keys.len() < most
            && let Some(due) = self.agenda.next()
            && let Some(key) = self.agenda.take(now + AHEAD)
        {
            if due > now && self.tasks.get(&key).is_some_and(|entry| entry.failures > 0) {
                // It is left alone until then.
                self.agenda.put(key, due);
                break;
            }
            keys.push(key);
        }
        keys.extend(self.held.join(keys.len(), most));
        for key in &keys {
            self.missing.remove(key);
        }
        let ids = keys.iter().filter_map(|key| self.tasks.get(key)).map(|entry| entry.id.clone()).collect();
        self.numbers += 1;
        self.held.begin(self.numbers, keys);
        Some(Step::Wait { number: self.numbers, ids, wait: LONG_POLL })
    }

    /// By this a request that is held back is given up.
    pub(in crate::poller) fn hold(&mut self, number: u64, flight: AbortHandle) {
        self.held.fly(number, flight);
    }

    /// A request that was held back has been answered, or has failed.
    pub(in crate::poller) fn waited(&mut self, now: Instant, number: u64, waited: Waited, stretch: f64) {
        let keys = self.held.end(number);
        let several = keys.len() > 1;
        match waited.outcome {
            Ok(tasks) => {
                let mut tasks: HashMap<TaskId, Task> =
                    tasks.into_iter().map(|task| (task.id().clone(), task)).collect();
                let mut is_news = now - waited.sent >= LEAST_HELD;
                let mut unfinished = Vec::new();
                for key in keys {
                    let id = self.tasks.get(&key).map(|entry| &entry.id);
                    // Of one that was left out nothing is known.
                    let learnt = id
                        .and_then(|id| tasks.remove(id))
                        .map(|task| self.learn(now, waited.sent, key, task));
                    match learnt {
                        Some(Learnt::Ended) => is_news = true,
                        Some(Learnt::Unfinished { changed }) => {
                            is_news |= changed;
                            unfinished.push(key);
                        }
                        None => self.look_later(key, now, stretch),
                    }
                }
                for key in unfinished {
                    match waited.applied && is_news {
                        true => self.agenda.put(key, now + if several { GATHER } else { Duration::ZERO }),
                        false => self.look_later(key, now, stretch),
                    }
                }
            }
            // Too many wait; they are looked at meanwhile.
            Err(error) if error.status() == Some(429) => {
                keys.into_iter().for_each(|key| self.look_later(key, now, stretch));
            }
            // Of which task it is meant, each of them tells.
            Err(error) if several && !error.is_retryable() && error.kind() != Kind::Credentials => {
                keys.into_iter().for_each(|key| self.agenda.put(key, now));
            }
            Err(error) => {
                let passing = keys.into_iter().filter(|key| self.failed(now, *key, &error)).count();
                if passing > 0 {
                    self.trouble.note(now, waited.sent, &error);
                }
            }
        }
    }
}
