//! Admitted → token: the cache of upstream tokens and how they are minted. Knows no status code.

mod cache;
mod dashscope;
mod exchange;
mod failure;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod health;
mod inspector;
mod metrics;
mod pool;
mod probe;
mod share;
mod slot;
mod upstream;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use self::slot::Live;
pub use self::{
    cache::{AppTokens, Cache, Source},
    failure::{Failure, Kind},
    inspector::{Inspector, Unreached},
    metrics::{KeyChange, Metrics},
    pool::KeyId,
    probe::PROBE_INTERVAL,
    share::Share,
    upstream::Upstream,
};
use crate::{policy::Edition, secret::Bearer};

/// What a mint yields: an upstream token and where it came from. There may be a million, so it holds nothing that can
/// be reckoned from the rest.
#[derive(Debug)]
struct Minted {
    bearer: Bearer,
    /// Its SHA-256, by which a client names a token that the upstream refused.
    sha256: [u8; 32],
    /// The key it was minted from, whose health decides whether it is handed out.
    key: Arc<pool::Key>,
    /// The edition of the policy it was minted under.
    edition: Edition,
    /// The upstream's name for the mint.
    request_id: Option<Arc<str>>,
    /// Its place in the order of the replicas' mints; 0 if the others know nothing of it.
    fence: u64,
}

/// A live upstream token, to be handed out now.
#[derive(Clone, Debug)]
pub struct LiveToken(Arc<Live<Minted>>);

impl LiveToken {
    /// The token itself.
    #[must_use]
    pub fn bearer(&self) -> &Bearer {
        &self.0.value.bearer
    }

    /// Its SHA-256.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.0.value.sha256
    }

    /// The life it has left.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> Duration {
        self.0.remaining(now)
    }

    /// The id of the upstream key it was minted from.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        self.0.value.key.id()
    }

    /// The upstream's request id of the mint, if it gave one.
    #[must_use]
    pub fn upstream_request_id(&self) -> Option<Arc<str>> {
        self.0.value.request_id.clone()
    }

    /// Whether `other` is the very same token.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
