//! The upstream, as the relay calls it: with tokens of the cache, never with a key.

use std::time::Duration;

use reqwest::{Client, Method, header::HeaderValue, redirect};
use serde_json::Value;
use valet_clock::{ClockExt, SharedClock};

use crate::{
    net::PublicOnly,
    policy::UpstreamUse,
    token::{Cache, Failure, Source},
};

/// How long a call may take, with the wait for a token.
const LIMIT: Duration = Duration::from_secs(30);
/// A task of a hundred URLs has some fifty kilobytes.
const LARGEST: usize = 4 << 20;
/// The longest that the upstream may have the broker wait, in seconds.
const LONGEST_WAIT: u64 = 600;

/// Clients for what is on this machine and for what is elsewhere.
#[derive(Debug)]
pub(super) struct Http {
    /// Follows no redirect, asks no proxy.
    local: Client,
    remote: Client,
    /// The same, and connects to public addresses alone.
    public: Client,
}

/// What the upstream said.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) retry_after: Option<u64>,
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There is no token to ask with.
    NoToken(Failure),
    /// Nothing was sent.
    NotSent,
    /// It was sent, and what became of it nobody knows.
    Unknown,
}

impl Http {
    /// # Errors
    /// If no HTTP client can be built.
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        let builder = || {
            let agent = concat!("valet-server/", env!("CARGO_PKG_VERSION"));
            Client::builder().user_agent(agent).redirect(redirect::Policy::none()).tcp_nodelay(true)
        };
        Ok(Self {
            local: builder().no_proxy().build()?,
            remote: builder().build()?,
            public: builder().dns_resolver(std::sync::Arc::new(PublicOnly)).build()?,
        })
    }

    /// The client for a base URL of the configuration: plain HTTP is for this machine only.
    fn of(&self, base_url: &str) -> &Client {
        if base_url.starts_with("http://") { &self.local } else { &self.remote }
    }

    /// The client for a URL that the upstream gave.
    pub(super) fn for_result(&self, private: bool) -> &Client {
        if private { &self.local } else { &self.public }
    }
}

/// A call to the upstream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'c> {
    pub(super) method: &'c Method,
    /// Behind the base URL.
    pub(super) path: &'c str,
    /// Of a submit.
    pub(super) body: Option<&'c Value>,
}

impl Http {
    /// Calls. A token that is refused is replaced, and the call made once more: a refused call did nothing.
    pub(super) async fn call(
        &self,
        (cache, clock): (&Cache, &SharedClock),
        source: Source<'_>,
        upstream_use: UpstreamUse,
        call: Call<'_>,
    ) -> Result<Reply, Trouble> {
        let both = async {
            let (reply, sha256) = self.once(cache, clock, source, upstream_use.clone(), call).await?;
            if reply.status != 401 {
                return Ok(reply);
            }
            let again = upstream_use.without(sha256);
            self.once(cache, clock, source, again, call).await.map(|(reply, _)| reply)
        };
        clock.timeout(LIMIT, both).await.unwrap_or(Err(Trouble::Unknown))
    }

    async fn once(
        &self,
        cache: &Cache,
        clock: &SharedClock,
        source: Source<'_>,
        upstream_use: UpstreamUse,
        Call { method, path, body }: Call<'_>,
    ) -> Result<(Reply, [u8; 32]), Trouble> {
        let token = match cache.peek(source, &upstream_use, clock.now()) {
            Some(token) => token,
            None => cache.obtain(source, upstream_use).await.map_err(Trouble::NoToken)?,
        };
        let base_url = source.upstream.base_url();
        let request = self.of(base_url).request(method.clone(), format!("{base_url}{path}"));
        let mut request = request.bearer_auth(token.bearer().expose());
        if let Some(body) = body {
            request = request.header("X-DashScope-Async", "enable").json(body);
        }
        let response = request.send().await.map_err(|error| {
            if error.is_connect() || error.is_builder() { Trouble::NotSent } else { Trouble::Unknown }
        })?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").and_then(wait);
        let body = read(response).await.ok_or(Trouble::Unknown)?;
        Ok((Reply { status, body, retry_after }, token.sha256()))
    }
}

async fn read(mut response: reqwest::Response) -> Option<Value> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > LARGEST {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    document(&body)
}

/// A body, if it is one: an object, and so is its `output` if it has any. Whoever reads it need not ask again.
fn document(body: &[u8]) -> Option<Value> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let output = document.as_object()?.get("output");
    output.is_none_or(|output| output.is_object() || output.is_null()).then_some(document)
}

/// The seconds of a `Retry-After`, as far as anybody should believe it.
fn wait(value: &HeaderValue) -> Option<u64> {
    let seconds: u64 = value.to_str().ok()?.parse().ok()?;
    Some(seconds.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_longer_than_can_be_meant() {
        let wait = |text: &'static str| wait(&HeaderValue::from_static(text));
        assert_eq!(wait("7"), Some(7));
        assert_eq!(wait("18446744073709551615"), Some(LONGEST_WAIT));
        assert_eq!((wait("-1"), wait("tomorrow")), (None, None));
    }

    #[test]
    fn an_answer_is_an_object_that_has_one() {
        for good in [r#"{"output":{"task_status":"RUNNING"}}"#, r#"{"code":"x"}"#, r#"{"output":null}"#] {
            assert!(document(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [r#"{"output":"x"}"#, r#"{"output":[]}"#, "[]", "1", "<html>"] {
            assert!(document(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
