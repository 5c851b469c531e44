//! Rules of a submit. Source unless named otherwise: Qwen Cloud, *Fun-ASR recording, RESTful API*.

use reqwest::Method;
use serde_json::{Value, json};
use valet_sandbox::Operation;

use crate::harness::{Stage, send};

const PATH: &str = "/api/v1/services/audio/asr/transcription";

fn body(parameters: Value) -> Value {
    let mut body = json!({ "model": "fun-asr", "input": { "file_urls": ["http://example.com/a.wav"] } });
    body["parameters"] = parameters;
    body
}

/// Accepts each of `taken` and refuses each of `refused`, naming the parameter.
async fn rule(parameter: &str, taken: &[Value], refused: &[Value]) {
    let stage = Stage::new().await;
    for value in taken {
        stage.submit(&body(json!({ parameter: value }))).await.ok();
    }
    for value in refused {
        let answer = stage.submit(&body(json!({ parameter: value }))).await;
        answer.refused_parameter(&format!("parameters.{parameter}"));
    }
}

#[tokio::test]
async fn a_submit_is_answered_with_a_pending_task() {
    let stage = Stage::new().await;
    let answer = stage.submit(&body(json!({}))).await.ok();
    assert_eq!(answer["output"]["task_status"], "PENDING");
    assert_eq!(answer["output"]["task_id"].as_str().unwrap().len(), 36);
    assert_eq!(answer["output"].as_object().unwrap().len(), 2);
    assert_eq!(answer.as_object().unwrap().len(), 2);
}

/// The header table: without `X-DashScope-Async: enable` the answer is 403 `AccessDenied`.
#[tokio::test]
async fn the_async_header_is_demanded_of_a_submit_and_refused_of_a_query() {
    let stage = Stage::new().await;
    stage.submit(&body(json!({}))).await.ok();
    let without = || stage.request(Method::POST, PATH).json(&body(json!({})));
    send(without()).await.refused(403, "AccessDenied");
    send(without().header("X-DashScope-Async", "true")).await.refused(403, "AccessDenied");
    let query = stage.request(Method::GET, "/api/v1/tasks/none").header("X-DashScope-Async", "enable");
    send(query).await.refused(403, "AccessDenied");
}

/// The header table: `Content-Type: application/json`.
#[tokio::test]
async fn the_body_is_a_json_object() {
    let stage = Stage::new().await;
    let with = |content_type: &'static str, body: &'static str| {
        let request = stage.request(Method::POST, PATH).header("X-DashScope-Async", "enable");
        send(request.header("Content-Type", content_type).body(body))
    };
    let good = r#"{"model":"fun-asr","input":{"file_urls":["http://h/a"]},"parameters":{}}"#;
    with("application/json; charset=utf-8", good).await.ok();
    with("text/plain", good).await.refused_parameter("Content-Type");
    with("application/json", "{").await.refused_parameter("body");
    with("application/json", "[]").await.refused_parameter("body");
}

/// The model table; *Error messages*: `ModelNotFound`, `BadRequest.EmptyModel`.
#[tokio::test]
async fn only_the_fun_asr_models_are_known() {
    let stage = Stage::new().await;
    let with = |model: Value| {
        let mut body = body(json!({}));
        body["model"] = model;
        body
    };
    for model in
        ["fun-asr", "fun-asr-2025-11-07", "fun-asr-2025-08-25", "fun-asr-mtl", "fun-asr-mtl-2025-08-25"]
    {
        stage.submit(&with(json!(model))).await.ok();
    }
    stage.submit(&with(json!("paraformer-v2"))).await.refused(404, "ModelNotFound");
    stage.submit(&with(json!(""))).await.refused(400, "BadRequest.EmptyModel");
    stage.submit(&with(json!(null))).await.refused(400, "BadRequest.EmptyModel");
    stage.submit(&with(json!(7))).await.refused_parameter("model");
}

