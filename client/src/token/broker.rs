//! Tokens of a Valet broker: `POST /v1/tokens`.

use std::time::Duration;

use reqwest::Client;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use url::Url;
use valet_clock::SharedClock;
use valet_pacing::BackOff;

use super::{AppCredential, Mode, Need, Token, TokenFuture, TokenSource};
use crate::{
    Error, Kind,
    http::{self, Answer, NoAnswer},
    refusal::unsendable,
};

const LIMIT: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 64 << 10;
const ATTEMPTS: u32 = 4;
const BACK_OFF: BackOff = BackOff::new(Duration::from_millis(250), Duration::from_secs(4));
/// The longest that a `Retry-After` of the broker is waited for before its answer is passed on.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A broker, and what proves us to it.
pub(crate) struct BrokerSource {
    pub(crate) http: Client,
    pub(crate) url: Url,
    pub(crate) credential: AppCredential,
    /// A word of the caller's for the broker's audit trail.
    pub(crate) reference: Option<String>,
    /// The user of the app for whom the tokens are.
    pub(crate) subject: Option<String>,
    pub(crate) clock: SharedClock,
}

#[derive(Default, PartialEq, Serialize)]
struct Body<'b> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_reference_id: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'b str>,
}

/// The fields of the answer that we read.
#[derive(Deserialize)]
struct TokenBody {
    token: String,
    expires_in: u64,
    base_url: String,
    queries_per_second: Option<f64>,
    #[serde(default)]
    mode: String,
}

/// The fields of a problem document (RFC 9457) that we read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: String,
    code: Option<String>,
    request_id: Option<String>,
}

impl TokenSource for BrokerSource {
    fn fetch<'s>(&'s self, need: Need<'s>) -> TokenFuture<'s> {
        Box::pin(async move {
            let mut failures = 0;
            loop {
                let error = match self.ask(need).await {
                    Ok(token) => return Ok(token),
                    Err(error) => error,
                };
                let wait = error.retry_after().unwrap_or(BACK_OFF.wait(failures, fastrand::f64()));
                failures += 1;
                if !error.is_retryable() || failures == ATTEMPTS || wait > LONGEST_WAIT {
                    return Err(error);
                }
                self.clock.sleep_until(self.clock.now() + wait).await;
            }
        })
    }
}

impl BrokerSource {
    async fn ask(&self, need: Need<'_>) -> Result<Token, Error> {
        let AppCredential { app, secret } = &self.credential;
        let mut request = self.http.post(self.url.clone()).basic_auth(app, Some(secret.expose_secret()));
        let body = Body {
            rejected: need.refused.map(Token::sha256),
            min_ttl: need.life.map(|life| life.as_secs()),
            client_reference_id: self.reference.as_deref(),
            subject: self.subject.as_deref(),
        };
        // Without anything to say there is no body at all.
        if body != Body::default() {
            request = request.json(&body);
        }
        let answer =
            http::send(request, &self.clock, LIMIT, MAX_BODY).await.map_err(|why| self.no_answer(why))?;
        if answer.status != 200 {
            return Err(self.refusal(answer));
        }
        let body: TokenBody = serde_json::from_slice(&answer.body)
            .map_err(|_| self.malformed("answered with something that is no token; is it a Valet broker?"))?;
        http::confidential(&body.base_url)
            .map_err(|problem| self.malformed(&format!("named a base_url that {problem}")))?;
        if body.token.is_empty() || !body.token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(self.malformed("gave a token that no header can carry"));
        }
        let life = Some(Duration::from_secs(body.expires_in));
        let mode = if body.mode == "relay" { Mode::Relay } else { Mode::Direct };
        let token = Token::new(body.token, body.base_url, life).with_mode(mode);
        Ok(token.with_queries_per_second(body.queries_per_second))
    }

    fn no_answer(&self, why: NoAnswer) -> Error {
        let (kind, what) = match why {
            NoAnswer::Unsendable(why) => return unsendable(&why),
            NoAnswer::NotSent(why) => {
                (Kind::Unreachable, format!("cannot be reached: {why}; is its URL right, and does it run?"))
            }
            NoAnswer::Lost(why) => (Kind::Lost, format!("broke off the connection: {why}")),
            NoAnswer::TooSlow => (Kind::Lost, "did not answer in time".into()),
            NoAnswer::TooLarge => (Kind::Malformed, "answered too much; is it a Valet broker?".into()),
        };
        Error::new(kind, format!("the broker at {} {what}", self.url))
    }

    fn malformed(&self, what: &str) -> Error {
        Error::new(Kind::Malformed, format!("the broker at {} {what}", self.url))
    }

    fn refusal(&self, answer: Answer) -> Error {
        // Not what a broker says at this path: somebody else is there.
        if matches!(answer.status, 404 | 405 | 501) {
            return self.malformed(&format!("answered with status {}; is it a Valet broker?", answer.status));
        }
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
        let kind = match answer.status {
            401 | 403 => Kind::Credentials,
            429 => Kind::Throttled,
            500.. => Kind::Unavailable,
            _ => Kind::Refused,
        };
        let message = match problem.detail.as_str() {
            "" => {
                format!("the broker at {} gave no token: status {}, no reason given", self.url, answer.status)
            }
            detail => format!("the broker gave no token: {detail}"),
        };
        let request_id = problem.request_id.or(answer.request_id);
        Error::answered(kind, message, answer.status, problem.code, request_id, answer.retry_after)
    }
}
