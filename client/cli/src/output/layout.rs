//! How transcripts are laid out, and where they go; kept in the journal, so that a run is taken up as it began.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::look::Look;

/// A format of transcripts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// What is said, in lines.
    Txt,
    /// Subtitles as SubRip has them.
    Srt,
    /// Subtitles for the web: WebVTT.
    Vtt,
    /// A table of times in milliseconds and text.
    Tsv,
    /// All that the service tells: sentences, words, times.
    Json,
}

impl Format {
    /// As the names of its files end.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Txt => "txt",
            Self::Srt => "srt",
            Self::Vtt => "vtt",
            Self::Tsv => "tsv",
            Self::Json => "json",
        }
    }
}

/// What is written of each transcript.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Layout {
    /// In this order; at least one.
    pub(crate) formats: Vec<Format>,
    /// The folder of the files; without one, standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) out: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Look::is_usual")]
    pub(crate) look: Look,
}
