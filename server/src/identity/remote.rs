//! Public keys that an issuer publishes: fetched with guards, ahead of their age, kept through an outage.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{Client, redirect};
use valet_clock::{ClockExt, SharedClock};

use crate::{config::JwksUrl, jwt::KeySet, net::PublicOnly};

/// A set of a few keys has a few kilobytes.
const LARGEST: usize = 256 << 10;
/// How long a fetch may take, and a request that needs it.
const LIMIT: Duration = Duration::from_secs(3);
/// How long a set is good for, unless it says so itself; and what it may say.
const LIFE: Duration = Duration::from_secs(3600);
const LIVES: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(24 * 3600));
/// How long after that a set is still used while no other can be had.
const OUTAGE: Duration = Duration::from_secs(24 * 3600);
/// How soon after a try the next one may be, whoever asks.
const PAUSE: Duration = Duration::from_secs(30);

/// The keys behind one URL.
pub(super) struct Remote {
    source: JwksUrl,
    client: Client,
    clock: SharedClock,
    state: Mutex<State>,
    /// Held by whoever fetches: the others wait for the same.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Option<Kept>,
    tried: Option<Instant>,
}

#[derive(Clone)]
struct Kept {
    keys: Arc<KeySet>,
    at: Instant,
    life: Duration,
}

impl Remote {
    /// # Errors
    /// If no HTTP client can be built.
    pub(super) fn new(source: &JwksUrl, clock: &SharedClock) -> Result<Self, reqwest::Error> {
        let mut builder = Client::builder().redirect(redirect::Policy::none());
        if !source.allow_private {
            builder = builder.dns_resolver(Arc::new(PublicOnly));
        }
        if source.url.scheme() == "http" {
            // Plain HTTP is for this machine only, where no proxy leads.
            builder = builder.no_proxy();
        }
        Ok(Self {
            source: source.clone(),
            client: builder.build()?,
            clock: clock.clone(),
            state: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn source(&self) -> &JwksUrl {
        &self.source
    }

    /// The keys in hand, unless they are too old to be used without a look for others. Keys that will soon
    /// be are looked for in the background.
    pub(super) fn fresh(self: &Arc<Self>) -> Option<Arc<KeySet>> {
        let now = self.clock.now();
        let kept = self.lock().keys.clone()?;
        let age = now.saturating_duration_since(kept.at);
        if age >= kept.life {
            return None;
        }
        if age >= kept.life.mul_f64(0.8) && self.may_try(now) {
            let remote = self.clone();
            tokio::spawn(async move { remote.renew(None).await });
        }
        Some(kept.keys)
    }

    /// The keys in hand, of any age that is not beyond an outage.
    pub(super) fn any(&self) -> Option<Arc<KeySet>> {
        let now = self.clock.now();
        let kept = self.lock().keys.clone()?;
        (now.saturating_duration_since(kept.at) < kept.life + OUTAGE).then_some(kept.keys)
    }

    /// Fetches the keys, unless somebody did so just now; `seen` are those that did not do.
    pub(super) async fn renew(&self, seen: Option<&Arc<KeySet>>) {
        let _flight = self.flight.lock().await;
        let now = self.clock.now();
        let is_another = |keys: &Arc<KeySet>| seen.is_some_and(|seen| !Arc::ptr_eq(seen, keys));
        if !self.may_try(now) || self.lock().keys.as_ref().is_some_and(|kept| is_another(&kept.keys)) {
            return;
        }
        self.lock().tried = Some(now);
        let fetched = self.clock.timeout(LIMIT, self.fetch()).await;
        match fetched.unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs()))) {
            Ok((keys, life)) => {
                self.lock().keys = Some(Kept { keys: Arc::new(keys), at: now, life });
            }
            Err(problem) => {
                tracing::warn!(url = %self.source.url, problem, "an issuer's keys cannot be had");
            }
        }
    }

    fn may_try(&self, now: Instant) -> bool {
        self.lock().tried.is_none_or(|tried| now.saturating_duration_since(tried) >= PAUSE)
    }

    async fn fetch(&self) -> Result<(KeySet, Duration), String> {
        let request = self.client.get(self.source.url.clone());
        let mut response = request.send().await.map_err(|error| innermost(&error))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(format!("status {status}"));
        }
        let told = response.headers().get(reqwest::header::CACHE_CONTROL);
        let life = told.and_then(|value| max_age(value.to_str().ok()?));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| innermost(&error))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(format!("more than {LARGEST} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        let keys = KeySet::published(&body)?;
        Ok((keys, life.unwrap_or(LIFE).clamp(LIVES.0, LIVES.1)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("url", &self.source.url.as_str()).finish_non_exhaustive()
    }
}

/// `max-age` of a `Cache-Control` (RFC 9111 §5.2.2.1).
fn max_age(text: &str) -> Option<Duration> {
    let directives = text.split(',').filter_map(|directive| directive.trim().split_once('='));
    let mut ages = directives.filter(|(name, _)| name.eq_ignore_ascii_case("max-age"));
    ages.next()?.1.trim_matches('"').parse().ok().map(Duration::from_secs)
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_that_a_server_names_is_read() {
        assert_eq!(max_age("public, max-age=600, must-revalidate"), Some(Duration::from_secs(600)));
        assert_eq!(max_age("no-store"), None);
        assert_eq!(max_age("max-age=x"), None);
    }
}
