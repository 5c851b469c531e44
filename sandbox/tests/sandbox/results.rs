//! Source: Qwen Cloud, *Fun-ASR recording, RESTful API*, recognition result.

use std::time::Duration;

use serde_json::json;

use crate::{
    harness::{Stage, send},
    wave::one_second,
};

async fn result_url(stage: &Stage) -> String {
    stage.origin.file("a.txt", "Hello world, this is Alibaba Speech Lab.");
    let task = stage.transcribe(&[stage.origin.file("a.wav", one_second())], json!({})).await;
    task["output"]["results"][0]["transcription_url"].as_str().unwrap().to_owned()
}

/// The sample, field by field.
#[tokio::test]
async fn a_result_has_the_documented_shape() {
    let stage = Stage::new().await;
    let result = send(stage.client.get(result_url(&stage).await)).await.ok();
    let words = [
        (500, 656, "Hello ", ""),
        (656, 812, "world", ", "),
        (812, 937, "this ", ""),
        (937, 1000, "is ", ""),
        (1000, 1218, "Alibaba ", ""),
        (1218, 1406, "Speech ", ""),
        (1406, 1500, "Lab", "."),
    ];
    let words = words.map(|(begin, end, text, punctuation)| {
        json!({ "begin_time": begin, "end_time": end, "text": text, "punctuation": punctuation })
    });
    assert_eq!(
        result,
        json!({
            "file_url": stage.origin.url("a.wav"),
            "properties": {
                "audio_format": "pcm_s16le",
                "channels": [0],
                "original_sampling_rate": 8000,
                "original_duration_in_milliseconds": 2000,
            },
            "transcripts": [{
                "channel_id": 0,
                "content_duration_in_milliseconds": 1000,
                "text": "Hello world, this is Alibaba Speech Lab.",
                "sentences": [{
                    "begin_time": 500,
                    "end_time": 1500,
                    "text": "Hello world, this is Alibaba Speech Lab.",
                    "sentence_id": 1,
                    "words": words,
                }],
            }],
        })
    );
}

/// The URL is signed: it is read without a header, and another name leads nowhere.
#[tokio::test]
async fn a_result_is_read_by_its_url_alone() {
    let stage = Stage::new().await;
    let url = result_url(&stage).await;
    send(stage.client.get(&url)).await.ok();
    send(stage.client.get(&url).bearer_auth(crate::harness::KEY)).await.refused_parameter("Authorization");
    let other = format!("{}0", &url[..url.len() - 1]);
    let other = if other == url { format!("{}1", &url[..url.len() - 1]) } else { other };
    send(stage.client.get(other)).await.refused(404, "NotFound");
    assert!(!format!("{:?}", stage.handle.journal()).contains(url.rsplit('/').next().unwrap()));
}

/// Result URLs are valid for 24 hours.
#[tokio::test]
async fn a_result_is_gone_after_its_time() {
    let stage = Stage::with(|settings| settings.with_results_ttl(Duration::from_mins(5))).await;
    let url = result_url(&stage).await;
    stage.clock.advance(Duration::from_mins(5) - Duration::from_millis(1));
    send(stage.client.get(&url)).await.ok();
    stage.clock.advance(Duration::from_millis(1));
    send(stage.client.get(&url)).await.refused(404, "NotFound");
}

#[tokio::test]
async fn results_stand_below_the_public_url() {
    let public = "https://sandbox.example.com/".parse().unwrap();
    let stage = Stage::with(|settings| settings.with_public_url(public)).await;
    assert!(result_url(&stage).await.starts_with("https://sandbox.example.com/results/"));
}
