//! One pass over the account's list of unfinished tasks, page by page.
//!
//! First those that are `PENDING`, then those that are `RUNNING`: a task that begins meanwhile is seen once at
//! least. Pages are read from the last to the first: what ends meanwhile moves the rest towards the front, so
//! that nobody is passed over; read the other way, each end would hide somebody at the next page's edge.

use std::{collections::HashSet, time::Instant};

use serde::Deserialize;
use valet_pacing::Listing;

/// A list of more pages than these is not read.
const MOST_PAGES: u32 = 2000;
/// So many pages of a pass may fail.
const MOST_FAILURES: u32 = 3;
/// Fewer tasks than these are in some order by chance.
const FEW: usize = 8;

/// A page of the list (*Manage asynchronous tasks*).
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    total_page: u32,
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

/// Which of the two lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    Pending,
    Running,
}

impl Stage {
    /// The upstream's word for it.
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
        }
    }
}

/// How many pages each of the two lists had, the last time.
pub(super) type Lengths = [u32; 2];

#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) began: Instant,
    /// Looks that were due when it began.
    pub(super) due: usize,
    /// Who was on a page, by number.
    pub(super) seen: HashSet<u64>,
    pub(super) calls: usize,
    /// How many looks it has spared.
    pub(super) spared: usize,
    pub(super) stage: Stage,
    pub(super) lengths: Lengths,
    /// The next page to ask for, from the last to the first; 0 after it.
    next: u32,
    is_asking: bool,
    is_first: bool,
    failures: u32,
}

/// How a sweep stands.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Progress {
    GoesOn,
    Done,
    /// It would cost more than it saves: this many calls.
    NotWorthIt(usize),
}

impl Sweep {
    /// A sweep that expects lists as long as they were the last time.
    pub(super) fn new(began: Instant, due: usize, lengths: Lengths) -> Self {
        Self {
            began,
            due,
            seen: HashSet::new(),
            calls: 0,
            spared: 0,
            stage: Stage::Pending,
            lengths,
            next: lengths[0].max(1),
            is_asking: false,
            is_first: true,
            failures: 0,
        }
    }

    /// The page that was asked for has not come: it is to be asked for again. Tells whether that has sense.
    pub(super) fn ask_again(&mut self, is_throttled: bool) -> bool {
        self.is_asking = false;
        // Who is throttled pauses anyway.
        self.failures += u32::from(!is_throttled);
        self.failures <= MOST_FAILURES
    }

    /// The next page to ask for, unless one is asked for already.
    pub(super) fn ask(&mut self) -> Option<u32> {
        if self.is_asking {
            return None;
        }
        self.is_asking = true;
        self.calls += 1;
        Some(self.next)
    }

    pub(super) fn has_page(&self) -> bool {
        !self.is_asking
    }

    /// The page that was asked for has come.
    pub(super) fn note(&mut self, page: &Page) -> Progress {
        self.is_asking = false;
        let place = self.stage as usize;
        if std::mem::take(&mut self.is_first) {
            let total = page.total_page;
            self.lengths[place] = total.max(1);
            let left =
                total as usize + if self.stage == Stage::Pending { self.lengths[1] as usize } else { 0 };
            if total > MOST_PAGES || !Listing::pays_for(self.calls + left, self.due) {
                return Progress::NotWorthIt(self.calls + left);
            }
            // It was the last page, or it has to be read from what is the last page now.
            self.next = if self.next == total { total - 1 } else { total };
        } else {
            self.next -= 1;
        }
        match (self.next, self.stage) {
            (1.., _) => Progress::GoesOn,
            (0, Stage::Pending) => {
                self.stage = Stage::Running;
                (self.next, self.is_first) = (self.lengths[1].max(1), true);
                Progress::GoesOn
            }
            (0, Stage::Running) => Progress::Done,
        }
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
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    fn page(total_page: u32) -> Page {
        Page { total_page, data: Vec::new() }
    }

    /// The pages that a sweep asks for, where the lists have these lengths.
    fn asked(known: Lengths, lengths: Lengths) -> (Vec<(Stage, u32)>, Progress) {
        let (mut sweep, mut asked) = (Sweep::new(Instant::now(), 1000, known), Vec::new());
        loop {
            let stage = sweep.stage;
            let number = sweep.ask().expect("nothing is under way");
            assert_eq!(sweep.ask(), None, "one at a time");
            asked.push((stage, number));
            match sweep.note(&page(lengths[stage as usize])) {
                Progress::GoesOn => {}
                ended => return (asked, ended),
            }
        }
    }

    #[test]
    fn pages_are_read_from_the_last_to_the_first() {
        use Stage::{Pending, Running};
        let first = [(Pending, 1), (Pending, 3), (Pending, 2), (Pending, 1), (Running, 1)];
        assert_eq!(asked([0, 0], [3, 1]), (first.to_vec(), Progress::Done));
        let again = [(Pending, 3), (Pending, 2), (Pending, 1), (Running, 1)];
        assert_eq!(asked([3, 1], [3, 1]), (again.to_vec(), Progress::Done));
        let shrunk = [(Pending, 3), (Pending, 2), (Pending, 1), (Running, 2), (Running, 1)];
        assert_eq!(asked([3, 2], [2, 2]), (shrunk.to_vec(), Progress::Done));
        assert_eq!(asked([3, 2], [0, 0]), (vec![(Pending, 3), (Running, 2)], Progress::Done));
    }

    #[test]
    fn a_list_that_is_too_long_for_what_it_saves_is_given_up() {
        let mut sweep = Sweep::new(Instant::now(), 20, [0, 0]);
        sweep.ask();
        assert_eq!(sweep.note(&page(11)), Progress::NotWorthIt(12));
    }

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
