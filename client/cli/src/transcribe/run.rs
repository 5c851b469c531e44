//! A run: tasks are submitted, looked for and waited for, each journaled before anything hangs on it.
//!
//! The order that makes it safe: the intent is on disk before the submit, the task's id before the wait.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use valet_client::{Client, Error, Kind, Task, TaskId, Uploaded, request::Model};
use valet_clock::{ClockExt, SharedClock};

use super::{
    lookup,
    plan::{Group, Plan},
    request::request,
    tally::Tally,
};
use crate::{
    exit::{Exit, Failure},
    journal::{self, Attempt, Entry, Intent, Journal, Subject},
    output::{Look, Output},
    places,
    progress::Progress,
    source::Source,
};

/// Tasks that are under way at a time; their queries share one budget.
const TASKS: usize = 50;
/// A submit that is throttled is tried again so often, each time after a minute or so of patience.
const PATIENCE: u32 = 20;

/// All that a run works with.
pub(super) struct Run<'r> {
    pub(super) client: &'r Client,
    pub(super) clock: &'r SharedClock,
    pub(super) progress: &'r Progress,
    pub(super) subject: &'r Subject,
    pub(super) sources: &'r [Source],
    pub(super) journal: &'r RefCell<Journal>,
    pub(super) output: RefCell<Output>,
    pub(super) tally: Cell<Tally>,
    /// Which sources have their transcripts, in or out.
    pub(super) transcribed: RefCell<Vec<bool>>,
    /// How what is written looks.
    pub(super) look: Look,
    pub(super) ends: Option<Instant>,
    pub(super) audio_length: Option<Duration>,
    pub(super) submit_again: bool,
    /// Its number in the journal.
    pub(super) number: u64,
}

