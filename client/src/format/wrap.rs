//! Breaks text into lines.

use super::piece::{Close, Piece};

/// Lines as they fill: a piece goes on the line if it fits there, and on the next otherwise.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    length: usize,
    /// How many there are.
    pub(super) count: usize,
    /// The columns taken on the last one, with the space at its end.
    taken: usize,
    is_fresh: bool,
}

impl Lines {
    /// Lines of `length` columns, `indent` of which are taken on the first.
    pub(super) fn new(length: usize, indent: usize) -> Self {
        Self { length, count: 1, taken: indent, is_fresh: true }
    }

    /// Adds a piece. Whether it begins a new line.
    pub(super) fn add(&mut self, piece: &Piece<'_>) -> bool {
        let breaks = !self.is_fresh && self.taken + piece.columns > self.length;
        if breaks {
            self.count += 1;
            self.taken = 0;
        }
        self.is_fresh = false;
        self.taken += piece.columns + usize::from(piece.is_spaced);
        breaks
    }
}

/// A line that breaks where nothing pauses, as much as a full one; both by the square of their fullness.
const AT_WORD: usize = 150;
const FULL: usize = 1000;

/// The text of pieces in as few lines as there can be; of all ways to do so, where they are even and break
/// after a clause. `indent` columns are taken on the first line.
pub(super) fn wrap(pieces: &[Piece<'_>], length: usize, indent: usize) -> Vec<String> {
    // For each number of pieces: the fewest lines, their least cost, and where the last one begins.
    let mut best = vec![(usize::MAX, 0, 0); pieces.len() + 1];
    best[0].0 = 0;
    for first in 0..pieces.len() {
        let (count, cost, _) = best[first];
        let mut line = Lines::new(length, if first == 0 { indent } else { 0 });
        for last in first..pieces.len() {
            if line.add(&pieces[last]) {
                break;
            }
            let fullness = line.taken.min(length).saturating_mul(FULL) / length;
            let is_torn = pieces[last].close == Close::Word && last + 1 < pieces.len();
            let cost = cost + fullness * fullness / FULL + if is_torn { AT_WORD } else { 0 };
            best[last + 1] = best[last + 1].min((count + 1, cost, first));
        }
    }
    let mut lines = Vec::new();
    let mut end = pieces.len();
    while end > 0 {
        let first = best[end].2;
        lines.push(join(&pieces[first..end]));
        end = first;
    }
    lines.reverse();
    lines
}

/// The text of pieces on one line.
pub(super) fn join(pieces: &[Piece<'_>]) -> String {
    let mut line = String::new();
    for piece in pieces {
        line.push_str(piece.text);
        if piece.is_spaced {
            line.push(' ');
        }
    }
    line.truncate(line.trim_end().len());
    line
}
