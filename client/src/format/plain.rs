//! Transcripts as plain text.

use super::{
    clean,
    turn::{self, Turn},
    voice::{Shown, Voice},
};
use crate::Transcript;

/// A transcript as plain text.
///
/// Where speakers or channels are told apart, each line is what one says until another does, and begins with
/// who it is. Otherwise all is one line.
#[derive(Clone, Debug)]
#[must_use]
pub struct PlainText<'t> {
    transcript: &'t Transcript,
    speakers: bool,
}

impl<'t> PlainText<'t> {
    /// The text of a transcript.
    pub fn of(transcript: &'t Transcript) -> Self {
        Self { transcript, speakers: true }
    }

    /// Whether to tell who speaks, where the transcript does; so unless set. Channels are told apart if there
    /// are several.
    pub fn speakers(mut self, shown: bool) -> Self {
        self.speakers = shown;
        self
    }

    /// The text, in lines that end with `\n`; empty if nothing is said.
    #[must_use]
    pub fn txt(&self) -> String {
        let channels = &self.transcript.channels;
        let shown = Shown { speakers: self.speakers, channels: channels.len() > 1 };
        let length = self.transcript.properties.original_duration;
        let turns = channels.iter().flat_map(|channel| turn::turns(channel, length, shown));
        let mut sentences: Vec<Said> = turns.flat_map(|turn| said(&turn)).collect();
        sentences.sort_by_key(|said| said.begin);

        let mut lines: Vec<(Voice, String)> = Vec::new();
        for Said { voice, text, .. } in sentences {
            match lines.last_mut().filter(|(speaking, _)| *speaking == voice) {
                Some((_, line)) => {
                    clean::part(line, &text);
                    line.push_str(&text);
                }
                None => lines.push((voice, text)),
            }
        }
        lines.iter().map(|(voice, line)| format!("{}{line}\n", voice.label())).collect()
    }
}

/// A sentence.
struct Said {
    /// In milliseconds.
    begin: u64,
    voice: Voice,
    text: String,
}

fn said(turn: &Turn) -> Vec<Said> {
    let sentences = turn.words.split_inclusive(|word| word.ends);
    let spans = sentences.filter_map(|words| words.first().zip(words.last()));
    spans
        .map(|(first, last)| Said {
            begin: first.time.start,
            voice: turn.voice,
            text: clean::line(&turn.text[first.range.start..last.range.end]),
        })
        .collect()
}
