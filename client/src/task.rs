//! A task as the service tells of it; what this version does not know is kept.
//!
//! Source: *Manage asynchronous tasks*.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, error::invalid};
pub use crate::{
    list::{TaskList, TaskPage, TaskSummary},
    stamp::{ASSUMED_OFFSET, TimeStamp},
};

/// The id of a task.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Itself, if it can stand in a URL's path as it is.
    pub(crate) fn checked(&self) -> Result<&str, Error> {
        let rule = "must be 1 to 256 letters, digits, '-', '_' or '.', and not begin with '.'";
        if self.is_plain() { Ok(&self.0) } else { Err(invalid("task_id", rule)) }
    }

    fn is_plain(&self) -> bool {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        (1..=256).contains(&self.0.len()) && self.0.bytes().all(plain) && !self.0.starts_with('.')
    }
}

impl<T: Into<String>> From<T> for TaskId {
    fn from(id: T) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a task or a file in it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Cow<'_, str>", into = "String")]
#[non_exhaustive]
pub enum Status {
    /// Waiting for its turn.
    Pending,
    /// Being worked on.
    Running,
    /// Held back; only the vendor's SDK knows of it.
    Suspended,
    /// Done; of a task: at least one file was, or even none: look at each.
    Succeeded,
    /// Failed.
    Failed,
    /// Canceled before it began.
    Canceled,
    /// Expired, or never known.
    Unknown,
    /// One that this version does not know.
    Other(String),
}

impl Status {
    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled | Self::Unknown)
    }

    /// As the service writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Suspended => "SUSPENDED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
            Self::Unknown => "UNKNOWN",
            Self::Other(status) => status,
        }
    }
}

impl From<Cow<'_, str>> for Status {
    fn from(status: Cow<'_, str>) -> Self {
        match &*status {
            "PENDING" => Self::Pending,
            "RUNNING" => Self::Running,
            "SUSPENDED" => Self::Suspended,
            "SUCCEEDED" => Self::Succeeded,
            "FAILED" => Self::Failed,
            "CANCELED" => Self::Canceled,
            "UNKNOWN" => Self::Unknown,
            _ => Self::Other(status.into_owned()),
        }
    }
}

impl From<Status> for String {
    fn from(status: Status) -> Self {
        status.as_str().to_owned()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A task, as a submit or a query tells of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Task {
    /// What the service says of it.
    pub output: Output,
    /// What it cost; there once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The service's name for the request that told this.
    #[serde(default)]
    pub request_id: String,
    /// What else the answer held.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The state of a task.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Output {
    /// Its id.
    pub task_id: TaskId,
    /// How far it is.
    pub task_status: Status,
    /// When it was submitted; the service gives no zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submit_time: Option<TimeStamp>,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<TimeStamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<TimeStamp>,
    /// Its files, in no promised order; there once it has ended, also if it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<Subtask>,
    /// How many files are how far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_metrics: Option<TaskMetrics>,
    /// Why the task as a whole failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why the task as a whole failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What else the answer held.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Codes of files in which there is no speech (*Error messages*).
const NO_SPEECH: [&str; 2] = ["SUCCESS_WITH_NO_VALID_FRAGMENT", "ASR_RESPONSE_HAVE_NO_WORDS"];

/// One file of a task.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Subtask {
    /// The URL it was submitted by.
    #[serde(default)]
    pub file_url: String,
    /// How it went.
    pub subtask_status: Status,
    /// Where its transcript is, for 24 hours. A signed URL: whoever has it can read the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcription_url: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What else the answer held.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How many files of a task are how far.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE", default)]
#[non_exhaustive]
pub struct TaskMetrics {
    /// All files.
    pub total: u32,
    /// Those that were transcribed.
    pub succeeded: u32,
    /// Those that were not.
    pub failed: u32,
    /// What else the answer held.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a task cost.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Seconds of speech that are billed.
    #[serde(default)]
    pub duration: f64,
    /// What else the answer held.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Usage {
    /// The speech that is billed.
    #[must_use]
    pub fn speech(&self) -> Duration {
        Duration::try_from_secs_f64(self.duration).unwrap_or_default()
    }
}

impl Task {
    /// A task of which a list told no more than its status.
    pub(crate) fn listed(task_id: TaskId, task_status: Status) -> Self {
        let (submit_time, scheduled_time, end_time) = (None, None, None);
        let (results, task_metrics, code, message, extra) = (Vec::new(), None, None, None, Map::new());
        let output = Output {
            task_id,
            task_status,
            submit_time,
            scheduled_time,
            end_time,
            results,
            task_metrics,
            code,
            message,
            extra,
        };
        Self { output, usage: None, request_id: String::new(), extra: Map::new() }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &TaskId {
        &self.output.task_id
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.output.task_status
    }

    /// Its files; empty until it has ended.
    #[must_use]
    pub fn results(&self) -> &[Subtask] {
        &self.output.results
    }
}

impl Subtask {
    /// Whether there is no speech in it: its transcript is empty, which is no failure.
    #[must_use]
    pub fn has_no_speech(&self) -> bool {
        self.code.as_deref().is_some_and(|code| NO_SPEECH.contains(&code))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The sample of *Manage asynchronous tasks*.
    #[test]
    fn the_documented_answer_is_read_whole() {
        let answer = json!({
            "request_id": "r-1",
            "output": {
                "task_id": "t-1", "task_status": "SUCCEEDED",
                "submit_time": "2024-09-12 15:11:40.041", "scheduled_time": "2024-09-12 15:11:40.071",
                "end_time": "2024-09-12 15:11:40.903",
                "results": [
                    { "file_url": "https://a", "transcription_url": "https://r", "subtask_status": "SUCCEEDED" },
                    { "file_url": "https://b", "code": "InvalidFile.DownloadFailed", "message": "no",
                      "subtask_status": "FAILED" },
                ],
                "task_metrics": { "TOTAL": 2, "SUCCEEDED": 1, "FAILED": 1 },
            },
            "usage": { "duration": 9 },
        });
        let task: Task = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!((task.id().as_str(), task.status()), ("t-1", &Status::Succeeded));
        assert_eq!(task.results()[0].transcription_url.as_deref(), Some("https://r"));
        assert_eq!(task.results()[1].code.as_deref(), Some("InvalidFile.DownloadFailed"));
        assert_eq!(
            task.output.task_metrics,
            Some(TaskMetrics { total: 2, succeeded: 1, failed: 1, extra: Map::new() })
        );
        assert!((task.usage.unwrap().duration - 9.0).abs() < f64::EPSILON);
        assert!(task.extra.is_empty() && task.output.extra.is_empty(), "no field is misspelt");
        assert!(task.output.results.iter().all(|subtask| subtask.extra.is_empty()));
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let answer = json!({
            "request_id": "r", "new": 1,
            "output": { "task_id": "t", "task_status": "PAUSED", "newer": true },
        });
        let task: Task = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!(task.status(), &Status::Other("PAUSED".into()));
        assert!(!task.status().is_final());
        assert_eq!(serde_json::to_value(&task).unwrap(), answer);
    }

    #[test]
    fn an_id_that_could_leave_its_place_in_a_path_is_not_plain() {
        assert!(TaskId::from("7574ee8f-38a3-4b1e-9280-11c33ab46e51").is_plain());
        for bad in ["", "..", "a/b", "a?b", "a b", "%2e", &"x".repeat(257)] {
            assert!(!TaskId::from(bad).is_plain(), "{bad}");
        }
    }
}
