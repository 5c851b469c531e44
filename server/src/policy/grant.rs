//! What a caller gets: made by [`Policy`](super::Policy) alone.

use std::{sync::Arc, time::Duration};

use valet_pacing::Quota;

use super::Edition;
use crate::{
    config::{Lifetime, Mode, Quotas, Scope, Sharing},
    identity::{Caller, Subject},
};

/// What this caller gets this time; only [`Policy::decide`](super::Policy::decide) makes one.
#[derive(Debug)]
pub struct Grant<'s> {
    pub(super) caller: Caller<'s>,
    pub(super) subject: Option<Subject>,
    pub(super) quotas: &'s Quotas,
    pub(super) granted: Granted,
}

/// What a grant is for.
#[derive(Clone, Debug)]
pub enum Granted {
    /// A token of the upstream's own.
    Direct(UpstreamUse),
    /// A relay token.
    Relay(RelayGrant),
}

/// What a relay token may say.
#[derive(Clone, Debug)]
pub struct RelayGrant {
    /// The app.
    pub app: Arc<str>,
    /// The end user.
    pub subject: Option<Subject>,
    /// The credential that it was asked for by.
    pub proof: Arc<str>,
    /// The class of lifetime.
    pub lifetime: Lifetime,
    /// When it ends at the latest, in Unix time.
    pub until: Option<Duration>,
    /// What it opens.
    pub scope: Arc<Scope>,
}

impl Granted {
    /// The class of lifetime.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        match self {
            Self::Direct(upstream_use) => upstream_use.lifetime,
            Self::Relay(grant) => grant.lifetime,
        }
    }

    /// What kind of token it is for.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Self::Direct(_) => Mode::Direct,
            Self::Relay(_) => Mode::Relay,
        }
    }
}

impl<'s> Grant<'s> {
    /// Who it is for.
    #[must_use]
    pub fn caller(&self) -> &Caller<'s> {
        &self.caller
    }

    /// The end user the app named.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// How much the app and its subjects may ask for.
    #[must_use]
    pub fn quotas(&self) -> &'s Quotas {
        self.quotas
    }

    /// What may be had. Admission alone calls this, once the limits are taken; a test of the source holds
    /// everyone else to it.
    pub(crate) fn granted(&self) -> &Granted {
        &self.granted
    }
}

/// The right to take a token of an upstream from the cache.
#[derive(Clone, Debug)]
pub struct UpstreamUse {
    /// Which upstream of the site.
    pub upstream: usize,
    /// The place, among the app's classes, of the class of lifetime.
    pub class: usize,
    /// The class of lifetime.
    pub lifetime: Lifetime,
    /// Whether callers of the app share the token.
    pub sharing: Sharing,
    /// The least life the token must have left.
    pub min_ttl: Duration,
    /// The SHA-256 of a token that must not be handed out again.
    pub rejected: Option<[u8; 32]>,
    /// How fast tokens are minted for the app.
    pub mints: Quota,
    pub(super) edition: Edition,
}

impl UpstreamUse {
    /// For the broker's own upkeep: a token that it asks with itself.
    #[must_use]
    pub fn upkeep(upstream: usize, edition: Edition) -> Self {
        Self {
            upstream,
            class: 0,
            lifetime: Lifetime::UPKEEP,
            sharing: Sharing::App,
            min_ttl: Duration::ZERO,
            rejected: None,
            mints: Quota::new(60, Duration::from_secs(60), 20),
            edition,
        }
    }

    /// The same use, by another token than the one of this SHA-256.
    #[must_use]
    pub fn without(self, sha256: [u8; 32]) -> Self {
        Self { rejected: Some(sha256), ..self }
    }

    /// The edition of the policy that it was granted under.
    #[must_use]
    pub fn edition(&self) -> &Edition {
        &self.edition
    }
}

/// The right to call the upstream for a caller of the relay; only [`Policy::permit`](super::Policy::permit) and
/// [`Policy::access`](super::Policy::access) make one.
#[derive(Debug)]
pub struct Permit(pub(super) UpstreamUse);

impl Permit {
    /// What may be had of the upstream.
    #[must_use]
    pub fn into_upstream_use(self) -> UpstreamUse {
        self.0
    }
}
