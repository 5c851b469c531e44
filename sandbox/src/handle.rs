//! A handle to a sandbox, for tests: look into its journal, script its faults, turn its tasks.

use std::{sync::Arc, time::Duration};

use crate::{
    core::Core,
    fault::Fault,
    journal::{Counts, Entry, Operation},
    settings::TaskTime,
    tasks::{TaskStatus, View},
};

/// A handle to a sandbox; clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct SandboxHandle {
    core: Arc<Core>,
}

/// A task as the sandbox keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSummary {
    /// Its id.
    pub task_id: String,
    /// The account it belongs to.
    pub account: String,
    /// How far it is at present.
    pub status: TaskStatus,
    /// When it ended, since the Unix epoch; absent before that came.
    pub ended: Option<Duration>,
    /// The URLs it was submitted with.
    pub file_urls: Vec<String>,
}

impl SandboxHandle {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Every request so far, in the order of arrival, but for the control route's.
    #[must_use]
    pub fn journal(&self) -> Vec<Entry> {
        self.core.journal.entries()
    }

    /// Forgets the journal's entries and counts anew.
    pub fn clear_journal(&self) {
        self.core.journal.clear();
    }

    /// How many requests of `operation` arrived, answered or not.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.counts(operation).arrived
    }

    /// How many requests of `operation` arrived and how many were answered.
    #[must_use]
    pub fn counts(&self, operation: Operation) -> Counts {
        self.core.journal.counts(operation)
    }

    /// Completes once at least `count` requests of `operation` have arrived.
    pub async fn wait_for(&self, operation: Operation, count: u64) {
        self.core.journal.wait(operation, |counts| counts.arrived >= count).await;
    }

    /// Completes once at least `count` requests of `operation` have been answered.
    pub async fn wait_for_answered(&self, operation: Operation, count: u64) {
        self.core.journal.wait(operation, |counts| counts.answered >= count).await;
    }

    /// Completes once the downloads and the recognition of at least `count` tasks are done, counted from the
    /// start. Such a task has ended as soon as its time has passed.
    pub async fn wait_for_work(&self, count: u64) {
        self.core.tasks.wait_worked(count).await;
    }

    /// Completes once no download and no recognition is under way.
    pub async fn wait_for_rest(&self) {
        self.core.tasks.wait_rest().await;
    }

    /// Scripts a fault, behind those already scripted.
    ///
    /// # Panics
    /// If the fault cannot be carried out: a status outside 200 to 599, or pieces of no bytes.
    pub fn script(&self, fault: Fault) {
        if let Err(rule) = fault.check() {
            panic!("{rule}");
        }
        self.core.script.add(fault);
    }

    /// Drops all faults still to come. Requests that one has left hanging hang on.
    pub fn clear_faults(&self) {
        self.core.script.clear();
    }

    /// Lets one token expire now; whether there was such a one.
    pub fn expire_token(&self, token: &str) -> bool {
        self.core.accounts.expire_token(token)
    }

    /// Lets all tokens expire now.
    pub fn expire_all_tokens(&self) {
        self.core.accounts.expire_all_tokens();
    }

    /// Knows the API key `key` as one of `account` from now on.
    pub fn add_key(&self, account: &str, key: &str) {
        self.core.accounts.add_key(account, key);
    }

    /// Refuses the API key `key` from now on; its tokens live on. Whether there was such a one.
    pub fn revoke_key(&self, key: &str) -> bool {
        self.core.accounts.revoke_key(key)
    }

    /// Lets tasks submitted from now on take at least so long.
    pub fn set_task_time(&self, pending: Duration, running: Duration) {
        self.core.set_task_time(TaskTime { pending, running });
    }

    /// The tasks of all accounts that are not forgotten, the earliest first.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskSummary> {
        let now = self.core.clock.now();
        let mut tasks = self.core.tasks.all(now);
        tasks.sort_by_key(|task| task.submitted.at);
        let summary = |task: Arc<crate::tasks::Task>| {
            let View { status, end: ended, .. } = task.view(now);
            let (task_id, account) = (task.id.clone(), task.account.clone());
            TaskSummary { task_id, account, status, ended, file_urls: task.order.file_urls.clone() }
        };
        tasks.into_iter().map(summary).collect()
    }
}
