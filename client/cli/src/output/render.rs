//! A transcript in a format.

use valet_client::{Transcript, format};

use super::layout::{Format, Layout};

/// The content of a transcript's file.
pub(super) fn render(transcript: &Transcript, format: Format, layout: &Layout) -> String {
    let look = &layout.look;
    match format {
        Format::Txt => look.text(transcript).txt(),
        Format::Srt => look.subtitles(transcript).srt(),
        Format::Vtt => look.subtitles(transcript).vtt(),
        Format::Tsv => look.subtitles(transcript).tsv(),
        Format::Json => format::json(transcript),
    }
}
