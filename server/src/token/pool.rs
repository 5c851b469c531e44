//! The keys of one upstream: which one mints, and what each outcome says of it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use data_encoding::HEXLOWER;
use tracing::Instrument;
use valet_clock::{ClockExt, SharedClock};

use super::{
    Failure, Kind, Metrics, Minted,
    dashscope::{DashScope, Token},
    health::Health,
    slot::Live,
};
use crate::{
    config::{self, Lifetime},
    policy::UpstreamUse,
    secret::Bearer,
    shared_redis::Taken,
};

/// How long one attempt may take, all keys together.
const ATTEMPT: Duration = Duration::from_secs(3);

/// What each key gets of it at least.
const LEAST_SHARE: Duration = Duration::from_secs(1);

/// A token that the upstream grants less life is of no use: it is stale before the next one is there.
const SHORTEST_LIFE: Duration = Duration::from_secs(6);

/// The name of an upstream key in logs and records: the start of its SHA-256.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// The name of `key`.
    #[must_use]
    pub fn of(key: &Bearer) -> Self {
        Self(HEXLOWER.encode(&key.sha256()[..4]).into())
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A long-lived key of an upstream.
#[derive(Debug)]
pub(super) struct Key {
    id: KeyId,
    secret: Bearer,
    pub(super) health: Health,
}

impl Key {
    fn new(secret: Bearer) -> Self {
        Self { id: KeyId::of(&secret), secret, health: Health::default() }
    }

    pub(super) fn id(&self) -> &KeyId {
        &self.id
    }

    /// The SHA-256 of the key, by which replicas know it.
    pub(super) fn sha256(&self) -> [u8; 32] {
        self.secret.sha256()
    }
}

/// An upstream and its keys.
#[derive(Debug)]
pub(super) struct Pool {
    name: Arc<str>,
    upstream: DashScope,
    /// In order of preference.
    keys: Vec<Arc<Key>>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
}

impl Pool {
    /// The pool of a configuration. Keys of `before`, a pool at the same base URL, keep their health.
    pub(super) fn new(
        upstream: &config::Upstream,
        clock: SharedClock,
        metrics: Arc<Metrics>,
        before: Option<&Self>,
    ) -> Result<Self, reqwest::Error> {
        let known = before.map_or(&[][..], |before| &before.keys);
        let key = |secret: &Bearer| {
            let found = known.iter().find(|key| key.secret == *secret);
            found.cloned().unwrap_or_else(|| Arc::new(Key::new(secret.clone())))
        };
        let client = match before {
            Some(before) => before.upstream.clone(),
            None => DashScope::new(&upstream.base_url)?,
        };
        let keys: Vec<_> = upstream.keys.iter().map(key).collect();
        for key in &keys {
            metrics.key_usable(&upstream.name, key.id(), !key.health.is_withdrawn());
        }
        Ok(Self { name: upstream.name.clone(), upstream: client, keys, clock, metrics })
    }

    /// Takes out of use the keys that `successor` has not.
    pub(super) fn retire(&self, successor: Option<&Self>) {
        let kept = successor.map_or(&[][..], |successor| &successor.keys);
        for key in self.keys.iter().filter(|key| !kept.iter().any(|kept| Arc::ptr_eq(kept, key))) {
            key.health.remove();
            if !kept.iter().any(|kept| kept.id == key.id) {
                self.metrics.key_removed(&self.name, key.id());
            }
            tracing::info!(upstream = %self.name, key = %key.id, "upstream key removed");
        }
    }

    /// The upstream's name in the configuration.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether any key is out of quarantine.
    pub(super) fn has_usable_key(&self) -> bool {
        self.keys.iter().any(|key| !key.health.is_quarantined())
    }

    /// The keys in quarantine.
    pub(super) fn quarantined(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.iter().filter(|key| key.health.is_quarantined())
    }

    /// One attempt: each usable key once, in order, until one mints or the time is up.
    pub(super) async fn mint(&self, upstream_use: &UpstreamUse) -> Result<Live<Minted>, Failure> {
        let now = self.clock.now();
        let (end, mut failures) = (now + ATTEMPT, Vec::new());
        let usable: Vec<_> = self.keys.iter().filter(|key| key.health.is_usable(now)).collect();
        for (tried, key) in usable.iter().enumerate() {
            let left = end.saturating_duration_since(self.clock.now());
            if left.is_zero() {
                break;
            }
            // A silent key leaves time for those behind it, a slow one gets enough of it.
            let share = left / u32::try_from(usable.len() - tried).unwrap_or(u32::MAX);
            match self.mint_with(key, upstream_use.lifetime, share.max(LEAST_SHARE).min(left)).await {
                Ok((token, sent)) => match self.live(token, sent, key, upstream_use) {
                    Some(live) => return Ok(live),
                    None => failures.push(Failure::of(Kind::Malformed)),
                },
                Err(failure) => failures.push(failure),
            }
        }
        // The key that may be well again first decides when to try again.
        Err(failures
            .into_iter()
            .min_by_key(|failure| failure.retry_after)
            .unwrap_or_else(|| self.none_usable()))
    }

    /// Mints with one key and notes what that says of its health.
    pub(super) async fn mint_with(
        &self,
        key: &Key,
        lifetime: Lifetime,
        limit: Duration,
    ) -> Result<(Token, Sent), Failure> {
        let sent = Sent { at: self.clock.now(), unix: self.clock.unix() };
        let outcome = self.call(key, lifetime, limit).await;
        let took = self.clock.now().saturating_duration_since(sent.at);
        self.metrics.minted(&self.name, key.id(), took, outcome.as_ref().err().map(|f| f.kind));
        match outcome {
            Ok(token) => {
                if key.health.worked(sent.at) {
                    self.metrics.key_usable(&self.name, key.id(), true);
                    tracing::info!(upstream = %self.name, key = %key.id, "upstream key works again");
                }
                Ok((token, sent))
            }
            Err(failure) => {
                let quarantined = key.health.failed(&failure, self.clock.now());
                if quarantined {
                    self.metrics.key_usable(&self.name, key.id(), false);
                }
                let (kind, code) = (failure.kind.name(), failure.code.as_deref());
                let request_id = failure.request_id.as_deref();
                tracing::warn!(upstream = %self.name, key = %key.id, kind, code, request_id, quarantined, "mint failed");
                Err(failure)
            }
        }
    }

    /// The mint call itself, for at most `limit`.
    async fn call(&self, key: &Key, lifetime: Lifetime, limit: Duration) -> Result<Token, Failure> {
        let span = tracing::info_span!(
            "mint_call",
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            upstream = &*self.name,
            key = %key.id,
            outcome = tracing::field::Empty,
            upstream_request_id = tracing::field::Empty,
        );
        let call = self.upstream.mint(&key.secret, lifetime.seconds()).instrument(span.clone());
        let outcome =
            self.clock.timeout(limit, call).await.unwrap_or_else(|_| Err(Failure::of(Kind::Timeout)));
        let (word, request_id) = match &outcome {
            Ok(token) => ("ok", &token.request_id),
            Err(failure) => (failure.kind.name(), &failure.request_id),
        };
        span.record("outcome", word).record("upstream_request_id", request_id.as_deref());
        if outcome.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        outcome
    }

    /// The token as it is kept; `None` if it lives too briefly to be.
    fn live(
        &self,
        token: Token,
        sent: Sent,
        key: &Arc<Key>,
        upstream_use: &UpstreamUse,
    ) -> Option<Live<Minted>> {
        let life = self.life(&token, sent, upstream_use.lifetime);
        if life < SHORTEST_LIFE {
            tracing::warn!(upstream = %self.name, ?life, "the upstream granted too short a life");
            return None;
        }
        let minted = Minted {
            sha256: token.bearer.sha256(),
            bearer: token.bearer,
            key: key.clone(),
            edition: upstream_use.edition().clone(),
            request_id: token.request_id,
            fence: 0,
        };
        Some(Live::new(minted, sent.at, life, fastrand::f64()))
    }

    /// A token that another replica has minted, as it is kept here; `None` if its key is none of this pool's, or it
    /// was granted for longer than is asked for. `asked` is when it was asked for: it has no less left now than it had then.
    pub(super) fn adopt(
        &self,
        taken: Taken,
        asked: Instant,
        upstream_use: &UpstreamUse,
    ) -> Option<Live<Minted>> {
        let key = self.keys.iter().find(|key| key.sha256() == taken.key)?;
        if taken.life > upstream_use.lifetime.duration() {
            return None;
        }
        // This clock may have begun after the token did.
        let sent = asked.checked_sub(taken.life - taken.remaining).unwrap_or(asked);
        let life = taken.life.min(taken.remaining + asked.saturating_duration_since(sent));
        let minted = Minted {
            sha256: taken.bearer.sha256(),
            bearer: taken.bearer,
            key: key.clone(),
            edition: upstream_use.edition().clone(),
            request_id: taken.request_id.map(Into::into),
            fence: taken.fence,
        };
        Some(Live::new(minted, sent, life, fastrand::f64()))
    }

    /// The life that was asked for, or what the upstream granted by its own clock if that is less.
    fn life(&self, token: &Token, sent: Sent, asked: Lifetime) -> Duration {
        let Some(date) = token.date else { return asked.duration() };
        let skew = date.as_secs_f64() - sent.unix.as_secs_f64();
        self.metrics.skew(&self.name, skew);
        if skew.abs() > 5.0 {
            tracing::warn!(upstream = %self.name, skew, "this machine's clock and the upstream's differ");
        }
        let granted = Duration::from_secs(token.expires_at).saturating_sub(date);
        // Both are whole seconds of the upstream's: one of them is rounding.
        if granted + Duration::from_secs(1) < asked.duration() { granted } else { asked.duration() }
    }

    fn none_usable(&self) -> Failure {
        let throttled = self.has_usable_key();
        Failure::of(if throttled { Kind::Throttled } else { Kind::NoUsableKey })
    }
}

/// When a mint was sent, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    at: Instant,
    unix: Duration,
}
