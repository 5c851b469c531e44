//! Answers that are too large, malformed or senseless are errors, and never more than that.

use serde_json::{Value, json};
use valet_client::{Kind, Status, TaskId};
use valet_clock::ManualClock;

use crate::support::{Reply, Request, Server, client, failure, task, token, turn_until};

fn senseless() -> Vec<Reply> {
    let deep = "[".repeat(100_000);
    let texts =
        ["", "null", "[]", "{}", "<html>", r#"{"output":{}}"#, r#"{"output":{"task_id":1}}"#, deep.as_str()];
    let binary = Reply::raw(200, vec![0xff; 100]);
    texts.map(|text| Reply::raw(200, text)).into_iter().chain([binary]).collect()
}

/// A broker whose token has `changed` members.
fn token_with(request: &Request, changed: &Value) -> Reply {
    let mut body = json!({ "token": "st-1", "expires_in": 60, "base_url": request.base_url() });
    body.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    Reply::json(200, &body)
}

#[tokio::test]
async fn a_senseless_answer_to_a_query_is_malformed() {
    let too_large = task("t-1", "RUNNING", &[]).padded(4 << 20);
    for reply in senseless().into_iter().chain([too_large]) {
        let clock = ManualClock::new();
        let server = Server::start(&clock, move |request| match request.is_for_token() {
            true => token(request, "st-1", 60),
            false => reply.clone(),
        })
        .await;
        let client = client(&server, &clock);
        failure(turn_until(&clock, client.fetch(&"t-1".into())).await, Kind::Malformed);
    }
}

#[tokio::test]
async fn a_senseless_answer_of_the_broker_is_malformed() {
    for reply in senseless() {
        let clock = ManualClock::new();
        let server = Server::start(&clock, move |_| reply.clone()).await;
        let client = client(&server, &clock);
        failure(turn_until(&clock, client.token()).await, Kind::Malformed);
    }
}

#[tokio::test]
async fn a_token_in_too_large_an_answer_is_malformed() {
    for (bytes, is_accepted) in [(32 << 10, true), (64 << 10, false)] {
        let clock = ManualClock::new();
        let server = Server::start(&clock, move |request| token(request, "st-1", 60).padded(bytes)).await;
        let outcome = turn_until(&clock, client(&server, &clock).token()).await;
        match is_accepted {
            true => assert_eq!(outcome.unwrap().expose(), "st-1"),
            false => drop(failure(outcome, Kind::Malformed)),
        }
    }
}

#[tokio::test]
async fn a_senseless_token_is_malformed() {
    let hostile = [
        json!({ "token": "" }),
        json!({ "token": "st-1\r\nhost: example.com" }),
        json!({ "token": 1 }),
        json!({ "expires_in": -1 }),
        json!({ "expires_in": "60" }),
        json!({ "base_url": "api/v1" }),
        json!({ "base_url": "file:///etc" }),
        json!({ "base_url": "http://example.com/api/v1" }),
        json!({ "base_url": "https://user:pass@example.com/api/v1" }),
        json!({ "queries_per_second": "20" }),
    ];
    for changed in hostile {
        let clock = ManualClock::new();
        let server = Server::start(&clock, move |request| token_with(request, &changed)).await;
        let client = client(&server, &clock);
        failure(turn_until(&clock, client.token()).await, Kind::Malformed);
    }
}

#[tokio::test]
async fn extreme_numbers_of_the_broker_do_no_harm() {
    let extreme = [
        json!({ "expires_in": u64::MAX }),
        json!({ "expires_in": 0 }),
        json!({ "expires_in": 1 }),
        json!({ "queries_per_second": 1e308 }),
        json!({ "queries_per_second": 1e-308 }),
        json!({ "queries_per_second": -1 }),
        json!({ "queries_per_second": null }),
    ];
    for changed in extreme {
        let clock = ManualClock::new();
        let server = Server::start(&clock, move |request| match request.is_for_token() {
            true => token_with(request, &changed),
            false => task("t-1", "RUNNING", &[]),
        })
        .await;
        let (client, id) = (client(&server, &clock), TaskId::from("t-1"));
        for _ in 0..3 {
            turn_until(&clock, client.fetch(&id)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_refusal_without_its_documented_body_is_still_told() {
    for body in ["", "<html>Bad Gateway</html>", "[1]", r#"{"code":1}"#, "null"] {
        for (status, kind) in [(400, Kind::Refused), (502, Kind::Unavailable)] {
            let clock = ManualClock::new();
            let server = Server::start(&clock, move |request| match request.is_for_token() {
                true => token(request, "st-1", 600),
                false => Reply::raw(status, body),
            })
            .await;
            let client = client(&server, &clock);
            let error = failure(turn_until(&clock, client.fetch(&"t-1".into())).await, kind);
            assert_eq!(error.status(), Some(status));
            assert!(error.to_string().contains(&status.to_string()), "{error}");
        }
    }
}

#[tokio::test]
async fn a_refusal_neither_floods_nor_commands_a_terminal() {
    let clock = ManualClock::new();
    let words = format!("\u{1b}[2J{}", "也".repeat(100_000));
    let body = json!({ "code": "InvalidParameter", "message": words });
    let server = Server::start(&clock, move |request| match request.is_for_token() {
        true => token(request, "st-1", 600),
        false => Reply::json(400, &body),
    })
    .await;
    let client = client(&server, &clock);
    let error = failure(turn_until(&clock, client.fetch(&"t-1".into())).await, Kind::Refused).to_string();
    assert!(error.len() < 2000 && !error.contains('\u{1b}'), "{error}");
}

#[tokio::test]
async fn a_status_that_nobody_knows_is_passed_on() {
    let clock = ManualClock::new();
    let server = Server::start(&clock, |request| match request.is_for_token() {
        true => token(request, "st-1", 60),
        false => task("t-1", "HIBERNATING", &[]),
    })
    .await;
    let client = client(&server, &clock);
    let task = turn_until(&clock, client.fetch(&"t-1".into())).await.unwrap();
    assert_eq!(task.status(), &Status::Other("HIBERNATING".into()));
}
