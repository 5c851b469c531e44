//! The result file, in the vendor's shape (sample in Qwen Cloud, *Fun-ASR recording, RESTful API*).

use serde::Serialize;

use crate::{
    media::{Decoded, Segment},
    recognise::{Sentence, Word, full_text},
};

/// The file behind a `transcription_url`. All times are in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    file_url: &'a str,
    properties: Properties<'a>,
    transcripts: Vec<Transcript>,
}

#[derive(Debug, Serialize)]
struct Properties<'a> {
    audio_format: &'a str,
    channels: Vec<usize>,
    original_sampling_rate: u32,
    original_duration_in_milliseconds: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Transcript {
    channel_id: u16,
    content_duration_in_milliseconds: u64,
    text: String,
    sentences: Vec<SentenceEntry>,
}

#[derive(Debug, Serialize)]
struct SentenceEntry {
    begin_time: u64,
    end_time: u64,
    text: String,
    sentence_id: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    speaker_id: Option<u16>,
    words: Vec<WordEntry>,
}

#[derive(Debug, Serialize)]
struct WordEntry {
    begin_time: u64,
    end_time: u64,
    text: String,
    punctuation: String,
}

impl<'a> Document<'a> {
    pub(crate) fn new(file_url: &'a str, audio: &'a Decoded, transcripts: Vec<Transcript>) -> Self {
        let properties = Properties {
            audio_format: audio.codec,
            channels: (0..audio.channels.len()).collect(),
            original_sampling_rate: audio.sampling_rate,
            original_duration_in_milliseconds: audio.duration,
        };
        Self { file_url, properties, transcripts }
    }

    /// The speech in all its transcripts.
    pub(crate) fn speech(&self) -> u64 {
        self.transcripts.iter().map(|transcript| transcript.content_duration_in_milliseconds).sum()
    }
}

impl Transcript {
    pub(crate) fn new(channel_id: u16, speech: &[Segment], sentences: Vec<Sentence>) -> Self {
        Self {
            channel_id,
            content_duration_in_milliseconds: speech.iter().map(|segment| segment.length()).sum(),
            text: full_text(&sentences),
            sentences: (1..).zip(sentences).map(|(id, sentence)| SentenceEntry::new(id, sentence)).collect(),
        }
    }
}

impl SentenceEntry {
    fn new(sentence_id: usize, sentence: Sentence) -> Self {
        Self {
            begin_time: sentence.begin(),
            end_time: sentence.end(),
            text: sentence.text(),
            sentence_id,
            speaker_id: sentence.speaker,
            words: sentence.words.into_iter().map(WordEntry::from).collect(),
        }
    }
}

impl From<Word> for WordEntry {
    fn from(word: Word) -> Self {
        Self { begin_time: word.begin, end_time: word.end, text: word.text, punctuation: word.punctuation }
    }
}
