//! The client: all calls, on one token source and one query budget.

use std::{fmt, sync::Arc};

use futures_util::{StreamExt, stream};
use valet_pacing::PollSchedule;

use crate::{
    ClientBuilder, Error, FileFailure, FileTranscription, Task, TaskId, Token, Transcript, Transcription,
    TranscriptionRequest, Wait,
    api::Api,
    transcription::{Next, ended, matched},
};

/// Results of one task that are downloaded at a time.
const DOWNLOADS: usize = 4;

/// Transcribes recordings. Clones are cheap, and share tokens and query budget.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) api: Api,
    pub(crate) schedule: PollSchedule,
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
    /// # Errors
    /// [`Kind::InvalidRequest`](crate::Kind::InvalidRequest) if the request breaks a documented rule
    /// (nothing was sent); [`Kind::Ambiguous`](crate::Kind::Ambiguous) if nobody knows whether it arrived.
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
    /// [`Kind::Refused`](crate::Kind::Refused) with `UnsupportedOperation` if it has.
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
    /// If the task as a whole could not be submitted or waited for, or failed without results. Once it
    /// was submitted, [`Error::task_id`] names it.
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
        let files = stream::iter(matched(&task, urls))
            .map(|(url, next)| async move {
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

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
