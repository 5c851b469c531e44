//! Local files: put into temporary storage as documented, and never with the token.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use valet_client::{Kind, TranscriptionRequest};
use valet_clock::ManualClock;

use crate::support::{
    Reply, Request, Server, client, failure, service_error, submitted, succeeded, task, token, transcript,
    turn_until,
};

/// The documented sample, for a storage at this URL.
fn policy(request: &Request, changed: &Value) -> Reply {
    let mut data = json!({
        "policy": "eyJleHBpcm", "signature": "g5K", "upload_dir": "dashscope-instant/ab12/2024-07-18/xyz",
        "upload_host": request.base_url().replace("/api/v1", "/storage"), "expire_in_seconds": 300,
        "max_file_size_mb": 100, "capacity_limit_mb": 999_999_999, "oss_access_key_id": "LTAI",
        "x_oss_object_acl": "private", "x_oss_forbid_overwrite": "true",
    });
    data.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    Reply::json(200, &json!({ "request_id": "r", "data": data }))
}

/// Whether a request is for a policy, or is the upload itself.
fn is_for_policy(request: &Request) -> bool {
    request.path == "/api/v1/uploads"
}

fn is_upload(request: &Request) -> bool {
    request.path == "/storage"
}

fn recording(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my meeting.wav");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// The fields of a form, in order.
fn fields(request: &Request) -> Vec<(String, Vec<u8>)> {
    let kind = request.headers["content-type"].to_str().unwrap();
    let mark = format!("--{}", kind.split_once("boundary=").unwrap().1);
    let text = String::from_utf8_lossy(&request.bytes).into_owned();
    let parts = text.split(&mark).filter_map(|part| part.split_once("\r\n\r\n"));
    let name = |head: &str| head.split("name=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    parts.map(|(head, body)| (name(head), body.trim_end_matches("\r\n").as_bytes().to_vec())).collect()
}

async fn storage(clock: &ManualClock, changed: Value, replies: Vec<Reply>) -> Server {
    let mut replies = replies.into_iter();
    Server::start(clock, move |request| match request {
        request if request.is_for_token() => token(request, "st-canary", 600),
        request if is_for_policy(request) => policy(request, &changed),
        request if is_upload(request) => replies.next().unwrap_or_else(|| Reply::raw(200, "")),
        request if request.is_submit() => submitted("t-1"),
        request if request.is_query() => {
            let result = format!("{}/result", request.base_url());
            let named = "oss://dashscope-instant/ab12/2024-07-18/xyz/my_meeting.wav";
            task("t-1", "SUCCEEDED", &[succeeded(named, &result)])
        }
        _ => transcript("a", "words"),
    })
    .await
}

#[tokio::test]
async fn a_local_file_is_put_into_storage_as_documented_and_transcribed_from_there() {
    let (clock, content) = (ManualClock::new(), vec![b'x'; 200_000]);
    let (_folder, path) = recording(&content);
    let server = storage(&clock, json!({}), Vec::new()).await;
    let client = client(&server, &clock);
    let request = TranscriptionRequest::default().model("fun-asr-mtl");
    let transcription = turn_until(&clock, client.transcribe_file(&path, request)).await.unwrap();
    assert_eq!(transcription.files()[0].transcript().unwrap().text(), "words");

    let asked = server.those(is_for_policy).remove(0);
    assert_eq!((asked.query["action"].as_str(), asked.query["model"].as_str()), ("getPolicy", "fun-asr-mtl"));
    let upload = server.those(is_upload).remove(0);
    assert!(!upload.headers.contains_key("authorization") && !format!("{upload:?}").contains("st-canary"));
    assert!(upload.headers.contains_key("content-length"), "storage takes no chunked uploads");
    let fields = fields(&upload);
    let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "OSSAccessKeyId",
            "Signature",
            "policy",
            "x-oss-object-acl",
            "x-oss-forbid-overwrite",
            "key",
            "success_action_status",
            "file"
        ]
    );
    assert_eq!(fields[5].1, b"dashscope-instant/ab12/2024-07-18/xyz/my_meeting.wav");
    assert!(fields[7].1 == content, "the file arrives whole");

    let submit = server.those(Request::is_submit).remove(0);
    assert_eq!(submit.headers["x-dashscope-ossresourceresolve"], "enable");
    let named = json!(["oss://dashscope-instant/ab12/2024-07-18/xyz/my_meeting.wav"]);
    assert_eq!((&submit.body["model"], &submit.body["input"]["file_urls"]), (&json!("fun-asr-mtl"), &named));
}

#[tokio::test]
async fn an_upload_tells_how_far_it_is_and_is_repeated_with_a_new_policy() {
    let clock = ManualClock::new();
    let (_folder, path) = recording(&[b'x'; 150_000]);
    let server = storage(&clock, json!({}), vec![Reply::raw(503, "<Error/>")]).await;
    let seen: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
    let telling = Arc::clone(&seen);
    let client = client(&server, &clock);
    let upload =
        client.upload(&path).on_progress(move |sent, size| telling.lock().unwrap().push((sent, size)));
    turn_until(&clock, upload.into_future()).await.unwrap();
    assert_eq!((server.count(is_for_policy), server.count(is_upload)), (2, 2));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.last(), Some(&(150_000, 150_000)));
    assert!(seen.len() >= 6, "piece by piece: {seen:?}");
}

#[tokio::test]
async fn what_cannot_be_uploaded_is_refused_by_name() {
    let clock = ManualClock::new();
    let (_folder, path) = recording(&[b'x'; 2 << 20]);
    for (changed, kind) in [
        (json!({ "max_file_size_mb": 1 }), Kind::InvalidRequest),
        (json!({ "max_file_size_mb": "1" }), Kind::InvalidRequest),
        (json!({ "upload_host": "http://example.com" }), Kind::Malformed),
        (json!({ "policy": null }), Kind::Malformed),
    ] {
        let server = storage(&clock, changed, Vec::new()).await;
        let client = client(&server, &clock);
        failure(turn_until(&clock, client.upload(&path).into_future()).await, kind);
        assert_eq!(server.count(is_upload), 0);
    }
    let server = storage(&clock, json!({}), vec![service_error(403, "AccessDenied")]).await;
    let client = client(&server, &clock);
    failure(turn_until(&clock, client.upload(&path).into_future()).await, Kind::Refused);
    let away = client.upload(path.with_extension("no")).into_future();
    let error = failure(turn_until(&clock, away).await, Kind::InvalidRequest);
    assert!(error.to_string().starts_with("file: "), "{error}");
    let named = TranscriptionRequest::new(["https://example.com/a"]);
    failure(client.transcribe_file(&path, named).await, Kind::InvalidRequest);
}
