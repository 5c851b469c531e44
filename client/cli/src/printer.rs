//! Standard output, standard error and `--out`: the one place that writes to them.
#![expect(clippy::print_stderr, reason = "a command's own printer")]

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::exit::Failure;

/// A line for whoever waits: an error, or how far things are.
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}

/// A line without control characters: what others wrote does not command the terminal.
pub(crate) fn legible(line: &str) -> String {
    line.replace(char::is_control, " ")
}

/// Where results go: a file, or standard output.
pub(crate) struct Sink {
    path: Option<PathBuf>,
    /// From the first result on.
    to: Option<Box<dyn Write>>,
}

impl Sink {
    /// The file at `path`, or standard output. The file is tried now, so that nothing is paid for that
    /// cannot be kept; it is overwritten only when there is a result.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let sink = Self { path: path.map(Path::to_owned), to: None };
        match path.map(|path| OpenOptions::new().append(true).create(true).open(path)) {
            Some(Err(error)) => Err(sink.failed(&error)),
            _ => Ok(sink),
        }
    }

    /// Writes what `write` writes, whole.
    pub(crate) fn write(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        self.begun().and_then(|to| write(to).and_then(|()| to.flush())).map_err(|error| self.failed(&error))
    }

    fn begun(&mut self) -> io::Result<&mut dyn Write> {
        let to: Box<dyn Write> = match (self.to.take(), &self.path) {
            (Some(to), _) => to,
            (None, Some(path)) => Box::new(BufWriter::new(File::create(path)?)),
            (None, None) => Box::new(BufWriter::new(io::stdout())),
        };
        Ok(self.to.insert(to))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let name =
            self.path.as_ref().map_or("standard output".into(), |path| format!("--out {}", path.display()));
        Failure::files(format!("{name}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_legible_line_commands_no_terminal() {
        assert_eq!(legible("a\u{1b}[2Jb\nc 也"), "a [2Jb c 也");
    }

    #[test]
    fn a_file_is_overwritten_by_the_first_result_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        fs::write(&path, "what an earlier run left").unwrap();
        let mut sink = Sink::open(Some(&path)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "what an earlier run left");
        for part in ["a", "b"] {
            sink.write(|to| to.write_all(part.as_bytes())).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "ab");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let failure = Sink::open(Some(folder.path())).err().expect("it is a folder");
        assert_eq!(failure.exit, Exit::Files);
        assert!(failure.to_string().starts_with("--out "));
    }
}
