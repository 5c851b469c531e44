//! A run: tasks are submitted, looked for and waited for, each journaled before anything hangs on it.
//!
//! The order that makes it safe: the intent is on disk before the submit, the task's id before the wait.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use valet_client::{
    Client, Error, Kind, Task, TaskId, TranscriptionRequest, Uploaded,
    request::{IdempotencyKey, Model},
    token::Mode,
};
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
/// A relay's word for a submit of which it does not know itself what became of it.
const LOST_SIGHT: &str = "SubmitOutcomeUnknown";

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
        let request = self.request(urls, &uploads);
        let mut rounds = 0;
        loop {
            if self.ends.is_some_and(|ends| self.clock.now() >= ends) {
                return self.leave(places, &Failure::too_late());
            }
            let (error, intent) = match self.new_name().await {
                Ok(key) => {
                    let intent = self.journal.borrow().state().next_intent();
                    let uploads = uploads.iter().map(|upload| upload.url().to_owned()).collect();
                    let named = Intent { intent, sources: keys.clone(), uploads, key: key.clone() };
                    self.note(Entry::Intent(named))?;
                    match self.client.submit(&keyed(request.clone(), key)).await {
                        Ok(task) => return self.arrived(intent, task.id(), places).await,
                        Err(error) => (error, Some(intent)),
                    }
                }
                Err(error) => (error, None),
            };
            let failure = Failure::from(error.clone());
            if let Some(intent) = intent {
                if error.kind() == Kind::Ambiguous {
                    self.progress.note(&format!("{error}; looking for it"));
                    return Box::pin(self.looked_for(intent, places)).await;
                }
                let (code, message) = (failure.code.clone(), failure.message.clone());
                self.note(Entry::NotSubmitted { intent, code, message })?;
            }
            match error.kind() {
                Kind::Throttled if rounds < PATIENCE => {
                    rounds += 1;
                    self.progress.slowed();
                }
                Kind::InvalidRequest | Kind::Refused => return self.give_up(places, &failure),
                _ => return self.leave(places, &failure),
            }
        }
    }

    /// A name for a submit, if it goes to a relay.
    async fn new_name(&self) -> Result<Option<IdempotencyKey>, Error> {
        Ok((self.client.token().await?.mode() == Mode::Relay).then(IdempotencyKey::random))
    }

    fn request(&self, urls: &[String], uploads: &[Uploaded]) -> TranscriptionRequest {
        let request = request(self.subject, urls, uploads);
        match self.audio_length {
            Some(length) => request.audio_length(length),
            None => request,
        }
    }

    /// The task of an intent is there.
    async fn arrived(&self, intent: u64, task: &TaskId, places: &[usize]) -> Result<(), Failure> {
        self.note(Entry::Submitted { intent, task: task.clone() })?;
        self.collected(intent, places).await
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

    /// Finds the task of an intent, and sees it through: asks for it again where it is known by its name, and looks
    /// for it elsewhere.
    async fn found(&self, number: u64, places: &[usize]) -> Result<(), Failure> {
        let attempt = self.attempt(number);
        let Some(key) = attempt.key_at(self.clock.unix()) else {
            return self.looked_for(number, places).await;
        };
        if self.ends.is_some_and(|ends| self.clock.now() >= ends) {
            return self.leave(places, &Failure::too_late());
        }
        let request = self.request(attempt.intent.urls(), &[]).idempotency_key(key.clone());
        match self.client.submit(&request).await {
            Ok(task) => self.arrived(number, task.id(), places).await,
            // Of what the relay refuses now it may have taken the first: it says so only to who may still ask.
            Err(error)
                if matches!(error.kind(), Kind::InvalidRequest | Kind::Refused)
                    || error.code() == Some(LOST_SIGHT) =>
            {
                self.progress.note(&format!("{error}; looking for it"));
                self.looked_for(number, places).await
            }
            Err(error) => self.leave(places, &error.into()),
        }
    }

    /// Looks for the task of an intent among all of that time, and sees it through.
    async fn looked_for(&self, number: u64, places: &[usize]) -> Result<(), Failure> {
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
            Ok(Some(task)) => self.arrived(number, &task, places).await,
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
        wait = wait.on_trouble(|error| self.progress.trouble(error));
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

fn keyed(request: TranscriptionRequest, key: Option<IdempotencyKey>) -> TranscriptionRequest {
    match key {
        Some(key) => request.idempotency_key(key),
        None => request,
    }
}
