//! Why there is no token: what each stage has to say, as one.

use crate::{
    admission::{LimitReached, Stopped},
    identity::Unidentified,
    policy::Denial,
    shared_redis::Away,
    token::Failure,
};

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// The door could not read the request.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The credential proves nobody who may ask.
    #[error(transparent)]
    Unidentified(#[from] Unidentified),
    /// The policy gives less than was asked.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// A limit is reached.
    #[error(transparent)]
    Limited(#[from] LimitReached),
    /// The decision could not be recorded, and the operator wants none that is not.
    #[error("the audit trail cannot be written")]
    Unrecorded,
    /// Limits cannot be kept together with the other replicas, and the operator wants none that are not.
    #[error(transparent)]
    Away(#[from] Away),
    /// The upstream gave none.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// What is wrong with a request before anyone looks at who sent it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreadable {
    /// A field is not what it must be.
    #[error("{field}: {problem}")]
    Field {
        /// The field, as the door calls it.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The body as a whole cannot be read.
    #[error("{0}")]
    Body(String),
    /// The body is of a type that the door does not read.
    #[error("send the body as {accepted}")]
    MediaType {
        /// What it reads.
        accepted: &'static str,
    },
    /// There is no such grant type (RFC 6749 §4).
    #[error("grant_type: the broker has client_credentials, token-exchange and jwt-bearer")]
    GrantType,
    /// A token to be revoked is the upstream's (RFC 7009 §2.2.1).
    #[error("token: is the upstream's own, which cannot be revoked; it lives to its end")]
    NotRevocable,
    /// A token exchange names a target (RFC 8693 §2.1).
    #[error("resource, audience: an app has one upstream; leave them out")]
    Target,
    /// The body is too large.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The most it may be, in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {seconds} seconds")]
    TooSlow {
        /// The time it may take.
        seconds: u64,
    },
}

impl From<Stopped> for Refusal {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Reached(reached) => reached.into(),
            Stopped::Away(away) => away.into(),
        }
    }
}

impl Refusal {
    /// One word for the audit trail and the metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Unidentified(Unidentified::Missing) => "missing_credential",
            Self::Unidentified(Unidentified::Malformed(_) | Unidentified::TwoMethods) => {
                "malformed_credential"
            }
            Self::Unidentified(Unidentified::Wrong) => "invalid_credential",
            Self::Unidentified(Unidentified::Assertion(_)) => "invalid_assertion",
            Self::Unidentified(Unidentified::Subject(_)) => "invalid_subject_token",
            Self::Unidentified(Unidentified::RelayToken) => "invalid_relay_token",
            Self::Unidentified(Unidentified::NoKeys | Unidentified::Fetch(_)) => "issuer_unavailable",
            Self::Unidentified(Unidentified::Crowded) => "too_many_assertions",
            Self::Unidentified(Unidentified::Away(_) | Unidentified::Record(_)) | Self::Away(_) => {
                "shared_state_away"
            }
            Self::Unidentified(Unidentified::Disabled(_)) => "app_disabled",
            Self::Denied(_) => "denied",
            Self::Limited(_) => "rate_limited",
            Self::Unrecorded => "unrecorded",
            Self::Failed(failure) => failure.kind.name(),
        }
    }

    /// Which of several reasons, where the word alone does not say.
    pub(crate) fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Denied(denial) => Some(denial.name()),
            Self::Limited(reached) => Some(reached.limit),
            Self::Unidentified(Unidentified::Assertion(fault) | Unidentified::Subject(fault)) => Some(fault),
            _ => None,
        }
    }
}
