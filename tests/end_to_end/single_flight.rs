//! One mint at a time, however many wait for it and whoever hangs up.

use std::time::Duration;

use valet_demo::{APP, StackSettings};
use valet_sandbox::{Fault, Operation};

use crate::{
    harness::{SECOND, Stage, UNHURRIED, answered, promptly},
    wire::Wire,
};

/// As in the world, a mint takes a moment.
const MOMENT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_thousand_cold_requests_cost_one_mint() {
    let stage = Stage::new().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(MOMENT).always());
    let asking: Vec<_> = (0..1000).map(|_| stage.asking()).collect();
    stage.mints_begun(1).await;
    stage.upstream_asleep().await;
    stage.waiting(999).await;
    stage.clock.advance(MOMENT);
    let mut tokens = Vec::new();
    for asked in asking {
        tokens.push(promptly(asked).await.unwrap().token());
    }
    assert_eq!(tokens.len(), 1000);
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "everyone has the same token");
    assert_eq!(stage.mints(), 1);
    assert_eq!(stage.stop().await.issued(), 1000);
}

#[tokio::test]
async fn a_hung_up_caller_strands_nobody() {
    let stage = Stage::new().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(MOMENT));
    let mut leader = Wire::to(stage.stack.replicas[0]).await;
    let secret = stage.stack.secret.expose();
    leader
        .send(format!("POST /v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\r\n"))
        .await;
    stage.mints_begun(1).await;
    stage.upstream_asleep().await;
    let followers = [stage.asking(), stage.asking(), stage.asking()];
    stage.waiting(3).await;
    drop(leader);
    // All runs on one thread: once this exchange is over, the broker has seen the connection end.
    answered(stage.request_of(0, reqwest::Method::GET, "/healthz")).await;
    stage.clock.advance(MOMENT);
    for follower in followers {
        assert_eq!(promptly(follower).await.unwrap().expires_in(), 59);
    }
    assert_eq!(stage.ask().await.expires_in(), 59);
    assert_eq!(stage.mints(), 1);
    assert_eq!(stage.stop().await.issued(), 4, "the leader was gone before the token came");
}

#[tokio::test]
async fn a_mint_that_nobody_waits_for_any_more_is_there_for_the_next() {
    let stage = Stage::new().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(MOMENT));
    let only = stage.asking();
    stage.mints_begun(1).await;
    stage.upstream_asleep().await;
    only.abort();
    assert!(promptly(only).await.unwrap_err().is_cancelled());
    stage.clock.advance(MOMENT);
    stage.mints_ended(1).await;
    assert_eq!(stage.ask().await.expires_in(), 59);
    assert_eq!(stage.mints(), 1);
    assert_eq!(stage.stop().await.issued(), 1);
}

#[tokio::test]
async fn a_failed_mint_fails_everyone_who_waited_for_it_at_once() {
    let stage = Stage::new().await;
    let refused = Fault::on(Operation::Mint).delay(MOMENT).refuse(503, "SystemError", "Try again.");
    stage.stack.sandbox.script(refused.always());
    let asking: Vec<_> = (0..20).map(|_| stage.asking()).collect();
    stage.upstream_asleep().await;
    stage.waiting(19).await;
    // Each broker tries for itself, one after the other.
    for _ in 0..stage.brokers() {
        stage.upstream_asleep().await;
        stage.clock.advance(MOMENT);
    }
    for asked in asking {
        let refusal = promptly(asked).await.unwrap().refusal();
        assert_eq!(refusal, (503, "upstream_unavailable".into(), Some(1)));
    }
    assert_eq!(stage.mints(), stage.each(1), "nobody tried one after another");
    stage.stack.sandbox.clear_faults();
    stage.clock.advance(SECOND);
    assert_eq!(stage.ask().await.expires_in(), 60);
    stage.stop().await;
}

#[tokio::test]
async fn apps_and_lifetimes_do_not_share_a_mint() {
    let other = valet_server::secret::AppSecret::generate();
    let app = format!("max_lifetime = 300\n{UNHURRIED}\n[apps.other]\nsecrets = [\"{}\"]", other.hash());
    let upstream = "shared_account = \"visible-to-all\"".into();
    let stage = Stage::with(StackSettings { app, upstream, ..StackSettings::default() }).await;
    let usual = stage.ask().await.token();
    let long = stage.ask_for(&serde_json::json!({ "min_ttl": 100 })).await;
    let request =
        stage.request(reqwest::Method::POST, "/v1/tokens").basic_auth("other", Some(other.expose()));
    let others = answered(request).await;
    assert_eq!((long.expires_in(), others.expires_in()), (300, 60));
    assert!(usual != long.token() && usual != others.token() && long.token() != others.token());
    assert_eq!(stage.ask().await.token(), usual);
    assert_eq!(stage.mints(), 3);
    let remains = stage.stop().await;
    let apps: Vec<_> = remains.audit.iter().map(|line| line["app"].as_str().unwrap()).collect();
    assert_eq!(apps, [APP, APP, "other", APP]);
}
