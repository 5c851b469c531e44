//! Transcripts as files: plain text, subtitles (SubRip, WebVTT), a table, the document itself.
//!
//! ```
//! use valet_client::{Transcript, format::{PlainText, Subtitles}};
//!
//! # fn example(transcript: &Transcript) {
//! let srt = Subtitles::of(transcript).line_length(37).speakers(false).srt();
//! let txt = PlainText::of(transcript).txt();
//! # }
//! ```
//!
//! Nothing here fails or panics, whatever a transcript holds. Times that cannot be right, such as a word
//! that ends before it begins, are estimated from those around them, and what is written is valid.

mod clean;
mod cue;
mod group;
mod piece;
mod plain;
mod subtitles;
mod times;
mod turn;
mod voice;
mod wrap;
mod write;

pub use self::{cue::Cue, plain::PlainText, subtitles::Subtitles, voice::Voice};
use crate::Transcript;

/// The transcript as the service wrote it: JSON on one line.
#[must_use]
pub fn json(transcript: &Transcript) -> String {
    serde_json::to_string(transcript).expect("all keys are strings") + "\n"
}

#[cfg(test)]
mod tests;
