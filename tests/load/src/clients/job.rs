//! What a client's process is to do, and what it reports: the same for Valet's and for the vendor's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A job for one process.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Job {
    /// The service's, or the broker's if there is an app.
    pub(crate) base_url: String,
    /// The id of the app at a broker.
    pub(crate) app: Option<String>,
    pub(crate) callers: Vec<Caller>,
    /// For whoever does not pace itself.
    pub(crate) submits_per_second: f64,
    /// After so long what has not ended is given up.
    pub(crate) patience_seconds: u64,
}

/// A caller with a client of its own, who does tasks one after another or at once.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Caller {
    /// The key of its own account, or the secret of the app.
    pub(crate) key: String,
    pub(crate) at_once: bool,
    pub(crate) tasks: Vec<Planned>,
}

/// A task: the recording's URL, and how long it is said to be; 0 if that is not known.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Planned {
    pub(crate) url: String,
    pub(crate) audio_seconds: f64,
}

/// What a process has to tell.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) known: Vec<Known>,
    /// Answers 429 that the client left to its caller.
    pub(crate) refused: u64,
    /// What else went wrong, a task each.
    pub(crate) failed: Vec<String>,
    pub(crate) seconds: f64,
    /// The most memory that the process had, resident.
    pub(crate) peak_kib: u64,
}

/// When the end of a task was known, in seconds since the Unix epoch.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Known {
    pub(crate) caller: usize,
    pub(crate) place: usize,
    pub(crate) task: String,
    pub(crate) at: f64,
}

impl Job {
    pub(crate) fn tasks(&self) -> usize {
        self.callers.iter().map(|caller| caller.tasks.len()).sum()
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_seconds)
    }
}
