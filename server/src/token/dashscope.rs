//! The upstream's mint call (Model Studio, *Generate a temporary API key*):
//! `POST {base}/tokens?expire_in_seconds=N` with a long-lived key as bearer; and what an examination of
//! the upstream asks it besides.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use reqwest::{Client, Response, StatusCode, header, redirect};
use serde::Deserialize;

use super::{Failure, Kind};
use crate::secret::Bearer;

/// A token response has some hundred bytes.
const MAX_BODY: usize = 64 << 10;

/// A DashScope endpoint.
#[derive(Clone, Debug)]
pub(super) struct DashScope {
    client: Client,
    base_url: Arc<str>,
}

/// A token as the upstream gave it.
pub(super) struct Token {
    pub(super) bearer: Bearer,
    /// When it expires, in Unix seconds by the upstream's clock.
    pub(super) expires_at: u64,
    /// The upstream's clock when it answered: Unix time, in whole seconds.
    pub(super) date: Option<Duration>,
    pub(super) request_id: Option<Arc<str>>,
}

/// The documented answer.
#[derive(Deserialize)]
struct TokenBody {
    token: String,
    expires_at: u64,
}

/// The documented error: `{"code","message","request_id"}`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    code: String,
    request_id: String,
}

/// The documented list of tasks: `{total,…,data:[{task_id,…,caller_uid,caller_parent_id,…}]}`.
#[derive(Deserialize)]
struct TasksBody {
    data: Vec<TaskBody>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TaskBody {
    caller_uid: String,
    caller_parent_id: String,
}

impl DashScope {
    /// `base_url` ends with `/api/v1`.
    pub(super) fn new(base_url: &str) -> Result<Self, reqwest::Error> {
        let mut builder = Client::builder()
            .user_agent(concat!("valet-server/", env!("CARGO_PKG_VERSION")))
            // A key goes nowhere but where the operator sent it.
            .redirect(redirect::Policy::none())
            .tcp_nodelay(true);
        if base_url.starts_with("http://") {
            // Plain HTTP is for this machine only, where no proxy of the environment leads.
            builder = builder.no_proxy();
        }
        Ok(Self { client: builder.build()?, base_url: base_url.into() })
    }

    /// A token that lives for so many `seconds`, 1 to 1800.
    pub(super) async fn mint(&self, key: &Bearer, seconds: u32) -> Result<Token, Failure> {
        let response = self
            .client
            .post(format!("{}/tokens", self.base_url))
            .query(&[("expire_in_seconds", seconds)])
            .bearer_auth(key.expose())
            .header(header::CONTENT_LENGTH, 0)
            .send()
            .await
            .map_err(|_| Failure::of(Kind::Unreachable))?;
        let (status, date, retry_after) = (response.status(), date(&response), retry_after(&response));
        let request_id = response.headers().get("x-request-id").and_then(|id| plain(id.as_bytes()));
        let body = read(response).await?;
        if status != StatusCode::OK {
            let mut failure = refusal(status.as_u16(), &body, retry_after);
            // An endpoint that repeats the key in its answer must not make it public.
            failure.code = failure.code.filter(|code| !code.contains(key.expose()));
            failure.request_id = failure.request_id.filter(|id| !id.contains(key.expose()));
            return Err(failure);
        }
        let (bearer, expires_at) = success(&body)?;
        Ok(Token { bearer, expires_at, date, request_id })
    }

    /// Asks for something without a key: any answer shows that the upstream is there. Its `Date`.
    pub(super) async fn greet(&self) -> Result<Option<Duration>, reqwest::Error> {
        self.list_one().send().await.map(|response| date(&response))
    }

    /// The account that `key` belongs to, by the first task that it sees; `None` if it sees none, or may not
    /// look. A list shows the tasks of the whole account (Model Studio, *Manage asynchronous tasks*).
    pub(super) async fn account(&self, key: &Bearer) -> Option<String> {
        let response = self.list_one().bearer_auth(key.expose()).send().await.ok()?;
        let body = read(response).await.ok()?;
        let tasks: TasksBody = serde_json::from_slice(&body).ok()?;
        let TaskBody { caller_uid, caller_parent_id } = tasks.data.into_iter().next()?;
        // A member's task names its member and the account above; the account's own, itself.
        [caller_parent_id, caller_uid].into_iter().find(|id| !id.is_empty())
    }

    fn list_one(&self) -> reqwest::RequestBuilder {
        self.client.get(format!("{}/tasks/", self.base_url)).query(&[("page_size", 1)])
    }
}

async fn read(response: Response) -> Result<Vec<u8>, Failure> {
    let body: reqwest::Body = response.into();
    let limited = http_body_util::Limited::new(body, MAX_BODY);
    match limited.collect().await {
        Ok(whole) => Ok(whole.to_bytes().into()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Failure::of(Kind::Malformed)),
        Err(_) => Err(Failure::of(Kind::Unreachable)),
    }
}

/// The token of a success, and when it expires in Unix seconds.
pub(super) fn success(body: &[u8]) -> Result<(Bearer, u64), Failure> {
    let malformed = || Failure::of(Kind::Malformed);
    let answer: TokenBody = serde_json::from_slice(body).map_err(|_| malformed())?;
    let bearer = Bearer::parse(&answer.token).filter(|token| token.expose().starts_with("st-"));
    Ok((bearer.ok_or_else(malformed)?, answer.expires_at))
}

/// What a refusal means (Model Studio, *Error messages*).
pub(super) fn refusal(status: u16, body: &[u8], retry_after: Option<Duration>) -> Failure {
    let body: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let kind = match (status, body.code.as_str()) {
        // Documented in both spellings.
        (_, "InvalidApiKey" | "invalid_api_key") | (401, _) => Kind::InvalidKey,
        (429, code) if code.is_empty() || code.starts_with("Throttling") => Kind::Throttled,
        (400..500, _) => Kind::Refused,
        (500.., _) => Kind::Unavailable,
        _ => Kind::Malformed,
    };
    let mut failure = Failure::of(kind);
    if let (Kind::Throttled, Some(wait)) = (kind, retry_after) {
        failure.retry_after = wait;
    }
    failure.code = plain(body.code.as_bytes());
    failure.request_id = plain(body.request_id.as_bytes());
    failure
}

/// Text of the upstream that is safe to show: a short word of letters, digits and `.`, `_`, `-`.
fn plain(text: &[u8]) -> Option<Arc<str>> {
    let word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let fits = (1..=64).contains(&text.len()) && text.iter().all(word);
    fits.then(|| std::str::from_utf8(text).ok().map(Arc::from)).flatten()
}

fn date(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::DATE)?.to_str().ok()?;
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok()
}

/// `Retry-After` in seconds, 1 to 30.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.clamp(1, 30)))
}
