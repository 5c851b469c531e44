//! `GET /tasks/`: the tasks of an account, a page at a time (Model Studio, *Manage asynchronous tasks*).

use std::{cmp::Reverse, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::IntoDeserializer, de::value::Error};

use super::{
    Answer,
    call::{Call, json},
};
use crate::{
    contract::Refusal,
    core::Core,
    millis,
    settings::ListOrder,
    stamp,
    tasks::{Task, TaskStatus},
};

const PAGE_SIZE_DEFAULT: u32 = 10;
const REGION: &str = "sandbox";
const SPAN_MAX: Duration = Duration::from_hours(24);

#[derive(Debug, Serialize)]
struct Page<'a> {
    total: usize,
    total_page: usize,
    page_no: u32,
    page_size: u32,
    request_id: &'a str,
    data: Vec<Entry<'a>>,
}

/// Times in milliseconds since the Unix epoch.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    task_id: &'a str,
    status: TaskStatus,
    model_name: &'static str,
    region: &'static str,
    gmt_create: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<u64>,
    request_id: &'a str,
    api_key_id: &'a str,
    caller_uid: &'a str,
    caller_parent_id: &'a str,
    user_api_unique_key: String,
}

/// Which tasks, and which page of them.
#[derive(Debug)]
struct Wanted {
    task_id: Option<String>,
    from: Option<Duration>,
    to: Option<Duration>,
    model: Option<String>,
    api_key_id: Option<String>,
    region: Option<String>,
    status: Option<TaskStatus>,
    page_no: u32,
    page_size: u32,
}

pub(super) fn answer(core: &Core, call: &Call) -> Answer {
    let now = core.clock.now();
    let caller = call.caller(core, now)?;
    core.accounts.take_query(&caller.account, now)?;
    let wanted = Wanted::read(call, core.settings.page_max)?;
    let mut tasks: Vec<(Arc<Task>, TaskStatus)> = core
        .tasks
        .all(now)
        .into_iter()
        .filter(|task| task.account == caller.account.name)
        .map(|task| (task.clone(), task.view(now).status))
        .filter(|(task, status)| wanted.takes(task, *status))
        .collect();
    match core.settings.list_order {
        ListOrder::Arbitrary => tasks.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id)),
        ListOrder::NewestFirst => tasks.sort_by_key(|(task, _)| Reverse(task.submitted.at)),
    }
    let size = wanted.page_size as usize;
    let skipped = size.saturating_mul(wanted.page_no as usize - 1);
    let view = |(task, _): &(Arc<Task>, TaskStatus)| task.view(now);
    let shown: Vec<_> = tasks.iter().skip(skipped).take(size).map(|task| (&task.0, view(task))).collect();
    Ok(json(&Page {
        total: tasks.len(),
        total_page: tasks.len().div_ceil(size),
        page_no: wanted.page_no,
        page_size: wanted.page_size,
        request_id: &call.request_id,
        data: shown
            .iter()
            .map(|(task, view)| Entry {
                task_id: &task.id,
                status: view.status,
                model_name: task.order.model.name(),
                region: REGION,
                gmt_create: millis::of(task.submitted.unix),
                start_time: view.scheduled.map(millis::of),
                end_time: view.end.map(millis::of),
                request_id: &task.request_id,
                api_key_id: &task.key,
                caller_uid: &task.account,
                caller_parent_id: &task.account,
                user_api_unique_key: format!("apikey:v1:audio:asr:transcription:{}", task.order.model.name()),
            })
            .collect(),
    }))
}

impl Wanted {
    fn read(call: &Call, page_max: u32) -> Result<Self, Refusal> {
        // `api_key_id` and `region` are the vendor's Python SDK's (`list` in `client/base_api.py`).
        let [task_id, start_time, end_time, model, api_key_id, region, status, page_no, page_size] = call
            .query([
                "task_id",
                "start_time",
                "end_time",
                "model_name",
                "api_key_id",
                "region",
                "status",
                "page_no",
                "page_size",
            ])?;
        let from = time("start_time", start_time)?;
        let to = time("end_time", end_time)?;
        if let Some((from, to)) = from.zip(to)
            && to.checked_sub(from).is_none_or(|span| span > SPAN_MAX)
        {
            return Err(Refusal::parameter("end_time", "must be at most 24 hours after start_time"));
        }
        let page_size = number("page_size", page_size, PAGE_SIZE_DEFAULT.min(page_max))?.min(page_max);
        let page_no = number("page_no", page_no, 1)?;
        let status = status.map(|text| known_status(&text)).transpose()?;
        Ok(Self { task_id, from, to, model, api_key_id, region, status, page_no, page_size })
    }

    fn takes(&self, task: &Task, status: TaskStatus) -> bool {
        let unix = task.submitted.unix;
        self.task_id.as_ref().is_none_or(|id| *id == task.id)
            && self.from.is_none_or(|from| from <= unix)
            && self.to.is_none_or(|to| unix <= to)
            && self.model.as_ref().is_none_or(|model| model == task.order.model.name())
            && self.api_key_id.as_ref().is_none_or(|key| *key == task.key)
            && self.region.as_ref().is_none_or(|region| region == REGION)
            && self.status.is_none_or(|wanted| wanted == status)
    }
}

fn time(field: &str, text: Option<String>) -> Result<Option<Duration>, Refusal> {
    text.map(|text| {
        stamp::read_compact(&text).ok_or_else(|| Refusal::parameter(field, "must be a time, YYYYMMDDhhmmss"))
    })
    .transpose()
}

fn number(field: &str, text: Option<String>, default: u32) -> Result<u32, Refusal> {
    let Some(text) = text else { return Ok(default) };
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| Refusal::parameter(field, "must be an integer from 1 on"))
}

fn known_status(text: &str) -> Result<TaskStatus, Refusal> {
    let text: serde::de::value::StrDeserializer<'_, Error> = text.into_deserializer();
    TaskStatus::deserialize(text).map_err(|_| Refusal::parameter("status", "is no status of a task"))
}
