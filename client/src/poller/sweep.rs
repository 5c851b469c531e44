//! What a pass over the list of unfinished tasks has shown. Which page is next, `valet_pacing::Pass` says.
//!
//! Who is on none of its pages has ended, or is not on the list at all.

use std::{collections::HashMap, time::Instant};

use valet_pacing::{Pass, Stage};

use crate::{Status, TaskId, list::TaskPage};

pub(super) struct Sweep {
    /// Which it is: what comes of one that was given up is not taken for another's.
    pub(super) number: u64,
    pub(super) began: Instant,
    pub(super) pass: Pass,
    pub(super) seen: HashMap<TaskId, Status>,
}

impl Sweep {
    pub(super) fn new(number: u64, began: Instant, pass: Pass) -> Self {
        Self { number, began, pass, seen: HashMap::new() }
    }

    /// A page has come.
    pub(super) fn note(&mut self, page: TaskPage) {
        let unfinished = page.tasks.into_iter().filter(|task| !task.status.is_final());
        self.seen.extend(unfinished.map(|task| (task.task_id, task.status)));
    }
}

/// The service's word for the tasks of a list.
pub(super) fn status_of(stage: Stage) -> Status {
    match stage {
        Stage::Pending => Status::Pending,
        Stage::Running => Status::Running,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_ended_and_is_listed_all_the_same_is_not_seen() {
        let mut sweep = Sweep::new(1, Instant::now(), Pass::new(20, [0, 0], 1));
        let task = |id: &str, status: &str| json!({ "task_id": id, "status": status });
        for (status, other) in [("PENDING", "SUCCEEDED"), ("RUNNING", "FAILED")] {
            let body =
                json!({ "total_page": 1, "page_no": 1, "data": [task("a", status), task("b", other)] });
            sweep.note(serde_json::from_value(body).unwrap());
        }
        assert_eq!(sweep.seen, [(TaskId::from("a"), Status::Running)].into());
    }
}
