//! The list of tasks: a filter in documented words, page after page.

use std::time::{Duration, UNIX_EPOCH};

use futures_util::TryStreamExt;
use serde_json::json;
use valet_client::{Kind, Status};
use valet_clock::ManualClock;

use crate::support::{Reply, Server, client, failure, service_error, token, turn_until};

#[tokio::test]
async fn a_filter_is_sent_as_documented_and_every_page_is_read() {
    let clock = ManualClock::new();
    let server = Server::start(&clock, |request| match request.is_for_token() {
        true => token(request, "st-1", 600),
        false => {
            let number: u32 = request.query["page_no"].parse().unwrap();
            let entry = json!({
                "task_id": format!("t-{number}"), "status": "RUNNING", "model_name": "fun-asr", "region": "r",
                "gmt_create": 1_726_153_900_041_u64, "caller_uid": "u-1",
            });
            let body = json!({
                "total": 3, "total_page": 3, "page_no": number, "page_size": 1, "request_id": "r", "data": [entry],
            });
            Reply::json(200, &body)
        }
    })
    .await;
    let client = client(&server, &clock);
    let from = UNIX_EPOCH + Duration::from_secs(1_726_125_100);
    let list = client.tasks().status(Status::Running).model("fun-asr").page_size(1).task("t-9");
    let list = list.submitted(from, from + Duration::from_secs(24 * 3600));
    let tasks: Vec<_> = turn_until(&clock, list.stream().try_collect()).await.unwrap();
    let ids: Vec<_> = tasks.iter().map(|task| task.task_id.as_str()).collect();
    assert_eq!(ids, ["t-1", "t-2", "t-3"]);
    assert_eq!((&tasks[0].status, tasks[0].gmt_create), (&Status::Running, Some(1_726_153_900_041)));
    assert_eq!(tasks[0].extra["caller_uid"], "u-1", "what is not known is kept");
    let asked = &server.those(|request| request.path == "/api/v1/tasks/")[0];
    let mut sent: Vec<_> = asked.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    sent.sort_unstable();
    let documented = [
        "end_time=20240913151140",
        "model_name=fun-asr",
        "page_no=1",
        "page_size=1",
        "start_time=20240912151140",
        "status=RUNNING",
        "task_id=t-9",
    ];
    assert_eq!(sent, documented);
}

#[tokio::test]
async fn a_filter_that_breaks_a_rule_is_not_sent() {
    let clock = ManualClock::new();
    let server = Server::start(&clock, |_| service_error(400, "InvalidParameter")).await;
    let client = client(&server, &clock);
    let day = Duration::from_secs(24 * 3600);
    for (from, to) in
        [(UNIX_EPOCH, UNIX_EPOCH + day + Duration::from_secs(1)), (UNIX_EPOCH + day, UNIX_EPOCH)]
    {
        let error = failure(client.tasks().submitted(from, to).page(1).await, Kind::InvalidRequest);
        assert!(error.to_string().starts_with("end_time"), "{error}");
    }
    failure(client.tasks().page(0).await, Kind::InvalidRequest);
    failure(client.tasks().page_size(0).page(1).await, Kind::InvalidRequest);
    assert!(server.journal().is_empty());
}
