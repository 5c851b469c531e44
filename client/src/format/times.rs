//! When words are spoken: the times of the document where they can be right, and estimates elsewhere.

use std::{ops::Range, time::Duration};

/// The latest time of all, in milliseconds: two digits of hours, and an hour left for cues to make room.
const LATEST: u64 = 99 * 60 * 60 * 1000;

/// How long a column of text is taken to be spoken if nothing says so, in milliseconds: 15 a second.
const COLUMN: u64 = 67;

/// What the document says of a sentence, in milliseconds from the beginning of the recording.
pub(super) struct Claim {
    pub(super) time: Range<u64>,
    /// The columns and the time of each word.
    pub(super) words: Vec<(usize, Range<u64>)>,
}

/// The times of all words, in order and apart from each other, in a recording that lasts `length`.
///
/// A word's time is believed if it is within its sentence and after the words before. What is not believed
/// is spread over what is left between its neighbours.
pub(super) fn settle(sentences: &[Claim], length: Option<u64>) -> Vec<Range<u64>> {
    let limit = length.unwrap_or(LATEST).min(LATEST);
    let mut clock = 0;
    let mut words = Vec::new();
    for sentence in sentences {
        let within = sentence.time.start.max(clock)..sentence.time.end.min(limit);
        let is_known = !within.is_empty();
        let bounds = if is_known { within } else { clock..limit };
        let first = words.len();
        for (columns, time) in &sentence.words {
            let time = time.start.max(clock).max(bounds.start)..time.end;
            let believed = !time.is_empty() && time.end <= bounds.end;
            if believed {
                clock = time.end;
            }
            words.push(Settling { columns: *columns, time: believed.then_some(time) });
        }
        if is_known {
            spread(&mut words[first..], bounds);
            clock = words.last().and_then(|word| word.time.as_ref()).map_or(clock, |time| time.end);
        }
    }
    let end = length.map_or_else(|| limit.min(clock.saturating_add(unheard(&words))), |_| limit);
    spread(&mut words, 0..end);
    words.into_iter().filter_map(|word| word.time).collect()
}

struct Settling {
    columns: usize,
    time: Option<Range<u64>>,
}

/// Gives a time to all that have none: between those around them, or else within `bounds`.
fn spread(words: &mut [Settling], bounds: Range<u64>) {
    let mut begin = bounds.start;
    let mut rest = words;
    while let Some(first) = rest.iter().position(|word| word.time.is_none()) {
        if let Some(time) = rest[..first].last().and_then(|word| word.time.clone()) {
            begin = time.end;
        }
        rest = &mut rest[first..];
        let count = rest.iter().position(|word| word.time.is_some()).unwrap_or(rest.len());
        let end = rest.get(count).and_then(|word| word.time.as_ref()).map_or(bounds.end, |time| time.start);
        let share = end.saturating_sub(begin);
        let all = columns(&rest[..count]);
        let mut before = 0;
        for word in &mut rest[..count] {
            let start = begin + share * before / all;
            before += word.columns as u64;
            word.time = Some(start..begin + share * before / all);
        }
    }
}

fn unheard(words: &[Settling]) -> u64 {
    let tail = words.iter().rposition(|word| word.time.is_some()).map_or(0, |last| last + 1);
    columns(&words[tail..]).saturating_mul(COLUMN)
}

fn columns(words: &[Settling]) -> u64 {
    words.iter().map(|word| word.columns as u64).sum()
}

/// A time in whole milliseconds.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
