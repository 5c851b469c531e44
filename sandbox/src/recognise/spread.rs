//! Spreads the words of a transcript over the measured speech.
//!
//! Words take the speech in proportion to their length; where a pause is near the border of two sentences
//! or words, the border moves to the pause.

use super::{Segment, Sentence, Word, words::Token};

/// The time that is speech, strung together without its pauses: an offset in it counts milliseconds of speech.
struct Speech<'a> {
    segments: &'a [Segment],
    /// The offset at which each segment ends.
    ends: Vec<u64>,
}

/// The sentences with times within `segments`: in order, and no two words at once.
pub(crate) fn spread(sentences: Vec<Vec<Token>>, segments: &[Segment]) -> Vec<Sentence> {
    let speech = Speech::new(segments);
    let weights = sentences.iter().map(|words| words.iter().map(Token::weight).sum()).collect::<Vec<_>>();
    let borders = speech.borders(0, speech.length(), &weights);
    let with_borders = sentences.into_iter().zip(borders.windows(2));
    with_borders.map(|(words, border)| speech.sentence(words, border[0], border[1])).collect()
}

impl<'a> Speech<'a> {
    fn new(segments: &'a [Segment]) -> Self {
        let mut end = 0;
        let ends = segments.iter().map(|segment| {
            end += segment.length();
            end
        });
        Self { segments, ends: ends.collect() }
    }

    fn length(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn sentence(&self, words: Vec<Token>, from: u64, to: u64) -> Sentence {
        let weights: Vec<u64> = words.iter().map(Token::weight).collect();
        let borders = self.borders(from, to, &weights);
        let words = words.into_iter().zip(borders.windows(2)).map(|(token, border)| {
            let begin = self.time_after(border[0]);
            // A word that has no time of its own begins and ends at once.
            let end = if border[0] == border[1] { begin } else { self.time_before(border[1]) };
            Word { begin, end, text: token.text, punctuation: token.punctuation }
        });
        Sentence { words: words.collect(), speaker: None }
    }

    /// The offsets that part the speech `from`..`to` in proportion to `weights`; one more than there are weights.
    fn borders(&self, from: u64, to: u64, weights: &[u64]) -> Vec<u64> {
        let total: u64 = weights.iter().sum::<u64>().max(1);
        let mut weight = 0;
        let mut even = vec![from];
        even.extend(weights.iter().map(|own| {
            weight += own;
            from + portion(to - from, weight, total)
        }));
        let mut borders = even.clone();
        for at in 1..even.len().saturating_sub(1) {
            // A border stays in its own half of the two parts beside it, and so before the next border.
            let low = even[at] - (even[at] - even[at - 1]) / 2;
            let high = even[at] + (even[at + 1] - even[at]) / 2;
            borders[at] = self.nearest_pause(even[at], low, high).unwrap_or(even[at]);
        }
        borders
    }

    /// The offset of the pause next to `offset`, if there is one from `low` to `high`.
    fn nearest_pause(&self, offset: u64, low: u64, high: u64) -> Option<u64> {
        let pauses = &self.ends[..self.ends.len().saturating_sub(1)];
        let after = pauses.partition_point(|&end| end < offset);
        let near = pauses[after.saturating_sub(1)..].iter().take(2).copied();
        near.filter(|pause| (low..=high).contains(pause)).min_by_key(|pause| pause.abs_diff(offset))
    }

    /// The time at which the speech behind `offset` begins: behind a pause, not before it.
    fn time_after(&self, offset: u64) -> u64 {
        self.time(offset, self.ends.partition_point(|&end| end <= offset))
    }

    /// The time at which the speech before `offset` ends: before a pause, not behind it.
    fn time_before(&self, offset: u64) -> u64 {
        self.time(offset, self.ends.partition_point(|&end| end < offset))
    }

    fn time(&self, offset: u64, segment: usize) -> u64 {
        match (self.segments.get(segment), self.ends.get(segment)) {
            (Some(segment), Some(end)) => segment.end - (end - offset),
            _ => self.segments.last().map_or(0, |last| last.end),
        }
    }
}

/// `length * part / whole`, which is at most `length`.
fn portion(length: u64, part: u64, whole: u64) -> u64 {
    let portion = u128::from(length) * u128::from(part) / u128::from(whole);
    u64::try_from(portion).unwrap_or(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::words::sentences, *};

    fn segments(spans: &[(u64, u64)]) -> Vec<Segment> {
        spans.iter().map(|&(begin, end)| Segment { begin, end }).collect()
    }

    fn spans(sentences: &[Sentence]) -> Vec<(u64, u64)> {
        sentences.iter().map(|sentence| (sentence.begin(), sentence.end())).collect()
    }

    #[test]
    fn words_take_the_speech_in_proportion_to_their_length() {
        let spread = spread(sentences("Abcd ef gh"), &segments(&[(100, 900)]));
        let words: Vec<_> = spread[0].words.iter().map(|w| (w.begin, w.end, w.text.as_str())).collect();
        assert_eq!(words, [(100, 500, "Abcd "), (500, 700, "ef "), (700, 900, "gh")]);
    }

    #[test]
    fn a_sentence_ends_at_the_pause_near_its_end() {
        let speech = segments(&[(200, 1500), (2000, 3000)]);
        assert_eq!(spans(&spread(sentences("One two. Ten six."), &speech)), [(200, 1500), (2000, 3000)]);
    }

    #[test]
    fn more_words_than_milliseconds_still_stand_in_order() {
        let spread = spread(sentences("a b c d e f g h"), &segments(&[(10, 12), (20, 22)]));
        assert_eq!(spans(&spread), [(10, 22)]);
        assert_eq!(spread[0].words.len(), 8);
    }

    prop_compose! {
        fn speech()(gaps in prop::collection::vec((0_u64..900, 1_u64..3000), 1..12)) -> Vec<Segment> {
            let mut at = 0;
            gaps.into_iter().map(|(pause, length)| {
                let begin = at + pause;
                at = begin + length;
                Segment { begin, end: at }
            }).collect()
        }
    }

    proptest! {
        /// Sentences and words stand in order, inside the speech, never two at once, and are the text.
        #[test]
        fn times_are_ordered_and_within_the_speech(
            text in "[a-z]{1,9}([ .,!?]{1,2}[a-zA-Z你好世界。，]{1,9}){0,30}", speech in speech(),
        ) {
            let cut = sentences(&text);
            let wanted: Vec<String> = cut.iter()
                .map(|words| words.iter().flat_map(|t| [t.text.as_str(), &t.punctuation]).collect()).collect();
            let spread = spread(cut, &speech);
            prop_assert_eq!(spread.iter().map(Sentence::text).collect::<Vec<_>>(), wanted);
            let inside = |at: u64| speech.iter().any(|s| (s.begin..=s.end).contains(&at));
            let mut last = speech[0].begin;
            for word in spread.iter().flat_map(|sentence| &sentence.words) {
                prop_assert!(last <= word.begin && word.begin <= word.end, "{:?} after {}", word, last);
                prop_assert!(inside(word.begin) && inside(word.end), "{:?}", word);
                last = word.end;
            }
            prop_assert_eq!(last, speech[speech.len() - 1].end);
        }
    }
}
