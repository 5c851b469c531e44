//! How texts and subtitles look; what is not said is as usual.

use std::time::Duration;

use clap::{Args, value_parser};
use serde::{Deserialize, Serialize};
use valet_client::{
    Transcript,
    format::{PlainText, Subtitles},
};

/// How texts and subtitles look: as it is said in flags and settings, and kept in journals.
#[derive(Args, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Texts and subtitles")]
pub(crate) struct Look {
    /// Does not say who speaks.
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_speaker_labels: bool,
    /// The most columns of a subtitle's line; Chinese and Japanese characters take two [default: 42, or 32
    /// for Chinese and Japanese].
    #[arg(long, value_name = "COLUMNS", value_parser = value_parser!(u16).range(1..))]
    #[serde(skip_serializing_if = "Option::is_none")]
    line_length: Option<u16>,
    /// The most lines of a subtitle [default: 2].
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u16).range(1..))]
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<u16>,
    /// How long a subtitle is shown at least, in milliseconds, by joining it with its neighbour or into the
    /// silence after it [default: 833].
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    min_duration: Option<u32>,
    /// How long a subtitle is shown at most [default: 7000].
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_duration: Option<u32>,
    /// The time between two subtitles at least [default: 83, two frames of film].
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    min_gap: Option<u32>,
    /// The longest silence within a subtitle; a longer one ends it [default: 1000].
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_pause: Option<u32>,
}

impl Look {
    /// Whether nothing is said.
    pub(crate) fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what is not said here.
    pub(crate) fn complete(&mut self, other: &Self) {
        self.no_speaker_labels |= other.no_speaker_labels;
        self.line_length = self.line_length.or(other.line_length);
        self.lines = self.lines.or(other.lines);
        self.min_duration = self.min_duration.or(other.min_duration);
        self.max_duration = self.max_duration.or(other.max_duration);
        self.min_gap = self.min_gap.or(other.min_gap);
        self.max_pause = self.max_pause.or(other.max_pause);
    }

    pub(super) fn text<'t>(&self, transcript: &'t Transcript) -> PlainText<'t> {
        PlainText::of(transcript).speakers(!self.no_speaker_labels)
    }

    pub(super) fn subtitles<'t>(&self, transcript: &'t Transcript) -> Subtitles<'t> {
        let set = Subtitles::of(transcript).speakers(!self.no_speaker_labels);
        let set = either(set, self.line_length.map(usize::from), Subtitles::line_length);
        let set = either(set, self.lines.map(usize::from), Subtitles::lines);
        let set = either(set, milliseconds(self.min_duration), Subtitles::min_duration);
        let set = either(set, milliseconds(self.max_duration), Subtitles::max_duration);
        let set = either(set, milliseconds(self.min_gap), Subtitles::min_gap);
        either(set, milliseconds(self.max_pause), Subtitles::max_pause)
    }
}

/// `set` with a rule, if it was said.
fn either<S, V>(set: S, said: Option<V>, with: impl FnOnce(S, V) -> S) -> S {
    match said {
        Some(value) => with(set, value),
        None => set,
    }
}

fn milliseconds(said: Option<u32>) -> Option<Duration> {
    said.map(|said| Duration::from_millis(said.into()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        look: Look,
    }

    fn look(flags: &[&str]) -> Look {
        Line::parse_from(["valet"].iter().chain(flags)).look
    }

    #[test]
    fn every_flag_reaches_the_subtitles_and_is_kept_in_journals() {
        let transcript = Transcript::default();
        let (set, ms) = (|| Subtitles::of(&transcript), Duration::from_millis);
        for (flag, meant) in [
            ("--no-speaker-labels", set().speakers(false)),
            ("--line-length=12", set().line_length(12)),
            ("--lines=1", set().lines(1)),
            ("--min-duration=500", set().min_duration(ms(500))),
            ("--max-duration=5000", set().max_duration(ms(5000))),
            ("--min-gap=0", set().min_gap(ms(0))),
            ("--max-pause=300", set().max_pause(ms(300))),
        ] {
            let look = look(&[flag]);
            // The rules that are meant stand in what is shown of them.
            assert_eq!(format!("{:?}", look.subtitles(&transcript)), format!("{meant:?}"), "{flag}");
            let kept: Look = serde_json::from_str(&serde_json::to_string(&look).unwrap()).unwrap();
            assert_eq!(kept, look, "{flag}");
            assert!(!look.is_usual());
            let mut completed = Look::default();
            completed.complete(&look);
            assert_eq!(completed, look, "{flag}");
        }
        assert_eq!(serde_json::to_string(&Look::default()).unwrap(), "{}");
    }

    proptest! {
        #[test]
        fn no_look_is_too_odd(
            line_length in 1..=u16::MAX, lines in 1..=u16::MAX, times in any::<[Option<u32>; 4]>(),
        ) {
            let [min_duration, max_duration, min_gap, max_pause] = times;
            let (line_length, lines) = (Some(line_length), Some(lines));
            let look = Look { line_length, lines, min_duration, max_duration, min_gap, max_pause, ..Look::default() };
            let sentence = serde_json::json!({ "begin_time": 10, "end_time": 9000, "text": "One, two. Three." });
            let transcript = serde_json::json!({ "transcripts": [{ "sentences": [sentence] }] });
            let srt = look.subtitles(&serde_json::from_value(transcript).unwrap()).srt();
            prop_assert!(srt.contains("Three."), "{srt}");
        }
    }
}
