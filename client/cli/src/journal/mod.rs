//! The journal of what was submitted: on disk before it is paid for, so that nothing is paid for twice.
//!
//! A line that money hangs on is on disk (fsync) when [`Journal::note`] returns.

mod entry;
mod place;
mod state;

use std::{
    collections::HashSet,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use valet_client::TaskId;
use valet_clock::SharedClock;

use self::entry::{Line, VERSION};
pub(crate) use self::{
    entry::{Again, Entry, Intent, Planned, Run, Subject},
    place::{all, default_path},
    state::{Attempt, Standing, State},
};
use crate::{durable, exit::Failure};

/// No journal grows beyond this; it would be of several hundred thousand recordings.
const MAX_SIZE: u64 = 64 << 20;

/// How every line begins.
const BEGINNING: &[u8] = br#"{"at":""#;
/// The code of the failure that another run has the journal open.
pub(crate) const LOCKED: &str = "Locked";

/// A journal that no other run has open.
pub(crate) struct Journal {
    path: PathBuf,
    clock: SharedClock,
    file: File,
    size: u64,
    state: State,
}

impl Journal {
    /// Opens the journal at `path`, or begins it. It must be about `subject`.
    pub(crate) fn open(path: &Path, subject: &Subject, clock: &SharedClock) -> Result<Self, Failure> {
        let made = begun(path).map_err(|error| failed(path, &error.to_string()))?;
        let mut journal = Self::locked(path, made, clock)?;
        match &journal.state.subject {
            None => journal.note(Entry::Journal { version: VERSION, subject: subject.clone() })?,
            Some(known) if known == subject => {}
            Some(_) => {
                let problem = "it is about requests with other parameters, or to another service; use another \
                               file, or none";
                return Err(failed(path, problem));
            }
        }
        Ok(journal)
    }

    /// Opens the journal at `path`, whatever it is about.
    pub(crate) fn existing(path: &Path, clock: &SharedClock) -> Result<Self, Failure> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        Self::locked(path, file.map_err(|error| failed(path, &error.to_string()))?, clock)
    }

    fn locked(path: &Path, file: File, clock: &SharedClock) -> Result<Self, Failure> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let problem = "another run has it open: wait for its end, or give this one a journal of its own \
                               with --journal FILE";
                let mut failure = failed(path, problem);
                failure.code = LOCKED.into();
                return Err(failure);
            }
            Err(TryLockError::Error(error)) => {
                return Err(failed(
                    path,
                    &format!("it cannot be locked: {error}; use --journal FILE elsewhere"),
                ));
            }
        }
        let mut journal =
            Self { path: path.to_owned(), clock: clock.clone(), file, size: 0, state: State::default() };
        journal.size = journal.replay()?;
        Ok(journal)
    }

    /// How things stand.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Adds a line. It is on disk afterwards, if anything hangs on it.
    pub(crate) fn note(&mut self, entry: Entry) -> Result<(), Failure> {
        // What is lost of these is found out again without paying.
        let hangs = !matches!(entry, Entry::Done { .. } | Entry::Failed { .. } | Entry::Lost { .. });
        let at = Timestamp::UNIX_EPOCH.saturating_add(self.clock.unix()).unwrap_or(Timestamp::MAX);
        let line = Line { at, entry };
        let mut text = serde_json::to_string(&line).map_err(|error| self.failed(&error.to_string()))?;
        text.push('\n');
        if self.size + text.len() as u64 > MAX_SIZE {
            let problem =
                format!("it would grow beyond {} MiB; begin another with --journal FILE", MAX_SIZE >> 20);
            return Err(self.failed(&problem));
        }
        let written = self.file.write_all(text.as_bytes());
        let written = written.and_then(|()| if hangs { self.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // Half a line may be there, and the next one is not to be written behind it.
            let size = self.size;
            let _ = self.file.set_len(size).and_then(|()| self.file.seek(SeekFrom::Start(size)));
            return Err(self.failed(&error.to_string()));
        }
        self.size += text.len() as u64;
        self.state.take(line).map_err(|problem| self.failed(&problem))
    }

    /// Reads all lines, drops a torn last one, and stands at the end.
    fn replay(&mut self) -> Result<u64, Failure> {
        let text = read(&self.path, &mut self.file)?;
        let (state, whole) = folded(&self.path, &text)?;
        self.state = state;
        let tidied = (|| {
            self.file.set_len(whole as u64)?;
            self.file.seek(SeekFrom::Start(whole as u64))?;
            // The last line may lack its end.
            let ends = whole == 0 || text[whole - 1] == b'\n';
            if ends { Ok(whole as u64) } else { self.file.write_all(b"\n").map(|()| whole as u64 + 1) }
        })();
        tidied.map_err(|error: io::Error| self.failed(&error.to_string()))
    }

    fn failed(&self, problem: &str) -> Failure {
        failed(&self.path, problem)
    }
}

