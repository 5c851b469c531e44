//! One mint for all replicas, and tokens that nobody but them can read or pass off.

use std::{collections::BTreeSet, time::Duration};

use redis::{Value, cmd};
use reqwest::Method;
use serde_json::json;
use valet_demo::StackSettings;
use valet_sandbox::{Fault, Operation};
use valet_server::secret::AppSecret;

use super::{MOMENT, keys, replicas, three};
use crate::harness::{Answer, SECOND, SHARED, UNHURRIED, answered, promptly};

#[tokio::test]
async fn cold_requests_to_all_replicas_cost_one_mint() {
    let stage = three().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).delay(MOMENT).always());
    let asking: Vec<_> = (0..300).map(|number| tokio::spawn(answered(stage.v1_of(number % 3)))).collect();
    stage.mints_begun(1).await;
    stage.upstream_asleep().await;
    // Of each broker, all but the first wait for that one; and of those, two wait for the third.
    stage.waiting(299).await;
    stage.clock.advance(MOMENT);
    let mut tokens = BTreeSet::new();
    for asked in asking {
        tokens.insert(promptly(asked).await.unwrap().token());
    }
    assert_eq!((tokens.len(), stage.mints()), (1, 1));
    assert_eq!(stage.metric("valet_shared_taken_over_total").await, 2);
    assert_eq!(stage.stop().await.issued(), 300);
}

