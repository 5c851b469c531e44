//! When each letter of a text is spoken, and so each of its words, whoever cut the words.
//!
//! A recogniser cuts text into words in its own way, and may leave out punctuation. Letters are what the two
//! have in common.

use super::{Sentence, Word, words};

/// The times of a text's letters, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    text: String,
    letters: Vec<(u64, u64)>,
}

/// A text and when it is spoken, in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) text: String,
}

impl Timeline {
    /// Adds a piece of text, whose words are spoken when `words` say; between its begin and end if there are
    /// none. Words with other letters than the text share their times in proportion.
    pub(crate) fn add(&mut self, piece: &Timed, words: &[Timed]) {
        let parted = self.text.ends_with(words::is_unspaced) || piece.text.starts_with(words::is_unspaced);
        if !parted && !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(&piece.text);
        let mut heard: Vec<(u64, u64)> = words.iter().flat_map(letters).collect();
        if heard.is_empty() {
            heard = letters(piece).collect();
        }
        let count = count(&piece.text);
        for at in 0..count {
            let first = at * heard.len() / count;
            let last = ((at + 1) * heard.len()).div_ceil(count).saturating_sub(1).max(first);
            if let (Some(first), Some(last)) = (heard.get(first), heard.get(last)) {
                self.letters.push((first.0, last.1));
            }
        }
    }

    /// The sentences, in order and within `duration`; no word begins before the end of another.
    pub(crate) fn sentences(self, duration: u64) -> Vec<Sentence> {
        let mut letters = self.letters.into_iter();
        let mut clock = 0;
        let mut word = |token: words::Token| {
            let spelt = count(&token.text) + count(&token.punctuation);
            let (first, last) = (letters.next(), letters.by_ref().take(spelt.saturating_sub(1)).last());
            let (begin, end) = first.map_or((clock, clock), |first| (first.0, last.unwrap_or(first).1));
            let begin = begin.clamp(clock, duration.max(clock));
            clock = end.clamp(begin, duration.max(begin));
            Word { begin, end: clock, text: token.text, punctuation: token.punctuation }
        };
        let sentences = words::sentences(&self.text).into_iter();
        sentences
            .map(|tokens| Sentence { words: tokens.into_iter().map(&mut word).collect(), speaker: None })
            .collect()
    }
}

/// The times of the letters of a text that is spoken evenly.
fn letters(spoken: &Timed) -> impl Iterator<Item = (u64, u64)> + use<> {
    let (begin, length) = (spoken.begin, spoken.end.saturating_sub(spoken.begin));
    let count = count(&spoken.text) as u64;
    (0..count).map(move |at| (begin + length * at / count, begin + length * (at + 1) / count))
}

fn count(text: &str) -> usize {
    text.chars().filter(|c| words::is_word(*c)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timed(begin: u64, end: u64, text: &str) -> Timed {
        Timed { begin, end, text: text.to_owned() }
    }

    fn told(timeline: Timeline) -> Vec<(u64, u64, String)> {
        let sentences = timeline.sentences(10_000);
        let words = sentences.into_iter().flat_map(|sentence| sentence.words);
        words.map(|word| (word.begin, word.end, word.text + &word.punctuation)).collect()
    }

    fn expected(words: &[(u64, u64, &str)]) -> Vec<(u64, u64, String)> {
        words.iter().map(|(begin, end, text)| (*begin, *end, (*text).to_owned())).collect()
    }

    #[test]
    fn punctuation_is_the_texts_and_times_are_the_words() {
        let mut timeline = Timeline::default();
        let words = [timed(100, 300, "Hello"), timed(400, 900, "world"), timed(900, 1000, "don't")];
        timeline.add(&timed(0, 1000, "Hello, world! Don't"), &words);
        assert_eq!(
            told(timeline),
            expected(&[(100, 300, "Hello, "), (400, 900, "world!"), (900, 1000, "Don't")])
        );
    }

    #[test]
    fn chinese_words_are_cut_into_characters_that_share_their_time() {
        let mut timeline = Timeline::default();
        timeline.add(&timed(0, 900, "你好，世界。"), &[timed(0, 400, "你好"), timed(600, 900, "世界")]);
        let characters = [(0, 200, "你"), (200, 400, "好，"), (600, 750, "世"), (750, 900, "界。")];
        assert_eq!(told(timeline), expected(&characters));
    }

    #[test]
    fn pieces_without_words_are_spoken_evenly() {
        let mut timeline = Timeline::default();
        timeline.add(&timed(0, 400, "ab cd"), &[]);
        timeline.add(&timed(1000, 1200, "ef."), &[]);
        assert_eq!(told(timeline), expected(&[(0, 200, "ab "), (200, 400, "cd "), (1000, 1200, "ef.")]));
    }

    proptest! {
        /// Whatever a recogniser says, words are in order, within the recording, and are the text.
        #[test]
        fn words_are_in_order_and_nothing_is_lost(
            pieces in prop::collection::vec(
                (
                    ("[a-z]{1,5}([ ,.][a-z你好。]{0,5}){0,4}", 0..20_000_u64, 0..20_000_u64),
                    prop::collection::vec(("[a-z你好 ]{0,6}", 0..20_000_u64, 0..20_000_u64), 0..6),
                ),
                0..5,
            ),
        ) {
            let mut timeline = Timeline::default();
            for ((text, begin, end), words) in &pieces {
                let words: Vec<Timed> = words.iter().map(|(text, begin, end)| timed(*begin, *end, text)).collect();
                timeline.add(&timed(*begin, *end, text), &words);
            }
            let sentences = timeline.sentences(10_000);
            let mut last = 0;
            for word in sentences.iter().flat_map(|sentence| &sentence.words) {
                prop_assert!(last <= word.begin && word.begin <= word.end && word.end <= 10_000, "{word:?}");
                last = word.end;
            }
            let bare = |text: &str| text.chars().filter(|c| words::is_word(*c)).collect::<String>();
            let said: String = pieces.iter().map(|((text, ..), _)| bare(text)).collect();
            prop_assert_eq!(sentences.iter().map(|sentence| bare(&sentence.text())).collect::<String>(), said);
        }
    }
}
