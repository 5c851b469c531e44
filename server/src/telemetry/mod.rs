//! Logs, traces, and the metrics that belong to no single stage.

#[cfg(feature = "otel")]
mod traces;

use std::{io::IsTerminal, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};
use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

#[cfg(feature = "otel")]
pub use self::traces::Traces;
use crate::audit::Door;

/// What must be told when the process ends.
#[derive(Debug, Default)]
#[must_use = "traces that are not closed are not sent"]
pub struct Telemetry {
    #[cfg(feature = "otel")]
    traces: Option<Traces>,
}

/// Sends logs to standard error: readable on a terminal, JSON lines elsewhere; `filter` is in the syntax of
/// `RUST_LOG`. Sends traces, if the environment names a `collector` and the feature `otel` is there.
///
/// # Errors
/// If the collector's address is none.
pub fn init(filter: Option<&str>, collector: bool) -> Result<Telemetry, Box<dyn std::error::Error>> {
    let filter = EnvFilter::new(filter.unwrap_or("info"));
    let events = filter.and(filter_fn(is_event));
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = if std::io::stderr().is_terminal() { logs.boxed() } else { logs.json().boxed() };
    let registry = tracing_subscriber::registry().with(logs.with_filter(events));
    #[cfg(feature = "otel")]
    {
        let traces = collector.then(Traces::of_environment).transpose()?;
        registry.with(traces.as_ref().map(Traces::layer)).init();
        Ok(Telemetry { traces })
    }
    #[cfg(not(feature = "otel"))]
    {
        registry.init();
        if collector {
            tracing::warn!(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set, but this binary is built without the feature otel"
            );
        }
        Ok(Telemetry::default())
    }
}

/// Spans are for traces: a line of the log says all that it has to say.
fn is_event(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
}

impl Telemetry {
    /// Sends what was not sent yet.
    pub fn close(self) {
        #[cfg(feature = "otel")]
        if let Some(traces) = self.traces {
            traces.close();
        }
    }
}

/// What is counted of decisions.
#[derive(Debug)]
pub struct IssueMetrics {
    decisions: Family<Decision, Counter>,
    /// Handles of the outcome that is on the fast path, by door.
    issued: [Counter; 4],
    seconds: Histogram,
    remaining: Histogram,
    limits: Family<Limit, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Limit {
    limit: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Decision {
    door: &'static str,
    outcome: &'static str,
}

impl IssueMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let decisions = Family::<Decision, Counter>::default();
        registry.register("decisions", "Decisions by door and outcome", decisions.clone());
        let seconds = Histogram::new([0.000_05, 0.000_1, 0.000_5, 0.001, 0.01, 0.1, 0.5, 1.0, 3.0]);
        registry.register_with_unit(
            "decision",
            "Time from request to answer",
            Unit::Seconds,
            seconds.clone(),
        );
        // Where lifetimes and refreshes lie: a minute's token is handed out with 42 s left or more while the
        // upstream is well.
        let remaining = Histogram::new([2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 300.0, 1800.0]);
        registry.register_with_unit(
            "remaining_life",
            "Life that tokens have left when they are handed out",
            Unit::Seconds,
            remaining.clone(),
        );
        let limits = Family::default();
        registry.register("limit_refusals", "Refusals by the limit that was reached", limits.clone());
        let issued = [Door::V1, Door::DashScope, Door::OAuth, Door::Playground]
            .map(|door| decisions.get_or_create_owned(&Decision { door: door.name(), outcome: "issued" }));
        Self { decisions, issued, seconds, remaining, limits }
    }

    /// A request was answered.
    pub fn decided(&self, door: Door, outcome: &'static str) {
        if outcome == "issued" {
            self.issued[door as usize].inc();
        } else {
            self.decisions.get_or_create(&Decision { door: door.name(), outcome }).inc();
        }
    }

    /// On an issuing route, and after so long. (A task takes its upstream's time, which is not the broker's.)
    pub fn took(&self, time: Duration) {
        self.seconds.observe(time.as_secs_f64());
    }

    /// A token was handed out with so much life left.
    pub fn handed_out(&self, remaining: Duration) {
        self.remaining.observe(remaining.as_secs_f64());
    }

    /// A limit was reached.
    pub fn limited(&self, limit: &'static str) {
        self.limits.get_or_create(&Limit { limit }).inc();
    }
}

/// Registers what is known of the process itself.
pub fn register_process(registry: &mut Registry, started: Duration) {
    let build = [("version", env!("CARGO_PKG_VERSION"))];
    registry.register("build", "The version that runs", Info::new(build));
    let start: Gauge = Gauge::default();
    start.set(started.as_secs().try_into().unwrap_or(i64::MAX));
    registry.register("start_timestamp_seconds", "When the process began to serve, in Unix seconds", start);
}
