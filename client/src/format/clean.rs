//! Text as it may stand in a line of a file.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Appends `text`, with one space for any white space and control characters in a row, and none at the
/// beginning of the line.
pub(super) fn append(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            c if !is_blank(c) => line.push(c),
            _ if line.is_empty() || line.ends_with(' ') => {}
            _ => line.push(' '),
        }
    }
}

/// Ends a sentence before `next` begins: with a space, unless one of them is of a script without spaces.
pub(super) fn part(line: &mut String, next: &str) {
    let open = |c: Option<char>| c.is_some_and(|c| !is_blank(c) && !is_wide(c));
    if open(line.chars().next_back()) && open(next.chars().next()) {
        line.push(' ');
    }
}

/// `text` on one line, without space around it.
pub(super) fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    append(&mut line, text);
    line.truncate(line.trim_end().len());
    line
}

/// The columns that `text` takes: two for a full-width character; at least one in all, so that a line has
/// no more characters without width than there is text with it.
pub(super) fn columns(text: &str) -> usize {
    text.width().max(1)
}

/// Whether a character takes two columns, as those of Chinese and Japanese.
pub(super) fn is_wide(c: char) -> bool {
    c.width() == Some(2)
}

/// Whether a character is shown as a space, if at all.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}
