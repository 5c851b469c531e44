//! Latencies, counted by size.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Latencies from 1 ns to a minute, each to three digits.
pub(super) struct Histogram(hdrhistogram::Histogram<u64>);

/// The quantiles of some latencies.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Latency {
    /// Half took no longer.
    pub(crate) p50: Duration,
    /// 99 of 100 took no longer.
    pub(crate) p99: Duration,
    /// 999 of 1000 took no longer.
    pub(crate) p999: Duration,
    /// None took longer.
    pub(crate) most: Duration,
}

impl Histogram {
    pub(super) fn new() -> Self {
        const MINUTE: u64 = 60_000_000_000;
        Self(hdrhistogram::Histogram::new_with_max(MINUTE, 3).expect("the bounds are within the type's"))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn latency(&self) -> Latency {
        let at = |quantile| Duration::from_nanos(self.0.value_at_quantile(quantile));
        Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), most: at(1.0) }
    }
}
