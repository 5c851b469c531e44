//! Waits: a task goes on and is paid for, so no passing trouble ends the wait for it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use valet_client::{Kind, Status, TaskId};
use valet_clock::{Clock, ManualClock};

use crate::support::{
    Reply, Request, Server, client, failure, request, service_error, submitted, task, token, turn_until,
};

/// A service that answers queries by `replies`, one after another; the last one stays.
async fn telling(clock: &ManualClock, replies: impl Into<Vec<Reply>>) -> Server {
    let mut replies = replies.into();
    replies.reverse();
    Server::start(clock, move |request| match request.is_for_token() {
        true => token(request, "st-1", 3600),
        false if replies.len() > 1 => replies.pop().unwrap(),
        false => replies[0].clone(),
    })
    .await
}

fn query_times(server: &Server) -> Vec<Duration> {
    server.those(Request::is_query).iter().map(|r| r.at).collect()
}

#[tokio::test]
async fn a_wait_survives_throttling_faults_and_broken_connections() {
    let clock = ManualClock::new();
    let replies = [
        service_error(429, "Throttling.RateQuota").with_header("retry-after", "42"),
        service_error(500, "InternalError"),
        Reply::HangUp,
        service_error(503, "SystemError"),
        task("t-1", "RUNNING", &[]),
        service_error(429, "Throttling"),
        service_error(429, "Throttling.AllocationQuota"),
        Reply::raw(408, ""),
        Reply::HangUp,
        task("t-1", "SUCCEEDED", &[]),
    ];
    let server = telling(&clock, replies).await;
    let client = client(&server, &clock);
    let task = turn_until(&clock, client.wait(&"t-1".into()).into_future()).await.unwrap();
    assert_eq!(task.status(), &Status::Succeeded);
    let at = query_times(&server);
    assert_eq!(at.len(), 10);
    assert!(at[1] - at[0] >= Duration::from_secs(42), "{at:?}");
}

#[tokio::test]
async fn a_service_that_is_away_for_an_hour_does_not_end_a_wait_nor_is_it_flooded() {
    let clock = ManualClock::new();
    let (away, start) = (clock.handle("script"), clock.now());
    let server = Server::start(&clock, move |request| match away.now() - start {
        _ if request.is_for_token() => token(request, "st-1", 7200),
        at if at < Duration::from_secs(3600) => Reply::HangUp,
        _ => task("t-1", "SUCCEEDED", &[]),
    })
    .await;
    let client = client(&server, &clock);
    turn_until(&clock, client.wait(&"t-1".into()).into_future()).await.unwrap();
    let queries = query_times(&server).len();
    assert!((180..=370).contains(&queries), "one in 10 to 20 s: {queries}");
}

#[tokio::test]
async fn a_wait_ends_when_the_service_refuses_for_good() {
    let clock = ManualClock::new();
    let server = telling(&clock, [service_error(403, "AccessDenied")]).await;
    let client = client(&server, &clock);
    let error = failure(turn_until(&clock, client.wait(&"t-1".into()).into_future()).await, Kind::Refused);
    assert_eq!((error.code(), error.request_id()), (Some("AccessDenied"), Some("req-s")));
    assert_eq!(error.task_id(), Some(&TaskId::from("t-1")), "it is paid for, and must not be lost");
    assert_eq!(query_times(&server).len(), 1);
}

#[tokio::test]
async fn a_wait_outlives_any_number_of_tokens() {
    let clock = ManualClock::new();
    let (now, start) = (clock.handle("script"), clock.now());
    let mut minted: Vec<Duration> = Vec::new();
    let server = Server::start(&clock, move |request| {
        let at = now.now() - start;
        if request.is_for_token() {
            minted.push(at);
            return token(request, &format!("st-{}", minted.len()), 60);
        }
        let number: usize = request.bearer().unwrap().trim_start_matches("st-").parse().unwrap();
        match at < minted[number - 1] + Duration::from_secs(60) {
            false => service_error(401, "InvalidApiKey"),
            true if request.is_submit() => submitted("t-1"),
            true if at >= Duration::from_secs(600) => task("t-1", "SUCCEEDED", &[]),
            true => task("t-1", "RUNNING", &[]),
        }
    })
    .await;
    let client = client(&server, &clock);
    let task = turn_until(&clock, async {
        let submitted = client.submit(&request()).await?;
        client.wait(submitted.id()).await
    });
    assert_eq!(task.await.unwrap().status(), &Status::Succeeded);
    let journal = server.journal();
    let rejected = journal.iter().filter(|r| r.is_for_token() && !r.body["rejected"].is_null()).count();
    assert_eq!(rejected, 0, "no dead token was ever used");
    let fetches = server.count(Request::is_for_token);
    assert!((10..=16).contains(&fetches), "one in 40 to 60 s: {fetches}");
    let end = query_times(&server).last().copied().unwrap();
    assert!(end < Duration::from_secs(611), "its end is found soon: {end:?}");
}

