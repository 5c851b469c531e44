//! Replicas whose wall clocks are seconds apart: nothing that they share relies on their agreeing.

use std::collections::{BTreeMap, BTreeSet};

use valet_clock::{Clock, ManualClock};
use valet_demo::StackSettings;

use super::records::{assertion, list, revoke, show, signing_app};
use crate::{
    harness::{Answer, SECOND, Stage, UNHURRIED, promptly},
    redis::Redis,
};

/// By how many seconds the clocks of three replicas are wrong.
const WRONG_BY: [i64; 3] = [0, 7, -5];

async fn apart(settings: StackSettings) -> Stage {
    let clock = ManualClock::new();
    let redis = Redis::start(&clock);
    let brokers = WRONG_BY.map(|seconds| clock.wrong_handle("broker", seconds)).to_vec();
    Stage::of_brokers(settings, brokers, clock, Some(redis), "").await
}

#[tokio::test]
async fn one_mint_serves_all_and_nobody_is_promised_more_of_a_token_than_it_lives() {
    let stage = apart(StackSettings { app: UNHURRIED.into(), ..StackSettings::default() }).await;
    let mut born = BTreeMap::new();
    for second in 0..75 {
        for answer in stage.ask_each().await {
            let born = *born.entry(answer.token()).or_insert(second);
            assert!(answer.expires_in() + second - born <= 60, "at {second} s: {}", answer.text);
            assert!(answer.expires_in() >= 2);
        }
        stage.told().await;
        stage.clock.advance(SECOND);
    }
    // Refreshed before 18 s of each have passed, and from 14 s on.
    let mints = u64::try_from(born.len()).unwrap();
    assert_eq!(stage.mints(), mints, "each was minted once, for all of them");
    assert!((5..=6).contains(&mints), "{mints}");
    stage.stop().await;
}

#[tokio::test]
async fn limits_are_exact_and_a_day_ends_for_all_when_it_ends_for_the_redis() {
    let app = format!("{UNHURRIED}\ntokens_per_day = 6");
    let stage = apart(StackSettings { app, ..StackSettings::default() }).await;
    let issued = async |rounds: usize| {
        let mut issued = 0;
        for _ in 0..rounds {
            let answers = stage.ask_each().await;
            issued += answers.iter().filter(|answer| answer.status == 200).count();
        }
        issued
    };
    // It is 01:46:09. Three seconds before midnight one of them has the next day already.
    stage.clock.advance(SECOND * (24 * 3600 - (3600 + 46 * 60 + 9) - 3));
    assert_eq!(issued(4).await, 6);
    stage.clock.advance(SECOND * 2);
    assert_eq!(issued(2).await, 0);
    stage.clock.advance(SECOND);
    assert_eq!(issued(4).await, 6, "one of them is in the day before still");
    stage.stop().await;
}

#[tokio::test]
async fn an_assertion_is_accepted_once_for_as_long_as_any_clock_takes_it_for_alive() {
    let (settings, signer) = signing_app();
    let stage = apart(settings).await;
    // The one that is ahead accepts it, with 53 s left of its 60; to the one that is behind it lives longest.
    let shown = assertion(&stage, &signer, "1");
    assert_eq!(show(&stage, 1, &shown).await.status, 200);
    for second in 0..80 {
        for replica in [0, 1, 2] {
            let again = show(&stage, replica, &shown).await;
            assert_eq!(again.status, 401, "at {second} s, of {replica}: {}", again.text);
        }
        stage.clock.advance(SECOND);
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_revoked_relay_token_is_dead_by_every_clock() {
    let state = tempfile::tempdir().unwrap();
    let relay = Some(state.path().to_owned());
    let stage = apart(StackSettings { app: UNHURRIED.into(), relay, ..StackSettings::default() }).await;
    let tokens: BTreeSet<String> = stage.ask_each().await.iter().map(Answer::token).collect();
    for token in &tokens {
        assert_eq!(revoke(&stage, 1, token).await, 200);
        promptly(async { while list(&stage, 2, token).await == 200 {} }).await;
    }
    for second in 0..80 {
        for token in &tokens {
            for replica in [0, 1, 2] {
                // Who shows dead tokens so often is held up, too.
                assert_ne!(list(&stage, replica, token).await, 200, "at {second} s, of {replica}");
            }
        }
        stage.clock.advance(SECOND);
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_relay_token_lives_longer_or_shorter_by_no_more_than_the_clocks_are_apart() {
    let state = tempfile::tempdir().unwrap();
    let relay = Some(state.path().to_owned());
    let stage = apart(StackSettings { app: UNHURRIED.into(), relay, ..StackSettings::default() }).await;
    let began = stage.clock.unix();
    let tokens: Vec<String> = stage.ask_each().await.iter().map(Answer::token).collect();
    let mut last = BTreeMap::new();
    for second in 0..80 {
        for (by, token) in tokens.iter().enumerate() {
            for replica in [0, 1, 2] {
                if list(&stage, replica, token).await == 200 {
                    last.insert((by, replica), second);
                }
            }
        }
        stage.clock.advance(SECOND);
    }
    assert_eq!(stage.clock.unix() - began, SECOND * 80);
    for ((by, replica), second) in last {
        let apart = WRONG_BY[by] - WRONG_BY[replica];
        assert_eq!(second, 59 + apart, "of {by}, at {replica}");
    }
    stage.stop().await;
}
