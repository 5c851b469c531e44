//! Waiting for a task's status to change (RFC 7240, `wait`). A waiter costs a place in memory and no query of its
//! own; places are capped for each owner, app and address, and in all.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use prometheus_client::metrics::gauge::Gauge;
use valet_clock::ClockExt;

use super::{Asker, Metrics, Noted, Refused, Relay, Shown, Told, task::Task};
use crate::{admission::network, config::Seats, issue::Arrival, site::Site};

/// The longest wait: below the idle time of usual proxies.
pub const LONGEST: Duration = Duration::from_secs(30);
/// A token that ends so soon is not waited with.
const SPARE: Duration = Duration::from_secs(1);
/// When whoever finds no place should ask again, in seconds.
const CROWDED: u64 = 5;

/// Who waits, by whom a cap counts.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Who {
    All,
    App(Arc<str>),
    Owner(Vec<u8>),
    Address(IpAddr),
}

/// Who waits at present.
#[derive(Debug, Default)]
pub(super) struct Waiting(Arc<Mutex<HashMap<Who, u32>>>);

/// A place, until it is dropped.
#[derive(Debug)]
struct Seat {
    taken: Arc<Mutex<HashMap<Who, u32>>>,
    who: Vec<Who>,
    waiting: Gauge,
}

impl Waiting {
    fn seat(&self, who: [(Who, u32); 4], metrics: &Metrics) -> Option<Seat> {
        let mut taken = lock(&self.0);
        if who.iter().any(|(who, most)| taken.get(who).is_some_and(|taken| taken >= most)) {
            return None;
        }
        let who = who.map(|(who, _)| who);
        for who in &who {
            *taken.entry(who.clone()).or_default() += 1;
        }
        metrics.waiting.inc();
        Some(Seat { taken: self.0.clone(), who: who.into(), waiting: metrics.waiting.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.waiting.dec();
        let mut taken = lock(&self.taken);
        for who in &self.who {
            if let Some(count) = taken.get_mut(who) {
                *count -= 1;
                if *count == 0 {
                    taken.remove(who);
                }
            }
        }
    }
}

fn lock(taken: &Mutex<HashMap<Who, u32>>) -> MutexGuard<'_, HashMap<Who, u32>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// How far each of several tasks is, in the order of their handles. With a `wait`: once the status of any is
    /// another than now, or any has ended, or the wait is over.
    ///
    /// # Errors
    /// If the caller is nobody, or not any more, or the upstream does not tell of a task and never did.
    pub async fn query(
        &self,
        shown: &Shown,
        arrival: &Arrival,
        handles: &[String],
        wait: Option<Duration>,
    ) -> Result<Told, Refused> {
        let mut site = self.issue.site.load_full();
        let asker = self.admitted(&site, shown, arrival, &mut Noted::default())?;
        self.admit_request(asker.entry).await?;
        let mut tasks = Vec::with_capacity(handles.len());
        for handle in handles {
            tasks.push(self.task(&site, &asker, handle).await?);
        }
        // There is nothing to wait for if nobody looks.
        let is_untold = |task: &Task| {
            let known = task.known();
            known.is_final() && known.document.is_none()
        };
        let is_alone = |task: &&Arc<Task>| wait.is_some() && (self.is_alone(task) || is_untold(task));
        let alone: Vec<_> = tasks.iter().flatten().filter(is_alone).cloned().collect();
        self.look(&site, &asker, &alone).await?;
        let known: Option<Vec<_>> = tasks.iter().cloned().collect();
        let (mut waited, mut retry_after) = (None, None);
        // One that is unknown is told of at once, as one that has ended.
        if let (Some(wait), Some(known)) = (wait, known) {
            match self.wait_for(&site, &asker, arrival, &known, wait).await {
                Ok(()) => waited = Some(wait),
                Err(Crowded) => retry_after = Some(CROWDED),
            }
        }
        drop(asker);
        if waited.is_some() {
            site = self.issue.site.load_full();
        }
        // Whoever was somebody when the wait began may be nobody now.
        let asker = self.asker(&site, shown)?;
        let is_unknown = |task: &&Arc<Task>| task.known().document.is_none();
        let is_due = |task: &&Arc<Task>| waited.is_none() || is_unknown(task) || self.is_alone(task);
        let due: Vec<_> = tasks.iter().flatten().filter(is_due).cloned().collect();
        let asker = if due.is_empty() {
            asker
        } else {
            self.look(&site, &asker, &due).await?;
            self.asker(&site, shown)?
        };
        if let [Some(task)] = &tasks[..]
            && is_unknown(&task)
        {
            return Err(self.unlooked(&site, &asker, task));
        }
        let tell = |(task, handle): (&Option<Arc<Task>>, &String)| match task {
            Some(task) => self.document(&site, task),
            None => super::tasks::unknown(handle),
        };
        let documents = tasks.iter().zip(handles).map(tell).collect();
        Ok(Told { documents, waited, retry_after })
    }

    /// Waits until one of these tasks has ended or has another status, or for as long as that may take.
    async fn wait_for(
        &self,
        site: &Site,
        asker: &Asker<'_>,
        arrival: &Arrival,
        tasks: &[Arc<Task>],
        wait: Duration,
    ) -> Result<(), Crowded> {
        let clock = &self.issue.clock;
        let left = asker.claims.as_ref().map_or(LONGEST, |claims| {
            Duration::from_secs(claims.exp).saturating_sub(clock.unix()).saturating_sub(SPARE)
        });
        let limit = wait.min(LONGEST).min(left);
        let statuses: Vec<_> = tasks.iter().map(|task| task.known()).collect();
        if limit.is_zero() || statuses.iter().any(|known| known.is_final() && known.document.is_some()) {
            return Ok(());
        }
        let Seats { owner, app, address, total } = site.seats();
        let who = [
            (Who::All, total),
            (Who::App(asker.owner.app.clone()), app),
            (Who::Owner(asker.owner.bytes()), owner),
            (Who::Address(network(arrival.address)), address),
        ];
        let seat = self.waiting.seat(who, &self.metrics);
        let _seat = seat.ok_or(Crowded)?;
        for (task, known) in tasks.iter().zip(&statuses) {
            self.poller.follow_again_if_ended(task, known, clock.now());
        }
        let _watches: Vec<_> = tasks.iter().map(Task::watch).collect();
        for task in tasks {
            self.poller.watch(task, clock.now(), clock.unix());
            self.replicas.watch(task);
        }
        let changed = async {
            let mut changes: FuturesUnordered<_> =
                tasks.iter().zip(&statuses).map(|(task, known)| changed(task, &known.status)).collect();
            changes.next().await;
        };
        tokio::select! {
            _ = clock.timeout(limit, changed) => {}
            () = self.stopping.cancelled() => {}
        }
        Ok(())
    }
}

/// There is no place to wait.
struct Crowded;

/// Completes once a task has another status, or has ended and can be told of.
async fn changed(task: &Task, status: &str) {
    loop {
        let looked = task.looked.notified();
        tokio::pin!(looked);
        // Before the status is read: what changes after that is told.
        looked.as_mut().enable();
        let known = task.known();
        if *known.status != *status || known.is_final() && known.document.is_some() {
            return;
        }
        looked.await;
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_place_is_free_again_once_it_is_left_and_no_cap_is_passed() {
        let (waiting, metrics) = (Waiting::default(), Metrics::register(&mut Registry::default()));
        let seat = |owner: u8, app: &str| {
            let who = [
                (Who::All, 3),
                (Who::App(app.into()), 2),
                (Who::Owner(vec![owner]), 1),
                (Who::Address([127, 0, 0, 1].into()), 3),
            ];
            waiting.seat(who, &metrics)
        };
        let first = seat(1, "a");
        assert!(first.is_some() && seat(1, "a").is_none(), "one for each owner");
        let second = seat(2, "a");
        assert!(second.is_some() && seat(3, "a").is_none(), "two for each app");
        let third = seat(3, "b");
        assert!(third.is_some() && seat(4, "b").is_none(), "three in all");
        drop(first);
        assert_eq!(metrics.waiting.get(), 2);
        assert!(seat(4, "b").is_some());
        drop((second, third));
        assert!(lock(&waiting.0).is_empty(), "nothing is kept of who has left");
    }
}