/// What the journal at `path` says, if there is one; for those who only look.
pub(crate) fn glance(path: &Path) -> Result<State, Failure> {
    match File::open(path) {
        Ok(mut file) => folded(path, &read(path, &mut file)?).map(|(state, _)| state),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
        Err(error) => Err(failed(path, &error.to_string())),
    }
}

/// The tasks that are known to be of any journal in `folder`.
pub(crate) fn tasks_in(folder: &Path) -> Result<HashSet<TaskId>, Failure> {
    let paths = all(folder).map_err(|error| failed(folder, &error.to_string()))?;
    let tasks = paths.iter().map(|path| Ok(glance(path)?.tasks())).collect::<Result<Vec<_>, Failure>>()?;
    Ok(tasks.into_iter().flatten().collect())
}

/// The file, for its owner alone: URLs may be signed.
fn begun(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        durable::private_folder(folder)?;
    }
    let is_new = !path.exists();
    let file = durable::private(OpenOptions::new().read(true).write(true).create(true)).open(path)?;
    if is_new {
        durable::sync_folder_of(path)?;
    }
    Ok(file)
}

fn read(path: &Path, file: &mut File) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let read = file.take(MAX_SIZE + 1).read_to_end(&mut text);
    match read.map_err(|error| failed(path, &error.to_string()))? as u64 {
        size if size > MAX_SIZE => Err(failed(path, &format!("it is larger than {} MiB", MAX_SIZE >> 20))),
        _ => Ok(text),
    }
}

/// What the lines say, and how many bytes of them are whole. Only the last one may be torn: all before it
/// were written before anything else was done. A first one that is not ours is none of a journal: what is
/// there is somebody's, and stays.
fn folded(path: &Path, text: &[u8]) -> Result<(State, usize), Failure> {
    let (mut state, mut whole) = (State::default(), 0);
    for (number, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match serde_json::from_slice::<Line>(line) {
            Ok(line) => state.take(line).map_err(|problem| damaged(path, number, &problem))?,
            Err(_) if number == 0 && !is_begun(line) => {
                return Err(failed(path, "it is no journal; name another file with --journal FILE"));
            }
            Err(_) if whole + line.len() == text.len() => break,
            Err(error) => return Err(damaged(path, number, &error.to_string())),
        }
        whole += line.len();
    }
    Ok((state, whole))
}

/// Whether a first line that cannot be read may be one of ours that was cut off: as far as it goes it begins
/// like one, or it was never filled in.
fn is_begun(line: &[u8]) -> bool {
    let alike = line.iter().zip(BEGINNING).all(|(is, should)| is == should);
    !line.ends_with(b"\n") && (alike || line.iter().all(|&byte| byte == 0))
}

fn damaged(path: &Path, number: usize, problem: &str) -> Failure {
    let line = number + 1;
    failed(
        path,
        &format!("line {line} is not right: {problem}; repair it, or begin another with --journal FILE"),
    )
}

fn failed(path: &Path, problem: &str) -> Failure {
    Failure::files(format!("the journal {}: {problem}", path.display()))
}

#[cfg(test)]
mod tests;
