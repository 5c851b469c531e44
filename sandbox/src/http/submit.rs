//! `POST /services/audio/asr/transcription`: a new task (Qwen Cloud, *Fun-ASR recording, RESTful API*).

use std::sync::Arc;

use hyper::header::CONTENT_TYPE;
use serde::Serialize;

use super::{
    Answer,
    call::{Call, json},
};
use crate::{
    contract::{Refusal, Terms, Transcription},
    core::Core,
    ids,
    tasks::{Moment, Task, TaskStatus},
};

#[derive(Debug, Serialize)]
struct Submitted<'a> {
    output: Output<'a>,
    request_id: &'a str,
}

#[derive(Debug, Serialize)]
struct Output<'a> {
    task_status: TaskStatus,
    task_id: &'a str,
}

pub(super) fn answer(core: &Core, call: &Call) -> Answer {
    let now = core.clock.now();
    let caller = call.caller(core, now)?;
    if !call.wants_async() {
        return Err(Refusal::access(
            "current user api does not support synchronous calls (X-DashScope-Async must be enable).",
        ));
    }
    if !is_json(call) {
        return Err(Refusal::parameter("Content-Type", "must be application/json"));
    }
    let terms = Terms { urls_max: core.settings.urls_max, resolves_oss: call.resolves_oss() };
    let order = Transcription::read(&call.body, terms)?;
    core.accounts.take_submit(&caller.account, order.model.name(), now)?;
    let time = core.task_time(&order.file_urls);
    let task = Arc::new(Task::new(
        ids::uuid(),
        (caller.account.name.clone(), caller.fingerprint),
        call.request_id.clone(),
        order,
        Moment { at: now, unix: core.clock.unix() },
        (time, core.settings.all_failed),
    ));
    core.tasks.add(task.clone(), now)?;
    core.work.start(task.clone());
    let output = Output { task_status: TaskStatus::Pending, task_id: &task.id };
    Ok(json(&Submitted { output, request_id: &call.request_id }))
}

fn is_json(call: &Call) -> bool {
    let content_type = call.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
