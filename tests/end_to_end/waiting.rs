//! Waiting at the relay: many who wait, few who ask.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;
use valet_client::{Status, TranscriptionRequest};
use valet_clock::Clock;
use valet_sandbox::Operation;

use crate::{
    harness::{SECOND, answered, promptly},
    relayed::{Relayed, code, status},
    reload::reload,
};

const STEP: Duration = Duration::from_millis(250);

/// Queries and lists that have reached the sandbox.
fn asked(relayed: &Relayed) -> u64 {
    let sandbox = &relayed.stage.stack.sandbox;
    sandbox.count(Operation::Query) + sandbox.count(Operation::List)
}

#[tokio::test]
async fn an_answer_waits_for_the_status_to_change_and_no_longer_than_asked() {
    let relayed = Relayed::new().await;
    relayed.stage.stack.sandbox.set_task_time(SECOND * 10, SECOND * 60);
    let bearer = relayed.token(None).await;
    let handle = relayed.submitted(&bearer).await;
    let began = relayed.turned(relayed.waiting(&handle, &bearer, 20), STEP).await;
    assert_eq!((status(&began).as_str(), began.header("preference-applied")), ("RUNNING", Some("wait=20")));
    let before = relayed.stage.clock.unix();
    let nothing_new = relayed.turned(relayed.waiting(&handle, &bearer, 5), STEP).await;
    assert_eq!(status(&nothing_new), "RUNNING");
    let took = relayed.stage.clock.unix() - before;
    assert!((SECOND * 5..SECOND * 8).contains(&took), "{took:?}");
    relayed.stage.clock.advance(SECOND * 30);
    let bearer = relayed.token(None).await;
    let ended = relayed.turned(relayed.waiting(&handle, &bearer, 30), STEP).await;
    assert_eq!(status(&ended), "SUCCEEDED");
    let again = relayed.waiting(&handle, &bearer, 30).await.unwrap();
    assert_eq!(status(&again), "SUCCEEDED", "what has ended is told of at once");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn many_who_wait_for_one_task_cost_the_queries_of_one() {
    let relayed = Relayed::new().await;
    relayed.stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 20);
    let bearer = relayed.token(None).await;
    let handle = relayed.submitted(&bearer).await;
    relayed.get(&format!("/tasks/{handle}"), &bearer).await;
    let waiting: Vec<_> = (0..40).map(|_| relayed.waiting(&handle, &bearer, 30)).collect();
    relayed.seated(40).await;
    for waiting in waiting {
        let answer = relayed.turned(waiting, STEP).await;
        assert!(["RUNNING", "SUCCEEDED"].contains(&status(&answer).as_str()), "{}", answer.text);
    }
    relayed.seated(0).await;
    assert!(asked(&relayed) <= 20, "{} queries", asked(&relayed));
    relayed.stage.stop().await;
}

