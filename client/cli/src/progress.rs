//! How far the tasks of a run are: a spinner on a terminal, plain lines elsewhere, or nothing.

use std::{
    fmt::Write,
    io::{self, IsTerminal},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use valet_client::{Status, Task, TaskId};

use crate::printer;

/// Shows how far the tasks of a run are.
pub(crate) struct Progress {
    shown: Shown,
    board: Mutex<Board>,
}

enum Shown {
    Spinner(ProgressBar),
    /// The line that was shown last.
    Lines(Mutex<String>),
    Nothing,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let shown = match quiet {
            true => Shown::Nothing,
            false if io::stderr().is_terminal() => Shown::Spinner(spinner()),
            false => Shown::Lines(Mutex::default()),
        };
        Self { shown, board: Mutex::default() }
    }

    /// The first task is being submitted.
    pub(crate) fn starting(&self) {
        if let Shown::Spinner(bar) = &self.shown {
            bar.set_message("submitting");
            bar.enable_steady_tick(Duration::from_millis(100));
        }
    }

    /// A task of so many recordings was submitted, or is waited for.
    pub(crate) fn begun(&self, id: &TaskId, recordings: usize) {
        self.board().tasks.push(Row {
            id: id.clone(),
            status: Status::Pending,
            recordings,
            done: 0,
            settled: false,
        });
        self.show();
    }

    /// A task was looked at.
    pub(crate) fn looked(&self, task: &Task) {
        self.board().note(task);
        self.show();
    }

    /// Runs `print` while nothing else is on the terminal.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.shown {
            Shown::Spinner(bar) => bar.suspend(print),
            Shown::Lines(_) | Shown::Nothing => print(),
        }
    }

    /// An error, shown even when progress is not.
    pub(crate) fn error(&self, message: &str) {
        self.aside(|| printer::tell(&format!("error: {message}")));
    }

    /// Takes the spinner away.
    pub(crate) fn clear(&self) {
        if let Shown::Spinner(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    /// What came of a task was written or told.
    pub(crate) fn settled(&self, id: &TaskId) {
        self.board().tasks.iter_mut().filter(|row| row.id == *id).for_each(|row| row.settled = true);
    }

    /// The tasks of which nobody was told what came of them.
    pub(crate) fn unsettled(&self) -> Vec<TaskId> {
        self.board().tasks.iter().filter(|row| !row.settled).map(|row| row.id.clone()).collect()
    }

    fn show(&self) {
        let summary = self.board().summary();
        match &self.shown {
            Shown::Spinner(bar) => bar.set_message(summary),
            Shown::Lines(last) => {
                let mut last = last.lock().expect("no code panics while it holds the line");
                if *last != summary {
                    printer::tell(&summary);
                    *last = summary;
                }
            }
            Shown::Nothing => {}
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().expect("no code panics while it holds the board")
    }
}

fn spinner() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").expect("the template is valid");
    ProgressBar::new_spinner().with_style(style)
}

/// The tasks of a run, as they were last seen.
#[derive(Default)]
struct Board {
    tasks: Vec<Row>,
}

struct Row {
    id: TaskId,
    status: Status,
    recordings: usize,
    done: usize,
    settled: bool,
}

impl Board {
    fn note(&mut self, task: &Task) {
        let Some(row) = self.tasks.iter_mut().find(|row| row.id == *task.id()) else { return };
        row.status = task.status().clone();
        if let Some(metrics) = &task.output.task_metrics {
            let count = |number| usize::try_from(number).unwrap_or(usize::MAX);
            row.recordings = row.recordings.max(count(metrics.total));
            row.done = count(metrics.succeeded.saturating_add(metrics.failed)).min(row.recordings);
        }
        if row.status.is_final() {
            row.done = row.recordings;
        }
    }

    fn summary(&self) -> String {
        let mut summary = match self.tasks.as_slice() {
            [] => return String::new(),
            [row] => format!("task {}: {}", row.id, row.status.as_str().to_lowercase()),
            rows => {
                let ended = rows.iter().filter(|row| row.status.is_final()).count();
                let running = rows.iter().filter(|row| row.status == Status::Running).count();
                format!("{} tasks: {ended} ended, {running} running", rows.len())
            }
        };
        let recordings: usize = self.tasks.iter().map(|row| row.recordings).sum();
        if recordings > 1 {
            let done: usize = self.tasks.iter().map(|row| row.done).sum();
            write!(summary, ", {done} of {recordings} recordings done").expect("a string takes all");
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn progress() -> Progress {
        Progress { shown: Shown::Nothing, board: Mutex::default() }
    }

    fn task(id: &str, status: &str, metrics: Option<Value>) -> Task {
        let mut answer = json!({ "output": { "task_id": id, "task_status": status } });
        if let Some(metrics) = metrics {
            answer["output"]["task_metrics"] = metrics;
        }
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn one_task_is_named_and_several_are_counted() {
        let progress = progress();
        progress.begun(&"t-1".into(), 1);
        assert_eq!(progress.board().summary(), "task t-1: pending");
        progress.begun(&"t-2".into(), 3);
        progress.looked(&task("t-1", "SUCCEEDED", None));
        let metrics = json!({ "TOTAL": 3, "SUCCEEDED": 1, "FAILED": 1 });
        progress.looked(&task("t-2", "RUNNING", Some(metrics)));
        assert_eq!(progress.board().summary(), "2 tasks: 1 ended, 1 running, 3 of 4 recordings done");
        progress.settled(&"t-1".into());
        assert_eq!(progress.unsettled(), ["t-2".into()]);
    }

    #[test]
    fn numbers_that_make_no_sense_do_no_harm() {
        let progress = progress();
        progress.begun(&"t-1".into(), 2);
        let metrics = json!({ "TOTAL": 1, "SUCCEEDED": u32::MAX, "FAILED": u32::MAX });
        progress.looked(&task("t-1", "RUNNING", Some(metrics)));
        assert_eq!(progress.board().summary(), "task t-1: running, 2 of 2 recordings done");
        progress.looked(&task("another", "RUNNING", None));
        assert_eq!(progress.unsettled().len(), 1);
    }
}
