//! What a pass over the account's list of unfinished tasks has shown. Which page is next, `valet_pacing::Pass` says.

use std::{collections::HashSet, time::Instant};

use serde::Deserialize;
use valet_pacing::{Pass, Stage};

/// So many pages of a pass may fail.
const MOST_FAILURES: u32 = 3;

/// A page of the list (*Manage asynchronous tasks*).
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    pub(super) total_page: u32,
    #[serde(default)]
    pub(super) data: Vec<Listed>,
}

/// A task on it.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) task_id: String,
    #[serde(default)]
    pub(super) status: String,
}

/// The upstream's word for the tasks of a list.
pub(super) fn status_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Pending => "PENDING",
        Stage::Running => "RUNNING",
    }
}

#[derive(Debug)]
pub(super) struct Sweep {
    /// Which it is: a page of one that was given up is none of another's.
    pub(super) number: u64,
    pub(super) began: Instant,
    pub(super) pass: Pass,
    /// Who was on a page, by number.
    pub(super) seen: HashSet<u64>,
    /// How many looks it has spared.
    pub(super) spared: usize,
    failures: u32,
}

impl Sweep {
    pub(super) fn new(number: u64, began: Instant, pass: Pass) -> Self {
        Self { number, began, pass, seen: HashSet::new(), spared: 0, failures: 0 }
    }

    /// The page that was asked for has not come: it is to be asked for again. Tells whether that has sense.
    pub(super) fn ask_again(&mut self, is_throttled: bool) -> bool {
        self.pass.ask_again();
        // Who is throttled pauses anyway.
        self.failures += u32::from(!is_throttled);
        self.failures <= MOST_FAILURES
    }
}
