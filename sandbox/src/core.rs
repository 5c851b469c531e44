//! What the requests of a sandbox share.

use std::sync::{Arc, Mutex, PoisonError};

use valet_clock::SharedClock;

use crate::{
    accounts::Accounts,
    fault::Script,
    journal::Journal,
    settings::{Settings, TaskTime, TimeOfTasks},
    storage::Storage,
    tasks::{Results, Tasks, Work},
};

/// What the requests of a sandbox share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) clock: SharedClock,
    pub(crate) loopback: bool,
    pub(crate) accounts: Accounts,
    pub(crate) journal: Journal,
    pub(crate) script: Script,
    pub(crate) storage: Arc<Storage>,
    /// Where forms are sent to.
    pub(crate) storage_url: String,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) results: Arc<Results>,
    pub(crate) work: Arc<Work>,
    pub(crate) task_time: Mutex<TaskTime>,
}

impl Core {
    /// How long a task with these URLs takes that is submitted now.
    pub(crate) fn task_time(&self, urls: &[String]) -> TaskTime {
        let settled = self.settings.time_of_tasks.as_ref().and_then(|TimeOfTasks(time)| time(urls));
        settled.unwrap_or_else(|| self.usual_task_time())
    }

    fn usual_task_time(&self) -> TaskTime {
        *self.task_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_task_time(&self, time: TaskTime) {
        *self.task_time.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }
}
