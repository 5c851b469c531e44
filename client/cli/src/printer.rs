//! Standard error, and what the commands print: the one place that writes to them.
#![expect(clippy::print_stderr, reason = "a command's own printer")]

use std::io::{self, BufWriter, Write};

use crate::exit::Failure;

/// A line for whoever waits: an error, or how far things are.
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}

/// A line without control characters: what others wrote does not command the terminal.
pub(crate) fn legible(line: &str) -> String {
    line.replace(char::is_control, " ")
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
        written.map_err(|error| Failure::files(format!("standard output: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legible_line_commands_no_terminal() {
        assert_eq!(legible("a\u{1b}[2Jb\nc 也"), "a [2Jb c 也");
    }
}
