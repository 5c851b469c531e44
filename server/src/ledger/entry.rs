//! What is written down, a line of JSON each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A line of the ledger.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// A submit with an `Idempotency-Key` is about to be sent.
    Intent(Intent),
    /// It was refused: nothing came of it, and it may be asked for again.
    Withdrawn {
        /// When, in Unix seconds.
        #[serde(default)]
        time: u64,
        /// Which submit.
        submit: String,
    },
    /// Nobody knows what became of a submit.
    Unknown(Unknown),
    /// A task was submitted.
    Submitted(Submitted),
    /// A task has ended.
    Ended(Ended),
}

/// A submit that can be asked for again.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Intent {
    /// When, in Unix seconds.
    pub time: u64,
    /// Whose it is.
    #[serde(flatten)]
    pub who: Who,
    /// The model.
    pub model: String,
    /// How many recordings it is of.
    pub urls: u32,
    /// The seconds of audio that were taken from quotas for it.
    pub reserved: u64,
    /// A name made of its owner and its key, in hexadecimal.
    pub submit: String,
    /// The SHA-256 of what was submitted, in hexadecimal.
    pub body: String,
}

/// A submit of which nobody knows what became: there may be a task of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Unknown {
    /// When it was sent, in Unix seconds.
    pub time: u64,
    /// Whose it is.
    #[serde(flatten)]
    pub who: Who,
    /// The model.
    pub model: String,
    /// How many recordings it is of.
    pub urls: u32,
    /// The seconds of audio that were taken from quotas for it, and stay taken for the day.
    pub reserved: u64,
    /// A name made of its owner, and of its key or body, in hexadecimal.
    pub submit: String,
}

impl From<Intent> for Unknown {
    /// A submit that was sent, perhaps, before its broker died.
    fn from(intent: Intent) -> Self {
        let Intent { time, who, model, urls, reserved, submit, body: _ } = intent;
        Self { time, who, model, urls, reserved, submit }
    }
}

/// Whose a task is.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Who {
    /// The app.
    pub app: String,
    /// The end user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who vouched for the end user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// A task that was submitted.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Submitted {
    /// When, in Unix seconds.
    pub time: u64,
    /// Whose it is.
    #[serde(flatten)]
    pub who: Who,
    /// The vendor account.
    pub account: String,
    /// The upstream's name.
    pub upstream: String,
    /// The upstream's id of the task.
    pub task: String,
    /// What its owner knows it by.
    pub handle: String,
    /// The model.
    pub model: String,
    /// How many recordings it is of.
    pub urls: u32,
    /// The seconds of audio that were taken from quotas for it.
    pub reserved: u64,
    /// The submit, if it can be asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submit: Option<String>,
}

/// A task that has ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Ended {
    /// When that was noticed, in Unix seconds.
    pub time: u64,
    /// When it was submitted, in Unix seconds: its use is of that day.
    pub submitted: u64,
    /// Whose it is.
    #[serde(flatten)]
    pub who: Who,
    /// The vendor account.
    pub account: String,
    /// The upstream's id of the task.
    pub task: String,
    /// The model.
    pub model: String,
    /// How many recordings it was of.
    pub urls: u32,
    /// How it ended, in the upstream's words.
    pub status: String,
    /// The seconds of audio that the upstream bills; 0 of a task that has vanished (`UNKNOWN`), of which nobody knows.
    pub seconds: u64,
}

impl Entry {
    /// When that was, in Unix time.
    #[must_use]
    pub fn time(&self) -> Duration {
        let (Self::Intent(Intent { time, .. })
        | Self::Withdrawn { time, .. }
        | Self::Unknown(Unknown { time, .. })
        | Self::Submitted(Submitted { time, .. })
        | Self::Ended(Ended { time, .. })) = self;
        Duration::from_secs(*time)
    }
}
