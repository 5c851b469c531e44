//! Why there is no token, and for how long to believe it.

use std::{sync::Arc, time::Duration};

/// What went wrong.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// The upstream does not accept the key.
    InvalidKey,
    /// The upstream refuses the key something else: rights, unpaid bills.
    Refused,
    /// The upstream asks for fewer mints.
    Throttled,
    /// The upstream answered with a fault of its own.
    Unavailable,
    /// The upstream answered something that is no token response.
    Malformed,
    /// The upstream was not reached.
    Unreachable,
    /// The upstream did not answer in time.
    Timeout,
    /// No key of the upstream is usable.
    NoUsableKey,
    /// The app's cap on mints is reached.
    MintCap,
    /// The upstream grants tokens that live more briefly than was asked for.
    TooShort,
    /// The replicas' shared state is away, and nothing is minted that the others do not know of.
    SharedAway,
    /// The policy or the key changed while the token was minted, or the mint was given up.
    Superseded,
}

impl Kind {
    /// Its name in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidKey => "invalid_key",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Malformed => "malformed",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::NoUsableKey => "no_usable_key",
            Self::MintCap => "mint_cap",
            Self::TooShort => "too_short",
            Self::SharedAway => "shared_state_away",
            Self::Superseded => "superseded",
        }
    }

    /// How long a slot believes it before it tries again.
    ///
    /// The shortest time that spares a failing upstream a request for every caller, and the longest
    /// that a recovery may go unnoticed.
    fn memory(self) -> Duration {
        match self {
            // The key is out of the pool already; what is remembered is that the others failed too.
            Self::InvalidKey | Self::NoUsableKey | Self::Refused | Self::SharedAway => Duration::from_secs(1),
            Self::Throttled => Duration::from_secs(2),
            Self::TooShort | Self::Unavailable | Self::Malformed | Self::Unreachable | Self::Timeout => {
                Duration::from_millis(800)
            }
            Self::MintCap | Self::Superseded => Duration::ZERO,
        }
    }
}

/// A mint that failed, as everyone who waited for it gets it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no token could be had of the upstream: {}", .kind.name())]
pub struct Failure {
    /// What went wrong.
    pub kind: Kind,
    /// The upstream's error code, if it gave one; letters, digits, `.` and `_` only.
    pub code: Option<Arc<str>>,
    /// The upstream's request id, if it gave one.
    pub request_id: Option<Arc<str>>,
    /// How long to wait before asking again.
    pub retry_after: Duration,
}

impl Failure {
    /// A failure of a kind, of which nothing more is known.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self { kind, code: None, request_id: None, retry_after: kind.memory() }
    }

    /// For how long it is remembered: as long as callers are told to wait.
    pub(super) fn memory(&self) -> Duration {
        if self.kind == Kind::MintCap { Duration::ZERO } else { self.retry_after }
    }
}
