//! What is counted of the shared state.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Round trips, outages, and what they were for.
#[derive(Debug)]
pub(super) struct Metrics {
    up: Gauge,
    outages: Counter,
    replicas: Gauge,
    /// Replicas whose keys of the relay are not this one's.
    pub(super) keys_differ: Gauge,
    calls: Family<Call, Counter>,
    /// Tokens that another replica had minted.
    pub(super) taken_over: Counter,
    /// What could not be opened: sealed with another key, or meddled with.
    pub(super) unreadable: Counter,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Call {
    kind: &'static str,
    outcome: &'static str,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            up: Gauge::default(),
            outages: Counter::default(),
            replicas: Gauge::default(),
            keys_differ: Gauge::default(),
            calls: Family::default(),
            taken_over: Counter::default(),
            unreadable: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("shared");
        registry.register("up", "Whether the shared state is there", metrics.up.clone());
        registry.register("outages", "How often the shared state went away", metrics.outages.clone());
        registry.register(
            "replicas",
            "Replicas that share it, as this one last heard",
            metrics.replicas.clone(),
        );
        let help = "Replicas whose keys of the relay are not, or soon will not be, accepted by this one";
        registry.register("keys_differ", help, metrics.keys_differ.clone());
        registry.register("calls", "Round trips by kind and outcome", metrics.calls.clone());
        registry.register("taken_over", "Tokens that another replica had minted", metrics.taken_over.clone());
        let help = "Shared tokens, tasks and submits that could not be opened";
        registry.register("unreadable", help, metrics.unreadable.clone());
        metrics
    }

    pub(super) fn is_there(&self, is_there: bool) {
        self.up.set(i64::from(is_there));
        if !is_there {
            self.outages.inc();
        }
    }

    pub(super) fn replicas(&self, count: u32) {
        self.replicas.set(i64::from(count));
    }

    pub(super) fn called(&self, kind: &'static str, succeeded: bool) {
        let outcome = if succeeded { "ok" } else { "failed" };
        self.calls.get_or_create(&Call { kind, outcome }).inc();
    }
}
