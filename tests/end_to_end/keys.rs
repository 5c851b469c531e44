//! Upstream keys: what a refusal says of them, which one is tried, and how they come back.

use valet_demo::StackSettings;
use valet_sandbox::{Fault, Operation, Settings, fingerprint};

use crate::harness::{SECOND, Stage, UNHURRIED};

const FIRST: &str = "sk-first";
const SECOND_KEY: &str = "sk-second";

async fn with_two_keys() -> Stage {
    let sandbox = Settings::default().with_key(FIRST).with_key(SECOND_KEY);
    let spare_keys = vec![SECOND_KEY.to_owned()];
    let app = UNHURRIED.into();
    Stage::with(StackSettings { sandbox, spare_keys, app, ..StackSettings::default() }).await
}

/// The keys that mints were tried with, in order.
fn tried(stage: &Stage) -> Vec<String> {
    let journal = stage.stack.sandbox.journal().into_iter();
    journal.filter(|entry| entry.operation == Operation::Mint).filter_map(|entry| entry.key).collect()
}

#[tokio::test]
async fn a_refused_key_is_left_alone_until_a_probe_brings_it_back() {
    let stage = Stage::new().await;
    let key = stage.stack.sandbox_key.clone();
    stage.stack.sandbox.revoke_key(&key);
    let refusal = (503, "no_upstream_key".to_owned(), Some(1));
    for _ in 0..59 {
        assert_eq!(stage.ask().await.refusal(), refusal);
        stage.clock.advance(SECOND);
    }
    assert_eq!(stage.mints(), stage.each(1));
    let ready = stage.page("/readyz").await;
    assert_eq!((ready.status, &*ready.text), (503, r#"{"status":"no_usable_upstream_key"}"#));
    assert_eq!(stage.page("/healthz").await.status, 200, "the process itself is well");
    // The first probe finds it refused still, the second finds it well.
    stage.clock.advance(SECOND);
    stage.mints_ended(stage.each(2)).await;
    assert_eq!(stage.page("/readyz").await.status, 503);
    stage.stack.sandbox.add_key("default", &key);
    assert_eq!(stage.ask().await.refusal(), refusal);
    stage.clock.advance(SECOND * 60);
    stage.mints_ended(stage.each(3)).await;
    let ready = stage.page("/readyz").await;
    assert_eq!((ready.status, &*ready.text), (200, r#"{"status":"ready"}"#));
    assert_eq!(stage.ask().await.expires_in(), 60);
    let asked: Vec<_> = stage.stack.sandbox.journal().into_iter().filter_map(|entry| entry.query).collect();
    let probes = &asked[stage.brokers()..stage.brokers() * 3];
    assert!(
        probes.iter().all(|asked| asked == "expire_in_seconds=15"),
        "a probe's token is of the shortest life"
    );
    stage.stop().await;
}

#[tokio::test]
async fn tokens_of_a_refused_key_are_not_handed_out_any_more() {
    let stage = Stage::new().await;
    stage.ask().await.token();
    stage.stack.sandbox.revoke_key(&stage.stack.sandbox_key);
    stage.clock.advance(SECOND * 18);
    // Each broker finds out for itself.
    for answer in stage.ask_each().await {
        answer.token();
    }
    stage.mints_ended(1 + stage.each(1)).await;
    for answer in stage.ask_each().await {
        assert_eq!(answer.refusal(), (503, "no_upstream_key".into(), Some(1)));
    }
    stage.stop().await;
}

#[tokio::test]
async fn the_next_key_is_tried_and_the_refused_one_is_not_tried_again() {
    let stage = with_two_keys().await;
    // What becomes of a key each broker learns for itself.
    let [first, second] = [FIRST, SECOND_KEY].map(fingerprint);
    stage.stack.sandbox.revoke_key(FIRST);
    assert_eq!(stage.ask_of(0).await.expires_in(), 60);
    assert_eq!(tried(&stage), [&*first, &second]);
    assert_eq!(stage.page("/readyz").await.status, 200);
    stage.clock.advance(SECOND * 59);
    assert_eq!(stage.ask_of(0).await.expires_in(), 60);
    assert_eq!(tried(&stage), [&*first, &second, &second]);
    // Once it is well again, it comes first.
    stage.stack.sandbox.add_key("default", FIRST);
    stage.clock.advance(SECOND);
    stage.mints_ended(4).await;
    stage.clock.advance(SECOND * 58);
    stage.ask_of(0).await.token();
    assert_eq!(tried(&stage)[3..], [first.clone(), first]);
    stage.stop().await;
}

#[tokio::test]
async fn each_key_is_tried_at_most_once_an_attempt() {
    let stage = with_two_keys().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).refuse(500, "SystemError", "Oops.").always());
    assert_eq!(stage.ask().await.refusal(), (503, "upstream_unavailable".into(), Some(1)));
    assert_eq!(tried(&stage), [FIRST, SECOND_KEY].map(fingerprint));
    stage.stop().await;
}

#[tokio::test]
async fn a_silent_key_leaves_time_for_the_next() {
    let stage = with_two_keys().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).for_key(FIRST).hang());
    let asking = stage.asking();
    stage.mints_begun(1).await;
    stage.clock.advance(SECOND * 3 / 2);
    let answer = crate::harness::promptly(asking).await.unwrap();
    assert_eq!(answer.expires_in(), 60, "counted from the mint that succeeded");
    assert_eq!(tried(&stage), [FIRST, SECOND_KEY].map(fingerprint));
    stage.stop().await;
}

#[tokio::test]
async fn throttling_is_obeyed_for_as_long_as_the_upstream_asks() {
    let stage = Stage::new().await;
    // What becomes of a key each broker learns for itself.
    let slow_down = Fault::on(Operation::Mint).refuse(429, "Throttling.RateQuota", "Slow down.");
    stage.stack.sandbox.script(slow_down.retry_after(SECOND * 7));
    for left in (1..=7).rev() {
        assert_eq!(stage.ask_of(0).await.refusal(), (503, "upstream_throttled".into(), Some(left)));
        stage.clock.advance(SECOND);
    }
    assert_eq!(stage.mints(), 1);
    assert_eq!(stage.page("/readyz").await.status, 200, "a throttled key is a good key");
    assert_eq!(stage.ask_of(0).await.expires_in(), 60);
    assert_eq!(stage.mints(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn a_throttled_key_rests_while_the_next_one_mints() {
    let stage = with_two_keys().await;
    // What becomes of a key each broker learns for itself.
    let slow_down = Fault::on(Operation::Mint).refuse(429, "Throttling.RateQuota", "Slow down.");
    stage.stack.sandbox.script(slow_down.for_key(FIRST).retry_after(SECOND * 20));
    stage.ask_of(0).await.token();
    stage.clock.advance(SECOND * 18);
    stage.ask_of(0).await.token();
    stage.mints_ended(3).await;
    stage.clock.advance(SECOND * 18);
    stage.ask_of(0).await.token();
    stage.mints_ended(4).await;
    assert_eq!(tried(&stage), [FIRST, SECOND_KEY, SECOND_KEY, FIRST].map(fingerprint));
    stage.stop().await;
}
