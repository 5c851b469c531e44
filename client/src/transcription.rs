//! What came of a task, file by file, in the order they were named.

use std::fmt;

use crate::{Error, Status, Task, Transcript, error::printable, task::Subtask};

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
}

/// What came of one file.
#[derive(Clone, Debug)]
pub struct FileTranscription {
    pub(crate) url: String,
    pub(crate) outcome: Result<Transcript, FileFailure>,
}

impl FileTranscription {
    /// The URL it was named by.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its transcript, which is empty if there is no speech in it.
    ///
    /// # Errors
    /// Why there is none. The other files of the task are not concerned.
    pub fn transcript(&self) -> Result<&Transcript, &FileFailure> {
        self.outcome.as_ref()
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
}

impl fmt::Display for FileFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { code, message } if message.is_empty() => write!(f, "failed with {code}"),
            Self::Failed { code, message } => write!(f, "{message} ({code})"),
            Self::Missing => f.write_str("the task ended without a result for this file"),
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
