//! A transcript in a format.

use valet_client::Transcript;

use super::layout::{Format, Layout};
use crate::printer::legible;

/// The content of a transcript's file.
pub(super) fn render(transcript: &Transcript, format: Format, _: &Layout) -> String {
    match format {
        Format::Txt => text(transcript),
        Format::Json => serde_json::to_string(transcript).map(|text| text + "\n").unwrap_or_default(),
    }
}

fn text(transcript: &Transcript) -> String {
    let said = transcript.text();
    said.lines().filter(|line| !line.is_empty()).map(|line| legible(line) + "\n").collect()
}
