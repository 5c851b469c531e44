//! Cuts text into sentences and words, as the service does; knows no time.
//!
//! Words of scripts with spaces are parted by them, Chinese and Japanese go character by character, and
//! punctuation stands in a field of its own (sample in Qwen Cloud, *Fun-ASR recording, RESTful API*).

/// A word and what follows it up to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) punctuation: String,
}

impl Token {
    /// How long the word takes to say, in arbitrary units: an ideograph is a syllable, a letter half of one.
    pub(crate) fn weight(&self) -> u64 {
        self.text.chars().filter(|c| !c.is_whitespace()).map(|c| if is_ideographic(c) { 2 } else { 1 }).sum()
    }
}

/// The sentences of `text`, each with at least one word. Spaces and line breaks count as one space.
///
/// The tokens of a sentence, written one after the other, are the sentence.
pub(crate) fn sentences(text: &str) -> Vec<Vec<Token>> {
    let text: Vec<char> = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().collect();
    let mut sentences = Vec::new();
    let mut sentence: Vec<Token> = Vec::new();
    let mut at = skip(&text, 0, |c| !is_word(c));
    let mut lead = text[..at].iter().collect::<String>();
    while at < text.len() {
        let word_end = word_end(&text, at);
        let gap_end = skip(&text, word_end, |c| !is_word(c));
        let split = if gap_end == text.len() { gap_end } else { next_lead(&text, word_end, gap_end) };
        let gap: String = text[word_end..split].iter().collect();
        let mut token = Token { text: lead, punctuation: String::new() };
        token.text.extend(&text[at..word_end]);
        let ends = split == text.len() || ends_sentence(&gap);
        if ends {
            token.punctuation = gap.trim_end().to_owned();
        } else if gap == " " {
            token.text.push(' ');
        } else {
            token.punctuation = gap;
        }
        sentence.push(token);
        if ends {
            sentences.push(std::mem::take(&mut sentence));
        }
        lead = text[split..gap_end].iter().collect();
        at = gap_end;
    }
    sentences
}

/// Characters written without spaces between words, and the punctuation that goes with them.
pub(crate) fn is_ideographic(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{30ff}' | '\u{31f0}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff01}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}')
}

/// Whether no space is written before or after a character.
pub(crate) fn is_unspaced(c: char) -> bool {
    c.is_whitespace() || is_ideographic(c)
}

fn is_punctuation(c: char) -> bool {
    matches!(c, '!' | '"' | '\'' | '(' | ')' | ',' | '-' | '.' | ':' | ';' | '?' | '[' | ']' | '{' | '}'
        | '¡' | '¿' | '«' | '»' | '·' | '،' | '؛' | '؟' | '।' | '\u{2010}'..='\u{2027}' | '\u{2039}' | '\u{203a}'
        | '\u{3000}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301f}'
        | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}' | '\u{ff3b}'..='\u{ff3d}' | '\u{ff5b}'..='\u{ff65}')
}

/// Whether a character is part of a word, and no punctuation or space.
pub(crate) fn is_word(c: char) -> bool {
    !c.is_whitespace() && !is_punctuation(c)
}

/// The index behind the word that begins at `at`.
fn word_end(text: &[char], at: usize) -> usize {
    if is_ideographic(text[at]) {
        return at + 1;
    }
    let mut end = at + 1;
    loop {
        end = skip(text, end, |c| is_word(c) && !is_ideographic(c));
        // Punctuation inside a word: "don't", "3.14", "1,000", "well-known".
        let inside = |c: char| matches!(c, '\'' | '’' | '-' | '.' | ':') && !c.is_whitespace();
        let next = text.get(end + 1).copied().filter(|&c| c.is_alphanumeric() && !is_ideographic(c));
        let number = next.is_some_and(|c| c.is_ascii_digit()) && text[end - 1].is_ascii_digit();
        match (text.get(end), next) {
            (Some(&c), Some(_)) if inside(c) || (c == ',' && number) => end += 1,
            _ => return end,
        }
    }
}

