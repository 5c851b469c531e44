//! Credential → Caller. Knows who asks, not what they may have, and no status code.

mod apps;
mod assertion;
mod holder;
mod keys;
mod record;
mod remote;
mod replay;
mod subject;
mod verified;

use std::{fmt, sync::Arc, time::Duration};

pub use self::{
    apps::{App, Apps},
    holder::Holder,
    keys::{Fetch, Reach},
    record::{Record, Revoked},
    subject::Subject,
};
use crate::{secret::SecretHash, shared_redis::Away};

/// What a caller shows to prove who it is.
#[derive(Debug)]
pub enum Credential {
    /// An app's id and the hash of its secret.
    IdAndSecret {
        /// The id as it was sent, of any length and content.
        app: String,
        /// The hash of the secret as it was sent.
        secret: SecretHash,
    },
    /// The hash of an app's secret alone; the secret names its app.
    Secret(SecretHash),
    /// A token that the app signed (RFC 7523 §2.2).
    Assertion {
        /// The app that it is said to be of, if that was said.
        app: Option<String>,
        /// The token.
        token: Token,
    },
    /// Nothing but to sit at this machine, where the playground signs its user in as an app.
    AtThisMachine {
        /// The id of the app.
        app: String,
    },
    /// A token by which an identity provider vouches for an app's user.
    Subject {
        /// The app that it is for, if that was said; or its own credential.
        by: By,
        /// The token.
        token: Token,
    },
}

/// Who shows a subject token.
#[derive(Debug)]
pub enum By {
    /// Anyone who has it: it is for the app that accepts it.
    Anyone,
    /// An app that names itself.
    App(String),
    /// An app that proves itself as well.
    Proved(Box<Credential>),
}

/// A JSON Web Token as it was sent, of any content. No `Debug` shows it.
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Credential {
    /// An id and a secret as they were sent.
    #[must_use]
    pub fn id_and_secret(app: String, secret: &[u8]) -> Self {
        Self::IdAndSecret { app, secret: SecretHash::of(secret) }
    }

    /// A secret alone, as it was sent.
    #[must_use]
    pub fn secret(secret: &[u8]) -> Self {
        Self::Secret(SecretHash::of(secret))
    }

    /// A token that an app signed, as it was sent.
    #[must_use]
    pub fn assertion(app: Option<String>, token: String) -> Self {
        Self::Assertion { app, token: Token(token) }
    }

    /// A subject token, as it was sent.
    #[must_use]
    pub fn subject(by: By, token: String) -> Self {
        Self::Subject { by, token: Token(token) }
    }
}

/// Who makes this request; only [`Apps::identify`] makes one.
#[derive(Debug)]
pub struct Caller<'s> {
    app: &'s App,
    proof: &'s Arc<str>,
    /// In a box: hardly any caller has it, and every caller is moved about.
    vouched: Option<Box<Vouched>>,
}

/// For whom an issuer vouches.
#[derive(Clone, Debug)]
pub struct Vouched {
    /// The end user.
    pub subject: Subject,
    /// Until when, in Unix time.
    pub until: Duration,
}

impl<'s> Caller<'s> {
    /// The app, as identity knows it.
    #[must_use]
    pub fn app(&self) -> &'s App {
        self.app
    }

    /// The name of the credential that it used: withdrawn, it is no name of the app's any more.
    #[must_use]
    pub fn proof(&self) -> &'s Arc<str> {
        self.proof
    }

    /// The end user, if an identity provider vouched for one.
    #[must_use]
    pub fn vouched(&self) -> Option<&Vouched> {
        self.vouched.as_deref()
    }
}

#[cfg(test)]
impl Caller<'_> {
    /// The same caller as if an issuer vouched for a user of its.
    pub(crate) fn vouched_for(self, vouched: Vouched) -> Self {
        Self { vouched: Some(Box::new(vouched)), ..self }
    }
}

/// Why a credential was not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unidentified {
    /// Nothing was shown.
    #[error("no credential was sent")]
    Missing,
    /// What was shown cannot be read as a credential.
    #[error("{0}")]
    Malformed(&'static str),
    /// More than one credential was sent, in different ways.
    #[error("there is more than one credential: send one, in the header or in the form")]
    TwoMethods,
    /// No such app, or not its secret: which of the two is not said.
    #[error("the app id or secret is wrong")]
    Wrong,
    /// The app's own token proves nothing.
    #[error("client_assertion: {0}")]
    Assertion(&'static str),
    /// No relay token that opens anything: forged, expired, revoked or withdrawn, which is not said.
    #[error("the relay token is not valid, or not any more")]
    RelayToken,
    /// The token of an identity provider proves nothing.
    #[error("the subject token: {0}")]
    Subject(&'static str),
    /// The keys that would prove it cannot be had.
    #[error("the issuer's keys cannot be had now")]
    NoKeys,
    /// There is no room to remember that an assertion was used.
    #[error("too many assertions are in use at once")]
    Crowded,
    /// Keys should be fetched first: then it is worth another look.
    #[error("the issuer's keys are looked for")]
    Fetch(Fetch),
    /// Whether it was used before cannot be known.
    #[error(transparent)]
    Away(#[from] Away),
    /// It should be recorded first, with all replicas: then it is worth another look.
    #[error("the state that the replicas share was not asked")]
    Record(Record),
    /// The credential is right, and the app is switched off.
    #[error("the app is disabled")]
    Disabled(
        /// The app's id.
        Arc<str>,
    ),
}

impl Unidentified {
    /// Whether nobody at all was proved: of a disabled app the credential is right, and where keys are
    /// missing nothing is known.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        !matches!(
            self,
            Self::Disabled(_)
                | Self::NoKeys
                | Self::Crowded
                | Self::Fetch(_)
                | Self::Away(_)
                | Self::Record(_)
        )
    }
}

/// One look at a credential.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The time, since the Unix epoch.
    pub now: Duration,
    /// How far it may go for keys.
    pub reach: Reach,
    /// Whether it is the first of its request that got so far as to use up what may be used once.
    pub is_first: bool,
    /// Whether all replicas know that it is used up.
    pub is_recorded: bool,
}

#[cfg(test)]
mod tests;
