//! Bodies as they are documented.

use serde_json::{Value, json};

use super::{Reply, Request};

/// A broker's token for the server that was asked, as `POST /v1/tokens` answers.
pub(crate) fn token(request: &Request, token: &str, expires_in: u64) -> Reply {
    Reply::json(
        200,
        &json!({
            "token": token, "token_type": "Bearer", "expires_in": expires_in, "expires_at": 1_744_080_369,
            "base_url": request.base_url(), "mode": "direct", "queries_per_second": 20.0,
        }),
    )
}

/// A broker's token for its own relay, at the server that was asked.
pub(crate) fn relay_token(request: &Request, expires_in: u64) -> Reply {
    Reply::json(
        200,
        &json!({
            "token": "r-1", "token_type": "Bearer", "expires_in": expires_in, "expires_at": 1_744_080_369,
            "base_url": request.base_url(), "mode": "relay",
        }),
    )
}

/// A broker's refusal (RFC 9457).
pub(crate) fn problem(status: u16, code: &str) -> Reply {
    let detail = format!("a scripted {code}");
    Reply::json(
        status,
        &json!({
            "type": format!("https://example.com/errors#{code}"), "title": code, "status": status,
            "detail": detail, "code": code, "request_id": "req-b",
        }),
    )
}

/// A refusal of the service (*Error messages*).
pub(crate) fn service_error(status: u16, code: &str) -> Reply {
    let message = format!("a scripted {code}");
    Reply::json(status, &json!({ "code": code, "message": message, "request_id": "req-s" }))
}

/// The answer to a submit (*Fun-ASR recording, RESTful API*).
pub(crate) fn submitted(id: &str) -> Reply {
    task(id, "PENDING", &[])
}

/// The answer to a query (*Manage asynchronous tasks*).
pub(crate) fn task(id: &str, status: &str, results: &[Value]) -> Reply {
    let mut output = json!({ "task_id": id, "task_status": status });
    if !results.is_empty() {
        output["results"] = results.into();
    }
    Reply::json(200, &json!({ "request_id": "req-q", "output": output }))
}

/// The result of a file that was transcribed.
pub(crate) fn succeeded(url: &str, transcription_url: &str) -> Value {
    json!({ "file_url": url, "transcription_url": transcription_url, "subtask_status": "SUCCEEDED" })
}

/// The result of a file that was not.
pub(crate) fn failed(url: &str, code: &str) -> Value {
    json!({ "file_url": url, "code": code, "message": "a scripted failure", "subtask_status": "FAILED" })
}

/// A result file in which `text` is said.
pub(crate) fn transcript(url: &str, text: &str) -> Reply {
    Reply::json(200, &json!({ "file_url": url, "transcripts": [{ "channel_id": 0, "text": text }] }))
}
