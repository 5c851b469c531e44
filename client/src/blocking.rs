//! The client for programs without an async runtime of their own: each call blocks its thread.
//!
//! ```no_run
//! use valet_client::{AppCredential, TranscriptionRequest, blocking::Client};
//!
//! # fn main() -> Result<(), valet_client::Error> {
//! let credential = AppCredential::new("acme", std::env::var("VALET_SECRET").unwrap_or_default());
//! let builder = valet_client::Client::builder().broker("https://valet.example.com", credential)?;
//! let client = Client::new(builder.build()?)?;
//!
//! let request = TranscriptionRequest::new(["https://example.com/meeting.mp3"]);
//! for file in client.transcribe(&request)?.files() {
//!     println!("{}", file.transcript().map_or_else(ToString::to_string, |transcript| transcript.text()));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Not to be called from async code, nor dropped there: a blocked worker of a runtime blocks others, and tokio panics.

use std::{future::IntoFuture, path::PathBuf, pin::pin, sync::Arc};

use futures_util::{Stream, StreamExt};
use tokio::runtime::{Builder, Runtime};

use crate::{
    Error, FileTranscription, Kind, Many, Task, TaskId, Token, Transcript, Transcription,
    TranscriptionRequest, Upload, Uploaded, Wait,
    task::{TaskList, TaskPage, TaskSummary},
};

/// Transcribes recordings, each call blocking its thread. Clones are cheap, and share everything.
#[derive(Clone, Debug)]
pub struct Client {
    client: crate::Client,
    runtime: Arc<Runtime>,
}

impl Client {
    /// Makes the calls of `client` on a thread of its own.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn new(client: crate::Client) -> Result<Self, Error> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("valet-client").enable_all().build();
        let runtime = runtime
            .map_err(|error| Error::new(Kind::Configuration, format!("no thread for the client: {error}")))?;
        Ok(Self { client, runtime: Arc::new(runtime) })
    }

    /// The client that this one blocks on, to set up waits and batches by.
    #[must_use]
    pub fn client(&self) -> &crate::Client {
        &self.client
    }

    /// As [`token`](crate::Client::token).
    ///
    /// # Errors
    /// As there.
    pub fn token(&self) -> Result<Arc<Token>, Error> {
        self.block(self.client.token())
    }

    /// As [`submit`](crate::Client::submit).
    ///
    /// # Errors
    /// As there.
    pub fn submit(&self, request: &TranscriptionRequest) -> Result<Task, Error> {
        self.block(self.client.submit(request))
    }

    /// As [`fetch`](crate::Client::fetch).
    ///
    /// # Errors
    /// As there.
    pub fn fetch(&self, id: &TaskId) -> Result<Task, Error> {
        self.block(self.client.fetch(id))
    }

    /// Waits for the end of a task, as it was set up: `client.wait(client.client().wait(&id).deadline(limit))`.
    ///
    /// # Errors
    /// As [`Wait`].
    pub fn wait(&self, wait: Wait<'_>) -> Result<Task, Error> {
        self.block(wait)
    }

    /// Calls `changed` at each change of a task's status, until it has ended.
    ///
    /// # Errors
    /// As [`Wait`].
    pub fn follow(&self, id: &TaskId, mut changed: impl FnMut(&Task)) -> Result<(), Error> {
        self.each(self.client.changes(id), |task| task.map(|task| changed(&task)))
    }

    /// As [`cancel`](crate::Client::cancel).
    ///
    /// # Errors
    /// As there.
    pub fn cancel(&self, id: &TaskId) -> Result<(), Error> {
        self.block(self.client.cancel(id))
    }

    /// A page of a list of tasks, set up by [`tasks`](crate::Client::tasks) and counted from 1.
    ///
    /// # Errors
    /// As [`TaskList::page`].
    pub fn page(&self, list: &TaskList, number: u32) -> Result<TaskPage, Error> {
        self.block(list.page(number))
    }

    /// All tasks of a list.
    ///
    /// # Errors
    /// As [`TaskList::page`].
    pub fn list(&self, list: TaskList) -> Result<Vec<TaskSummary>, Error> {
        let mut tasks = Vec::new();
        self.each(list.stream(), |task| task.map(|task| tasks.push(task)))?;
        Ok(tasks)
    }

    /// As [`download`](crate::Client::download).
    ///
    /// # Errors
    /// As there.
    pub fn download(&self, transcription_url: &str) -> Result<Transcript, Error> {
        self.block(self.client.download(transcription_url))
    }

    /// As [`transcribe`](crate::Client::transcribe).
    ///
    /// # Errors
    /// As there.
    pub fn transcribe(&self, request: &TranscriptionRequest) -> Result<Transcription, Error> {
        self.block(self.client.transcribe(request))
    }

    /// The results of many recordings in the order of their URLs, as set up by
    /// [`transcribe_many`](crate::Client::transcribe_many).
    ///
    /// # Errors
    /// As [`Many`].
    pub fn transcribe_many(&self, many: Many) -> Result<Vec<FileTranscription>, Error> {
        self.block(many)
    }

    /// Calls `done` with the result of each of many recordings as it comes.
    ///
    /// # Errors
    /// As [`Many::stream`].
    pub fn transcribe_each(&self, many: Many, mut done: impl FnMut(FileTranscription)) -> Result<(), Error> {
        self.each(many.stream()?, |file| {
            done(file);
            Ok(())
        })
    }

    /// Puts a local file into temporary storage, as set up by [`upload`](crate::Client::upload).
    ///
    /// # Errors
    /// As [`Upload`].
    pub fn upload(&self, upload: Upload) -> Result<Uploaded, Error> {
        self.block(upload)
    }

    /// As [`transcribe_file`](crate::Client::transcribe_file).
    ///
    /// # Errors
    /// As there.
    pub fn transcribe_file(
        &self,
        path: impl Into<PathBuf>,
        request: TranscriptionRequest,
    ) -> Result<Transcription, Error> {
        self.block(self.client.transcribe_file(path, request))
    }

    fn block<F: IntoFuture>(&self, future: F) -> F::Output {
        self.runtime.block_on(future.into_future())
    }

    fn each<T>(
        &self,
        stream: impl Stream<Item = T>,
        mut each: impl FnMut(T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut stream = pin!(stream);
        while let Some(item) = self.block(stream.next()) {
            each(item)?;
        }
        Ok(())
    }
}
