//! How much apps, subjects and addresses may ask for, and what they are told at the limit.

use reqwest::Method;
use serde_json::json;
use valet_demo::StackSettings;

use crate::{
    audit::submit,
    harness::{Answer, SECOND, Stage, UNHURRIED, answered},
};

/// The limit that a refusal names, and the seconds it says to wait.
fn limit(answer: &Answer) -> (String, u64) {
    assert_eq!(answer.status, 429, "{}", answer.text);
    let (_, code, wait) = answer.refusal();
    assert_eq!(code, "rate_limited");
    (answer.json()["limit"].as_str().unwrap().to_owned(), wait.unwrap())
}

#[tokio::test]
async fn an_app_has_so_many_tokens_a_day_of_utc() {
    let stage = Stage::with_app(&format!("{UNHURRIED}\ntokens_per_day = 3")).await;
    for _ in 0..3 {
        stage.ask().await.token();
    }
    // The clock stands at 01:46:09 UTC.
    let until_midnight = 24 * 3600 - (3600 + 46 * 60 + 9);
    assert_eq!(limit(&stage.ask().await), ("tokens_per_day".into(), until_midnight));
    stage.clock.advance(SECOND * u32::try_from(until_midnight).unwrap() - SECOND / 1000);
    assert_eq!(limit(&stage.ask().await), ("tokens_per_day".into(), 1));
    stage.clock.advance(SECOND / 1000);
    stage.ask().await.token();
    stage.stop().await;
}

#[tokio::test]
async fn a_subject_that_asks_too_fast_costs_the_others_nothing() {
    let app = "rate = { per_second = 1, burst = 4 }\nmay_name_subject = true\n\
               subject_rate = { per_second = 1, burst = 2 }";
    let stage = Stage::with_app(app).await;
    let ask = |subject: &str| {
        let body = json!({ "subject": subject });
        answered(stage.v1().json(&body))
    };
    for _ in 0..2 {
        ask("ann").await.token();
    }
    for _ in 0..10 {
        assert_eq!(limit(&ask("ann").await), ("subject_rate".into(), 1));
    }
    ask("ben").await.token();
    ask("ben").await.token();
    assert_eq!(limit(&ask("eve").await).0, "rate", "the app's own limit is reached as well");
    stage.stop().await;
}

#[tokio::test]
async fn a_subject_has_so_many_tokens_a_day() {
    let app = format!("{UNHURRIED}\nmay_name_subject = true\nsubject_tokens_per_day = 1");
    let stage = Stage::with_app(&app).await;
    let ask = |subject: &str| {
        let body = json!({ "subject": subject });
        answered(stage.v1().json(&body))
    };
    ask("ann").await.token();
    assert_eq!(limit(&ask("ann").await).0, "subject_tokens_per_day");
    ask("ben").await.token();
    stage.ask().await.token();
    stage.stop().await;
}

async fn with_a_gate() -> Stage {
    let config = "trusted_proxies = 1\nfailures_per_address = { per_minute = 60, burst = 5 }\n".into();
    Stage::with(StackSettings { config, app: UNHURRIED.into(), ..StackSettings::default() }).await
}

#[tokio::test]
async fn an_address_that_keeps_proving_nobody_is_held_up_and_a_right_credential_never() {
    let stage = with_a_gate().await;
    // Each broker has its own count.
    let from =
        |address: &str| stage.request_of(0, Method::POST, "/v1/tokens").header("x-forwarded-for", address);
    let guess = |address: &str| answered(from(address).bearer_auth("vas_guess"));
    for _ in 0..5 {
        assert_eq!(guess("192.0.2.7").await.status, 401);
    }
    assert_eq!(limit(&guess("192.0.2.7").await), ("failures_per_address".into(), 1));
    // Without a credential, or with one that cannot be read, it is the same.
    assert_eq!(answered(from("192.0.2.7")).await.status, 429);
    assert_eq!(answered(from("192.0.2.7").header("authorization", "Basic ?")).await.status, 429);
    answered(stage.v1_of(0).header("x-forwarded-for", "192.0.2.7")).await.token();
    assert_eq!(guess("192.0.2.8").await.status, 401, "another address has its own count");
    // What the caller writes to the left of the proxy's own entry does not count.
    assert_eq!(guess("192.0.2.99, 192.0.2.7").await.status, 429);
    stage.clock.advance(SECOND);
    assert_eq!(guess("192.0.2.7").await.status, 401);
    stage.stop().await;
}

#[tokio::test]
async fn the_audit_trail_has_the_address_that_the_trusted_proxy_names() {
    let stage = with_a_gate().await;
    answered(stage.v1().header("x-forwarded-for", "10.9.9.9, 192.0.2.7")).await.token();
    let remains = stage.stop().await;
    assert_eq!(remains.audit[0]["peer"], "192.0.2.7");
}

#[tokio::test]
async fn requests_of_an_app_with_origins_come_from_one_of_them() {
    let stage = Stage::with_app(&format!("{UNHURRIED}\norigins = [\"https://app.example.com\"]")).await;
    let from = |origin: &str| answered(stage.v1().header("origin", origin));
    from("https://app.example.com").await.token();
    for foreign in ["https://evil.example.com", "https://app.example.com.evil.com", "null", ""] {
        assert_eq!(from(foreign).await.refusal(), (403, "origin_not_allowed".into(), None), "{foreign}");
    }
    assert_eq!(stage.ask().await.refusal().1, "origin_not_allowed", "none at all is none of them");
    stage.stop().await;
}

#[tokio::test]
async fn the_queries_of_an_account_are_a_limit_that_is_named_with_the_exact_wait() {
    let state = tempfile::tempdir().unwrap();
    let (upstream, relay) = ("queries_per_second = 1".into(), Some(state.path().to_owned()));
    let app = UNHURRIED.into();
    let stage = Stage::with(StackSettings { app, upstream, relay, ..StackSettings::default() }).await;
    let secret = stage.stack.secret.expose();
    // Each cancel is a query of the account's, whatever comes of it.
    let mut tasks = 0..10;
    let limited = loop {
        let number = tasks.next().expect("the limit is reached");
        let url = format!("https://files.example.com/{number}.wav");
        let task = answered(submit(&stage, secret, &url)).await.json();
        let cancel = format!("/api/v1/tasks/{}/cancel", task["output"]["task_id"].as_str().unwrap());
        let answer = answered(stage.request(Method::POST, &cancel).bearer_auth(secret)).await;
        if answer.status == 429 {
            break answer;
        }
    };
    assert_eq!(limited.refusal(), (429, "Throttling.RateQuota".into(), Some(1)));
    assert_eq!(limited.json()["message"], "this limit is reached: queries_per_second");
    let counted = "valet_limit_refusals_total{limit=\"queries_per_second\"} 1";
    assert!(stage.metrics().await.contains(counted));
    stage.stop().await;
}
