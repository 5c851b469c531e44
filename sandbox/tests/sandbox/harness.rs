//! A sandbox on a free port, a client for it, and the clock that both the test and the sandbox go by.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use valet_clock::{ManualClock, SharedClock};
use valet_sandbox::{Sandbox, SandboxHandle, Settings};

use crate::origin::Origin;

pub(crate) const KEY: &str = "sk-test";
pub(crate) const PENDING: Duration = Duration::from_secs(5);
pub(crate) const RUNNING: Duration = Duration::from_secs(30);

pub(crate) struct Stage {
    pub(crate) clock: ManualClock,
    pub(crate) handle: SandboxHandle,
    pub(crate) origin: Origin,
    pub(crate) client: Client,
    pub(crate) root: String,
    finished: std::cell::Cell<u64>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|settings| settings).await
    }

    /// A sandbox with changed settings.
    pub(crate) async fn with(change: impl FnOnce(Settings) -> Settings) -> Self {
        Self::clocked(|settings, _| change(settings)).await
    }

    /// A sandbox with changed settings, among them what goes by its clock.
    pub(crate) async fn clocked(change: impl FnOnce(Settings, SharedClock) -> Settings) -> Self {
        let clock = ManualClock::new();
        let settings = Settings::default().with_key(KEY).with_task_time(PENDING, RUNNING);
        let sandbox =
            Sandbox::bind(change(settings, clock.handle("sandbox")), clock.handle("sandbox")).await.unwrap();
        let (handle, root) = (sandbox.handle(), format!("http://{}", sandbox.local_addr()));
        assert_eq!(sandbox.base_url(), format!("{root}/api/v1"));
        tokio::spawn(sandbox.run(std::future::pending()));
        let client = Client::builder().no_proxy().build().unwrap();
        Self { clock, handle, origin: Origin::start().await, client, root, finished: Default::default() }
    }

    /// A request with the test's key.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(KEY)
    }

    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.root))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        send(self.request(Method::POST, path)).await
    }

    /// A token minted from the test's key.
    pub(crate) async fn token(&self) -> String {
        self.post("/api/v1/tokens").await.ok()["token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn submit(&self, body: &Value) -> Answer {
        let request = self.request(Method::POST, "/api/v1/services/audio/asr/transcription");
        send(request.header("X-DashScope-Async", "enable").json(body)).await
    }

    /// Submits `urls` with `parameters`; the task's id.
    pub(crate) async fn task(&self, urls: &[String], parameters: Value) -> String {
        let body = json!({ "model": "fun-asr", "input": { "file_urls": urls }, "parameters": parameters });
        self.submit(&body).await.ok()["output"]["task_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn query(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/tasks/{id}")).await.ok()
    }

    /// Lets the time of the one task that is pending pass, and its work be done; what a query then says.
    pub(crate) async fn finish(&self, id: &str) -> Value {
        self.clock.asleep("sandbox", 1).await;
        self.clock.advance(PENDING);
        self.finished.set(self.finished.get() + 1);
        self.handle.wait_for_work(self.finished.get()).await;
        self.clock.advance(RUNNING);
        self.query(id).await
    }

    /// What a query says in the end of a task with `urls`.
    pub(crate) async fn transcribe(&self, urls: &[String], parameters: Value) -> Value {
        let id = self.task(urls, parameters).await;
        self.finish(&id).await
    }

    /// The result of a task with the one URL, which must succeed.
    pub(crate) async fn transcript(&self, url: String, parameters: Value) -> Value {
        let task = self.transcribe(&[url], parameters).await;
        let result = task["output"]["results"][0]["transcription_url"].as_str();
        let result = result.unwrap_or_else(|| panic!("no success: {task}"));
        send(self.client.get(result)).await.ok()
    }

    /// The code with which a task with the one URL fails.
    pub(crate) async fn failure(&self, url: String, parameters: Value) -> String {
        let task = self.transcribe(&[url], parameters).await;
        let result = &task["output"]["results"][0];
        assert_eq!(result["subtask_status"], "FAILED", "{task}");
        assert_eq!(task["output"]["task_status"], "FAILED", "{task}");
        assert_eq!(task["output"]["code"], result["code"], "{task}");
        result["code"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status();
    let request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    if let Some(id) = body.get("request_id") {
        assert_eq!(*id, request_id);
    }
    Answer { status, body }
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// Checks that this is the documented error body and nothing else; its message.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> String {
        assert_eq!((self.status.as_u16(), self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        let fields: Vec<&str> = self.body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["code", "message", "request_id"]);
        self.body["message"].as_str().unwrap().to_owned()
    }

    /// Checks that `field` was refused as a parameter.
    #[track_caller]
    pub(crate) fn refused_parameter(self, field: &str) {
        let message = self.refused(400, "InvalidParameter");
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
}
