//! Where the public keys of an app or issuer are: in the configuration, or behind a URL.

use std::sync::Arc;

use valet_clock::SharedClock;

use super::{Unidentified, remote::Remote};
use crate::{
    config::KeySource,
    jwt::{KeySet, Signed, Unsigned},
};

/// Keys, wherever they are.
#[derive(Clone, Debug)]
pub(super) enum Keys {
    Given(Arc<KeySet>),
    Remote(Arc<Remote>),
}

/// How far a check may go for keys that are not in hand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// Others may be fetched: the check says when that is worth it.
    MayFetch,
    /// Those in hand must do.
    InHand,
}

/// Why a signature is not accepted.
#[derive(Debug)]
pub(super) enum Unproved {
    /// It is not right.
    Unsigned(Unsigned),
    /// There are no keys to check it with.
    NoKeys,
    /// Other keys should be fetched before that is said.
    Fetch(Fetch),
}

impl Unproved {
    /// The same, as it is told; `fault` says of what the signature is not right.
    pub(super) fn unidentified(self, fault: fn(&'static str) -> Unidentified) -> Unidentified {
        match self {
            Self::Unsigned(unsigned) => fault(unsigned.text()),
            Self::NoKeys => Unidentified::NoKeys,
            Self::Fetch(keys) => Unidentified::Fetch(keys),
        }
    }
}

/// Keys that are worth a fetch.
#[derive(Clone, Debug)]
pub struct Fetch {
    remote: Arc<Remote>,
    seen: Option<Arc<KeySet>>,
}

impl Fetch {
    /// Fetches them, unless somebody did just now.
    pub async fn run(&self) {
        let Self { remote, seen } = self.clone();
        // Detached: whoever hangs up must not end it, since no other is begun for a while.
        let fetch = tokio::spawn(async move { remote.renew(seen.as_ref()).await });
        if let Err(error) = fetch.await {
            tracing::error!(%error, "a fetch of keys ended by itself");
        }
    }
}

impl PartialEq for Fetch {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.remote, &other.remote)
    }
}

impl Eq for Fetch {}

impl Keys {
    /// The keys of `source`; those behind a URL are the ones that `known` has, if it knows the URL.
    pub(super) fn of(
        source: &KeySource,
        known: &[Arc<Remote>],
        clock: &SharedClock,
    ) -> Result<Self, reqwest::Error> {
        match source {
            KeySource::Given(keys) => Ok(Self::Given(keys.clone())),
            KeySource::Url(source) => {
                let known = known.iter().find(|remote| remote.source() == source);
                let remote = known.cloned().map_or_else(|| Remote::new(source, clock).map(Arc::new), Ok)?;
                Ok(Self::Remote(remote))
            }
        }
    }

    pub(super) fn remote(&self) -> Option<&Arc<Remote>> {
        match self {
            Self::Given(_) => None,
            Self::Remote(remote) => Some(remote),
        }
    }

    /// Checks the signature of `token`.
    pub(super) fn verify(&self, token: &str, reach: Reach) -> Result<Signed, Unproved> {
        let remote = match self {
            Self::Given(keys) => return keys.verify(token).map_err(Unproved::Unsigned),
            Self::Remote(remote) => remote,
        };
        let fetch = |seen| Unproved::Fetch(Fetch { remote: remote.clone(), seen });
        let keys = match (remote.fresh(), reach) {
            (Some(keys), _) => keys,
            (None, Reach::MayFetch) => return Err(fetch(remote.any())),
            (None, Reach::InHand) => remote.any().ok_or(Unproved::NoKeys)?,
        };
        match keys.verify(token) {
            // It may have been published since.
            Err(Unsigned::UnknownKey) if reach == Reach::MayFetch => Err(fetch(Some(keys))),
            outcome => outcome.map_err(Unproved::Unsigned),
        }
    }
}
