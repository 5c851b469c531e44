//! The calls of the service, each with a token that lives: submit, look, list, cancel, download.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, Method, RequestBuilder};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use url::Url;
use valet_clock::{ClockExt, SharedClock};
use valet_pacing::BackOff;

use crate::{
    Error, Status, Task, TaskId, Token, Transcript,
    http::{self, Answer},
    list::TaskPage,
    long_polls::LongPolls,
    pacer::Pacer,
    refusal::{doubtful, malformed, no_answer, refusal},
    submit::Submit,
    token::Renewing,
};

const LIMIT: Duration = Duration::from_secs(30);
const MAX_BODY: usize = 4 << 20;
/// A result may hold twelve hours of words, on several channels.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);
const MAX_RESULT: usize = 256 << 20;
const ATTEMPTS: u32 = 6;
const BACK_OFF: BackOff = BackOff::new(Duration::from_millis(500), Duration::from_secs(20));
/// The longest `Retry-After` that is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A submit takes a moment, and its token must live when it is read.
const SUBMIT_LIFE: Duration = Duration::from_secs(10);
/// Tasks on a page; the documentation names no maximum, and an answer says what was given.
const PAGE_SIZE: &str = "100";

/// How the service is called.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) http: Client,
    pub(crate) tokens: Renewing,
    /// Paces queries, lists and cancels, which share one limit.
    pub(crate) queries: Arc<Pacer>,
    pub(crate) submits: Arc<Pacer>,
    pub(crate) long_polls: Arc<LongPolls>,
    pub(crate) clock: SharedClock,
}

/// What is told of several tasks at once.
#[derive(Deserialize)]
struct Awaited {
    tasks: Vec<Task>,
}

/// How one kind of call is made.
struct Manner<'m> {
    /// Whom success and refusals are told to.
    pacer: Option<&'m Pacer>,
    limit: Duration,
    /// How long its token should live at least.
    life: Duration,
    /// The submit that it is, if it is one.
    submit: Option<&'m Submit>,
}

impl Api {
    /// Submits a task. Costs money, so it is sent again only when it certainly did not arrive, was refused with 429
    /// or 503, or goes to a relay that knows it by its key. `resolves` says that it names files in the service's own
    /// storage.
    pub(crate) async fn submit(&self, submit: &Submit, body: &Value, resolves: bool) -> Result<Task, Error> {
        let build = |token: &Token| {
            let path = "services/audio/asr/transcription";
            // Required on submits, and on nothing else (*Fun-ASR recording, RESTful API*).
            let call = self.call(Method::POST, path, token).header("X-DashScope-Async", "enable").json(body);
            let call = submit.named(call, token);
            if resolves { call.header("X-DashScope-OssResourceResolve", "enable") } else { call }
        };
        let manner =
            Manner { pacer: Some(&self.submits), limit: LIMIT, life: SUBMIT_LIFE, submit: Some(submit) };
        let task = self.retried(|| async {
            self.token_for(SUBMIT_LIFE).await?;
            self.submits.take(&self.clock).await;
            let answer = self.exchange(&build, &manner).await?;
            parsed(&answer).map_err(doubtful)
        });
        task.await.map_err(|error| submit.ended(error))
    }

    /// Looks once at a task, without waiting for a turn.
    pub(crate) async fn look(&self, id: &TaskId) -> Result<Task, Error> {
        let path = path_of(id)?;
        let build = |token: &Token| self.call(Method::GET, &path, token);
        parsed(&self.exchange(&build, &self.plainly()).await?)
    }

    /// Looks at tasks at a relay, which holds its answer back until there is something to tell of any of them,
    /// for `wait` at most; also tells whether it says that it did. Without waiting for a turn.
    pub(crate) async fn await_any(&self, ids: &[TaskId], wait: Duration) -> Result<(Vec<Task>, bool), Error> {
        let path = match ids {
            [id] => path_of(id)?,
            _ => "tasks/wait".to_owned(),
        };
        let build = |token: &Token| {
            let call = match ids {
                [_] => self.call(Method::GET, &path, token),
                _ => self.call(Method::POST, &path, token).json(&json!({ "task_ids": ids })),
            };
            call.header("Prefer", format!("wait={}", wait.as_secs()))
        };
        // A refusal is one to wait, and says nothing of the budget for looks.
        let manner = Manner { pacer: None, limit: LIMIT + wait, ..self.plainly() };
        let answered = self.exchange(&build, &manner).await.and_then(|answer| {
            let tasks = match ids {
                [_] => vec![parsed(&answer)?],
                _ => parsed::<Awaited>(&answer)?.tasks,
            };
            Ok((tasks, answer))
        });
        let now = self.clock.now();
        match answered {
            Ok((tasks, answer)) => {
                if !answer.waited && !tasks.iter().any(|task| task.status().is_final()) {
                    self.long_polls.ignored(now, answer.retry_after);
                }
                Ok((tasks, answer.waited))
            }
            Err(error) => {
                self.long_polls.refused(now, ids.len(), &error);
                Err(error)
            }
        }
    }

