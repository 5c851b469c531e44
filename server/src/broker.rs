//! The composition root: the one place where all parts are made and put together.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use valet_clock::{ClockExt, SharedClock};

use crate::{
    audit::{Trail, Writer},
    config::{Bounds, Config},
    http::{Doors, Listener, MetricsPage, Readiness, Routes},
    issue::Issue,
    lifecycle::{Drained, Shutdown},
    request_id::RequestIds,
    site::Site,
    telemetry::IssueMetrics,
    token::{self, Cache, Upstream},
};

/// A broker whose addresses are bound and whose parts are made; [`run`](Broker::run) serves.
#[derive(Debug)]
pub struct Broker {
    listener: Listener,
    local_addr: SocketAddr,
    metrics: Option<(Listener, SocketAddr)>,
    doors: Doors,
    registry: Registry,
    upstreams: Vec<Arc<Upstream>>,
    writer: Writer,
    bounds: Bounds,
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
    #[error("cannot open the audit trail: {0}; make audit.path a file that the broker may append to")]
    Audit(#[source] io::Error),
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
    pub async fn bind(config: Config, clock: SharedClock) -> Result<Self, Failed> {
        let bind = async |address| {
            let listener = Listener::bind(address, config.bounds, clock.clone()).await;
            let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
            bound.map_err(|source| Failed::Listen { address, source })
        };
        let (local_addr, listener) = bind(config.listen).await?;
        let metrics = match config.metrics_listen {
            Some(address) => Some(bind(address).await.map(|(address, listener)| (listener, address))?),
            None => None,
        };
        let mut registry = Registry::with_prefix("valet");
        let token_metrics = Arc::new(token::Metrics::register(&mut registry));
        let site = Site::new(&config, &clock, &token_metrics)?;
        let (trail, writer) = Trail::open(&config.audit).map_err(Failed::Audit)?;
        let upstreams = site.upstreams.clone();
        let issue = Issue {
            site: ArcSwap::from_pointee(site),
            cache: Cache::new(config.max_cached_tokens, clock.clone(), token_metrics),
            trail,
            clock: clock.clone(),
            metrics: IssueMetrics::register(&mut registry),
        };
        let public_url =
            config.public_url.map_or_else(String::new, |url| url.as_str().trim_end_matches('/').to_owned());
        let doors = Doors {
            issue,
            bounds: config.bounds,
            errors_url: format!("{public_url}/errors"),
            readiness: Readiness::default(),
            request_ids: RequestIds::new(),
        };
        let bounds = config.bounds;
        Ok(Self { listener, local_addr, metrics, doors, registry, upstreams, writer, bounds, clock })
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
        let routes = Routes::new(Arc::new(self.doors));
        let mut tasks = JoinSet::new();
        tasks.spawn(self.listener.serve(routes, shutdown.clone(), connections.clone()));
        if let Some((listener, _)) = self.metrics {
            let page = MetricsPage::new(self.registry);
            tasks.spawn(listener.serve(page, shutdown.clone(), connections.clone()));
        }
        let mut upkeep = JoinSet::new();
        for upstream in self.upstreams {
            upkeep.spawn(upstream.probe());
        }
        let ended = tokio::select! {
            () = shutdown.soft().cancelled() => Ok(()),
            Some(ended) = tasks.join_next() => ended,
            Some(ended) = upkeep.join_next() => ended,
        };
        readiness.drain();
        // Begun already, unless a part of the broker died.
        shutdown.soft().cancel();
        // Once the listeners have ended, every connection that was accepted is among the tracked.
        while tasks.join_next().await.is_some() {}
        let drained = shutdown.drain(&connections, self.bounds.drain_time, &self.clock).await;
        drop(upkeep);
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
