//! The composition root: the one place where all parts are made and put together.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::{sync::broadcast, task::JoinSet};
use tokio_util::task::TaskTracker;
use valet_clock::{ClockExt, SharedClock};

use crate::{
    admission::{Gate, Subjects},
    audit::{self, Event, Trail, Writer},
    config::{Config, Source},
    http::{self, ConnectionMetrics, Doors, Listener, MetricsPage, Readiness, Routes},
    issue::Issue,
    keyring::{self, Agreement, Keyring},
    ledger,
    lifecycle::{Drained, Shutdown},
    relay::{self, Relay},
    reload::{self, Asked, Reload},
    request_id::RequestIds,
    shared_redis::{Away, Said, Shared},
    site::Site,
    telemetry::{IssueMetrics, register_process},
    token::{self, Cache, KeyChange},
};

/// A broker whose addresses are bound and whose parts are made; [`run`](Broker::run) serves.
#[derive(Debug)]
pub struct Broker {
    listener: Listener,
    local_addr: SocketAddr,
    metrics: Option<(Listener, SocketAddr)>,
    doors: Doors,
    registry: Registry,
    shared: Option<Arc<Shared>>,
    token_metrics: Arc<token::Metrics>,
    ledgers: ledger::Opener,
    reload_metrics: reload::Metrics,
    reload: Option<(Source, Asked)>,
    config: Config,
    writer: Writer,
    clock: SharedClock,
}

