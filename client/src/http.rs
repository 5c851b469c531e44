//! One request, one bounded answer: time by the clock, size by a cap. Knows no token and no DashScope.

use std::{iter, time::Duration};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use reqwest::RequestBuilder;
use url::{Host, Url};
use valet_clock::{ClockExt, SharedClock};

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) request_id: Option<String>,
    /// Whether the service obeyed a wish to wait (RFC 7240, `Preference-Applied: wait`).
    pub(crate) waited: bool,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NoAnswer {
    /// There is no such request: the URL or a header cannot be written.
    Unsendable(String),
    /// No connection was made, for this reason: nothing was sent.
    NotSent(String),
    /// It was sent, or part of it; no whole answer came, for this reason.
    Lost(String),
    /// It took longer than it may.
    TooSlow,
    /// The answer is larger than it may be.
    TooLarge,
}

/// Sends `request`, and reads at most `max_body` bytes within `limit`.
pub(crate) async fn send(
    request: RequestBuilder,
    clock: &SharedClock,
    limit: Duration,
    max_body: usize,
) -> Result<Answer, NoAnswer> {
    let exchange = async {
        let response = request.send().await.map_err(|error| {
            let why = cause(&error);
            match () {
                () if error.is_builder() => NoAnswer::Unsendable(why),
                () if error.is_connect() => NoAnswer::NotSent(why),
                () => NoAnswer::Lost(why),
            }
        })?;
        let status = response.status().as_u16();
        let text = |name: &str| response.headers().get(name)?.to_str().ok();
        let seconds = text("retry-after").and_then(|text| text.trim().parse().ok());
        let retry_after = seconds.map(Duration::from_secs);
        let request_id = text("x-request-id").map(str::to_owned);
        let waited = text("preference-applied").is_some_and(|applied| {
            applied
                .split(',')
                .any(|preference| preference.split('=').next().unwrap_or_default().trim() == "wait")
        });
        let body = Limited::new(reqwest::Body::from(response), max_body).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() { NoAnswer::TooLarge } else { NoAnswer::Lost(cause(&*error)) }
        })?;
        Ok(Answer { status, retry_after, request_id, waited, body: body.to_bytes().into() })
    };
    clock.timeout(limit, exchange).await.unwrap_or(Err(NoAnswer::TooSlow))
}

/// The innermost reason, such as the name that is not known or the certificate that is not trusted. The layers
/// around it name the URL, which may be signed.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    iter::successors(Some(error), |error| error.source()).last().unwrap_or(error).to_string()
}

/// A URL that a secret may be sent to: encrypted on its way, unless it stays on this machine.
///
/// # Errors
/// What is wrong with it; the words follow the URL's name and repeat nothing of it.
pub(crate) fn confidential(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password: URLs are shown in errors".into());
    }
    if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) {
        return Ok(url);
    }
    Err("must begin with https:// (http:// only to localhost): secrets travel over it".into())
}

/// The same address, encrypted unless it is on this machine. The service names results by `http` URLs at
/// times; their storage takes both, and the signature does not cover the scheme.
pub(crate) fn encrypted(mut url: Url) -> Url {
    if url.scheme() == "http" && !is_loopback(&url) && url.port().is_none() {
        let _ = url.set_scheme("https");
    }
    url
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_encrypted_unless_they_are_on_this_machine() {
        let read = |url: &str| encrypted(url.parse().expect("it is a URL")).to_string();
        let result = "dashscope-result.oss-cn-beijing.aliyuncs.com/a.json?Signature=a%2Fb";
        assert_eq!(read(&format!("http://{result}")), format!("https://{result}"));
        for same in
            ["https://example.com/a", "http://127.0.0.1:8780/a", "http://localhost/a", "http://e.com:81/"]
        {
            assert_eq!(read(same), same);
        }
    }
}