/// `file_urls`: HTTP or HTTPS, up to 100 a request; *Error messages*: `BadRequest.EmptyInput`, `InvalidURL`.
#[tokio::test]
async fn from_1_to_100_http_urls_are_taken() {
    let stage = Stage::new().await;
    let with = |urls: Value| json!({ "model": "fun-asr", "input": { "file_urls": urls }, "parameters": {} });
    stage.submit(&with(json!(["https://example.com/a.wav"]))).await.ok();
    stage.submit(&with(json!(vec!["http://example.com/a.wav"; 100]))).await.ok();
    let many = stage.submit(&with(json!(vec!["http://example.com/a.wav"; 101]))).await;
    many.refused_parameter("input.file_urls");
    stage.submit(&with(json!([]))).await.refused(400, "BadRequest.EmptyInput");
    stage.submit(&with(json!(null))).await.refused(400, "BadRequest.EmptyInput");
    stage.submit(&json!({ "model": "fun-asr" })).await.refused(400, "BadRequest.EmptyInput");
    stage.submit(&with(json!("http://example.com/a.wav"))).await.refused_parameter("input.file_urls");
    stage.submit(&with(json!(["http://h/a", 7]))).await.refused_parameter("input.file_urls[1]");
    for url in
        ["ftp://example.com/a.wav", "oss://bucket/a.wav", "file:///a.wav", "a.wav", "data:audio/wav;base64,"]
    {
        let message = stage.submit(&with(json!(["http://h/a", url]))).await.refused(400, "InvalidURL");
        assert!(message.starts_with("input.file_urls[1]: "), "{message}");
    }
}

/// The newer HTTP page says one URL a request.
#[tokio::test]
async fn the_number_of_urls_is_a_setting() {
    let stage = Stage::with(|settings| settings.with_urls_max(1)).await;
    let with = |urls: Value| json!({ "model": "fun-asr", "input": { "file_urls": urls } });
    stage.submit(&with(json!(["http://h/a"]))).await.ok();
    stage.submit(&with(json!(["http://h/a", "http://h/b"]))).await.refused_parameter("input.file_urls");
}

#[tokio::test]
async fn an_undocumented_field_is_refused() {
    let stage = Stage::new().await;
    stage.submit(&body(json!({ "diarization_enabled": false }))).await.ok();
    stage
        .submit(&body(json!({ "diarisation_enabled": false })))
        .await
        .refused_parameter("parameters.diarisation_enabled");
    let mut outer = body(json!({}));
    outer["resources"] = json!([]);
    stage.submit(&outer).await.refused_parameter("resources");
    let mut inner = body(json!({}));
    inner["input"]["file_url"] = json!("http://h/a");
    stage.submit(&inner).await.refused_parameter("input.file_url");
    stage.submit(&body(json!([]))).await.refused_parameter("parameters");
}

#[tokio::test]
async fn vocabulary_id_is_a_string() {
    rule("vocabulary_id", &[json!("vocab-test-1234")], &[json!(""), json!(1), json!(null)]).await;
}

/// `channel_id`: list of track numbers, default `[0]`.
#[tokio::test]
async fn channel_id_is_a_list_of_tracks() {
    let taken = [json!([0]), json!([0, 1]), json!([1])];
    let refused =
        [json!([]), json!(0), json!([-1]), json!([0, 0]), json!(["0"]), json!([0.5]), json!([70000])];
    rule("channel_id", &taken, &refused).await;
}

