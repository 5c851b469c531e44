//! The thread that writes the trail: batches, signatures, rotation, and what it does about failures.

use std::{collections::HashMap, sync::atomic::Ordering::Relaxed, time::Duration};

use valet_clock::SharedClock;

use super::{
    Event,
    chain::{Before, Chain, Keys},
    sink::Sink,
    trail::{CAPACITY, Entry, Shared, Target},
};

/// After the first entry of a batch the writer lingers so long for more, so that a busy broker writes
/// hundreds at once; and no more of them than can be written in a moment, since on a core that they share everybody
/// waits for that. Real time on purpose: nothing that is decided depends on it.
const LINGER: Duration = Duration::from_millis(10);

/// How often an idle writer signs, so that whoever cuts the end off can hide no more than that.
const CHECKPOINT: Duration = Duration::from_secs(60);

/// How often a failing writer tries again.
const RETRY: Duration = Duration::from_secs(1);

/// How much room for text is kept from one batch to the next, in bytes: more than a busy broker's takes.
const ROOM: usize = 4 << 20;

/// Names of tokens that are kept, so that each is computed about once.
const NAMES: usize = 4096;

/// What the thread writes with.
pub(super) struct Writing {
    sink: Sink,
    chain: Opening,
    /// Why nothing may stand before the first line.
    missing: Option<&'static str>,
    instance: String,
    names: HashMap<[u8; 32], String>,
    /// What is to be written, and room for it.
    text: Vec<u8>,
    clock: SharedClock,
}

/// The chain opens with the first line that can be written.
#[derive(Clone)]
enum Opening {
    Unchained,
    Due(Keys),
    Open(Chain),
}

impl Writing {
    pub(super) fn new(target: Target, instance: &str, clock: SharedClock) -> Self {
        let Target { sink, keys, missing, .. } = target;
        let chain = keys.map_or(Opening::Unchained, Opening::Due);
        let (instance, names, text) = (instance.to_owned(), HashMap::new(), Vec::new());
        Self { sink, chain, missing, instance, names, text, clock }
    }

    /// Goes on elsewhere, perhaps by other keys.
    fn turn(&mut self, target: Target) {
        *self = Self::new(target, &self.instance, self.clock.clone());
    }

    /// Appends what stands before the lines of a batch: an opening where one is due, after a failure or in a new
    /// file.
    fn preamble(&mut self, failed: bool) -> std::io::Result<()> {
        let (now, text) = (self.clock.unix(), &mut self.text);
        // Looked for before a full file makes way for an empty one.
        let mut before = match (&self.chain, &self.sink) {
            (Opening::Due(_), Sink::File(log)) => log.before()?,
            _ => Before::default(),
        };
        if before == Before::default() {
            before.gap = self.missing.map(str::to_owned);
        }
        let turned = self.sink.turn(now)?;
        if (failed || matches!(self.chain, Opening::Due(_)))
            && let Sink::File(log) = &self.sink
            && log.is_torn()?
        {
            // What broke off stands alone.
            text.push(b'\n');
        }
        match &mut self.chain {
            Opening::Due(keys) => {
                let chain = Chain::open(keys.clone(), &self.instance, &before, now, text);
                self.chain = Opening::Open(chain);
            }
            Opening::Open(chain) if turned || failed => {
                let gap = failed.then(|| "the trail could not be written".to_owned());
                chain.reopen(&Before { head: Some(chain.head()), gap }, now, text);
            }
            Opening::Unchained | Opening::Open(_) => {}
        }
        Ok(())
    }

    /// Appends the lines of a batch, signed.
    fn lines(&mut self, batch: &[Entry], lost: u64, closed: bool) {
        let (now, text) = (self.clock.unix(), &mut self.text);
        let begin = text.len();
        if lost > 0 {
            Event::Lost { count: lost }.write_line(now, text);
        }
        for entry in batch {
            match entry {
                Entry::Event(event, time) => event.write_line(*time, text),
                Entry::Turn(_) => {}
                Entry::Decision(record) => {
                    let keys = match &self.chain {
                        Opening::Open(chain) => Some(chain.keys()),
                        _ => None,
                    };
                    let name = record.token.zip(keys).map(|(sha256, keys)| {
                        if self.names.len() >= NAMES {
                            self.names.clear();
                        }
                        &**self.names.entry(sha256).or_insert_with(|| keys.token_name(&sha256))
                    });
                    record.write_line(name, text);
                }
            }
        }
        if let Opening::Open(chain) = &mut self.chain {
            let count = batch.len() as u64 + u64::from(lost > 0);
            chain.close_batch(if closed { "close" } else { "chain" }, count, now, text, begin);
        }
    }

    /// Writes a batch and what is due around it. What could not be written is no part of the chain.
    fn write(&mut self, batch: &[Entry], lost: u64, failed: bool, closed: bool) -> std::io::Result<()> {
        let before = self.chain.clone();
        let written = self.preamble(failed).and_then(|()| {
            self.lines(batch, lost, closed);
            self.sink.write(&self.text)
        });
        self.text.clear();
        self.text.shrink_to(ROOM);
        if written.is_err() {
            self.chain = before;
        }
        written?;
        if batch.is_empty() || closed { self.sink.sync() } else { Ok(()) }
    }
}