#[tokio::test]
async fn a_token_taken_over_has_the_life_that_is_left_of_it() {
    let stage = three().await;
    let first = stage.ask_of(0).await;
    stage.published(1).await;
    stage.clock.advance(SECOND * 10);
    let second = stage.ask_of(1).await;
    assert_eq!(stage.ask_of(2).await.token(), first.token());
    assert_eq!((first.expires_in(), second.expires_in()), (60, 50));
    assert_eq!((second.token(), stage.mints()), (first.token(), 1));
    assert_eq!(second.json()["expires_at"], first.json()["expires_at"]);
    // It is refreshed by whoever comes first after a third of its life, once for all of them.
    stage.clock.advance(SECOND * 10);
    for replica in [0, 1, 2] {
        assert_eq!(stage.ask_of(replica).await.token(), first.token());
    }
    stage.mints_ended(2).await;
    promptly(async { while stage.metric("valet_shared_taken_over_total").await < 4 {} }).await;
    let next: BTreeSet<String> = [stage.ask_of(0).await, stage.ask_of(1).await, stage.ask_of(2).await]
        .iter()
        .map(Answer::token)
        .collect();
    assert!(next.len() == 1 && !next.contains(&first.token()));
    assert_eq!(stage.mints(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn a_token_that_the_upstream_refused_is_minted_anew_whichever_replica_is_told() {
    let stage = three().await;
    let token = stage.ask_of(0).await.token();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let rejected = json!({ "rejected": data_encoding::HEXLOWER.encode(hash.as_ref()) });
    let next = answered(stage.v1_of(1).json(&rejected)).await.token();
    assert_ne!(next, token);
    assert_eq!(answered(stage.v1_of(0).json(&rejected)).await.token(), next, "the others take it over");
    assert_eq!(stage.mints(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn a_replica_that_dies_while_it_mints_delays_nobody_longer_than_its_lease() {
    let stage = replicas(2, StackSettings { app: UNHURRIED.into(), ..StackSettings::default() }).await;
    // As if it had: the lease is there, and nobody mints.
    stage.ask_of(0).await.token();
    stage.published(1).await;
    let token = keys(&stage, "valet:{*}:token").remove(0);
    let lease = token.replace(":token", ":lease");
    stage.run(cmd("DEL").arg(&token));
    stage.run(cmd("SET").arg(&lease).arg("1").arg("PX").arg(4000));
    let asking = tokio::spawn(answered(stage.v1_of(1)));
    promptly(async { while stage.calls("claim").await < 2 {} }).await;
    promptly(stage.clock.asleep("broker", 5)).await;
    assert_eq!(stage.mints(), 1, "it waits");
    stage.clock.advance(SECOND * 4 + Duration::from_millis(1));
    assert_eq!(promptly(asking).await.unwrap().status, 200);
    assert_eq!(stage.mints(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn whoever_writes_to_the_redis_can_neither_read_a_token_nor_swap_it() {
    let other = AppSecret::generate();
    let app = format!("{UNHURRIED}\n[apps.other]\nsecrets = [\"{}\"]\n{UNHURRIED}", other.hash());
    let settings = StackSettings { app, upstream: SHARED.into(), ..StackSettings::default() };
    let stage = replicas(2, settings).await;
    let ask_other = |replica| {
        let request = stage.request_of(replica, Method::POST, "/v1/tokens");
        answered(request.basic_auth("other", Some(other.expose())))
    };
    let (one, two) = (stage.ask_of(0).await.token(), ask_other(0).await.token());
    stage.published(2).await;
    let places = keys(&stage, "valet:{*}:token");
    let [first, second] = <[String; 2]>::try_from(places).unwrap();
    for place in [&first, &second] {
        let Value::BulkString(sealed) = stage.run(cmd("HGET").arg(place).arg("sealed")) else {
            panic!("sealed")
        };
        assert!(
            [&one, &two].iter().all(|token| !sealed.windows(10).any(|part| part == &token.as_bytes()[..10]))
        );
    }
    // Swapped, they are nobody's.
    for (from, to) in [(&*first, "x"), (&second, &first), ("x", &second)] {
        stage.run(cmd("RENAME").arg(from).arg(to));
    }
    let (mine, its) = (stage.ask_of(1).await.token(), ask_other(1).await.token());
    assert!([&one, &two].iter().all(|token| **token != mine && **token != its));
    assert_eq!((stage.mints(), stage.metric("valet_shared_unreadable_total").await), (4, 2));
    // A life that a writer makes longer is not longer.
    stage.run(cmd("PERSIST").arg(&first));
    stage.run(cmd("PERSIST").arg(&second));
    stage.clock.advance(SECOND * 59);
    assert!(stage.ask_of(0).await.expires_in() > 55, "what has died is not handed out");
    stage.stop().await;
}

#[tokio::test]
async fn a_replica_with_another_key_mints_by_itself_and_keys_rotate_with_an_overlap() {
    let settings = StackSettings { app: UNHURRIED.into(), follow: true, ..StackSettings::default() };
    let stage = replicas(2, settings).await;
    let token = stage.ask_of(0).await.token();
    stage.published(1).await;
    let files = tempfile::tempdir().unwrap();
    let next = files.path().join("next");
    std::fs::write(&next, "the next key for tests, of 32 characters too").unwrap();
    let config = &stage.stack.config;
    let (from, to) =
        config.split_once("keys = [{ id").map(|(before, rest)| (before, format!("{{ id{rest}"))).unwrap();
    let next = format!("{{ id = \"2\", file = {next:?} }}");
    let reloads = async |config: &str, count| {
        stage.stack.reconfigure(config, true).unwrap();
        stage.metric_is("valet_config_reloads_total", count).await;
    };
    // Both keys: what the old one sealed is opened, and the new one seals.
    reloads(&format!("{from}keys = [{next}, {to}"), 4).await;
    assert_eq!((stage.ask_of(1).await.token(), stage.mints()), (token, 1));
    // The new one alone, after a mint that it sealed: what it has not sealed is as if it were not there.
    stage.clock.advance(SECOND * 30);
    stage.ask_of(0).await.token();
    stage.mints_ended(2).await;
    stage.published(2).await;
    stage.ask_of(1).await.token();
    promptly(async { while stage.metric("valet_shared_taken_over_total").await < 2 {} }).await;
    let alone = format!("{from}keys = [{next}]{}", to.split_once(']').unwrap().1);
    reloads(&alone, 6).await;
    reloads(&alone.replace("id = \"2\"", "id = \"3\""), 8).await;
    stage.clock.advance(SECOND * 58);
    stage.ask_of(0).await.token();
    stage.ask_of(1).await.token();
    assert_eq!((stage.mints(), stage.metric("valet_shared_unreadable_total").await), (3, 1));
    stage.stop().await;
}