/// Why a broker cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address, or stop what listens there")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The audit trail cannot be opened.
    #[error(transparent)]
    Audit(#[from] audit::OpenError),
    /// The relay's keys cannot be made.
    #[error("relay.state: the keys cannot be written: {0}; the folder must be the broker's own")]
    Keys(io::Error),
    /// The relay's keys are not those of the other replicas.
    #[error(
        "relay.state: the keys in {0} are not those of the replicas that share the Redis: they would not know one \
         another's tokens and handles; copy keys.json from the state folder of a replica that runs, and keep it the \
         same for all"
    )]
    OtherKeys(String),
    /// The relay's ledger cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] ledger::Unopened),
    /// No HTTP client can be built.
    #[error(
        "cannot make an HTTPS client: {0}; are the root certificates installed (package ca-certificates)?"
    )]
    Client(#[from] reqwest::Error),
    /// The audit trail's last records were not taken.
    #[error("the audit trail could not be written to its end: what it is written to takes nothing any more")]
    AuditStuck,
    /// Part of the broker ended unasked.
    #[error("a task of the broker died: {0}")]
    Died(#[from] tokio::task::JoinError),
}

/// How long the last records of the audit trail may take to be written.
const AUDIT_TIME: Duration = Duration::from_secs(5);

impl Broker {
    /// Makes every part and binds the addresses.
    ///
    /// # Errors
    /// If an address, the audit trail or the HTTP client cannot be had.
    pub async fn bind(mut config: Config, clock: SharedClock) -> Result<Self, Failed> {
        let mut registry = Registry::with_prefix("valet");
        let connections = ConnectionMetrics::register(&mut registry);
        let bind = async |name, address| {
            let open = connections.of(name);
            let listener = Listener::bind(address, config.bounds, clock.clone(), open).await;
            let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
            bound.map_err(|source| Failed::Listen { address, source })
        };
        let (local_addr, listener) = bind("public", config.listen).await?;
        let metrics = match config.metrics_listen {
            Some(address) => {
                Some(bind("metrics", address).await.map(|(address, listener)| (listener, address))?)
            }
            None => None,
        };
        register_process(&mut registry, clock.unix());
        let token_metrics = Arc::new(token::Metrics::register(&mut registry));
        config.make_keys(None, clock.unix()).map_err(Failed::Keys)?;
        let request_ids = RequestIds::new();
        let shared = match &config.shared {
            Some(settings) => {
                let shared = Shared::new(settings, &request_ids.instance(), clock.clone(), &mut registry);
                // One look, so that a broker that can have it has it from its first request on.
                shared.attend().await;
                Some(shared)
            }
            None => None,
        };
        if let Some((relay, shared)) = config.relay.as_ref().zip(shared.as_ref())
            && let Some(keys) = &relay.keys
            && !agree(keys, shared, clock.unix()).await
        {
            return Err(Failed::OtherKeys(relay.state.join(keyring::FILE).display().to_string()));
        }
        let site = Site::new(&config, &clock, &token_metrics, shared.as_ref(), None)?;
        let audit_metrics = audit::Metrics::register(&mut registry);
        let (trail, writer) =
            Trail::open(&config.audit, &request_ids.instance(), clock.clone(), audit_metrics)?;
        let issue = Issue {
            site: ArcSwap::from_pointee(site),
            subjects: Subjects::new(shared.clone()),
            gate: Gate::new(),
            cache: Cache::new(config.max_cached_tokens, clock.clone(), token_metrics.clone())
                .shared_by(shared.clone()),
            trail,
            clock: clock.clone(),
            metrics: IssueMetrics::register(&mut registry),
        };
        let issue = Arc::new(issue);
        let ledgers = ledger::Opener::new(request_ids.instance(), clock.clone(), &mut registry);
        let relay = Relay::new(issue.clone(), relay::Metrics::register(&mut registry), shared.clone())?;
        if let Some(settings) = &config.relay {
            let place = ledger::Place { state: settings.state.clone(), keep_days: settings.keep_days };
            let (ledger, known) = ledgers.open(&place)?;
            relay.open(&issue.site.load(), ledger, known);
        }
        let doors = Doors {
            relay: Arc::new(relay),
            issue,
            bounds: config.bounds,
            readiness: Readiness::default(),
            request_ids,
        };
        let reload_metrics = reload::Metrics::register(&mut registry);
        let reload = None;
        Ok(Self {
            listener,
            local_addr,
            metrics,
            doors,
            registry,
            shared,
            token_metrics,
            ledgers,
            reload_metrics,
            reload,
            config,
            writer,
            clock,
        })
    }

    /// Follows `source`, of which this broker's configuration was read: a change of its files is taken up
    /// by itself, or when it is `asked` for.
    #[must_use]
    pub fn following(mut self, source: Source, asked: Asked) -> Self {
        self.reload = Some((source, asked));
        self
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The address that metrics are served on.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(_, address)| *address)
    }

    /// Serves until `shutdown`, then finishes what is in hand.
    ///
    /// # Errors
    /// If a part of the broker died.
    pub async fn run(self, shutdown: Shutdown) -> Result<Drained, Failed> {
        let (readiness, connections) = (self.doors.readiness.clone(), TaskTracker::new());
        let (issue, bounds) = (self.doors.issue.clone(), self.config.bounds);
        let relay = self.doors.relay.clone();
        let stopping = issue.clone();
        let routes = Routes::new(Arc::new(self.doors));
        let mut tasks = JoinSet::new();
        let tls = self.config.tls.is_some().then(|| http::acceptor(&issue));
        tasks.spawn(self.listener.serve(routes, tls, shutdown.clone(), connections.clone()));
        if let Some((listener, _)) = self.metrics {
            let page = MetricsPage::new(self.registry);
            tasks.spawn(listener.serve(page, None, shutdown.clone(), connections.clone()));
        }
        let mut upkeep = JoinSet::new();
        issue.event(Event::Start { version: env!("CARGO_PKG_VERSION") });
        upkeep.spawn(record_key_changes(issue.clone(), self.token_metrics.key_changes()));
        upkeep.spawn(probe(issue.clone()));
        upkeep.spawn(relay.clone().follow());
        if let Some(shared) = self.shared {
            upkeep.spawn(follow(issue.clone(), shared.listen()));
            // There may be a relay later.
            let (hears, tells, from) = (relay.clone(), relay.clone(), shared.clone());
            upkeep.spawn(async move {
                hears.opened().await;
                hears.hear(from.listen()).await;
            });
            upkeep.spawn(async move {
                tells.opened().await;
                tells.tell().await;
            });
            upkeep.spawn(async move { shared.run().await });
        }
        if let Some((source, asked)) = self.reload {
            let (token_metrics, metrics) = (self.token_metrics, self.reload_metrics);
            let (relay, ledgers, clock) = (relay.clone(), self.ledgers, self.clock.clone());
            let parts = reload::Parts { issue, relay, ledgers, token_metrics, clock, metrics };
            upkeep.spawn(Reload::new(source, self.config, parts, asked).run());
        }
        let ended = tokio::select! {
            () = shutdown.asked().cancelled() => Ok(()),
            Some(ended) = tasks.join_next() => ended,
            Some(ended) = upkeep.join_next() => ended,
        };
        readiness.drain();
        stopping.event(Event::Stop);
        let lame_duck = if ended.is_ok() { bounds.lame_duck_time } else { Duration::ZERO };
        shutdown.begin(lame_duck, &self.clock).await;
        relay.stop_waiting();
        // Once the listeners have ended, every connection that was accepted is among the tracked.
        while tasks.join_next().await.is_some() {}
        let draining = self.clock.now();
        let drained = shutdown.drain(&connections, bounds.drain_time, &self.clock).await;
        let left = bounds.drain_time.saturating_sub(self.clock.now().saturating_duration_since(draining));
        if !shutdown.finish(relay.submits_ended(), left, &self.clock).await {
            tracing::error!("submits are cut off: what becomes of them at the upstream nobody will know");
        }
        drop(upkeep);
        relay.leave().await;
        if self.clock.timeout(AUDIT_TIME, relay.flush()).await.is_err() {
            tracing::error!("the ledger of tasks could not be written to its end");
        }
        // What was decided is recorded before the process may end, unless nobody takes the records.
        let writer = self.writer;
        let closing = tokio::task::spawn_blocking(|| writer.close());
        match self.clock.timeout(AUDIT_TIME, closing).await {
            Ok(closed) => closed?,
            Err(_) => return Err(Failed::AuditStuck),
        }
        ended?;
        Ok(drained)
    }
}

