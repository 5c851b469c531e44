//! Asks an upstream what an examination wants to know; keeps nothing, counts nothing.

use std::{error::Error, io, time::Duration};

use url::Url;
use valet_clock::{ClockExt, SharedClock};

use super::{Failure, Kind, dashscope::DashScope};
use crate::{config, secret::Bearer};

/// How long each question may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The shortest life that can be asked for, in seconds (Model Studio, *Generate a temporary API key*).
const SHORTEST: u32 = 1;

/// Examines one upstream.
#[derive(Debug)]
pub struct Inspector {
    upstream: DashScope,
    base_url: String,
    clock: SharedClock,
}

/// Why an upstream is not reached, by the step that fails.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unreached {
    /// Its host's name has no address.
    Name(String),
    /// No connection comes about.
    Connection(String),
    /// No TLS comes about.
    Tls(String),
    /// It does not answer what it is asked.
    Silence,
}

impl Inspector {
    /// Of the upstream of a configuration.
    ///
    /// # Errors
    /// If no HTTP client can be built, as when the machine's root certificates cannot be read.
    pub fn new(upstream: &config::Upstream, clock: &SharedClock) -> Result<Self, reqwest::Error> {
        let base_url = upstream.base_url.to_string();
        Ok(Self { upstream: DashScope::new(&base_url)?, base_url, clock: clock.clone() })
    }

    /// Reaches the upstream, without a key. The seconds that its clock is ahead of this machine's at least,
    /// if it dates its answers.
    ///
    /// # Errors
    /// The step that fails.
    pub async fn reach(&self) -> Result<Option<f64>, Unreached> {
        let sent = self.clock.unix();
        match self.clock.timeout(LIMIT, self.upstream.greet()).await {
            Err(_) => Err(Unreached::Silence),
            Ok(Err(error)) => Err(self.why(&error).await),
            Ok(Ok(date)) => Ok(date.map(|date| skew(date, sent, self.clock.unix()))),
        }
    }

    /// Mints the shortest token with `key`, and drops it.
    ///
    /// # Errors
    /// If the upstream gives none.
    pub async fn mint(&self, key: &Bearer) -> Result<(), Failure> {
        let minted = self.clock.timeout(LIMIT, self.upstream.mint(key, SHORTEST)).await;
        minted.unwrap_or_else(|_| Err(Failure::of(Kind::Timeout))).map(|_token| ())
    }

    /// The account that `key` belongs to, if the upstream tells.
    pub async fn account(&self, key: &Bearer) -> Option<String> {
        self.clock.timeout(LIMIT, self.upstream.account(key)).await.ok().flatten()
    }

    /// Why `error` came about; what is wrong with a name only the resolver can tell.
    async fn why(&self, error: &reqwest::Error) -> Unreached {
        let unreached = step(error);
        match (&unreached, self.clock.timeout(LIMIT, self.resolve()).await) {
            (Unreached::Connection(_), Ok(Err(error))) => Unreached::Name(error.to_string()),
            _ => unreached,
        }
    }

    async fn resolve(&self) -> io::Result<()> {
        let url: Url = self.base_url.parse().map_err(io::Error::other)?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_or_known_default().unwrap_or(443);
        tokio::net::lookup_host((host, port)).await.map(|_addresses| ())
    }
}

/// The least that explains `date`, in whole seconds, in the answer to what was asked between `sent` and
/// `received`.
fn skew(date: Duration, sent: Duration, received: Duration) -> f64 {
    let next = date + Duration::from_secs(1);
    let ahead = date.saturating_sub(received).as_secs_f64();
    let behind = sent.saturating_sub(next).as_secs_f64();
    ahead - behind
}

/// The step that failed, as far as the error says.
fn step(error: &reqwest::Error) -> Unreached {
    let causes: Vec<_> = std::iter::successors(error.source(), |&cause| cause.source()).collect();
    match causes.iter().find_map(|cause| tls(*cause)) {
        Some(tls) => Unreached::Tls(tls.to_string()),
        None => Unreached::Connection(causes.last().map_or_else(|| error.to_string(), ToString::to_string)),
    }
}

/// The TLS error in `error`: it travels inside of I/O errors.
fn tls<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let inner = || tls(error.downcast_ref::<io::Error>()?.get_ref()?);
    error.downcast_ref().or_else(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_differ_by_no_more_than_the_answer_shows() {
        let at = |seconds| Duration::from_secs_f64(seconds);
        assert_eq!(skew(at(100.0), at(98.5), at(101.5)), 0.0, "a slow answer");
        assert_eq!(skew(at(100.0), at(100.9), at(100.95)), 0.0, "a second's parts are not told");
        assert_eq!(skew(at(110.0), at(99.0), at(100.0)), 10.0);
        assert_eq!(skew(at(90.0), at(99.0), at(100.0)), -8.0);
    }
}
