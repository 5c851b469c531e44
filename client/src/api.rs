//! The calls of the service, each with a token that lives: submit, query, cancel, download.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, Method, RequestBuilder};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use url::Url;
use valet_clock::{ClockExt, SharedClock};
use valet_pacing::BackOff;

use crate::{
    Error, Kind, Task, TaskId, Token, Transcript,
    http::{self, Answer, NoAnswer},
    query_budget::QueryBudget,
    token::Renewing,
};

const LIMIT: Duration = Duration::from_secs(30);
const MAX_BODY: usize = 4 << 20;
/// A result may hold twelve hours of words, on several channels.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);
const MAX_RESULT: usize = 256 << 20;
const ATTEMPTS: u32 = 6;
pub(crate) const BACK_OFF: BackOff = BackOff::new(Duration::from_millis(500), Duration::from_secs(20));
/// The longest `Retry-After` that is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How the service is called.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) http: Client,
    pub(crate) tokens: Renewing,
    pub(crate) budget: Arc<QueryBudget>,
    pub(crate) clock: SharedClock,
}

/// The documented error body.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
}

impl Api {
    /// Submits a task. Costs money, so it is sent again only when it certainly did not arrive, or was
    /// refused with 429 or 503.
    pub(crate) async fn submit(&self, body: &Value) -> Result<Task, Error> {
        let build = |token: &Token| {
            let path = "services/audio/asr/transcription";
            // Required on submits, and on nothing else (*Fun-ASR recording, RESTful API*).
            self.call(Method::POST, path, token).header("X-DashScope-Async", "enable").json(body)
        };
        self.retried(|| self.once(&build, doubtful)).await
    }

    /// Asks once how far a task is.
    pub(crate) async fn query(&self, id: &TaskId) -> Result<Task, Error> {
        let path = path_of(id)?;
        self.counted(&|token: &Token| self.call(Method::GET, &path, token)).await
    }

    /// Asks how far a task is, and again if that fails.
    pub(crate) async fn fetch(&self, id: &TaskId) -> Result<Task, Error> {
        self.retried(|| self.query(id)).await
    }

    /// Cancels a task that has not begun.
    pub(crate) async fn cancel(&self, id: &TaskId) -> Result<(), Error> {
        let path = format!("{}/cancel", path_of(id)?);
        let build = |token: &Token| self.call(Method::POST, &path, token);
        self.retried(|| self.counted::<IgnoredAny>(&build)).await.map(|_| ())
    }

    /// Reads a transcript from the signed URL that a task named. No token goes there.
    pub(crate) async fn download(&self, url: &str) -> Result<Transcript, Error> {
        let address: Url = url.parse().map_err(|_| malformed("named a transcription_url that is no URL"))?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err(malformed("named a transcription_url that is not on the web"));
        }
        self.retried(|| async {
            let request = self.http.get(address.clone());
            let answer =
                http::send(request, &self.clock, DOWNLOAD_LIMIT, MAX_RESULT).await.map_err(no_answer)?;
            match answer.status {
                200 => serde_json::from_slice(&answer.body)
                    .map_err(|_| malformed("gave a result that is no transcript")),
                _ => Err(refusal(answer, None)),
            }
        })
        .await
    }

    fn call(&self, method: Method, path: &str, token: &Token) -> RequestBuilder {
        self.http.request(method, format!("{}/{path}", token.base_url())).bearer_auth(token.expose())
    }

    /// A token that lives; what it says of the query budget holds from now on.
    pub(crate) async fn token(&self) -> Result<Arc<Token>, Error> {
        let token = self.tokens.token().await?;
        self.budget.learn(token.queries_per_second());
        Ok(token)
    }

    /// A call that counts against the account's queries: query, list and cancel.
    async fn counted<T: for<'de> Deserialize<'de>>(
        &self,
        build: &(impl Fn(&Token) -> RequestBuilder + Sync),
    ) -> Result<T, Error> {
        self.token().await?;
        self.budget.take(&self.clock).await;
        self.once(build, |error| error).await
    }

    /// One call; on a 401 the token is renewed and the call made once more. A 401 is a refusal, so
    /// that is safe for submits too. `meant` says what an error of the call itself means; one that
    /// kept us from making it stays as it is.
    async fn once<T: for<'de> Deserialize<'de>>(
        &self,
        build: &(impl Fn(&Token) -> RequestBuilder + Sync),
        meant: fn(Error) -> Error,
    ) -> Result<T, Error> {
        let mut token: Arc<Token> = self.token().await?;
        let send = async |token: &Token| http::send(build(token), &self.clock, LIMIT, MAX_BODY).await;
        let mut answer = send(&token).await.map_err(|why| meant(no_answer(why)))?;
        if answer.status == 401 {
            self.tokens.refuse(&token);
            token = self.token().await?;
            answer = send(&token).await.map_err(|why| meant(no_answer(why)))?;
        }
        if answer.status != 200 {
            return Err(meant(refusal(answer, Some(&token))));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|_| meant(malformed("gave an answer that is not the documented one")))
    }

    /// Calls again while the error may pass, with a bounded number of jittered waits.
    async fn retried<T, F>(&self, call: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut failures = 0;
        loop {
            let error = match call().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let wait = error.retry_after().unwrap_or_else(|| BACK_OFF.wait(failures, fastrand::f64()));
            failures += 1;
            if !error.is_retryable() || failures == ATTEMPTS || wait > LONGEST_WAIT {
                return Err(error);
            }
            tracing::debug!(%error, ?wait, "trying again");
            self.clock.sleep(wait).await;
        }
    }
}

