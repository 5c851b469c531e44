//! Submits with an `Idempotency-Key` at several brokers: once each, through outages and losses of the Redis.

use ::redis::{Value, cmd};
use tokio::task::JoinHandle;
use valet_clock::Clock;
use valet_sandbox::{Fault, Operation};

use super::{keys, records::revoke, relay::handle, set};
use crate::{
    harness::{Answer, SECOND, promptly},
    relayed::{Relayed, code},
};

#[tokio::test]
async fn the_same_key_at_two_replicas_at_once_reaches_the_upstream_once() {
    let relayed = Relayed::of_replicas(3, "").await;
    let bearer = relayed.token(None).await;
    relayed.stage.stack.sandbox.script(Fault::on(Operation::Submit).delay(SECOND));
    let one = relayed.submitting_at(0, &bearer, Some("k"), "market.wav");
    promptly(relayed.stage.stack.sandbox.wait_for(Operation::Submit, 1)).await;
    relayed.stage.upstream_asleep().await;
    let others = [1, 2].map(|replica| relayed.submitting_at(replica, &bearer, Some("k"), "market.wav"));
    promptly(async { while relayed.stage.calls("claim_submit").await < 3 {} }).await;
    relayed.stage.clock.advance(SECOND);
    let task = handle(&promptly(one).await.unwrap());
    for other in others {
        assert_eq!(handle(&promptly(other).await.unwrap()), task);
    }
    assert_eq!(handle(&relayed.submit_at(2, &bearer, Some("k"), "market.wav").await), task);
    let another = relayed.submit_at(1, &bearer, Some("k"), "silence.wav").await;
    assert_eq!(another.status, 400, "the key was used for another body: {}", another.text);
    assert_eq!(relayed.submits(), 1);
    // What was refused leaves nothing: it is tried again, wherever it is asked for.
    let refusal = Fault::on(Operation::Submit).refuse(400, "InvalidParameter", "No.");
    relayed.stage.stack.sandbox.script(refusal);
    assert_eq!(relayed.submit_at(0, &bearer, Some("l"), "market.wav").await.status, 400);
    handle(&relayed.submit_at(1, &bearer, Some("l"), "market.wav").await);
    assert_eq!(relayed.submits(), 3);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_submit_whose_replica_has_died_is_of_unknown_outcome_at_every_other() {
    let relayed = Relayed::of_replicas(2, "").await;
    let bearer = relayed.token(None).await;
    relayed.stage.stack.sandbox.script(Fault::on(Operation::Submit).delay(SECOND * 20));
    let sent = relayed.submitting_at(0, &bearer, Some("k"), "market.wav");
    promptly(relayed.stage.stack.sandbox.wait_for(Operation::Submit, 1)).await;
    relayed.stage.upstream_asleep().await;
    // As if it had died just now.
    let submit = keys(&relayed.stage, "valet:submit:*").remove(0);
    let Value::BulkString(by) = relayed.stage.run(cmd("HGET").arg(&submit).arg("by")) else { panic!("by") };
    relayed.stage.run(cmd("HSET").arg(&submit).arg("by").arg("gone"));
    let now = u64::try_from(relayed.stage.clock.unix().as_millis()).unwrap();
    relayed.stage.run(cmd("ZADD").arg("valet:replicas").arg(now).arg("gone"));
    let asking = relayed.submitting_at(1, &bearer, Some("k"), "market.wav");
    promptly(async { while relayed.stage.calls("claim_submit").await < 2 {} }).await;
    assert!(!asking.is_finished(), "it waits while that replica may live");
    let began = relayed.stage.clock.unix();
    let doubtful = relayed.turned(asking, SECOND).await;
    assert_eq!(
        (doubtful.status, code(&doubtful).1.as_str()),
        (409, "SubmitOutcomeUnknown"),
        "{}",
        doubtful.text
    );
    assert!(relayed.stage.clock.unix() - began < SECOND * 30, "it is told soon");
    // It was paused, and goes on: what came of it is what everybody is told from then on.
    relayed.stage.run(cmd("HSET").arg(&submit).arg("by").arg(by));
    let task = handle(&relayed.turned(sent, SECOND).await);
    assert_eq!(handle(&relayed.submit_at(1, &bearer, Some("k"), "market.wav").await), task);
    assert_eq!(relayed.submits(), 1);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn an_outcome_that_nobody_knows_is_told_alike_by_every_replica() {
    let relayed = Relayed::of_replicas(2, "").await;
    let bearer = relayed.token(None).await;
    relayed.stage.stack.sandbox.script(Fault::on(Operation::Submit).refuse(
        500,
        "InternalError",
        "Who knows.",
    ));
    for replica in [0, 1, 0, 1] {
        let doubtful = relayed.submit_at(replica, &bearer, Some("k"), "market.wav").await;
        assert_eq!((doubtful.status, code(&doubtful).1.as_str()), (409, "SubmitOutcomeUnknown"));
    }
    assert_eq!(relayed.submits(), 1);
    relayed.stage.stop().await;
}

/// Has the Redis take nothing any more, and the brokers notice: it is away, and loses nothing.
async fn fill(relayed: &Relayed) {
    relayed.stage.run(&set("maxmemory-policy", "noeviction"));
    relayed.stage.run(&set("maxmemory", "1"));
    relayed.stage.clock.advance(SECOND);
    relayed.stage.joined(0).await;
}

/// Has it take something again, and the brokers rejoin.
async fn empty(relayed: &Relayed) {
    let notes = relayed.stage.calls("read").await;
    relayed.stage.run(&set("maxmemory", "0"));
    relayed.stage.rejoined(2).await;
    promptly(async { while relayed.stage.calls("read").await < notes + 2 {} }).await;
}

/// A submit that the upstream holds back for so many seconds, and that has arrived there.
async fn held_back(relayed: &Relayed, bearer: &str, fault: Fault) -> JoinHandle<Answer> {
    let before = relayed.submits();
    relayed.stage.stack.sandbox.script(fault);
    let sent = relayed.submitting_at(0, bearer, Some("k"), "market.wav");
    promptly(relayed.stage.stack.sandbox.wait_for(Operation::Submit, before + 1)).await;
    relayed.stage.upstream_asleep().await;
    sent
}

/// Turns the time, in which the brokers say that they live, until an answer is there.
async fn ended(relayed: &Relayed, waiting: JoinHandle<Answer>) -> Answer {
    while !waiting.is_finished() {
        relayed.stage.page("/healthz").await;
        relayed.stage.pass(1).await;
    }
    waiting.await.unwrap()
}

fn refusal() -> Fault {
    Fault::on(Operation::Submit).refuse(400, "InvalidParameter", "No.")
}

#[tokio::test]
async fn what_was_sent_without_the_redis_is_under_way_for_all_once_that_is_back() {
    let relayed = Relayed::of_replicas(2, "").await;
    let bearer = relayed.stage.stack.secret.expose().to_owned();
    fill(&relayed).await;
    let sent = held_back(&relayed, &bearer, Fault::on(Operation::Submit).delay(SECOND * 20)).await;
    empty(&relayed).await;
    let repeated = relayed.submitting_at(1, &bearer, Some("k"), "market.wav");
    let task = handle(&ended(&relayed, sent).await);
    assert_eq!(handle(&ended(&relayed, repeated).await), task);
    assert_eq!(relayed.submits(), 1);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_refusal_that_could_not_be_told_frees_its_key_once_the_redis_is_back() {
    let relayed = Relayed::of_replicas(2, "").await;
    let bearer = relayed.stage.stack.secret.expose().to_owned();
    let refused = held_back(&relayed, &bearer, refusal().delay(SECOND * 5)).await;
    fill(&relayed).await;
    assert_eq!(relayed.turned(refused, SECOND).await.status, 400);
    empty(&relayed).await;
    let task = handle(&relayed.submit_at(1, &bearer, Some("k"), "market.wav").await);
    assert_eq!(handle(&relayed.submit_at(0, &bearer, Some("k"), "market.wav").await), task);
    assert_eq!(relayed.submits(), 2);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_claim_of_its_own_keeps_no_replica_from_its_submit() {
    let relayed = Relayed::of_replicas(2, "").await;
    let bearer = relayed.stage.stack.secret.expose().to_owned();
    let refused = held_back(&relayed, &bearer, refusal().delay(SECOND)).await;
    // As if it had claimed it anew meanwhile, and what withdraws the first claim came late.
    let submit = keys(&relayed.stage, "valet:submit:*").remove(0);
    relayed.stage.run(cmd("HSET").arg(&submit).arg("nonce").arg("another"));
    relayed.stage.clock.advance(SECOND);
    assert_eq!(promptly(refused).await.unwrap().status, 400);
    assert_eq!(keys(&relayed.stage, "valet:submit:*"), [submit], "the newer claim stands");
    let task = handle(&relayed.submit_at(0, &bearer, Some("k"), "market.wav").await);
    assert_eq!(handle(&relayed.submit_at(1, &bearer, Some("k"), "market.wav").await), task);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn who_waits_for_anothers_submit_is_judged_anew_before_its_own_is_sent() {
    let relayed = Relayed::of_replicas(2, "").await;
    let bearer = relayed.token(None).await;
    let refused = held_back(&relayed, &bearer, refusal().delay(SECOND * 5)).await;
    let waiting = relayed.submitting_at(1, &bearer, Some("k"), "market.wav");
    promptly(async { while relayed.stage.calls("claim_submit").await < 2 {} }).await;
    assert_eq!(revoke(&relayed.stage, 1, &bearer).await, 200);
    assert_eq!(ended(&relayed, refused).await.status, 400);
    let late = ended(&relayed, waiting).await;
    assert_eq!(late.status, 401, "{}", late.text);
    assert_eq!(relayed.submits(), 1, "nothing is sent for who has nothing to say any more");
    // Its claim is withdrawn.
    let bearer = relayed.token(None).await;
    handle(&relayed.submit_at(0, &bearer, Some("k"), "market.wav").await);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn who_joins_a_submit_is_judged_by_its_own_credential() {
    let relayed = Relayed::of_replicas(2, "").await;
    let bearer = relayed.token(None).await;
    let refused = held_back(&relayed, &bearer, refusal().delay(SECOND * 5)).await;
    // The same app, by another token and by its secret.
    let (another, secret) = (relayed.token(None).await, relayed.stage.stack.secret.expose().to_owned());
    let first = relayed.submitting_at(1, &bearer, Some("k"), "market.wav");
    promptly(async { while relayed.stage.calls("claim_submit").await < 2 {} }).await;
    let joined =
        [&another, &secret, &bearer].map(|shown| relayed.submitting_at(1, shown, Some("k"), "market.wav"));
    relayed.stage.settled().await;
    assert_eq!(revoke(&relayed.stage, 1, &bearer).await, 200);
    assert_eq!(ended(&relayed, refused).await.status, 400);
    let late = ended(&relayed, first).await;
    assert_eq!(late.status, 401, "{}", late.text);
    let [another, by_secret, late] = joined;
    let task = handle(&ended(&relayed, another).await);
    assert_eq!(handle(&ended(&relayed, by_secret).await), task, "they join one another");
    let late = ended(&relayed, late).await;
    assert_eq!(late.status, 401, "its own token is over as well: {}", late.text);
    assert_eq!(relayed.submits(), 2);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn nothing_is_claimed_while_a_replica_adds_what_was_lost() {
    let relayed = Relayed::of_replicas(2, "audio_seconds_per_day = 300\nseconds_per_file = 100").await;
    let bearer = relayed.stage.stack.secret.expose().to_owned();
    relayed.stage.run(&cmd("FLUSHALL"));
    for _ in 0..6 {
        relayed.stage.pass(1).await;
    }
    promptly(async { while relayed.stage.calls("adding").await < 2 {} }).await;
    // The epoch is old enough; some replica is at it still.
    relayed.stage.run(cmd("SET").arg("valet:adding").arg("1").arg("PX").arg(4000));
    let claims = relayed.stage.calls("claim_submit").await;
    let waiting = relayed.submitting_at(1, &bearer, Some("k"), "market.wav");
    promptly(async { while relayed.stage.calls("claim_submit").await == claims {} }).await;
    relayed.stage.page("/healthz").await;
    assert_eq!(relayed.submits(), 0, "it waits");
    handle(&relayed.submit_at(0, &bearer, None, "silence.wav").await);
    // What is counted there is counted anew: each keeps to its share meanwhile.
    let more = relayed.submit_at(0, &bearer, None, "market.wav?2").await;
    assert_eq!(code(&more).0, 429, "{}", more.text);
    // It has died at it: it keeps nobody for longer than its word lives.
    relayed.stage.pass(5).await;
    handle(&promptly(waiting).await.unwrap());
    handle(&relayed.submit_at(0, &bearer, None, "market.wav?2").await);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn nonsense_under_the_keys_of_submits_keeps_nobody_from_adding_what_was_lost() {
    let relayed = Relayed::of_replicas(2, "").await;
    let bearer = relayed.stage.stack.secret.expose().to_owned();
    let mut tasks = Vec::new();
    for key in ["k", "l"] {
        tasks.push(handle(&relayed.submit_at(0, &bearer, Some(key), "market.wav").await));
    }
    let mut nonsense = keys(&relayed.stage, "valet:submits:*");
    nonsense.push(keys(&relayed.stage, "valet:submit:*").remove(0));
    relayed.stage.run(&cmd("FLUSHALL"));
    for key in nonsense {
        relayed.stage.run(cmd("SET").arg(key).arg("nonsense"));
    }
    relayed.stage.run(cmd("SET").arg("valet:adding").arg("nonsense").arg("PX").arg(1_000_000_000));
    relayed.stage.pass(1).await;
    promptly(async {
        while keys(&relayed.stage, "valet:task:*").len() < 2 {
            relayed.stage.page("/healthz").await;
        }
    })
    .await;
    for (key, task) in ["k", "l"].iter().zip(tasks) {
        // Who has them may not have told yet: then it is waited for.
        let asked = relayed.submitting_at(1, &bearer, Some(key), "market.wav");
        assert_eq!(handle(&ended(&relayed, asked).await), task);
    }
    assert_eq!(relayed.submits(), 2);
    relayed.stage.stop().await;
}
