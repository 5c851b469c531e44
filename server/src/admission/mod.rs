//! Grant → Admitted: takes from the app's limits. A refusal takes nothing.

use std::time::{Duration, Instant};

use valet_pacing::RateBudget;

use crate::policy::{Grant, UpstreamUse};

/// The limits of an app: how much is used of them. What they allow comes with each grant, so that a
/// changed policy acts at once and without a reset.
#[derive(Debug)]
pub struct Limits {
    rate: RateBudget,
}

impl Limits {
    /// Nothing used yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { rate: RateBudget::new(now) }
    }

    /// Takes `grant` from the limits.
    ///
    /// # Errors
    /// The limit that was reached.
    pub fn admit<'s>(&self, grant: Grant<'s>, now: Instant) -> Result<Admitted<'s>, LimitReached> {
        match self.rate.take(now, grant.rate()) {
            Ok(()) => Ok(Admitted(grant)),
            Err(retry_after) => Err(LimitReached { limit: "rate", retry_after }),
        }
    }
}

/// A grant within the limits; issuing takes it by value, so none is used twice.
#[derive(Debug)]
pub struct Admitted<'s>(Grant<'s>);

impl Admitted<'_> {
    /// The right to take a token from the cache.
    #[must_use]
    pub fn into_upstream_use(self) -> UpstreamUse {
        self.0.into_upstream_use()
    }
}

/// A limit of the app was reached.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the app's {limit} limit is reached")]
pub struct LimitReached {
    /// The limit's name in the configuration.
    pub limit: &'static str,
    /// The exact time until there is room again.
    pub retry_after: Duration,
}
