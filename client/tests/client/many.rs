//! Many recordings: split into tasks, in order or as they come, and each fails alone.

use std::{collections::HashMap, time::Duration};

use futures_util::StreamExt;
use valet_client::{FileFailure, Kind, TranscriptionRequest};
use valet_clock::{Clock, ManualClock};

use crate::support::{
    Request, Server, client, failed, failure, service_error, submitted, succeeded, task, token, transcript,
    turn_until,
};

/// A service whose tasks take a while, the later ones less; files called `bad` fail, and tasks with a file
/// called `refused` are refused.
async fn service(clock: &ManualClock) -> Server {
    let (now, start) = (clock.handle("script"), clock.now());
    let mut tasks: HashMap<String, (Duration, Vec<String>)> = HashMap::new();
    Server::start(clock, move |request| {
        let at = now.now() - start;
        if request.is_for_token() {
            return token(request, "st-1", 36_000);
        }
        if request.is_submit() {
            let urls = &request.body["input"]["file_urls"];
            let urls: Vec<String> = serde_json::from_value(urls.clone()).unwrap();
            if urls.iter().any(|url| url.ends_with("refused")) {
                return service_error(400, "DataInspectionFailed");
            }
            let id = format!("t-{}", tasks.len());
            let end = at + Duration::from_secs(60_u64.saturating_sub(10 * tasks.len() as u64));
            tasks.insert(id.clone(), (end, urls));
            return submitted(&id);
        }
        if !request.is_query() {
            return transcript("a", request.path.trim_start_matches("/results/"));
        }
        let id = request.path.rsplit('/').next().unwrap();
        let (end, urls) = &tasks[id];
        if at < *end {
            return task(id, "RUNNING", &[]);
        }
        let host = request.base_url().replace("/api/v1", "/results");
        let result = |url: &String| match url.rsplit('/').next().unwrap() {
            "bad" => failed(url, "DECODE_ERROR"),
            name => succeeded(url, &format!("{host}/{name}")),
        };
        task(id, "SUCCEEDED", &urls.iter().rev().map(result).collect::<Vec<_>>())
    })
    .await
}

fn urls(names: &[&str]) -> TranscriptionRequest {
    TranscriptionRequest::new(names.iter().map(|name| format!("https://e.com/{name}"))).max_urls(2)
}

#[tokio::test]
async fn results_come_in_the_order_of_the_urls_and_each_fails_alone() {
    let clock = ManualClock::new();
    let server = service(&clock).await;
    let client = client(&server, &clock);
    let request = urls(&["a", "bad", "refused", "c", "d", "e", "f"]);
    let files = turn_until(&clock, client.transcribe_many(request).into_future()).await.unwrap();
    let told: Vec<String> = files
        .iter()
        .map(|file| match file.transcript() {
            Ok(transcript) => transcript.text(),
            Err(FileFailure::Task(error)) => format!("task: {}", error.code().unwrap()),
            Err(failure) => failure.code().unwrap().to_owned(),
        })
        .collect();
    let refused = "task: DataInspectionFailed";
    assert_eq!(told, ["a", "DECODE_ERROR", refused, refused, "d", "e", "f"]);
    assert!(files.iter().enumerate().all(|(place, file)| file.index() == place));
    assert_eq!(files[2].task_id(), None);
    assert!(files[1].task_id() == files[0].task_id() && files[0].task_id().is_some());
    assert!(files[1].transcript().unwrap_err().remedy().is_some());
    assert_eq!(server.count(Request::is_submit), 4);
}

#[tokio::test]
async fn results_are_streamed_as_they_come() {
    let clock = ManualClock::new();
    let server = service(&clock).await;
    let client = client(&server, &clock);
    let files = client.transcribe_many(urls(&["a", "b", "c", "d", "e"])).stream().unwrap();
    let places: Vec<_> = turn_until(&clock, files.map(|file| file.index()).collect()).await;
    assert_eq!(places[0], 4, "the last task is the first to end: {places:?}");
    assert_eq!(places.len(), 5);
}

#[tokio::test]
async fn no_more_tasks_are_under_way_than_allowed() {
    let clock = ManualClock::new();
    let server = service(&clock).await;
    let client = client(&server, &clock);
    let many = client.transcribe_many(urls(&["a", "b", "c", "d", "e"])).in_flight(1);
    turn_until(&clock, many.into_future()).await.unwrap();
    let submits = server.those(Request::is_submit);
    // The first tasks take 60 and 50 s.
    assert!(submits[1].at - submits[0].at >= Duration::from_secs(60));
    assert!(submits[2].at - submits[1].at >= Duration::from_secs(50));
}

#[tokio::test]
async fn a_deadline_leaves_the_rest_unsubmitted() {
    let clock = ManualClock::new();
    let server = service(&clock).await;
    let client = client(&server, &clock);
    let many =
        client.transcribe_many(urls(&["a", "b", "c", "d"])).in_flight(1).deadline(Duration::from_secs(33));
    let files = turn_until(&clock, many.into_future()).await.unwrap();
    for file in &files {
        match file.transcript() {
            Err(FileFailure::Task(error)) => assert_eq!(error.kind(), Kind::Deadline),
            other => panic!("{other:?}"),
        }
    }
    assert!(files[0].task_id().is_some(), "it goes on, and can be waited for");
    assert_eq!((files[2].task_id(), server.count(Request::is_submit)), (None, 1));
}

#[tokio::test]
async fn a_wrong_url_keeps_everything_from_being_sent() {
    let clock = ManualClock::new();
    let server = service(&clock).await;
    let client = client(&server, &clock);
    let request = TranscriptionRequest::new(["https://e.com/a", "b"]).max_urls(1);
    let error = failure(client.transcribe_many(request).await, Kind::InvalidRequest);
    assert!(error.to_string().starts_with("file_urls[1]"), "{error}");
    assert!(server.journal().is_empty());
}

#[tokio::test]
async fn throttled_submits_are_waited_out() {
    let clock = ManualClock::new();
    let mut throttled = 8;
    let server = Server::start(&clock, move |request| match request {
        request if request.is_for_token() => token(request, "st-1", 36_000),
        request if request.is_submit() && throttled > 0 => {
            throttled -= 1;
            service_error(429, "Throttling.RateQuota")
        }
        request if request.is_submit() => submitted("t-1"),
        request if request.is_query() => {
            task("t-1", "SUCCEEDED", &[failed("https://e.com/a", "DECODE_ERROR")])
        }
        _ => transcript("a", "words"),
    })
    .await;
    let client = client(&server, &clock);
    let files = turn_until(&clock, client.transcribe_many(urls(&["a"])).into_future()).await.unwrap();
    assert!(matches!(files[0].transcript(), Err(FileFailure::Failed { .. })));
    assert_eq!(server.count(Request::is_submit), 9);
}
