//! Replicas without their Redis: away, full, emptied, and what an operator would rather have refused.

use valet_clock::ManualClock;
use valet_demo::StackSettings;

use super::{set, three};
use crate::{
    harness::{SECOND, Stage, promptly},
    redis::Redis,
};

#[tokio::test]
async fn a_replica_without_the_redis_says_so_once_goes_on_and_rejoins_by_itself() {
    let mut stage = three().await;
    let token = stage.ask_of(0).await.token();
    stage.published(1).await;
    assert_eq!(stage.ready(0).await, r#"{"status":"ready"}"#);
    stage.redis().kill();
    stage.joined(0).await;
    assert_eq!(stage.ready(0).await, r#"{"status":"ready","shared":"away"}"#);
    for _ in 0..20 {
        assert_eq!(stage.ask_of(0).await.token(), token);
        stage.ask_of(1).await.token();
    }
    assert_eq!(stage.mints(), 2, "the second mints for itself");
    assert_eq!(stage.metric("valet_shared_outages_total").await, 3, "one for each, however many ask");
    stage.redis().restart();
    stage.rejoined(3).await;
    assert_eq!(stage.ready(0).await, r#"{"status":"ready"}"#);
    stage.ask_of(2).await.token();
    assert_eq!(stage.mints(), 3, "nothing was left of the tokens");
    stage.published(2).await;
    stage.clock.advance(SECOND * 20);
    stage.ask_of(0).await.token();
    promptly(async { while stage.metric("valet_shared_taken_over_total").await < 1 {} }).await;
    assert_eq!(stage.mints(), 3, "they are at one again");
    stage.stop().await;
}

#[tokio::test]
async fn a_redis_that_takes_nothing_more_is_away() {
    let stage = three().await;
    let token = stage.ask_of(0).await.token();
    stage.run(&set("maxmemory-policy", "noeviction"));
    stage.run(&set("maxmemory", "1"));
    // Whoever asks it for something finds out; the others, when they look.
    stage.ask_of(1).await.token();
    stage.clock.advance(SECOND);
    stage.joined(0).await;
    assert_eq!((stage.ask_of(0).await.token(), stage.mints()), (token, 2));
    stage.run(&set("maxmemory", "0"));
    stage.rejoined(3).await;
    stage.stop().await;
}

#[tokio::test]
async fn an_operator_can_have_refused_what_is_not_shared() {
    let app = "rate = { per_second = 100, burst = 100 }".to_owned();
    let settings = StackSettings { app, ..StackSettings::default() };
    let clock = ManualClock::new();
    let redis = Redis::start(&clock);
    let without = "[shared.without]\ntokens = \"refuse\"\nlimits = \"refuse\"\n";
    let mut stage =
        Stage::of_brokers(settings, vec![clock.handle("broker"); 2], clock, Some(redis), without).await;
    stage.ask_of(0).await.token();
    stage.redis().kill();
    stage.joined(0).await;
    // The permits that are in hand are spent.
    promptly(async { while stage.ask_of(0).await.status == 200 {} }).await;
    for replica in [0, 1] {
        assert_eq!(stage.ask_of(replica).await.refusal(), (503, "shared_state_away".into(), Some(1)));
    }
    assert_eq!(stage.mints(), 1);
    stage.stop().await;
}