/// Where, in the gap between two words, what belongs to the next one begins: an opening quote or bracket
/// directly before it, or a mark that a space parts from the word before ("he said -so").
fn next_lead(text: &[char], from: usize, to: usize) -> usize {
    let gap = &text[from..to];
    match gap.iter().rposition(|c| c.is_whitespace()) {
        Some(space) => from + space + 1,
        None => from + gap.iter().rposition(|&c| !is_opening(c)).map_or(0, |last| last + 1),
    }
}

fn is_opening(c: char) -> bool {
    matches!(
        c,
        '(' | '['
            | '{'
            | '¡'
            | '¿'
            | '«'
            | '“'
            | '‘'
            | '「'
            | '『'
            | '《'
            | '〈'
            | '（'
            | '【'
            | '〔'
            | '［'
            | '｛'
    )
}

/// Whether what follows a word ends its sentence. A Latin stop does so before a space or the end only.
fn ends_sentence(gap: &str) -> bool {
    gap.contains(['。', '！', '？', '｡', '।', '؟', '…'])
        || (gap.contains(['.', '!', '?']) && gap.contains(' '))
}

fn skip(text: &[char], from: usize, matches: impl Fn(char) -> bool) -> usize {
    text[from..].iter().position(|&c| !matches(c)).map_or(text.len(), |found| from + found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str) -> Vec<Vec<(String, String)>> {
        let pairs = |sentence: Vec<Token>| sentence.into_iter().map(|t| (t.text, t.punctuation)).collect();
        sentences(text).into_iter().map(pairs).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(text, punctuation)| ((*text).to_owned(), (*punctuation).to_owned())).collect()
    }

    #[test]
    fn words_are_cut_as_in_the_documented_sample() {
        assert_eq!(
            cut("Hello world, this is Alibaba Speech Lab."),
            [pairs(&[
                ("Hello ", ""),
                ("world", ", "),
                ("this ", ""),
                ("is ", ""),
                ("Alibaba ", ""),
                ("Speech ", ""),
                ("Lab", ".")
            ])]
        );
    }

    #[test]
    fn chinese_is_cut_by_the_character() {
        assert_eq!(
            cut("你好，世界。AI 好！\n"),
            [
                pairs(&[("你", ""), ("好", "，"), ("世", ""), ("界", "。")]),
                pairs(&[("AI ", ""), ("好", "！")])
            ]
        );
    }

    #[test]
    fn punctuation_inside_a_word_is_part_of_it() {
        assert_eq!(
            cut("Don't pay 1,000.50 now! “Well-known,” (he) said"),
            [
                pairs(&[("Don't ", ""), ("pay ", ""), ("1,000.50 ", ""), ("now", "!")]),
                pairs(&[("“Well-known", ",” "), ("(he", ") "), ("said", "")])
            ]
        );
    }

    #[test]
    fn text_without_a_word_has_no_sentence() {
        assert_eq!(cut(""), Vec::<Vec<_>>::new());
        assert_eq!(cut(" ... — !\n"), Vec::<Vec<_>>::new());
    }

    proptest! {
        /// Nothing is lost or made up: only the space between sentences is left out.
        #[test]
        fn the_tokens_are_the_text(text in "[a-zA-Z0-9 ,.!?'\"()你好世界。，！「」\\-…\n]{0,80}") {
            let cut = sentences(&text);
            let joined: String =
                cut.iter().flatten().flat_map(|t| [t.text.as_str(), &t.punctuation]).collect();
            let bare = |s: &str| s.split_whitespace().collect::<String>();
            if !cut.is_empty() {
                prop_assert_eq!(bare(&joined), bare(&text));
            }
            for token in cut.iter().flatten() {
                prop_assert!(token.text.chars().any(is_word), "{:?}", token);
                prop_assert!(token.weight() > 0);
            }
        }
    }
}
