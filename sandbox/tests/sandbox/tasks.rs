//! Source: Model Studio, *Manage asynchronous tasks*.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use valet_sandbox::{AllFailed, ListOrder, TaskStatus, TaskTime};

use crate::{
    harness::{Answer, PENDING, RUNNING, Stage, send},
    origin::Reply,
    wave::one_second,
};

const DAY: Duration = Duration::from_hours(24);

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The samples of each status: what a task shows while it is pending, running and ended.
#[tokio::test]
async fn a_task_shows_what_its_status_allows() {
    let stage = Stage::new().await;
    let (good, missing) = (stage.origin.file("a.wav", one_second()), stage.origin.url("none.wav"));
    let id = stage.task(&[good.clone(), missing.clone()], json!({})).await;

    let pending = stage.query(&id).await;
    assert_eq!(pending["output"]["task_status"], "PENDING");
    assert_eq!(pending["output"]["submit_time"], "2025-04-08 09:46:09.000");
    assert_eq!(keys(&pending["output"]), ["submit_time", "task_id", "task_status"].into());
    assert_eq!(keys(&pending), ["output", "request_id"].into());

    stage.clock.asleep("sandbox", 1).await;
    stage.clock.advance(PENDING);
    stage.handle.wait_for_work(1).await;
    stage.clock.advance(RUNNING - Duration::from_millis(1));
    let running = stage.query(&id).await;
    assert_eq!(running["output"]["task_status"], "RUNNING");
    assert_eq!(running["output"]["scheduled_time"], "2025-04-08 09:46:14.000");
    let shown = ["scheduled_time", "submit_time", "task_id", "task_metrics", "task_status"];
    assert_eq!(keys(&running["output"]), shown.into());
    assert_eq!(keys(&running), ["output", "request_id"].into());

    stage.clock.advance(Duration::from_millis(1));
    let ended = stage.query(&id).await;
    let output = &ended["output"];
    assert_eq!(output["task_status"], "SUCCEEDED");
    assert_eq!(output["end_time"], "2025-04-08 09:46:44.000");
    assert_eq!(output["task_metrics"], json!({ "TOTAL": 2, "SUCCEEDED": 1, "FAILED": 1 }));
    assert_eq!(output["results"][0]["file_url"], good);
    assert_eq!(output["results"][0]["subtask_status"], "SUCCEEDED");
    assert_eq!(keys(&output["results"][0]), ["file_url", "subtask_status", "transcription_url"].into());
    assert_eq!(output["results"][1]["file_url"], missing);
    assert_eq!(output["results"][1]["subtask_status"], "FAILED");
    assert_eq!(output["results"][1]["code"], "FILE_404_NOT_FOUND");
    assert_eq!(keys(&output["results"][1]), ["code", "file_url", "message", "subtask_status"].into());
    assert_eq!(ended["usage"], json!({ "duration": 1 }));
    assert_eq!(output.get("code"), None);
}

#[tokio::test]
async fn a_task_runs_as_long_as_its_downloads() {
    let stage = Stage::new().await;
    let url = stage.origin.put("slow.wav", Reply::Silent);
    let id = stage.task(&[url], json!({})).await;
    stage.clock.asleep("sandbox", 1).await;
    stage.clock.advance(PENDING);
    // The download's time limit.
    stage.clock.asleep("sandbox", 1).await;
    stage.clock.advance(RUNNING * 2);
    assert_eq!(stage.query(&id).await["output"]["task_status"], "RUNNING");
    stage.clock.advance(Duration::from_mins(10));
    stage.handle.wait_for_work(1).await;
    let ended = stage.query(&id).await;
    assert_eq!(ended["output"]["code"], "FILE_DOWNLOAD_FAILED");
}

/// All subtasks failed: `FAILED` with code, message and results has been seen; a sample has `SUCCEEDED`.
#[tokio::test]
async fn a_task_without_success_ends_as_it_is_set() {
    for (all_failed, status) in [(AllFailed::Failed, "FAILED"), (AllFailed::Succeeded, "SUCCEEDED")] {
        let stage = Stage::with(|settings| settings.with_all_failed(all_failed)).await;
        let ended = stage.transcribe(&[stage.origin.url("none.wav")], json!({})).await;
        assert_eq!(ended["output"]["task_status"], status);
        assert_eq!(ended["output"]["results"][0]["code"], "FILE_404_NOT_FOUND");
        assert_eq!(ended["output"].get("code").is_some(), status == "FAILED");
    }
}

