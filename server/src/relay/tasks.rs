//! Query, list and cancel: of the caller's own tasks, as if there were no others.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::{Value, json};
use valet_clock::ClockExt;

use super::{
    Asker, Document, Noted, Refused, Relay, Shown,
    handle::{ResultKey, TaskKey},
    poller::answered,
    task::Task,
    upstream::Call,
};
use crate::{admission::LimitReached, issue::Arrival, shared_redis::Away, site::Site, token::Upstream};

/// How old a status may be: nobody learns less by asking less often.
const FRESH: Duration = Duration::from_secs(1);
/// A turn that comes so soon is waited for.
const SOON: Duration = Duration::from_millis(250);
/// How long whoever asks waits for the upstream to be asked.
const LOOK: Duration = Duration::from_secs(10);

/// Which page of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Its number, from 1 on.
    pub number: Option<usize>,
    /// How many tasks are on it.
    pub size: Option<usize>,
    /// The task of this handle alone.
    pub handle: Option<String>,
    /// Tasks that were submitted at this Unix time at the earliest.
    pub from: Option<Duration>,
    /// Tasks that were submitted at this Unix time at the latest.
    pub to: Option<Duration>,
    /// Tasks of this status alone.
    pub status: Option<String>,
    /// Tasks of this model alone.
    pub model: Option<String>,
}

impl Page {
    fn takes(&self, task: &Task) -> bool {
        let submitted = Duration::from_secs(task.key.submitted);
        let model = task.order().map(|order| &*order.model);
        self.handle.as_deref().is_none_or(|handle| task.handle == handle)
            && self.from.is_none_or(|from| from <= submitted)
            && self.to.is_none_or(|to| submitted <= to)
            && self.status.as_deref().is_none_or(|status| *task.known().status == *status)
            && self.model.as_deref().is_none_or(|wanted| model == Some(wanted))
    }
}

impl Relay {
    /// Cancels a task that has not begun.
    ///
    /// # Errors
    /// If it cannot be cancelled any more.
    pub async fn cancel(
        &self,
        shown: &Shown,
        handle: &str,
        arrival: &Arrival,
        noted: &mut Noted,
    ) -> Result<Document, Refused> {
        let site = self.issue.site.load_full();
        let asker = self.admitted(&site, shown, arrival, noted)?;
        self.admit_request(asker.entry).await?;
        let task = self.task(&site, &asker, handle).await?;
        // The upstream says the same of a task that never was.
        let task = task.ok_or_else(not_pending)?;
        noted.task = Some(task.key.id.clone());
        let permit = asker.entry.policy.access()?;
        let now = self.issue.clock.now();
        // Neither does a task begin to wait again, nor is one asked to be cancelled again and again: cancels are of
        // the same budget as everyone's queries (*Manage asynchronous tasks*).
        if &*task.known().status != "PENDING" || !task.may_cancel(now) {
            return Err(not_pending());
        }
        let upstream = asker.upstream(&site);
        if let Err(wait) = self.turn_to_cancel(&task, upstream).await {
            task.was_not_cancelled();
            return Err(throttled(wait));
        }
        let path = format!("/tasks/{}/cancel", task.key.id);
        let call = Call { method: &Method::POST, path: &path, body: None };
        let cancelled = self.call(&site, asker.entry, permit, call).await;
        let now = self.issue.clock.now();
        if answered(upstream, &cancelled, now).is_some() || matches!(cancelled, Err(Refused::Here(_))) {
            // It is to be tried again, and is not to be told then that it cannot be cancelled.
            task.was_not_cancelled();
        }
        cancelled?;
        // Whoever has cancelled a task does not find it pending, even if nobody may look just now.
        task.listed("CANCELED", now);
        self.share(&task).await;
        self.hurry(&task, now);
        Ok(Document(json!({})))
    }

    /// Takes the query of a cancel. Whoever cancels does it once: a turn that comes soon is waited for.
    ///
    /// # Errors
    /// How long there is none.
    async fn turn_to_cancel(&self, task: &Task, upstream: &Upstream) -> Result<(), Duration> {
        match self.take_query_beside(task, upstream, 2).await {
            Err(wait) if wait <= SOON => {
                self.issue.clock.sleep(wait).await;
                self.take_query_beside(task, upstream, 2).await
            }
            turn => turn,
        }
    }

