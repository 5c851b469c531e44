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
fn a_url_that_is_none_is_told_as_what_it_is() {
    let empty = refused(&TranscriptionRequest::new(["https://"]));
    assert!(empty.contains("is not a URL, empty host"), "{empty}");
    let file = refused(&TranscriptionRequest::new(["/a.wav"]));
    assert!(file.contains("must begin with http"), "{file}");
}

#[test]
fn a_model_has_a_name() {
    assert!(
        refused(&request().model("")).starts_with("model: ")
            && refused(&request().model(" ")).starts_with("model: ")
    );
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

#[test]
fn a_language_that_is_new_to_a_model_can_be_sent_on_purpose() {
    let body = request().language_hints(["sv"]).allow_unknown().body().unwrap();
    assert_eq!(body["parameters"]["language_hints"], json!(["sv"]));
    assert!(refused(&request().language_hints([] as [&str; 0])).starts_with("language_hints"));
    assert!(refused(&request().vocabulary_id("")).starts_with("vocabulary_id"));
    assert!(refused(&request().speech_noise_threshold(1.5)).starts_with("speech_noise_threshold"));
    assert!(refused(&request().speech_noise_threshold(f32::NAN)).starts_with("speech_noise_threshold"));
}

#[test]
fn uploads_are_read_by_the_model_they_were_made_for() {
    let uploaded = Uploaded { url: "oss://dir/a.wav".into(), model: Model::FunAsrMtl };
    let request = TranscriptionRequest::default().uploads([&uploaded]);
    let body = request.body().unwrap();
    assert_eq!(
        (&body["model"], &body["input"]["file_urls"]),
        (&json!("fun-asr-mtl"), &json!(["oss://dir/a.wav"]))
    );
    assert!(request.needs_resolving() && !self::request().needs_resolving());
    assert!(refused(&request.model("fun-asr")).starts_with("model"));
}

#[test]
fn many_urls_are_split_in_order_and_all_are_checked_first() {
    let urls: Vec<String> = (0..5).map(|number| format!("https://e.com/{number}")).collect();
    let request = TranscriptionRequest::new(&urls).max_urls(2).audio_length(Duration::from_secs(9));
    let parts = request.clone().split().unwrap();
    let places: Vec<_> = parts.iter().map(|(first, part)| (*first, part.urls().len())).collect();
    assert_eq!(places, [(0, 2), (2, 2), (4, 1)]);
    assert_eq!(parts[2].1.urls(), &urls[4..]);
    assert!(
        parts.iter().all(|(_, part)| part.known_length() == request.known_length() && part.body().is_ok())
    );
    let bad = TranscriptionRequest::new([URL, URL, "ftp://e.com"]).max_urls(1).split().unwrap_err();
    assert!(bad.to_string().starts_with("file_urls[2]"), "{bad}");
    assert!(TranscriptionRequest::default().split().is_err());
}

#[test]
fn names_that_end_as_no_format_are_told() {
    let urls =
        ["https://e.com/a.MP3?x=.txt", "https://e.com/a", "https://e.com/notes.txt", "https://e.com/v1.2/a"];
    let request = TranscriptionRequest::new(urls);
    assert_eq!(request.unlikely_formats().collect::<Vec<_>>(), ["https://e.com/notes.txt"]);
}
