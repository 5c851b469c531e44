//! The ledger: what the relay must remember beyond its process. Which tasks were submitted for whom, how they ended
//! and what they used, and which submits must not be sent twice. Knows no upstream and no request.

mod entry;
mod files;
mod usage;
mod writer;

use std::{io, path::PathBuf, sync::mpsc, thread, time::Duration};

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tokio::sync::oneshot;
use valet_clock::SharedClock;

use self::writer::{Order, Writing};
pub use self::{
    entry::{Ended, Entry, Intent, Submitted, Unknown, Who},
    usage::{Grouping, Row, Usage},
};

/// How far back a start has to read: tasks and submits are known for a day.
const KNOWN: Duration = Duration::from_secs(24 * 3600);
/// Lines that wait to be written; beyond it a line is lost, which is counted as a failure.
const CAPACITY: usize = 65_536;

/// Where the ledger is, and for how long it is kept.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder of the broker's state.
    pub state: PathBuf,
    /// How many days are kept.
    pub keep_days: u32,
}

/// A ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("relay.state: the ledger of tasks cannot be opened: {0}; the folder must be the broker's own")]
pub struct Unopened(#[from] io::Error);

/// Opens ledgers: at the start, or once there is a relay.
#[derive(Clone, Debug)]
pub struct Opener {
    instance: String,
    clock: SharedClock,
    failing: Gauge,
}

impl Opener {
    /// `instance` names this start of the broker: several may write into one folder.
    #[must_use]
    pub fn new(instance: String, clock: SharedClock, registry: &mut Registry) -> Self {
        let failing = Gauge::default();
        let help = "Whether the relay's ledger of tasks cannot be written";
        registry.register("ledger_failing", help, failing.clone());
        Self { instance, clock, failing }
    }

    /// Opens the ledger of a folder and reads what it knows of the last day, the earliest first.
    ///
    /// # Errors
    /// If the folder cannot be read or written.
    pub fn open(&self, place: &Place) -> Result<(Ledger, Vec<Entry>), Unopened> {
        let (folder, now) = (files::folder(&place.state)?, self.clock.unix());
        let mut known = Vec::new();
        for path in files::between(&folder, files::day(now.saturating_sub(KNOWN)), files::day(now))? {
            let (entries, unread) = files::read(&path)?;
            if unread > 0 {
                tracing::warn!(file = %path.display(), lines = unread, "lines of the ledger cannot be read");
            }
            // The lines of a file are in their order, whatever the clock was set to meanwhile.
            known.extend(entries.into_iter().scan(Duration::ZERO, |latest, entry| {
                *latest = entry.time().max(*latest);
                Some((*latest, entry))
            }));
        }
        // Several brokers may have written at the same time.
        known.sort_by_key(|(at, _)| *at);
        let known = known.into_iter().map(|(_, entry)| entry).collect();
        let (orders, taken) = mpsc::sync_channel(CAPACITY);
        let (start, failing) = (files::start(now, &self.instance), self.failing.clone());
        let writing = Writing::open(folder, place.keep_days, start, self.clock.clone(), failing.clone())?;
        thread::Builder::new().name("ledger".into()).spawn(move || writing.run(&taken))?;
        Ok((Ledger { orders, failing }, known))
    }
}

/// The ledger, open for writing.
#[derive(Clone, Debug)]
pub struct Ledger {
    orders: mpsc::SyncSender<Order>,
    failing: Gauge,
}

impl Ledger {
    /// Writes a line down; never waits for the disk.
    pub fn append(&self, entry: Entry) {
        if self.orders.try_send(Order { entry: Some(entry), done: None }).is_err() {
            tracing::error!("a line of the ledger is lost: what it is written to does not keep up");
            self.failing.set(1);
        }
    }

    /// Writes a line down, and returns once it is on disk; tells whether it is.
    pub async fn append_durably(&self, entry: Entry) -> bool {
        self.order(Some(entry)).await
    }

    /// Returns once all that was written down so far is on disk; tells whether it is.
    pub async fn flush(&self) -> bool {
        self.order(None).await
    }

    async fn order(&self, entry: Option<Entry>) -> bool {
        let (done, told) = oneshot::channel();
        self.orders.try_send(Order { entry, done: Some(done) }).is_ok() && told.await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests;
