//! Every documented rule, with a request that keeps it and one that breaks it.

use super::*;
use crate::Kind;

const URL: &str = "https://example.com/a.mp3";

fn request() -> TranscriptionRequest {
    TranscriptionRequest::new([URL])
}

fn refused(request: &TranscriptionRequest) -> String {
    let error = request.body().expect_err("it breaks a rule");
    assert_eq!(error.kind(), Kind::InvalidRequest);
    error.to_string()
}

#[test]
fn a_plain_request_is_the_documented_one() {
    let body = request().channels([0]).body().unwrap();
    let documented = json!({
        "model": "fun-asr",
        "input": { "file_urls": [URL] },
        "parameters": { "channel_id": [0] },
    });
    assert_eq!(body, documented);
    assert_eq!(request().body().unwrap()["parameters"], json!({}), "parameters is always there");
}

#[test]
fn every_parameter_has_its_documented_name() {
    let filter = WordFilter::new().replace(["a"]).remove(["b"]).system_reserved(false);
    let body = request()
        .model("fun-asr-mtl")
        .vocabulary_id("v-1")
        .channels([0])
        .word_filter(&filter)
        .diarization(true)
        .speaker_count(2)
        .language_hints(["sv"])
        .speech_noise_threshold(0.5)
        .parameter("new_thing", 1)
        .body()
        .unwrap();
    let documented = json!({
        "vocabulary_id": "v-1",
        "channel_id": [0],
        "special_word_filter": "{\"filter_with_empty\":{\"word_list\":[\"b\"]},\
            \"filter_with_signed\":{\"word_list\":[\"a\"]},\"system_reserved_filter\":false}",
        "diarization_enabled": true,
        "speaker_count": 2,
        "language_hints": ["sv"],
        "speech_noise_threshold": 0.5,
        "new_thing": 1,
    });
    assert_eq!((&body["model"], &body["parameters"]), (&json!("fun-asr-mtl"), &documented));
}

#[test]
fn the_number_of_urls_is_1_to_100() {
    let many = |count| TranscriptionRequest::new(vec![URL; count]);
    assert!(many(100).body().is_ok());
    assert!(refused(&many(101)).starts_with("file_urls: "));
    assert!(refused(&many(0)).starts_with("file_urls: "));
    assert!(refused(&many(2).max_urls(1)).starts_with("file_urls: "));
}

#[test]
fn urls_are_http_and_percent_encoded_but_signed_ones_stay_as_they_are() {
    for bad in ["ftp://example.com/a", "file:///a.wav", "a.wav", "oss://bucket/a", ""] {
        assert!(refused(&TranscriptionRequest::new([bad])).starts_with("file_urls[0]: "), "{bad}");
    }
    let sent = |url| TranscriptionRequest::new([url]).body().unwrap()["input"]["file_urls"][0].clone();
    assert_eq!(sent("https://example.com/a b.mp3"), "https://example.com/a%20b.mp3");
    assert_eq!(sent("https://example.com/音.mp3"), "https://example.com/%E9%9F%B3.mp3");
    let signed = "https://example.com/a.mp3?Signature=a%2Fb~c'd";
    assert_eq!(sent(signed), signed);
}

#[test]
fn speakers_are_2_to_100_and_only_with_diarization_of_one_channel() {
    let diarized = || request().diarization(true);
    assert!(diarized().speaker_count(2).body().is_ok() && diarized().speaker_count(100).body().is_ok());
    assert!(refused(&diarized().speaker_count(1)).starts_with("speaker_count"));
    assert!(refused(&diarized().speaker_count(101)).starts_with("speaker_count"));
    assert!(refused(&request().speaker_count(2)).starts_with("speaker_count"));
    assert!(refused(&diarized().channels([0, 1])).starts_with("channel_id"));
    assert!(refused(&request().channels([])).starts_with("channel_id"));
}

#[test]
fn languages_are_those_of_the_model_unless_the_model_is_unknown() {
    assert!(request().language_hints(["ja"]).body().is_ok());
    assert!(refused(&request().language_hints(["sv"])).contains("zh, en, ja"));
    assert!(refused(&request().model("fun-asr-2025-08-25").language_hints(["ja"])).contains("zh, en"));
    assert!(request().model("fun-asr-next").language_hints(["tlh"]).body().is_ok());
}
