//! Gives sentences a speaker where the caller asked for that.
//!
//! The sandbox does not know voices: it lets the speakers take turns, the next one after each long pause.

use super::Sentence;

/// A pause from which on another speaker is taken to speak, in milliseconds.
const TURN_MS: u64 = 600;
/// How many speakers there are if the caller gave no hint.
const SPEAKERS: u16 = 2;

/// Numbers the speakers from 0 on; at most `count` of them, which is a hint in the protocol.
pub(crate) fn tell_apart(sentences: &mut [Sentence], count: Option<u16>) {
    let count = count.unwrap_or(SPEAKERS).max(1);
    let mut speaker = 0;
    let mut last_end = None;
    for sentence in sentences {
        if last_end.is_some_and(|end| sentence.begin().saturating_sub(end) >= TURN_MS) {
            speaker = (speaker + 1) % count;
        }
        sentence.speaker = Some(speaker);
        last_end = Some(sentence.end());
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Segment, spread::spread, words::sentences},
        *,
    };

    #[test]
    fn speakers_take_turns_at_long_pauses() {
        let speech = [(0, 1000), (2000, 3000), (3300, 4300), (5300, 6300)];
        let speech = speech.map(|(begin, end)| Segment { begin, end });
        let mut told = spread(sentences("One. Two. Six. Ten."), &speech);
        tell_apart(&mut told, None);
        let speakers: Vec<_> = told.iter().map(|sentence| sentence.speaker.unwrap()).collect();
        assert_eq!(speakers, [0, 1, 1, 0]);
    }
}