fn path_of(id: &TaskId) -> Result<String, Error> {
    if id.is_plain() {
        return Ok(format!("tasks/{id}"));
    }
    Err(Error::new(Kind::InvalidRequest, "task_id: must be 1 to 256 letters, digits, '-', '_' or '.'"))
}

fn malformed(what: &str) -> Error {
    Error::new(Kind::Malformed, format!("the service {what}"))
}

fn no_answer(why: NoAnswer) -> Error {
    match why {
        NoAnswer::NotSent => Error::new(Kind::Unreachable, "the service cannot be reached"),
        NoAnswer::Lost => Error::new(Kind::Lost, "the connection to the service broke"),
        NoAnswer::TooSlow => Error::new(Kind::Lost, "the service did not answer in time"),
        NoAnswer::TooLarge => malformed("answered more than an answer may hold"),
    }
}

/// What an error of a submit means: unless it did not arrive or was refused, nobody knows.
fn doubtful(error: Error) -> Error {
    let arrived = match error.kind() {
        Kind::Lost | Kind::Malformed => true,
        Kind::Unavailable => error.status() != Some(503),
        _ => false,
    };
    if !arrived {
        return error;
    }
    let message = format!(
        "the task may or may not have been submitted ({error}); it was not sent again, since it would be \
         billed twice: look for it in the list of tasks first"
    );
    let id = error.request_id().map(str::to_owned);
    Error::answered(Kind::Ambiguous, message, error.status().unwrap_or(0), None, id, None)
}

/// What a refusal of a call with this token means (*Error messages*).
fn refusal(answer: Answer, token: Option<&Token>) -> Error {
    let body: ErrorBody = serde_json::from_slice(&answer.body).unwrap_or_default();
    // A service that repeats the token does not get it into our errors.
    let redacted = |text: String| match token.map(Token::expose) {
        Some(secret) if !secret.is_empty() => text.replace(secret, "[token]"),
        _ => text,
    };
    let code = body.code.map(redacted).unwrap_or_default();
    let kind = match (answer.status, code.as_str()) {
        (401, _) => Kind::Credentials,
        // Documented with 429, and waiting does not help.
        (
            429,
            "Throttling.AllocationQuota"
            | "CommodityNotPurchased"
            | "PrepaidBillOverdue"
            | "PostpaidBillOverdue",
        ) => Kind::Refused,
        (429, _) => Kind::Throttled,
        // 408: the request was not received in time (RFC 9110 §15.5.9), and may be sent again.
        (408 | 500.., _) => Kind::Unavailable,
        _ => Kind::Refused,
    };
    let said = body.message.filter(|message| !message.is_empty()).map(redacted);
    let said = said.unwrap_or_else(|| format!("status {}, no reason given", answer.status));
    let message = match kind {
        Kind::Credentials => format!("the service does not accept the token: {said}"),
        Kind::Throttled => format!("the service asks for fewer requests: {said}"),
        Kind::Unavailable => format!("the service has a fault: {said}"),
        _ => format!("the service refuses: {said}"),
    };
    let code = (!code.is_empty()).then_some(code);
    Error::answered(
        kind,
        message,
        answer.status,
        code,
        body.request_id.or(answer.request_id).map(redacted),
        answer.retry_after,
    )
}
