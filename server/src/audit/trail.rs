//! A bounded queue of records, and the thread that writes them in batches.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use valet_clock::SharedClock;

use super::{
    Event, Record,
    chain::Keys,
    sink::{LogFile, Sink},
    writer,
};
use crate::config::{Audit, AuditKey};

/// Entries that may wait for the writer; beyond it they are counted as lost.
pub(super) const CAPACITY: usize = 65_536;

/// Takes records; clones share one queue.
#[derive(Clone, Debug)]
pub struct Trail(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Mutex<Queue>,
    pub(super) filled: Condvar,
    /// Entries that found no room, or could not be written, and that no line has told of yet.
    pub(super) lost: AtomicU64,
    /// Whether the last write failed, or the writer is gone.
    pub(super) failing: AtomicBool,
    pub(super) metrics: Metrics,
    refuses: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) entries: Vec<Entry>,
    pub(super) closed: bool,
}

/// What waits to be written.
#[derive(Debug)]
pub(super) enum Entry {
    Decision(Record),
    Event(Event, Duration),
    /// What comes after it is written elsewhere.
    Turn(Box<Target>),
}

/// Before a trail on standard output, or in a pipe.
pub(super) const UNREAD: &str = "what was written before cannot be read back";
/// Before a trail whose file is new and whose key is not.
const TAKEN_AWAY: &str = "the file is new and its key is not: what was written before is not here";

/// Where a trail is written, and what it is signed with: opened, so that a turn to it cannot fail.
#[derive(Debug)]
pub struct Target {
    pub(super) sink: Sink,
    pub(super) keys: Option<Keys>,
    /// Why nothing may stand before what will be written, if not because it is the first.
    pub(super) missing: Option<&'static str>,
    refuses: bool,
}

impl Target {
    /// Opens the target of a configuration.
    ///
    /// A trail in a file is always chained: without a key of the configuration by one that is made beside
    /// it. On standard output, or into a pipe, it is chained only by a key of the configuration.
    ///
    /// # Errors
    /// If the file or the key cannot be opened.
    pub fn open(audit: &Audit, now: Duration) -> Result<Self, OpenError> {
        let (mut key, mut missing) = (audit.key.clone(), None);
        let sink = match &audit.path {
            None => Sink::Stdout,
            Some(path) => {
                let opened = LogFile::open(path, audit.rotation, now);
                let log = opened.map_err(|source| OpenError::File { path: path.clone(), source })?;
                if key.is_none() && log.is_file() {
                    let path = key_beside(path);
                    let (made, is_new) = made_key(&path).map_err(|source| OpenError::Key { path, source })?;
                    missing = (!is_new).then_some(TAKEN_AWAY);
                    key = Some(made);
                }
                Sink::File(log)
            }
        };
        if !matches!(&sink, Sink::File(log) if log.is_file()) {
            missing = Some(UNREAD);
        }
        Ok(Self { sink, keys: key.as_ref().map(Keys::of), missing, refuses: audit.refuse })
    }
}

/// What is counted of the trail.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) lost: Counter,
    pub(super) failing: Gauge,
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { lost: Counter::default(), failing: Gauge::default() };
        registry.register("audit_lost", "Audit records that were lost", metrics.lost.clone());
        let help = "Whether the audit trail cannot be written";
        registry.register("audit_failing", help, metrics.failing.clone());
        metrics
    }
}

/// The writing thread; dropped without [`close`](Writer::close), it ends without having written all.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
}

/// Why a trail cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The trail's file.
    #[error("cannot open the audit trail {}: {source}; make audit.path a file that the broker may append to", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The key beside it.
    #[error("cannot make or read the audit key {}: {source}; name one with audit.key", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The thread that writes.
    #[error("cannot start the audit writer: {0}")]
    Thread(#[from] io::Error),
}

impl Trail {
    /// Opens the trail of a configuration and starts its writer. `instance` names this start of the
    /// broker: request ids begin with it.
    ///
    /// # Errors
    /// If the file or the key cannot be opened.
    pub fn open(
        audit: &Audit,
        instance: &str,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Result<(Self, Writer), OpenError> {
        let target = Target::open(audit, clock.unix())?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            lost: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            metrics,
            refuses: target.refuses.into(),
        });
        let writing = writer::Writing::new(target, instance, clock);
        let thread = {
            let shared = shared.clone();
            thread::Builder::new().name("audit".into()).spawn(move || writer::run(&shared, writing))?
        };
        Ok((Self(shared.clone()), Writer { shared, thread }))
    }

    /// Records a decision; never waits for the disk.
    pub fn record(&self, record: Record) {
        self.push(Entry::Decision(record));
    }

    /// Records an event of `time`, in Unix time.
    pub fn event(&self, event: Event, time: Duration) {
        self.push(Entry::Event(event, time));
    }

    /// Goes on at `target`, after all that was recorded so far; where it was, it closes.
    pub fn turn(&self, target: Target) {
        self.0.refuses.store(target.refuses, Relaxed);
        // There is always room for it: whatever is queued goes where it was meant to.
        self.0.lock().entries.push(Entry::Turn(Box::new(target)));
        self.0.filled.notify_one();
    }

    /// Whether a token may be handed out: one that would not be recorded may not, if the operator says so.
    #[must_use]
    pub fn accepts(&self) -> bool {
        !self.0.refuses.load(Relaxed) || !(self.0.failing.load(Relaxed) || self.0.lost.load(Relaxed) > 0)
    }

    fn push(&self, entry: Entry) {
        let mut queue = self.0.lock();
        if queue.entries.len() >= CAPACITY {
            drop(queue);
            self.0.lose(1);
            return;
        }
        queue.entries.push(entry);
        let count = queue.entries.len();
        drop(queue);
        // The writer waits for a first entry, then for half a queue or the end of its linger.
        if count == 1 || count == CAPACITY / 2 {
            self.0.filled.notify_one();
        }
    }
}

impl Writer {
    /// Writes what is queued and ends the thread. Blocks until it is done.
    pub fn close(self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
        // A panic of the thread was noticed when it happened.
        let _ = self.thread.join();
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no code panics while it holds the audit queue")
    }

    pub(super) fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Relaxed);
        self.metrics.lost.inc_by(count);
    }

    pub(super) fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Relaxed);
        self.metrics.failing.set(failing.into());
    }
}

/// Where the key of a trail in a file is, if the configuration names none.
#[must_use]
pub fn key_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".key");
    name.into()
}

/// The key in a file, which is made if it is not there; and whether it was.
fn made_key(path: &Path) -> io::Result<(AuditKey, bool)> {
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(mut file) => {
            let key = AuditKey::generate();
            file.write_all(key.expose().as_bytes())?;
            file.sync_all()?;
            Ok((key, true))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let text = fs::read_to_string(path)?;
            let key = AuditKey::parse(text.trim());
            key.map(|key| (key, false)).ok_or_else(|| io::Error::other("it holds no key of 32 characters"))
        }
        Err(error) => Err(error),
    }
}
