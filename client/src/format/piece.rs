//! Pieces of text that neither a line nor a cue breaks.

use std::ops::Range;

use unicode_linebreak::{BreakClass, break_property, linebreaks};

use super::{
    clean,
    turn::{Spoken, Turn},
};

/// A piece of text that neither a line nor a cue breaks.
#[derive(Clone, Debug)]
pub(super) struct Piece<'t> {
    /// Without the space that follows it.
    pub(super) text: &'t str,
    /// Whether a space follows it on the same line.
    pub(super) is_spaced: bool,
    pub(super) columns: usize,
    /// In milliseconds.
    pub(super) time: Range<u64>,
    pub(super) close: Close,
}

/// What ends with a piece.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Close {
    Word,
    Clause,
    Sentence,
}

/// Cuts a turn where a line may break (UAX #14) and a word ends. A piece of more than `columns` is cut inside
/// a word if a line may break there, or between words of a script that shows no boundaries, as Thai.
pub(super) fn pieces(turn: &Turn, columns: usize) -> Vec<Piece<'_>> {
    let breaks: Vec<usize> = linebreaks(&turn.text).map(|(at, _)| at).collect();
    let ends: Vec<usize> = turn.words.iter().map(|word| word.range.end).collect();
    let is_break = |at: &usize| breaks.binary_search(at).is_ok();
    let is_wide = |range: &Range<usize>| clean::columns(turn.text[range.clone()].trim_end()) > columns;

    let mut ranges = Vec::new();
    let both = ends.iter().copied().filter(is_break);
    for whole in between(0..turn.text.len(), both) {
        if !is_wide(&whole) {
            ranges.push(whole);
            continue;
        }
        for part in between(whole.clone(), inside(&breaks, &whole)) {
            if is_wide(&part) {
                let is_hidden = |at: &usize| shows_no_boundary(&turn.text, *at);
                ranges.extend(between(part.clone(), inside(&ends, &part).filter(is_hidden)));
            } else {
                ranges.push(part);
            }
        }
    }
    ranges.into_iter().map(|range| piece(turn, range)).collect()
}

/// Whether a position is amid a script that shows no boundaries: class SA of UAX #14.
fn shows_no_boundary(text: &str, at: usize) -> bool {
    let is_complex = |c: char| break_property(u32::from(c)) == BreakClass::ComplexContext;
    text[..at].ends_with(is_complex) && text[at..].starts_with(is_complex)
}

/// The positions that are inside a range, of some in order.
fn inside<'p>(positions: &'p [usize], range: &Range<usize>) -> impl Iterator<Item = usize> + use<'p> {
    let first = positions.partition_point(|at| *at <= range.start);
    let last = positions.partition_point(|at| *at < range.end);
    positions[first..last.max(first)].iter().copied()
}

/// A range, cut at some positions in order.
fn between(range: Range<usize>, at: impl Iterator<Item = usize>) -> impl Iterator<Item = Range<usize>> {
    let mut start = range.start;
    at.chain([range.end]).filter_map(move |end| {
        let part = start..end;
        start = end;
        (!part.is_empty()).then_some(part)
    })
}

fn piece(turn: &Turn, range: Range<usize>) -> Piece<'_> {
    let last = turn.words.partition_point(|word| word.range.end < range.end);
    let first = turn.words.partition_point(|word| word.range.end <= range.start);
    let (first, last) = (&turn.words[first], &turn.words[last]);
    let whole = &turn.text[range.clone()];
    let text = whole.trim_end();
    let close = match text.chars().next_back() {
        _ if last.ends && last.range.end == range.end => Close::Sentence,
        Some(c) if !c.is_alphanumeric() => Close::Clause,
        _ => Close::Word,
    };
    Piece {
        text,
        is_spaced: text.len() < whole.len(),
        columns: clean::columns(text),
        time: at(first, range.start)..at(last, range.end),
        close,
    }
}

/// When a word has been said as far as a position in it.
fn at(word: &Spoken, position: usize) -> u64 {
    let (said, all) = (position - word.range.start, word.range.len());
    word.time.start + (word.time.end - word.time.start) * said as u64 / all as u64
}