impl Run<'_> {
    /// Carries a plan out. Files are written as they come, standard output in order.
    pub(super) async fn carry_out(self, plan: Plan) -> Result<Exit, Failure> {
        self.progress.planned(self.sources.len());
        for (place, over) in &plan.over {
            self.tell_over(*place, over)?;
        }
        let ordered = matches!(&*self.output.borrow(), Output::Stdout(_));
        let groups = stream::iter(plan.groups).map(|group| self.group(group));
        // What comes later is not run far ahead of what it has to wait for.
        match ordered {
            true => groups.buffered(TASKS).try_collect::<()>().await?,
            false => groups.buffer_unordered(TASKS).try_collect::<()>().await?,
        }
        let tally = self.tally.get();
        if tally.unsettled == 0 {
            self.note(Entry::Ended { run: self.number })?;
        }
        self.output.into_inner().end()?;
        Ok(tally.exit())
    }

    async fn group(&self, group: Group) -> Result<(), Failure> {
        match group {
            Group::New(places) => self.submitted(&places).await,
            Group::Open(intent, places) => self.found(intent, &places).await,
            Group::Submitted(intent, places) => self.collected(intent, &places).await,
        }
    }

    /// Submits a task for sources, and sees it through.
    async fn submitted(&self, places: &[usize]) -> Result<(), Failure> {
        let uploads = match self.uploaded(places).await {
            Ok(uploads) => uploads,
            Err(failure) => return self.leave(places, &failure),
        };
        let keys: Vec<String> = places.iter().map(|&place| self.sources[place].key().to_owned()).collect();
        let urls: &[String] = if uploads.is_empty() { &keys } else { &[] };
        let mut request = request(self.subject, urls, &uploads);
        if let Some(length) = self.audio_length {
            request = request.audio_length(length);
        }
        let mut rounds = 0;
        loop {
            if self.ends.is_some_and(|ends| self.clock.now() >= ends) {
                return self.leave(places, &Failure::too_late());
            }
            let intent = self.journal.borrow().state().next_intent();
            let uploads = uploads.iter().map(|upload| upload.url().to_owned()).collect();
            self.note(Entry::Intent(Intent { intent, sources: keys.clone(), uploads }))?;
            let error = match self.client.submit(&request).await {
                Ok(task) => {
                    self.note(Entry::Submitted { intent, task: task.id().clone() })?;
                    return self.collected(intent, places).await;
                }
                Err(error) => error,
            };
            if error.kind() == Kind::Ambiguous {
                self.progress.note(&format!("{error}; looking for it"));
                return Box::pin(self.found(intent, places)).await;
            }
            let failure = Failure::from(error.clone());
            let (code, message) = (failure.code.clone(), failure.message.clone());
            self.note(Entry::NotSubmitted { intent, code, message })?;
            match error.kind() {
                Kind::Throttled if rounds < PATIENCE => rounds += 1,
                Kind::InvalidRequest | Kind::Refused => return self.give_up(places, &failure),
                _ => return self.leave(places, &failure),
            }
        }
    }

    /// The places of local files in the service's storage; none for URLs.
    async fn uploaded(&self, places: &[usize]) -> Result<Vec<Uploaded>, Failure> {
        let mut uploads = Vec::new();
        for source in places.iter().map(|&place| &self.sources[place]) {
            let Some(path) = source.path() else { continue };
            if !source.is_unchanged() {
                let problem =
                    "was changed since the run began; run the command again to transcribe it as it is";
                return Err(Failure::files(format!("{}: {problem}", path.display())));
            }
            let report = self.progress.upload(source);
            let upload = self.client.upload(path).model(Model::from(self.subject.model.as_str()));
            uploads.push(upload.on_progress(report).await?);
        }
        Ok(uploads)
    }

    /// Looks for the task of an intent, and sees it through.
    async fn found(&self, number: u64, places: &[usize]) -> Result<(), Failure> {
        let attempt = self.attempt(number);
        let claimed = match self.claimed() {
            Ok(claimed) => claimed,
            Err(failure) => return self.leave(places, &failure),
        };
        self.progress.looking_for(&attempt.intent);
        let look = lookup::task_of(self.client, &**self.clock, &self.subject.model, &attempt, &claimed);
        let outcome = match self.ends {
            None => look.await,
            Some(ends) => {
                let left = ends.saturating_duration_since(self.clock.now());
                let late = || Error::new(Kind::Deadline, "not found by the deadline");
                self.clock.timeout(left, look).await.unwrap_or_else(|_| Err(late()))
            }
        };
        match outcome {
            Ok(Some(task)) => {
                self.note(Entry::Submitted { intent: number, task })?;
                self.collected(number, places).await
            }
            Ok(None) if self.submit_again => {
                self.note(Entry::GivenUp { intent: number })?;
                Box::pin(self.submitted(places)).await
            }
            Ok(None) => {
                if attempt.may_arrive {
                    self.note(Entry::NotFound { intent: number })?;
                }
                self.leave(places, &Failure::undecided())
            }
            Err(error) => self.leave(places, &error.into()),
        }
    }

    /// Waits for the task of an intent, and puts out its transcripts.
    async fn collected(&self, number: u64, places: &[usize]) -> Result<(), Failure> {
        let attempt = self.attempt(number);
        let Some(id) = attempt.task else { return self.leave(places, &Failure::undecided()) };
        self.progress.begun(&id, places.len());
        let mut wait = self.client.wait(&id).on_progress(|task| self.progress.looked(task));
        if let Some(ends) = self.ends {
            wait = wait.deadline(ends.saturating_duration_since(self.clock.now()));
        }
        if let Some(length) = self.audio_length {
            wait = wait.audio_length(length);
        }
        let outcome = match wait.await {
            Ok(task) => self.read(&task, &attempt.intent, places).await?,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {}
            Err(error) if error.kind() == Kind::UnknownTask => {
                for &place in places {
                    self.note(Entry::Lost { source: self.key(place), task: id.clone() })?;
                }
                self.give_up_on(places, &Failure::lost(&id))?;
            }
            Err(error) if error.kind() == Kind::TaskFailed => self.give_up(places, &error.into())?,
            Err(error) => self.leave(places, &error.into())?,
        }
        self.progress.settled(&id);
        Ok(())
    }

    /// Reads the results of an ended task one by one.
    async fn read(
        &self,
        task: &Task,
        intent: &Intent,
        places: &[usize],
    ) -> Result<Result<(), Error>, Failure> {
        let urls: Vec<String> = places.iter().map(|&place| self.url(intent, place)).collect();
        let mut files = match self.client.results(task, &urls) {
            Ok(files) => files,
            Err(error) => return Ok(Err(error)),
        };
        while let Some(file) = files.next().await {
            self.put_out(places[file.index()], &file)?;
        }
        Ok(Ok(()))
    }

    pub(super) fn note(&self, entry: Entry) -> Result<(), Failure> {
        self.journal.borrow_mut().note(entry)
    }

    fn attempt(&self, number: u64) -> Attempt {
        let journal = self.journal.borrow();
        journal.state().intent(number).expect("the plan is made of the journal's intents").clone()
    }

    /// The tasks that were submitted by this run or another one: with other parameters, or again.
    fn claimed(&self) -> Result<HashSet<TaskId>, Failure> {
        // Without a home there is no other journal.
        let mut tasks = places::journals().map_or(Ok(HashSet::new()), |folder| journal::tasks_in(&folder))?;
        tasks.extend(self.journal.borrow().state().tasks());
        Ok(tasks)
    }

    pub(super) fn key(&self, place: usize) -> String {
        self.sources[place].key().to_owned()
    }

    /// What an intent names a source by.
    fn url(&self, intent: &Intent, place: usize) -> String {
        let key = self.sources[place].key();
        let at = intent.sources.iter().position(|source| source == key);
        at.and_then(|at| intent.urls().get(at)).map_or_else(|| key.to_owned(), Clone::clone)
    }
}
