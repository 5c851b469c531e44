//! The background work that makes the calls: one after another as the budget allows, several under way.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use valet_clock::ClockExt;
use valet_pacing::Stage;

use super::{
    Line, Service,
    board::{Looked, Step},
    lease::Not,
    sweep::{Page, status_of},
};
use crate::{
    relay::{
        Refused, Relay,
        handle::TASK_LIFE,
        metrics::{OfUpstream, Poll},
        records::LIFE,
        task::{Task, is_final, status},
        upstream::Call,
    },
    site::Site,
    token::Upstream,
};

/// Calls under way at a time.
const AT_ONCE: usize = 64;
/// How long an upstream that the configuration has not is waited for.
const GONE: Duration = Duration::from_secs(60);
/// So long after its submit a task may not be known everywhere at the upstream.
const SETTLING: Duration = Duration::from_secs(60);

type Calls<'r> = FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send + 'r>>>;

enum Answer {
    Look { number: u64, task: Arc<Task>, sent: Instant, outcome: Result<Value, Refused> },
    Page { sweep: u64, stage: Stage, size: u32, outcome: Result<Value, Refused> },
}

impl Relay {
    /// Follows all tasks, for as long as it is polled.
    pub async fn follow(self: Arc<Self>) {
        let mut drivers = JoinSet::new();
        let mut driven = Vec::<Service>::new();
        loop {
            let lines: Vec<Arc<Line>> = self.poller.lock().values().cloned().collect();
            for line in lines {
                if !driven.contains(&line.service) {
                    driven.push(line.service.clone());
                    drivers.spawn(drive(self.clone(), line));
                }
            }
            tokio::select! {
                () = self.poller.opened.notified() => {}
                // Drivers never end but by a bug: the broker ends with them, rather than wait for nothing.
                Some(ended) = drivers.join_next() => return ended.unwrap_or_else(|error| {
                    if let Ok(panic) = error.try_into_panic() { std::panic::resume_unwind(panic) }
                }),
            }
        }
    }
}

async fn drive(relay: Arc<Relay>, line: Arc<Line>) {
    let clock = &relay.issue.clock;
    let mut calls: Calls<'_> = FuturesUnordered::new();
    // When to look whose turn it is to poll, if there are replicas.
    let mut attend = Some(clock.now());
    loop {
        let now = clock.now();
        let site = relay.issue.site.load_full();
        let place = line.service.place(&site);
        if let Some(place) = place
            && attend.is_some_and(|attend| attend <= now)
        {
            attend = relay.attend(&line, &site.upstreams[place], now).await;
        }
        let next = line.lock().next_time(now).filter(|_| calls.len() < AT_ONCE);
        let at = match (place, next) {
            (Some(place), Some(next)) if next <= now => {
                let upstream = &site.upstreams[place];
                match relay.take_query(&line, upstream, now).await {
                    Ok(()) => {
                        let step = line.lock().next(now, upstream.config().list_page);
                        calls.extend(step.map(|step| relay.begin(site.clone(), place, step, now)));
                        continue;
                    }
                    Err(Not::Before(at)) => Some(at),
                    Err(Not::Here) => None,
                }
            }
            (Some(_), next) => next,
            // Its tasks wait for a configuration that has it.
            (None, _) => Some(now + GONE),
        };
        let at = [at, attend].into_iter().flatten().min();
        tokio::select! {
            biased;
            Some(answer) = calls.next() => relay.note(&line, answer),
            () = clock.sleep_until(at.unwrap_or(now)), if at.is_some() => {}
            () = line.changed.notified() => {}
        }
    }
}

impl Relay {
    fn begin(
        &self,
        site: Arc<Site>,
        place: usize,
        step: Step,
        sent: Instant,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        match step {
            Step::Look { number, task } => async move {
                let outcome = self.ask(&site, place, &format!("/tasks/{}", task.key.id)).await;
                Answer::Look { number, task, sent, outcome }
            }
            .boxed(),
            Step::List { sweep, stage, page, size } => async move {
                let path = format!("/tasks/?status={}&page_no={page}&page_size={size}", status_of(stage));
                Answer::Page { sweep, stage, size, outcome: self.ask(&site, place, &path).await }
            }
            .boxed(),
        }
    }

    /// Looks at a task right away, whoever polls: a query beside the poller's, as soon as there is one.
    pub(in crate::relay) async fn look_beside(&self, site: &Site, place: usize, task: &Arc<Task>) {
        let line = self.poller.line(task);
        {
            // One after another: all that wait would be awake for each query that there is.
            let _turn = line.beside.lock().await;
            while let Err(wait) = self.take_query_beside(task, &site.upstreams[place], 1).await {
                self.issue.clock.sleep(wait).await;
            }
        }
        let (sent, path) = (self.issue.clock.now(), format!("/tasks/{}", task.key.id));
        let outcome = self.ask(site, place, &path).await;
        self.looked(task, sent, outcome);
    }

