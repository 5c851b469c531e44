//! What the relay remembers beyond its process, and what of it counts against quotas.

use reqwest::Method;
use serde_json::{Value, json};
use valet_demo::APP;
use valet_sandbox::{Fault, Operation};

use crate::{
    harness::{Answer, SECOND, answered, promptly},
    relayed::{Relayed, code, status},
    reload::reload,
};

/// An hour of recordings a day, of which each is taken to have twenty minutes at most.
const HOUR: &str = "audio_seconds_per_day = 3600\nseconds_per_file = 1200";

/// The limit that a refusal names, and when it says to come back.
fn limit(answer: &Answer) -> (u16, String, u64) {
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    let wait = answer.header("retry-after").and_then(|seconds| seconds.parse().ok()).unwrap_or_default();
    (answer.status, message, wait)
}

async fn submit(relayed: &Relayed, bearer: &str, names: &[&str]) -> Answer {
    let urls: Vec<String> = names.iter().map(|name| relayed.recordings.url(name)).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    relayed.submit(bearer, &relayed.submission(&urls)).await
}

fn handle(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["output"]["task_id"].as_str().unwrap().to_owned()
}

/// Seconds until the next day of UTC.
fn until_midnight(relayed: &Relayed) -> u64 {
    use valet_clock::Clock;
    86_400 - relayed.stage.clock.unix().as_secs() % 86_400
}

