//! What came of one recording.

use serde::Serialize;
use valet_client::{FileFailure, TaskId, Transcript};

use crate::exit::Failure;

/// What came of one recording.
#[derive(Serialize)]
pub(crate) struct Entry<'e> {
    pub(crate) url: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task_id: Option<&'e TaskId>,
    #[serde(flatten)]
    pub(crate) outcome: Outcome<'e>,
}

/// Its transcript, as the service gave it, or why there is none.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome<'e> {
    Transcript(&'e Transcript),
    Failure { code: String, message: String },
}

impl From<&FileFailure> for Outcome<'_> {
    fn from(failure: &FileFailure) -> Self {
        let (code, message) = match failure {
            FileFailure::Failed { code, message } => (code.clone(), message.clone()),
            FileFailure::Download(error) | FileFailure::Task(error) => {
                let code = error.code().map_or_else(|| format!("{:?}", error.kind()), str::to_owned);
                (code, failure.to_string())
            }
            _ => ("Missing".into(), failure.to_string()),
        };
        Self::Failure { code, message }
    }
}

impl From<&Failure> for Outcome<'_> {
    fn from(failure: &Failure) -> Self {
        Self::Failure { code: failure.code.clone(), message: failure.message.clone() }
    }
}
