//! `GET /tasks/{task_id}`: how far a task is (Model Studio, *Manage asynchronous tasks*).

use serde::Serialize;

use super::{
    Answer,
    call::{Call, json},
};
use crate::{
    contract::Refusal,
    core::Core,
    failure::Failure,
    stamp,
    tasks::{Subtask, Task, TaskStatus, View},
};

#[derive(Debug, Serialize)]
struct Answered<'a> {
    request_id: &'a str,
    output: Output<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Debug, Serialize)]
struct Output<'a> {
    task_id: &'a str,
    task_status: TaskStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    submit_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<String>,
    /// Of a task that failed as a whole: those of its first subtask.
    #[serde(flatten)]
    failure: Option<FailureEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<ResultEntry<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_metrics: Option<Metrics>,
}

#[derive(Debug, Serialize)]
struct ResultEntry<'a> {
    file_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcription_url: Option<&'a str>,
    #[serde(flatten)]
    failure: Option<FailureEntry<'a>>,
    subtask_status: TaskStatus,
}

#[derive(Debug, Serialize)]
struct FailureEntry<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
struct Metrics {
    total: usize,
    succeeded: usize,
    failed: usize,
}

#[derive(Debug, Serialize)]
struct Usage {
    /// Seconds of speech.
    duration: u64,
}

pub(super) fn answer(core: &Core, call: &Call, id: &str) -> Answer {
    let now = core.clock.now();
    let caller = call.caller(core, now)?;
    if call.wants_async() {
        // The header belongs to the submit; on a query the service refuses it.
        return Err(Refusal::access("current user api does not support asynchronous calls."));
    }
    core.accounts.take_query(&caller.account, now)?;
    let task = core.tasks.find(&caller.account.name, id, now);
    let Some(task) = task else { return Ok(json(&unknown(id, &call.request_id))) };
    let view = task.view(now);
    let (output, usage) = (output(&task, &view), usage(&view));
    Ok(json(&Answered { request_id: &call.request_id, output, usage }))
}

/// Expired, never submitted, and another account's look the same.
fn unknown<'a>(task_id: &'a str, request_id: &'a str) -> Answered<'a> {
    let output = Output {
        task_id,
        task_status: TaskStatus::Unknown,
        submit_time: None,
        scheduled_time: None,
        end_time: None,
        failure: None,
        results: None,
        task_metrics: None,
    };
    Answered { request_id, output, usage: None }
}

fn output<'a>(task: &'a Task, view: &'a View) -> Output<'a> {
    let worked = matches!(view.status, TaskStatus::Succeeded | TaskStatus::Failed);
    let failed = view.status == TaskStatus::Failed;
    let succeeded = view.subtasks.iter().filter(|subtask| subtask.outcome.is_ok()).count();
    Output {
        task_id: &task.id,
        task_status: view.status,
        submit_time: Some(stamp::written(task.submitted.unix)),
        scheduled_time: view.scheduled.map(stamp::written),
        end_time: view.end.map(stamp::written),
        failure: view.subtasks.first().filter(|_| failed).and_then(|subtask| failure(&subtask.outcome)),
        results: worked.then(|| results(task, view)),
        task_metrics: view.scheduled.map(|_| Metrics {
            total: task.order.file_urls.len(),
            succeeded,
            failed: view.subtasks.len() - succeeded,
        }),
    }
}

fn results<'a>(task: &'a Task, view: &'a View) -> Vec<ResultEntry<'a>> {
    let entry = |(file_url, subtask): (&'a String, &'a Subtask)| ResultEntry {
        file_url,
        transcription_url: subtask.outcome.as_ref().ok().map(|success| success.transcription_url.as_str()),
        failure: failure(&subtask.outcome),
        subtask_status: if subtask.outcome.is_ok() { TaskStatus::Succeeded } else { TaskStatus::Failed },
    };
    task.order.file_urls.iter().zip(&view.subtasks).map(entry).collect()
}

fn failure<T>(outcome: &Result<T, Failure>) -> Option<FailureEntry<'_>> {
    let failure = outcome.as_ref().err()?;
    Some(FailureEntry { code: &failure.code, message: &failure.message })
}

/// Speech in whole seconds, of a task that succeeded: only speech is billed, and only what was transcribed.
fn usage(view: &View) -> Option<Usage> {
    let speech = view.subtasks.iter().filter_map(|subtask| subtask.outcome.as_ref().ok()).map(|s| s.speech);
    let duration = speech.sum::<u64>().div_ceil(1000);
    (view.status == TaskStatus::Succeeded).then_some(Usage { duration })
}
