//! An upstream of the site: its pool of keys and its account's query budget.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use valet_clock::SharedClock;

use super::{AppTokens, LiveToken, Metrics, Minted, Source, pool::Pool, probe, share::Share, slot::Live};
use crate::{
    config,
    policy::{Edition, Editions, UpstreamUse},
    shared_redis::{Attended, Away, Queried, Service},
};

/// Whose tokens the broker's own are in the cache: no app can be called so.
const UPKEEP: &str = "(upkeep)";

/// An upstream that tokens are minted from.
#[derive(Debug)]
pub struct Upstream {
    config: config::Upstream,
    pub(super) pool: Pool,
    share: Arc<Share>,
    /// The tokens that the broker itself asks with.
    upkeep: AppTokens,
    edition: Edition,
}

impl Upstream {
    /// The upstream of a configuration, whose direct callers draw on `share`. Of `before`, the same
    /// upstream in an earlier configuration, it keeps what is known of the keys.
    ///
    /// # Errors
    /// If no HTTP client can be built, as when the machine's root certificates cannot be read.
    pub fn new(
        config: &config::Upstream,
        share: Arc<Share>,
        clock: &SharedClock,
        metrics: &Arc<Metrics>,
        before: Option<&Self>,
    ) -> Result<Self, reqwest::Error> {
        let same_place = before.filter(|before| before.config.base_url == config.base_url);
        let pool = Pool::new(config, clock.clone(), metrics.clone(), same_place.map(|before| &before.pool))?;
        let upkeep = AppTokens::new(UPKEEP.into(), 1, terms(config), clock.now());
        // An edition of its own: a token of the upstream as it was before is not taken for one of this.
        Ok(Self { config: config.clone(), pool, share, upkeep, edition: Editions::default().current() })
    }

    /// What it was made of.
    #[must_use]
    pub fn config(&self) -> &config::Upstream {
        &self.config
    }

    /// Who draws on its account.
    #[must_use]
    pub fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// Takes out of use the keys that `successor`, the same upstream from now on, has not.
    pub fn retire(&self, successor: Option<&Self>) {
        self.pool.retire(successor.map(|successor| &successor.pool));
    }

    /// Where its tokens work: up to and with `/api/v1`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.config.base_url
    }

    /// Whether any of its keys is out of quarantine.
    #[must_use]
    pub fn has_usable_key(&self) -> bool {
        self.pool.has_usable_key()
    }

    /// The status queries a second that one direct caller may make.
    #[must_use]
    pub fn queries_per_second(&self, now: Instant) -> f64 {
        self.share.of(self.config.queries_per_second, now)
    }

    /// Tries its quarantined keys once.
    pub async fn probe(&self) {
        probe::probe(&self.pool).await;
    }

    /// Takes a status query of the relay from the account's budget, `burst` of them at once.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take_query(&self, burst: u32, now: Instant) -> Result<(), Duration> {
        self.share.take_query(self.config.queries_per_second, burst, now)
    }

    /// Takes a status query of the relay from what all replicas take of the account's budget, `burst` of them at once;
    /// under the lease of `service`'s poller of that `fence`, or under none.
    ///
    /// # Errors
    /// If there is nothing that replicas share, or it is away.
    pub async fn draw_query(
        &self,
        service: Service<'_>,
        burst: u32,
        fence: Option<&str>,
        now: Instant,
    ) -> Result<Queried, Away> {
        self.share.draw_query((service, self.config.queries_per_second), burst, fence, now).await
    }

    /// From now on the relay asks by this replica's share.
    pub fn fall_back(&self, now: Instant) {
        self.share.fall_back(self.config.queries_per_second, now);
    }

    /// For how long this replica has direct callers.
    #[must_use]
    pub fn direct(&self, now: Instant) -> Duration {
        self.share.direct(now)
    }

    /// What the replicas know of its account.
    pub fn attended(&self, attended: &Attended, now: Instant) {
        self.share.attended(attended, now);
    }

    /// How long it is until the relay may ask.
    #[must_use]
    pub fn query_wait(&self, now: Instant) -> Duration {
        self.share.query_wait(self.config.queries_per_second, 1, now)
    }

    /// The upstream answered a query of the relay: refused it, for as long as it says, or served it.
    pub fn query_answered(&self, refused: Option<Option<Duration>>, now: Instant) {
        self.share.answered(refused, now);
    }

    /// What the broker itself asks with, as the upstream in this place of the site.
    #[must_use]
    pub fn upkeep<'s>(self: &'s Arc<Self>, place: usize) -> (Source<'s>, UpstreamUse) {
        let source = Source { tokens: &self.upkeep, upstream: self, is_direct: false };
        (source, UpstreamUse::upkeep(place, self.edition.clone()))
    }

    pub(super) fn hand_out(&self, live: Arc<Live<Minted>>, is_direct: bool) -> LiveToken {
        if is_direct {
            self.share.handed_out();
        }
        LiveToken(live)
    }
}

/// A hash of where the tokens of an upstream work, and for whom.
fn terms(config: &config::Upstream) -> [u8; 32] {
    let text = format!("valet upkeep 1 {:?} {:?}", config.base_url, config.account);
    digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}
