//! The lines of a journal: one JSON object each, for people to read and for a later version to understand.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use valet_client::{TaskId, request::IdempotencyKey};

use crate::output::{Layout, Look};

/// The version of the format that is written, and the only one that is read.
pub(crate) const VERSION: u32 = 1;

/// A line: when it was written, and what it says.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) entry: Entry,
}

/// What a line says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// The first line: what all requests of the journal have in common.
    Journal { version: u32, subject: Subject },
    /// A run begins.
    Run(Run),
    /// A task is about to be submitted. Until its outcome is known, it may or may not have been.
    Intent(Intent),
    /// The intent's task was submitted, and is paid for.
    Submitted { intent: u64, task: TaskId },
    /// The intent's task was certainly not submitted.
    NotSubmitted { intent: u64, code: String, message: String },
    /// The intent's task was looked for until it could not arrive any more, and was not found.
    NotFound { intent: u64 },
    /// Nobody could tell whether the intent's task was submitted, and it was decided to do it again.
    GivenUp { intent: u64 },
    /// The transcript of a source was written to these files, or to standard output if there are none.
    Done {
        source: String,
        files: Vec<PathBuf>,
        #[serde(default, skip_serializing_if = "Look::is_usual")]
        look: Look,
    },
    /// A source was submitted and paid for, and the service does not know of its task any more.
    Lost { source: String, task: TaskId },
    /// The service could not transcribe a source.
    Failed { source: String, code: String, message: String },
    /// A run has ended: of each source it is known what came of it.
    Ended { run: u64 },
}

/// Whom the requests are made to, and all that they say besides their URLs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Subject {
    /// The broker and the app, or the service's URL.
    pub(crate) service: String,
    pub(crate) model: String,
    pub(crate) parameters: Map<String, Value>,
}

/// What a run is to do, so that it can be taken up without its command line.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Run {
    pub(crate) run: u64,
    pub(crate) sources: Vec<Planned>,
    pub(crate) layout: Layout,
    pub(crate) max_urls: usize,
    #[serde(default)]
    pub(crate) again: Again,
}

/// Whether a run does again what is done.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Again {
    #[default]
    No,
    /// It begins anew with those of its sources that were over.
    Begins,
    /// It takes up a run that did.
    GoesOn,
}

/// A source, and the files that its transcript goes to: one for each format, none for standard output.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Planned {
    pub(crate) source: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) files: Vec<PathBuf>,
}

/// A task that is about to be submitted: its sources, and the URLs that stand for them in the request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Intent {
    pub(crate) intent: u64,
    pub(crate) sources: Vec<String>,
    /// What the request names instead of them: for local files, which are uploaded first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) uploads: Vec<String>,
    /// The name by which a relay knows it; none where the service knows no such names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<IdempotencyKey>,
}

impl Intent {
    /// What the request names, in the order of the sources.
    pub(crate) fn urls(&self) -> &[String] {
        if self.uploads.is_empty() { &self.sources } else { &self.uploads }
    }
}
