//! Refresh ahead, and stale rather than down: once warm, no request waits for the upstream or fails for it.

use std::time::Duration;

use valet_sandbox::{Fault, Operation};

use crate::harness::{SECOND, Stage, UNHURRIED};

/// From 30 % of a minute's life on, whatever the jitter, a request starts a refresh.
const SURELY_DUE: u32 = 18;
/// And from 24 % on at the earliest.
const NOT_YET_DUE: u32 = 14;

#[tokio::test]
async fn no_request_waits_for_a_mint_once_warm() {
    let stage = Stage::new().await;
    stage.ask().await.token();
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(SECOND / 2).always());
    let (mut mints, mut asked) = (1, 1);
    // Ten minutes of steady demand. Each answer comes while the clock stands still, so none waits for a
    // mint, which ends only when it is advanced.
    for _ in 0..600 / SURELY_DUE {
        let mut token = None;
        for _ in 0..NOT_YET_DUE {
            let answer = stage.ask().await;
            assert!(*token.get_or_insert(answer.token()) == answer.token(), "one token until it is due");
            stage.clock.advance(SECOND);
        }
        stage.clock.advance(SECOND * (SURELY_DUE - NOT_YET_DUE));
        let due = stage.ask().await;
        assert_eq!(Some(due.token()), token, "the token in hand goes out while the next is minted");
        mints += 1;
        stage.mints_begun(mints).await;
        stage.upstream_asleep().await;
        for _ in 0..5 {
            assert_eq!(Some(stage.ask().await.token()), token);
            stage.clock.advance(SECOND / 10);
        }
        stage.mints_ended(mints).await;
        let fresh = stage.ask().await;
        assert!(Some(fresh.token()) != token);
        assert_eq!(fresh.expires_in(), 59, "counted from when the mint was sent");
        asked += u64::from(NOT_YET_DUE + 1 + 5 + 1);
    }
    assert_eq!(stage.mints(), mints, "one mint a token");
    assert_eq!(stage.metric("valet_coalesced_waits_total").await, 0);
    assert_eq!(stage.metric("valet_hits_total").await, asked - stage.each(1), "all but each broker's first");
    assert_eq!(stage.stop().await.issued() as u64, asked);
}

#[tokio::test]
async fn a_slot_that_nobody_uses_is_not_refreshed() {
    let stage = Stage::new().await;
    stage.ask().await.token();
    for _ in 0..300 {
        stage.clock.advance(SECOND);
        stage.page("/readyz").await;
    }
    assert_eq!(stage.mints(), 1);
    assert_eq!(stage.ask().await.expires_in(), 60);
    assert_eq!(stage.mints(), 2);
    stage.stop().await;
}

/// An upstream that fails from just before the refresh point on, for 36 s: no request fails or waits.
/// `takes` is how long it takes to fail; each second of the clock a request is made, of one broker: others would try
/// for themselves.
async fn outlives_an_outage(fault: Fault, takes: u32) {
    // Of which one broker has its part.
    let mints = "mints = { per_minute = 600, burst = 60 }";
    let stage = Stage::with_app(&format!("{UNHURRIED}\n{mints}")).await;
    let first = stage.ask_of(0).await.token();
    let mut now = NOT_YET_DUE;
    stage.told().await;
    stage.clock.advance(SECOND * now);
    stage.stack.sandbox.script(fault.always());
    let end = now + 36;
    let (mut mints, mut failed_at) = (1, None);
    while now < end {
        let step = if now < SURELY_DUE { SURELY_DUE - now } else { 1 };
        stage.told().await;
        stage.clock.advance(SECOND * step);
        now += step;
        if failed_at == Some(now) {
            // The attempt that is given up now is remembered before anyone asks.
            stage.mints_ended(mints).await;
        }
        let answer = stage.ask_of(0).await;
        assert_eq!((answer.token(), answer.expires_in()), (first.clone(), u64::from(60 - now)));
        // The failure is remembered for less than a second, and then the next request tries again.
        if failed_at.is_none_or(|failed_at| failed_at < now) {
            mints += 1;
            stage.mints_begun(mints).await;
            failed_at = Some(now + takes);
            if takes == 0 {
                stage.mints_ended(mints).await;
            }
        }
    }
    assert_eq!(
        mints,
        1 + u64::from((end - SURELY_DUE) / (takes + 1) + 1),
        "one attempt at a time, none hurried"
    );
    assert_eq!(stage.mints(), mints);
    stage.stack.sandbox.clear_faults();
    // What hangs is given up, what failed is forgotten; the first request after that starts a refresh.
    stage.told().await;
    stage.clock.advance(SECOND * 3);
    stage.mints_ended(mints).await;
    stage.told().await;
    stage.clock.advance(SECOND);
    assert_eq!(stage.ask_of(0).await.token(), first);
    stage.mints_ended(mints + 1).await;
    assert_eq!(stage.ask_of(0).await.expires_in(), 60);
    assert_eq!(stage.metric("valet_refresh_failures_total").await, mints - 1);
    let remains = stage.stop().await;
    assert_eq!(remains.issued(), remains.audit.len(), "no request failed");
}

#[tokio::test]
async fn an_upstream_dead_for_most_of_a_tokens_life_is_not_noticed() {
    outlives_an_outage(Fault::on(Operation::Mint).reset(), 0).await;
}

#[tokio::test]
async fn an_upstream_silent_for_most_of_a_tokens_life_is_not_noticed() {
    outlives_an_outage(Fault::on(Operation::Mint).hang(), 3).await;
}

#[tokio::test]
async fn an_upstream_in_trouble_for_most_of_a_tokens_life_is_not_noticed() {
    outlives_an_outage(Fault::on(Operation::Mint).refuse(500, "InternalError", "Oops."), 0).await;
}

#[tokio::test]
async fn a_proxys_page_in_place_of_a_token_is_not_noticed() {
    let page = "<html>504 Gateway Time-out</html>";
    outlives_an_outage(Fault::on(Operation::Mint).replace(504, "text/html", page), 0).await;
}

#[tokio::test]
async fn an_upstream_that_answers_just_in_time_renews() {
    let stage = Stage::new().await;
    let first = stage.ask().await.token();
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(Duration::from_millis(2999)));
    stage.clock.advance(SECOND * 20);
    stage.ask().await.token();
    stage.mints_begun(2).await;
    stage.upstream_asleep().await;
    stage.clock.advance(Duration::from_millis(2999));
    stage.mints_ended(2).await;
    let fresh = stage.ask().await;
    assert!(fresh.token() != first);
    assert_eq!(fresh.expires_in(), 57);
    stage.stop().await;
}