#[tokio::test]
async fn seconds_are_set_aside_at_a_submit_and_settled_when_the_task_ends() {
    let relayed = Relayed::with(HOUR, "").await;
    let sandbox = &relayed.stage.stack.sandbox;
    sandbox.set_task_time(SECOND * 5, SECOND * 5);
    let bearer = relayed.token(None).await;
    let three = handle(&submit(&relayed, &bearer, &["market.wav", "train.mp3", "market.wav"]).await);
    let fourth = submit(&relayed, &bearer, &["train.mp3"]).await;
    let (refused, message, wait) = limit(&fourth);
    assert_eq!(refused, 429);
    assert!(message.contains("audio_seconds_per_day"), "{message}");
    assert_eq!(wait, until_midnight(&relayed));
    assert_eq!(sandbox.count(Operation::Submit), 1, "a refusal costs nothing upstream");
    // It used some seconds of the hour that was set aside.
    relayed.ended(&three, &bearer).await;
    let bearer = relayed.token(None).await;
    handle(&submit(&relayed, &bearer, &["train.mp3", "market.wav"]).await);
    let used = relayed.stage.metric("valet_relay_audio_seconds_total").await;
    assert!((1..100).contains(&used), "{used}");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn what_was_not_submitted_is_not_used_up() {
    let relayed = Relayed::with(HOUR, "").await;
    let bearer = relayed.token(None).await;
    for _ in 0..5 {
        let refusal = Fault::on(Operation::Submit).refuse(429, "Throttling.RateQuota", "Slow.");
        relayed.stage.stack.sandbox.script(refusal);
        let refused = submit(&relayed, &bearer, &["market.wav", "train.mp3", "market.wav"]).await;
        assert_eq!(code(&refused), (429, "Throttling.RateQuota".into()));
    }
    handle(&submit(&relayed, &bearer, &["market.wav", "train.mp3", "market.wav"]).await);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn channels_count_and_so_do_the_subjects_own_quotas() {
    let more = "tasks_per_day = 3\nsubject_audio_seconds_per_day = 2400\nseconds_per_file = 1200";
    let relayed = Relayed::with(more, "").await;
    let (alice, bob) = (relayed.token(Some("alice")).await, relayed.token(Some("bob")).await);
    let url = relayed.recordings.url("market.wav");
    let with = |channels: Value| {
        let mut body = relayed.submission(&[&url]);
        body["parameters"]["channel_id"] = channels;
        body
    };
    let (refused, message, _) = limit(&relayed.submit(&alice, &with(json!([0, 1, 2]))).await);
    assert_eq!((refused, message.contains("subject_audio_seconds_per_day")), (429, true), "{message}");
    handle(&relayed.submit(&alice, &with(json!([0, 1]))).await);
    let (refused, message, _) = limit(&relayed.submit(&alice, &with(json!([0]))).await);
    assert_eq!((refused, message.contains("subject_audio_seconds_per_day")), (429, true), "{message}");
    handle(&relayed.submit(&bob, &with(json!([0]))).await);
    let nobody = relayed.token(None).await;
    handle(&relayed.submit(&nobody, &with(json!([0]))).await);
    let (refused, message, wait) = limit(&relayed.submit(&nobody, &with(json!([1]))).await);
    assert_eq!((refused, message.contains("tasks_per_day")), (429, true), "{message}");
    assert_eq!(wait, until_midnight(&relayed));
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_broker_that_starts_again_knows_its_tasks_and_what_was_used() {
    // What a broker knows again after a start is its own ledger; of several, the others know it as well.
    let mut relayed = Relayed::of_one(HOUR).await;
    relayed.stage.stack.sandbox.set_task_time(SECOND, SECOND);
    let bearer = relayed.token(Some("alice")).await;
    let first = handle(&submit(&relayed, &bearer, &["market.wav"]).await);
    relayed.ended(&first, &bearer).await;
    relayed.stage.stack.sandbox.set_task_time(SECOND * 30, SECOND);
    let bearer = relayed.token(Some("alice")).await;
    let second = handle(&submit(&relayed, &bearer, &["market.wav", "train.mp3"]).await);
    relayed.stage.stack.restart_broker(true).await.unwrap();
    // The same token, the same handles.
    let list = relayed.get("/tasks/", &bearer).await.json();
    let told: Vec<_> = list["data"].as_array().unwrap().iter().map(|task| &task["task_id"]).collect();
    assert_eq!(told.len(), 2, "{list}");
    assert!(told.contains(&&json!(first)) && told.contains(&&json!(second)));
    // Both are looked at anew, one after the other.
    let asking = answered(relayed.request(Method::GET, &format!("/tasks/{first}"), &bearer));
    let ended = relayed.turned(tokio::spawn(asking), SECOND / 10).await;
    assert_eq!(status(&ended), "SUCCEEDED", "{}", ended.text);
    assert!(ended.json()["output"]["results"][0]["transcription_url"].is_string());
    // What was set aside for the second is set aside still: 20 and a bit of 60 minutes are left.
    let refused = submit(&relayed, &bearer, &["train.mp3", "market.wav"]).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    // It is followed to its end though nobody asks: then there is room.
    let mut room = refused;
    for _ in 0..300 {
        if room.status == 200 {
            break;
        }
        relayed.stage.page("/healthz").await;
        relayed.stage.clock.advance(SECOND);
        let bearer = relayed.token(Some("alice")).await;
        room = submit(&relayed, &bearer, &["train.mp3", "market.wav"]).await;
    }
    handle(&room);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_submit_under_a_key_is_sent_once_whatever_becomes_of_the_broker() {
    // What a broker knows again after a start is its own ledger; of several, the others know it as well.
    let mut relayed = Relayed::of_one("").await;
    let bearer = relayed.token(None).await;
    let keyed = |relayed: &Relayed, key: &'static str, name: &str| {
        let request = relayed.request(Method::POST, "/services/audio/asr/transcription", &bearer);
        let request = request.header("x-dashscope-async", "enable").header("idempotency-key", key);
        answered(request.json(&relayed.submission(&[&relayed.recordings.url(name)])))
    };
    let first = keyed(&relayed, "k-1", "market.wav").await;
    let task = handle(&first);
    relayed.stage.stack.restart_broker(true).await.unwrap();
    assert_eq!(handle(&keyed(&relayed, "k-1", "market.wav").await), task);
    assert_eq!(code(&keyed(&relayed, "k-1", "train.mp3").await), (400, "InvalidParameter".into()));
    assert_eq!(relayed.stage.stack.sandbox.count(Operation::Submit), 1);
    // Killed while a submit is under way: nobody knows what became of it, so it is not sent again.
    relayed.stage.stack.sandbox.script(Fault::on(Operation::Submit).hang());
    let hanging = tokio::spawn(keyed(&relayed, "k-2", "train.mp3"));
    promptly(relayed.stage.stack.sandbox.wait_for(Operation::Submit, 2)).await;
    relayed.stage.stack.restart_broker(false).await.unwrap();
    hanging.abort();
    let unknown = keyed(&relayed, "k-2", "train.mp3").await;
    assert_eq!(code(&unknown), (409, "SubmitOutcomeUnknown".into()));
    // What was refused may be sent again, now and after a start.
    let refusal = Fault::on(Operation::Submit).refuse(429, "Throttling.RateQuota", "Slow.");
    relayed.stage.stack.sandbox.script(refusal);
    assert_eq!(keyed(&relayed, "k-3", "train.mp3").await.status, 429);
    relayed.stage.stack.restart_broker(true).await.unwrap();
    handle(&keyed(&relayed, "k-3", "train.mp3").await);
    assert_eq!(relayed.stage.stack.sandbox.count(Operation::Submit), 4);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn an_answer_that_may_hide_a_task_is_not_taken_for_a_refusal() {
    let relayed = Relayed::with(HOUR, "").await;
    let bearer = relayed.token(None).await;
    let keyed = |key: String| {
        let request = relayed.request(Method::POST, "/services/audio/asr/transcription", &bearer);
        let request = request.header("x-dashscope-async", "enable").header("idempotency-key", key);
        answered(request.json(&relayed.submission(&[&relayed.recordings.url("market.wav")])))
    };
    let unknown = (409, "SubmitOutcomeUnknown".to_owned());
    for (status, sent) in [500, 502, 504].into_iter().zip(1_u64..) {
        let fault = Fault::on(Operation::Submit).refuse(status, "InternalError", "Who knows.");
        relayed.stage.stack.sandbox.script(fault);
        for _ in 0..2 {
            assert_eq!(code(&keyed(status.to_string()).await), unknown, "{status}");
            assert_eq!(relayed.stage.stack.sandbox.count(Operation::Submit), sent, "it is not sent again");
        }
    }
    // Each may be billed: what was set aside for them fills the hour.
    let (refused, message, _) = limit(&keyed("another".into()).await);
    assert_eq!((refused, message.contains("audio_seconds_per_day")), (429, true), "{message}");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_service_that_takes_no_submit_has_refused_it() {
    let relayed = Relayed::with(HOUR, "").await;
    let bearer = relayed.token(None).await;
    for _ in 0..4 {
        relayed.stage.stack.sandbox.script(Fault::on(Operation::Submit).refuse(
            503,
            "ModelServingError",
            "No.",
        ));
        assert_eq!(submit(&relayed, &bearer, &["market.wav"]).await.status, 503);
    }
    handle(&submit(&relayed, &bearer, &["market.wav"]).await);
    relayed.stage.stop().await;
}

/// The lines of the ledger.
fn lines(state: &std::path::Path) -> Vec<Value> {
    let files = std::fs::read_dir(state.join("tasks")).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    // What has no end yet is being written.
    let lines = |text: String| -> Vec<Value> {
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| line.parse().unwrap()).collect()
    };
    texts.flat_map(lines).collect()
}

/// Those of a kind, once there are so many: another thread writes them.
async fn written(relayed: &Relayed, kind: &str, count: usize) -> Vec<Value> {
    promptly(async {
        loop {
            let mut lines = lines(relayed.state.path());
            lines.retain(|line| line["kind"] == kind);
            if lines.len() >= count {
                return lines;
            }
            relayed.stage.page("/healthz").await;
        }
    })
    .await
}

#[tokio::test]
async fn what_nobody_knows_the_outcome_of_is_written_down_and_stays_set_aside() {
    // What a broker knows again after a start is its own ledger; of several, the others know it as well.
    let mut relayed = Relayed::of_one(HOUR).await;
    let bearer = relayed.token(None).await;
    for _ in 0..3 {
        relayed.stage.stack.sandbox.script(Fault::on(Operation::Submit).lose_answer());
        let lost = submit(&relayed, &bearer, &["market.wav"]).await;
        assert_eq!(code(&lost), (409, "SubmitOutcomeUnknown".into()));
        relayed.stage.clock.advance(SECOND);
    }
    relayed.stage.stack.restart_broker(true).await.unwrap();
    let (refused, message, _) = limit(&submit(&relayed, &bearer, &["market.wav"]).await);
    assert_eq!((refused, message.contains("audio_seconds_per_day")), (429, true), "{message}");
    let lost = written(&relayed, "unknown", 3).await;
    assert_eq!(lines(relayed.state.path()).len(), 3);
    assert!(lost.iter().all(|line| line["reserved"] == 1200), "{lost:?}");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn what_has_vanished_counts_against_the_quota_and_is_not_said_to_be_billed() {
    // What a broker knows again after a start is its own ledger; of several, the others know it as well.
    let mut relayed = Relayed::of_one(HOUR).await;
    let vanished = r#"{"output":{"task_status":"UNKNOWN"}}"#;
    let fault = Fault::on(Operation::Query).replace(200, "application/json", vanished).always();
    relayed.stage.stack.sandbox.script(fault);
    let bearer = relayed.token(None).await;
    handle(&submit(&relayed, &bearer, &["market.wav", "train.mp3", "market.wav"]).await);
    for _ in 0..400 {
        relayed.stage.page("/healthz").await;
        relayed.stage.clock.advance(SECOND / 2);
    }
    for _ in 0..2 {
        let bearer = relayed.token(None).await;
        assert_eq!(submit(&relayed, &bearer, &["market.wav"]).await.status, 429);
        relayed.stage.stack.restart_broker(true).await.unwrap();
    }
    let lines = lines(relayed.state.path());
    let end = lines.iter().find(|line| line["kind"] == "ended").unwrap();
    assert_eq!((&end["status"], &end["seconds"]), (&json!("UNKNOWN"), &json!(0)));
    relayed.stage.stop().await;
}

#[tokio::test]
async fn an_app_that_was_away_owes_nothing_of_before_and_is_given_nothing_back() {
    let relayed = Relayed::with(HOUR, "").await;
    let stage = &relayed.stage;
    stage.stack.sandbox.set_task_time(SECOND * 5, SECOND * 5);
    let bearer = relayed.token(None).await;
    handle(&submit(&relayed, &bearer, &["market.wav", "train.mp3"]).await);
    let app = format!("[apps.{APP}]");
    let config = &stage.stack.config;
    assert!(config.contains(&app));
    reload(stage, &config.replace(&app, "[apps.another]")).await;
    reload(stage, config).await;
    stage.stack.sandbox.set_task_time(SECOND * 500, SECOND);
    let bearer = relayed.token(None).await;
    let again = submit(&relayed, &bearer, &["market.wav", "train.mp3", "market.wav"]).await;
    // Where brokers share what an app uses of the day, it lies there while the app is away, and is the app's again.
    let is_shared = stage.brokers() > 1;
    assert_eq!(again.status, if is_shared { 429 } else { 200 }, "{}", again.text);
    // The first ends.
    for _ in 0..160 {
        stage.turn(SECOND / 2).await;
    }
    assert_eq!(written(&relayed, "ended", 1).await.len(), 1);
    let bearer = relayed.token(None).await;
    if is_shared {
        handle(&submit(&relayed, &bearer, &["market.wav", "train.mp3"]).await);
    }
    assert_eq!(submit(&relayed, &bearer, &["market.wav"]).await.status, 429);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_a_submit_whose_caller_has_hung_up() {
    let relayed = Relayed::new().await;
    let bearer = relayed.token(None).await;
    // Less than a broker may take to close its records: of several, the others do so at once, and in real time.
    relayed.stage.stack.sandbox.script(Fault::on(Operation::Submit).delay(SECOND * 2));
    let request = relayed.request(Method::POST, "/services/audio/asr/transcription", &bearer);
    let request = request.header("x-dashscope-async", "enable");
    let body = relayed.submission(&[&relayed.recordings.url("market.wav")]);
    let hanging = tokio::spawn(answered(request.json(&body)));
    promptly(relayed.stage.stack.sandbox.wait_for(Operation::Submit, 1)).await;
    relayed.stage.upstream_asleep().await;
    hanging.abort();
    let Relayed { stage, state, recordings: _recordings } = relayed;
    let clock = stage.clock.clone();
    stage.stack.shut_down();
    let stopping = tokio::spawn(stage.stop());
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    clock.advance(SECOND * 2);
    stopping.await.unwrap();
    let lines = lines(state.path());
    assert!(lines.iter().any(|line| line["kind"] == "submitted"), "{lines:?}");
}