    /// Asks an upstream as the broker itself.
    async fn ask(&self, site: &Site, place: usize, path: &str) -> Result<Value, Refused> {
        let upstream = &site.upstreams[place];
        let (source, upstream_use) = upstream.upkeep(place);
        let call = Call { method: &Method::GET, path, body: None };
        let asked = self.send(source, upstream_use, call).await;
        let refused = answered(upstream, &asked, self.issue.clock.now());
        let poll = Poll {
            upstream: upstream.config().name.to_string(),
            call: if path.contains('?') { "list" } else { "look" },
            outcome: match &asked {
                Ok(_) => "ok",
                Err(_) if refused.is_some() => "throttled",
                Err(_) => "failed",
            },
        };
        self.metrics.polls.get_or_create(&poll).inc();
        asked.map(|reply| reply.body)
    }

    fn note(&self, line: &Line, answer: Answer) {
        let now = self.issue.clock.now();
        match answer {
            Answer::Look { number, task, sent, outcome } => {
                let looked = self.looked(&task, sent, outcome);
                line.lock().looked(now, number, looked);
                if task.take_asked_elsewhere() {
                    self.replicas.looked(&task);
                }
            }
            Answer::Page { sweep, stage, size, outcome } => {
                self.listed(line, (sweep, stage, size), outcome);
            }
        }
        let upstream = OfUpstream { upstream: line.service.upstream.to_string() };
        let tasks = i64::try_from(line.lock().len()).unwrap_or(i64::MAX);
        self.metrics.tasks.get_or_create(&upstream).set(tasks);
    }

    fn looked(&self, task: &Arc<Task>, sent: Instant, outcome: Result<Value, Refused>) -> Looked {
        let now = self.issue.clock.now();
        let age = self.issue.clock.unix().saturating_sub(Duration::from_secs(task.key.submitted));
        // The upstream has forgotten it by now, whatever it says; if it says nothing, it may know the end still. Of one
        // that has no handle any more nobody asks.
        let is_over = match &outcome {
            Ok(document) => age > LIFE + SETTLING && !is_final(status(document)),
            Err(_) => age > TASK_LIFE,
        };
        let outcome = if is_over { Ok(json!({ "output": { "task_status": "UNKNOWN" } })) } else { outcome };
        match outcome {
            Ok(document) => {
                if status(&document) == "UNKNOWN" && age < SETTLING {
                    return Looked::Failed { retry_after: None };
                }
                let has_ended = is_final(status(&document));
                let is_first = task.known().document.is_none();
                if has_ended {
                    self.ended(task, &document);
                }
                if (task.learn(&document, now) || has_ended || is_first) && age < LIFE {
                    self.replicas.tell(task);
                }
                if !has_ended {
                    return Looked::Unfinished { sent };
                }
                self.records.said(task, self.issue.clock.unix());
                Looked::Ended
            }
            Err(refused) => {
                tracing::debug!(task = task.key.id, error = ?refused, "a task could not be looked at");
                task.fail(refused.clone());
                match refused {
                    Refused::Upstream { status: 429, .. } => Looked::Throttled,
                    Refused::Upstream { retry_after, .. } => {
                        Looked::Failed { retry_after: retry_after.map(Duration::from_secs) }
                    }
                    _ => Looked::Failed { retry_after: None },
                }
            }
        }
    }

    fn listed(&self, line: &Line, (sweep, stage, size): (u64, Stage, u32), outcome: Result<Value, Refused>) {
        let now = self.issue.clock.now();
        let is_throttled = throttled(&outcome).is_some();
        let page = match outcome {
            Ok(page) => serde_json::from_value::<Page>(page).ok(),
            Err(Refused::Upstream { status: 400, .. }) => return line.lock().page_refused(sweep, size, now),
            Err(_) => None,
        };
        let Some(page) = page else {
            tracing::debug!(
                upstream = &*line.service.upstream,
                status = status_of(stage),
                "a page of the list failed"
            );
            return line.lock().page_failed(sweep, now, is_throttled);
        };
        let told = line.lock().listed(now, sweep, &page);
        for (task, status) in told {
            if task.listed(&status, now) {
                self.replicas.tell(&task);
            }
        }
    }
}

/// An upstream was asked: it slows the relay down, or has it go on. Tells whether it refused the query for their number.
#[expect(clippy::option_option, reason = "a refusal may say nothing of when it ends")]
pub(in crate::relay) fn answered<T>(
    upstream: &Upstream,
    asked: &Result<T, Refused>,
    now: Instant,
) -> Option<Option<Duration>> {
    let refused = throttled(asked);
    // Of what never reached it nothing is learnt.
    if matches!(asked, Ok(_) | Err(Refused::Upstream { .. })) {
        upstream.query_answered(refused, now);
    }
    refused
}

/// Whether the upstream refused a query for their number, and for how long, if it says.
#[expect(clippy::option_option, reason = "a refusal may say nothing of when it ends")]
fn throttled<T>(asked: &Result<T, Refused>) -> Option<Option<Duration>> {
    match asked {
        Err(Refused::Upstream { status: 429, retry_after, .. }) => Some(retry_after.map(Duration::from_secs)),
        _ => None,
    }
}
