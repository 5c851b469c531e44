//! A transcript: the result file of one recording, down to its words.
//!
//! Source: *Fun-ASR recording*, whose samples are right where its field tables are not.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The transcript of one recording. Empty if there was no speech in it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Transcript {
    /// The URL that the recording was submitted by.
    pub file_url: String,
    /// What the recording is.
    pub properties: Properties,
    /// What is said on each channel.
    #[serde(rename = "transcripts")]
    pub channels: Vec<Channel>,
    /// What else the file held.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a recording is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Properties {
    /// The codec, as `pcm_s16le`.
    pub audio_format: String,
    /// The channels there are, counted from 0.
    pub channels: Vec<u32>,
    /// Samples a second, in hertz.
    pub original_sampling_rate: u32,
    /// How long it is; in milliseconds in the file.
    #[serde(rename = "original_duration_in_milliseconds", with = "milliseconds")]
    pub original_duration: Duration,
    /// What else the file held.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What is said on one channel.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Channel {
    /// Which channel, counted from 0.
    pub channel_id: u32,
    /// How much of it is speech; in milliseconds in the file.
    #[serde(rename = "content_duration_in_milliseconds", with = "milliseconds")]
    pub content_duration: Duration,
    /// All of it.
    pub text: String,
    /// Its sentences, in order.
    pub sentences: Vec<Sentence>,
    /// What else the file held.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A sentence.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Sentence {
    /// When it begins, from the start of the recording; in milliseconds in the file.
    #[serde(rename = "begin_time", with = "milliseconds")]
    pub begin: Duration,
    /// When it ends.
    #[serde(rename = "end_time", with = "milliseconds")]
    pub end: Duration,
    /// What is said.
    pub text: String,
    /// Its number, counted from 1.
    pub sentence_id: u32,
    /// Who says it; only with diarization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker_id: Option<u32>,
    /// Its words, in order.
    pub words: Vec<Word>,
    /// What else the file held.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A word.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Word {
    /// When it begins, from the start of the recording; in milliseconds in the file.
    #[serde(rename = "begin_time", with = "milliseconds")]
    pub begin: Duration,
    /// When it ends.
    #[serde(rename = "end_time", with = "milliseconds")]
    pub end: Duration,
    /// The word, with the space that follows it, if one does.
    pub text: String,
    /// The punctuation that follows it.
    pub punctuation: String,
    /// What else the file held.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Transcript {
    /// All that is said, channel by channel, a line each.
    #[must_use]
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.channels.iter().map(|channel| channel.text.as_str()).collect();
        texts.join("\n")
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.iter().all(|channel| channel.text.is_empty())
    }
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The sample of *Fun-ASR recording*.
    #[test]
    fn the_documented_file_is_read_whole_and_written_again() {
        let file = json!({
            "file_url": "https://example.com/hello_world.wav",
            "properties": {
                "audio_format": "pcm_s16le", "channels": [0], "original_sampling_rate": 16000,
                "original_duration_in_milliseconds": 3834,
            },
            "transcripts": [{
                "channel_id": 0, "content_duration_in_milliseconds": 3720, "text": "Hello world.",
                "sentences": [{
                    "begin_time": 100, "end_time": 3820, "text": "Hello world.", "sentence_id": 1, "speaker_id": 0,
                    "words": [
                        { "begin_time": 100, "end_time": 596, "text": "Hello ", "punctuation": "" },
                        { "begin_time": 596, "end_time": 844, "text": "world", "punctuation": "." },
                    ],
                }],
            }],
        });
        let transcript: Transcript = serde_json::from_value(file.clone()).unwrap();
        assert_eq!(transcript.text(), "Hello world.");
        let sentence = &transcript.channels[0].sentences[0];
        assert_eq!((sentence.begin, sentence.speaker_id), (Duration::from_millis(100), Some(0)));
        assert_eq!(sentence.words[1].end, Duration::from_millis(844));
        assert!(transcript.extra.is_empty() && transcript.channels[0].extra.is_empty());
        assert!(transcript.properties.extra.is_empty() && sentence.extra.is_empty());
        assert!(sentence.words.iter().all(|word| word.extra.is_empty()), "no field is misspelt");
        assert_eq!(serde_json::to_value(&transcript).unwrap(), file);
    }
}
