//! The journal: every request a sandbox saw and how it was answered, to be asserted on.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST /api/v1/tokens`.
    Mint,
    /// `POST /api/v1/services/audio/asr/transcription`.
    Submit,
    /// `GET /api/v1/tasks/{task_id}`.
    Query,
    /// `GET /api/v1/tasks/`.
    List,
    /// `POST /api/v1/tasks/{task_id}/cancel`.
    Cancel,
    /// `GET` of a `transcription_url`.
    Result,
    /// `GET /api/v1/uploads`.
    Policy,
    /// `POST` of a file to the storage.
    Upload,
    /// Anything else.
    Other,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 9] = [
        Self::Mint,
        Self::Submit,
        Self::Query,
        Self::List,
        Self::Cancel,
        Self::Result,
        Self::Policy,
        Self::Upload,
        Self::Other,
    ];
}

/// One request, without any secret.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Counts the requests from 1 on, in the order of their arrival.
    pub sequence: u64,
    /// When it had arrived whole, on the monotonic clock.
    #[serde(skip)]
    pub at: Instant,
    /// The same on the wall clock, since the Unix epoch.
    #[serde(rename = "unix_ms", with = "crate::millis")]
    pub unix: Duration,
    /// What it asked for.
    pub operation: Operation,
    /// The HTTP method.
    pub method: String,
    /// The path; of a result only `/results/`, for the rest of it is the secret.
    pub path: String,
    /// The query string as sent.
    pub query: Option<String>,
    /// The [fingerprint](crate::fingerprint) of the bearer key or token, or of the result's secret.
    pub key: Option<String>,
    /// The `request_id` of the answer.
    pub request_id: String,
    /// The status of the answer, once it was sent; none for a request that was hung up on or left hanging.
    pub status: Option<u16>,
    /// The body, if it was JSON.
    pub body: Option<Value>,
}

/// How many requests of an operation arrived and were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests that arrived whole.
    pub arrived: u64,
    /// Requests of which the head of an answer was handed to the connection.
    pub answered: u64,
}

#[derive(Debug)]
pub(crate) struct Journal {
    pages: Mutex<Pages>,
    counts: watch::Sender<[Counts; Operation::ALL.len()]>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Pages {
    entries: VecDeque<Entry>,
    last: u64,
}

impl Journal {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { pages: Mutex::default(), counts: watch::Sender::default(), capacity }
    }

    /// Writes down a request; its `sequence` is given here.
    pub(crate) fn arrived(&self, mut entry: Entry) -> u64 {
        let operation = entry.operation;
        let sequence = {
            let mut pages = self.pages();
            pages.last += 1;
            entry.sequence = pages.last;
            if pages.entries.len() >= self.capacity {
                pages.entries.pop_front();
            }
            if self.capacity > 0 {
                pages.entries.push_back(entry);
            }
            pages.last
        };
        self.counts.send_modify(|counts| counts[operation as usize].arrived += 1);
        sequence
    }

    /// Adds the status of the answer.
    pub(crate) fn answered(&self, operation: Operation, sequence: u64, status: u16) {
        if let Some(entry) = self.pages().find(sequence) {
            entry.status = Some(status);
        }
        self.counts.send_modify(|counts| counts[operation as usize].answered += 1);
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.pages().entries.iter().cloned().collect()
    }

    /// Forgets the entries and starts counting anew; sequence numbers go on.
    pub(crate) fn clear(&self) {
        self.pages().entries.clear();
        self.counts.send_modify(|counts| *counts = Default::default());
    }

    pub(crate) fn counts(&self, operation: Operation) -> Counts {
        self.counts.borrow()[operation as usize]
    }

    /// Completes once `enough` holds of the counts of `operation`.
    pub(crate) async fn wait(&self, operation: Operation, mut enough: impl FnMut(Counts) -> bool) {
        let mut counts = self.counts.subscribe();
        let _seen = counts.wait_for(|counts| enough(counts[operation as usize])).await;
    }

    /// An entry is pushed whole or not at all, so a poisoned lock guards nothing broken.
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// The entry with this number, unless it is forgotten; they stand in the order of their numbers.
    fn find(&mut self, sequence: u64) -> Option<&mut Entry> {
        let at = self.entries.binary_search_by_key(&sequence, |entry| entry.sequence).ok()?;
        self.entries.get_mut(at)
    }
}
