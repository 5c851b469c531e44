//! Failures at the source and in the media (Model Studio, *Error messages*), and what is measured.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use valet_sandbox::{DownloadLimits, Settings};

use crate::{
    harness::Stage,
    origin::Reply,
    wave::{
        Part::{Silence, Sound},
        one_second, wav,
    },
};

fn limits(bytes: u64, audio: Duration) -> impl FnOnce(Settings) -> Settings {
    let limits = DownloadLimits { bytes, time: Duration::from_mins(10), audio };
    move |settings| settings.with_download_limits(limits)
}

#[tokio::test]
async fn a_source_that_fails_has_its_own_code() {
    let stage = Stage::new().await;
    let origin = &stage.origin;
    for (url, code) in [
        (origin.url("none.wav"), "FILE_404_NOT_FOUND"),
        (origin.put("secret.wav", Reply::Status(403)), "FILE_403_FORBIDDEN"),
        (origin.put("fault.wav", Reply::Status(503)), "FILE_SERVER_ERROR"),
        (origin.put("teapot.wav", Reply::Status(418)), "InvalidFile.DownloadFailed"),
        (origin.put("loop.wav", Reply::Redirect("/loop.wav")), "InvalidFile.DownloadFailed"),
        (origin.put("short.wav", Reply::CutShort(one_second())), "CONTENT_LENGTH_CHECK_FAILED"),
        ("http://127.0.0.1:1/a.wav".to_owned(), "InvalidFile.DownloadFailed"),
        ("http://no-such-host.invalid/a.wav".to_owned(), "InvalidFile.DownloadFailed"),
    ] {
        assert_eq!(stage.failure(url.clone(), json!({})).await, code, "{url}");
    }
}

/// *Fun-ASR recording*: a URL with spaces or Chinese must be percent-encoded.
#[tokio::test]
async fn a_url_that_is_not_percent_encoded_is_not_downloaded() {
    let stage = Stage::new().await;
    let encoded = stage.origin.file("%E5%BD%95%20%E9%9F%B3.wav", one_second());
    for name in ["录音.wav", "a b.wav"] {
        let code = stage.failure(stage.origin.url(name), json!({})).await;
        assert_eq!(code, "InvalidFile.DownloadFailed");
    }
    stage.transcript(encoded, json!({})).await;
}

#[tokio::test]
async fn a_redirect_is_followed() {
    let stage = Stage::new().await;
    stage.origin.file("real.wav", one_second());
    let url = stage.origin.put("moved.wav", Reply::Redirect("/real.wav"));
    assert_eq!(stage.transcript(url.clone(), json!({})).await["file_url"], url);
}

#[tokio::test]
async fn a_recording_that_is_none_has_its_own_code() {
    let stage = Stage::new().await;
    let wav = one_second();
    let bare = Bytes::from([&wav[..40], &[0; 4]].concat());
    for (name, content, code) in [
        ("text.mp3", Bytes::from("This is no recording at all. ".repeat(50)), "FILE_PARSE_FAILED"),
        ("empty.wav", Bytes::new(), "NO_VALID_AUDIO_ERROR"),
        ("bare.wav", bare, "NO_VALID_AUDIO_ERROR"),
        ("voice.aiff", aiff(), "FILE_CHECK_FAILED"),
        ("voice.amr", Bytes::from_static(b"#!AMR\n\x3c\x00\x00\x00"), "Sandbox.UnsupportedFormat"),
        ("film.avi", Bytes::from_static(b"RIFF\x00\x00\x00\x00AVI LIST"), "Sandbox.UnsupportedFormat"),
        ("film.flv", Bytes::from_static(b"FLV\x01\x05\x00\x00\x00\x09"), "Sandbox.UnsupportedFormat"),
        ("silence.wav", crate::wave::wav(8000, &[&[Silence(2000)]]), "SUCCESS_WITH_NO_VALID_FRAGMENT"),
    ] {
        let url = stage.origin.file(name, content);
        assert_eq!(stage.failure(url, json!({})).await, code, "{name}");
    }
}

/// A tenth of a second of AIFF, which the decoder could read and the service does not list.
fn aiff() -> Bytes {
    let mut file = b"FORM\0\0\x06\x6eAIFFCOMM\0\0\0\x12\0\x01\0\0\x03\x20\0\x10".to_vec();
    // 8000 as an 80-bit float.
    file.extend(b"\x40\x0b\xfa\0\0\0\0\0\0\0SSND\0\0\x06\x48\0\0\0\0\0\0\0\0");
    file.extend([0x20; 1600]);
    file.into()
}

/// A file that was cut off is as long as what is left of it, whatever its header promises.
#[tokio::test]
async fn a_recording_without_its_end_is_measured_as_it_is() {
    let stage = Stage::new().await;
    let whole = one_second();
    let url = stage.origin.file("cut.wav", whole.slice(..44 + (whole.len() - 44) / 2));
    let result = stage.transcript(url, json!({})).await;
    assert_eq!(result["properties"]["original_duration_in_milliseconds"], 1000);
    assert_eq!(result["transcripts"][0]["content_duration_in_milliseconds"], 500);
}

