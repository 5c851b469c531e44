//! Limits of all replicas together, and of each while it is alone.

use reqwest::Method;
use serde_json::json;
use valet_demo::StackSettings;

use super::replicas;
use crate::harness::{Answer, SECOND, UNHURRIED, answered};

#[tokio::test]
async fn limits_are_those_of_all_replicas_together() {
    let app = "rate = { per_second = 1, burst = 5 }\ntokens_per_day = 7";
    let stage = replicas(3, StackSettings { app: app.into(), ..StackSettings::default() }).await;
    let outcome = |answer: &Answer| (answer.status, answer.json()["limit"].as_str().map(str::to_owned));
    let mut outcomes = Vec::new();
    for number in 0..8 {
        outcomes.push(outcome(&stage.ask_of(number % 3).await));
    }
    let reached = |limit: &str| (429, Some(limit.to_owned()));
    assert_eq!(outcomes[..5], vec![(200, None); 5]);
    assert_eq!(outcomes[5..], vec![reached("rate"); 3]);
    stage.clock.advance(SECOND * 5);
    let mut outcomes = Vec::new();
    for number in 0..4 {
        outcomes.push(outcome(&stage.ask_of(number % 3).await));
    }
    // A permit of the rate that is refused by the day is spent, as it is by a single broker.
    assert_eq!(outcomes, [(200, None), (200, None), reached("tokens_per_day"), reached("tokens_per_day")]);
    stage.stop().await;
}

#[tokio::test]
async fn subjects_that_are_named_faster_than_the_app_may_ask_leave_nothing_behind() {
    let app = "rate = { per_second = 1, burst = 3 }\nmay_name_subject = true\nsubject_tokens_per_day = 5";
    let mut stage = replicas(2, StackSettings { app: app.into(), ..StackSettings::default() }).await;
    let mut issued = 0;
    for number in 0..40 {
        let ask = stage.request_of(number % 2, Method::POST, "/v1/tokens");
        let ask = ask.bearer_auth(stage.stack.secret.expose());
        let answer = answered(ask.json(&json!({ "subject": format!("user {number}") }))).await;
        assert!(answer.status == 200 || answer.json()["limit"] == "rate", "{}", answer.text);
        issued += u64::from(answer.status == 200);
    }
    assert_eq!(issued, 3);
    let kept = stage.redis().count("*permits:day:*");
    assert!(kept <= 6, "of two replicas, as many as each lets in: {kept}");
    stage.stop().await;
}

/// Most rates come to an interval of no whole number of microseconds.
#[tokio::test]
async fn the_first_permit_of_a_rate_is_there_whatever_its_interval() {
    for per_second in [7, 13, 30, 60, 90] {
        let app = format!("rate = {{ per_second = {per_second}, burst = 1 }}");
        let stage = replicas(1, StackSettings { app, ..StackSettings::default() }).await;
        assert_eq!(stage.ask_of(0).await.status, 200, "{per_second} a second");
        assert_eq!(stage.ask_of(0).await.status, 429);
        stage.clock.advance(SECOND / per_second + SECOND / 1000);
        assert_eq!(stage.ask_of(0).await.status, 200, "{per_second} a second, later");
        stage.stop().await;
    }
}

#[tokio::test]
async fn without_the_redis_each_replica_keeps_to_its_share_and_the_day_goes_on_when_it_is_back() {
    let app = format!("{UNHURRIED}\ntokens_per_day = 9");
    let mut stage = replicas(3, StackSettings { app, ..StackSettings::default() }).await;
    stage.ask_of(0).await.token();
    stage.redis().kill();
    stage.joined(0).await;
    let mut issued = 0;
    for number in 0..30 {
        issued += usize::from(stage.ask_of(number % 3).await.status == 200);
    }
    // The one of before counts.
    assert_eq!(issued, 8);
    stage.redis().restart();
    stage.rejoined(3).await;
    for number in 0..6 {
        // Before all have told what they spent, and after it.
        stage.clock.advance(SECOND);
        assert_eq!(stage.ask_of(number % 3).await.status, 429, "the others' shares are not spent once more");
    }
    stage.stop().await;
}
