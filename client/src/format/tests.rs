use std::time::Duration;

use serde_json::json;

use super::*;
use crate::transcript::{Channel, Properties, Sentence, Word};

mod examples;
mod files;
mod laws;
mod samples;
mod web;

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// A word with the punctuation that follows it.
fn word(begin: u64, end: u64, text: &str, punctuation: &str) -> Word {
    let (text, punctuation) = (text.to_owned(), punctuation.to_owned());
    Word { begin: ms(begin), end: ms(end), text, punctuation, ..Word::default() }
}

/// A sentence of some words, from the begin of the first to the end of the last.
fn sentence(words: Vec<Word>) -> Sentence {
    let text = words.iter().flat_map(|word| [word.text.as_str(), &word.punctuation]).collect();
    let (begin, end) = (words[0].begin, words[words.len() - 1].end);
    Sentence { begin, end, text, words, ..Sentence::default() }
}

/// A sentence whose words are parted by `|` and spoken one after another, 60 ms a
/// narrow character and 200 ms a wide one.
fn said(begin: u64, text: &str) -> Sentence {
    let mut at = begin;
    sentence(text.split('|').map(|text| said_word(&mut at, text)).collect())
}

fn said_word(at: &mut u64, text: &str) -> Word {
    let bare = text.trim_end_matches(|c: char| c.is_ascii_punctuation() || "、，。？！".contains(c));
    let begin = *at;
    *at += text.chars().map(|c| if clean::is_wide(c) { 200 } else { 60 }).sum::<u64>();
    word(begin, *at, bare, &text[bare.len()..])
}

fn by(speaker: u32, mut sentence: Sentence) -> Sentence {
    sentence.speaker_id = Some(speaker);
    sentence
}

fn channel(channel_id: u32, sentences: Vec<Sentence>) -> Channel {
    let text = sentences.iter().map(|sentence| sentence.text.as_str()).collect();
    Channel { channel_id, text, sentences, ..Channel::default() }
}

/// A recording that lasts `length` milliseconds.
fn recording(length: u64, channels: Vec<Channel>) -> Transcript {
    let properties = Properties { original_duration: ms(length), ..Properties::default() };
    Transcript { properties, channels, ..Transcript::default() }
}

/// A recording of one channel.
fn mono(sentences: Vec<Sentence>) -> Transcript {
    recording(0, vec![channel(0, sentences)])
}

/// The sample of *Fun-ASR recording*.
fn documented() -> Transcript {
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
