//! The ledger's files: one a day of UTC and start of a broker, so that old days are dropped by dropping files.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::Entry;

/// A line is not longer than this: a handle, two names and an id.
const LONGEST: u64 = 16 << 10;
const DAY: u64 = 24 * 3600;

/// The folder of the ledger in that of the broker's state, which is made if it is not there.
pub(super) fn folder(state: &Path) -> io::Result<PathBuf> {
    let folder = state.join("tasks");
    match DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(folder),
    }
}

/// The day of a time.
pub(super) fn day(unix: Duration) -> Date {
    let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_zoned(TimeZone::UTC).date()
}

/// The name of a start of a broker, in the order of starts.
pub(super) fn start(now: Duration, instance: &str) -> String {
    format!("{:015}-{instance}", now.as_millis())
}

/// Opens the file of a day for a start of a broker. It says who had what transcribed, and is nobody else's.
pub(super) fn open(folder: &Path, day: Date, start: &str) -> io::Result<File> {
    let path = folder.join(format!("{day}.{start}.jsonl"));
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// The files of the days from one to another, by day, and those of a day by the broker's starts.
pub(super) fn between(folder: &Path, from: Date, to: Date) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if day_of(&path).is_some_and(|day| (from..=to).contains(&day)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Drops the files of days more than `keep` days before `now`. One that cannot be dropped is in nobody's way.
pub(super) fn prune(folder: &Path, keep: u32, now: Duration) {
    let first = day(now.saturating_sub(Duration::from_secs(u64::from(keep) * DAY)));
    let old = between(folder, Date::MIN, first.yesterday().unwrap_or(Date::MIN));
    let dropped = old.and_then(|old| old.iter().map(|path| drop_one(path)).fold(Ok(()), Result::and));
    if let Err(error) = dropped {
        tracing::warn!(folder = %folder.display(), %error, "days of the ledger that are over cannot be dropped");
    }
}

/// Drops a file, unless another broker was quicker.
fn drop_one(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

fn day_of(path: &Path) -> Option<Date> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".jsonl")?.split('.').next()?.parse().ok()
}

/// The lines of a file, in their order. One that cannot be read, as the last before a power cut, is passed over.
pub(super) fn read(path: &Path) -> io::Result<(Vec<Entry>, usize)> {
    let (mut file, mut entries, mut unread) = (BufReader::new(File::open(path)?), Vec::new(), 0);
    loop {
        let mut line = Vec::new();
        if file.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok((entries, unread));
        }
        match serde_json::from_slice(&line) {
            Ok(entry) => entries.push(entry),
            Err(_) => unread += 1,
        }
    }
}