/// The client is told by its token that it is at a relay.
#[tokio::test]
async fn the_client_waits_for_its_tasks_in_few_requests_and_knows_their_ends_soon() {
    let relayed = Relayed::new().await;
    let (stage, client) = (&relayed.stage, relayed.stage.stack.client());
    stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 90);
    let began = stage.clock.unix();
    let mut waits = Vec::new();
    for number in 0..12 {
        let url = format!("{}?{number}", relayed.recordings.url("market.wav"));
        let task = promptly(client.submit(&TranscriptionRequest::new([url]))).await.unwrap();
        waits.push(client.wait(task.id()).into_future());
    }
    let (waiting, mut most) = (tokio::spawn(join_all(waits)), 0);
    while !waiting.is_finished() {
        most = most.max(stage.metric("valet_relay_waiting").await);
        stage.clock.advance(STEP);
    }
    let statuses = waiting.await.unwrap().into_iter().map(|task| task.unwrap().status().clone());
    assert!(statuses.into_iter().all(|status| status == Status::Succeeded));
    assert!((1..=4).contains(&most), "twelve tasks, {most} requests that wait");
    let late = stage.clock.unix() - began - SECOND * 90;
    // The time is turned while exchanges take place, so some of it passes during them.
    assert!(late <= SECOND * 20, "{late:?}");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn several_tasks_are_waited_for_in_one_request() {
    let relayed = Relayed::new().await;
    let sandbox = &relayed.stage.stack.sandbox;
    let bearer = relayed.token(None).await;
    sandbox.set_task_time(Duration::ZERO, SECOND * 500);
    let long = relayed.submitted(&bearer).await;
    sandbox.set_task_time(Duration::ZERO, SECOND * 10);
    let short = relayed.submitted(&bearer).await;
    let handles = [long.clone(), short.clone()];
    let mut rounds = 0;
    loop {
        rounds += 1;
        let answer = relayed.turned(relayed.waiting_for_any(&handles, &bearer), STEP).await.json();
        let told = |place: usize| &answer["tasks"][place]["output"];
        assert_eq!((&told(0)["task_id"], &told(1)["task_id"]), (&json!(long), &json!(short)));
        if told(1)["task_status"] == "SUCCEEDED" {
            assert_eq!(told(0)["task_status"], "RUNNING");
            assert!(told(1)["results"][0]["transcription_url"].is_string());
            break;
        }
        assert!(rounds < 5, "{answer}");
    }
    let ask = |ids: serde_json::Value| {
        let request = relayed.request(Method::POST, "/tasks/wait", &bearer).header("prefer", "wait=30");
        answered(request.json(&json!({ "task_ids": ids })))
    };
    let unknown = ask(json!([long, "no-such-task"])).await.json();
    assert_eq!(unknown["tasks"][1]["output"]["task_status"], "UNKNOWN", "at once");
    for wrong in [json!([]), json!("x"), json!(vec!["x"; 101]), json!([7])] {
        assert_eq!(code(&ask(wrong).await), (400, "InvalidParameter".into()));
    }
    relayed.stage.stop().await;
}

#[tokio::test]
async fn who_finds_no_place_is_answered_at_once_and_told_when_to_ask_again() {
    let relayed = Relayed::with("", "[relay.waiting]\nper_owner = 1").await;
    let (alice, bob) = (relayed.token(Some("alice")).await, relayed.token(Some("bob")).await);
    let (hers, his) = (relayed.submitted(&alice).await, relayed.submitted(&bob).await);
    relayed.stage.stack.sandbox.set_task_time(SECOND * 100, SECOND * 100);
    // Each broker has places of its own.
    let seats = relayed.stage.each(1);
    let mut waiting: Vec<_> = (0..seats).map(|_| relayed.waiting(&hers, &alice, 30)).collect();
    relayed.seated(seats).await;
    let crowded = relayed.waiting(&hers, &alice, 30).await.unwrap();
    assert_eq!((crowded.status, crowded.header("retry-after")), (200, Some("5")));
    assert_eq!(crowded.header("preference-applied"), None);
    waiting.push(relayed.waiting(&his, &bob, 30));
    relayed.seated(seats + 1).await;
    waiting.iter().for_each(JoinHandle::abort);
    relayed.seated(0).await;
    relayed.stage.stop().await;
}

#[tokio::test]
async fn who_has_hung_up_costs_nothing_further() {
    let relayed = Relayed::new().await;
    relayed.stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 5000);
    let bearer = relayed.token(None).await;
    let handle = relayed.submitted(&bearer).await;
    let waiting = relayed.waiting(&handle, &bearer, 30);
    relayed.seated(1).await;
    waiting.abort();
    relayed.seated(0).await;
    relayed.stage.clock.advance(SECOND * 20);
    let before = asked(&relayed);
    for _ in 0..120 {
        relayed.stage.page("/healthz").await;
        relayed.stage.clock.advance(SECOND);
    }
    // It is followed to its end all the same, at leisure.
    assert!(asked(&relayed) - before <= 8, "{} queries", asked(&relayed) - before);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn who_is_nobody_any_more_is_told_nothing() {
    let relayed = Relayed::new().await;
    let stage = &relayed.stage;
    stage.stack.sandbox.set_task_time(Duration::ZERO, SECOND * 3);
    let bearer = relayed.token(None).await;
    let handle = relayed.submitted(&bearer).await;
    let waiting = relayed.waiting(&handle, &bearer, 30);
    relayed.seated(1).await;
    let secret = &stage.stack.secret;
    let revoke = stage.request(Method::POST, "/oauth/revoke").form(&[("token", &bearer)]);
    answered(revoke.basic_auth(valet_demo::APP, Some(secret.expose()))).await;
    let told = relayed.turned(waiting, STEP).await;
    assert_eq!(code(&told), (401, "InvalidApiKey".into()), "revoked while it waited");
    let bearer = relayed.token(None).await;
    stage.stack.sandbox.set_task_time(SECOND * 100, SECOND * 3);
    let handle = relayed.submitted(&bearer).await;
    let waiting = relayed.waiting(&handle, &bearer, 20);
    relayed.seated(1).await;
    reload(stage, &stage.stack.config.replace("[apps.demo]", "[apps.demo]\nenabled = false")).await;
    assert_eq!(code(&relayed.turned(waiting, STEP).await), (401, "InvalidApiKey".into()), "disabled");
    relayed.stage.stop().await;
}

