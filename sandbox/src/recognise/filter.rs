//! Masks and removes the words that `special_word_filter` names.

use super::{Sentence, Word};
use crate::contract::WordFilter;

/// Applies `filter` to recognised words: a masked character becomes `*`, a removed word is gone.
///
/// A listed word is found across the borders of recognised words, for Chinese goes by the character; ASCII
/// letters match in either case.
pub(crate) fn filter(sentences: &mut Vec<Sentence>, filter: &WordFilter) {
    for sentence in sentences.iter_mut() {
        for listed in filter.masked() {
            replace(sentence, listed, |_| Some('*'));
        }
        for listed in filter.removed() {
            replace(sentence, listed, |_| None);
        }
        drop_empty(&mut sentence.words);
    }
    sentences.retain(|sentence| !sentence.words.is_empty());
}

/// Replaces the characters of each place where `listed` stands.
fn replace(sentence: &mut Sentence, listed: &str, with: impl Fn(char) -> Option<char>) {
    let listed: Vec<char> = listed.chars().collect();
    // Each character with the word it belongs to; `None` once it is removed.
    let mut spelt: Vec<(usize, Option<char>)> = Vec::new();
    for (at, word) in sentence.words.iter().enumerate() {
        spelt.extend(word.text.chars().map(|c| (at, Some(c))));
    }
    let mut at = 0;
    while at + listed.len() <= spelt.len() {
        let place = at..at + listed.len();
        let same =
            |((_, c), l): (&(usize, Option<char>), &char)| c.is_some_and(|c| c.eq_ignore_ascii_case(l));
        if spelt[place.clone()].iter().zip(&listed).all(same) {
            for (_, c) in &mut spelt[place] {
                *c = c.and_then(&with);
            }
            at += listed.len();
        } else {
            at += 1;
        }
    }
    for word in &mut sentence.words {
        word.text.clear();
    }
    for (word, c) in spelt {
        sentence.words[word].text.extend(c);
    }
}

/// Drops words of which nothing is left; what punctuated them now follows the word before.
fn drop_empty(words: &mut Vec<Word>) {
    let mut kept: Vec<Word> = Vec::new();
    for word in words.drain(..) {
        if !word.text.trim().is_empty() {
            kept.push(word);
        } else if !word.punctuation.is_empty()
            && let Some(before) = kept.last_mut().filter(|before| before.punctuation.is_empty())
        {
            before.text.truncate(before.text.trim_end().len());
            before.punctuation = word.punctuation;
        }
    }
    // No space ends a sentence.
    if let Some(last) = kept.last_mut().filter(|last| last.punctuation.is_empty()) {
        last.text.truncate(last.text.trim_end().len());
    }
    *words = kept;
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Segment, full_text, spread::spread, words},
        *,
    };

    fn filtered(text: &str, json: &str) -> String {
        let mut told = spread(words::sentences(text), &[Segment { begin: 0, end: 1000 }]);
        filter(&mut told, &WordFilter::read(json).unwrap());
        full_text(&told)
    }

    #[test]
    fn listed_words_are_masked_or_removed() {
        let signed = r#"{"filter_with_signed":{"word_list":["test","世界"]}}"#;
        assert_eq!(filtered("A Test, 你好世界。", signed), "A ****, 你好**。");
        let empty = r#"{"filter_with_empty":{"word_list":["test","beginning"]}}"#;
        assert_eq!(filtered("Beginning the test. Test.", empty), "the.");
        assert_eq!(filtered("The test is over, test, is it?", empty), "The is over, is it?");
    }

    #[test]
    fn one_word_may_be_masked_and_another_removed_in_the_same_sentence() {
        let both =
            r#"{"filter_with_signed":{"word_list":["market"]},"filter_with_empty":{"word_list":["bread"]}}"#;
        assert_eq!(filtered("The market sells fresh bread daily.", both), "The ****** sells fresh daily.");
        assert_eq!(filtered("Bread. Market bread", both), "******");
    }
}
