//! Where the trail is written: standard output, or a file that is rotated and followed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

use super::chain::{Before, Link};
use crate::config::Rotation;

/// How much of a file's end is read to find its last signature. A batch is far smaller.
const TAIL: u64 = 32 << 20;

/// Where lines go.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout,
    File(LogFile),
}

/// A file that lines are appended to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    began: Duration,
    rotation: Rotation,
}

impl Sink {
    pub(super) fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text)?;
                stdout.flush()
            }
            Self::File(log) => {
                log.file.write_all(text)?;
                log.bytes += text.len() as u64;
                Ok(())
            }
        }
    }

    /// Has what was written survive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(log) => log.file.sync_data(),
        }
    }

    /// Begins a new file if this one is full or old, or is not at its path any more. Returns whether it did.
    pub(super) fn turn(&mut self, now: Duration) -> io::Result<bool> {
        let Self::File(log) = self else { return Ok(false) };
        let moved = !fs::metadata(&log.path).is_ok_and(|found| {
            log.file.metadata().is_ok_and(|ours| (found.dev(), found.ino()) == (ours.dev(), ours.ino()))
        });
        if !moved {
            let full = log.rotation.bytes.is_some_and(|most| log.bytes >= most);
            let old = log.rotation.time.is_some_and(|most| now.saturating_sub(log.began) >= most);
            if log.bytes == 0 || !log.is_file() || !(full || old) {
                return Ok(false);
            }
            log.file.sync_data()?;
            fs::rename(&log.path, dated(&log.path, now))?;
        }
        *log = LogFile::open(&log.path, log.rotation, now)?;
        Ok(true)
    }
}

impl LogFile {
    pub(super) fn open(path: &Path, rotation: Rotation, now: Duration) -> io::Result<Self> {
        // It says who asked for what, and is nobody else's.
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, began: now, rotation })
    }

    /// Whether it is a file proper: a device or a pipe keeps nothing.
    pub(super) fn is_file(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.is_file())
    }

    /// What a chain that begins at the end of the file builds on.
    pub(super) fn before(&self) -> io::Result<Before> {
        if !self.is_file() {
            return Ok(Before::default());
        }
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        file.take(TAIL).read_to_end(&mut tail)?;
        Ok(last_link(&tail))
    }

    /// Whether the file ends in the middle of a line.
    pub(super) fn is_torn(&self) -> io::Result<bool> {
        if !self.is_file() || self.file.metadata()?.len() == 0 {
            return Ok(false);
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last != *b"\n")
    }
}

fn last_link(tail: &[u8]) -> Before {
    let mut unsigned = 0;
    for line in tail.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty()) {
        if let Some(link) = Link::read(line) {
            let gap = (unsigned > 0).then(|| format!("{unsigned} lines before it are unsigned"));
            let gap = gap.or_else(|| (link.kind != "close").then(|| "the one before did not close".into()));
            return Before { head: link.head(), gap };
        }
        unsigned += 1;
    }
    let gap = (unsigned > 0).then(|| format!("{unsigned} lines before it are unsigned"));
    Before { head: None, gap }
}

/// The path of a file that is full: with the time, and never one that is there.
fn dated(path: &Path, now: Duration) -> PathBuf {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y%m%dT%H%M%SZ");
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 0 { format!(".{time}") } else { format!(".{time}-{number}") });
        PathBuf::from(name)
    };
    (0..).map(name).find(|path| !path.exists()).expect("numbers do not run out")
}
