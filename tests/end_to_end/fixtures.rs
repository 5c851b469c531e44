//! The samples of the vendor's documentation: broker, client and sandbox use these names and no others.

use std::{collections::BTreeSet, path::Path};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use valet_client::{Kind, Status, Task, Transcript, TranscriptionRequest};
use valet_demo::recordings::Recordings;
use valet_sandbox::{Fault, Operation};

use crate::harness::{SECOND, Stage, answered, answered_elsewhere, promptly};

const MINT: &str = include_str!("../fixtures/mint.json");
const ERROR: &str = include_str!("../fixtures/error.json");
const SUBMIT_REQUEST: &str = include_str!("../fixtures/submit_request.json");
const SUBMIT: &str = include_str!("../fixtures/submit.json");
const TASK: &str = include_str!("../fixtures/task.json");
const LIST: &str = include_str!("../fixtures/list.json");
const TRANSCRIPT: &str = include_str!("../fixtures/transcript.json");

/// Every field there is, by its path; the items of a list count as one.
fn fields(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    let path = format!("{path}.{name}");
                    walk(value, &path, found);
                    found.insert(path);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, path, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(value, "", &mut found);
    found
}

fn documented(fixture: &str) -> BTreeSet<String> {
    fields(&serde_json::from_str(fixture).unwrap())
}

/// The sandbox, called without a client of ours.
struct Upstream<'s> {
    stage: &'s Stage,
    http: Client,
}

impl<'s> Upstream<'s> {
    fn of(stage: &'s Stage) -> Self {
        Self { stage, http: Client::builder().no_proxy().build().unwrap() }
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.stage.stack.sandbox_url);
        self.http.request(method, url).bearer_auth(&self.stage.stack.sandbox_key)
    }

    async fn get(&self, path: &str) -> Value {
        answered_elsewhere(self.call(Method::GET, path)).await.json()
    }
}

#[tokio::test]
async fn the_sandbox_answers_with_the_documented_fields() {
    let stage = Stage::new().await;
    let upstream = Upstream::of(&stage);
    let minted = answered_elsewhere(upstream.call(Method::POST, "/tokens?expire_in_seconds=60")).await;
    assert_eq!(fields(&minted.json()), documented(MINT));
    let wrong = upstream.http.post(format!("{}/tokens", stage.stack.sandbox_url)).bearer_auth("sk-wrong");
    let refused = answered_elsewhere(wrong).await;
    assert_eq!(fields(&refused.json()), documented(ERROR));

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings");
    let recordings = Recordings::serve(&folder).await.unwrap();
    let urls = [recordings.url("market.wav"), recordings.url("missing.wav")];
    let body = json!({ "model": "fun-asr", "input": { "file_urls": urls }, "parameters": { "diarization_enabled": true } });
    let submit = upstream.call(Method::POST, "/services/audio/asr/transcription");
    let submitted = answered_elsewhere(submit.header("X-DashScope-Async", "enable").json(&body)).await.json();
    assert_eq!(fields(&submitted), documented(SUBMIT));
    stage.clock.advance(SECOND * 60);
    promptly(stage.stack.sandbox.wait_for_work(1)).await;
    let id = submitted["output"]["task_id"].as_str().unwrap();
    let task = upstream.get(&format!("/tasks/{id}")).await;
    assert_eq!(fields(&task), documented(TASK));
    assert_eq!(fields(&upstream.get("/tasks/").await), documented(LIST));
    let result = task["output"]["results"][0]["transcription_url"].as_str().unwrap();
    let transcript = answered_elsewhere(upstream.http.get(result)).await.json();
    assert_eq!(fields(&transcript), documented(TRANSCRIPT));
    stage.stop().await;
}

#[tokio::test]
async fn the_broker_reads_the_documented_token_and_answers_in_its_shape() {
    let stage = Stage::new().await;
    stage.stack.sandbox.script(Fault::on(Operation::Mint).replace(200, "application/json", MINT));
    let sample: Value = serde_json::from_str(MINT).unwrap();
    let answer = answered(stage.dashscope("")).await;
    assert_eq!(answer.json()["token"], sample["token"]);
    assert_eq!(fields(&answer.json()), documented(MINT));
    let refused = answered(stage.request(Method::POST, "/api/v1/tokens")).await;
    assert_eq!(fields(&refused.json()), documented(ERROR));
    assert_eq!(refused.json()["code"], "InvalidApiKey");
    stage.stop().await;
}

#[tokio::test]
async fn the_client_sends_the_documented_request_and_reads_the_documented_refusal() {
    let stage = Stage::new().await;
    let client = stage.stack.client();
    let sample: Value = serde_json::from_str(SUBMIT_REQUEST).unwrap();
    let urls = [sample["input"]["file_urls"][0].as_str().unwrap()];
    let task = promptly(client.submit(&TranscriptionRequest::new(urls).channels([0]))).await.unwrap();
    let journal = stage.stack.sandbox.journal();
    let submit = journal.iter().find(|entry| entry.operation == Operation::Submit).unwrap();
    assert_eq!(submit.body, Some(sample));
    stage.stack.sandbox.script(Fault::on(Operation::Query).replace(401, "application/json", ERROR).always());
    let error = promptly(client.fetch(task.id())).await.unwrap_err();
    let sample: Value = serde_json::from_str(ERROR).unwrap();
    assert_eq!((error.kind(), error.status()), (Kind::Credentials, Some(401)));
    assert_eq!(error.code(), sample["code"].as_str());
    assert_eq!(error.request_id(), sample["request_id"].as_str());
    stage.stop().await;
}

#[test]
fn the_client_reads_the_documented_answers_whole() {
    let submitted: Task = serde_json::from_str(SUBMIT).unwrap();
    assert_eq!(submitted.status(), &Status::Pending);
    assert!(submitted.extra.is_empty() && submitted.output.extra.is_empty());

    let task: Task = serde_json::from_str(TASK).unwrap();
    let [success, failure] = task.results() else { panic!("{:?}", task.results()) };
    assert_eq!((task.status(), &failure.subtask_status), (&Status::Succeeded, &Status::Failed));
    assert!(success.transcription_url.is_some() && failure.code.is_some() && failure.message.is_some());
    assert_eq!(
        task.output.task_metrics.as_ref().map(|metrics| (metrics.total, metrics.failed)),
        Some((2, 1))
    );
    assert_eq!(fields(&serde_json::to_value(&task).unwrap()), documented(TASK));
    assert!(
        task.extra.is_empty()
            && task.output.extra.is_empty()
            && task.usage.as_ref().unwrap().extra.is_empty()
    );
    assert!(success.extra.is_empty() && failure.extra.is_empty());

    let transcript: Transcript = serde_json::from_str(TRANSCRIPT).unwrap();
    let [channel] = &*transcript.channels else { panic!("{:?}", transcript.channels) };
    let sentence = &channel.sentences[0];
    assert_eq!((transcript.text(), sentence.speaker_id), ("Hello world.".into(), Some(0)));
    assert!(
        transcript.extra.is_empty() && transcript.properties.extra.is_empty() && channel.extra.is_empty()
    );
    assert!(sentence.extra.is_empty() && sentence.words.iter().all(|word| word.extra.is_empty()));
    assert_eq!(
        serde_json::to_value(&transcript).unwrap(),
        serde_json::from_str::<Value>(TRANSCRIPT).unwrap()
    );
}
