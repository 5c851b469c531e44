//! Source unless named otherwise: Model Studio, *Upload a file for a temporary URL*. Errors of the storage: OSS, *How to
//! handle common errors when the PostObject operation is called*.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::stream;
use reqwest::{
    Body, Method, StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use valet_sandbox::{DownloadLimits, Fault, Operation};

use crate::{
    harness::{Answer, KEY, PENDING, RUNNING, Stage, send},
    wave::one_second,
};

const OTHER_KEY: &str = "sk-other";

/// What a policy allows, and what is made of it.
struct Upload {
    data: Value,
    fields: Vec<(String, String)>,
    file: Option<Bytes>,
}

impl Upload {
    /// As documented, in the documented order, by a new policy.
    async fn new(stage: &Stage, name: &str) -> Self {
        let data = policy(stage, "action=getPolicy&model=fun-asr").await.ok()["data"].take();
        let text = |name: &str| data[name].as_str().unwrap().to_owned();
        let fields = [
            ("OSSAccessKeyId", text("oss_access_key_id")),
            ("Signature", text("signature")),
            ("policy", text("policy")),
            ("x-oss-object-acl", text("x_oss_object_acl")),
            ("x-oss-forbid-overwrite", text("x_oss_forbid_overwrite")),
            ("key", format!("{}/{name}", text("upload_dir"))),
            ("success_action_status", "200".to_owned()),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value)).into();
        Self { data, fields, file: Some(one_second()) }
    }

    fn key(&self) -> String {
        self.fields.iter().find(|(name, _)| name == "key").unwrap().1.clone()
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.fields.iter_mut().find(|(field, _)| field == name).unwrap().1 = value.to_owned();
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(field, _)| field != name);
        self
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    fn holding(self, file: impl Into<Bytes>) -> Self {
        Self { file: Some(file.into()), ..self }
    }

    fn form(&self) -> Form {
        let form = self
            .fields
            .iter()
            .fold(Form::new(), |form, (name, value)| form.text(name.clone(), value.clone()));
        match &self.file {
            Some(file) => form.part("file", Part::bytes(file.to_vec()).file_name("talk.wav")),
            None => form,
        }
    }

    /// Sends it, without any key. The status, and the body.
    async fn sent(&self, stage: &Stage) -> (u16, String) {
        let request = stage.client.post(self.data["upload_host"].as_str().unwrap()).multipart(self.form());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    #[track_caller]
    fn check(answer: &(u16, String), status: u16, code: &str, message: &str) {
        let (got, body) = answer;
        assert!(*got == status && body.contains(&format!("<Code>{code}</Code>")), "{got} {body}");
        assert!(body.contains(message), "{body}");
    }
}

async fn policy(stage: &Stage, query: &str) -> Answer {
    stage.get(&format!("/api/v1/uploads?{query}")).await
}

/// A request to transcribe a file in the storage.
fn order(url: &str, model: &str) -> Value {
    json!({ "model": model, "input": { "file_urls": [url] }, "parameters": {} })
}

async fn submit(stage: &Stage, key: &str, resolve: Option<&str>, body: &Value) -> Answer {
    let request = stage.anonymous(Method::POST, "/api/v1/services/audio/asr/transcription").bearer_auth(key);
    let request = request.header("X-DashScope-Async", "enable").json(body);
    send(match resolve {
        Some(value) => request.header("X-DashScope-OssResourceResolve", value),
        None => request,
    })
    .await
}

/// What a task with this file says in the end of its one subtask.
async fn outcome(stage: &Stage, key: &str, body: &Value) -> Value {
    let id =
        submit(stage, key, Some("enable"), body).await.ok()["output"]["task_id"].as_str().unwrap().to_owned();
    stage.finish(&id).await;
    let query = stage.anonymous(Method::GET, &format!("/api/v1/tasks/{id}")).bearer_auth(key);
    send(query).await.ok()["output"]["results"][0].take()
}

#[tokio::test]
async fn a_policy_has_the_documented_shape() {
    let stage = Stage::new().await;
    let body = policy(&stage, "action=getPolicy&model=fun-asr").await.ok();
    let data = &body["data"];
    let names: Vec<_> = data.as_object().unwrap().keys().map(String::as_str).collect();
    let documented = [
        "capacity_limit_mb",
        "expire_in_seconds",
        "max_file_size_mb",
        "oss_access_key_id",
        "policy",
        "signature",
        "upload_dir",
        "upload_host",
        "x_oss_forbid_overwrite",
        "x_oss_object_acl",
    ];
    assert_eq!(names, documented);
    assert_eq!((&data["expire_in_seconds"], &data["max_file_size_mb"]), (&json!(300), &json!(256)));
    assert_eq!(
        (&data["x_oss_object_acl"], &data["x_oss_forbid_overwrite"]),
        (&json!("private"), &json!("true"))
    );
    assert!(data["upload_dir"].as_str().unwrap().starts_with("dashscope-instant/"));
    let text = BASE64.decode(data["policy"].as_str().unwrap().as_bytes()).unwrap();
    let text: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(text["conditions"][0], json!(["content-length-range", 0, 256 << 20]));
    assert_eq!(text["conditions"][1], json!(["starts-with", "$key", data["upload_dir"]]));
}

/// A temporary token is as good as a key; `action` and `model` are demanded.
#[tokio::test]
async fn a_policy_is_for_a_known_caller_action_and_model() {
    let stage = Stage::new().await;
    let token = stage.token().await;
    let path = "/api/v1/uploads?action=getPolicy&model=fun-asr-mtl";
    send(stage.anonymous(Method::GET, path).bearer_auth(token)).await.ok();
    send(stage.anonymous(Method::GET, path)).await.refused(401, "InvalidApiKey");
    policy(&stage, "model=fun-asr").await.refused_parameter("action");
    policy(&stage, "action=upload&model=fun-asr").await.refused_parameter("action");
    policy(&stage, "action=getPolicy").await.refused_parameter("model");
    policy(&stage, "action=getPolicy&model=qwen-vl").await.refused(404, "ModelNotFound");
    policy(&stage, "action=getPolicy&model=fun-asr&x=1").await.refused_parameter("x");
}

/// 100 a second for each account and model.
#[tokio::test]
async fn policies_are_limited_by_account_and_model() {
    let stage = Stage::with(|settings| settings.with_account_key("other", OTHER_KEY)).await;
    for _ in 0..100 {
        policy(&stage, "action=getPolicy&model=fun-asr").await.ok();
    }
    policy(&stage, "action=getPolicy&model=fun-asr").await.refused(429, "Throttling.RateQuota");
    policy(&stage, "action=getPolicy&model=fun-asr-mtl").await.ok();
    let path = "/api/v1/uploads?action=getPolicy&model=fun-asr";
    send(stage.anonymous(Method::GET, path).bearer_auth(OTHER_KEY)).await.ok();
    stage.clock.advance(Duration::from_secs(1));
    policy(&stage, "action=getPolicy&model=fun-asr").await.ok();
}

#[tokio::test]
async fn an_uploaded_file_is_transcribed_by_its_oss_url() {
    let stage = Stage::new().await;
    let upload = Upload::new(&stage, "talk.wav").await;
    assert_eq!(upload.sent(&stage).await, (200, String::new()));
    let url = format!("oss://{}", upload.key());
    let result = outcome(&stage, KEY, &order(&url, "fun-asr")).await;
    assert_eq!((&result["subtask_status"], &result["file_url"]), (&json!("SUCCEEDED"), &json!(url)));
    let document = send(stage.client.get(result["transcription_url"].as_str().unwrap())).await.ok();
    assert_eq!(document["properties"]["original_duration_in_milliseconds"], 2000);
    assert_eq!(document["transcripts"][0]["text"], "The sandbox has no transcript for this recording.");
}

/// `X-DashScope-OssResourceResolve: enable` is demanded for `oss://`, and does no harm otherwise.
#[tokio::test]
async fn an_oss_url_is_taken_with_its_header_only() {
    let stage = Stage::new().await;
    let body = order("oss://dashscope-instant/a/talk.wav", "fun-asr");
    submit(&stage, KEY, Some("enable"), &body).await.ok();
    for header in [None, Some("true")] {
        let message = submit(&stage, KEY, header, &body).await.refused(400, "InvalidURL");
        assert!(message.contains("X-DashScope-OssResourceResolve"), "{message}");
    }
    let plain = order("http://example.com/a.wav", "fun-asr");
    submit(&stage, KEY, Some("enable"), &plain).await.ok();
}

/// A file is bound to the account and the model that its policy was for, and gone after 48 hours.
#[tokio::test]
async fn a_file_is_read_by_its_account_and_model_for_48_hours() {
    let stage = Stage::with(|settings| settings.with_account_key("other", OTHER_KEY)).await;
    let upload = Upload::new(&stage, "talk.wav").await;
    upload.sent(&stage).await;
    let url = format!("oss://{}", upload.key());
    for (key, url, model, code) in [
        (KEY, url.as_str(), "fun-asr", json!(null)),
        (KEY, &url, "fun-asr-mtl", json!("FILE_403_FORBIDDEN")),
        (OTHER_KEY, &url, "fun-asr", json!("FILE_403_FORBIDDEN")),
        (KEY, &format!("{url}2"), "fun-asr", json!("FILE_404_NOT_FOUND")),
    ] {
        assert_eq!(outcome(&stage, key, &order(url, model)).await["code"], code, "{url} {model}");
    }
    // The next task reads the file a second before its end.
    let tasks = 4 * (PENDING + RUNNING);
    stage.clock.advance(Duration::from_hours(48) - tasks - PENDING - Duration::from_secs(1));
    let last = outcome(&stage, KEY, &order(&url, "fun-asr")).await;
    assert_eq!(last["code"], json!(null));
    let gone = outcome(&stage, KEY, &order(&url, "fun-asr")).await;
    assert_eq!(gone["code"], "FILE_404_NOT_FOUND");
}

#[tokio::test]
async fn a_form_needs_its_key_id_and_signature() {
    let stage = Stage::new().await;
    let new = || Upload::new(&stage, "talk.wav");
    assert_eq!(new().await.sent(&stage).await.0, 200);
    let answer = new().await.set("OSSAccessKeyId", "LTAIother").sent(&stage).await;
    Upload::check(&answer, 403, "InvalidAccessKeyId", "does not exist in our records");
    for signature in ["", "AAAA", "no base64!"] {
        let answer = new().await.set("Signature", signature).sent(&stage).await;
        Upload::check(&answer, 403, "SignatureDoesNotMatch", "does not match");
    }
    let wider = BASE64.encode(br#"{"expiration":"2999-01-01T00:00:00.000Z","conditions":[]}"#);
    let answer = new().await.set("policy", &wider).sent(&stage).await;
    Upload::check(&answer, 403, "SignatureDoesNotMatch", "does not match");
}

/// `expire_in_seconds`.
#[tokio::test]
async fn a_policy_expires() {
    let stage = Stage::new().await;
    let (first, second) = (Upload::new(&stage, "a.wav").await, Upload::new(&stage, "b.wav").await);
    stage.clock.advance(Duration::from_secs(300) - Duration::from_millis(1));
    assert_eq!(first.sent(&stage).await.0, 200);
    stage.clock.advance(Duration::from_millis(1));
    Upload::check(
        &second.sent(&stage).await,
        403,
        "AccessDenied",
        "Invalid according to Policy: Policy expired.",
    );
}

/// What a policy says of a form: `upload_dir`, `x_oss_object_acl`, `x_oss_forbid_overwrite`.
#[tokio::test]
async fn a_form_keeps_to_its_policy() {
    let stage = Stage::new().await;
    let other = Upload::new(&stage, "talk.wav").await.key();
    let new = || Upload::new(&stage, "talk.wav");
    let folder = new().await.data["upload_dir"].as_str().unwrap().to_owned();
    for (field, value) in [
        ("key", other.as_str()),
        ("key", "talk.wav"),
        ("key", &folder),
        ("x-oss-object-acl", "public-read"),
        ("x-oss-forbid-overwrite", "false"),
    ] {
        let answer = new().await.set(field, value).sent(&stage).await;
        Upload::check(&answer, 403, "AccessDenied", "Policy Condition failed");
    }
    let own = new().await;
    let key = format!("{}/", own.data["upload_dir"].as_str().unwrap());
    Upload::check(&own.set("key", &key).sent(&stage).await, 403, "AccessDenied", "Policy Condition failed");
    let long = new().await;
    let key = format!("{}{}", long.key(), "x".repeat(1023));
    Upload::check(&long.set("key", &key).sent(&stage).await, 403, "AccessDenied", "Policy Condition failed");
}

/// `x-oss-forbid-overwrite: true`.
#[tokio::test]
async fn a_file_is_not_overwritten() {
    let stage = Stage::new().await;
    let upload = Upload::new(&stage, "talk.wav").await;
    assert_eq!(upload.sent(&stage).await.0, 200);
    Upload::check(&upload.sent(&stage).await, 409, "FileAlreadyExists", "can not be overwritten");
}

/// `max_file_size_mb`.
#[tokio::test]
async fn a_file_has_a_largest_size() {
    let limits =
        DownloadLimits { bytes: 1 << 20, time: Duration::from_mins(1), audio: Duration::from_hours(1) };
    let stage = Stage::with(|settings| settings.with_download_limits(limits)).await;
    let upload = Upload::new(&stage, "a.bin").await;
    assert_eq!(upload.data["max_file_size_mb"], 1);
    assert_eq!(upload.holding(vec![0; 1 << 20]).sent(&stage).await.0, 200);
    let upload = Upload::new(&stage, "b.bin").await.holding(vec![0; (1 << 20) + 1]);
    Upload::check(&upload.sent(&stage).await, 400, "EntityTooLarge", "exceeds the maximum");
}

/// The table of the form's fields (OSS, *PostObject*): `file` is the last.
#[tokio::test]
async fn a_form_has_the_documented_fields() {
    let stage = Stage::new().await;
    let new = || Upload::new(&stage, "talk.wav");
    assert_eq!(new().await.without("success_action_status").sent(&stage).await.0, 204);
    assert_eq!(new().await.with("x-oss-content-type", "audio/wav").sent(&stage).await.0, 200);
    for field in
        ["OSSAccessKeyId", "Signature", "policy", "x-oss-object-acl", "x-oss-forbid-overwrite", "key"]
    {
        let answer = new().await.without(field).sent(&stage).await;
        Upload::check(&answer, 400, "InvalidArgument", field);
    }
    let mut fileless = new().await;
    fileless.file = None;
    Upload::check(&fileless.sent(&stage).await, 400, "InvalidArgument", "file");
    for (name, value) in [("ACL", "private"), ("key", "twice")] {
        let answer = new().await.with(name, value).sent(&stage).await;
        Upload::check(&answer, 400, "InvalidArgument", name);
    }
    let answer = new().await.set("success_action_status", "302").sent(&stage).await;
    Upload::check(&answer, 400, "InvalidArgument", "success_action_status");
    let late = new().await.without("key");
    let form = late.form().text("key", "behind the file");
    let response =
        stage.client.post(late.data["upload_host"].as_str().unwrap()).multipart(form).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

/// It is a form, and its length is known.
#[tokio::test]
async fn an_upload_is_a_form_of_known_length() {
    let stage = Stage::new().await;
    let host = Upload::new(&stage, "talk.wav").await.data["upload_host"].as_str().unwrap().to_owned();
    let answer = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let plain = answer(stage.client.post(&host).body("no form")).await;
    Upload::check(&plain, 400, "MalformedPOSTRequest", "well-formed");
    let cut = stage
        .client
        .post(&host)
        .header("Content-Type", "multipart/form-data; boundary=x")
        .body("--x\r\nbroken");
    Upload::check(&answer(cut).await, 400, "MalformedPOSTRequest", "well-formed");
    let chunked = Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>("--x--")]));
    let chunked =
        stage.client.post(&host).header("Content-Type", "multipart/form-data; boundary=x").body(chunked);
    Upload::check(&answer(chunked).await, 411, "MissingContentLength", "Content-Length");
}

#[tokio::test]
async fn uploads_are_in_the_journal_and_can_fail_by_script() {
    let stage = Stage::new().await;
    stage.handle.script(Fault::on(Operation::Policy).refuse(503, "SystemError", "Try again."));
    policy(&stage, "action=getPolicy&model=fun-asr").await.refused(503, "SystemError");
    stage.handle.script(Fault::on(Operation::Upload).refuse(503, "ServiceUnavailable", "Try again."));
    let upload = Upload::new(&stage, "talk.wav").await;
    assert_eq!(upload.sent(&stage).await.0, 503);
    assert_eq!(upload.sent(&stage).await.0, 200, "it was not carried out before");
    assert_eq!((stage.handle.count(Operation::Policy), stage.handle.count(Operation::Upload)), (2, 2));
}
