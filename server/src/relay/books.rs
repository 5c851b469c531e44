//! What is written down of tasks, what is known again after a start, and what is settled when a task ends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use serde_json::Value;

use super::{
    Owner, Refused, Relay,
    handle::TaskKey,
    metrics::OfApp,
    records::LIFE,
    submit::Named,
    submits::{REMEMBERED, Submits},
    task::{Order, Task},
};
use crate::{
    admission::Reservation,
    identity::Subject,
    ledger::{Ended, Entry, Intent, Ledger, Submitted, Unknown, Who},
    site::Site,
};

impl Relay {
    /// Writes into a ledger from now on, and knows again what it says. Called once, before the first request of the relay:
    /// `site` is the one that will decide that.
    pub fn open(&self, site: &Site, ledger: Ledger, known: Vec<Entry>) {
        self.restore(site, known);
        let is_first = self.ledger.set(ledger).is_ok();
        debug_assert!(is_first, "a relay has one ledger");
    }

    /// Returns once there is a ledger.
    pub async fn opened(&self) {
        self.ledger.wait().await;
    }

    /// Knows tasks, what is used of the day's quotas, and submits that must not be sent twice.
    fn restore(&self, site: &Site, entries: Vec<Entry>) {
        let now = self.issue.clock.unix();
        let (mut tasks, mut ends) = (HashMap::<String, Submitted>::new(), HashMap::<String, Ended>::new());
        let mut intents = HashMap::<String, Intent>::new();
        let mut unknown = HashMap::<(String, u64), Unknown>::new();
        for entry in entries {
            match entry {
                Entry::Intent(intent) => drop(intents.insert(intent.submit.clone(), intent)),
                Entry::Withdrawn { submit, .. } => drop(intents.remove(&submit)),
                Entry::Submitted(submitted) => {
                    tasks.entry(submitted.task.clone()).or_insert(submitted);
                }
                Entry::Ended(ended) => drop(ends.insert(ended.task.clone(), ended)),
                Entry::Unknown(lost) => drop(unknown.insert((lost.submit.clone(), lost.time), lost)),
            }
        }
        // Their order is that in which they are forgotten.
        let mut tasks: Vec<_> = tasks.into_values().collect();
        tasks.sort_by_key(|submitted| submitted.time);
        for submitted in tasks {
            let ended = ends.remove(&submitted.task);
            if let Some(intent) = submitted.submit.as_ref().and_then(|submit| intents.remove(submit)) {
                let outcome = Ok((submitted.handle.clone(), submitted.task.clone()));
                known_again(&self.submits, &intent, outcome, now);
            }
            self.take_up(site, submitted, ended.as_ref(), now);
        }
        // Sent, and nobody saw what became of it.
        for intent in intents.into_values() {
            known_again(&self.submits, &intent, Err(Refused::OutcomeUnknown), now);
            unknown.insert((intent.submit.clone(), intent.time), intent.into());
        }
        for lost in unknown.into_values() {
            let _kept = self.know_use(site, &owner(&lost.who), Duration::from_secs(lost.time), lost.reserved);
        }
    }

    /// Counts what was submitted before this process began.
    fn know_use(&self, site: &Site, owner: &Owner, at: Duration, seconds: u64) -> Reservation {
        match site.find_entry(&owner.app) {
            Some(entry) => {
                let allowance = entry.allowance(owner.subject.as_ref(), &self.issue.subjects);
                allowance.know(at, seconds, self.now())
            }
            None => Reservation::of_nobody(at, seconds),
        }
    }

    fn take_up(&self, site: &Site, submitted: Submitted, ended: Option<&Ended>, now: Duration) {
        let at = Duration::from_secs(submitted.time);
        if at + LIFE <= now {
            return;
        }
        let owner = owner(&submitted.who);
        // What has vanished may have been billed.
        let used = ended.filter(|ended| ended.status != "UNKNOWN").map(|ended| ended.seconds);
        // The replicas hear of the end with the task, and may know of what was set aside alone.
        let reserved = self.know_use(site, &owner, at, submitted.reserved);
        if let Some(used) = used {
            reserved.settle(used);
        }
        let order = Order { model: submitted.model, urls: submitted.urls, reserved, is_own: true };
        let key = TaskKey { account: submitted.account, id: submitted.task, submitted: submitted.time };
        let status = ended.map_or("PENDING", |ended| &ended.status);
        let upstream: Arc<str> = submitted.upstream.as_str().into();
        let task = Task::new(owner, key, submitted.handle, upstream, Some(order), status);
        if ended.is_some() {
            // It is looked at again if somebody asks for its results.
            task.settle_once();
            task.has_used(used.unwrap_or_default());
            self.records.keep(task.into(), now);
        } else {
            self.keep(task);
        }
    }

