//! One task: what was asked, and how far it is at a given time.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    contract::Transcription,
    failure::Failure,
    settings::{AllFailed, TaskTime},
};

/// How far a task is (*Manage asynchronous tasks*). `UNKNOWN` is what a query says of no task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskStatus {
    /// Queued; may still be cancelled.
    Pending,
    /// Being worked on.
    Running,
    /// Ended, with a success among its subtasks.
    Succeeded,
    /// Ended without any.
    Failed,
    /// Cancelled while it was pending.
    Canceled,
    /// Expired, never submitted, or another account's.
    Unknown,
}

/// A point in time on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) unix: Duration,
}

impl Moment {
    /// The wall-clock time at `instant`, which is not before this moment.
    fn unix_at(self, instant: Instant) -> Duration {
        self.unix + instant.saturating_duration_since(self.at)
    }
}

/// A task. What a query shows follows from the time and from the work done, so that a task is never seen
/// to lag behind the clock.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) account: String,
    /// The fingerprint of the key or token that submitted it.
    pub(crate) key: String,
    pub(crate) request_id: String,
    pub(crate) order: Transcription,
    pub(crate) submitted: Moment,
    time: TaskTime,
    all_failed: AllFailed,
    /// Cancelled together with the task: its worker need not go on.
    pub(crate) given_up: CancellationToken,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    canceled: Option<Instant>,
    /// The finished subtasks; all of them once `worked` is set.
    subtasks: Vec<Subtask>,
    worked: Option<Instant>,
}

/// What became of one URL.
#[derive(Clone, Debug)]
pub(crate) struct Subtask {
    /// Its place among the URLs of the request.
    pub(crate) place: usize,
    pub(crate) outcome: Result<Success, Failure>,
}

#[derive(Clone, Debug)]
pub(crate) struct Success {
    pub(crate) transcription_url: String,
    /// The speech that is billed: of each channel that was asked for, in milliseconds.
    pub(crate) speech: u64,
}

/// A task as a query sees it.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) status: TaskStatus,
    /// Since the Unix epoch; absent before that came.
    pub(crate) scheduled: Option<Duration>,
    pub(crate) end: Option<Duration>,
    /// Of a running task those finished so far.
    pub(crate) subtasks: Vec<Subtask>,
}

impl Task {
    pub(crate) fn new(
        id: String,
        (account, key): (String, String),
        request_id: String,
        order: Transcription,
        submitted: Moment,
        (time, all_failed): (TaskTime, AllFailed),
    ) -> Self {
        let given_up = CancellationToken::new();
        let progress = Mutex::default();
        Self { id, account, key, request_id, order, submitted, time, all_failed, given_up, progress }
    }

    /// When the task stops being pending.
    pub(crate) fn scheduled(&self) -> Instant {
        self.submitted.at + self.time.pending
    }

    /// The earliest time at which it can have ended.
    pub(crate) fn due(&self) -> Instant {
        self.scheduled() + self.time.running
    }

    pub(crate) fn view(&self, now: Instant) -> View {
        let progress = self.lock();
        let unix = |at| Some(self.submitted.unix_at(at));
        if let Some(canceled) = progress.canceled {
            let (scheduled, end) = (None, unix(canceled));
            return View { status: TaskStatus::Canceled, scheduled, end, subtasks: Vec::new() };
        }
        let subtasks = progress.subtasks.clone();
        if now < self.scheduled() {
            return View { status: TaskStatus::Pending, scheduled: None, end: None, subtasks };
        }
        let scheduled = unix(self.scheduled());
        match self.ended(&progress).filter(|&end| end <= now) {
            None => View { status: TaskStatus::Running, scheduled, end: None, subtasks },
            Some(end) => View { status: self.verdict(&subtasks), scheduled, end: unix(end), subtasks },
        }
    }

    /// Cancels the task if it is still pending; whether it was.
    pub(crate) fn cancel(&self, now: Instant) -> bool {
        let mut progress = self.lock();
        let pending = progress.canceled.is_none() && now < self.scheduled();
        if pending {
            progress.canceled = Some(now);
            self.given_up.cancel();
        }
        pending
    }

    pub(crate) fn add_subtask(&self, subtask: Subtask) {
        let mut progress = self.lock();
        let at = progress.subtasks.partition_point(|other| other.place < subtask.place);
        progress.subtasks.insert(at, subtask);
    }

    pub(crate) fn set_worked(&self, now: Instant) {
        self.lock().worked = Some(now);
    }

    /// Whether the task ended (or was cancelled) at least `ttl` ago.
    pub(crate) fn is_forgotten(&self, now: Instant, ttl: Duration) -> bool {
        let progress = self.lock();
        let end = progress.canceled.or_else(|| self.ended(&progress));
        end.is_some_and(|end| now.saturating_duration_since(end) >= ttl)
    }

    /// The end of a task whose work is done; it may lie ahead.
    fn ended(&self, progress: &Progress) -> Option<Instant> {
        progress.worked.map(|worked| worked.max(self.due()))
    }

    /// A task succeeded if any subtask did (*Manage asynchronous tasks*).
    fn verdict(&self, subtasks: &[Subtask]) -> TaskStatus {
        let any = subtasks.iter().any(|subtask| subtask.outcome.is_ok());
        if any || self.all_failed == AllFailed::Succeeded {
            TaskStatus::Succeeded
        } else {
            TaskStatus::Failed
        }
    }

    /// Every change is one assignment or insertion, so a poisoned lock guards nothing broken.
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
