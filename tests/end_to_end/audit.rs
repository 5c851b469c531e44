//! The audit trail: one line a decision, with what was decided and never a secret.

use std::fmt::Write;

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};
use valet_demo::{APP, StackSettings, recordings::Recordings};
use valet_sandbox::{Fault, Operation, Settings};
use valet_server::{config::AuditKey, secret::AppSecret};

use crate::harness::{SECOND, Stage, answered, promptly};

#[tokio::test]
async fn every_decision_has_its_line() {
    let retired = AppSecret::generate();
    let app = format!(
        "may_name_subject = true\nrate = {{ per_second = 1, burst = 7 }}\n\
         [apps.retired]\nenabled = false\nsecrets = [\"{}\"]",
        retired.hash()
    );
    let sandbox = Settings::default().with_key("sk-audited");
    let stage = Stage::with(StackSettings { app, sandbox, ..StackSettings::default() }).await;
    let bare = || stage.request(Method::POST, "/v1/tokens");
    let unreachable = || stage.stack.sandbox.script(Fault::on(Operation::Mint).reset());
    let named = json!({ "subject": "alice \"\u{e9}\u{1f600}", "client_reference_id": "job 7\u{2028}" });
    let mut answers = Vec::new();
    stage.stack.sandbox.script(Fault::on(Operation::Mint).refuse(503, "SystemError", "Try again."));
    answers.push(stage.ask().await);
    stage.clock.advance(SECOND);
    unreachable();
    answers.push(answered(stage.dashscope("")).await);
    stage.clock.advance(SECOND);
    answers.push(stage.ask_for(&named).await);
    stage.clock.advance(SECOND / 4);
    answers.push(answered(stage.dashscope("?expire_in_seconds=30")).await);
    answers.push(answered(bare()).await);
    answers.push(answered(bare().bearer_auth("vas_wrong")).await);
    answers.push(answered(bare().basic_auth("retired", Some(retired.expose()))).await);
    answers.push(answered(bare().header("authorization", "Digest x")).await);
    answers.push(stage.ask_for(&json!({ "ttl": 1 })).await);
    answers.push(stage.ask_for(&json!({ "min_ttl": 100, "client_reference_id": "job 8" })).await);
    while answers.last().unwrap().status != 429 {
        answers.push(stage.ask().await);
    }
    // Pages and unknown paths are no decisions.
    stage.page("/readyz").await;
    stage.page("/v1/tokens").await;
    stage.page("/nothing").await;
    let remains = stage.stop().await;
    assert_eq!(remains.audit.len(), answers.len());
    let mut shown = String::new();
    for (line, answer) in remains.audit.iter().zip(&answers) {
        assert_eq!(line["request_id"], answer.header("x-request-id").unwrap());
        assert_eq!(line["status"], answer.status);
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        if line["door"] == "v1" {
            assert_eq!(line.get("expires_in"), answer.json().get("expires_in"));
        }
        let mut line = line.clone();
        for varies in ["request_id", "peer", "token", "upstream_request_id"] {
            line.entry(varies.into()).and_modify(|value| *value = Value::from("[…]"));
        }
        writeln!(shown, "{}", json!(line)).unwrap();
    }
    assert_snapshot!(shown.trim_end());
}

#[tokio::test]
async fn a_decision_that_took_long_says_how_long() {
    let stage = Stage::new().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(SECOND / 2));
    let asking = stage.asking();
    stage.upstream_asleep().await;
    stage.clock.advance(SECOND / 2);
    crate::harness::promptly(asking).await.unwrap().token();
    let remains = stage.stop().await;
    assert_eq!(remains.audit[0]["latency_us"], 500_000);
    assert_eq!(remains.audit[0]["app"], APP);
}

#[tokio::test]
async fn the_trail_of_a_broker_is_whole_and_tells_what_became_of_it() {
    // Each broker has a trail of its own.
    let stage = Stage::of_one(StackSettings { follow: true, ..StackSettings::default() }).await;
    let (first, again) = (stage.ask().await, stage.ask().await);
    assert_eq!(first.token(), again.token());
    stage.stack.reconfigure("no configuration", true).unwrap();
    promptly(async { while stage.metric("valet_config_reloads_total").await < 2 {} }).await;
    stage.stack.sandbox.revoke_key(&stage.stack.sandbox_key);
    stage.clock.advance(SECOND * 30);
    stage.ask().await.token();
    stage.mints_ended(2).await;
    stage.metric_is("valet_key_usable", 0).await;
    let path = stage.stack.audit_path();
    let key = std::fs::read_to_string(valet_server::audit::key_beside(&path)).unwrap();
    // The stack's folder goes with it.
    let kept = tempfile::tempdir().unwrap();
    let copy = kept.path().join("audit.jsonl");
    std::fs::hard_link(&path, &copy).unwrap();
    let remains = stage.stop().await;
    assert_eq!(remains.audit[0]["token"], remains.audit[1]["token"], "the same token has the same name");
    assert!(!remains.audit[0]["token"].as_str().unwrap().contains(&first.token()));
    let report =
        valet_server::audit::verify(std::slice::from_ref(&copy), &AuditKey::parse(key.trim()).unwrap())
            .unwrap();
    assert_eq!(report.findings, []);
    assert!(report.closed);
    let text = std::fs::read_to_string(copy).unwrap();
    let kinds: Vec<String> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().map(str::to_owned))
        .filter(|kind| kind != "chain")
        .collect();
    assert_eq!(kinds, ["open", "start", "reload", "reload", "key", "stop", "close"]);
}

