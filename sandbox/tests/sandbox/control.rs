use reqwest::Method;
use serde_json::{Value, json};
use valet_sandbox::Operation;

use crate::harness::{Answer, KEY, PENDING, RUNNING, Stage, send};

async fn control(stage: &Stage, method: Method, path: &str, body: Option<Value>) -> Answer {
    let request = stage.anonymous(method, &format!("/_sandbox/{path}"));
    send(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

#[tokio::test]
async fn faults_are_scripted_and_cleared_over_http() {
    let stage = Stage::new().await;
    let fault = json!({
        "operation": "mint", "times": null,
        "effect": { "refuse": { "status": 503, "code": "SystemError", "message": "Gone.", "retry_after_s": null } },
    });
    control(&stage, Method::POST, "faults", Some(fault.clone())).await.ok();
    assert_eq!(control(&stage, Method::GET, "faults", None).await.ok()["faults"], json!([fault]));
    stage.post("/api/v1/tokens").await.refused(503, "SystemError");
    control(&stage, Method::DELETE, "faults", None).await.ok();
    stage.post("/api/v1/tokens").await.ok();

    control(&stage, Method::POST, "faults", Some(json!({ "effect": "hang" }))).await.ok();
    let hanging = tokio::spawn(stage.request(Method::POST, "/api/v1/tokens").send());
    stage.handle.wait_for(Operation::Mint, 3).await;
    hanging.abort();

    for fault in [
        json!({ "operation": "min", "effect": "hang" }),
        json!({ "effect": "explode" }),
        json!({ "effects": "hang" }),
        json!({ "effect": { "drip": { "bytes": 0, "pause_ms": 1 } } }),
        json!({ "effect": { "replace": { "status": 42, "content_type": "text/html", "body": "" } } }),
        json!([]),
    ] {
        control(&stage, Method::POST, "faults", Some(fault)).await.refused_parameter("body");
    }
}

#[tokio::test]
async fn the_journal_is_read_over_http_and_does_not_tell_of_itself() {
    let stage = Stage::new().await;
    stage.token().await;
    stage.query("none").await;
    let journal = control(&stage, Method::GET, "journal?operation=mint", None).await.ok();
    assert_eq!(journal["entries"].as_array().unwrap().len(), 1);
    assert_eq!(journal["entries"][0]["path"], "/api/v1/tokens");
    control(&stage, Method::GET, "journal?operation=min", None).await.refused_parameter("operation");
    let counts = control(&stage, Method::GET, "counts", None).await.ok();
    assert_eq!(counts["query"], json!({ "arrived": 1, "answered": 1 }));
    control(&stage, Method::DELETE, "journal", None).await.ok();
    let journal = control(&stage, Method::GET, "journal", None).await.ok();
    assert_eq!(journal["entries"], json!([]));
    control(&stage, Method::GET, "secrets", None).await.refused(404, "NotFound");
}

#[tokio::test]
async fn tokens_and_task_times_are_turned_over_http() {
    let stage = Stage::new().await;
    let (first, second) = (stage.token().await, stage.token().await);
    let query = |token| send(stage.anonymous(Method::GET, "/api/v1/tasks/none").bearer_auth(token));
    control(&stage, Method::DELETE, "tokens", Some(json!({ "token": first }))).await.ok();
    query(&first).await.refused(401, "InvalidApiKey");
    query(&second).await.ok();
    control(&stage, Method::DELETE, "tokens", Some(json!({ "token": first }))).await.refused(404, "NotFound");
    control(&stage, Method::DELETE, "tokens", None).await.ok();
    query(&second).await.refused(401, "InvalidApiKey");

    let time = json!({ "pending_ms": 60_000, "running_ms": 0 });
    control(&stage, Method::PUT, "task-time", Some(time)).await.ok();
    let id = stage.task(&[stage.origin.url("none.wav")], json!({})).await;
    stage.clock.asleep("sandbox", 1).await;
    stage.clock.advance(PENDING + RUNNING);
    assert_eq!(stage.query(&id).await["output"]["task_status"], "PENDING");
    stage.clock.advance(std::time::Duration::from_secs(25));
    stage.handle.wait_for_work(1).await;
    assert_eq!(stage.query(&id).await["output"]["task_status"], "FAILED");
    control(&stage, Method::PUT, "task-time", Some(json!({ "pending_ms": 1 })))
        .await
        .refused_parameter("body");
}

#[tokio::test]
async fn the_control_route_demands_its_token_where_there_is_one() {
    let stage = Stage::with(|settings| settings.with_control_token("open-sesame")).await;
    control(&stage, Method::GET, "counts", None).await.refused(403, "AccessDenied");
    let with = |token| send(stage.anonymous(Method::GET, "/_sandbox/counts").bearer_auth(token));
    with(KEY).await.refused(403, "AccessDenied");
    with("open-sesame").await.ok();
}

#[tokio::test]
async fn beyond_loopback_the_control_route_needs_a_token() {
    let any = "0.0.0.0:0".parse().unwrap();
    for (token, status) in [(None, 403), (Some("open-sesame"), 200)] {
        let settings = valet_sandbox::Settings::default().with_listen(any);
        let settings = match token {
            Some(token) => settings.with_control_token(token),
            None => settings,
        };
        let clock = valet_clock::ManualClock::new();
        let sandbox = valet_sandbox::Sandbox::bind(settings, clock.handle("sandbox")).await.unwrap();
        let url = format!("http://127.0.0.1:{}/_sandbox/counts", sandbox.local_addr().port());
        tokio::spawn(sandbox.run(std::future::pending()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(url).bearer_auth(token.unwrap_or("nothing")).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_script_a_fault() {
    let stage = Stage::new().await;
    let simple = stage.anonymous(Method::POST, "/_sandbox/faults").header("Content-Type", "text/plain");
    send(simple.body("{\"effect\":\"hang\"}")).await.refused_parameter("Content-Type");
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() {
    use valet_sandbox::{Sandbox, Settings};
    for (settings, field) in [
        (Settings::default().with_key("st-token"), "keys"),
        (Settings::default().with_key("sk-"), "keys"),
        (Settings::default().with_key("sk-a b"), "keys"),
        (Settings::default().with_key("sk-a").with_account_key("other", "sk-a"), "keys"),
        (Settings::default().with_page_max(0), "page_max"),
        (Settings::default().with_urls_max(0), "urls_max"),
        (Settings::default().with_queries_per_second(0), "queries_per_second"),
        (Settings::default().with_submits_per_minute(0), "submits_per_minute"),
    ] {
        let clock = valet_clock::ManualClock::new();
        let error = Sandbox::bind(settings, clock.handle("sandbox")).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("{field}: ")), "{error}");
    }
}
