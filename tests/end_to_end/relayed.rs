//! A stage whose app is at the relay, and what tests do there.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use valet_demo::{StackSettings, recordings::Recordings};

use crate::{
    harness::{Answer, SECOND, SHARED, Stage, UNHURRIED, answered},
    replicas::replicas_with,
};

/// A stage whose app is at the relay, and recordings for it.
pub(crate) struct Relayed {
    pub(crate) stage: Stage,
    pub(crate) recordings: Recordings,
    /// The folder of the relay's state.
    pub(crate) state: TempDir,
}

impl Relayed {
    pub(crate) async fn new() -> Self {
        Self::with("", "").await
    }

    /// With more settings of the app, and more apps.
    pub(crate) async fn with(more: &str, others: &str) -> Self {
        Self::at(&format!("{more}\n{others}"), async |settings| {
            Stage::with(StackSettings { follow: true, ..settings }).await
        })
        .await
    }

    /// With one broker, however many the tests are run with: for what is true of one process alone.
    pub(crate) async fn of_one(more: &str) -> Self {
        Self::at(more, Stage::of_one).await
    }

    /// At so many brokers, which share their state.
    pub(crate) async fn of_replicas(count: usize, more: &str) -> Self {
        Self::of_replicas_with(count, more, "").await
    }

    /// The same, with more settings of how they share it.
    pub(crate) async fn of_replicas_with(count: usize, more: &str, shared: &str) -> Self {
        Self::at(more, async |settings| replicas_with(count, settings, shared).await).await
    }

    /// On a stage of these brokers. What they have of the relay's state is the same folder: so are their keys.
    async fn at(more: &str, stage: impl AsyncFnOnce(StackSettings) -> Stage) -> Self {
        let state = TempDir::new().unwrap();
        let app = format!("{UNHURRIED}\nmay_name_subject = true\n{more}");
        let relay = Some(state.path().to_owned());
        let settings = StackSettings { app, relay, upstream: SHARED.into(), ..StackSettings::default() };
        let recordings = recordings().await;
        Self { stage: stage(settings).await, recordings, state }
    }

    /// A relay token, for a subject if one is named.
    pub(crate) async fn token(&self, subject: Option<&str>) -> String {
        self.stage.ask_for(&json!({ "subject": subject })).await.token()
    }

    pub(crate) fn request(&self, method: Method, path: &str, bearer: &str) -> RequestBuilder {
        self.stage.request(method, &format!("/api/v1{path}")).bearer_auth(bearer)
    }

    pub(crate) async fn get(&self, path: &str, bearer: &str) -> Answer {
        answered(self.request(Method::GET, path, bearer)).await
    }

    pub(crate) fn submission(&self, urls: &[&str]) -> Value {
        json!({ "model": "fun-asr", "input": { "file_urls": urls }, "parameters": {} })
    }

    pub(crate) async fn submit(&self, bearer: &str, body: &Value) -> Answer {
        let path = "/services/audio/asr/transcription";
        let request = self.request(Method::POST, path, bearer).header("x-dashscope-async", "enable");
        answered(request.json(body)).await
    }

    /// Submits a recording; its handle.
    pub(crate) async fn submitted(&self, bearer: &str) -> String {
        let url = self.recordings.url("market.wav");
        let answer = self.submit(bearer, &self.submission(&[&url])).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["output"]["task_id"].as_str().unwrap().to_owned()
    }

    /// Turns the time until a task has ended.
    pub(crate) async fn ended(&self, handle: &str, bearer: &str) -> Value {
        loop {
            let answer = self.get(&format!("/tasks/{handle}"), bearer).await.json();
            match answer["output"]["task_status"].as_str().unwrap() {
                "PENDING" | "RUNNING" => self.stage.turn(SECOND).await,
                _ => return answer,
            }
        }
    }
}

pub(crate) async fn recordings() -> Recordings {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings");
    Recordings::serve(&folder).await.unwrap()
}

pub(crate) fn status(answer: &Answer) -> String {
    answer.json()["output"]["task_status"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

impl Relayed {
    /// Asks, in the background, to be told once the status changes.
    pub(crate) fn waiting(&self, handle: &str, bearer: &str, seconds: u32) -> JoinHandle<Answer> {
        let request = self.request(Method::GET, &format!("/tasks/{handle}"), bearer);
        tokio::spawn(answered(request.header("prefer", format!("wait={seconds}"))))
    }

    /// Asks, in the background, to be told once one of several has changed.
    pub(crate) fn waiting_for_any(&self, handles: &[String], bearer: &str) -> JoinHandle<Answer> {
        let request = self.request(Method::POST, "/tasks/wait", bearer).header("prefer", "wait=30");
        tokio::spawn(answered(request.json(&json!({ "task_ids": handles }))))
    }

    /// Waits until so many requests wait at the relay.
    pub(crate) async fn seated(&self, count: u64) {
        self.stage.metric_is("valet_relay_waiting", count).await;
    }

    /// Turns the time by steps, with exchanges in between, until something has come to its end.
    pub(crate) async fn turned<T>(&self, waiting: JoinHandle<T>, step: Duration) -> T {
        while !waiting.is_finished() {
            self.stage.page("/healthz").await;
            self.stage.clock.advance(step);
        }
        waiting.await.unwrap()
    }
}
