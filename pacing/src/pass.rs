//! One pass over the lists of unfinished tasks: which page is read next.

use crate::Listing;

/// A list of more pages than these is not read.
const MOST_PAGES: u32 = 2000;

/// Which of the two lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Of tasks that have not begun.
    Pending,
    /// Of tasks that have begun.
    Running,
}

/// How a pass stands.
#[derive(Debug, Eq, PartialEq)]
pub enum Progress {
    /// There is more to read.
    GoesOn,
    /// Both lists were read.
    Done,
    /// It would cost more than it saves: this many calls.
    NotWorthIt(usize),
}

/// How many pages each of the two lists had, the last time.
pub type Lengths = [u32; 2];

/// One pass over the two lists, page by page.
///
/// First those that are pending, then those that are running: a task that begins while the first list is read is seen
/// once at least. Pages are read from the last to the first: what ends meanwhile moves the rest towards the front, so
/// that nobody is passed over; read the other way, each end would hide somebody at the next page's edge. Only
/// who begins while the second list is read may hide somebody.
#[derive(Debug)]
pub struct Pass {
    /// Looks that were due when it began.
    due: usize,
    calls: usize,
    stage: Stage,
    lengths: Lengths,
    /// The next page to ask for, from the last to the first; 0 after it.
    next: u32,
    /// Pages that may be under way at a time, and those that are. The service must read them as they are asked for.
    at_once: u32,
    under_way: u32,
    /// The first page tells how long the list is, and is waited for.
    is_first: bool,
}

impl Pass {
    /// A pass that spares `due` looks at best, and expects lists as long as they were the last time. So many pages may
    /// be under way at a time.
    #[must_use]
    pub fn new(due: usize, lengths: Lengths, at_once: u32) -> Self {
        let (stage, next) = (Stage::Pending, lengths[0].max(1));
        Self { due, calls: 0, stage, lengths, next, at_once, under_way: 0, is_first: true }
    }

    /// Which list is read.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// How many calls it has made.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// How many pages the lists have, as far as it is known.
    #[must_use]
    pub fn lengths(&self) -> Lengths {
        self.lengths
    }

    /// Whether there is a page to ask for now.
    #[must_use]
    pub fn has_page(&self) -> bool {
        self.next > 0 && self.under_way < if self.is_first { 1 } else { self.at_once }
    }

    /// The next page to ask for, if there is one now.
    pub fn ask(&mut self) -> Option<u32> {
        if !self.has_page() {
            return None;
        }
        let page = self.next;
        // The first is not done with before it has come: it tells which is the next.
        self.next -= u32::from(!self.is_first);
        self.calls += 1;
        self.under_way += 1;
        Some(page)
    }

    /// The one page that is under way has not come, and is to be asked for again.
    pub fn ask_again(&mut self) {
        self.under_way -= 1;
        self.next += u32::from(!self.is_first);
    }

    /// A page has come, of a list of so many pages.
    pub fn note(&mut self, total: u32) -> Progress {
        self.under_way -= 1;
        if std::mem::take(&mut self.is_first) {
            self.lengths[self.stage as usize] = total.max(1);
            let later = if self.stage == Stage::Pending { self.lengths[1] as usize } else { 0 };
            let calls = self.calls + total as usize + later;
            if total > MOST_PAGES || !Listing::pays_for(calls, self.due) {
                return Progress::NotWorthIt(calls);
            }
            // It was the last page, or it has to be read from what is the last page now.
            self.next = if self.next == total { total - 1 } else { total };
        }
        match (self.next, self.under_way, self.stage) {
            (0, 0, Stage::Pending) => {
                self.stage = Stage::Running;
                (self.next, self.is_first) = (self.lengths[1].max(1), true);
                Progress::GoesOn
            }
            (0, 0, Stage::Running) => Progress::Done,
            _ => Progress::GoesOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The pages that a pass asks for, where the lists have these lengths.
    fn asked(known: Lengths, lengths: Lengths) -> (Vec<(Stage, u32)>, Progress) {
        let (mut pass, mut asked) = (Pass::new(1000, known, 1), Vec::new());
        loop {
            let stage = pass.stage();
            let page = pass.ask().expect("nothing is under way");
            assert_eq!(pass.ask(), None, "one at a time");
            asked.push((stage, page));
            match pass.note(lengths[stage as usize]) {
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
    fn several_pages_are_under_way_once_the_length_is_known_and_one_that_fails_is_asked_for_again() {
        let mut pass = Pass::new(1000, [0, 0], 2);
        assert_eq!((pass.ask(), pass.ask()), (Some(1), None));
        pass.ask_again();
        assert_eq!(pass.ask(), Some(1));
        assert_eq!(pass.note(3), Progress::GoesOn);
        assert_eq!((pass.ask(), pass.ask(), pass.ask()), (Some(3), Some(2), None));
        assert_eq!((pass.note(3), pass.ask()), (Progress::GoesOn, Some(1)));
        assert_eq!((pass.note(3), pass.stage()), (Progress::GoesOn, Stage::Pending));
        pass.ask_again();
        assert_eq!((pass.ask(), pass.note(3)), (Some(1), Progress::GoesOn));
        assert_eq!((pass.stage(), pass.calls()), (Stage::Running, 6));
    }

    #[test]
    fn lists_that_are_too_long_for_what_they_save_are_given_up() {
        let mut pass = Pass::new(20, [0, 0], 1);
        pass.ask();
        assert_eq!(pass.note(11), Progress::NotWorthIt(12));
    }

    proptest! {
        /// Whatever ends meanwhile, and whoever begins while the first list is read: each task that has not ended is
        /// seen. The service reads pages as they are asked for, however late their answers come.
        #[test]
        fn nobody_is_passed_over(
            pending in 0..40_usize, running in 0..40_usize, size in 1..8_usize, known: [u8; 2], at_once in 1..4_u32,
            events in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 0..4_usize), 0..400),
        ) {
            let mut lists = [(0..pending).collect::<Vec<_>>(), (100..100 + running).collect()];
            let mut pass = Pass::new(usize::MAX, known.map(|length| u32::from(length % 12)), at_once);
            let (mut seen, mut answers) = (Vec::new(), Vec::new());
            let mut events = events.into_iter();
            loop {
                if let Some(page) = pass.ask() {
                    let list = &lists[pass.stage() as usize];
                    seen.extend(list.chunks(size).nth(page as usize - 1).into_iter().flatten().copied());
                    answers.push(u32::try_from(list.len().div_ceil(size)).unwrap());
                }
                if let Some((begins, index, count)) = events.next() {
                    for _ in 0..count {
                        let list = usize::from(!begins && !lists[1].is_empty());
                        if lists[list].is_empty() || (begins && pass.stage() == Stage::Running) {
                            continue;
                        }
                        let place = index.index(lists[list].len());
                        let task = lists[list].remove(place);
                        if begins {
                            let place = lists[1].partition_point(|other| *other < task);
                            lists[1].insert(place, task);
                        }
                    }
                }
                if (!pass.has_page() || events.len() % 2 == 0)
                    && let Some(total) = answers.pop()
                    && pass.note(total) == Progress::Done
                {
                    break;
                }
            }
            for task in lists.iter().flatten() {
                prop_assert!(seen.contains(task), "{task} is passed over");
            }
        }
    }
}
