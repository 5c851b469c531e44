//! A task as replicas tell one another of it: how it is written, and what of it is believed.

use std::{cmp::Ordering, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Relay,
    books::{owner, who},
    handle::TaskKey,
    records::LIFE,
    task::{Order, Task, is_final, status},
};
use crate::{
    admission::Reservation,
    ledger::Submitted,
    shared_redis::{Note, Progress, Rank, TaskName, Use},
};

/// What is to be known of a task.
#[derive(Deserialize, Serialize)]
struct Record {
    task: Submitted,
    /// Nothing is known of what was submitted.
    is_bare: bool,
    status: String,
    /// What it used, once that is known; what has vanished may have used all that was set aside.
    used: Option<u64>,
    day: u64,
    counts: Vec<(String, String)>,
}

impl Relay {
    /// Takes in what another replica, or this one, has told of a task.
    pub(super) fn take_in(&self, name: TaskName, content: &[u8], told: Option<&[u8]>) {
        let (now, unix) = (self.issue.clock.now(), self.issue.clock.unix());
        let Ok(record) = serde_json::from_slice::<Record>(content) else { return };
        let Record { task: of, is_bare, status: told_status, used, day, counts } = record;
        let key = TaskKey { account: of.account, id: of.task, submitted: of.time };
        let at = Duration::from_secs(of.time);
        // It may have lain there for as long as somebody liked.
        if key.name() != name || at + LIFE <= unix {
            return;
        }
        let task = self.records.find(&key, unix).unwrap_or_else(|| {
            let task =
                Task::new(owner(&of.who), key, of.handle, of.upstream.as_str().into(), None, "PENDING");
            self.records.keep(task.of_another().into(), unix)
        });
        let rank = rank(&told_status, used, !is_bare);
        if !is_bare {
            task.complete(Order {
                model: of.model,
                urls: of.urls,
                reserved: Reservation::of_another(at, of.reserved, day, counts),
                is_own: false,
            });
        }
        let document = told.and_then(|told| serde_json::from_slice::<Value>(told).ok());
        let document = document.filter(|document| status(document) == told_status);
        let used = used.filter(|_| is_final(&told_status));
        if let Some(used) = used {
            self.settle(&task, &told_status, used);
        }
        let known = task.known();
        // What is told may be of earlier than what is known here.
        let is_new = match step(&told_status).cmp(&step(&known.status)) {
            Ordering::Less => false,
            Ordering::Equal if known.document.is_none() => true,
            Ordering::Equal => *known.status != *told_status && self.poller.lease_of(&task).is_none(),
            Ordering::Greater => true,
        };
        match document {
            _ if !is_new => {}
            Some(document) => {
                task.learn(&document, now);
                if task.known().is_final() {
                    self.records.said(&task, unix);
                }
            }
            None => task.hear(&told_status, now),
        }
        match used {
            Some(_) => self.poller.forget(&task),
            None => self.poller.hear(&task, now, unix),
        }
        if rank_of(&task) > rank {
            // Whoever told this did not know it, or told of more than was known to whoever told of less.
            self.replicas.tell(&task);
        }
    }

    /// What the others are to know of a task.
    pub(super) fn noted(&self, task: &Task) -> Note {
        let (known, order, used) = (task.known(), task.order(), task.used());
        // It may just be ending.
        let used = used.filter(|_| known.is_final());
        let reserved = order.map(|order| &order.reserved);
        let aside = reserved.map_or(0, Reservation::seconds);
        let of = Submitted {
            time: task.key.submitted,
            who: who(&task.owner),
            account: task.key.account.clone(),
            upstream: task.upstream.to_string(),
            task: task.key.id.clone(),
            handle: task.handle.clone(),
            model: order.map_or_else(String::new, |order| order.model.clone()),
            urls: order.map_or(0, |order| order.urls),
            reserved: aside,
            submit: None,
        };
        let (day, counts) = reserved.map(|reserved| (reserved.day(), reserved.counts())).unwrap_or_default();
        // What has vanished may have been billed.
        let billed = used.filter(|_| &*known.status != "UNKNOWN").unwrap_or(aside);
        let until = Duration::from_secs(task.key.submitted) + LIFE;
        let record = Record {
            task: of,
            is_bare: order.is_none(),
            status: known.status.to_string(),
            used,
            day,
            counts: counts.clone(),
        };
        Note {
            name: task.key.name(),
            rank: rank(&known.status, used, order.is_some()),
            content: serde_json::to_vec(&record).expect("plain fields serialize"),
            told: known.document,
            life: until.saturating_sub(self.issue.clock.unix()),
            use_: Use { day, aside, used: billed, counts },
        }
    }
}

/// What this replica can tell of a task.
fn rank_of(task: &Task) -> Rank {
    rank(&task.known().status, task.used(), task.order().is_some())
}

/// What a record of this status tells, of what a task used if that is known, and of what was submitted, if it `is_whole`.
fn rank(status: &str, used: Option<u64>, is_whole: bool) -> Rank {
    let progress = match step(status) {
        2 if used.is_some() || !is_whole => Progress::Ended,
        0 => Progress::Pending,
        _ => Progress::Unfinished,
    };
    Rank { is_whole, progress }
}

/// How far a task of this status is.
fn step(status: &str) -> u8 {
    match status {
        "PENDING" => 0,
        status if is_final(status) => 2,
        _ => 1,
    }
}
