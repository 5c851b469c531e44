//! The thread that writes the ledger, a batch at a time, each on disk before the next.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::mpsc::Receiver,
};

use jiff::civil::Date;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;
use valet_clock::SharedClock;

use super::{Entry, files};

/// The most lines of a batch.
const BATCH: usize = 1024;

/// A line to write, or none; and whom to tell once all before it is on disk.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) entry: Option<Entry>,
    pub(super) done: Option<oneshot::Sender<bool>>,
}

pub(super) struct Writing {
    folder: PathBuf,
    keep_days: u32,
    instance: String,
    clock: SharedClock,
    failing: Gauge,
    file: File,
    day: Date,
}

impl Writing {
    pub(super) fn open(
        folder: PathBuf,
        keep_days: u32,
        instance: &str,
        clock: SharedClock,
        failing: Gauge,
    ) -> io::Result<Self> {
        let day = files::day(clock.unix());
        let file = files::open(&folder, day, instance)?;
        files::prune(&folder, keep_days, clock.unix())?;
        Ok(Self { folder, keep_days, instance: instance.to_owned(), clock, failing, file, day })
    }

    /// Writes what is ordered, until nobody can order any more.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let mut is_failing = false;
        while let Ok(first) = orders.recv() {
            let mut batch = vec![first];
            batch.extend(orders.try_iter().take(BATCH - 1));
            let written = self.write(&batch, is_failing);
            if let Err(error) = &written
                && !is_failing
            {
                tracing::error!(folder = %self.folder.display(), %error, "the ledger cannot be written");
            }
            is_failing = written.is_err();
            self.failing.set(is_failing.into());
            for done in batch.into_iter().filter_map(|order| order.done) {
                // Who has hung up is told nothing.
                let _ = done.send(!is_failing);
            }
        }
    }

    fn write(&mut self, batch: &[Order], may_be_torn: bool) -> io::Result<()> {
        let now = self.clock.unix();
        let day = files::day(now);
        if day != self.day {
            (self.file, self.day) = (files::open(&self.folder, day, &self.instance)?, day);
            files::prune(&self.folder, self.keep_days, now)?;
        }
        // What broke off stands alone.
        let mut text = if may_be_torn { vec![b'\n'] } else { Vec::new() };
        for entry in batch.iter().filter_map(|order| order.entry.as_ref()) {
            serde_json::to_writer(&mut text, entry)?;
            text.push(b'\n');
        }
        self.file.write_all(&text)?;
        self.file.sync_data()
    }
}
