//! Standard error, and what the commands print: the one place that writes to them.

use std::io::{self, BufWriter, Write};

use crate::exit::Failure;

/// A line for whoever waits: an error, or how far things are.
pub(crate) fn tell(line: &str) {
    // Where nobody listens there is nobody to tell of that either.
    let _ = writeln!(io::stderr(), "{line}");
}

/// A line without control characters: what others wrote does not command the terminal.
pub(crate) fn legible(line: &str) -> String {
    line.replace(char::is_control, " ")
}

/// So many of something that takes an `s` when there are several.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Where results go: standard output.
pub(crate) struct Sink(BufWriter<io::Stdout>);

impl Sink {
    pub(crate) fn stdout() -> Self {
        Self(BufWriter::new(io::stdout()))
    }

    /// Writes what `write` writes, whole.
    pub(crate) fn write(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let written = write(&mut self.0).and_then(|()| self.0.flush());
        written.map_err(|error| Failure::stdout(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legible_line_commands_no_terminal() {
        assert_eq!(legible("a\u{1b}[2Jb\nc 也"), "a [2Jb c 也");
    }

    #[test]
    fn one_is_not_several() {
        assert_eq!([0, 1, 2].map(|n| count(n, "task")), ["0 tasks", "1 task", "2 tasks"]);
    }
}