#[tokio::test]
async fn a_wait_never_outlasts_its_token_and_ends_when_the_broker_stops() {
    let relayed = Relayed::new().await;
    relayed.stage.stack.sandbox.set_task_time(SECOND * 1000, SECOND);
    let bearer = relayed.token(None).await;
    let handle = relayed.submitted(&bearer).await;
    relayed.stage.clock.advance(SECOND * 50);
    let told = relayed.turned(relayed.waiting(&handle, &bearer, 30), STEP).await;
    assert_eq!((told.status, status(&told).as_str()), (200, "PENDING"));
    let bearer = relayed.token(None).await;
    let waiting = relayed.waiting(&handle, &bearer, 30);
    relayed.seated(1).await;
    relayed.stage.stack.shut_down();
    let told = waiting.await.unwrap();
    assert_eq!((told.status, status(&told).as_str()), (200, "PENDING"));
    relayed.stage.stop().await;
}

#[tokio::test]
async fn two_hundred_tasks_are_followed_by_lists_within_the_accounts_limit() {
    let relayed = Relayed::new().await;
    let sandbox = &relayed.stage.stack.sandbox;
    sandbox.set_task_time(Duration::ZERO, SECOND * 60);
    let bearer = relayed.token(None).await;
    let url = relayed.recordings.url("market.wav");
    let mut handles = Vec::new();
    for place in 0..200 {
        let mut body = relayed.submission(&[&url]);
        // Otherwise they would be one and the same.
        body["parameters"]["speech_noise_threshold"] = json!(f64::from(place) / 1000.0);
        let answer = relayed.submit(&bearer, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        handles.push(answer.json()["output"]["task_id"].as_str().unwrap().to_owned());
    }
    crate::harness::promptly(sandbox.wait_for_work(200)).await;
    let mut ended = 0;
    for _ in 0..200 {
        let bearer = relayed.token(None).await;
        let waiting: Vec<_> =
            handles.chunks(100).map(|some| relayed.waiting_for_any(some, &bearer)).collect();
        let mut left = Vec::new();
        for (waiting, some) in waiting.into_iter().zip(handles.chunks(100)) {
            // A query that is on its way while the time is turned is of a later time to the sandbox than to the broker.
            while !waiting.is_finished() {
                relayed.stage.turn(STEP).await;
            }
            let answer = waiting.await.unwrap().json();
            let tasks = answer["tasks"].as_array().unwrap();
            let unfinished = |place: &usize| tasks[*place]["output"]["task_status"] != "SUCCEEDED";
            left.extend((0..some.len()).filter(unfinished).map(|place| some[place].clone()));
        }
        ended += handles.len() - left.len();
        handles = left;
        if handles.is_empty() {
            break;
        }
    }
    assert_eq!(ended, 200);
    assert!(sandbox.count(Operation::List) > 0);
    assert!(asked(&relayed) < 800, "{} queries for 200 tasks", asked(&relayed));
    // Over every second: the account's limit, as the sandbox saw it.
    let calls = |operation| matches!(operation, Operation::Query | Operation::List | Operation::Cancel);
    let journal = sandbox.journal();
    let at: Vec<_> = journal.iter().filter(|entry| calls(entry.operation)).map(|entry| entry.at).collect();
    assert!(at.windows(21).all(|calls| calls[20] - calls[0] >= SECOND), "more than 20 in a second");
    assert!(journal.iter().all(|entry| entry.status != Some(429)));
    relayed.stage.stop().await;
}
