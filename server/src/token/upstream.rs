//! An upstream of the site: its pool of keys and its account's query budget.

use std::{sync::Arc, time::Instant};

use valet_clock::SharedClock;

use super::{LiveToken, Metrics, Minted, pool::Pool, probe, share::Share, slot::Live};
use crate::config;

/// An upstream that tokens are minted from.
#[derive(Debug)]
pub struct Upstream {
    base_url: Arc<str>,
    pub(super) pool: Pool,
    share: Share,
}

impl Upstream {
    /// The upstream of a configuration.
    ///
    /// # Errors
    /// If no HTTP client can be built, as when the machine's root certificates cannot be read.
    pub fn new(
        upstream: &config::Upstream,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, reqwest::Error> {
        let share = Share::new(upstream.queries_per_second, clock.now());
        let pool = Pool::new(upstream, clock, metrics)?;
        Ok(Self { base_url: upstream.base_url.clone(), pool, share })
    }

    /// Where its tokens work: up to and with `/api/v1`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Whether any of its keys is out of quarantine.
    #[must_use]
    pub fn has_usable_key(&self) -> bool {
        self.pool.has_usable_key()
    }

    /// The status queries a second that one direct caller may make.
    #[must_use]
    pub fn queries_per_second(&self, now: Instant) -> f64 {
        self.share.queries_per_second(now)
    }

    /// Brings its keys back from quarantine, for as long as it is polled.
    pub async fn probe(self: Arc<Self>) {
        probe::run(&self.pool).await;
    }

    pub(super) fn hand_out(&self, live: Arc<Live<Minted>>) -> LiveToken {
        self.share.handed_out();
        LiveToken(live)
    }
}
