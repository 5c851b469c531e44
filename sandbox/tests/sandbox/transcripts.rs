use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use valet_sandbox::{Channel, Failure, Recogniser, Recording, Sentence, Word};

use crate::{
    harness::Stage,
    origin::Reply,
    wave::{
        Part::{Silence, Sound},
        one_second, wav,
    },
};

/// A stage with two phrases, one second each, in `talk.wav`.
async fn talk() -> (Stage, String) {
    let stage = Stage::new().await;
    let parts = [Silence(500), Sound(1000), Silence(1000), Sound(1000), Silence(500)];
    let url = stage.origin.file("talk.wav", wav(8000, &[&parts]));
    (stage, url)
}

fn sentences(result: &Value) -> Vec<(u64, u64, String)> {
    let sentences = result["transcripts"][0]["sentences"].as_array().unwrap();
    let field = |sentence: &Value, name: &str| sentence[name].as_u64().unwrap();
    sentences
        .iter()
        .map(|s| (field(s, "begin_time"), field(s, "end_time"), s["text"].as_str().unwrap().to_owned()))
        .collect()
}

fn two_sentences() -> Vec<(u64, u64, String)> {
    vec![(500, 1500, "Good morning.".to_owned()), (2500, 3500, "你好，世界。".to_owned())]
}

#[tokio::test]
async fn words_come_from_the_transcript_beside_the_audio() {
    let srt =
        "1\n00:00:00,400 --> 00:00:01,700\nGood morning.\n\n2\n00:00:02,300 --> 00:00:03,600\n你好，世界。\n";
    let vtt =
        "WEBVTT\n\n00:00.400 --> 00:01.700\nGood morning.\n\n00:02.300 --> 00:03.600\n<v Ann>你好，世界。\n";
    for (name, content) in
        [("talk.txt", "Good morning.\n你好，世界。\n"), ("talk.srt", srt), ("talk.vtt", vtt)]
    {
        let (stage, url) = talk().await;
        stage.origin.file(name, content);
        let result = stage.transcript(url, json!({})).await;
        assert_eq!(sentences(&result), two_sentences(), "{name}");
        assert_eq!(result["transcripts"][0]["text"], "Good morning. 你好，世界。");
        assert_eq!(result["transcripts"][0]["sentences"][0].get("speaker_id"), None);
    }
}

#[tokio::test]
async fn without_a_transcript_the_text_says_so() {
    let (stage, url) = talk().await;
    let result = stage.transcript(url, json!({})).await;
    assert_eq!(result["transcripts"][0]["text"], "The sandbox has no transcript for this recording.");
}

#[tokio::test]
async fn a_transcript_that_cannot_be_read_fails_the_subtask() {
    let (stage, url) = talk().await;
    stage.origin.put("talk.txt", Reply::Status(500));
    assert_eq!(stage.failure(url.clone(), json!({})).await, "FILE_SERVER_ERROR");
    stage.origin.file("talk.txt", &b"\xff\xfe"[..]);
    assert_eq!(stage.failure(url.clone(), json!({})).await, "Sandbox.TranscriptUnreadable");
    stage.origin.put("talk.txt", Reply::Status(404));
    stage.origin.file("talk.srt", "1\n00:00:00 --> soon\nGood morning.\n");
    assert_eq!(stage.failure(url, json!({})).await, "Sandbox.TranscriptUnreadable");
}

#[tokio::test]
async fn each_channel_may_have_a_transcript_of_its_own() {
    let stage = Stage::new().await;
    let url = stage.origin.file("call.wav", wav(8000, &[&[Sound(1000)], &[Sound(1000)]]));
    stage.origin.file("call.txt", "Both say this.");
    stage.origin.file("call.ch1.txt", "Only the second says this.");
    let result = stage.transcript(url, json!({ "channel_id": [0, 1] })).await;
    let texts: Vec<_> = result["transcripts"].as_array().unwrap().iter().map(|t| &t["text"]).collect();
    assert_eq!(texts, ["Both say this.", "Only the second says this."]);
}

/// `speaker_id` only with diarization, which is for recordings with a single channel.
#[tokio::test]
async fn speakers_are_numbered_only_if_asked_for() {
    let (stage, url) = talk().await;
    stage.origin.file("talk.txt", "Good morning.\n你好，世界。\n");
    let result = stage.transcript(url, json!({ "diarization_enabled": true, "speaker_count": 2 })).await;
    let speakers: Vec<_> = result["transcripts"][0]["sentences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sentence| sentence["speaker_id"].as_u64().unwrap())
        .collect();
    assert_eq!(speakers, [0, 1]);
    let stereo = stage.origin.file("stereo.wav", wav(8000, &[&[Sound(1000)], &[Sound(1000)]]));
    let code = stage.failure(stereo, json!({ "diarization_enabled": true })).await;
    assert_eq!(code, "Sandbox.DiarizationNeedsOneChannel");
}

/// `special_word_filter`: masked by `*`, or removed.
#[tokio::test]
async fn filtered_words_do_not_show() {
    let (stage, url) = talk().await;
    stage.origin.file("talk.txt", "Good morning.\n你好，世界。\n");
    let filter = json!({
        "filter_with_signed": { "word_list": ["世界"] }, "filter_with_empty": { "word_list": ["morning"] },
    });
    let result = stage.transcript(url, json!({ "special_word_filter": filter.to_string() })).await;
    assert_eq!(result["transcripts"][0]["text"], "Good. 你好，**。");
}

#[derive(Debug)]
struct Parrot;

impl Recogniser for Parrot {
    fn recognise<'a>(
        &'a self,
        recording: &'a Recording,
        channel: &'a Channel,
    ) -> BoxFuture<'a, Result<Vec<Sentence>, Failure>> {
        async move {
            if recording.url().ends_with("mute.wav") {
                return Err(Failure::new("ASR_RESPONSE_HAVE_NO_WORDS", "Nothing was said."));
            }
            assert_eq!(std::fs::read(recording.path()).unwrap(), one_second());
            let (begin, end) = (channel.speech[0].begin, channel.speech[0].end);
            let word = Word { begin, end, text: "Polly".to_owned(), punctuation: "!".to_owned() };
            Ok(vec![Sentence { words: vec![word], speaker: None }])
        }
        .boxed()
    }
}

#[tokio::test]
async fn another_recogniser_can_take_the_place_of_transcripts() {
    let stage = Stage::with(|settings| settings.with_recogniser(Arc::new(Parrot))).await;
    stage.origin.file("a.txt", "Not this.");
    let result = stage.transcript(stage.origin.file("a.wav", one_second()), json!({})).await;
    assert_eq!(sentences(&result), [(500, 1500, "Polly!".to_owned())]);
    let mute = stage.failure(stage.origin.file("mute.wav", one_second()), json!({})).await;
    assert_eq!(mute, "ASR_RESPONSE_HAVE_NO_WORDS");
}
