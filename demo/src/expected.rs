//! What transcribing each recording must give, and how an outcome differs from it.

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use serde::Deserialize;
use valet_client::{FileFailure, FileTranscription};

/// A duration may differ by so much: encoders pad.
const TOLERANCE: Duration = Duration::from_millis(120);

/// What transcribing a recording must give.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The text of each channel; none if there is no speech.
    #[serde(default)]
    pub texts: Vec<String>,
    /// The codec.
    audio_format: Option<String>,
    /// The length, in milliseconds.
    duration_ms: Option<u64>,
    /// The code that it must fail with.
    fails: Option<String>,
}

/// Reads `expected.json` in the folder of the recordings: by name, what each must give.
///
/// # Errors
/// If it is not there, or not what it must be.
pub fn read(folder: &Path) -> io::Result<BTreeMap<String, Expected>> {
    let text = fs::read_to_string(folder.join("expected.json"))?;
    Ok(serde_json::from_str(&text)?)
}

impl Expected {
    /// How `file` differs from what is expected; `None` if it does not.
    #[must_use]
    pub fn difference(&self, file: &FileTranscription) -> Option<String> {
        let transcript = match (file.transcript(), &self.fails) {
            (Err(FileFailure::Failed { code, .. }), Some(expected)) if code == expected => return None,
            (Err(failure), Some(expected)) => return Some(format!("should fail with {expected}: {failure}")),
            (Err(failure), None) => return Some(format!("failed: {failure}")),
            (Ok(_), Some(expected)) => {
                return Some(format!("was transcribed, and should fail with {expected}"));
            }
            (Ok(transcript), None) => transcript,
        };
        let texts: Vec<&str> = transcript.channels.iter().map(|channel| channel.text.trim()).collect();
        if texts != self.texts {
            return Some(format!("the text should be {:?}", self.texts));
        }
        let properties = &transcript.properties;
        if let Some(format) = self.audio_format.as_ref().filter(|format| **format != properties.audio_format)
        {
            return Some(format!("the format should be {format}, and is {}", properties.audio_format));
        }
        let expected = self.duration_ms.map(Duration::from_millis);
        if let Some(expected) =
            expected.filter(|time| time.abs_diff(properties.original_duration) > TOLERANCE)
        {
            return Some(format!("should last {expected:?}, and lasts {:?}", properties.original_duration));
        }
        let late = |channel: &valet_client::transcript::Channel| {
            channel
                .sentences
                .iter()
                .any(|s| s.begin > s.end || s.end > properties.original_duration + TOLERANCE)
        };
        transcript.channels.iter().any(late).then(|| "has a sentence outside of the recording".into())
    }
}
