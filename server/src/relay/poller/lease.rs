//! Whose turn it is to poll, of all replicas: whoever has the upstream's lease. Without a shared state it is this
//! process's, always; while that is away, each replica polls for its own callers, at its share, and not a moment longer:
//! once it is there, whoever polls is somebody with the lease.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Line;
use crate::{
    config::WhenAway,
    relay::{Relay, task::Task},
    shared_redis::{Away, Queried, Right, Shared, Turn},
    token::Upstream,
};

/// How often a lease is renewed, or looked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Whose turn it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Polls {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// This replica's, for all, under that fence.
    Here(String),
    /// Another replica's.
    Elsewhere,
    /// Each polls for itself: when it was last looked, the shared state was away.
    Each,
}

/// Why a query may not be sent.
pub(super) enum Not {
    /// It is too early.
    Before(Instant),
    /// It is not this replica's turn.
    Here,
}

impl Relay {
    /// Looks whose turn it is, and tells when to look again.
    pub(super) async fn attend(
        &self,
        line: &Arc<Line>,
        upstream: &Upstream,
        now: Instant,
    ) -> Option<Instant> {
        let shared = self.replicas.shared.as_ref()?;
        let before = line.polls();
        let right = match &before {
            Polls::Here(fence) => Right::Lease(fence),
            Polls::Each => Right::Alone,
            Polls::Unknown | Polls::Elsewhere => Right::Nothing,
        };
        let (polls, wait) = match shared.hold(line.service.shared(), right, upstream.direct(now)).await {
            Ok(attended) => {
                upstream.attended(&attended, now);
                match attended.turn {
                    Turn::Held(fence) => (Polls::Here(fence), INTERVAL),
                    // It ends a moment later by this clock than by the server's, at most.
                    Turn::Others(left) => (Polls::Elsewhere, INTERVAL.min(left + Duration::from_millis(1))),
                }
            }
            Err(Away) => (Polls::Each, INTERVAL),
        };
        self.turn(line, upstream, &polls);
        Some(now + wait)
    }

    /// It is another's turn, or another's no more.
    fn turn(&self, line: &Arc<Line>, upstream: &Upstream, polls: &Polls) {
        let before = line.set_polls(polls.clone());
        let service = &line.service;
        let (upstream_name, account) = (&*service.upstream, &*service.account);
        self.metrics.polls_here(&line.service.upstream, matches!(polls, Polls::Here(_)));
        match (&before, polls) {
            (before, after) if before == after => {}
            (_, Polls::Here(_)) => {
                tracing::info!(upstream = upstream_name, account, "this replica polls for all");
                line.lock().begin_again();
                // Whatever became of them meanwhile.
                for task in self.records.unfinished_of(upstream_name, account, self.issue.clock.unix()) {
                    if task.is_untold() {
                        self.replicas.tell(&task);
                    }
                    self.poller.follow(task, self.issue.clock.now(), self.issue.clock.unix());
                }
            }
            (before, after) => {
                if matches!(before, Polls::Here(_)) {
                    tracing::info!(
                        upstream = upstream_name,
                        account,
                        "another replica polls from now on, or each for itself"
                    );
                }
                if *after == Polls::Each {
                    upstream.fall_back(self.issue.clock.now());
                    line.lock().begin_again();
                    // Nobody else looks at what is waited for here.
                    let waited = self.replicas.waited();
                    for task in waited.iter().filter_map(|name| self.records.named(name)) {
                        if task.upstream == service.upstream && task.key.account == service.account {
                            self.poller.watch(&task, self.issue.clock.now(), self.issue.clock.unix());
                        }
                    }
                }
            }
        }
    }

    /// Takes a query of the poller's.
    pub(super) async fn take_query(
        &self,
        line: &Arc<Line>,
        upstream: &Upstream,
        now: Instant,
    ) -> Result<(), Not> {
        let own = || upstream.take_query(1, now).map_err(|wait| Not::Before(now + wait));
        let Some(shared) = &self.replicas.shared else { return own() };
        let fence = match line.polls() {
            Polls::Here(fence) => fence,
            Polls::Each if !shared.is_there() && shared.without().polling == WhenAway::Continue => {
                return own();
            }
            _ => return Err(Not::Here),
        };
        match upstream.draw_query(line.service.shared(), 1, Some(&fence), now).await {
            Ok(Queried::Taken) => Ok(()),
            Ok(Queried::Wait(wait)) => Err(Not::Before(now + wait)),
            Ok(Queried::Fenced) => {
                self.turn(line, upstream, &Polls::Elsewhere);
                Err(Not::Here)
            }
            Err(Away) => {
                self.turn(line, upstream, &Polls::Each);
                Err(Not::Before(now))
            }
        }
    }

    /// Takes a query that is not the poller's, `burst` of them at once.
    ///
    /// # Errors
    /// How long there is none.
    pub(in crate::relay) async fn take_query_beside(
        &self,
        task: &Task,
        upstream: &Upstream,
        burst: u32,
    ) -> Result<(), Duration> {
        let (now, line) = (self.issue.clock.now(), self.poller.line(task));
        let own = || upstream.take_query(burst, now);
        let Some(shared) = &self.replicas.shared else { return own() };
        let is_each = line.polls() == Polls::Each;
        if is_each {
            // Others may be alone still, each at its share. What is taken in vain, because the shared rate has none, is of
            // a share that nobody asks at any more once it is looked whose turn it is, a second later at most: until then
            // no poller asks at it either.
            own()?;
        }
        match upstream.draw_query(line.service.shared(), burst, None, now).await {
            Ok(Queried::Wait(wait)) => Err(wait),
            Ok(_) => Ok(()),
            Err(Away) if is_each => Ok(()),
            Err(Away) => {
                if !shared.is_there() {
                    // What all of them asked until now is no reason to ask at once.
                    self.turn(&line, upstream, &Polls::Each);
                    line.changed.notify_one();
                }
                own()
            }
        }
    }

    /// How long it is, about, until a task's account may be asked.
    pub(in crate::relay) fn query_wait(&self, task: &Task, now: Instant) -> Duration {
        let site = self.issue.site.load();
        let place = self.poller.line(task).service.place(&site);
        place.map_or(Duration::MAX, |place| site.upstreams[place].query_wait(now))
    }

    /// Whether nobody polls, because the operator wants none that poll by themselves.
    pub(in crate::relay) fn is_unpolled(&self, task: &Task) -> bool {
        let is_each = self.poller.line(task).polls() == Polls::Each;
        let refuses = |shared: &Shared| shared.without().polling == WhenAway::Refuse;
        is_each && self.replicas.shared.as_deref().is_some_and(refuses)
    }

    /// Whether other replicas may be asked to look, if any polls.
    pub(in crate::relay) fn is_shared(&self) -> bool {
        self.replicas.shared.is_some()
    }

    /// This replica stops: its leases are given up, so that others need not wait for their end.
    pub async fn leave(&self) {
        let Some(shared) = &self.replicas.shared else { return };
        if self.issue.site.load().keyring().is_some() {
            let _: Result<_, Away> = shared.tell_keys(None).await;
        }
        let lines: Vec<_> = self.poller.lock().values().cloned().collect();
        for line in lines {
            if let Polls::Here(fence) = line.polls() {
                let _: Result<(), Away> = shared.leave(line.service.shared(), &fence).await;
            }
        }
    }
}