/// `special_word_filter`: a JSON string with `filter_with_signed`, `filter_with_empty`, `system_reserved_filter`.
#[tokio::test]
async fn special_word_filter_is_json_in_a_string() {
    let full = json!({
        "filter_with_signed": { "word_list": ["test"] },
        "filter_with_empty": { "word_list": ["start", "发生"] },
        "system_reserved_filter": true,
    });
    let taken = [json!(full.to_string()), json!("{}")];
    let refused = [
        full,
        json!("not json"),
        json!(r#"{"filter_with_removal":{"word_list":["a"]}}"#),
        json!(r#"{"filter_with_signed":["a"]}"#),
        json!(r#"{"filter_with_signed":{"word_list":[" "]}}"#),
        json!(r#"{"system_reserved_filter":"yes"}"#),
    ];
    rule("special_word_filter", &taken, &refused).await;
}

/// `diarization_enabled`: single channel only.
#[tokio::test]
async fn diarization_is_for_one_channel() {
    rule("diarization_enabled", &[json!(true), json!(false)], &[json!("true"), json!(1)]).await;
    let stage = Stage::new().await;
    stage.submit(&body(json!({ "diarization_enabled": true, "channel_id": [1] }))).await.ok();
    let two = stage.submit(&body(json!({ "diarization_enabled": true, "channel_id": [0, 1] }))).await;
    two.refused_parameter("parameters.diarization_enabled");
}

/// `speaker_count`: 2 to 100, with diarization only.
#[tokio::test]
async fn speaker_count_is_from_2_to_100_with_diarization() {
    let stage = Stage::new().await;
    let with = |count: Value, diarization: bool| {
        body(json!({ "speaker_count": count, "diarization_enabled": diarization }))
    };
    for count in [2, 100] {
        stage.submit(&with(json!(count), true)).await.ok();
    }
    for count in [json!(1), json!(101), json!("2"), json!(2.5), json!(-2)] {
        stage.submit(&with(count, true)).await.refused_parameter("parameters.speaker_count");
    }
    stage.submit(&with(json!(2), false)).await.refused_parameter("parameters.speaker_count");
    stage.submit(&body(json!({ "speaker_count": 2 }))).await.refused_parameter("parameters.speaker_count");
}

/// `language_hints`: the languages in the model table.
#[tokio::test]
async fn language_hints_are_languages_of_the_model() {
    let stage = Stage::new().await;
    let with = |model: &str, hints: Value| {
        let mut body = body(json!({ "language_hints": hints }));
        body["model"] = json!(model);
        body
    };
    for (model, languages) in [
        ("fun-asr", &["zh", "en", "ja"][..]),
        ("fun-asr-2025-08-25", &["zh", "en"]),
        ("fun-asr-mtl", &["sv", "tl", "hi"]),
    ] {
        stage.submit(&with(model, json!(languages))).await.ok();
    }
    stage.submit(&with("fun-asr", json!([]))).await.ok();
    for (model, hints) in [
        ("fun-asr", json!(["ko"])),
        ("fun-asr-2025-08-25", json!(["ja"])),
        ("fun-asr-mtl", json!(["xx"])),
        ("fun-asr", json!("en")),
        ("fun-asr", json!(["en", 1])),
    ] {
        stage.submit(&with(model, hints)).await.refused_parameter("parameters.language_hints");
    }
}

#[tokio::test]
async fn speech_noise_threshold_is_a_number() {
    rule("speech_noise_threshold", &[json!(0.5), json!(-1)], &[json!("0.5"), json!(true)]).await;
}

/// *Fun-ASR recording, HTTP API*: on a workspace host a submit without `parameters` succeeds and fails later.
#[tokio::test]
async fn a_workspace_host_fails_what_has_no_parameters() {
    let bare = |url: &str| json!({ "model": "fun-asr", "input": { "file_urls": [url] } });
    for (workspace_host, status) in [(true, "FAILED"), (false, "SUCCEEDED")] {
        let stage = Stage::with(|settings| settings.with_workspace_host(workspace_host)).await;
        let url = stage.origin.file("a.wav", crate::wave::one_second());
        let id = stage.submit(&bare(&url)).await.ok()["output"]["task_id"].as_str().unwrap().to_owned();
        assert_eq!(stage.finish(&id).await["output"]["task_status"], status);
        let with = stage.transcribe(&[url], json!({})).await;
        assert_eq!(with["output"]["task_status"], "SUCCEEDED");
    }
}

/// *Rate limits*: 600 submits a minute for each account and model.
#[tokio::test]
async fn submits_are_limited_by_the_minute_and_the_model() {
    let stage = Stage::with(|settings| settings.with_submits_per_minute(2)).await;
    for _ in 0..2 {
        stage.submit(&body(json!({}))).await.ok();
    }
    stage.submit(&body(json!({}))).await.refused(429, "Throttling.RateQuota");
    let mut other = body(json!({}));
    other["model"] = json!("fun-asr-mtl");
    stage.submit(&other).await.ok();
    stage.clock.advance(std::time::Duration::from_secs(60));
    stage.submit(&body(json!({}))).await.ok();
}

#[tokio::test]
async fn a_body_beyond_a_mebibyte_is_not_read() {
    let stage = Stage::new().await;
    let request = stage.request(Method::POST, PATH).header("X-DashScope-Async", "enable");
    let sent = request.json(&"a".repeat(2 << 20)).send().await;
    // The refusal may come before the body is sent, and the sending then fails.
    assert!(sent.is_err() || sent.is_ok_and(|response| response.status() == 400));
    assert_eq!(stage.handle.count(Operation::Submit), 0);
    stage.submit(&body(json!({}))).await.ok();
}