    /// The caller's tasks of the last day, the latest first.
    ///
    /// # Errors
    /// If the caller is nobody.
    pub async fn list(&self, shown: &Shown, arrival: &Arrival, page: &Page) -> Result<Document, Refused> {
        let site = self.issue.site.load_full();
        let asker = self.admitted(&site, shown, arrival, &mut Noted::default())?;
        self.admit_request(asker.entry).await?;
        asker.entry.policy.access()?;
        self.catch_up().await?;
        let (number, size) = (page.number.unwrap_or(1).max(1), page.size.unwrap_or(10).clamp(1, 100));
        let tasks: Vec<_> = self
            .records
            .of(&asker.owner, self.issue.clock.unix())
            .into_iter()
            .filter(|task| page.takes(task))
            .collect();
        let entry = |task: &Arc<Task>| {
            json!({
                "task_id": task.handle,
                "status": &*task.known().status,
                "model_name": task.order().map(|order| &order.model),
                "gmt_create": task.key.submitted * 1000,
            })
        };
        let skipped = (number - 1).saturating_mul(size);
        let data: Vec<Value> = tasks.iter().skip(skipped).take(size).map(entry).collect();
        Ok(Document(json!({
            "total": tasks.len(), "total_page": tasks.len().div_ceil(size), "page_no": number, "page_size": size,
            "data": data,
        })))
    }

    /// The caller's task behind a handle: of another's there is nothing to see.
    ///
    /// # Errors
    /// If nobody can know whether there is one.
    pub(super) async fn task(
        &self,
        site: &Site,
        asker: &Asker<'_>,
        handle: &str,
    ) -> Result<Option<Arc<Task>>, Refused> {
        let now = self.issue.clock.unix();
        let Some(keys) = site.keyring() else { return Ok(None) };
        let Some(key) = TaskKey::open(keys, &asker.owner.bytes(), handle, now) else { return Ok(None) };
        // An app that has moved to another account has no way to ask for what it left behind.
        if key.account != *asker.entry.account {
            return Ok(None);
        }
        if let Some(known) = self.records.find(&key, now) {
            return Ok(Some(known));
        }
        // In a box: whoever waits is not to hold the room that this takes.
        Box::pin(self.recall(site, asker, key, handle)).await.map(Some)
    }

    /// The task of a handle that this process does not know.
    async fn recall(
        &self,
        site: &Site,
        asker: &Asker<'_>,
        key: TaskKey,
        handle: &str,
    ) -> Result<Arc<Task>, Refused> {
        self.catch_up().await?;
        let now = self.issue.clock.unix();
        if let Some(known) = self.records.find(&key, now) {
            return Ok(known);
        }
        let upstream = asker.upstream(site).config().name.clone();
        let task = Task::new(asker.owner.clone(), key, handle.to_owned(), upstream, None, "PENDING");
        if task.is_over(now) {
            // No record is kept of it, and the upstream may know it still: it counts the day from the task's end.
            let task = Arc::new(task);
            let is_alone = self.is_alone(&task);
            let follow = || self.poller.follow(task.clone(), self.issue.clock.now(), now);
            return Ok(if is_alone { task } else { follow() });
        }
        let task = self.keep(task);
        self.share(&task).await;
        Ok(task)
    }

    /// Keeps a task, and follows it to its end. If it is followed already, it is that one.
    pub(super) fn keep(&self, task: Task) -> Arc<Task> {
        let (now, unix) = (self.issue.clock.now(), self.issue.clock.unix());
        // The record may have forgotten one that is followed still.
        self.records.keep(self.poller.follow(task.into(), now, unix), unix)
    }

    /// Has the upstream asked how far tasks are, of those of which that is not known well enough, all at once. What was
    /// known is told if nobody can ask right now.
    pub(super) async fn look(
        &self,
        site: &Site,
        asker: &Asker<'_>,
        tasks: &[Arc<Task>],
    ) -> Result<(), Refused> {
        asker.entry.policy.access()?;
        let mut looks: FuturesUnordered<_> =
            tasks.iter().map(|task| self.look_at(site, asker, task)).collect();
        // It counts as one wait, whether all end in time or not.
        let all = async { while looks.next().await.is_some() {} };
        let _ = self.issue.clock.timeout(LOOK, all).await;
        Ok(())
    }

