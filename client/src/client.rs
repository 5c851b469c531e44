//! The client: all calls, on one token source and one query budget.

use std::{fmt, sync::Arc};

use futures_util::{StreamExt, stream};
use reqwest::redirect;
use secrecy::SecretString;
use url::Url;
use valet_clock::{SharedClock, SystemClock};
use valet_pacing::PollSchedule;

use crate::{
    Error, FileFailure, FileTranscription, Kind, Status, Task, TaskId, Token, TokenSource, Transcript,
    Transcription, TranscriptionRequest, Wait,
    api::Api,
    query_budget::QueryBudget,
    token::{AppCredential, BrokerSource, Fixed, Renewing},
    transcription::Next,
};

/// Results of one task that are downloaded at a time.
const DOWNLOADS: usize = 4;

/// Transcribes recordings. Clones are cheap, and share tokens and query budget.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    api: Api,
    schedule: PollSchedule,
}

/// Sets up a [`Client`]; begin with [`Client::builder`].
#[must_use = "nothing happens until it is built"]
pub struct ClientBuilder {
    source: Option<Source>,
    http: Option<reqwest::Client>,
    clock: SharedClock,
    schedule: PollSchedule,
}

enum Source {
    Broker { url: Url, credential: AppCredential },
    Other(Box<dyn FnOnce(SharedClock) -> Renewing + Send>),
}

impl Client {
    /// Begins to set up a client.
    pub fn builder() -> ClientBuilder {
        let clock = Arc::new(SystemClock);
        ClientBuilder { source: None, http: None, clock, schedule: PollSchedule::default() }
    }

    /// A token that lives, for calls that this client does not make.
    ///
    /// # Errors
    /// If none is to be had.
    pub async fn token(&self) -> Result<Arc<Token>, Error> {
        self.0.api.token().await
    }

