//! The token stage's metric handles.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use tokio::sync::broadcast;

use super::{KeyId, Kind};

/// Mints, refreshes and hand-outs.
#[derive(Debug)]
pub struct Metrics {
    mints: Family<Mint, Counter>,
    mint_seconds: Histogram,
    skew: Family<Upstream, Gauge<f64, AtomicU64>>,
    key_usable: Family<UpstreamKey, Gauge>,
    key_changes: broadcast::Sender<KeyChange>,
    /// Requests that waited for somebody else's mint.
    pub(super) coalesced: Counter,
    /// Requests that were answered from a token in hand.
    pub(super) hits: Counter,
    /// Refreshes that failed while a token was in hand.
    refresh_failures: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Mint {
    upstream: String,
    key: String,
    outcome: &'static str,
}

/// What is known of an upstream key changed.
#[derive(Clone, Debug)]
pub struct KeyChange {
    /// The upstream's name.
    pub upstream: String,
    /// The key's id.
    pub key: String,
    /// `quarantined`, `usable` or `removed`.
    pub state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct UpstreamKey {
    upstream: String,
    key: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Upstream {
    upstream: String,
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            mints: Family::default(),
            mint_seconds: Histogram::new([0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0]),
            skew: Family::default(),
            key_usable: Family::default(),
            key_changes: broadcast::channel(256).0,
            coalesced: Counter::default(),
            hits: Counter::default(),
            refresh_failures: Counter::default(),
        };
        registry.register("mints", "Mints by upstream, key and outcome", metrics.mints.clone());
        let seconds = metrics.mint_seconds.clone();
        registry.register_with_unit("mint", "Time that mints took", Unit::Seconds, seconds);
        let help = "The upstream's clock less this machine's";
        registry.register_with_unit("clock_skew", help, Unit::Seconds, metrics.skew.clone());
        let help = "Whether the upstream accepts the key";
        registry.register("key_usable", help, metrics.key_usable.clone());
        let coalesced = metrics.coalesced.clone();
        registry.register("coalesced_waits", "Requests that waited for another's mint", coalesced);
        registry.register("hits", "Requests answered from a token in hand", metrics.hits.clone());
        let failures = metrics.refresh_failures.clone();
        registry.register("refresh_failures", "Refreshes that failed with a token in hand", failures);
        metrics
    }

    pub(super) fn minted(&self, upstream: &str, key: &KeyId, took: Duration, failure: Option<Kind>) {
        let outcome = failure.map_or("ok", Kind::name);
        let labels = Mint { upstream: upstream.to_owned(), key: key.to_string(), outcome };
        self.mints.get_or_create(&labels).inc();
        self.mint_seconds.observe(took.as_secs_f64());
    }

    /// A mint failed; a refresh did, if a token is in hand.
    pub(super) fn mint_failed(&self, has_live: bool) {
        if has_live {
            self.refresh_failures.inc();
        }
    }

    /// Every change of a key from now on.
    #[must_use]
    pub fn key_changes(&self) -> broadcast::Receiver<KeyChange> {
        self.key_changes.subscribe()
    }

    pub(super) fn key_usable(&self, upstream: &str, key: &KeyId, usable: bool) {
        self.key_usable.get_or_create(&UpstreamKey::of(upstream, key)).set(i64::from(usable));
        self.key_changed(upstream, key, if usable { "usable" } else { "quarantined" });
    }

    pub(super) fn key_removed(&self, upstream: &str, key: &KeyId) {
        self.key_usable.remove(&UpstreamKey::of(upstream, key));
        self.key_changed(upstream, key, "removed");
    }

    fn key_changed(&self, upstream: &str, key: &KeyId, state: &'static str) {
        // Where nobody listens, nobody wants to know.
        let (upstream, key) = (upstream.to_owned(), key.to_string());
        let _ = self.key_changes.send(KeyChange { upstream, key, state });
    }

    pub(super) fn skew(&self, upstream: &str, seconds: f64) {
        self.skew.get_or_create(&Upstream { upstream: upstream.to_owned() }).set(seconds);
    }
}

impl UpstreamKey {
    fn of(upstream: &str, key: &KeyId) -> Self {
        Self { upstream: upstream.to_owned(), key: key.to_string() }
    }
}
