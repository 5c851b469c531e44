//! How the broker stops: what is in hand is finished, nothing new is taken, and a second signal waits for
//! nothing. Of one broker, but where it says otherwise: each stops by itself, whoever else goes on.

use std::collections::BTreeSet;

use reqwest::Method;
use tokio::net::TcpStream;
use valet_demo::StackSettings;
use valet_sandbox::{Fault, Operation};
use valet_server::lifecycle::Drained;

use crate::{
    harness::{SECOND, Stage, answered, promptly},
    wire::Wire,
};

/// Waits until nothing listens there any more.
async fn refuses_connections(stage: &Stage) {
    for address in &stage.stack.replicas {
        promptly(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    }
}

#[tokio::test]
async fn the_first_signal_finishes_what_is_in_hand_and_takes_nothing_new() {
    let stage = Stage::of_one(StackSettings::default()).await;
    let mut idle = Wire::to(stage.stack.broker_addr).await;
    idle.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(idle.answer().await.starts_with("HTTP/1.1 200"));
    let mut begun = Wire::to(stage.stack.broker_addr).await;
    begun.send("GET /readyz HTTP/1.1\r\nHost: x\r\n").await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(SECOND / 2));
    let asking = stage.asking();
    stage.mints_begun(1).await;
    stage.upstream_asleep().await;
    stage.stack.shut_down();
    refuses_connections(&stage).await;
    assert_eq!(idle.rest().await, "", "an idle connection is closed");
    // A request that had begun to arrive is answered as well, and its connection is not kept.
    begun.send("\r\n").await;
    let draining = begun.rest().await;
    assert!(draining.starts_with("HTTP/1.1 503"), "{draining}");
    assert!(draining.contains("connection: close") && draining.ends_with(r#"{"status":"draining"}"#));
    assert!(!asking.is_finished());
    stage.clock.advance(SECOND / 2);
    let answer = promptly(asking).await.unwrap();
    assert_eq!((answer.expires_in(), answer.header("connection")), (59, Some("close")));
    let remains = stage.stop().await;
    assert_eq!(remains.drained, Drained::Whole);
    assert_eq!(remains.issued(), 1);
}

#[tokio::test]
async fn the_second_signal_cuts_off_what_is_in_hand() {
    let stage = Stage::of_one(StackSettings::default()).await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).hang());
    let asking = tokio::spawn(stage.v1().send());
    stage.mints_begun(1).await;
    stage.stack.shut_down();
    refuses_connections(&stage).await;
    assert!(!asking.is_finished());
    stage.stack.shut_down();
    assert!(promptly(asking).await.unwrap().is_err());
    let remains = stage.stop().await;
    assert_eq!(remains.drained, Drained::CutOff(1));
    assert!(remains.audit.is_empty(), "nothing was decided");
}

#[tokio::test]
async fn a_lame_duck_takes_requests_until_load_balancers_have_noticed() {
    let config = "[bounds]\nlame_duck_seconds = 10".into();
    let stage = Stage::of_one(StackSettings { config, ..StackSettings::default() }).await;
    stage.stack.shut_down();
    promptly(async { while stage.page("/readyz").await.status != 503 {} }).await;
    stage.ask().await.token();
    stage.clock.advance(SECOND * 9);
    stage.ask().await.token();
    stage.clock.advance(SECOND);
    refuses_connections(&stage).await;
    assert_eq!(stage.stop().await.drained, Drained::Whole);
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_load_balancers() {
    let config = "[bounds]\nlame_duck_seconds = 600".into();
    let stage = Stage::of_one(StackSettings { config, ..StackSettings::default() }).await;
    stage.stack.shut_down();
    promptly(async { while stage.page("/readyz").await.status != 503 {} }).await;
    stage.stack.shut_down();
    refuses_connections(&stage).await;
    stage.stop().await;
}

#[tokio::test]
async fn what_outlasts_the_drain_is_cut_off() {
    let config = "[bounds]\ndrain_seconds = 2".into();
    let stage = Stage::of_one(StackSettings { config, ..StackSettings::default() }).await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).hang());
    let asking = tokio::spawn(stage.v1().send());
    stage.mints_begun(1).await;
    stage.stack.shut_down();
    // The probe's wait, the mint's deadline, and the drain's.
    promptly(stage.clock.asleep("broker", 3)).await;
    stage.clock.advance(SECOND * 2);
    assert!(promptly(asking).await.unwrap().is_err());
    assert_eq!(stage.stop().await.drained, Drained::CutOff(1));
}

#[tokio::test]
async fn the_audit_trail_holds_every_decision_of_a_broker_that_stops() {
    let stage = Stage::new().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(SECOND / 2));
    let mut answers = Vec::new();
    for _ in 0..100 {
        answers.push(answered(stage.request(Method::POST, "/v1/tokens")).await);
    }
    let asking: Vec<_> = (0..100).map(|_| stage.asking()).collect();
    stage.upstream_asleep().await;
    stage.waiting(99).await;
    stage.stack.shut_down();
    stage.clock.advance(SECOND / 2);
    for asked in asking {
        answers.push(promptly(asked).await.unwrap());
    }
    let answered: BTreeSet<_> = answers.iter().map(|answer| answer.header("x-request-id").unwrap()).collect();
    assert_eq!(answered.len(), 200);
    let remains = stage.stop().await;
    assert_eq!(remains.drained, Drained::Whole);
    let recorded: BTreeSet<_> =
        remains.audit.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(recorded, answered);
    assert_eq!((remains.audit.len(), remains.issued()), (200, 100));
}
