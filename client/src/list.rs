//! The list of an account's tasks: a filter, and its pages.
//!
//! Source: *Manage asynchronous tasks*. Every key of the account sees every task of the account.

use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Client, Error, Status, TaskId, error::invalid, request::Model, stamp};

/// The longest time between the start and the end of a filter.
const LONGEST_SPAN: Duration = Duration::from_secs(24 * 60 * 60);

/// Which tasks of the account to list; begin with [`Client::tasks`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until a page or the stream is"]
pub struct TaskList {
    client: Client,
    task: Option<TaskId>,
    status: Option<Status>,
    model: Option<Model>,
    from: Option<SystemTime>,
    to: Option<SystemTime>,
    page_size: Option<u32>,
}

/// A page of the list.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TaskPage {
    /// Tasks on all pages.
    pub total: u64,
    /// Pages.
    pub total_page: u32,
    /// Which page this is, counted from 1.
    pub page_no: u32,
    /// The most tasks on a page, as the service had it.
    pub page_size: u32,
    /// The service's name for the request that told this.
    pub request_id: String,
    /// The tasks on this page, in no promised order.
    #[serde(rename = "data")]
    pub tasks: Vec<TaskSummary>,
    /// What else the answer held.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A task on the list; [`Client::fetch`] tells its results.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct TaskSummary {
    /// Its id.
    pub task_id: TaskId,
    /// How far it is.
    pub status: Status,
    /// The model it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_name: Option<String>,
    /// Where it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// When it was submitted, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gmt_create: Option<u64>,
    /// When it was begun, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<u64>,
    /// When it ended, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<u64>,
    /// What else the answer held, such as `api_key_id` and `caller_uid`.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl TaskList {
    pub(crate) fn new(client: Client) -> Self {
        let (task, status, model, from, to, page_size) = (None, None, None, None, None, None);
        Self { client, task, status, model, from, to, page_size }
    }

    /// Only this task.
    pub fn task(mut self, id: impl Into<TaskId>) -> Self {
        self.task = Some(id.into());
        self
    }

    /// Only tasks that are so far.
    pub fn status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// Only tasks of this model.
    pub fn model(mut self, model: impl Into<Model>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Only tasks submitted from `from` to `to`, at most 24 hours later. Sent to the second, in
    /// [the assumed zone](crate::task::ASSUMED_OFFSET).
    pub fn submitted(mut self, from: SystemTime, to: SystemTime) -> Self {
        (self.from, self.to) = (Some(from), Some(to));
        self
    }

    /// The most tasks on a page; 10 unless set. The service may give fewer, and says so.
    pub fn page_size(mut self, tasks: u32) -> Self {
        self.page_size = Some(tasks);
        self
    }

    /// A page, counted from 1. Counts as a query against the account's budget.
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`](crate::Kind::InvalidRequest) if the filter breaks a documented rule, or if the service does not tell.
    pub async fn page(&self, number: u32) -> Result<TaskPage, Error> {
        let query = self.query(number)?;
        self.client.0.api.list(&query).await
    }

    /// All tasks, page after page. Tasks that end or begin meanwhile may be missed or come twice.
    pub fn stream(self) -> impl Stream<Item = Result<TaskSummary, Error>> + Send + use<> {
        let pages = stream::try_unfold((self, 1_u32), |(list, number)| async move {
            if number == 0 {
                return Ok::<_, Error>(None);
            }
            let page = list.page(number).await?;
            let more = number < page.total_page && !page.tasks.is_empty();
            let next = if more { number + 1 } else { 0 };
            Ok(Some((stream::iter(page.tasks).map(Ok), (list, next))))
        });
        pages.try_flatten()
    }

    fn query(&self, number: u32) -> Result<Vec<(&'static str, String)>, Error> {
        if number == 0 {
            return Err(invalid("page_no", "pages are counted from 1"));
        }
        if self.page_size == Some(0) {
            return Err(invalid("page_size", "must be at least 1"));
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && !to.duration_since(from).is_ok_and(|span| span <= LONGEST_SPAN)
        {
            return Err(invalid("end_time", "must be at most 24 hours after start_time"));
        }
        let time = |field: &str, time: Option<SystemTime>| {
            let written = |time| stamp::compact(time).ok_or_else(|| invalid(field, "cannot be written"));
            time.map(written).transpose()
        };
        let query = [
            ("task_id", self.task.as_ref().map(ToString::to_string)),
            ("start_time", time("start_time", self.from)?),
            ("end_time", time("end_time", self.to)?),
            ("model_name", self.model.as_ref().map(ToString::to_string)),
            ("status", self.status.as_ref().map(ToString::to_string)),
            ("page_no", Some(number.to_string())),
            ("page_size", self.page_size.map(|size| size.to_string())),
        ];
        Ok(query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}
