//! What is said on a channel: the words in order, each with a time.

use std::{borrow::Cow, ops::Range, time::Duration};

use super::{
    clean,
    times::{self, Claim, milliseconds},
    voice::{Shown, Voice},
};
use crate::transcript::{Channel, Sentence};

/// What a voice says until another one of its channel does.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) voice: Voice,
    /// On one line.
    pub(super) text: String,
    /// In order, at least one. Their ranges make up the text.
    pub(super) words: Vec<Spoken>,
}

/// A word, with the punctuation and the space that follow it.
#[derive(Debug)]
pub(super) struct Spoken {
    /// Where it stands in the text of its turn; not empty.
    pub(super) range: Range<usize>,
    /// In milliseconds from the beginning of the recording. No word begins before the end of another.
    pub(super) time: Range<u64>,
    /// Whether a sentence ends with it.
    pub(super) ends: bool,
}

/// A word of the document.
struct Word {
    text: String,
    time: Range<u64>,
}

/// What is said on a channel of a recording that lasts `length`; 0 if that is not known.
pub(super) fn turns(channel: &Channel, length: Duration, shown: Shown) -> Vec<Turn> {
    let mut claims = Vec::new();
    let mut turns: Vec<Turn> = Vec::new();
    for sentence in sentences(channel).iter() {
        let words = words(sentence);
        if words.is_empty() {
            continue;
        }
        claims.push(Claim {
            time: milliseconds(sentence.begin)..milliseconds(sentence.end),
            words: words.iter().map(|word| (clean::columns(&word.text), word.time.clone())).collect(),
        });
        let voice = shown.of(channel, sentence.speaker_id);
        match turns.last_mut().filter(|turn| turn.voice == voice) {
            Some(turn) => turn.say(&words),
            None => {
                let mut turn = Turn { voice, text: String::new(), words: Vec::new() };
                turn.say(&words);
                turns.push(turn);
            }
        }
    }
    let times = times::settle(&claims, Some(milliseconds(length)).filter(|length| *length > 0));
    for (word, time) in turns.iter_mut().flat_map(|turn| &mut turn.words).zip(times) {
        word.time = time;
    }
    turns
}

impl Turn {
    /// Adds a sentence; its times are set later.
    fn say(&mut self, words: &[Word]) {
        clean::part(&mut self.text, words.first().map_or("", |word| &word.text));
        for word in words {
            if word.text.starts_with(clean::is_blank) {
                clean::append(&mut self.text, " ");
            }
            // The space before a word is part of the one before it.
            let start = self.text.len();
            if let Some(before) = self.words.last_mut() {
                before.range.end = start;
            }
            clean::append(&mut self.text, &word.text);
            self.words.push(Spoken { range: start..self.text.len(), time: 0..0, ends: false });
        }
        if let Some(last) = self.words.last_mut() {
            last.ends = true;
        }
    }
}

/// The sentences, or all of the text as one if they are silent.
fn sentences(channel: &Channel) -> Cow<'_, [Sentence]> {
    if channel.sentences.iter().any(|sentence| !words(sentence).is_empty()) {
        return channel.sentences.as_slice().into();
    }
    vec![Sentence { text: channel.text.clone(), ..Sentence::default() }].into()
}

/// The words of a sentence, or all of its text as one if they are silent. None is blank.
fn words(sentence: &Sentence) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::with_capacity(sentence.words.len().max(1));
    for word in &sentence.words {
        let bare = if word.punctuation.is_empty() { &word.text } else { word.text.trim_end() };
        let space = &word.text[bare.len()..];
        let text = [bare, &word.punctuation, space].concat();
        if !is_silent(&text) {
            words.push(Word { text, time: milliseconds(word.begin)..milliseconds(word.end) });
        } else if let Some(before) = words.last_mut() {
            before.text.push_str(&text);
        }
    }
    if words.is_empty() && !is_silent(&sentence.text) {
        words.push(Word { text: sentence.text.clone(), time: 0..0 });
    }
    words
}

fn is_silent(text: &str) -> bool {
    text.chars().all(clean::is_blank)
}
