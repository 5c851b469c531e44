//! `POST /tasks/{task_id}/cancel`: only while a task is pending (Model Studio, *Manage asynchronous tasks*).

use serde_json::json;

use super::{
    Answer,
    call::{self, Call},
};
use crate::{contract::Refusal, core::Core};

pub(super) fn answer(core: &Core, call: &Call, id: &str) -> Answer {
    let now = core.clock.now();
    let caller = call.caller(core, now)?;
    core.accounts.take_query(&caller.account, now)?;
    let task = core.tasks.find(&caller.account.name, id, now);
    if task.is_some_and(|task| task.cancel(now)) {
        return Ok(call::json(&json!({ "request_id": call.request_id })));
    }
    // An unknown task is not pending either; what the service says of one is not documented.
    Err(Refusal::bad_request(
        "UnsupportedOperation",
        "Failed to cancel the task, please confirm if the task is in PENDING status.",
    ))
}
