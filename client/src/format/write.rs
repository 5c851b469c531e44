//! Cues as files.

use std::{fmt::Write, time::Duration};

use super::{cue::Cue, voice::Voice};

/// SubRip. It has no way to escape: what a reader may take for the times of a cue is written as an arrow.
pub(super) fn srt(cues: &[Cue]) -> String {
    let mut file = String::new();
    let mut speaking = Voice::default();
    for (number, cue) in (1..).zip(cues) {
        let label = if cue.voice == speaking { String::new() } else { cue.voice.label() };
        speaking = cue.voice;
        let text = cue.lines.join("\n").replace("-->", "→");
        _ = writeln!(
            file,
            "{number}\n{} --> {}\n{label}{text}\n",
            Stamp(cue.begin, ','),
            Stamp(cue.end, ',')
        );
    }
    file
}

/// WebVTT, as the W3C's *WebVTT: The Web Video Text Tracks Format* has it.
pub(super) fn vtt(cues: &[Cue]) -> String {
    let mut file = String::from("WEBVTT\n\n");
    for cue in cues {
        let voice = if cue.voice.is_unknown() { String::new() } else { format!("<v {}>", cue.voice) };
        let text = cue.lines.join("\n").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        _ = writeln!(file, "{} --> {}\n{voice}{text}\n", Stamp(cue.begin, '.'), Stamp(cue.end, '.'));
    }
    file
}

/// The table of openai-whisper. No text has a tab or a line's end, so that there is nothing to escape.
pub(super) fn tsv(cues: &[Cue]) -> String {
    let mut file = String::from("start\tend\ttext\n");
    for Cue { begin, end, voice, text, .. } in cues {
        _ = writeln!(file, "{}\t{}\t{}{text}", begin.as_millis(), end.as_millis(), voice.label());
    }
    file
}

/// A time, with the sign before its milliseconds.
struct Stamp(Duration, char);

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(time, point) = self;
        let seconds = time.as_secs();
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        write!(f, "{hours:02}:{minutes:02}:{:02}{point}{:03}", seconds % 60, time.subsec_millis())
    }
}