/// Says so when the thread ends by a panic, at once and not at the stop.
struct Alarm<'s>(&'s Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set_failing(true);
            tracing::error!("the audit writer panicked; nothing is recorded any more");
        }
    }
}

/// Writes until the trail is closed.
pub(super) fn run(shared: &Shared, mut writing: Writing) {
    let _alarm = Alarm(shared);
    let (mut batch, mut failed) = (Vec::new(), false);
    loop {
        let closed = next(shared, &mut batch, if failed { RETRY } else { CHECKPOINT });
        let turn = batch.pop_if(|last| matches!(last, Entry::Turn(_)));
        let lost = shared.lost.load(Relaxed);
        match writing.write(&batch, lost, failed, closed || turn.is_some()) {
            Ok(()) => {
                shared.lost.fetch_sub(lost, Relaxed);
                if failed {
                    tracing::info!("the audit trail is written again");
                }
                if lost > 0 {
                    tracing::error!(lost, "audit records are lost");
                }
                failed = false;
            }
            Err(error) => {
                if !failed {
                    tracing::error!(%error, "the audit trail cannot be written");
                }
                shared.lose(batch.len() as u64);
                failed = true;
            }
        }
        shared.set_failing(failed);
        batch.clear();
        if let Some(Entry::Turn(target)) = turn {
            writing.turn(*target);
        }
        if closed {
            return;
        }
    }
}

/// The next batch, which ends with a turn if there is one, and is empty if nothing came for `patience`; and
/// whether it is the last of a trail that is closed.
fn next(shared: &Shared, batch: &mut Vec<Entry>, patience: Duration) -> bool {
    let poisoned = "no code panics while it holds the audit queue";
    let idle = |queue: &mut super::trail::Queue| queue.entries.is_empty() && !queue.closed;
    let (queue, _) = shared.filled.wait_timeout_while(shared.lock(), patience, idle).expect(poisoned);
    let lingering = |queue: &mut super::trail::Queue| {
        !queue.entries.is_empty() && queue.entries.len() < CAPACITY / 2 && !queue.closed
    };
    let (mut queue, _) = shared.filled.wait_timeout_while(queue, LINGER, lingering).expect(poisoned);
    // The emptied batch goes back in: both keep the room they have grown to.
    std::mem::swap(batch, &mut queue.entries);
    if let Some(turn) = batch.iter().position(|entry| matches!(entry, Entry::Turn(_))) {
        queue.entries.extend(batch.drain(turn + 1..));
    }
    queue.closed && queue.entries.is_empty()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use prometheus_client::registry::Registry;
    use tempfile::tempdir;
    use valet_clock::ManualClock;

    use super::*;
    use crate::{
        audit::{Metrics, Trail, Writer, verify},
        config::{Audit, AuditKey},
    };

    fn audit(path: Option<&Path>) -> Audit {
        let key = AuditKey::parse("a key that has its thirty-two characters");
        Audit { path: path.map(Path::to_owned), key, ..Audit::default() }
    }

    fn writing(audit: &Audit) -> Writing {
        let clock = ManualClock::new().handle("broker");
        Writing::new(Target::open(audit, Duration::ZERO).unwrap(), "0badcafe", clock)
    }

    fn found(path: &Path) -> Vec<String> {
        let key = AuditKey::parse("a key that has its thirty-two characters").unwrap();
        verify(&[path.to_owned()], &key).unwrap().findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_minute_without_a_line_is_signed() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut writing = writing(&audit(Some(&path)));
        let metrics = Metrics::register(&mut Registry::default());
        // A trail of its own, on which nobody writes.
        let clock = ManualClock::new().handle("broker");
        let (Trail(shared), idle): (Trail, Writer) =
            Trail::open(&audit(Some(Path::new("/dev/null"))), "0badcafe", clock, metrics).unwrap();
        for signatures in [2, 3] {
            let mut batch = Vec::new();
            let closed = next(&shared, &mut batch, Duration::ZERO);
            assert!(batch.is_empty() && !closed);
            writing.write(&batch, 0, false, closed).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), signatures, "an opening, and a signature a minute: {text}");
        }
        assert_eq!(found(&path), [""; 0]);
        idle.close();
    }

    #[test]
    fn on_standard_output_each_start_says_that_nothing_before_it_can_be_read_back() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("captured");
        let start = || {
            let mut writing = writing(&audit(None));
            writing.preamble(false).unwrap();
            writing.lines(&[], 0, true);
            writing.text
        };
        fs::write(&path, start()).unwrap();
        assert_eq!(
            found(&path),
            [""; 0],
            "before the first start that was captured there is nothing to miss"
        );
        fs::write(&path, [start(), start()].concat()).unwrap();
        assert!(found(&path).iter().any(|what| what.contains("cannot be read back")), "{:?}", found(&path));
    }
}
