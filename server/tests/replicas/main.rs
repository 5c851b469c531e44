//! Replicas as processes of their own, on a Redis of their own, in real time: killed, paused, and left alone by the
//! Redis. Nothing here says how long anything takes: only what comes of it.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

/// Sandbox, Redis and replicas, each a process or a task of its own.
mod cluster;
/// A network that can be cut.
mod island;
/// What the replicas share their state on.
mod redis;
/// The relay: whoever polls or submits is killed or paused.
mod relay;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use valet_sandbox::{Fault, Operation};

use crate::cluster::{Cluster, until};

/// Long enough for a test to do something meanwhile.
const WHILE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_under_load_costs_nobody_a_token_and_no_second_mint() {
    let mut cluster = Cluster::start(3).await;
    let jobs = cluster.jobs(12);
    until(async || cluster.issued() > 100).await;
    cluster.replicas[1].kill();
    let issued = cluster.issued();
    until(async || cluster.issued() > issued + 300).await;
    let tokens = jobs.ended().await;
    // One for each time that the token was due, and one that nobody had any more: every job had all of its tokens.
    let mints = cluster.sandbox.count(Operation::Mint);
    assert!(mints <= tokens.len() as u64 + 1, "{mints} for {}", tokens.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_while_it_mints_leaves_the_mint_to_another() {
    let mut cluster = Cluster::start(2).await;
    cluster.sandbox.script(Fault::on(Operation::Mint).delay(WHILE * 60));
    let lost = cluster.asking(0);
    cluster.sandbox.wait_for(Operation::Mint, 1).await;
    let waiting = cluster.asking(1);
    until(async || cluster.metric(1, "valet_shared_calls_total{kind=\"claim\",outcome=\"ok\"}").await > 0)
        .await;
    assert_eq!(cluster.sandbox.count(Operation::Mint), 1, "the other waits");
    cluster.replicas[0].kill();
    assert!(lost.await.unwrap().is_none());
    assert!(waiting.await.unwrap().is_some());
    assert_eq!(cluster.sandbox.count(Operation::Mint), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_paused_beyond_its_lease_replaces_nothing_when_it_goes_on() {
    let cluster = Cluster::start(3).await;
    cluster.sandbox.script(Fault::on(Operation::Mint).delay(WHILE / 2));
    let paused = cluster.asking(0);
    cluster.sandbox.wait_for(Operation::Mint, 1).await;
    cluster.replicas[0].pause();
    let second = cluster.ask(1).await.unwrap();
    assert_eq!(cluster.sandbox.count(Operation::Mint), 2);
    cluster.replicas[0].resume();
    // Its mint has had its time: it is given up, or has a token of its own, which nobody else is told of.
    let own = paused.await.unwrap();
    assert_ne!(own.as_ref(), Some(&second));
    assert_eq!(cluster.ask(2).await.unwrap(), second);
    assert_eq!(cluster.sandbox.count(Operation::Mint), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_holds_no_request_and_is_rejoined_when_it_goes_on() {
    let cluster = Cluster::start_impatient(2).await;
    cluster.redis.pause();
    // Nothing is in hand: it would be asked for.
    let (first, second) = (cluster.ask(0).await.unwrap(), cluster.ask(1).await.unwrap());
    assert_ne!(first, second, "each mints for itself");
    for replica in [0, 1] {
        assert_eq!(cluster.metric(replica, "valet_shared_up").await, 0);
        assert!(cluster.ready(replica).await.contains("\"shared\":\"away\""));
    }
    for _ in 0..20 {
        assert_eq!(cluster.ask(0).await.unwrap(), first);
    }
    cluster.redis.resume();
    cluster.joined().await;
    for replica in [0, 1] {
        let log = cluster.replicas[replica].log();
        assert_eq!(log.matches("the shared state is away").count(), 1, "one line, not one a request: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_restarted_and_emptied_under_load_costs_nobody_a_token() {
    let mut cluster = Cluster::start(2).await;
    let jobs = cluster.jobs(4);
    until(async || cluster.issued() > 100).await;
    cluster.redis.kill();
    let issued = cluster.issued();
    until(async || cluster.issued() > issued + 100).await;
    cluster.redis.restart();
    cluster.joined().await;
    cluster.redis.flush();
    let issued = cluster.issued();
    until(async || cluster.issued() > issued + 100).await;
    let tokens = jobs.ended().await;
    // At most one for each replica, each time that the token was due and each time that the Redis had nothing.
    let mints = cluster.sandbox.count(Operation::Mint);
    assert!(mints <= 2 * (tokens.len() as u64 + 1), "{mints} for {}", tokens.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_cut_from_the_redis_goes_on_alone_and_rejoins_and_the_others_notice_nothing() {
    // Each draws one at a time, so that the limit is exact as long as they see one another.
    let cluster = Cluster::start_on_wires(2, "subject_tokens_per_day = 60\nmay_name_subject = true").await;
    let island = cluster.island.as_ref().unwrap();
    let issued = async |replica: usize, most: usize| {
        let mut issued = 0;
        while issued < most && cluster.ask_for(replica, "alice").await.is_some() {
            issued += 1;
        }
        issued
    };
    assert_eq!((issued(0, 10).await, issued(1, 10).await), (10, 10));
    let jobs = cluster.jobs(4);
    until(async || cluster.issued() > 100).await;
    island.cut(1);
    until(async || cluster.metric(1, "valet_shared_up").await == 0).await;
    let so_far = cluster.issued();
    until(async || cluster.issued() > so_far + 100).await;
    assert!(cluster.ready(1).await.contains("\"shared\":\"away\""));
    assert_eq!(cluster.metric(0, "valet_shared_up").await, 1);
    // What is left of the day for the one, and of its own half for the other.
    assert_eq!((issued(1, 60).await, issued(0, 60).await), (20, 40));
    island.mend(1);
    cluster.joined().await;
    assert_eq!((issued(0, 1).await, issued(1, 1).await), (0, 0), "what was used meanwhile counts");
    let so_far = cluster.issued();
    until(async || cluster.issued() > so_far + 100).await;
    let tokens = jobs.ended().await;
    let mints = cluster.sandbox.count(Operation::Mint);
    assert!(mints <= 2 * (tokens.len() as u64 + 1), "{mints} for {}", tokens.len());
    assert_eq!(cluster.replicas[1].log().matches("the shared state is away").count(), 1);
    assert!(!cluster.replicas[0].log().contains("the shared state is away"));
}

/// The tokens that jobs got.
type Tokens = BTreeSet<Arc<str>>;
