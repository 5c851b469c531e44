//! The tasks of a run, as they were last seen.

use std::fmt::Write;

use valet_client::{Status, Task, TaskId};

#[derive(Default)]
pub(super) struct Board {
    tasks: Vec<Row>,
    /// Recordings of the run, those of tasks that have not begun too.
    planned: usize,
    /// Looks that failed since one did not.
    failures: usize,
    /// Whether anybody was told of those.
    is_told: bool,
}

/// So many looks in a row may fail for each task before anybody is told.
const PATIENCE: usize = 3;

struct Row {
    id: TaskId,
    /// What the last look told, if there was one.
    status: Option<Status>,
    /// Those of this run. Its task may have more.
    recordings: usize,
    done: usize,
    settled: bool,
}

impl Board {
    /// A run of so many recordings begins.
    pub(super) fn planned(&mut self, recordings: usize) {
        self.planned += recordings;
    }

    pub(super) fn begun(&mut self, id: &TaskId, recordings: usize) {
        self.tasks.push(Row { id: id.clone(), status: None, recordings, done: 0, settled: false });
    }

    /// Takes a look at a task in: how many of its recordings are done, of how many.
    pub(super) fn note(&mut self, task: &Task) -> (usize, usize) {
        (self.failures, self.is_told) = (0, false);
        let Some(row) = self.tasks.iter_mut().find(|row| row.id == *task.id()) else { return (0, 0) };
        row.status = Some(task.status().clone());
        if let Some(metrics) = &task.output.task_metrics {
            let count = |number| usize::try_from(number).unwrap_or(usize::MAX);
            if row.recordings == 0 {
                row.recordings = count(metrics.total);
            }
            row.done = count(metrics.succeeded.saturating_add(metrics.failed)).min(row.recordings);
        }
        if task.status().is_final() {
            row.done = row.recordings;
        }
        (row.done, row.recordings)
    }

    /// A look has failed; whether it is time to say so.
    pub(super) fn fails(&mut self) -> bool {
        self.failures += 1;
        let is_time = !self.is_told && self.failures >= PATIENCE * self.unsettled().len().max(1);
        self.is_told |= is_time;
        is_time
    }

    pub(super) fn settled(&mut self, id: &TaskId) {
        self.tasks.iter_mut().filter(|row| row.id == *id).for_each(|row| row.settled = true);
    }

    pub(super) fn unsettled(&self) -> Vec<TaskId> {
        self.tasks.iter().filter(|row| !row.settled).map(|row| row.id.clone()).collect()
    }

    /// Recordings that are done, and all of them.
    pub(super) fn counts(&self) -> (usize, usize) {
        let begun: usize = self.tasks.iter().map(|row| row.recordings).sum();
        (self.tasks.iter().map(|row| row.done).sum(), self.planned.max(begun))
    }

    pub(super) fn summary(&self) -> String {
        let mut summary = match self.tasks.as_slice() {
            [] => return String::new(),
            [row] => row.status.as_ref().map_or("waiting".into(), |status| status.as_str().to_lowercase()),
            rows => {
                let ended =
                    rows.iter().filter(|row| row.status.as_ref().is_some_and(Status::is_final)).count();
                let running = rows.iter().filter(|row| row.status == Some(Status::Running)).count();
                format!("{} tasks: {ended} ended, {running} running", rows.len())
            }
        };
        let (done, recordings) = self.counts();
        if recordings > 1 {
            write!(summary, ", {done} of {recordings} recordings done").expect("a string takes all");
        }
        if let [row] = self.tasks.as_slice() {
            // Last: a narrow terminal cuts the line off.
            write!(summary, " (task {})", row.id).expect("a string takes all");
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn task(id: &str, status: &str, metrics: Option<Value>) -> Task {
        let mut answer = json!({ "output": { "task_id": id, "task_status": status } });
        if let Some(metrics) = metrics {
            answer["output"]["task_metrics"] = metrics;
        }
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn one_task_is_named_and_several_are_counted() {
        let mut board = Board::default();
        board.begun(&"t-1".into(), 1);
        assert_eq!(board.summary(), "waiting (task t-1)");
        board.note(&task("t-1", "PENDING", None));
        assert_eq!(board.summary(), "pending (task t-1)");
        board.begun(&"t-2".into(), 3);
        board.note(&task("t-1", "SUCCEEDED", None));
        let metrics = json!({ "TOTAL": 3, "SUCCEEDED": 1, "FAILED": 1 });
        assert_eq!(board.note(&task("t-2", "RUNNING", Some(metrics))), (2, 3));
        assert_eq!(board.summary(), "2 tasks: 1 ended, 1 running, 3 of 4 recordings done");
        board.settled(&"t-1".into());
        assert_eq!(board.unsettled(), ["t-2".into()]);
    }

    #[test]
    fn recordings_that_are_not_submitted_yet_count() {
        let mut board = Board::default();
        board.planned(250);
        board.begun(&"t-1".into(), 100);
        assert_eq!(board.summary(), "waiting, 0 of 250 recordings done (task t-1)");
    }

    #[test]
    fn recordings_of_a_task_that_this_run_does_not_want_do_not_count() {
        let mut board = Board::default();
        board.begun(&"t-1".into(), 2);
        let metrics = json!({ "TOTAL": 6, "SUCCEEDED": 6, "FAILED": 0 });
        assert_eq!(board.note(&task("t-1", "SUCCEEDED", Some(metrics.clone()))), (2, 2));
        // Of a task alone all are wanted.
        board.begun(&"t-2".into(), 0);
        assert_eq!(board.note(&task("t-2", "SUCCEEDED", Some(metrics))), (6, 6));
    }

    #[test]
    fn troubles_are_told_once_when_no_look_comes_to_anything() {
        let mut board = Board::default();
        (0..5).for_each(|number| board.begun(&format!("t-{number}").into(), 1));
        assert!(!(0..14).any(|_| board.fails()));
        board.note(&task("t-1", "RUNNING", None));
        assert_eq!((0..40).filter(|_| board.fails()).collect::<Vec<_>>(), [14], "the third of each");
        // There are fewer by the time.
        board.note(&task("t-1", "RUNNING", None));
        assert!(!(0..12).any(|_| board.fails()));
        (0..3).for_each(|number| board.settled(&format!("t-{number}").into()));
        assert_eq!((0..40).filter(|_| board.fails()).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn numbers_that_make_no_sense_do_no_harm() {
        let mut board = Board::default();
        board.begun(&"t-1".into(), 2);
        let metrics = json!({ "TOTAL": 1, "SUCCEEDED": u32::MAX, "FAILED": u32::MAX });
        board.note(&task("t-1", "RUNNING", Some(metrics)));
        assert_eq!(board.summary(), "running, 2 of 2 recordings done (task t-1)");
        board.note(&task("another", "RUNNING", None));
        assert_eq!(board.unsettled().len(), 1);
    }
}
