//! A bounded queue of records, and the thread that writes them in batches.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use super::Record;
use crate::config::AuditTarget;

/// Records that may wait for the writer; beyond it they are counted as lost.
const CAPACITY: usize = 65_536;

/// After the first record of a batch the writer lingers so long for more, so that a busy broker
/// writes hundreds at once. Real time on purpose: nothing that is decided depends on it.
const LINGER: Duration = Duration::from_millis(50);

/// Takes records; clones share one queue.
#[derive(Clone, Debug)]
pub struct Trail(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    records: Vec<Record>,
    closed: bool,
}

/// The writing thread; dropped without [`close`](Writer::close), it ends without having written all.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
}

impl Trail {
    /// Opens `target` and starts its writer.
    ///
    /// # Errors
    /// If the file cannot be opened for appending.
    pub fn open(target: &AuditTarget) -> io::Result<(Self, Writer)> {
        let sink: Box<dyn Write + Send> = match target {
            AuditTarget::Stdout => Box::new(io::stdout()),
            AuditTarget::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let shared =
            Arc::new(Shared { queue: Mutex::default(), filled: Condvar::new(), lost: AtomicU64::new(0) });
        let thread = {
            let shared = shared.clone();
            thread::Builder::new().name("audit".into()).spawn(move || write(&shared, sink))?
        };
        Ok((Self(shared.clone()), Writer { shared, thread }))
    }

    /// Records a decision; never waits for the disk.
    pub fn record(&self, record: Record) {
        let mut queue = self.0.lock();
        if queue.records.len() >= CAPACITY {
            drop(queue);
            self.0.lost.fetch_add(1, Relaxed);
            return;
        }
        queue.records.push(record);
        let count = queue.records.len();
        drop(queue);
        // The writer waits for a first record, then for half a queue or the end of its linger.
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
        if self.thread.join().is_err() {
            tracing::error!("the audit writer panicked; the trail is incomplete");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no code panics while it holds the audit queue")
    }

    /// The next batch and whether the trail is closed; an empty batch only then.
    fn next(&self, batch: &mut Vec<Record>) -> bool {
        let idle = |queue: &mut Queue| queue.records.is_empty() && !queue.closed;
        let poisoned = "no code panics while it holds the audit queue";
        let queue = self.filled.wait_while(self.lock(), idle).expect(poisoned);
        let lingering = |queue: &mut Queue| queue.records.len() < CAPACITY / 2 && !queue.closed;
        let (mut queue, _) = self.filled.wait_timeout_while(queue, LINGER, lingering).expect(poisoned);
        // The emptied batch goes back in: both keep the room they have grown to.
        std::mem::swap(batch, &mut queue.records);
        queue.closed
    }
}

fn write(shared: &Shared, mut sink: Box<dyn Write + Send>) {
    let (mut batch, mut text, mut failing) = (Vec::new(), Vec::new(), false);
    loop {
        let closed = shared.next(&mut batch);
        let count = batch.len() as u64;
        for record in batch.drain(..) {
            record.write_line(&mut text);
        }
        let written = sink.write_all(&text).and_then(|()| sink.flush());
        text.clear();
        match &written {
            Err(error) if !failing => tracing::error!(%error, "the audit trail cannot be written"),
            Ok(()) if failing => tracing::info!("the audit trail is written again"),
            _ => {}
        }
        if written.is_err() {
            shared.lost.fetch_add(count, Relaxed);
            // The line that broke off stands alone.
            text.push(b'\n');
        }
        failing = written.is_err();
        let lost = shared.lost.swap(0, Relaxed);
        if lost > 0 {
            tracing::error!(lost, "audit records are lost");
        }
        if closed && shared.lock().records.is_empty() {
            return;
        }
    }
}
