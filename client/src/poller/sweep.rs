//! One pass over the list of unfinished tasks, page by page.
//!
//! First those that are `PENDING`, then those that are `RUNNING`: a task that begins meanwhile is seen
//! once at least. So one that is in neither has ended, or is not on the list at all.

use std::{collections::HashMap, time::Instant};

use valet_pacing::Listing;

use crate::{Status, TaskId, list::TaskPage};

/// A list of more pages than these is not read.
const MOST_PAGES: u32 = 1000;

pub(super) struct Sweep {
    pub(super) began: Instant,
    /// Looks that were due when it began.
    due: usize,
    pub(super) seen: HashMap<TaskId, Status>,
    pub(super) calls: usize,
    stage: Status,
    pages: u32,
    asked: u32,
    read: u32,
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
    pub(super) fn new(began: Instant, due: usize) -> Self {
        let (seen, stage) = (HashMap::new(), Status::Pending);
        Self { began, due, seen, calls: 0, stage, pages: 1, asked: 0, read: 0 }
    }

    /// The next page to ask for; none while it is not known whether there is one.
    pub(super) fn next_page(&mut self) -> Option<(Status, u32)> {
        (self.asked < self.pages).then(|| {
            self.asked += 1;
            self.calls += 1;
            (self.stage.clone(), self.asked)
        })
    }

    pub(super) fn has_page(&self) -> bool {
        self.asked < self.pages
    }

    /// A page has come.
    pub(super) fn note(&mut self, page: TaskPage) -> Progress {
        self.read += 1;
        if page.page_no == 1 {
            self.pages = page.total_page.clamp(1, MOST_PAGES);
            let calls = self.calls + self.pages as usize - 1;
            if page.total_page > MOST_PAGES || !Listing::pays_for(calls, self.due) {
                return Progress::NotWorthIt(calls);
            }
        }
        let unfinished = page.tasks.into_iter().filter(|task| !task.status.is_final());
        self.seen.extend(unfinished.map(|task| (task.task_id, task.status)));
        match (self.read == self.pages, &self.stage) {
            (false, _) => Progress::GoesOn,
            (true, Status::Pending) => {
                (self.stage, self.pages, self.asked, self.read) = (Status::Running, 1, 0, 0);
                Progress::GoesOn
            }
            (true, _) => Progress::Done,
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(page_no: u32, total_page: u32, ids: &[&str], status: &str) -> TaskPage {
        let data: Vec<_> = ids.iter().map(|id| json!({ "task_id": id, "status": status })).collect();
        let body = json!({ "page_no": page_no, "total_page": total_page, "data": data });
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn the_pages_of_those_that_wait_are_read_before_those_that_run() {
        let mut sweep = Sweep::new(Instant::now(), 100);
        assert_eq!(sweep.next_page(), Some((Status::Pending, 1)));
        assert_eq!(sweep.next_page(), None, "nobody knows yet how many there are");
        assert_eq!(sweep.note(page(1, 3, &["a"], "PENDING")), Progress::GoesOn);
        assert_eq!(sweep.next_page(), Some((Status::Pending, 2)));
        assert_eq!(sweep.next_page(), Some((Status::Pending, 3)));
        assert_eq!(sweep.note(page(3, 3, &["c"], "PENDING")), Progress::GoesOn);
        assert_eq!(sweep.next_page(), None);
        assert_eq!(sweep.note(page(2, 3, &["b"], "PENDING")), Progress::GoesOn);
        assert_eq!(sweep.next_page(), Some((Status::Running, 1)));
        assert_eq!(sweep.note(page(1, 0, &["a", "d"], "RUNNING")), Progress::Done);
        assert_eq!((sweep.seen.len(), sweep.calls), (4, 4));
        assert_eq!(sweep.seen[&TaskId::from("a")], Status::Running);
    }

    #[test]
    fn a_list_that_is_too_long_for_what_it_saves_is_given_up() {
        let mut sweep = Sweep::new(Instant::now(), 20);
        sweep.next_page();
        assert_eq!(sweep.note(page(1, 11, &["a"], "PENDING")), Progress::NotWorthIt(11));
    }

    #[test]
    fn what_has_ended_and_is_listed_all_the_same_is_not_seen() {
        let mut sweep = Sweep::new(Instant::now(), 20);
        sweep.next_page();
        sweep.note(page(1, 1, &["a"], "SUCCEEDED"));
        assert!(sweep.seen.is_empty());
    }
}
