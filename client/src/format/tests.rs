use serde_json::json;

use super::*;

fn english() -> Transcript {
    serde_json::from_value(json!({
        "properties": { "original_duration_in_milliseconds": 3834 },
        "transcripts": [{ "channel_id": 0, "text": "Hello world.", "sentences": [{
            "begin_time": 100, "end_time": 3820, "text": "Hello world.", "sentence_id": 1, "speaker_id": 0,
            "words": [
                { "begin_time": 100, "end_time": 596, "text": "Hello ", "punctuation": "" },
                { "begin_time": 596, "end_time": 844, "text": "world", "punctuation": "." },
            ],
        }] }],
    }))
    .unwrap()
}

#[test]
fn the_documented_file_comes_out_in_each_format() {
    let transcript = english();
    let subtitles = Subtitles::of(&transcript);
    assert_eq!(subtitles.srt(), "1\n00:00:00,100 --> 00:00:00,933\nSpeaker 1: Hello world.\n\n");
    assert_eq!(subtitles.vtt(), "WEBVTT\n\n00:00:00.100 --> 00:00:00.933\n<v Speaker 1>Hello world.\n");
    assert_eq!(subtitles.tsv(), "start\tend\ttext\n100\t933\tSpeaker 1: Hello world.\n");
    assert_eq!(PlainText::of(&transcript).txt(), "Speaker 1: Hello world.\n");
    assert_eq!(PlainText::of(&transcript).speakers(false).txt(), "Hello world.\n");
    let again: Transcript = serde_json::from_str(&json(&transcript)).unwrap();
    assert_eq!(again, transcript);
}

#[test]
fn a_transcript_without_speech_has_files_without_text() {
    let transcript = Transcript::default();
    let subtitles = Subtitles::of(&transcript);
    assert_eq!((subtitles.srt().as_str(), subtitles.vtt().as_str()), ("", "WEBVTT\n"));
    assert_eq!(
        (subtitles.tsv().as_str(), PlainText::of(&transcript).txt().as_str()),
        ("start\tend\ttext\n", "")
    );
}