    /// Submits a task. It is billed, and it goes on whether anyone waits for it or not.
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`] if the request breaks a documented rule (nothing was sent);
    /// [`Kind::Ambiguous`] if nobody knows whether it arrived.
    pub async fn submit(&self, request: &TranscriptionRequest) -> Result<Task, Error> {
        let body = request.body()?;
        self.0.api.submit(&body).await
    }

    /// How far a task is.
    ///
    /// # Errors
    /// If the service does not tell, after a few tries.
    pub async fn fetch(&self, id: &TaskId) -> Result<Task, Error> {
        self.0.api.fetch(id).await
    }

    /// Waits for the end of a task, through passing faults and any number of tokens.
    pub fn wait(&self, id: &TaskId) -> Wait<'_> {
        let Inner { api, schedule } = &*self.0;
        Wait { api, id: id.clone(), schedule: *schedule, deadline: None, on_progress: None }
    }

    /// Cancels a task that has not begun.
    ///
    /// # Errors
    /// [`Kind::Refused`] with `UnsupportedOperation` if it has.
    pub async fn cancel(&self, id: &TaskId) -> Result<(), Error> {
        self.0.api.cancel(id).await
    }

    /// Reads a transcript from the `transcription_url` of a task's result.
    ///
    /// # Errors
    /// If it is gone (results live 24 hours), or cannot be read.
    pub async fn download(&self, transcription_url: &str) -> Result<Transcript, Error> {
        self.0.api.download(transcription_url).await
    }

    /// Submits, waits, and reads the transcripts. A file that fails does not concern the others.
    ///
    /// # Errors
    /// If the task as a whole could not be submitted or waited for, or failed without results.
    pub async fn transcribe(&self, request: &TranscriptionRequest) -> Result<Transcription, Error> {
        let submitted = self.submit(request).await?;
        let task = self.wait(submitted.id()).await?;
        self.collect(task, request.urls()).await
    }

    /// Reads the transcripts of an ended task, in the order of `urls`.
    ///
    /// # Errors
    /// If the task is not known any more, was canceled, or failed without results.
    pub async fn collect(&self, task: Task, urls: &[String]) -> Result<Transcription, Error> {
        ended(&task)?;
        let mut results: Vec<_> = task.results().iter().collect();
        let files = urls.iter().map(|url| {
            // The service promises no order; the same URL may be there twice.
            let found = results.iter().position(|subtask| is_same_url(&subtask.file_url, url));
            (url.clone(), Next::of(found.map(|index| results.remove(index)), url))
        });
        let files: Vec<_> = files.collect();
        let files = stream::iter(files)
            .map(async |(url, next)| {
                let outcome = match next {
                    Next::Done(outcome) => outcome,
                    Next::Download(from) => self.download(&from).await.map_err(FileFailure::Download),
                };
                FileTranscription { url, outcome }
            })
            .buffered(DOWNLOADS)
            .collect()
            .await;
        Ok(Transcription { task, files })
    }
}

/// The service gives URLs back as they were sent: percent-encoded where they had to be.
fn is_same_url(sent: &str, named: &str) -> bool {
    sent == named || named.parse::<Url>().is_ok_and(|url| url.as_str() == sent)
}

/// A task with results has ended well enough: what failed, fails file by file.
fn ended(task: &Task) -> Result<(), Error> {
    let id = task.id();
    let (kind, message) = match task.status() {
        Status::Unknown => (Kind::UnknownTask, format!("task {id} is not known: it expired, or never was")),
        Status::Canceled => (Kind::TaskFailed, format!("task {id} was canceled")),
        Status::Failed if task.results().is_empty() => {
            let said = task.output.message.as_deref().unwrap_or("no reason given");
            (Kind::TaskFailed, format!("task {id} failed: {said}"))
        }
        Status::Succeeded | Status::Failed => return Ok(()),
        status => (Kind::TaskFailed, format!("task {id} has not ended: it is {status}")),
    };
    let request_id = Some(task.request_id.clone()).filter(|id| !id.is_empty());
    Err(Error::answered(kind, message, 200, task.output.code.clone(), request_id, None))
}

impl ClientBuilder {
    /// Takes tokens from the Valet broker at `url`, proving itself by `credential`.
    ///
    /// # Errors
    /// If `url` is no `http` or `https` URL; plain `http` is for this machine only.
    pub fn broker(mut self, url: &str, credential: AppCredential) -> Result<Self, Error> {
        let mut url = web_url("the broker's URL", url)?;
        let path = format!("{}/v1/tokens", url.path().trim_end_matches('/'));
        url.set_path(&path);
        self.source = Some(Source::Broker { url, credential });
        Ok(self)
    }

    /// Calls DashScope at `base_url` (up to and with `/api/v1`) with a long-lived key.
    ///
    /// # Errors
    /// If `base_url` is no `http` or `https` URL; plain `http` is for this machine only.
    pub fn api_key(self, base_url: &str, key: impl Into<SecretString>) -> Result<Self, Error> {
        web_url("the base URL", base_url)?;
        Ok(self.token_source(Fixed(Token::new(key, base_url, None))))
    }

    /// Takes tokens from a source of the caller's own.
    pub fn token_source(mut self, source: impl TokenSource) -> Self {
        self.source = Some(Source::Other(Box::new(|clock| Renewing::new(source, clock))));
        self
    }

    /// Sends through this HTTP client (a proxy, own root certificates). It should follow no redirects:
    /// a token belongs where it was issued for.
    pub fn http(mut self, http: reqwest::Client) -> Self {
        self.http = Some(http);
        self
    }

    /// Goes by this clock.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Looks at tasks by this schedule.
    pub fn schedule(mut self, schedule: PollSchedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// The client.
    ///
    /// # Errors
    /// If it was not said where tokens come from, or no HTTP client can be made.
    pub fn build(self) -> Result<Client, Error> {
        let configuration = |message: String| Error::new(Kind::Configuration, message);
        let http = match self.http {
            Some(http) => http,
            None => reqwest::Client::builder()
                .user_agent(concat!("valet-client/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .build()
                .map_err(|error| configuration(format!("no HTTPS client can be made: {error}")))?,
        };
        let clock = self.clock;
        let tokens = match self.source {
            Some(Source::Broker { url, credential }) => {
                let source = BrokerSource { http: http.clone(), url, credential, clock: clock.clone() };
                Renewing::new(source, clock.clone())
            }
            Some(Source::Other(make)) => make(clock.clone()),
            None => {
                return Err(configuration(
                    "say where tokens come from: broker, api_key or token_source".into(),
                ));
            }
        };
        let budget = Arc::new(QueryBudget::new(clock.now()));
        Ok(Client(Arc::new(Inner { api: Api { http, tokens, budget, clock }, schedule: self.schedule })))
    }
}

/// A URL that a secret may be sent to.
fn web_url(what: &str, text: &str) -> Result<Url, Error> {
    let invalid = |problem: String| Error::new(Kind::Configuration, format!("{what} {problem}"));
    let url: Url = text.parse().map_err(|error| invalid(format!("is not a URL: {error}")))?;
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("must not hold a user or a password: URLs are shown in errors".into()));
    }
    if url.scheme() == "https" || (url.scheme() == "http" && loopback) {
        return Ok(url);
    }
    Err(invalid("must begin with https:// (http:// only to localhost): secrets travel over it".into()))
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
