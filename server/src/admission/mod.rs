//! Grant → Admitted: takes from the limits of the app and of its subject. Also the gate that holds up an
//! address whose requests prove nobody.

mod audio;
mod daily;
mod gate;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{policy::EvictionPolicy, sync::Cache};
use valet_pacing::RateBudget;

pub use self::gate::Gate;
use self::{audio::Audio, daily::Daily};
use crate::{
    config::Quotas,
    identity::Subject,
    policy::{Grant, Granted},
};

/// The subjects whose use is known at once; beyond it those not seen for longest start afresh.
const SUBJECTS: u64 = 100_000;

/// How much an app, or one of its subjects, has used. What it may use comes with each grant, so that a
/// changed policy acts at once and without a reset.
#[derive(Debug)]
pub struct Limits {
    rate: RateBudget,
    day: Daily,
    tasks: Daily,
    audio: Audio,
}

impl Limits {
    /// Nothing used yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let (day, tasks, audio) = (Daily::default(), Daily::default(), Audio::default());
        Self { rate: RateBudget::new(now), day, tasks, audio }
    }
}

/// What the subjects of all apps have used.
#[derive(Debug)]
pub struct Subjects(Cache<(Arc<str>, Subject), Arc<Limits>>);

impl Subjects {
    /// Nobody has used anything yet.
    #[must_use]
    pub fn new() -> Self {
        let known = Cache::builder().max_capacity(SUBJECTS).eviction_policy(EvictionPolicy::lru());
        Self(known.build())
    }

    fn of(&self, app: &Arc<str>, subject: &Subject, now: Instant) -> Arc<Limits> {
        self.0.get_with((app.clone(), subject.clone()), || Arc::new(Limits::new(now)))
    }
}

impl Default for Subjects {
    fn default() -> Self {
        Self::new()
    }
}

/// The time, as admission needs it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// By the monotonic clock.
    pub instant: Instant,
    /// Since the Unix epoch: days are those of UTC.
    pub unix: Duration,
}

/// Takes `grant` from the limits of its subject and its app: the narrowest first, so that what is
/// refused to a subject costs its app nothing.
///
/// # Errors
/// The limit that was reached.
pub fn admit<'s>(
    grant: Grant<'s>,
    app: &Limits,
    subjects: &Subjects,
    now: Now,
) -> Result<Admitted<'s>, LimitReached> {
    let quotas = grant.quotas();
    if let Some(subject) = grant.subject().filter(|_| quotas.limit_subjects()) {
        let subject = subjects.of(&grant.caller().app().id, subject, now.instant);
        if let Some(rate) = quotas.subject_rate {
            taken("subject_rate", subject.rate.take(now.instant, rate))?;
        }
        if let Some(most) = quotas.subject_tokens_per_day {
            taken("subject_tokens_per_day", subject.day.take(now.unix, most))?;
        }
    }
    taken("rate", app.rate.take(now.instant, quotas.rate))?;
    if let Some(most) = quotas.tokens_per_day {
        taken("tokens_per_day", app.day.take(now.unix, most))?;
    }
    Ok(Admitted(grant))
}

/// What an app and its subject may do at the relay, and what they have used of it.
#[derive(Clone, Copy, Debug)]
pub struct Allowance<'a> {
    /// The app.
    pub app: &'a Arc<str>,
    /// Its end user.
    pub subject: Option<&'a Subject>,
    /// What they may use.
    pub quotas: &'a Quotas,
    /// What the app has used.
    pub limits: &'a Limits,
    /// What subjects have used.
    pub subjects: &'a Subjects,
}

impl Allowance<'_> {
    /// Takes a submit at the relay from the rates: it asks for as much as a token does, and for work besides.
    ///
    /// # Errors
    /// The limit that was reached.
    pub fn admit(&self, now: Now) -> Result<(), LimitReached> {
        if let (Some(subject), Some(rate)) = (self.of_subject(now), self.quotas.subject_rate) {
            taken("subject_rate", subject.rate.take(now.instant, rate))?;
        }
        taken("rate", self.limits.rate.take(now.instant, self.quotas.rate))
    }

    /// Takes a task from the quotas of the day, and sets `seconds` of audio aside for it; all or nothing but for the
    /// count of tasks.
    ///
    /// # Errors
    /// The quota that is used up.
    pub fn reserve(&self, seconds: u64, now: Now) -> Result<(), LimitReached> {
        let (quotas, unix) = (self.quotas, now.unix);
        let subject = self.of_subject(now);
        if let Some(subject) = &subject {
            let most = quotas.subject_tasks_per_day.unwrap_or(u32::MAX);
            taken("subject_tasks_per_day", subject.tasks.take(unix, most))?;
            let most = quotas.subject_audio_seconds_per_day.unwrap_or(u64::MAX);
            taken("subject_audio_seconds_per_day", subject.audio.reserve(unix, seconds, most))?;
        }
        let of_app = || {
            taken("tasks_per_day", self.limits.tasks.take(unix, quotas.tasks_per_day.unwrap_or(u32::MAX)))?;
            let most = quotas.audio_seconds_per_day.unwrap_or(u64::MAX);
            taken("audio_seconds_per_day", self.limits.audio.reserve(unix, seconds, most))
        };
        let reserved = of_app();
        if let (Err(_), Some(subject)) = (&reserved, subject) {
            subject.audio.settle(unix, seconds, 0);
        }
        reserved
    }

    /// Has the seconds that a task used in place of those set aside when it was `submitted`.
    pub fn settle(&self, submitted: Duration, reserved: u64, used: u64, now: Now) {
        self.limits.audio.settle(submitted, reserved, used);
        if let Some(subject) = self.of_subject(now) {
            subject.audio.settle(submitted, reserved, used);
        }
    }

    /// Counts a task that was `submitted` before this process began, with what it used or has set aside.
    pub fn know(&self, submitted: Duration, seconds: u64, now: Now) {
        for limits in [self.of_subject(now).as_deref(), Some(self.limits)].into_iter().flatten() {
            limits.tasks.know(submitted);
            limits.audio.settle(submitted, 0, seconds);
        }
    }

    /// Nothing is kept of subjects that no limit is for.
    fn of_subject(&self, now: Now) -> Option<Arc<Limits>> {
        let subject = self.subject.filter(|_| self.quotas.limit_subjects())?;
        Some(self.subjects.of(self.app, subject, now.instant))
    }
}

fn taken(limit: &'static str, taken: Result<(), Duration>) -> Result<(), LimitReached> {
    taken.map_err(|retry_after| LimitReached { limit, retry_after })
}

/// A grant within the limits; issuing takes it by value, so none is used twice.
#[derive(Debug)]
pub struct Admitted<'s>(Grant<'s>);

impl Admitted<'_> {
    /// The right to what was granted.
    #[must_use]
    pub fn into_granted(self) -> Granted {
        self.0.into_granted()
    }
}

/// A limit was reached.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this limit is reached: {limit}")]
pub struct LimitReached {
    /// The limit's name in the configuration.
    pub limit: &'static str,
    /// The exact time until there is room again.
    pub retry_after: Duration,
}
