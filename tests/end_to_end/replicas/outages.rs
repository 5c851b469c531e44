//! Replicas without their Redis: away, full, emptied, and what an operator would rather have refused.

use redis::cmd;
use valet_clock::ManualClock;
use valet_demo::StackSettings;

use super::{
    keys,
    records::{assertion, show, signing_app},
    replicas, set, three,
};
use crate::{
    harness::{SECOND, Stage, UNHURRIED, promptly},
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

#[tokio::test]
async fn a_full_redis_costs_no_more_than_one_that_is_away() {
    let (settings, signer) = signing_app();
    let app = format!("{UNHURRIED}\ntokens_per_day = 9\n{}", settings.app);
    let stage = replicas(3, StackSettings { app, ..settings }).await;
    stage.ask_of(0).await.token();
    stage.run(&set("maxmemory-policy", "noeviction"));
    stage.run(&set("maxmemory", "1"));
    let mut issued = 1;
    for _ in 0..10 {
        issued += stage.ask_each().await.iter().filter(|answer| answer.status == 200).count();
    }
    assert_eq!(issued, 9, "each has its share");
    let shown = assertion(&stage, &signer, "1");
    assert_eq!(show(&stage, 0, &shown).await.status, 503, "it cannot be recorded");
    stage.joined(0).await;
    stage.run(&set("maxmemory", "0"));
    stage.rejoined(3).await;
    for _ in 0..3 {
        stage.clock.advance(SECOND);
        assert!(stage.ask_each().await.iter().all(|answer| answer.status == 429), "what was used counts");
    }
    assert_eq!(show(&stage, 1, &shown).await.status, 200);
    assert_eq!(show(&stage, 2, &shown).await.status, 401);
    stage.stop().await;
}

#[tokio::test]
async fn an_emptied_redis_gives_nothing_of_a_day_away() {
    let app = format!("{UNHURRIED}\ntokens_per_day = 9");
    let stage = replicas(3, StackSettings { app, ..StackSettings::default() }).await;
    let mut issued = 0;
    let mut ask = async |replica| issued += usize::from(stage.ask_of(replica).await.status == 200);
    for replica in [0, 1, 2, 0] {
        ask(replica).await;
    }
    stage.run(&cmd("FLUSHALL"));
    // Before anybody has noticed, while all of them add what they know, and when that is done.
    for second in 0..10 {
        for replica in [0, 0, 0, 0, 1, 2] {
            ask(replica).await;
        }
        stage.pass(u32::from(second > 0)).await;
    }
    assert_eq!(issued, 9);
    stage.stop().await;
}

#[tokio::test]
async fn nonsense_under_every_key_costs_no_request() {
    let (settings, signer) = signing_app();
    let app = format!("{UNHURRIED}\ntokens_per_day = 1000\n{}", settings.app);
    let stage = replicas(3, StackSettings { app, ..settings }).await;
    for (round, write) in ["SET", "RPUSH"].into_iter().enumerate() {
        for id in 0..2 {
            show(&stage, 0, &assertion(&stage, &signer, &format!("{round}-{id}"))).await;
            for answer in stage.ask_each().await {
                answer.token();
            }
            for key in keys(&stage, "valet:*") {
                stage.run(cmd("DEL").arg(&key));
                stage.run(cmd(write).arg(&key).arg("nonsense"));
            }
        }
        for _ in 0..60 {
            for answer in stage.ask_each().await {
                assert!(answer.expires_in() >= 2);
            }
            stage.clock.advance(SECOND);
        }
    }
    stage.run(&cmd("FLUSHALL"));
    stage.rejoined(3).await;
    stage.stop().await;
}
