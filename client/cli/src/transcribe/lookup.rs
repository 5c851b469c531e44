//! Finds the task of a submit of which nobody knows whether it arrived, by its time, model and URLs.
//!
//! The list of tasks (*Manage asynchronous tasks*) names no URLs; a task does once it has ended.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use url::Url;
use valet_client::{Client, Error, Kind, Task, TaskId, task::TaskSummary};
use valet_clock::{Clock, ClockExt};

use crate::journal::Attempt;

/// How far the service's clock may be from ours.
const SKEW: Duration = Duration::from_secs(5 * 60);
/// How long a submit may be tried until it arrives.
const LONGEST_SUBMIT: Duration = Duration::from_secs(30 * 60);
/// What was sent by a process that is no more arrives within this time, or never.
const IN_FLIGHT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(2);
const PAGE_SIZE: u32 = 100;
/// Tasks of one time that are looked at; the nearest first.
const MOST: usize = 2000;
/// Tasks that are looked at together.
const AT_ONCE: usize = 50;

/// The task of `attempt`, if it is there and none of those that are `claimed`.
pub(super) async fn task_of(
    client: &Client,
    clock: &dyn Clock,
    model: &str,
    attempt: &Attempt,
    claimed: &HashSet<TaskId>,
) -> Result<Option<TaskId>, Error> {
    let begun = since_epoch(attempt.at);
    let now = clock.unix();
    let may_be_under_way = now < begun + LONGEST_SUBMIT && attempt.may_arrive;
    let arrives_until = if may_be_under_way { now + IN_FLIGHT } else { now };
    let mut seen = HashSet::new();
    loop {
        // Read before the list is: what arrived until then is on it.
        let may_arrive = clock.unix() < arrives_until;
        let mut candidates = listed(client, clock, model, begun).await?;
        candidates.retain(|task| !claimed.contains(&task.task_id) && seen.insert(task.task_id.clone()));
        if let Some(found) = matching(client, candidates, attempt.intent.urls()).await? {
            return Ok(Some(found));
        }
        if !may_arrive {
            return Ok(None);
        }
        clock.sleep(PAUSE).await;
    }
}

/// The tasks that were submitted about then, the nearest first.
async fn listed(
    client: &Client,
    clock: &dyn Clock,
    model: &str,
    begun: Duration,
) -> Result<Vec<TaskSummary>, Error> {
    let from = SystemTime::UNIX_EPOCH + begun.saturating_sub(SKEW);
    let to = SystemTime::UNIX_EPOCH + (begun + LONGEST_SUBMIT).min(clock.unix()).max(begun) + SKEW;
    let list = client.tasks().model(model).submitted(from, to).page_size(PAGE_SIZE);
    // Tasks that begin meanwhile move others to the next page, or past it: all are read twice.
    let mut tasks = HashMap::new();
    for _ in 0..2 {
        let mut stream = std::pin::pin!(list.clone().stream());
        while let Some(task) = stream.try_next().await? {
            tasks.insert(task.task_id.clone(), task);
        }
    }
    let mut tasks: Vec<TaskSummary> = tasks.into_values().collect();
    let begun = u64::try_from(begun.as_millis()).unwrap_or(u64::MAX);
    tasks.sort_by_key(|task| task.gmt_create.map_or(u64::MAX, |at| at.abs_diff(begun)));
    tasks.truncate(MOST);
    Ok(tasks)
}

/// The first of the candidates that turns out to be of these URLs.
async fn matching(
    client: &Client,
    candidates: Vec<TaskSummary>,
    urls: &[String],
) -> Result<Option<TaskId>, Error> {
    let wanted = normalised(urls.iter().map(String::as_str));
    let mut tasks = stream::iter(candidates)
        .map(|candidate| async move { client.wait(&candidate.task_id).await })
        .buffer_unordered(AT_ONCE);
    while let Some(task) = tasks.next().await {
        match task {
            Ok(task) if names(&task) == wanted => return Ok(Some(task.id().clone())),
            Ok(_) => {}
            // Another's, gone meanwhile.
            Err(error) if error.kind() == Kind::UnknownTask => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn names(task: &Task) -> Vec<String> {
    normalised(task.results().iter().map(|subtask| subtask.file_url.as_str()))
}

/// URLs as they are compared: percent-encoded where they have to be, in no order.
fn normalised<'u>(urls: impl Iterator<Item = &'u str>) -> Vec<String> {
    let normal = |url: &str| url.parse().map_or_else(|_| url.to_owned(), |url: Url| url.into());
    let mut urls: Vec<String> = urls.map(normal).collect();
    urls.sort();
    urls
}

fn since_epoch(at: Timestamp) -> Duration {
    at.duration_since(Timestamp::UNIX_EPOCH).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests;
