//! Any number of recordings: split into tasks, of which some are under way at a time.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt, stream};

use crate::{
    Client, Error, FileFailure, FileTranscription, Kind, Task, TranscriptionRequest,
    transcription::{Next, ended, matched},
};

/// Tasks that are under way at a time, unless set.
const IN_FLIGHT: usize = 50;
/// Results that are downloaded at a time.
const DOWNLOADS: usize = 8;
/// A submit that is throttled is tried again so often, each time after a minute or so of patience.
const PATIENCE: u32 = 20;

/// The transcription of many recordings: set it up, then `.await` it for all results in the order of the
/// URLs, or take the [`stream`](Self::stream) of results as they come.
#[derive(Debug)]
#[must_use = "nothing happens until it is awaited or streamed"]
pub struct Many {
    client: Client,
    request: TranscriptionRequest,
    in_flight: usize,
    deadline: Option<Duration>,
}

impl Many {
    pub(crate) fn new(client: Client, request: TranscriptionRequest) -> Self {
        Self { client, request, in_flight: IN_FLIGHT, deadline: None }
    }

    /// How many tasks may be under way at a time; 50 unless set.
    pub fn in_flight(mut self, tasks: usize) -> Self {
        self.in_flight = tasks.max(1);
        self
    }

    /// After `limit` no task is submitted or waited for any more; those under way go on. The files that
    /// are left fail with [`Kind::Deadline`].
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// The results as they come, each with its place among the URLs. What fails, fails file by file.
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`] if anything breaks a documented rule; nothing was submitted then.
    pub fn stream(self) -> Result<Files, Error> {
        let Self { client, request, in_flight, deadline } = self;
        let ends = deadline.and_then(|limit| client.0.api.clock.now().checked_add(limit));
        let (parts, read) = (request.split()?, client.clone());
        let files = stream::iter(parts)
            .map(move |(first, part)| {
                let client = client.clone();
                async move {
                    let done = ended_task(&client, &part, ends).await;
                    stream::iter(steps(first, part.urls(), done))
                }
            })
            .buffer_unordered(in_flight)
            .flatten()
            .map(move |step| {
                let client = read.clone();
                async move {
                    match step {
                        Step::Read { index, url, task, next } => {
                            client.read(index, url, task.id(), next).await
                        }
                        Step::Failed(file) => file,
                    }
                }
            })
            .buffer_unordered(DOWNLOADS);
        Ok(Files(Box::pin(files)))
    }
}

impl IntoFuture for Many {
    type Output = Result<Vec<FileTranscription>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut files: Vec<FileTranscription> = self.stream()?.collect().await;
            files.sort_unstable_by_key(FileTranscription::index);
            Ok(files)
        })
    }
}

/// The results of recordings as they come.
#[must_use = "a stream does nothing until it is polled"]
pub struct Files(pub(crate) Pin<Box<dyn Stream<Item = FileTranscription> + Send>>);

impl Stream for Files {
    type Item = FileTranscription;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

/// What is left to do for a file.
enum Step {
    Read { index: usize, url: String, task: Arc<Task>, next: Next },
    Failed(FileTranscription),
}

/// The task of a part of the recordings, once it has ended. Only the wait is cut short by the deadline:
/// a submit that is given up might be billed, and nobody would know its name.
async fn ended_task(
    client: &Client,
    part: &TranscriptionRequest,
    ends: Option<Instant>,
) -> Result<Task, Error> {
    let clock = &client.0.api.clock;
    let too_late = || Error::new(Kind::Deadline, "not submitted: the deadline had passed");
    let mut rounds = 0;
    let submitted = loop {
        if ends.is_some_and(|ends| clock.now() >= ends) {
            return Err(too_late());
        }
        match client.submit(part).await {
            Err(error) if error.kind() == Kind::Throttled && rounds < PATIENCE => rounds += 1,
            outcome => break outcome?,
        }
    };
    let mut wait = client.wait(submitted.id());
    if let Some(ends) = ends {
        wait = wait.deadline(ends.saturating_duration_since(clock.now()));
    }
    let task = wait.await?;
    ended(&task)?;
    Ok(task)
}

fn steps(first: usize, urls: &[String], done: Result<Task, Error>) -> Vec<Step> {
    match done {
        Ok(task) => {
            let task = Arc::new(task);
            let read =
                |(place, (url, next))| Step::Read { index: first + place, url, task: task.clone(), next };
            matched(&task, urls).into_iter().enumerate().map(read).collect()
        }
        Err(error) => {
            let failed = |(place, url): (usize, &String)| {
                let (task, outcome) = (error.task_id().cloned(), Err(FileFailure::Task(error.clone())));
                Step::Failed(FileTranscription { index: first + place, url: url.clone(), task, outcome })
            };
            urls.iter().enumerate().map(failed).collect()
        }
    }
}