    /// Writes down, on disk, that a submit is about to be sent. Without a ledger there is nothing to write to.
    ///
    /// # Errors
    /// If it cannot be: then it must not be sent.
    pub(super) async fn intend(&self, owner: &Owner, order: &Order, named: Named) -> Result<(), Refused> {
        let Some(ledger) = self.ledger.get() else { return Ok(()) };
        let intent = Intent {
            time: order.reserved.submitted().as_secs(),
            who: who(owner),
            model: order.model.clone(),
            urls: order.urls,
            reserved: order.reserved.seconds(),
            submit: HEXLOWER.encode(&named.name),
            body: HEXLOWER.encode(&named.body),
        };
        let is_written = ledger.append_durably(Entry::Intent(intent)).await;
        is_written.then_some(()).ok_or_else(|| crate::issue::Refusal::Unrecorded.into())
    }

    /// Writes down, on disk, that nobody knows what became of a submit.
    pub(super) async fn lost(&self, owner: &Owner, order: &Order, named: Named) {
        let Some(ledger) = self.ledger.get() else { return };
        ledger
            .append_durably(Entry::Unknown(Unknown {
                time: order.reserved.submitted().as_secs(),
                who: who(owner),
                model: order.model.clone(),
                urls: order.urls,
                reserved: order.reserved.seconds(),
                submit: HEXLOWER.encode(&named.name),
            }))
            .await;
    }

    /// Writes down what became of a submit: on disk, before anybody is told of the task.
    pub(super) async fn submitted(&self, task: &Task, submit: Option<[u8; 32]>) {
        let (Some(ledger), Some(order)) = (self.ledger.get(), task.order()) else { return };
        // What cannot be written is logged by the ledger; the task is paid for, and its handle is good without.
        ledger
            .append_durably(Entry::Submitted(Submitted {
                time: task.key.submitted,
                who: who(&task.owner),
                account: task.key.account.clone(),
                upstream: task.upstream.to_string(),
                task: task.key.id.clone(),
                handle: task.handle.clone(),
                model: order.model.clone(),
                urls: order.urls,
                reserved: order.reserved.seconds(),
                submit: submit.map(|submit| HEXLOWER.encode(&submit)),
            }))
            .await;
    }

    /// A submit was refused: it may be asked for again.
    pub(super) fn withdrawn(&self, submit: [u8; 32]) {
        if let Some(ledger) = self.ledger.get() {
            let time = self.issue.clock.unix().as_secs();
            ledger.append(Entry::Withdrawn { time, submit: HEXLOWER.encode(&submit) });
        }
    }

    /// A task has ended, which was told by this `document`: what it used is settled and written down, once.
    pub(super) fn ended(&self, task: &Task, document: &Value) {
        let status = super::task::status(document);
        self.settle(task, status, if status == "UNKNOWN" { 0 } else { seconds(document) });
    }

    /// A task has ended with this status, and used so many seconds. Of one that was submitted at another replica, that
    /// one keeps the books.
    pub(super) fn settle(&self, task: &Task, status: &str, seconds: u64) {
        task.has_used(seconds);
        let Some(order) = task.order().filter(|order| order.is_own && !task.settle_once()) else { return };
        // What has vanished may have been billed: it stays set aside, and nobody says that it was.
        order.reserved.settle(if status == "UNKNOWN" { order.reserved.seconds() } else { seconds });
        let app = OfApp { app: task.owner.app.to_string() };
        self.metrics.audio_seconds.get_or_create(&app).inc_by(seconds);
        if let Some(ledger) = self.ledger.get() {
            ledger.append(Entry::Ended(Ended {
                time: self.issue.clock.unix().as_secs(),
                submitted: task.key.submitted,
                who: who(&task.owner),
                account: task.key.account.clone(),
                task: task.key.id.clone(),
                model: order.model.clone(),
                urls: order.urls,
                status: status.to_owned(),
                seconds,
            }));
        }
    }
}

/// The seconds of audio that are billed (*Fun-ASR recording*: `usage.duration`; models beside it say `usage.seconds`).
fn seconds(document: &Value) -> u64 {
    let usage = &document["usage"];
    let seconds = usage["duration"].as_f64().or_else(|| usage["seconds"].as_f64()).unwrap_or_default();
    // A second begun is a second.
    Duration::try_from_secs_f64(seconds.ceil()).map_or(0, |seconds| seconds.as_secs())
}

fn known_again(
    submits: &Submits,
    intent: &Intent,
    outcome: Result<(String, String), Refused>,
    now: Duration,
) {
    let bytes = |text: &str| HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok();
    let until = Duration::from_secs(intent.time) + REMEMBERED;
    if let (Some(submit), Some(body)) = (bytes(&intent.submit), bytes(&intent.body))
        && until > now
    {
        submits.know(&intent.who.app.as_str().into(), submit, body, until, outcome);
    }
}

pub(super) fn who(owner: &Owner) -> Who {
    let subject = owner.subject.as_ref();
    Who {
        app: owner.app.to_string(),
        subject: subject.map(|subject| subject.name.to_string()),
        issuer: subject.and_then(|subject| subject.issuer.as_deref()).map(Into::into),
    }
}

pub(super) fn owner(who: &Who) -> Owner {
    let subject = who
        .subject
        .as_deref()
        .map(|name| Subject { issuer: who.issuer.as_deref().map(Into::into), name: name.into() });
    Owner { app: who.app.as_str().into(), subject }
}
