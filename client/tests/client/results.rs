//! Results: each recording gets its own, in the order the URLs were named, whatever the task says.

use serde_json::Value;
use valet_client::{FileFailure, FileTranscription, Kind, TaskId, Transcript, TranscriptionRequest};
use valet_clock::ManualClock;

use crate::support::{
    Reply, Request, Server, client, failed, failure, service_error, submitted, succeeded, task, token,
    transcript, turn_until,
};

/// What came of each of `urls`, in a word: what is said, or why nothing is.
async fn outcomes(urls: &[&str], status: &'static str, results: &[Value]) -> Vec<String> {
    outcomes_with(urls, status, results, |request| {
        let name = request.path.trim_start_matches("/results/");
        transcript(name, &format!("words of {name}"))
    })
    .await
}

async fn outcomes_with(
    urls: &[&str],
    status: &'static str,
    results: &[Value],
    mut result: impl FnMut(&Request) -> Reply + Send + 'static,
) -> Vec<String> {
    let (clock, results) = (ManualClock::new(), results.to_vec());
    let server = Server::start(&clock, move |request| match request {
        request if request.is_for_token() => token(request, "st-1", 600),
        request if request.is_submit() => submitted("t-1"),
        request if request.is_query() => {
            let host = request.base_url().replace("/api/v1", "");
            let text = serde_json::to_string(&results).unwrap().replace("http://here", &host);
            let results: Vec<Value> = serde_json::from_str(&text).unwrap();
            task("t-1", status, &results)
        }
        request => result(request),
    })
    .await;
    let client = client(&server, &clock);
    let request = TranscriptionRequest::new(urls.iter().copied());
    let transcription = turn_until(&clock, client.transcribe(&request)).await.unwrap();
    let named: Vec<&str> = transcription.files().iter().map(FileTranscription::url).collect();
    assert_eq!(named, urls);
    let word = |outcome: Result<&Transcript, &FileFailure>| match outcome {
        Ok(transcript) => transcript.text(),
        Err(FileFailure::Failed { code, .. }) => format!("failed: {code}"),
        Err(FileFailure::Missing) => "missing".into(),
        Err(other) => format!("other: {other}"),
    };
    transcription.files().iter().map(|file| word(file.transcript())).collect()
}

#[tokio::test]
async fn results_in_any_order_come_back_in_the_order_of_the_urls() {
    let urls = ["https://e.com/a", "https://e.com/b", "https://e.com/c d", "https://e.com/b"];
    let results = [
        failed("https://e.com/b", "DECODE_ERROR"),
        succeeded("https://e.com/c%20d", "http://here/results/c"),
        succeeded("https://e.com/b", "http://here/results/b"),
        succeeded("https://e.com/a", "http://here/results/a"),
    ];
    let outcomes = outcomes(&urls, "SUCCEEDED", &results).await;
    assert_eq!(outcomes, ["words of a", "failed: DECODE_ERROR", "words of c", "words of b"]);
}

#[tokio::test]
async fn a_hundred_results_are_read_and_kept_apart() {
    let urls: Vec<String> = (0..100).map(|number| format!("https://e.com/{number}")).collect();
    let mut results: Vec<Value> =
        urls.iter().enumerate().map(|(n, url)| succeeded(url, &format!("http://here/results/{n}"))).collect();
    results.reverse();
    let named: Vec<&str> = urls.iter().map(String::as_str).collect();
    let expected: Vec<String> = (0..100).map(|number| format!("words of {number}")).collect();
    assert_eq!(outcomes(&named, "SUCCEEDED", &results).await, expected);
}

/// Documented once as SUCCEEDED, seen as FAILED with results.
#[tokio::test]
async fn a_task_of_which_nothing_succeeded_tells_of_each_recording() {
    let urls = ["https://e.com/a", "https://e.com/b"];
    let results = [failed(urls[1], "FILE_404_NOT_FOUND"), failed(urls[0], "InvalidFile.DownloadFailed")];
    for status in ["SUCCEEDED", "FAILED"] {
        let outcomes = outcomes(&urls, status, &results).await;
        assert_eq!(
            outcomes,
            ["failed: InvalidFile.DownloadFailed", "failed: FILE_404_NOT_FOUND"],
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_recording_without_speech_has_an_empty_transcript() {
    let urls = ["https://e.com/a", "https://e.com/b", "https://e.com/c"];
    let mut with_url = failed(urls[2], "SUCCESS_WITH_NO_VALID_FRAGMENT");
    with_url["transcription_url"] = "http://here/results/c".into();
    let results = [
        failed(urls[0], "SUCCESS_WITH_NO_VALID_FRAGMENT"),
        failed(urls[1], "ASR_RESPONSE_HAVE_NO_WORDS"),
        with_url,
    ];
    assert_eq!(outcomes(&urls, "FAILED", &results).await, ["", "", ""]);
}

#[tokio::test]
async fn a_recording_that_the_task_does_not_name_is_missing() {
    let results = [succeeded("https://e.com/a", "http://here/results/a")];
    let outcomes = outcomes(&["https://e.com/a", "https://e.com/b"], "SUCCEEDED", &results).await;
    assert_eq!(outcomes, ["words of a", "missing"]);
}

#[tokio::test]
async fn a_result_that_cannot_be_read_fails_alone_and_after_a_few_tries() {
    let urls = ["https://e.com/a", "https://e.com/b", "https://e.com/c", "https://e.com/d"];
    let results: Vec<Value> = ["a", "b", "c"]
        .iter()
        .zip(urls)
        .map(|(n, url)| succeeded(url, &format!("http://here/results/{n}")))
        .collect();
    let results = [results.as_slice(), &[succeeded(urls[3], "file:///etc/passwd")]].concat();
    let mut faults = 2;
    let outcomes = outcomes_with(&urls, "SUCCEEDED", &results, move |request| match request.path.as_str() {
        "/results/a" if faults > 0 => {
            faults -= 1;
            Reply::HangUp
        }
        "/results/a" => transcript("a", "words of a"),
        "/results/b" => Reply::raw(404, "<Error><Code>NoSuchKey</Code></Error>"),
        _ => Reply::raw(200, "[]"),
    })
    .await;
    assert_eq!(outcomes[0], "words of a");
    for outcome in &outcomes[1..] {
        assert!(outcome.starts_with("other: transcribed, but"), "{outcome}");
    }
}

#[tokio::test]
async fn a_task_that_failed_as_a_whole_is_an_error() {
    for (status, kind) in
        [("FAILED", Kind::TaskFailed), ("CANCELED", Kind::TaskFailed), ("UNKNOWN", Kind::UnknownTask)]
    {
        let clock = ManualClock::new();
        let server = Server::start(&clock, move |request| match request {
            request if request.is_for_token() => token(request, "st-1", 600),
            request if request.is_submit() => submitted("t-1"),
            request if request.is_query() => task("t-1", status, &[]),
            _ => service_error(404, "NotFound"),
        })
        .await;
        let client = client(&server, &clock);
        let request = TranscriptionRequest::new(["https://e.com/a"]);
        let error = failure(turn_until(&clock, client.transcribe(&request)).await, kind);
        assert!(error.to_string().starts_with("task t-1: "), "{error}");
        assert_eq!(error.task_id(), Some(&TaskId::from("t-1")));
    }
}