    /// Asks how far a task is, and again if that fails.
    pub(crate) async fn fetch(&self, id: &TaskId) -> Result<Task, Error> {
        let path = path_of(id)?;
        self.counted(&|token: &Token| self.call(Method::GET, &path, token)).await
    }

    /// Cancels a task that has not begun.
    pub(crate) async fn cancel(&self, id: &TaskId) -> Result<(), Error> {
        let path = format!("{}/cancel", path_of(id)?);
        self.counted::<IgnoredAny>(&|token: &Token| self.call(Method::POST, &path, token)).await.map(|_| ())
    }

    /// A page of the list of tasks.
    pub(crate) async fn list(&self, query: &[(&str, String)]) -> Result<TaskPage, Error> {
        self.counted(&|token: &Token| self.call(Method::GET, "tasks/", token).query(query)).await
    }

    /// A page of the tasks of this status, without waiting for a turn.
    pub(crate) async fn unfinished(&self, status: &Status, page: u32) -> Result<TaskPage, Error> {
        let query = [("status", status.as_str()), ("page_no", &page.to_string()), ("page_size", PAGE_SIZE)];
        let build = |token: &Token| self.call(Method::GET, "tasks/", token).query(&query);
        parsed(&self.exchange(&build, &self.plainly()).await?)
    }

    /// Where a local file may be put (*Upload a file for a temporary URL*).
    pub(crate) async fn upload_policy<T: for<'de> Deserialize<'de>>(&self, model: &str) -> Result<T, Error> {
        let query = [("action", "getPolicy"), ("model", model)];
        let build = |token: &Token| self.call(Method::GET, "uploads", token).query(&query);
        self.retried(|| async { parsed(&self.exchange(&build, &self.plainly()).await?) }).await
    }

    /// Reads a transcript from the signed URL that a task named. No token goes there.
    pub(crate) async fn download(&self, url: &str) -> Result<Transcript, Error> {
        let address: Url = url.parse().map_err(|_| malformed("named a transcription_url that is no URL"))?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err(malformed("named a transcription_url that is not on the web"));
        }
        let address = http::encrypted(address);
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
        self.token_for(Duration::ZERO).await
    }

    async fn token_for(&self, life: Duration) -> Result<Arc<Token>, Error> {
        let token = match life {
            Duration::ZERO => self.tokens.token().await?,
            life => self.tokens.token_for(life).await?,
        };
        self.queries.learn(token.queries_per_second());
        self.long_polls.at(&token);
        Ok(token)
    }

    fn plainly(&self) -> Manner<'_> {
        Manner { pacer: Some(&self.queries), limit: LIMIT, life: Duration::ZERO, submit: None }
    }

    /// A call that counts against the account's queries, made in its turn, and again while it may pass.
    async fn counted<T: for<'de> Deserialize<'de>>(
        &self,
        build: &(impl Fn(&Token) -> RequestBuilder + Sync),
    ) -> Result<T, Error> {
        self.retried(|| async {
            self.token().await?;
            self.queries.take(&self.clock).await;
            parsed(&self.exchange(build, &self.plainly()).await?)
        })
        .await
    }

    /// One call; on a 401 the token is renewed and the call made once more. A 401 is a refusal, so
    /// that is safe for submits too.
    async fn exchange(
        &self,
        build: &(impl Fn(&Token) -> RequestBuilder + Sync),
        manner: &Manner<'_>,
    ) -> Result<Answer, Error> {
        let Manner { pacer, limit, life, submit } = *manner;
        let mut token = self.token_for(life).await?;
        // An error that kept us from making the call stays as it is.
        let meant = |error, token: &Token| match submit {
            Some(submit) => submit.meant(error, token),
            None => error,
        };
        let send = async |token: &Token| {
            submit.map_or(Ok(()), |submit| submit.permits(token))?;
            let sent = http::send(build(token), &self.clock, limit, MAX_BODY).await;
            sent.map_err(|why| meant(no_answer(why), token))
        };
        let mut answer = send(&token).await?;
        if answer.status == 401 {
            self.tokens.refuse(&token);
            token = self.token_for(life).await?;
            answer = send(&token).await?;
        }
        match (answer.status, pacer) {
            (200, Some(pacer)) => pacer.served(),
            (429, Some(pacer)) => {
                pacer.refused(self.clock.now(), answer.retry_after.map(|told| told.min(LONGEST_WAIT)));
            }
            _ => {}
        }
        if answer.status != 200 {
            return Err(meant(refusal(answer, Some(&token)), &token));
        }
        Ok(answer)
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

fn parsed<T: for<'de> Deserialize<'de>>(answer: &Answer) -> Result<T, Error> {
    serde_json::from_slice(&answer.body)
        .map_err(|_| malformed("gave an answer that is not the documented one"))
}

fn path_of(id: &TaskId) -> Result<String, Error> {
    Ok(format!("tasks/{}", id.checked()?))
}
