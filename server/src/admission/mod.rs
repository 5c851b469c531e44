//! Grant → Admitted: takes from the limits of the app and of its subject. Also the gate that holds up an
//! address whose requests prove nobody.

mod daily;
mod gate;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{policy::EvictionPolicy, sync::Cache};
use valet_pacing::RateBudget;

use self::daily::Daily;
pub use self::gate::Gate;
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
}

impl Limits {
    /// Nothing used yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { rate: RateBudget::new(now), day: Daily::default() }
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

/// Takes a submit at the relay from the rates of its subject and its app: a submit asks for as much as a token
/// does, and for work besides.
///
/// # Errors
/// The limit that was reached.
pub fn admit_submit(
    app: &Arc<str>,
    subject: Option<&Subject>,
    quotas: &Quotas,
    (limits, subjects): (&Limits, &Subjects),
    now: Now,
) -> Result<(), LimitReached> {
    if let (Some(subject), Some(rate)) = (subject, quotas.subject_rate) {
        taken("subject_rate", subjects.of(app, subject, now.instant).rate.take(now.instant, rate))?;
    }
    taken("rate", limits.rate.take(now.instant, quotas.rate))
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
