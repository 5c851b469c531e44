//! Groups pieces of text into cues.

use std::ops::Range;

use super::{
    piece::{Close, Piece},
    subtitles::Rules,
    wrap::Lines,
};

/// What makes a way to group worse. A thousand for each cue, so that there are few; as much again for a full
/// one by the square of its fullness, so that they are even; and this for what a reader stumbles over:
const CUE: u64 = 1000;
/// A cue that has more sentences than one. Less than [`HASTE`]: a short one joins its neighbour.
const NEXT_SENTENCE: u64 = 2500;
/// A cue that cannot be shown as long as it takes to read it.
const HASTE: u64 = 4000;
/// A cue that ends inside a sentence: at a comma or pause, or not even there.
const AT_CLAUSE: u64 = 200;
const AT_WORD: u64 = 500;

/// A pause like a comma's, in milliseconds.
const BREATH: u64 = 300;

/// The pieces of each cue, in order: of all ways that keep the rules, the one that reads best. `label` is the
/// columns that the name of the voice takes.
pub(super) fn group(pieces: &[Piece<'_>], rules: &Rules, label: usize) -> Vec<Range<usize>> {
    // For each number of pieces: the least cost, and where the last cue begins.
    let mut best = vec![(u64::MAX, 0); pieces.len() + 1];
    best[0].0 = 0;
    for first in 0..pieces.len() {
        let mut cue = Cost::new(rules, rules.indent(label, first));
        for last in first..pieces.len() {
            if !cue.add(&pieces[last], pieces.get(last + 1)) {
                break;
            }
            let cost = best[first].0.saturating_add(cue.cost());
            if cost < best[last + 1].0 {
                best[last + 1] = (cost, first);
            }
        }
    }
    let mut cues = Vec::new();
    let mut end = pieces.len();
    while end > 0 {
        cues.push(best[end].1..end);
        end = best[end].1;
    }
    cues.reverse();
    cues
}

/// What a cue costs, while it grows by a piece at a time.
struct Cost<'r> {
    rules: &'r Rules,
    lines: Lines,
    columns: usize,
    /// The sentences that ended before the last piece.
    sentences: u64,
    time: Range<u64>,
    /// Until when it can be shown.
    until: u64,
    close: Option<Close>,
}

impl<'r> Cost<'r> {
    fn new(rules: &'r Rules, indent: usize) -> Self {
        let lines = Lines::new(rules.line_length, indent);
        Self { rules, lines, columns: indent, sentences: 0, time: 0..0, until: 0, close: None }
    }

    /// Adds a piece, before `next`. Whether the rules allow it; the first is always allowed.
    fn add(&mut self, piece: &Piece<'_>, next: Option<&Piece<'_>>) -> bool {
        self.lines.add(piece);
        self.columns += piece.columns + usize::from(piece.is_spaced);
        if let Some(close) = self.close {
            let fits = self.lines.count <= self.rules.lines
                && piece.time.end - self.time.start <= self.rules.max_duration
                && piece.time.start - self.time.end <= self.rules.max_pause;
            if !fits {
                return false;
            }
            self.sentences += u64::from(close == Close::Sentence);
        } else {
            self.time.start = piece.time.start;
        }
        self.time.end = piece.time.end;
        self.until = next.map_or(u64::MAX, |next| next.time.start);
        let pauses = self.until - self.time.end >= BREATH;
        self.close = Some(if piece.close == Close::Word && pauses { Close::Clause } else { piece.close });
        true
    }

    fn cost(&self) -> u64 {
        let capacity = self.rules.line_length.saturating_mul(self.rules.lines);
        // In thousandths.
        let fullness = (self.columns.min(capacity) as u64).saturating_mul(CUE) / capacity as u64;
        let close = match self.close {
            Some(Close::Sentence) | None => 0,
            Some(Close::Clause) => AT_CLAUSE,
            Some(Close::Word) => AT_WORD,
        };
        let haste = if self.until - self.time.start < self.rules.min_duration { HASTE } else { 0 };
        CUE + fullness * fullness / CUE + self.sentences * NEXT_SENTENCE + close + haste
    }
}
