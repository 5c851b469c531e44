//! The site: apps, policies and upstreams as one value, loaded once a request and swapped whole.

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use valet_clock::SharedClock;

use crate::{
    admission::Limits,
    config::Config,
    identity::{self, Caller},
    policy::{Generation, Policy},
    token::{self, AppTokens, LiveToken, Upstream},
};

/// Everything that a request is decided by.
#[derive(Debug)]
pub struct Site {
    /// Who may prove itself, and how.
    pub identities: identity::Apps,
    /// The upstreams, in the order of the configuration.
    pub upstreams: Vec<Arc<Upstream>>,
    entries: Vec<Entry>,
}

/// An app, as all stages together know it.
#[derive(Debug)]
pub struct Entry {
    /// What it may have.
    pub policy: Policy,
    /// What it has used of its limits.
    pub limits: Limits,
    /// Its tokens.
    pub tokens: AppTokens,
    /// Its last success body of each door.
    pub prepared: [Prepared; 2],
}

impl Site {
    /// The site of a configuration, with nothing used and nothing cached.
    ///
    /// # Errors
    /// If no HTTP client can be built for an upstream.
    pub fn new(
        config: &Config,
        clock: &SharedClock,
        metrics: &Arc<token::Metrics>,
    ) -> Result<Self, reqwest::Error> {
        let now = clock.now();
        let entry = |app| {
            let policy = Policy::new(app, Generation::default());
            let tokens = AppTokens::new(app.id.clone(), policy.classes(), now);
            Entry { policy, limits: Limits::new(now), tokens, prepared: Default::default() }
        };
        let upstream = |upstream| Upstream::new(upstream, clock.clone(), metrics.clone()).map(Arc::new);
        Ok(Self {
            identities: identity::Apps::new(&config.apps),
            upstreams: config.upstreams.iter().map(upstream).collect::<Result<_, _>>()?,
            entries: config.apps.iter().map(entry).collect(),
        })
    }

    /// The entry of the caller's app.
    #[must_use]
    pub fn entry(&self, caller: &Caller<'_>) -> &Entry {
        &self.entries[caller.app().index]
    }
}

/// A success body, kept as bytes for as long as it says the same: one token in one second.
#[derive(Debug, Default)]
pub struct Prepared(ArcSwapOption<PreparedBody>);

#[derive(Debug)]
struct PreparedBody {
    token: LiveToken,
    expires_in: u64,
    body: Bytes,
}

impl Prepared {
    /// The body for `token` with `expires_in` seconds left, rendered if it is not the one kept.
    pub fn body(&self, token: &LiveToken, expires_in: u64, render: impl FnOnce() -> Vec<u8>) -> Bytes {
        let kept = self.0.load();
        if let Some(kept) = kept.as_ref().filter(|kept| kept.expires_in == expires_in && kept.token.is(token))
        {
            return kept.body.clone();
        }
        let body = Bytes::from(render());
        let prepared = PreparedBody { token: token.clone(), expires_in, body: body.clone() };
        self.0.store(Some(Arc::new(prepared)));
        body
    }
}

/// The life of a token in whole seconds, rounded down: never more than there is.
#[must_use]
pub fn whole_seconds_left(token: &LiveToken, now: Instant) -> u64 {
    token.remaining(now).as_secs()
}
