//! The client: all calls, on one token source, one query budget and one scheduler.

use std::{fmt, sync::Arc};

use futures_util::{StreamExt, stream};
use tracing::Instrument;

use crate::{
    ClientBuilder, Error, FileFailure, FileTranscription, Files, Many, StatusChanges, Task, TaskId, Token,
    Transcript, Transcription, TranscriptionRequest, Wait,
    api::Api,
    list::TaskList,
    poller::{Manner, Poller},
    submit::Submit,
    transcription::{Next, ended, matched},
};

/// Results of one task that are downloaded at a time.
const DOWNLOADS: usize = 4;

/// Transcribes recordings. Clones are cheap, and share tokens, query budget and scheduler.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) api: Api,
    pub(crate) poller: Poller,
    /// How tasks are looked at, unless a wait says otherwise.
    pub(crate) manner: Manner,
}

impl Client {
    /// Begins to set up a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
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
    /// Dropped before it is done, it may or may not have been submitted, as after [`Kind::Ambiguous`](crate::Kind::Ambiguous):
    /// do not race it with a timer.
    ///
    /// At a broker's relay each submit has an [idempotency key](TranscriptionRequest::idempotency_key), and one that
    /// was not answered is asked for again. At DashScope itself it is not.
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`](crate::Kind::InvalidRequest) if the request breaks a documented rule
    /// (nothing was sent); [`Kind::Ambiguous`](crate::Kind::Ambiguous) if nobody knows whether it arrived.
    pub async fn submit(&self, request: &TranscriptionRequest) -> Result<Task, Error> {
        let body = request.body()?;
        let span =
            tracing::info_span!("submit", model = %request.chosen_model(), files = request.urls().len());
        let submit = Submit::new(request.key());
        let task = self.0.api.submit(&submit, &body, request.needs_resolving()).instrument(span).await?;
        tracing::debug!(task = %task.id(), "submitted");
        self.0.poller.submitted(task.id(), request.known_length());
        Ok(task)
    }

    /// How far a task is. One that is not known is no error: its status is [`Status::Unknown`](crate::Status::Unknown).
    ///
    /// # Errors
    /// If the service does not tell, after a few tries.
    pub async fn fetch(&self, id: &TaskId) -> Result<Task, Error> {
        self.0.api.fetch(id).await
    }

    /// Waits for the end of a task, through passing faults and any number of tokens.
    ///
    /// One that failed, was canceled or is not known has ended as well: look at its [status](Task::status), or let
    /// [`collect`](Self::collect) tell.
    ///
    /// All waits of a client and its clones share one scheduler and one query budget.
    pub fn wait(&self, id: &TaskId) -> Wait<'static> {
        let Inner { api, poller, manner } = &*self.0;
        let (poller, clock, manner) = (poller.clone(), api.clock.clone(), *manner);
        Wait { poller, clock, id: id.clone(), manner, deadline: None, on_progress: None, on_trouble: None }
    }

    /// What becomes of a task, at each change of its status until it has ended.
    pub fn changes(&self, id: &TaskId) -> StatusChanges {
        self.wait(id).changes()
    }

    /// Cancels a task that has not begun.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) with `UnsupportedOperation` if it has.
    pub async fn cancel(&self, id: &TaskId) -> Result<(), Error> {
        self.0.api.cancel(id).await
    }

    /// The tasks of the account, also those that others submitted; of the last 24 hours.
    pub fn tasks(&self) -> TaskList {
        TaskList::new(self.clone())
    }

    /// Reads a transcript from the `transcription_url` of a task's result.
    ///
    /// # Errors
    /// If it is gone (results live 24 hours), or cannot be read.
    pub async fn download(&self, transcription_url: &str) -> Result<Transcript, Error> {
        self.0.api.download(transcription_url).instrument(tracing::debug_span!("download")).await
    }

    /// Submits, waits, and reads the transcripts. A file that fails does not concern the others.
    ///
    /// # Errors
    /// If the task as a whole could not be submitted or waited for, or failed without results. Once it
    /// was submitted, [`Error::task_id`] names it. If this is dropped nobody knows its id: who wants to come back to
    /// it [submits](Self::submit) and [waits](Self::wait).
    pub async fn transcribe(&self, request: &TranscriptionRequest) -> Result<Transcription, Error> {
        let submitted = self.submit(request).await?;
        let task = self.wait(submitted.id()).await?;
        self.collect(task, request.urls()).await
    }

    /// Transcribes any number of recordings: splits them into tasks of as many as
    /// [`max_urls`](TranscriptionRequest::max_urls) allows, some of which are under way at a time.
    pub fn transcribe_many(&self, request: TranscriptionRequest) -> Many {
        Many::new(self.clone(), request)
    }

    /// Reads the transcripts of an ended task, in the order of `urls`.
    ///
    /// # Errors
    /// If the task is not known any more, was canceled, or failed without results.
    pub async fn collect(&self, task: Task, urls: &[String]) -> Result<Transcription, Error> {
        let mut files: Vec<_> = self.results(&task, urls)?.collect().await;
        files.sort_unstable_by_key(FileTranscription::index);
        Ok(Transcription { task, files })
    }

    /// Reads the transcripts of an ended task one by one, in no order; each has its place among `urls`.
    ///
    /// # Errors
    /// If the task is not known any more, was canceled, or failed without results.
    pub fn results(&self, task: &Task, urls: &[String]) -> Result<Files, Error> {
        ended(task)?;
        let (client, id) = (self.clone(), task.id().clone());
        let files = stream::iter(matched(task, urls).into_iter().enumerate())
            .map(move |(index, (url, next))| {
                let (client, id) = (client.clone(), id.clone());
                async move { client.read(index, url, &id, next).await }
            })
            .buffer_unordered(DOWNLOADS);
        Ok(Files(Box::pin(files)))
    }

    /// Reads the transcript of one file, or tells why there is none.
    pub(crate) async fn read(&self, index: usize, url: String, id: &TaskId, next: Next) -> FileTranscription {
        let outcome = match next {
            Next::Done(outcome) => outcome,
            Next::Download(from) => self.download(&from).await.map_err(FileFailure::Download),
        };
        FileTranscription { index, url, task: Some(id.clone()), outcome }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
