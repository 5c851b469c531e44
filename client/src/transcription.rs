//! What came of a task, file by file, in the order they were named.

use std::fmt;

use url::Url;

use crate::{Error, Kind, Status, Task, TaskId, Transcript, error::printable, meaning, task::Subtask};

/// What came of a task.
#[derive(Clone, Debug)]
pub struct Transcription {
    pub(crate) task: Task,
    pub(crate) files: Vec<FileTranscription>,
}

impl Transcription {
    /// The task as it ended.
    #[must_use]
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// The files, in the order in which they were named.
    #[must_use]
    pub fn files(&self) -> &[FileTranscription] {
        &self.files
    }

    /// The files, to be kept.
    #[must_use]
    pub fn into_files(self) -> Vec<FileTranscription> {
        self.files
    }
}

/// What came of one file.
#[derive(Clone, Debug)]
pub struct FileTranscription {
    pub(crate) index: usize,
    pub(crate) url: String,
    pub(crate) task: Option<TaskId>,
    pub(crate) outcome: Result<Transcript, FileFailure>,
}

impl FileTranscription {
    /// The URL it was named by.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its place among the URLs that were named, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The task it was part of; none if that could not be submitted.
    #[must_use]
    pub fn task_id(&self) -> Option<&TaskId> {
        self.task.as_ref()
    }

    /// Its transcript, which is empty if there is no speech in it.
    ///
    /// # Errors
    /// Why there is none. The other files of the task are not concerned.
    pub fn transcript(&self) -> Result<&Transcript, &FileFailure> {
        self.outcome.as_ref()
    }

    /// Its [transcript](Self::transcript), to be kept.
    ///
    /// # Errors
    /// Why there is none.
    pub fn into_transcript(self) -> Result<Transcript, FileFailure> {
        self.outcome
    }
}

/// Why a file has no transcript.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FileFailure {
    /// The service could not transcribe it.
    Failed {
        /// The service's code, as `InvalidFile.DownloadFailed`.
        code: String,
        /// The service's words.
        message: String,
    },
    /// The task ended without a word about it.
    Missing,
    /// It was transcribed, and its result cannot be read.
    Download(Error),
    /// The task it was part of could not be submitted or waited for, or failed as a whole.
    Task(Error),
}

impl FileFailure {
    /// The service's code for it, if there is one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Failed { code, .. } => Some(code),
            Self::Download(error) | Self::Task(error) => error.code(),
            Self::Missing => None,
        }
    }

    /// What the service's code means, if it is documented.
    #[must_use]
    pub fn meaning(&self) -> Option<&'static str> {
        self.code().and_then(meaning::of).map(|found| found.meaning)
    }

    /// What to do about it, if the service's code is documented.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        self.code().and_then(meaning::of).map(|found| found.remedy)
    }
}

impl fmt::Display for FileFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { code, message } if message.is_empty() => write!(f, "failed with {code}"),
            Self::Failed { code, message } => write!(f, "{message} ({code})"),
            Self::Missing => f.write_str("the task ended without a result for this file"),
            Self::Task(error) => write!(f, "{error}"),
            Self::Download(error) => write!(f, "transcribed, but the result cannot be read: {error}"),
        }
    }
}

impl std::error::Error for FileFailure {}

/// What to do about one file of an ended task.
pub(crate) enum Next {
    Download(String),
    Done(Result<Transcript, FileFailure>),
}

impl Next {
    pub(crate) fn of(subtask: Option<&Subtask>, url: &str) -> Self {
        let Some(subtask) = subtask else { return Self::Done(Err(FileFailure::Missing)) };
        let code = subtask.code.as_deref().unwrap_or_default();
        match (&subtask.subtask_status, &subtask.transcription_url) {
            (Status::Succeeded, Some(url)) => Self::Download(url.clone()),
            _ if subtask.has_no_speech() => {
                Self::Done(Ok(Transcript { file_url: url.to_owned(), ..Transcript::default() }))
            }
            (status, _) => {
                let code = printable(if code.is_empty() { status.as_str() } else { code }.to_owned());
                let message = printable(subtask.message.clone().unwrap_or_default());
                Self::Done(Err(FileFailure::Failed { code, message }))
            }
        }
    }
}

/// What to do about each URL of a task.
pub(crate) fn matched(task: &Task, urls: &[String]) -> Vec<(String, Next)> {
    let mut results: Vec<_> = task.results().iter().collect();
    let next = |url: &String| {
        // The service promises no order; the same URL may be there twice.
        let found = results.iter().position(|subtask| is_same_url(&subtask.file_url, url));
        (url.clone(), Next::of(found.map(|index| results.remove(index)), url))
    };
    urls.iter().map(next).collect()
}

/// The service gives URLs back as they were sent: percent-encoded where they had to be.
fn is_same_url(sent: &str, named: &str) -> bool {
    sent == named || named.parse::<Url>().is_ok_and(|url| url.as_str() == sent)
}

/// A task with results has ended well enough: what failed, fails file by file.
pub(crate) fn ended(task: &Task) -> Result<(), Error> {
    let (kind, message) = match task.status() {
        Status::Unknown => (Kind::UnknownTask, "is not known: it expired, or never was".into()),
        Status::Canceled => (Kind::TaskFailed, "was canceled".into()),
        Status::Failed if task.results().is_empty() => {
            let said = task.output.message.as_deref().unwrap_or("no reason given");
            (Kind::TaskFailed, format!("failed: {said}"))
        }
        Status::Succeeded | Status::Failed => return Ok(()),
        status => (Kind::TaskFailed, format!("has not ended: it is {status}")),
    };
    let request_id = Some(task.request_id.clone()).filter(|id| !id.is_empty());
    let error = Error::answered(kind, message, 200, task.output.code.clone(), request_id, None);
    Err(error.of_task(task.id()))
}
