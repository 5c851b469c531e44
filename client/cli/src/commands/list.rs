//! `valet list`: the tasks of the account.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use valet_client::{Client, Status, task::TaskSummary};
use valet_clock::Clock;

use crate::{
    arguments::ListArguments,
    exit::{Exit, Failure},
    printer::{Sink, legible},
};

const PAGE_SIZE: usize = 100;
/// The service's clock may be a little ahead of ours.
const SKEW: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) async fn run(
    client: &Client,
    clock: &dyn Clock,
    arguments: &ListArguments,
) -> Result<Exit, Failure> {
    let mut list = client.tasks().page_size(u32::try_from(arguments.limit.clamp(1, PAGE_SIZE)).unwrap_or(1));
    if let Some(status) = &arguments.status {
        list = list.status(Status::from(std::borrow::Cow::from(status.to_uppercase())));
    }
    if let Some(model) = &arguments.model {
        list = list.model(model.as_str());
    }
    if let Some(since) = arguments.since {
        if since > LONGEST {
            return Err(Failure::usage("--since: at most 86400, for tasks are kept for 24 hours"));
        }
        let now = SystemTime::UNIX_EPOCH + clock.unix();
        let from = now.checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH);
        // No more than 24 hours in all.
        let to = now + SKEW.min(LONGEST.saturating_sub(since));
        list = list.submitted(from, to);
    }
    let mut tasks = std::pin::pin!(list.stream().take(arguments.limit));
    let mut sink = Sink::stdout();
    while let Some(task) = tasks.try_next().await? {
        sink.write(|to| {
            if !arguments.json {
                return writeln!(to, "{}", told(&task));
            }
            serde_json::to_writer(&mut *to, &task)?;
            writeln!(to)
        })?;
    }
    Ok(Exit::Done)
}

/// Id, status, time of submission (UTC) and model.
fn told(task: &TaskSummary) -> String {
    let at = task.gmt_create.and_then(|at| i64::try_from(at).ok());
    let at = at.and_then(|at| Timestamp::from_second(at / 1000).ok());
    let at = at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let model = task.model_name.as_deref().unwrap_or("-");
    legible(&format!("{} {:<9} {at:<20} {model}", task.task_id, task.status.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_told_on_one_line_with_its_time() {
        let task = serde_json::json!({
            "task_id": "t-1", "status": "RUNNING", "model_name": "fun-asr\u{1b}", "gmt_create": 1_726_153_900_041_u64,
        });
        let told = told(&serde_json::from_value(task).unwrap());
        assert_eq!(told, "t-1 RUNNING   2024-09-12T15:11:40Z fun-asr ");
    }
}
