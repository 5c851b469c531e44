//! What is counted of the relay's work.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Handles of the relay's metrics.
#[derive(Debug)]
pub struct Metrics {
    /// Requests that wait for a task's status to change.
    pub(super) waiting: Gauge,
    /// Tasks that are followed to their end, of each upstream.
    pub(super) tasks: Family<OfUpstream, Gauge>,
    /// Calls that the poller made.
    pub(super) polls: Family<Poll, Counter>,
    /// Whether this replica polls for all of them.
    polls_here: Family<OfUpstream, Gauge>,
    /// Seconds of audio of tasks that have ended, as the upstream bills them.
    pub(super) audio_seconds: Family<OfApp, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct OfApp {
    pub(super) app: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct OfUpstream {
    pub(super) upstream: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Poll {
    pub(super) upstream: String,
    /// `look` or `list`.
    pub(super) call: &'static str,
    /// `ok`, `throttled` or `failed`.
    pub(super) outcome: &'static str,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let (waiting, tasks, polls) = (Gauge::default(), Family::default(), Family::default());
        let help = "Requests that wait for a task's status to change";
        registry.register("relay_waiting", help, waiting.clone());
        let help = "Tasks that the relay follows to their end, by upstream";
        registry.register("relay_tasks", help, tasks.clone());
        let help = "Queries and pages of lists that the relay asked an upstream for";
        registry.register("relay_polls", help, polls.clone());
        let polls_here = Family::default();
        let help = "Whether this replica polls an upstream's account for all replicas";
        registry.register("shared_polls_for_all", help, polls_here.clone());
        let audio_seconds = Family::default();
        let help = "Seconds of audio that the upstream bills, of tasks that have ended, by app";
        registry.register("relay_audio_seconds", help, audio_seconds.clone());
        Self { waiting, tasks, polls, polls_here, audio_seconds }
    }

    pub(super) fn polls_here(&self, upstream: &str, is_so: bool) {
        let upstream = OfUpstream { upstream: upstream.to_owned() };
        self.polls_here.get_or_create(&upstream).set(i64::from(is_so));
    }
}
