//! What a pass over the account's list of unfinished tasks has shown. Which page is next, `valet_pacing::Pass` says.

use std::{collections::HashSet, time::Instant};

use serde::Deserialize;
use valet_pacing::{Pass, Stage};

/// So many pages of a pass may fail.
const MOST_FAILURES: u32 = 3;
/// Fewer tasks than these are in some order by chance.
const FEW: usize = 8;

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
    /// When it was made, in milliseconds of Unix time.
    pub(super) gmt_create: Option<u64>,
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
    pub(super) began: Instant,
    pub(super) pass: Pass,
    /// Who was on a page, by number.
    pub(super) seen: HashSet<u64>,
    /// How many looks it has spared.
    pub(super) spared: usize,
    failures: u32,
}

impl Sweep {
    pub(super) fn new(began: Instant, pass: Pass) -> Self {
        Self { began, pass, seen: HashSet::new(), spared: 0, failures: 0 }
    }

    /// The page that was asked for has not come: it is to be asked for again. Tells whether that has sense.
    pub(super) fn ask_again(&mut self, is_throttled: bool) -> bool {
        self.pass.ask_again();
        // Who is throttled pauses anyway.
        self.failures += u32::from(!is_throttled);
        self.failures <= MOST_FAILURES
    }
}

/// From when to when the tasks of a page were made, if it is in the order of that: whoever was made in between,
/// and is not on it, is not on the list.
pub(super) fn span(page: &Page) -> Option<(u64, u64)> {
    let made: Vec<u64> = page.data.iter().map(|listed| listed.gmt_create).collect::<Option<_>>()?;
    let (first, last) = (*made.first()?, *made.last()?);
    if made.len() < FEW {
        return None;
    }
    (made.is_sorted() || made.is_sorted_by(|a, b| a >= b)).then(|| (first.min(last), first.max(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_in_order_spans_a_time_and_another_spans_none() {
        let of = |made: &[u64]| {
            let listed = |made: &u64| Listed {
                task_id: String::new(),
                status: String::new(),
                gmt_create: Some(*made),
            };
            span(&Page { total_page: 1, data: made.iter().map(listed).collect() })
        };
        let (up, down) = ([1, 2, 3, 4, 5, 6, 7, 9], [9, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!((of(&up), of(&down)), (Some((1, 9)), Some((1, 9))));
        assert_eq!((of(&[1, 2, 3, 9, 5, 6, 7, 8]), of(&up[..7]), of(&[])), (None, None, None));
    }
}
