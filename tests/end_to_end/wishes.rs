//! What a caller may wish for: a least life, another token than the one that was refused, one of its own.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::json;
use valet_client::Token;
use valet_sandbox::{Fault, Operation};

use crate::harness::{Answer, SECOND, Stage, UNHURRIED, answered, promptly};

/// By which a caller names a token that the upstream refused.
fn name_of(token: &str) -> String {
    Token::new(token, "http://localhost/api/v1", None).sha256()
}

async fn refusing(stage: &Stage, token: &str) -> Answer {
    stage.ask_for(&json!({ "rejected": name_of(token) })).await
}

/// What the sandbox was asked for, mint by mint.
fn lifetimes(stage: &Stage) -> Vec<String> {
    let journal = stage.stack.sandbox.journal().into_iter();
    journal.filter(|entry| entry.operation == Operation::Mint).filter_map(|entry| entry.query).collect()
}

#[tokio::test]
async fn a_refused_token_is_minted_anew_once_however_many_name_it() {
    let stage = Stage::new().await;
    let refused = stage.ask().await.token();
    let anew = refusing(&stage, &refused).await;
    assert!(anew.token() != refused);
    assert_eq!(anew.expires_in(), 60);
    for _ in 0..10 {
        assert_eq!(refusing(&stage, &refused).await.token(), anew.token());
    }
    assert_eq!(stage.ask().await.token(), anew.token());
    assert_eq!(stage.mints(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn whoever_names_another_token_gets_the_one_in_hand() {
    let stage = Stage::new().await;
    let token = stage.ask().await.token();
    for other in ["st-other", "", "sk-long-lived"] {
        assert_eq!(refusing(&stage, other).await.token(), token);
    }
    assert_eq!(stage.mints(), 1);
    stage.stop().await;
}

#[tokio::test]
async fn refusing_token_after_token_is_limited() {
    // Each broker has its own count, and its part of the cap on mints.
    let stage = Stage::with_app(&format!("{UNHURRIED}\nmints = {{ per_minute = 600, burst = 60 }}")).await;
    let refusing =
        async |token: &str| answered(stage.v1_of(0).json(&json!({ "rejected": name_of(token) }))).await;
    let mut token = stage.ask_of(0).await.token();
    for _ in 0..6 {
        token = refusing(&token).await.token();
    }
    let limited = refusing(&token).await;
    assert_eq!(limited.refusal(), (429, "mint_cap".into(), Some(10)));
    assert_eq!(stage.mints(), 7);
    assert_eq!(stage.ask().await.token(), token, "the others keep what is in hand");
    stage.clock.advance(SECOND * 10);
    assert!(refusing(&token).await.token() != token);
    stage.stop().await;
}

#[tokio::test]
async fn without_sharing_each_request_has_its_own_token_up_to_the_cap() {
    let stage =
        Stage::with_app(&format!("{UNHURRIED}\nsharing = \"none\"\nmints = {{ per_minute = 2, burst = 3 }}"))
            .await;
    let mut tokens: Vec<String> = Vec::new();
    for _ in 0..3 {
        tokens.push(stage.ask().await.token());
    }
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
    let capped = stage.ask().await;
    let wait = stage.each(30);
    assert_eq!(capped.refusal(), (429, "mint_cap".into(), Some(wait)), "the brokers part the cap");
    assert_eq!(capped.json()["limit"], "mints");
    assert_eq!(stage.mints(), 3);
    stage.clock.advance(Duration::from_secs(wait));
    assert_eq!(stage.ask().await.expires_in(), 60);
    stage.stop().await;
}

#[tokio::test]
async fn a_least_life_that_the_token_in_hand_has_is_served_from_hand() {
    let stage = Stage::new().await;
    let token = stage.ask().await.token();
    stage.clock.advance(SECOND * 18);
    let answer = stage.ask_for(&json!({ "min_ttl": 42 })).await;
    assert_eq!((answer.token(), answer.expires_in()), (token, 42));
    stage.stop().await;
}

#[tokio::test]
async fn a_least_life_beyond_the_token_in_hand_waits_for_a_fresh_one() {
    let stage = Stage::new().await;
    let first = stage.ask().await.token();
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(SECOND / 2).always());
    stage.clock.advance(SECOND * 19);
    let waiting = tokio::spawn(answered(stage.v1().json(&json!({ "min_ttl": 42 }))));
    stage.mints_begun(2).await;
    stage.upstream_asleep().await;
    let modest = stage.ask_for(&json!({ "min_ttl": 41 })).await;
    assert_eq!((modest.token(), modest.expires_in()), (first.clone(), 41));
    stage.clock.advance(SECOND / 2);
    let fresh = promptly(waiting).await.unwrap();
    assert!(fresh.token() != first);
    assert_eq!(fresh.expires_in(), 59);
    assert_eq!(stage.mints(), 2, "the refresh and the one who waits are one mint");
    stage.stop().await;
}

#[tokio::test]
async fn a_least_life_that_cannot_be_promised_is_refused() {
    let stage = Stage::new().await;
    let refused = stage.ask_for(&json!({ "min_ttl": 43 })).await;
    assert_eq!(refused.refusal(), (400, "min_ttl_too_long".into(), None));
    assert_eq!(refused.json()["field"], "min_ttl");
    assert_eq!(stage.mints(), 0);
    stage.stop().await;
}

#[tokio::test]
async fn a_longer_class_serves_where_the_app_may_have_it() {
    let stage = Stage::with_app(&format!("{UNHURRIED}\nmax_lifetime = 300")).await;
    let ask = async |min_ttl: u32| stage.ask_for(&json!({ "min_ttl": min_ttl })).await;
    assert_eq!(ask(42).await.expires_in(), 60);
    assert_eq!(ask(43).await.expires_in(), 300);
    assert_eq!(ask(210).await.expires_in(), 300);
    assert_eq!(ask(211).await.refusal(), (400, "min_ttl_too_long".into(), None));
    assert_eq!(lifetimes(&stage), ["expire_in_seconds=60", "expire_in_seconds=300"]);
    stage.stop().await;
}

#[tokio::test]
async fn the_dashscope_door_grants_the_class_that_covers_what_is_asked() {
    let stage = Stage::with_app(&format!("{UNHURRIED}\nmax_lifetime = 1800")).await;
    let ask = |query: &str| -> RequestBuilder { stage.dashscope(query) };
    for query in ["", "?expire_in_seconds=1", "?expire_in_seconds=60"] {
        answered(ask(query)).await.token();
    }
    answered(ask("?expire_in_seconds=61")).await.token();
    answered(ask("?expire_in_seconds=1800")).await.token();
    let asked = ["expire_in_seconds=60", "expire_in_seconds=300", "expire_in_seconds=1800"];
    assert_eq!(lifetimes(&stage), asked);
    stage.stop().await;
}

#[tokio::test]
async fn a_refused_token_stays_in_hand_for_the_others_until_its_successor_is_there() {
    let stage = Stage::new().await;
    let token = stage.ask().await.token();
    stage.stack.sandbox.script(Fault::on(Operation::Mint).refuse(500, "InternalError", "No.").always());
    assert_eq!(refusing(&stage, &token).await.status, 503, "whoever names it gets no dead token");
    let other = stage.ask().await;
    assert_eq!((other.status, other.token()), (200, token));
    stage.stop().await;
}
