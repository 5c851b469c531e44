//! What is submitted: read strictly, checked, and built anew. Nothing that is not named here goes upstream.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::file_url;
use crate::{issue::Unreadable, policy::Submitted};

/// The longest free text of a parameter, in bytes: a list of sensitive words is the longest of them.
const LONGEST_TEXT: usize = 64 << 10;

/// The body of a submit (*Fun-ASR recording*).
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submission {
    pub(super) model: String,
    input: Input,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Input {
    file_urls: Vec<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    vocabulary_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_id: Option<Vec<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    special_word_filter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diarization_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speaker_count: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language_hints: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speech_noise_threshold: Option<f64>,
}

/// What `special_word_filter` is the JSON of (*Fun-ASR recording*).
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SpecialWords {
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_with_signed: Option<Words>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_with_empty: Option<Words>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_reserved_filter: Option<bool>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Words {
    word_list: Vec<String>,
}

impl Submission {
    /// Reads a body. With `private`, recordings may lie on hosts that are not public.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(body: &[u8], private: bool) -> Result<(Self, Vec<String>), Unreadable> {
        let mut submission: Self = serde_json::from_slice(body)
            .map_err(|error| Unreadable::Body(format!("the body cannot be read: {}", told(&error))))?;
        let urls = &submission.input.file_urls;
        if urls.is_empty() {
            return Err(wrong("input.file_urls", "is empty"));
        }
        let mut hosts = Vec::with_capacity(urls.len());
        for (index, url) in urls.iter().enumerate() {
            let host = file_url::host(url, private)
                .map_err(|problem| wrong(&format!("input.file_urls[{index}]"), problem))?;
            hosts.push(host);
        }
        submission.parameters.check()?;
        submission.parameters.rebuild_filter()?;
        Ok((submission, hosts))
    }

    /// What the policy has to know of it.
    pub(super) fn submitted<'s>(&'s self, hosts: &'s [String]) -> Submitted<'s> {
        Submitted { model: &self.model, hosts, vocabulary: self.parameters.vocabulary_id.as_deref() }
    }

    /// The most seconds of audio that it may be of, if a recording has at most so many: each channel is billed
    /// (*Fun-ASR recording*).
    pub(super) fn most_seconds(&self, of_a_file: u64) -> u64 {
        let channels = self.parameters.channel_id.as_ref().map_or(1, Vec::len);
        let tracks = self.input.file_urls.len().saturating_mul(channels);
        of_a_file.saturating_mul(u64::try_from(tracks).unwrap_or(u64::MAX))
    }

    /// The body that goes upstream; `parameters` is there even if it is empty (*Fun-ASR recording*).
    pub(super) fn body(&self) -> Value {
        json!({ "model": self.model, "input": self.input, "parameters": self.parameters })
    }
}

impl Parameters {
    fn check(&self) -> Result<(), Unreadable> {
        let channels = self.channel_id.as_deref().unwrap_or(&[0]);
        if channels.is_empty() || channels.len() > 32 || has_twice(channels) {
            return Err(wrong("parameters.channel_id", "must list 1 to 32 channels, each once"));
        }
        if self.diarization_enabled == Some(true) && channels.len() > 1 {
            return Err(wrong("parameters.diarization_enabled", "is for one channel alone"));
        }
        if self.speaker_count.is_some_and(|count| !(2..=100).contains(&count)) {
            return Err(wrong("parameters.speaker_count", "must be 2 to 100"));
        }
        let hints = self.language_hints.as_deref().unwrap_or_default();
        if hints.len() > 64 || hints.iter().any(|hint| !(2..=16).contains(&hint.len()) || !is_plain(hint)) {
            return Err(wrong("parameters.language_hints", "must be codes of languages, as \"zh\""));
        }
        if self.vocabulary_id.as_ref().is_some_and(|id| !(1..=128).contains(&id.len()) || !is_plain(id)) {
            return Err(wrong("parameters.vocabulary_id", "must be a vocabulary's id"));
        }
        if self.speech_noise_threshold.is_some_and(|threshold| !threshold.is_finite()) {
            return Err(wrong("parameters.speech_noise_threshold", "must be a number"));
        }
        Ok(())
    }

    /// Text in which there is JSON: it too is read strictly, and built anew.
    fn rebuild_filter(&mut self) -> Result<(), Unreadable> {
        let Some(text) = &self.special_word_filter else { return Ok(()) };
        let words: Option<SpecialWords> = Some(text)
            .filter(|text| text.len() <= LONGEST_TEXT)
            .and_then(|text| serde_json::from_str(text).ok());
        let problem = "must be JSON text of filter_with_signed and filter_with_empty, each with a word_list, and \
                       system_reserved_filter";
        let words = words.ok_or_else(|| wrong("parameters.special_word_filter", problem))?;
        self.special_word_filter = Some(serde_json::to_string(&words).expect("plain fields serialize"));
        Ok(())
    }
}

fn has_twice(channels: &[u16]) -> bool {
    channels.iter().enumerate().any(|(place, channel)| channels[..place].contains(channel))
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn wrong(field: &str, problem: &str) -> Unreadable {
    Unreadable::Field { field: field.to_owned(), problem: problem.to_owned() }
}

/// What a parser says, without what a caller wrote: it may be a secret in the wrong place.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // Behind it there are the place once more, and names of ours.
    let text = text.split(" at line ").next().unwrap_or_default();
    let kind = text.split([':', '`', '"', ',']).next().unwrap_or_default().trim();
    format!("{kind}, line {}, column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Value, String> {
        let read = Submission::read(body.as_bytes(), false);
        read.map(|(submission, _)| submission.body()).map_err(|wrong| wrong.to_string())
    }

    fn with(parameters: &str) -> Result<Value, String> {
        read(&format!(
            r#"{{"model":"fun-asr","input":{{"file_urls":["https://files.example.com/a.wav"]}},"parameters":{parameters}}}"#
        ))
    }

    #[test]
    fn what_is_known_is_built_anew_and_parameters_are_always_there() {
        let bare = read(r#"{"model":"fun-asr","input":{"file_urls":["https://files.example.com/a.wav"]}}"#);
        assert_eq!(bare.unwrap()["parameters"], json!({}));
        let all = json!({
            "vocabulary_id": "v-1", "channel_id": [0], "special_word_filter": "{}", "diarization_enabled": true,
            "speaker_count": 2, "language_hints": ["zh", "en"], "speech_noise_threshold": 0.5,
        });
        assert_eq!(with(&all.to_string()).unwrap()["parameters"], all);
        let filter =
            r#"{ "filter_with_empty": {"word_list": ["b"]}, "filter_with_signed": {"word_list": []} }"#;
        let built = with(&json!({ "special_word_filter": filter }).to_string()).unwrap();
        assert_eq!(
            built["parameters"]["special_word_filter"],
            r#"{"filter_with_signed":{"word_list":[]},"filter_with_empty":{"word_list":["b"]}}"#
        );
    }

    #[test]
    fn nothing_else_passes() {
        for parameters in [
            r#"{"resource":"x"}"#,
            r#"{"channel_id":[]}"#,
            r#"{"channel_id":[0,0]}"#,
            r#"{"channel_id":[-1]}"#,
            r#"{"channel_id":[0,1],"diarization_enabled":true}"#,
            r#"{"speaker_count":1}"#,
            r#"{"speaker_count":101}"#,
            r#"{"language_hints":["zh en"]}"#,
            r#"{"vocabulary_id":"a/b"}"#,
            r#"{"channel_id":[0],"channel_id":[1]}"#,
            r#"{"speech_noise_threshold":"1"}"#,
            r#"{"special_word_filter":"x"}"#,
            r#"{"special_word_filter":"{\"filter_with_removal\":{\"word_list\":[]}}"}"#,
            r#"{"special_word_filter":"{\"filter_with_signed\":{\"word_list\":[],\"webhook\":\"x\"}}"}"#,
            r#"{"special_word_filter":"{\"filter_with_signed\":[]}"}"#,
            r#"{"special_word_filter":"{} {}"}"#,
            "[]",
            "null",
        ] {
            assert!(with(parameters).is_err(), "{parameters}");
        }
        for body in [
            "",
            "{}",
            "[]",
            r#"{"model":"fun-asr","input":{"file_urls":[]}}"#,
            r#"{"model":"fun-asr","input":{"file_urls":["https://files.example.com/a.wav"],"x":1}}"#,
            r#"{"model":"a","model":"b","input":{"file_urls":["https://files.example.com/a.wav"]}}"#,
            r#"{"model":"fun-asr","input":{"file_urls":["oss://a/b"]}}"#,
            r#"{"model":"fun-asr","input":{"file_urls":["https://files.example.com/a.wav"]},"resources":[]}"#,
        ] {
            assert!(read(body).is_err(), "{body}");
        }
    }

    #[test]
    fn what_a_parser_says_is_told_with_its_place_once_and_without_names_of_ours() {
        for (body, said) in [
            ("[]", "invalid length 0, line 1, column 2"),
            (r#"{"model":1e999}"#, "number out of range, line 1, column 14"),
            (r#"{"model":"a","model":"b"}"#, "duplicate field, line 1, column 20"),
            (r#"{"model":"fun-asr""#, "EOF while parsing an object, line 1, column 18"),
        ] {
            assert_eq!(read(body).unwrap_err(), format!("the body cannot be read: {said}"), "{body}");
        }
    }

    #[test]
    fn a_value_is_never_repeated() {
        for body in [r#"{"model":7,"canary":1}"#, r#"{"canary":1}"#, r#""canary""#, r#"{"model":"canary""#] {
            let said = read(body).unwrap_err();
            assert!(!said.contains("canary"), "{said}");
        }
    }
}
