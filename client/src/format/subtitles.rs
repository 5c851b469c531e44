//! Subtitles of a transcript, and the rules they keep.

use std::time::Duration;

use super::{
    clean,
    cue::{self, Cue},
    times::milliseconds,
    turn,
    voice::Shown,
    write,
};
use crate::Transcript;

/// Subtitles of a transcript.
///
/// They keep the usual rules of timed text (the style guides of Netflix and the BBC) unless told otherwise. A
/// cue ends with its sentence, or in a pause; a short one joins its neighbour. Lines break as Unicode's UAX #14
/// has it, so that Chinese and Japanese come out right too.
#[derive(Clone, Debug)]
#[must_use]
pub struct Subtitles<'t> {
    transcript: &'t Transcript,
    line_length: Option<usize>,
    rules: Rules,
    speakers: bool,
}

/// The rules that cues keep; times in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) line_length: usize,
    pub(super) lines: usize,
    pub(super) min_duration: u64,
    pub(super) max_duration: u64,
    pub(super) min_gap: u64,
    pub(super) max_pause: u64,
    /// How long the recording lasts, if that is known.
    pub(super) length: Option<u64>,
    /// Whether a voice may be named in any cue, because others interrupt it, or only in the first of a turn.
    pub(super) interrupts: bool,
    /// Whether the name of a voice is shown in its line, and takes room there.
    pub(super) shows_names: bool,
}

impl Rules {
    /// The columns to leave for a name that takes `label`, in the cue that begins with a piece of a turn.
    pub(super) fn indent(&self, label: usize, piece: usize) -> usize {
        if piece == 0 || self.interrupts { label } else { 0 }
    }
}

const LATIN: usize = 42;
const FULL_WIDTH: usize = 32;

impl<'t> Subtitles<'t> {
    /// Subtitles of a transcript, by the usual rules.
    pub fn of(transcript: &'t Transcript) -> Self {
        let rules = Rules {
            line_length: LATIN,
            lines: 2,
            min_duration: 833,
            max_duration: 7000,
            min_gap: 83,
            max_pause: 1000,
            length: Some(milliseconds(transcript.properties.original_duration)).filter(|length| *length > 0),
            interrupts: transcript.channels.len() > 1,
            shows_names: true,
        };
        Self { transcript, line_length: None, rules, speakers: true }
    }

    /// The most columns of a line, at least 1. A full-width character takes two. Unless set: 32, which are 16
    /// Chinese characters, if most of the text is full-width, and 42 otherwise.
    ///
    /// Only a word that no line may break, as Unicode has it, makes a line longer.
    pub fn line_length(mut self, columns: usize) -> Self {
        self.line_length = Some(columns.max(1));
        self
    }

    /// The most lines of a cue, at least 1; 2 unless set.
    pub fn lines(mut self, lines: usize) -> Self {
        self.rules.lines = lines.max(1);
        self
    }

    /// How long a cue is shown at least, if the next one leaves time; 833 ms unless set.
    pub fn min_duration(mut self, duration: Duration) -> Self {
        self.rules.min_duration = milliseconds(duration);
        self
    }

    /// How long a cue is shown at most; 7 s unless set.
    pub fn max_duration(mut self, duration: Duration) -> Self {
        self.rules.max_duration = milliseconds(duration);
        self
    }

    /// The time between a cue and the next, which ends a cue early if need be; 83 ms, about two frames, unless
    /// set.
    pub fn min_gap(mut self, gap: Duration) -> Self {
        self.rules.min_gap = milliseconds(gap);
        self
    }

    /// The longest silence in a cue: a longer one ends it; 1 s unless set.
    pub fn max_pause(mut self, pause: Duration) -> Self {
        self.rules.max_pause = milliseconds(pause);
        self
    }

    /// Whether to tell who speaks, where the transcript does; so unless set. Channels are told apart if there
    /// are several.
    pub fn speakers(mut self, shown: bool) -> Self {
        self.speakers = shown;
        self
    }

    /// The cues, by when they appear. Those of a channel never overlap; those of two channels do where both
    /// speak.
    #[must_use]
    pub fn cues(&self) -> Vec<Cue> {
        self.laid_out(true)
    }

    /// The cues where the names of voices take room on their lines, or none.
    pub(super) fn laid_out(&self, shows_names: bool) -> Vec<Cue> {
        let channels = &self.transcript.channels;
        let shown = Shown { speakers: self.speakers, channels: channels.len() > 1 };
        let length = self.transcript.properties.original_duration;
        let turns: Vec<_> = channels.iter().map(|channel| turn::turns(channel, length, shown)).collect();

        let texts = turns.iter().flatten().map(|turn| turn.text.as_str());
        let line_length = self.line_length.unwrap_or_else(|| usual_length(texts));
        let rules = Rules { line_length, shows_names, ..self.rules.clone() };
        let mut cues: Vec<Cue> = turns.iter().flat_map(|turns| cue::cues(turns, &rules)).collect();
        cues.sort_by_key(|cue| cue.begin);
        cues
    }

    /// As SubRip: numbered cues, `\n` at the end of lines. A speaker is named where they begin.
    #[must_use]
    pub fn srt(&self) -> String {
        write::srt(&self.cues())
    }

    /// As WebVTT (W3C): speakers are voice spans, `<v Speaker 1>`. They are not shown, so that lines and cues have
    /// room for as much as without them.
    #[must_use]
    pub fn vtt(&self) -> String {
        write::vtt(&self.laid_out(false))
    }

    /// As a table, which openai-whisper writes too: a head, then a line for each cue with its begin and end in
    /// milliseconds and its text, parted by tabs.
    #[must_use]
    pub fn tsv(&self) -> String {
        write::tsv(&self.cues())
    }
}

fn usual_length<'t>(texts: impl Iterator<Item = &'t str>) -> usize {
    let (mut wide, mut narrow) = (0_usize, 0_usize);
    for c in texts.flat_map(str::chars).filter(|c| !clean::is_blank(*c)) {
        *if clean::is_wide(c) { &mut wide } else { &mut narrow } += 1;
    }
    if wide > narrow { FULL_WIDTH } else { LATIN }
}
