//! Checks a trail: every signature, and every link from one chain to the next.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::{
    chain::{Head, Keys, Link},
    trail::UNREAD,
};
use crate::config::AuditKey;

/// The longest line that is read; a record has a few hundred bytes.
const LONGEST_LINE: u64 = 1 << 20;
/// The most that one signature may cover: far more than a full queue.
const LARGEST_BATCH: usize = 256 << 20;

/// What a check has found.
#[derive(Debug, Default)]
pub struct Report {
    /// Lines that a right signature covers.
    pub lines: u64,
    /// Signatures that are right.
    pub signatures: u64,
    /// When the first and the last signature were made, in Unix seconds.
    pub span: Option<(f64, f64)>,
    /// What is wrong; nothing, if the trail is whole.
    pub findings: Vec<Finding>,
    /// Whether the trail ends with the end of a broker; otherwise what came after its last signature may
    /// be missing, and nobody can tell.
    pub closed: bool,
}

/// Something that is wrong with a trail.
#[derive(Debug, Eq, PartialEq)]
pub struct Finding {
    /// In which file.
    pub file: PathBuf,
    /// The lines that it is about, counted from 1.
    pub lines: (u64, u64),
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.lines;
        let lines = if first == last { format!("{first}") } else { format!("{first}-{last}") };
        write!(f, "{}:{lines}: {}", self.file.display(), self.what)
    }
}

/// Checks `files`, oldest first.
///
/// # Errors
/// If a file cannot be read.
pub fn verify(files: &[PathBuf], key: &AuditKey) -> io::Result<Report> {
    let mut check = Check { keys: Keys::of(key), head: None, report: Report::default(), begun: false };
    for file in files {
        check.file(file)?;
    }
    Ok(check.report)
}

struct Check {
    keys: Keys,
    /// The last signature.
    head: Option<Head>,
    /// Whether a signature was seen at all.
    begun: bool,
    report: Report,
}

impl Check {
    fn file(&mut self, path: &Path) -> io::Result<()> {
        let mut reader = BufReader::new(File::open(path)?);
        // The lines since the last signature, and how many they are.
        let (mut lines, mut unsigned) = (Vec::new(), 0);
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            if (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            number += 1;
            match Link::read(&line) {
                Some(link) => {
                    self.link(&link, &lines, &line, path, (number - unsigned, number));
                    lines.clear();
                    unsigned = 0;
                }
                None => {
                    unsigned += 1;
                    if lines.len() < LARGEST_BATCH {
                        lines.extend_from_slice(&line);
                    }
                }
            }
        }
        if unsigned > 0 {
            let what = "no signature covers these lines; a broker that runs will sign them, one that was cut off cannot";
            self.find(path, (number - unsigned + 1, number), what);
        }
        Ok(())
    }

    fn link(&mut self, link: &Link, lines: &[u8], line: &[u8], path: &Path, at: (u64, u64)) {
        let before = at.1.saturating_sub(1);
        if link.kind == "open" {
            if !lines.is_empty() {
                self.find(path, (at.0, before), "no signature covers these lines");
            }
            if self.begun && link.previous() != self.head {
                self.find(path, (at.1, at.1), "does not continue what stands before it: lines are missing");
            }
            // Of a trail that nobody can read back, each start says so; before the first one given there is nothing to miss.
            if let Some(gap) = link.gap.as_ref().filter(|gap| self.begun || *gap != UNREAD) {
                self.find(path, (at.1, at.1), &format!("the broker noted a gap before this line: {gap}"));
            }
            if !link.is_right(&self.keys, link.previous().as_ref(), &[], line) {
                self.find(path, (at.1, at.1), "this line was altered, or the key is not its");
            } else {
                self.report.signatures += 1;
            }
        } else if link.is_right(&self.keys, self.head.as_ref(), lines, line) {
            self.report.signatures += 1;
            self.report.lines += at.1 - at.0;
        } else {
            self.find(path, at, "one of these lines was altered, added or removed, or the key is not theirs");
        }
        let first = self.report.span.map_or(link.time, |(first, _)| first);
        self.report.span = Some((first, link.time));
        self.report.closed = link.kind == "close";
        (self.head, self.begun) = (link.head(), true);
    }

    fn find(&mut self, file: &Path, lines: (u64, u64), what: &str) {
        self.report.findings.push(Finding { file: file.to_owned(), lines, what: what.to_owned() });
    }
}