    async fn look_at(&self, site: &Site, asker: &Asker<'_>, task: &Arc<Task>) {
        let looked = task.looked.notified();
        tokio::pin!(looked);
        // Before it is read what is known: a look that ends after that is told.
        looked.as_mut().enable();
        let (known, now) = (task.known(), self.issue.clock.now());
        let is_fresh = known.at.is_some_and(|at| now.saturating_duration_since(at) < FRESH);
        let is_known = known.document.is_some();
        if is_known && (known.is_final() || is_fresh) {
            return;
        }
        task.ask(now);
        loop {
            let turned = self.poller.turned(task);
            if self.is_shared() && !self.poller.polls_here(task) {
                if self.is_alone(task) {
                    return self.look_beside(site, asker.entry.upstream, task).await;
                }
                self.replicas.ask(task);
                tokio::select! {
                    () = looked.as_mut() => return,
                    () = turned => continue,
                    // It may not have been heard by anybody.
                    () = self.issue.clock.sleep(FRESH) => if is_known { return } else { continue },
                }
            }
            if self.is_unpolled(task) {
                return;
            }
            self.poller.follow_again_if_ended(task, &known, now);
            let may_ask = asker.upstream(site).query_wait(now).is_zero();
            let is_next = self.poller.hurry(task, now, self.issue.clock.unix());
            if is_known && !(is_next && may_ask) {
                return;
            }
            tokio::select! {
                () = looked.as_mut() => return,
                // Whoever polls from now on is to be asked.
                () = turned => {}
            }
        }
    }

    /// Whether nobody follows a task: another replica polls, and no record is kept by which that one would know it.
    pub(super) fn is_alone(&self, task: &Task) -> bool {
        self.is_shared() && !self.poller.polls_here(task) && task.is_over(self.issue.clock.unix())
    }

    /// Why nothing is known of a task.
    pub(super) fn unlooked(&self, site: &Site, asker: &Asker<'_>, task: &Task) -> Refused {
        let wait = asker.upstream(site).query_wait(self.issue.clock.now());
        if self.is_unpolled(task) {
            return Refused::Here(Away.into());
        }
        task.known().trouble.unwrap_or_else(|| throttled(wait))
    }

    /// Has a task looked at soon, by whoever polls.
    fn hurry(&self, task: &Arc<Task>, now: Instant) {
        if self.poller.is_elsewhere(task) {
            self.replicas.ask(task);
        } else {
            self.poller.hurry(task, now, self.issue.clock.unix());
        }
    }

    /// What the upstream said of a task, with handles in place of what is the account's.
    pub(super) fn document(&self, site: &Site, task: &Task) -> Document {
        let now = self.issue.clock.unix();
        let known = task.known();
        let document = known.document.and_then(|document| serde_json::from_str(&document).ok());
        // Nobody has looked yet.
        let bare = || json!({ "output": { "task_status": &*known.status } });
        let mut document: Value = document.unwrap_or_else(bare);
        document["output"]["task_id"] = json!(task.handle);
        let owner = task.owner.bytes();
        seal_places(&mut document, &|place| {
            let handle = ResultKey::new(&owner, place, now).seal(site.keyring()?, now)?;
            Some(format!("{}/results/{handle}", site.relay_url()))
        });
        Document(document)
    }
}

/// Puts handles in the place of all places of results, wherever they are; whoever has such a place has the result.
pub(super) fn seal_places(document: &mut Value, seal: &impl Fn(&str) -> Option<String>) {
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "transcription_url" => *value = value.as_str().and_then(seal).into(),
                    _ => seal_places(value, seal),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| seal_places(item, seal)),
        _ => {}
    }
}

/// What the upstream says of a task that cannot be cancelled (*Manage asynchronous tasks*).
fn not_pending() -> Refused {
    Refused::Upstream {
        status: 400,
        code: "UnsupportedOperation".into(),
        message: "Failed to cancel the task, please confirm if the task is in PENDING status.".into(),
        retry_after: None,
    }
}

/// The account's budget of queries is used up for so long.
fn throttled(retry_after: Duration) -> Refused {
    LimitReached { limit: "queries_per_second", retry_after }.into()
}

/// What the upstream says of a task that it does not know (*Manage asynchronous tasks*).
pub(super) fn unknown(handle: &str) -> Document {
    Document(json!({ "output": { "task_id": handle, "task_status": "UNKNOWN" } }))
}
