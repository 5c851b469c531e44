//! What `--json-progress` tells: one JSON object a line, on standard error.

use std::path::PathBuf;

use serde::Serialize;
use valet_client::TaskId;

/// Something that happened. Documented in the README of this package; fields may be added.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event<'e> {
    /// A run begins with so many recordings that are not done.
    Run { recordings: usize },
    /// So many bytes of a local file were sent.
    Upload { recording: &'e str, sent: u64, size: u64 },
    /// A task that may have been submitted is looked for.
    Looking { recordings: usize },
    /// A task is waited for.
    Waiting { task: &'e TaskId, recordings: usize },
    /// A task was looked at.
    Status { task: &'e TaskId, status: &'e str, done: usize, recordings: usize },
    /// A transcript was written to these files, or to standard output.
    Written { recording: &'e str, files: &'e [PathBuf] },
    /// A recording has no transcript.
    Failed {
        recording: &'e str,
        code: &'e str,
        message: &'e str,
        #[serde(skip_serializing_if = "Option::is_none")]
        remedy: Option<&'static str>,
    },
    /// Something worth knowing.
    Note { message: &'e str },
    /// Something went wrong.
    Error { message: &'e str },
    /// The command ends.
    End { exit_code: u8 },
}
