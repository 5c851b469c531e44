//! What a journal says in the end: a fold over its lines. Knows no file.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
    path::PathBuf,
    time::Duration,
};

use jiff::Timestamp;
use valet_client::{TaskId, request::IdempotencyKey};

use super::entry::{Again, Entry, Intent, Line, Planned, Run, Subject, VERSION};
use crate::output::{Format, Look};

/// A relay keeps the names of submits for 24 hours; this leaves an hour for clocks that are put right.
const KEPT: Duration = Duration::from_secs(23 * 60 * 60);

/// How things stand after the last line.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) subject: Option<Subject>,
    sources: HashMap<String, Known>,
    intents: BTreeMap<u64, Attempt>,
    /// The runs that have not ended.
    runs: BTreeMap<u64, Run>,
    next_run: u64,
}

/// What is known of a source.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) standing: Standing,
    /// The files that were ever set apart for it.
    pub(crate) files: Vec<(Format, PathBuf)>,
    /// Those that were written, and how they look.
    pub(crate) written: HashMap<PathBuf, Look>,
    /// Whether its transcript was written or printed since it was submitted.
    pub(crate) done: bool,
}

impl Known {
    /// Whether nothing will come of it any more. What is under way is never begun again.
    fn is_over(&self) -> bool {
        self.done || matches!(self.standing, Standing::Failed { .. } | Standing::Lost(_))
    }
}

/// How far a source is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Standing {
    /// Nothing was submitted for it, or nothing that counts.
    #[default]
    New,
    /// This intent may or may not have been submitted.
    Open(u64),
    /// This intent was submitted, and paid for.
    Submitted(u64),
    /// The service could not transcribe it, in the run that has not ended.
    Failed { code: String, message: String },
    /// It was submitted and paid for, and the service does not know of it any more.
    Lost(TaskId),
}

/// An intent, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) at: Timestamp,
    pub(crate) intent: Intent,
    pub(crate) task: Option<TaskId>,
    /// Whether it may be under way yet; not if it was looked for until it could not be any more.
    pub(crate) may_arrive: bool,
}

impl Attempt {
    /// The name by which a relay knows it at this Unix time; not if it may have forgotten it.
    pub(crate) fn key_at(&self, now: Duration) -> Option<&IdempotencyKey> {
        let begun: Duration = self.at.duration_since(Timestamp::UNIX_EPOCH).try_into().ok()?;
        self.intent.key.as_ref().filter(|_| now.checked_sub(begun).is_some_and(|age| age < KEPT))
    }
}

impl State {
    /// Takes the next line in.
    ///
    /// # Errors
    /// If it cannot stand there.
    pub(crate) fn take(&mut self, line: Line) -> Result<(), String> {
        let Line { at, entry } = line;
        if self.subject.is_none() != matches!(entry, Entry::Journal { .. }) {
            return Err("a journal begins with one line that says what it is about".into());
        }
        match entry {
            Entry::Journal { version: VERSION, subject } => self.subject = Some(subject),
            Entry::Journal { version, .. } => {
                return Err(format!("it is of version {version}; this program reads version {VERSION}"));
            }
            Entry::Run(run) => self.begin(run),
            Entry::Intent(intent) => {
                for source in &intent.sources {
                    let known = self.known(source);
                    (known.standing, known.done) = (Standing::Open(intent.intent), false);
                }
                let attempt = Attempt { at, intent, task: None, may_arrive: true };
                self.intents.insert(attempt.intent.intent, attempt);
            }
            Entry::Submitted { intent, task } => {
                self.attempt(intent)?.task = Some(task);
                self.settle(intent, &Standing::Submitted(intent));
            }
            Entry::NotFound { intent } => self.attempt(intent)?.may_arrive = false,
            Entry::NotSubmitted { intent, .. } | Entry::GivenUp { intent } => {
                self.attempt(intent)?;
                self.settle(intent, &Standing::New);
                self.intents.remove(&intent);
            }
            Entry::Done { source, files, look } => {
                let known = self.known(&source);
                known.written.extend(files.into_iter().map(|file| (file, look.clone())));
                known.done = true;
            }
            Entry::Lost { source, task } => self.known(&source).standing = Standing::Lost(task),
            Entry::Failed { source, code, message } => {
                self.known(&source).standing = Standing::Failed { code, message };
            }
            Entry::Ended { run } => {
                let run = self.runs.remove(&run).ok_or_else(|| format!("there is no run {run} before it"))?;
                // The next run may try again what failed.
                for planned in &run.sources {
                    let known = self.known(&planned.source);
                    if matches!(known.standing, Standing::Failed { .. }) {
                        known.standing = Standing::New;
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, run: Run) {
        for planned in &run.sources {
            let known = self.known(&planned.source);
            if run.again == Again::Begins && known.is_over() {
                let files = mem::take(&mut known.files);
                *known = Known { files, ..Known::default() };
            }
            for file in run.layout.formats.iter().copied().zip(planned.files.iter().cloned()) {
                if !known.files.contains(&file) {
                    known.files.push(file);
                }
            }
        }
        // One that does all that an earlier one left takes its place.
        let doing: HashSet<&str> = run.sources.iter().map(|planned| planned.source.as_str()).collect();
        let sources = &self.sources;
        let is_left = |planned: &Planned| {
            !doing.contains(planned.source.as_str())
                && !sources.get(&planned.source).is_some_and(|known| known.done)
        };
        self.runs.retain(|_, old| old.layout != run.layout || old.sources.iter().any(is_left));
        self.next_run = run.run + 1;
        self.runs.insert(run.run, run);
    }

    /// What is known of a source.
    pub(crate) fn of(&self, source: &str) -> Option<&Known> {
        self.sources.get(source)
    }

    /// An intent that counts.
    pub(crate) fn intent(&self, number: u64) -> Option<&Attempt> {
        self.intents.get(&number)
    }

    /// The number of the next intent.
    pub(crate) fn next_intent(&self) -> u64 {
        self.intents.last_key_value().map_or(0, |(last, _)| last + 1)
    }

    /// The tasks that are known to be of this journal.
    pub(crate) fn tasks(&self) -> HashSet<TaskId> {
        self.intents.values().filter_map(|attempt| attempt.task.clone()).collect()
    }

    /// Every file that was set apart for a source.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.sources.values().flat_map(|known| &known.files).map(|(_, path)| path)
    }

    /// The runs that have not ended, the earliest first.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// The number of the next run.
    pub(crate) fn next_run(&self) -> u64 {
        self.next_run
    }

    fn known(&mut self, source: &str) -> &mut Known {
        self.sources.entry(source.to_owned()).or_default()
    }

    fn attempt(&mut self, number: u64) -> Result<&mut Attempt, String> {
        self.intents.get_mut(&number).ok_or_else(|| format!("there is no intent {number} before it"))
    }

    /// Sets how far the sources of an intent are, but for those that have gone on to another one.
    fn settle(&mut self, number: u64, standing: &Standing) {
        let Some(attempt) = self.intents.get(&number) else { return };
        for source in &attempt.intent.sources {
            if let Some(known) = self.sources.get_mut(source)
                && known.standing == Standing::Open(number)
            {
                known.standing = standing.clone();
            }
        }
    }
}
