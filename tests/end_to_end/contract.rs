//! What a success says, at both doors, and that it is so.

use reqwest::{Client, Method, RequestBuilder};
use valet_demo::APP;

use crate::harness::{Answer, SECOND, Stage, answered, answered_elsewhere};

/// When the stages' clock begins, and a minute.
const DIES: u64 = 1_744_076_769 + 60;

/// The share of so many callers who have asked each broker: the brokers part the budget of the account, 20.
fn share(stage: &Stage, callers: u32) -> f64 {
    let parts = callers * u32::try_from(stage.brokers()).unwrap();
    (2000.0 / f64::from(parts)).round() / 100.0
}

fn check_headers(answer: &Answer) {
    let mut names: Vec<_> = answer.headers.keys().map(reqwest::header::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["cache-control", "content-length", "content-type", "date", "x-request-id"]);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn the_success_bodies_of_both_doors() {
    let stage = Stage::new().await;
    let answer = stage.ask().await;
    let (token, base_url) = (answer.token(), &stage.stack.sandbox_url);
    assert!(token.starts_with("st-"));
    check_headers(&answer);
    assert_eq!(
        answer.text,
        format!(
            "{{\"token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":60,\"expires_at\":{DIES},\
             \"base_url\":\"{base_url}\",\"mode\":\"direct\",\"queries_per_second\":{:?}}}",
            share(&stage, 1)
        )
    );
    let answer = answered(stage.dashscope("?expire_in_seconds=60")).await;
    check_headers(&answer);
    assert_eq!(answer.text, format!("{{\"token\":\"{token}\",\"expires_at\":{DIES}}}"), "the same token");
    stage.stop().await;
}

#[tokio::test]
async fn every_way_to_show_a_secret_is_as_good_as_another() {
    let stage = Stage::new().await;
    let secret = stage.stack.secret.expose();
    let bare = |path: &str| stage.request(Method::POST, path);
    let form = |fields: String| {
        bare("/v1/tokens").header("content-type", "application/x-www-form-urlencoded").body(fields)
    };
    let token = stage.ask().await.token();
    let requests: [RequestBuilder; 6] = [
        bare("/v1/tokens").bearer_auth(secret),
        form(format!("client_id={APP}&client_secret={secret}")),
        form("min_ttl=30&scope=transcribe".into()).basic_auth(APP, Some(secret)),
        bare("/v1/tokens").header("content-type", "application/json").body("{}").bearer_auth(secret),
        bare("/api/v1/tokens").bearer_auth(secret),
        bare("/api/v1/tokens").basic_auth(APP, Some(secret)),
    ];
    for request in requests {
        assert_eq!(answered(request).await.token(), token);
    }
    assert_eq!(stage.mints(), 1);
    stage.stop().await;
}

#[tokio::test]
async fn the_token_opens_the_upstream_for_as_long_as_is_said() {
    let stage = Stage::new().await;
    let answer = stage.ask().await.json();
    let text = |field: &str| answer[field].as_str().unwrap().to_owned();
    let http = Client::builder().no_proxy().build().unwrap();
    let list = || http.get(format!("{}/tasks/", text("base_url"))).bearer_auth(text("token"));
    assert_eq!(answered_elsewhere(list()).await.status, 200);
    stage.clock.advance(SECOND * 59);
    assert_eq!(answered_elsewhere(list()).await.status, 200);
    stage.clock.advance(SECOND);
    assert_eq!(answered_elsewhere(list()).await.status, 401);
    stage.stop().await;
}

#[tokio::test]
async fn the_accounts_queries_are_shared_among_those_who_asked_lately() {
    let stage = Stage::new().await;
    let are_told = async |callers| {
        for answer in stage.ask_each().await {
            assert_eq!(answer.json()["queries_per_second"], share(&stage, callers));
        }
    };
    for callers in 1..=5 {
        are_told(callers).await;
        stage.clock.advance(SECOND);
    }
    // The next window still counts those of the last; after a quiet one nobody is left.
    stage.pass(40).await;
    are_told(6).await;
    stage.pass(100).await;
    are_told(1).await;
    stage.stop().await;
}

#[tokio::test]
async fn no_two_answers_have_the_same_request_id() {
    let stage = Stage::new().await;
    let mut ids = Vec::new();
    for path in ["/healthz", "/readyz", "/errors", "/nothing", "/v1/tokens", "/api/v1/tokens"] {
        ids.push(stage.page(path).await.header("x-request-id").unwrap().to_owned());
        ids.push(stage.ask().await.header("x-request-id").unwrap().to_owned());
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
    stage.stop().await;
}
