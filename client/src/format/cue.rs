//! Cues: what subtitles show at a time.

use std::{ops::Range, time::Duration};

use super::{clean, group::group, piece::pieces, subtitles::Rules, turn::Turn, voice::Voice, wrap};

/// What subtitles show at a time.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Cue {
    /// When it appears, from the beginning of the recording; whole milliseconds.
    pub begin: Duration,
    /// When it disappears; later than it appears.
    pub end: Duration,
    /// Whose words they are.
    pub voice: Voice,
    /// What is said, on one line.
    pub text: String,
    /// What is said, in lines to be shown. There is room for the voice on the first.
    pub lines: Vec<String>,
}

/// The cues of a channel's turns. They follow one another in time.
pub(super) fn cues(turns: &[Turn], rules: &Rules) -> Vec<Cue> {
    let mut times = Vec::new();
    let mut cues = Vec::new();
    for turn in turns {
        let indent = match turn.voice.label() {
            label if label.is_empty() || !rules.shows_names => 0,
            label => clean::columns(&label),
        };
        let pieces = pieces(turn, rules.line_length.saturating_sub(indent));
        for range in group(&pieces, rules, indent) {
            let indent = rules.indent(indent, range.start);
            let pieces = &pieces[range];
            let Some((first, last)) = pieces.first().zip(pieces.last()) else { continue };
            times.push(first.time.start..last.time.end);
            cues.push(Cue {
                begin: Duration::ZERO,
                end: Duration::ZERO,
                voice: turn.voice,
                text: wrap::join(pieces),
                lines: wrap::wrap(pieces, rules.line_length, indent),
            });
        }
    }
    pace(&mut times, rules);
    for (cue, time) in cues.iter_mut().zip(times) {
        cue.begin = Duration::from_millis(time.start);
        cue.end = Duration::from_millis(time.end);
    }
    cues
}

/// Shows each cue long enough, not too long, and apart from the next, as far as there is time.
fn pace(times: &mut [Range<u64>], rules: &Rules) {
    let mut free = 0;
    for place in 0..times.len() {
        let begin = times[place].start.max(free);
        let until = match times.get(place + 1) {
            Some(next) if next.start.saturating_sub(begin) >= rules.min_gap.saturating_mul(2) => {
                next.start - rules.min_gap
            }
            Some(next) => next.start,
            None => rules.length.map_or(u64::MAX, |length| length.max(times[place].end)),
        };
        let end = times[place].end.max(begin.saturating_add(rules.min_duration));
        let end = end.min(begin.saturating_add(rules.max_duration)).min(until).max(begin + 1);
        times[place] = begin..end;
        free = end;
    }
}