/// Any key of the account sees its tasks; another account's, expired and unknown ones are `UNKNOWN`.
#[tokio::test]
async fn tasks_belong_to_the_account() {
    let stage =
        Stage::with(|settings| settings.with_key("sk-sibling").with_account_key("neighbour", "sk-neighbour"))
            .await;
    let id = stage.task(&[stage.origin.url("none.wav")], json!({})).await;
    let query = |key| send(stage.anonymous(Method::GET, &format!("/api/v1/tasks/{id}")).bearer_auth(key));
    assert_eq!(query("sk-sibling").await.ok()["output"]["task_status"], "PENDING");
    let foreign = query("sk-neighbour").await.ok();
    assert_eq!(foreign["output"], json!({ "task_id": id, "task_status": "UNKNOWN" }));
    let unknown = stage.query("6b2ed6a5-0000-4000-8000-000000000000").await;
    assert_eq!(keys(&unknown["output"]), keys(&foreign["output"]));
    let list = send(stage.anonymous(Method::GET, "/api/v1/tasks/").bearer_auth("sk-neighbour")).await;
    assert_eq!(list.ok()["total"], 0);
    let cancel = stage.anonymous(Method::POST, &format!("/api/v1/tasks/{id}/cancel"));
    send(cancel.bearer_auth("sk-neighbour")).await.refused(400, "UnsupportedOperation");
    assert_eq!(stage.handle.tasks()[0].status, TaskStatus::Pending);
}

/// The asynchronous class of the vendor's Python SDK puts a slash behind (dashscope 2.0).
#[tokio::test]
async fn a_path_of_a_task_may_end_with_a_slash() {
    let stage = Stage::new().await;
    let id = stage.task(&[stage.origin.url("none.wav")], json!({})).await;
    assert_eq!(stage.get(&format!("/api/v1/tasks/{id}/")).await.ok()["output"]["task_id"], id);
    assert_eq!(stage.get("/api/v1/tasks").await.ok()["total"], 1);
    send(stage.request(Method::POST, &format!("/api/v1/tasks/{id}/cancel/"))).await.ok();
    assert_eq!(stage.handle.tasks()[0].status, TaskStatus::Canceled);
}

/// Tasks are kept for 24 hours after their end.
#[tokio::test]
async fn a_task_is_forgotten_a_day_after_its_end() {
    let stage = Stage::new().await;
    let id = stage.task(&[stage.origin.url("none.wav")], json!({})).await;
    stage.finish(&id).await;
    stage.clock.advance(DAY - Duration::from_millis(1));
    assert_eq!(stage.query(&id).await["output"]["task_status"], "FAILED");
    stage.clock.advance(Duration::from_millis(1));
    assert_eq!(stage.query(&id).await["output"]["task_status"], "UNKNOWN");
    assert_eq!(stage.get("/api/v1/tasks/").await.ok()["total"], 0);
    assert_eq!(stage.handle.tasks(), []);
}

/// `POST …/cancel`: while the task is pending, otherwise 400 `UnsupportedOperation`.
#[tokio::test]
async fn only_a_pending_task_can_be_cancelled() {
    let stage = Stage::new().await;
    let cancel = async |id: &str| stage.post(&format!("/api/v1/tasks/{id}/cancel")).await;
    let first = stage.task(&[stage.origin.url("a.wav")], json!({})).await;
    assert_eq!(keys(&cancel(&first).await.ok()), ["request_id"].into());
    assert_eq!(stage.query(&first).await["output"]["task_status"], "CANCELED");
    cancel(&first).await.refused(400, "UnsupportedOperation");

    let second = stage.task(&[stage.origin.url("a.wav")], json!({})).await;
    stage.clock.advance(PENDING);
    cancel(&second).await.refused(400, "UnsupportedOperation");
    cancel("none").await.refused(400, "UnsupportedOperation");
    assert_eq!(stage.query(&first).await["output"]["task_status"], "CANCELED");
}

/// 20 queries, lists and cancels a second for each account, all keys together.
#[tokio::test]
async fn queries_lists_and_cancels_share_twenty_a_second() {
    let stage =
        Stage::with(|settings| settings.with_key("sk-sibling").with_account_key("neighbour", "sk-neighbour"))
            .await;
    for _ in 0..9 {
        stage.query("none").await;
        stage.get("/api/v1/tasks/").await.ok();
    }
    stage.post("/api/v1/tasks/none/cancel").await.refused(400, "UnsupportedOperation");
    stage.clock.advance(Duration::from_millis(500));
    stage.query("none").await;
    let over =
        |key: &'static str, path: &'static str, method| send(stage.anonymous(method, path).bearer_auth(key));
    let message = over("sk-sibling", "/api/v1/tasks/none", Method::GET).await;
    assert_eq!(
        message.refused(429, "Throttling.RateQuota"),
        "Requests rate limit exceeded, please try again later."
    );
    stage.get("/api/v1/tasks/").await.refused(429, "Throttling.RateQuota");
    stage.post("/api/v1/tasks/none/cancel").await.refused(429, "Throttling.RateQuota");
    over("sk-neighbour", "/api/v1/tasks/none", Method::GET).await.ok();
    stage.clock.advance(Duration::from_millis(500));
    for _ in 0..19 {
        stage.query("none").await;
    }
    stage.get("/api/v1/tasks/none").await.refused(429, "Throttling.RateQuota");
}

