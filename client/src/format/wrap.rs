//! Breaks text into lines.

use super::piece::Piece;

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

/// The text of pieces in as few lines as there can be, and these as even as there can be.
pub(super) fn wrap(pieces: &[Piece<'_>], length: usize, indent: usize) -> Vec<String> {
    let count = |length| {
        let mut lines = Lines::new(length, indent);
        pieces.iter().for_each(|piece| _ = lines.add(piece));
        lines.count
    };
    let fewest = count(length);
    let (mut narrow, mut wide) = (0, length);
    while wide - narrow > 1 {
        let middle = narrow + (wide - narrow) / 2;
        if count(middle) > fewest { narrow = middle } else { wide = middle }
    }

    let mut lines = Lines::new(wide, indent);
    let mut texts = vec![String::new()];
    for piece in pieces {
        if lines.add(piece) {
            texts.push(String::new());
        }
        if let Some(text) = texts.last_mut() {
            push(text, piece);
        }
    }
    texts.iter().map(|text| text.trim_end().to_owned()).collect()
}

/// The text of pieces on one line.
pub(super) fn join(pieces: &[Piece<'_>]) -> String {
    let mut text = String::new();
    pieces.iter().for_each(|piece| push(&mut text, piece));
    text.truncate(text.trim_end().len());
    text
}

fn push(text: &mut String, piece: &Piece<'_>) {
    text.push_str(piece.text);
    if piece.is_spaced {
        text.push(' ');
    }
}