/// *Fun-ASR recording*: at most 2 GB and 12 hours; the limits are settings.
#[tokio::test]
async fn a_recording_beyond_the_limits_is_refused() {
    let wav = one_second();
    let size = wav.len() as u64;
    for (bytes, audio, code) in [
        (size, Duration::from_secs(2), None),
        (size - 1, Duration::from_secs(2), Some("FILE_TOO_LARGE")),
        (size, Duration::from_millis(1999), Some("AUDIO_DURATION_TOO_LONG")),
    ] {
        let stage = Stage::with(limits(bytes, audio)).await;
        let task = stage.transcribe(&[stage.origin.file("a.wav", wav.clone())], json!({})).await;
        assert_eq!(task["output"]["results"][0].get("code").and_then(Value::as_str), code);
    }
}

/// The properties and the times of the result are the signal's, whatever the name says.
#[tokio::test]
async fn what_a_result_says_of_the_audio_is_measured() {
    let stage = Stage::new().await;
    let left = [Silence(1000), Sound(1500), Silence(1500)];
    let right = [Sound(500), Silence(2000), Sound(1500)];
    let url = stage.origin.file("two.mp3", wav(16_000, &[&left, &right]));
    let result = stage.transcript(url.clone(), json!({ "channel_id": [1, 0] })).await;
    assert_eq!(
        result["properties"],
        json!({
            "audio_format": "pcm_s16le",
            "channels": [0, 1],
            "original_sampling_rate": 16_000,
            "original_duration_in_milliseconds": 4000,
        })
    );
    let transcripts = result["transcripts"].as_array().unwrap();
    let speech: Vec<_> = transcripts
        .iter()
        .map(|t| (t["channel_id"].as_u64(), t["content_duration_in_milliseconds"].as_u64()))
        .collect();
    assert_eq!(speech, [(Some(1), Some(2000)), (Some(0), Some(1500))]);
    assert_eq!(transcripts[1]["sentences"][0]["begin_time"], 1000);
    assert_eq!(transcripts[1]["sentences"][0]["end_time"], 2500);

    // Each track is billed: 3.5 s of speech count as 4.
    let task = stage.transcribe(&[url], json!({ "channel_id": [0, 1] })).await;
    assert_eq!(task["usage"]["duration"], 4);
}

#[tokio::test]
async fn a_channel_that_is_not_there_is_not_made_up() {
    let stage = Stage::new().await;
    let url = stage.origin.file("a.wav", one_second());
    assert_eq!(stage.failure(url.clone(), json!({ "channel_id": [1] })).await, "Sandbox.NoSuchChannel");
    let result = stage.transcript(url, json!({ "channel_id": [0] })).await;
    assert_eq!(result["transcripts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_silent_channel_beside_a_speaking_one_is_empty() {
    let stage = Stage::new().await;
    let url = stage.origin.file("half.wav", wav(8000, &[&[Sound(1000)], &[Silence(1000)]]));
    let result = stage.transcript(url.clone(), json!({ "channel_id": [0, 1] })).await;
    let silent =
        json!({ "channel_id": 1, "content_duration_in_milliseconds": 0, "text": "", "sentences": [] });
    assert_eq!(result["transcripts"][1], silent);
    let code = stage.failure(url, json!({ "channel_id": [1] })).await;
    assert_eq!(code, "SUCCESS_WITH_NO_VALID_FRAGMENT");
}

/// The repository's own recordings, one of each format, made by other tools than the sandbox's decoder.
#[tokio::test]
async fn recordings_of_all_formats_are_decoded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings");
    let expected = std::fs::read(folder.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
    let stage = Stage::new().await;
    for (name, format, rate, text) in [
        ("market.wav", "pcm_s16le", 8000, "market.txt"),
        ("train.mp3", "mp3", 16_000, "train.srt"),
        ("library.ogg", "vorbis", 16_000, "library.txt"),
        ("weather.flac", "flac", 16_000, "weather.txt"),
        ("museum.m4a", "aac", 16_000, "museum.vtt"),
    ] {
        let duration = expected[name]["duration_ms"].as_u64().unwrap();
        stage.origin.file(text, std::fs::read(folder.join(text)).unwrap());
        let url = stage.origin.file(name, std::fs::read(folder.join(name)).unwrap());
        let result = stage.transcript(url, json!({})).await;
        let properties = &result["properties"];
        assert_eq!(properties["audio_format"], format, "{name}");
        assert_eq!(properties["original_sampling_rate"], rate, "{name}");
        let measured = properties["original_duration_in_milliseconds"].as_u64().unwrap();
        // An AAC decoder without edit lists shows the encoder's padding.
        assert!(measured.abs_diff(duration) <= 128, "{name}: {measured} ms");
        let transcript = &result["transcripts"][0];
        assert_eq!(transcript["sentences"].as_array().unwrap().len(), 2, "{name}");
        let speech = transcript["content_duration_in_milliseconds"].as_u64().unwrap();
        assert!(speech > duration / 2 && speech < duration, "{name}: {speech} ms of speech");
    }
    let broken = stage.origin.file("broken.mp3", std::fs::read(folder.join("broken.mp3")).unwrap());
    assert_eq!(stage.failure(broken, json!({})).await, "FILE_PARSE_FAILED");
}
