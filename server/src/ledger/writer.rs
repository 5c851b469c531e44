//! The thread that writes the ledger, a batch at a time, each on disk before the next.

use std::{
    collections::VecDeque,
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
/// Lines that are kept while they cannot be written; beyond it those that come are lost.
pub(super) const KEPT: usize = 65_536;

/// A line to write, or none; and whom to tell once all before it is on disk.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) entry: Option<Entry>,
    pub(super) done: Option<oneshot::Sender<bool>>,
}

pub(super) struct Writing {
    folder: PathBuf,
    keep_days: u32,
    start: String,
    clock: SharedClock,
    failing: Gauge,
    file: File,
    day: Date,
    /// Lines that are not on disk, the earliest first.
    unwritten: VecDeque<Vec<u8>>,
}

impl Writing {
    pub(super) fn open(
        folder: PathBuf,
        keep_days: u32,
        start: String,
        clock: SharedClock,
        failing: Gauge,
    ) -> io::Result<Self> {
        let day = files::day(clock.unix());
        let file = files::open(&folder, day, &start)?;
        files::prune(&folder, keep_days, clock.unix());
        Ok(Self { folder, keep_days, start, clock, failing, file, day, unwritten: VecDeque::new() })
    }

    /// Writes what is ordered, until nobody can order any more.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let mut is_failing = false;
        while let Ok(first) = orders.recv() {
            let mut batch = vec![first];
            batch.extend(orders.try_iter().take(BATCH - 1));
            let is_whole = self.take(&batch);
            let written = self.write(is_failing);
            if let Err(error) = &written
                && !is_failing
            {
                tracing::error!(folder = %self.folder.display(), %error, "the ledger cannot be written");
            }
            is_failing = written.is_err();
            self.failing.set((is_failing || !is_whole).into());
            for done in batch.into_iter().filter_map(|order| order.done) {
                // Who has hung up is told nothing.
                let _ = done.send(!is_failing && is_whole);
            }
        }
    }

    /// Takes the lines of a batch in; tells whether there was room for all.
    fn take(&mut self, batch: &[Order]) -> bool {
        let mut is_whole = true;
        for entry in batch.iter().filter_map(|order| order.entry.as_ref()) {
            if self.unwritten.len() == KEPT {
                is_whole = false;
                break;
            }
            let mut line = serde_json::to_vec(entry).expect("plain fields serialize");
            line.push(b'\n');
            self.unwritten.push_back(line);
        }
        if !is_whole {
            tracing::error!(folder = %self.folder.display(), "lines of the ledger are lost");
        }
        is_whole
    }

    /// Writes what is not on disk. What fails is kept, and may then stand there twice.
    fn write(&mut self, may_be_torn: bool) -> io::Result<()> {
        let now = self.clock.unix();
        let day = files::day(now);
        if day != self.day {
            (self.file, self.day) = (files::open(&self.folder, day, &self.start)?, day);
            files::prune(&self.folder, self.keep_days, now);
        }
        // What broke off stands alone.
        let mut text = if may_be_torn { vec![b'\n'] } else { Vec::new() };
        self.unwritten.iter().for_each(|line| text.extend(line));
        self.file.write_all(&text)?;
        self.file.sync_data()?;
        self.unwritten.clear();
        Ok(())
    }
}