#[tokio::test]
async fn no_token_is_handed_out_that_cannot_be_recorded_if_the_operator_says_so() {
    let audit = "path = \"/dev/full\"\non_failure = \"refuse\"".into();
    let stage = Stage::with(StackSettings { audit, ..StackSettings::default() }).await;
    promptly(async { while stage.page("/readyz").await.status != 503 {} }).await;
    assert_eq!(stage.page("/readyz").await.text, r#"{"status":"audit_trail_failing"}"#);
    assert_eq!(stage.ask().await.refusal(), (503, "unrecorded".into(), Some(1)));
    assert_eq!(answered(stage.dashscope("")).await.status, 503);
    assert_eq!(stage.mints(), 0);
    assert!(stage.metric("valet_audit_lost_total").await > 0);
    stage.stop().await;
}

#[tokio::test]
async fn an_audit_trail_that_fails_only_alarms_by_default() {
    let audit = "path = \"/dev/full\"".into();
    let stage = Stage::with(StackSettings { audit, ..StackSettings::default() }).await;
    promptly(async { while stage.metric("valet_audit_failing").await != stage.each(1) {} }).await;
    stage.ask().await.token();
    assert_eq!(stage.page("/readyz").await.status, 200);
    stage.stop().await;
}

/// What submits a recording at the relay.
pub(crate) fn submit(stage: &Stage, bearer: &str, url: &str) -> reqwest::RequestBuilder {
    let body = json!({ "model": "fun-asr", "input": { "file_urls": [url] }, "parameters": {} });
    let request = stage.request(Method::POST, "/api/v1/services/audio/asr/transcription");
    request.bearer_auth(bearer).header("x-dashscope-async", "enable").json(&body)
}

#[tokio::test]
async fn submits_cancels_and_results_have_their_lines_and_are_counted() {
    let state = tempfile::tempdir().unwrap();
    let (app, relay) = ("rate = { per_second = 1, burst = 3 }".into(), Some(state.path().to_owned()));
    let stage = Stage::with(StackSettings { app, relay, ..StackSettings::default() }).await;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings");
    let url = Recordings::serve(&folder).await.unwrap().url("market.wav");
    let bearer = stage.ask().await.token();
    let handle =
        |answer: &crate::harness::Answer| answer.json()["output"]["task_id"].as_str().unwrap().to_owned();
    let done = handle(&answered(submit(&stage, &bearer, &url)).await);
    let cancelled = handle(&answered(submit(&stage, &bearer, "https://files.example.com/b.wav")).await);
    let cancel = stage.request(Method::POST, &format!("/api/v1/tasks/{cancelled}/cancel"));
    assert_eq!(answered(cancel.bearer_auth(&bearer)).await.status, 200);
    let limited = answered(submit(&stage, &bearer, "https://files.example.com/c.wav")).await;
    assert_eq!(limited.refusal(), (429, "Throttling.RateQuota".into(), Some(1)));
    assert_eq!(limited.json()["message"], "this limit is reached: rate");
    let mut queries = 0;
    let result = loop {
        queries += 1;
        let query = stage.request(Method::GET, &format!("/api/v1/tasks/{done}")).bearer_auth(&bearer);
        let ended = answered(query).await.json();
        if let Some(url) = ended["output"]["results"][0]["transcription_url"].as_str() {
            break url.strip_prefix(&stage.stack.broker_url).unwrap().to_owned();
        }
        stage.turn(SECOND).await;
    };
    assert_eq!(stage.page(&result).await.status, 200);
    for (series, count) in [
        ("valet_decisions_total{door=\"query\",outcome=\"done\"}", queries),
        ("valet_limit_refusals_total{limit=\"rate\"}", 1),
        ("valet_decisions_total{door=\"submit\",outcome=\"done\"}", 2),
        ("valet_decisions_total{door=\"submit\",outcome=\"rate_limited\"}", 1),
        ("valet_decision_seconds_count", 1),
    ] {
        assert_eq!(stage.series::<u64>(series).await, count, "{series}");
    }
    let tasks = stage.stack.sandbox.tasks();
    let remains = stage.stop().await;
    let told: Vec<_> = remains
        .audit
        .iter()
        .map(|line| {
            ["door", "outcome", "app", "task", "reason"].map(|name| line.get(name).and_then(Value::as_str))
        })
        .collect();
    let task = |file: &str| {
        let found = tasks.iter().find(|task| task.file_urls[0].ends_with(file));
        found.map(|task| task.task_id.as_str())
    };
    let wanted = [
        [Some("v1"), Some("issued"), Some(APP), None, None],
        [Some("submit"), Some("done"), Some(APP), task("market.wav"), None],
        [Some("submit"), Some("done"), Some(APP), task("b.wav"), None],
        [Some("cancel"), Some("done"), Some(APP), task("b.wav"), None],
        [Some("submit"), Some("rate_limited"), Some(APP), None, Some("rate")],
        [Some("result"), Some("done"), Some(APP), None, None],
    ];
    assert_eq!(told, wanted, "queries are not recorded");
    assert_eq!(remains.audit[1]["urls"], 1);
}

#[tokio::test]
async fn no_task_is_submitted_that_cannot_be_recorded_if_the_operator_says_so() {
    let state = tempfile::tempdir().unwrap();
    let audit = "path = \"/dev/full\"\non_failure = \"refuse\"".into();
    let relay = Some(state.path().to_owned());
    let stage = Stage::with(StackSettings { audit, relay, ..StackSettings::default() }).await;
    promptly(async { while stage.page("/readyz").await.status != 503 {} }).await;
    let refused =
        answered(submit(&stage, stage.stack.secret.expose(), "https://files.example.com/a.wav")).await;
    assert_eq!(refused.refusal(), (503, "SystemError".into(), Some(1)));
    assert_eq!(stage.stack.sandbox.count(Operation::Submit), 0);
    stage.stop().await;
}