#[tokio::test]
async fn progress_is_told_at_each_look() {
    let clock = ManualClock::new();
    let replies = ["PENDING", "RUNNING", "NEWER", "CANCELED"].map(|status| task("t-1", status, &[]));
    let server = telling(&clock, replies).await;
    let client = client(&server, &clock);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seeing = Arc::clone(&seen);
    let wait = client.wait(&"t-1".into()).on_progress(move |task| {
        seeing.lock().unwrap().push(task.status().to_string());
    });
    assert_eq!(turn_until(&clock, wait.into_future()).await.unwrap().status(), &Status::Canceled);
    assert_eq!(*seen.lock().unwrap(), ["PENDING", "RUNNING", "NEWER", "CANCELED"]);
}

#[tokio::test]
async fn a_deadline_ends_the_wait_and_names_the_task() {
    let clock = ManualClock::new();
    let start = clock.now();
    let server = telling(&clock, [task("t-1", "RUNNING", &[])]).await;
    let client = client(&server, &clock);
    let limit = Duration::from_secs(33);
    let wait = client.wait(&"t-1".into()).deadline(limit);
    let error = failure(turn_until(&clock, wait.into_future()).await, Kind::Deadline);
    assert_eq!(clock.now() - start, limit);
    assert!(error.to_string().starts_with("task t-1: had not ended"), "{error}");
    assert!(server.journal().iter().all(|r| !r.path.ends_with("/cancel")), "the task goes on");
}

#[tokio::test]
async fn a_deadline_beyond_all_time_is_none() {
    let clock = ManualClock::new();
    let server = telling(&clock, [task("t-1", "SUCCEEDED", &[])]).await;
    let client = client(&server, &clock);
    let wait = client.wait(&"t-1".into()).deadline(Duration::MAX);
    turn_until(&clock, wait.into_future()).await.unwrap();
}

#[tokio::test]
async fn an_id_that_would_change_the_path_is_not_sent() {
    let clock = ManualClock::new();
    let server = telling(&clock, [task("t-1", "RUNNING", &[])]).await;
    let client = client(&server, &clock);
    for bad in ["", "../tokens", "a/cancel", "a?b", "."] {
        let id = TaskId::from(bad);
        failure(turn_until(&clock, client.wait(&id).into_future()).await, Kind::InvalidRequest);
        failure(client.cancel(&id).await, Kind::InvalidRequest);
    }
    assert!(server.journal().is_empty());
}

#[tokio::test]
async fn a_task_is_canceled_where_it_is_documented() {
    let clock = ManualClock::new();
    let replies = [Reply::raw(200, r#"{"request_id":"r"}"#), service_error(400, "UnsupportedOperation")];
    let server = telling(&clock, replies).await;
    let (client, id) = (client(&server, &clock), TaskId::from("t-1"));
    turn_until(&clock, client.cancel(&id)).await.unwrap();
    let error = failure(turn_until(&clock, client.cancel(&id)).await, Kind::Refused);
    assert_eq!(error.code(), Some("UnsupportedOperation"));
    let cancel = server.journal().into_iter().rfind(|r| r.path == "/api/v1/tasks/t-1/cancel").unwrap();
    assert_eq!(cancel.method, "POST");
}

#[tokio::test]
async fn a_look_that_fails_is_told_of_and_the_wait_goes_on() {
    let clock = ManualClock::new();
    let replies = [
        task("t-1", "RUNNING", &[]),
        Reply::HangUp,
        service_error(503, "SystemError"),
        task("t-1", "SUCCEEDED", &[]),
    ];
    let server = telling(&clock, replies).await;
    let client = client(&server, &clock);
    let (mut seen, mut troubles) = (Vec::new(), Vec::new());
    let wait = client.wait(&"t-1".into());
    let wait = wait.on_trouble(|error| troubles.push(error.kind()));
    let wait = wait.on_progress(|task| seen.push(task.status().clone()));
    turn_until(&clock, wait.into_future()).await.unwrap();
    assert_eq!(seen, [Status::Running, Status::Succeeded]);
    assert_eq!(troubles, [Kind::Lost, Kind::Unavailable]);
}
