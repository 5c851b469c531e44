//! A token's life: never handed out dying, never promised longer than it lives; and when there is none.

use std::time::Duration;

use serde_json::json;
use valet_clock::Clock;
use valet_sandbox::{Fault, Operation};

use crate::{
    harness::{SECOND, Stage, promptly},
    wire::Wire,
};

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_token_goes_out_until_two_seconds_before_its_end_with_its_true_life() {
    let stage = Stage::new().await;
    let token = stage.ask().await.token();
    let dies = (stage.clock.unix() + SECOND * 60).as_secs();
    stage.stack.sandbox.script(Fault::on(Operation::Mint).reset().always());
    for (pass, left) in [(SECOND * 50, 10), (SECOND * 7, 3), (MILLISECOND, 2), (MILLISECOND * 998, 2)] {
        stage.clock.advance(pass);
        let answer = stage.ask().await;
        assert_eq!((answer.token(), answer.expires_in()), (token.clone(), left));
        assert_eq!(answer.json()["expires_at"], dies);
    }
    stage.clock.advance(MILLISECOND);
    assert_eq!(stage.ask().await.refusal(), (503, "upstream_unavailable".into(), Some(1)));
    stage.stop().await;
}

#[tokio::test]
async fn a_dying_token_is_not_handed_out_though_its_successor_is_late() {
    let stage = Stage::new().await;
    let first = stage.ask().await.token();
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(SECOND * 2));
    stage.clock.advance(SECOND * 57);
    assert_eq!(stage.ask().await.token(), first);
    stage.mints_begun(2).await;
    stage.upstream_asleep().await;
    stage.clock.advance(SECOND);
    let late = stage.asking();
    stage.waiting(1).await;
    stage.clock.advance(SECOND);
    let late = promptly(late).await.unwrap();
    assert!(late.token() != first);
    assert_eq!(late.expires_in(), 58);
    stage.stop().await;
}

#[tokio::test]
async fn a_request_whose_body_took_its_while_gets_a_token_that_lives_by_then() {
    let stage = Stage::new().await;
    let first = stage.ask().await.token();
    stage.clock.advance(SECOND * 57);
    let mut wire = Wire::to(stage.stack.broker_addr).await;
    let credential = format!("Authorization: Bearer {}\r\n", stage.stack.secret.expose());
    let head = "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 2\r\nExpect: 100-continue\r\n";
    wire.send(format!("{head}{credential}\r\n")).await;
    // Said once the body is waited for.
    assert_eq!(wire.line().await, "HTTP/1.1 100 Continue");
    assert_eq!(wire.line().await, "");
    stage.clock.advance(SECOND * 2);
    wire.send("{}").await;
    let answer = wire.answer().await;
    assert!(answer.contains("\"expires_in\":60") && !answer.contains(&first), "{answer}");
    stage.stop().await;
}

#[tokio::test]
async fn a_cold_start_without_an_upstream_says_so_forgets_soon_and_recovers() {
    let stage = Stage::new().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).reset().always());
    let refusal = (503, "upstream_unavailable".to_owned(), Some(1));
    let are_refused = async || {
        for answer in stage.ask_each().await {
            assert_eq!(answer.refusal(), refusal);
            assert_eq!(answer.json()["retry_after"], 1);
        }
    };
    are_refused().await;
    // Remembered for 0.8 s: whoever asks meanwhile is told at once, and nothing is sent.
    for _ in 0..8 {
        are_refused().await;
        assert_eq!(stage.mints(), stage.each(1));
        stage.clock.advance(SECOND / 10);
    }
    are_refused().await;
    assert_eq!(stage.mints(), stage.each(2));
    stage.stack.sandbox.clear_faults();
    stage.clock.advance(SECOND);
    assert_eq!(stage.ask().await.expires_in(), 60);
    assert_eq!(stage.mints(), stage.each(2) + 1);
    stage.stop().await;
}

#[tokio::test]
async fn a_cold_request_to_a_silent_upstream_is_answered_after_three_seconds() {
    let stage = Stage::new().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).hang());
    let asking = stage.asking();
    stage.mints_begun(1).await;
    stage.clock.advance(SECOND * 3 - MILLISECOND);
    stage.page("/healthz").await;
    assert!(!asking.is_finished());
    stage.clock.advance(MILLISECOND);
    let refusal = promptly(asking).await.unwrap().refusal();
    assert_eq!(refusal, (503, "upstream_unavailable".into(), Some(1)));
    stage.stop().await;
}

/// An upstream whose token lives for `granted` seconds by its own clock, `skew` seconds ahead of ours.
async fn granted(granted: u64) -> Stage {
    let stage = Stage::new().await;
    let expires_at = stage.clock.unix().as_secs() + granted;
    let body = json!({ "token": "st-brief", "expires_at": expires_at }).to_string();
    stage.stack.sandbox.script(Fault::on(Operation::Mint).replace(200, "application/json", body));
    stage
}

#[tokio::test]
async fn a_life_cut_short_by_the_upstream_is_not_promised_longer() {
    let stage = granted(30).await;
    assert_eq!(stage.ask().await.expires_in(), 30);
    // Its refresh is due in proportion: 30 % of 30 s.
    stage.clock.advance(SECOND * 9);
    assert_eq!(stage.ask().await.token(), "st-brief");
    stage.mints_ended(2).await;
    assert!(stage.ask().await.token() != "st-brief");
    stage.stop().await;
}

#[tokio::test]
async fn a_token_too_brief_to_be_of_use_is_not_handed_out() {
    let stage = granted(5).await;
    assert_eq!(stage.ask().await.refusal(), (502, "upstream_malformed".into(), Some(1)));
    stage.stop().await;
}

#[tokio::test]
async fn an_upstream_whose_clock_is_wrong_shortens_no_life() {
    for skew in [-3600, 3600] {
        let stage = Stage::new().await;
        stage.stack.sandbox.script(Fault::on(Operation::Mint).skew(skew));
        let answer = stage.ask().await;
        assert_eq!(answer.expires_in(), 60);
        assert_eq!(answer.json()["expires_at"], (stage.clock.unix() + SECOND * 60).as_secs(), "by our clock");
        let page = stage.metrics().await;
        assert!(page.contains(&format!("valet_clock_skew_seconds{{upstream=\"sandbox\"}} {skew}")), "{page}");
        stage.stop().await;
    }
}
