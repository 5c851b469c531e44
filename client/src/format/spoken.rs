//! The words of a channel, in order, each with a time.

use std::{ops::Range, time::Duration};

use super::{
    clean,
    retime::{self, Timed},
    voice::{Shown, Voice},
};
use crate::transcript::{Channel, Sentence};

/// The latest time that subtitles can express in two digits of hours, in milliseconds.
const LATEST: u64 = 100 * 60 * 60 * 1000 - 1;

/// What one voice says without another of the channel in between.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) voice: Voice,
    /// On one line.
    pub(super) text: String,
    /// In order; together they are the text.
    pub(super) words: Vec<Spoken>,
}

/// A word with the punctuation and the space that follow it.
#[derive(Clone, Debug)]
pub(super) struct Spoken {
    /// Where it stands in the text of its turn.
    pub(super) range: Range<usize>,
    /// In milliseconds from the beginning of the recording; no earlier than the one before it.
    pub(super) time: Range<u64>,
    /// Whether a sentence ends here.
    pub(super) ends: bool,
}

/// What is said on a channel of a recording that is `length` long, if that is known.
pub(super) fn turns(channel: &Channel, length: Duration, shown: Shown) -> Vec<Turn> {
    let length = Some(milliseconds(length)).filter(|length| *length > 0);
    let whole;
    let mut sentences = channel.sentences.as_slice();
    if sentences.iter().all(|sentence| words(sentence).is_empty()) {
        whole = [Sentence { text: channel.text.clone(), ..Sentence::default() }];
        sentences = &whole;
    }

    let mut turns: Vec<Turn> = Vec::new();
    let mut times: Vec<Timed> = Vec::new();
    for sentence in sentences {
        let words = words(sentence);
        let Some(((first, _), (last, _))) = words.first().zip(words.last()) else { continue };
        let voice = shown.of(channel, sentence.speaker_id);
        if turns.last().is_none_or(|turn| turn.voice != voice) {
            turns.push(Turn { voice, text: String::new(), words: Vec::new() });
        }
        let turn = turns.last_mut().expect("one was pushed if there was none");
        let before = turn.text.len();
        clean::part(&mut turn.text, first);
        if let Some(word) = turn.words.last_mut() {
            word.range.end += turn.text.len() - before;
        }
        let _ = last;
        let begin = times.len();
        for (text, time) in &words {
            let start = turn.text.len();
            clean::append(&mut turn.text, text);
            turn.words.push(Spoken { range: start..turn.text.len(), time: 0..0, ends: false });
            times.push(Timed { columns: clean::columns(text), time: *time });
        }
        turn.words.last_mut().expect("a sentence here has words").ends = true;
        let bounds = (milliseconds(sentence.begin), milliseconds(sentence.end));
        retime::within(&mut times[..], begin, bounds, length.unwrap_or(LATEST).min(LATEST));
    }
    turns
}