/// Whether all replicas accept what each of them gives out, as far as can be told. One that does not agree leaves no
/// trace: those that do are not to be stopped by it.
async fn agree(keys: &Keyring, shared: &Shared, now: Duration) -> bool {
    let differs =
        |others: &Vec<String>| others.iter().any(|other| keys.agreement(other, now) == Agreement::None);
    if shared.other_keys().await.is_ok_and(|others| differs(&others)) {
        return false;
    }
    // Another may have begun at the same time.
    let is_odd = shared.tell_keys(Some(&keys.told())).await.is_ok_and(|others| differs(&others));
    if is_odd {
        let _: Result<_, Away> = shared.tell_keys(None).await;
    }
    !is_odd
}

/// Tries quarantined keys again, once a while, for as long as it is polled.
async fn probe(issue: Arc<Issue>) {
    loop {
        issue.clock.sleep(token::PROBE_INTERVAL).await;
        for upstream in &issue.site.load_full().upstreams {
            upstream.probe().await;
        }
    }
}

/// Takes up what other replicas say, and tells them what this one knows, for as long as it is polled.
async fn follow(issue: Arc<Issue>, mut said: broadcast::Receiver<Said>) {
    // What was said before is caught up with.
    let mut next = Ok(Said::Joined);
    loop {
        let site = issue.site.load_full();
        match next {
            Ok(said @ Said::Revoked(_)) => site.identities.hear(&said, issue.clock.unix()),
            Ok(Said::Joined) | Err(broadcast::error::RecvError::Lagged(_)) => {
                // If it goes away meanwhile, it will come back, and be caught up with again.
                let unix = issue.clock.unix();
                let _: Result<(), Away> = site.catch_up(unix).await;
                let _: Result<(), Away> = issue.subjects.tell(unix).await;
            }
            // The rest is for others to hear.
            Ok(_) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
        next = said.recv().await;
    }
}

/// Records what becomes of upstream keys, for as long as it is polled.
async fn record_key_changes(issue: Arc<Issue>, mut changes: broadcast::Receiver<KeyChange>) {
    loop {
        match changes.recv().await {
            Ok(KeyChange { upstream, key, state }) => issue.event(Event::Key { upstream, key, state }),
            // More at once than anyone can read: the metric has the latest of each.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