async fn list(stage: &Stage, query: &str) -> Answer {
    // Ten lists a second of the sandbox's time stay within its limit.
    stage.clock.advance(Duration::from_millis(100));
    stage.get(&format!("/api/v1/tasks/?{query}")).await
}

/// `page_no` from 1, `page_size` 10; the reply's fields.
#[tokio::test]
async fn tasks_are_listed_by_the_page() {
    let stage = Stage::new().await;
    let mut submitted = BTreeSet::new();
    for _ in 0..12 {
        submitted.insert(stage.task(&[stage.origin.url("a.wav")], json!({})).await);
    }
    let mut listed = BTreeSet::new();
    for (page, length) in [(1, 10), (2, 2), (3, 0)] {
        let page = list(&stage, &format!("page_no={page}")).await.ok();
        assert_eq!(
            (&page["total"], &page["total_page"], &page["page_size"]),
            (&json!(12), &json!(2), &json!(10))
        );
        let data = page["data"].as_array().unwrap();
        assert_eq!(data.len(), length);
        listed.extend(data.iter().map(|task| task["task_id"].as_str().unwrap().to_owned()));
    }
    assert_eq!(listed, submitted);
    let capped = list(&stage, "page_size=100").await.ok();
    assert_eq!((capped["page_size"].as_u64(), capped["data"].as_array().unwrap().len()), (Some(10), 10));
    let task = &capped["data"][0];
    assert_eq!(task["gmt_create"], 1_744_076_769_000_u64);
    assert_eq!((&task["status"], &task["model_name"]), (&json!("PENDING"), &json!("fun-asr")));
    for query in ["page_no=0", "page_no=x"] {
        list(&stage, query).await.refused_parameter("page_no");
    }
    list(&stage, "page_size=0").await.refused_parameter("page_size");
    list(&stage, "size=1").await.refused_parameter("size");
}

/// The filters: `task_id`, `status`, `model_name`, `api_key_id`, `region`, and `start_time` to `end_time` of at most 24 hours.
#[tokio::test]
async fn a_list_is_filtered() {
    let stage = Stage::with(|settings| settings.with_list_order(ListOrder::NewestFirst)).await;
    let first = stage.task(&[stage.origin.url("a.wav")], json!({})).await;
    stage.finish(&first).await;
    let second = stage.task(&[stage.origin.url("a.wav")], json!({})).await;
    let ids = async |query: &str| {
        let data = list(&stage, query).await.ok()["data"].as_array().unwrap().clone();
        data.iter().map(|task| task["task_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("").await, [second.clone(), first.clone()]);
    assert_eq!(ids(&format!("task_id={first}")).await, std::slice::from_ref(&first));
    assert_eq!(ids("status=PENDING").await, std::slice::from_ref(&second));
    assert_eq!(ids("model_name=fun-asr").await.len(), 2);
    let key = valet_sandbox::fingerprint(crate::harness::KEY);
    assert_eq!(ids(&format!("region=sandbox&api_key_id={key}")).await.len(), 2);
    assert_eq!(ids("region=cn-beijing").await.len(), 0);
    assert_eq!(ids("api_key_id=other").await.len(), 0);
    assert_eq!(ids("model_name=fun-asr-mtl").await.len(), 0);
    assert_eq!(ids("start_time=20250408094610&end_time=20250409094610").await, [second]);
    assert_eq!(ids("end_time=20250408094610").await, [first]);
    list(&stage, "status=DONE").await.refused_parameter("status");
    list(&stage, "start_time=2025-04-08").await.refused_parameter("start_time");
    list(&stage, "start_time=20250408000000&end_time=20250409000001").await.refused_parameter("end_time");
    list(&stage, "start_time=20250408000001&end_time=20250408000000").await.refused_parameter("end_time");
}

#[tokio::test]
async fn a_task_takes_as_long_as_is_settled_for_its_urls() {
    let hour = Duration::from_hours(1);
    let time = TaskTime { pending: Duration::ZERO, running: hour };
    let slow = move |urls: &[String]| urls[0].ends_with("?slow").then_some(time);
    let stage = Stage::with(|settings| settings.with_time_of_tasks(slow)).await;
    let url = stage.origin.file("a.wav", one_second());
    let (usual, slow) = (
        stage.task(std::slice::from_ref(&url), json!({})).await,
        stage.task(&[format!("{url}?slow")], json!({})).await,
    );
    stage.clock.asleep("sandbox", 1).await;
    stage.clock.advance(PENDING);
    stage.handle.wait_for_work(2).await;
    let ended = |id: &str| stage.handle.tasks().into_iter().find(|task| task.task_id == id).unwrap().ended;
    assert_eq!(ended(&usual), None);
    stage.clock.advance(RUNNING);
    let took = ended(&usual).unwrap();
    assert_eq!(
        (stage.query(&slow).await["output"]["task_status"].as_str(), ended(&slow)),
        (Some("RUNNING"), None)
    );
    stage.clock.advance(hour);
    assert_eq!(ended(&slow).unwrap() - took, hour - PENDING - RUNNING);
}
