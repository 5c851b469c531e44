//! Grant → Admitted: takes from the limits of the app and of its subject. Also the gate that holds up an
//! address whose requests prove nobody.

mod audio;
mod daily;
mod gate;
mod limit;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use moka::{policy::EvictionPolicy, sync::Cache};
use valet_pacing::RateBudget;

pub use self::gate::{Gate, network};
use self::limit::{Aside, Day, Drawn, Rate, Seconds};
use crate::{
    config::Quotas,
    identity::Subject,
    policy::{Grant, Granted},
    shared_redis::{Away, Shared},
};

/// The subjects whose use is known at once; beyond it those not seen for longest start afresh.
const SUBJECTS: u64 = 100_000;

/// How much an app, or one of its subjects, has used. What it may use comes with each grant, so that a
/// changed policy acts at once and without a reset.
#[derive(Debug)]
pub struct Limits {
    rate: Rate,
    day: Day,
    tasks: Day,
    audio: Seconds,
    /// How fast an app's subjects come that are not known here.
    newcomers: RateBudget,
    /// Of an app that has such a limit.
    relay: OnceLock<Box<Rate>>,
}

impl Limits {
    /// Nothing used yet, by an app or by a subject of it. With a `shared` state, all replicas together keep to them.
    #[must_use]
    pub fn new(app: &str, subject: Option<&Subject>, shared: Option<&Arc<Shared>>, now: Instant) -> Self {
        let drawn = |kind: &str| Some(Drawn::new(shared?, &name(kind, app, subject)));
        let (rate, day, tasks) = (drawn("rate"), drawn("day"), drawn("tasks"));
        let audio = Seconds::new(shared.map(|shared| (name("audio", app, subject), shared.clone())));
        let (rate, day, tasks) = (Rate::new(now, rate), Day::new(day), Day::new(tasks));
        Self { rate, day, tasks, audio, newcomers: RateBudget::new(now), relay: OnceLock::new() }
    }
}

impl Limits {
    /// Tells the other replicas what was used of it here, as after an outage; `unix` is the time.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn tell(&self, unix: Duration) -> Result<(), Away> {
        self.day.tell(unix).await?;
        self.tasks.tell(unix).await
    }
}

/// The name of a limit among the replicas; whose it is, it does not tell.
fn name(kind: &str, app: &str, subject: Option<&Subject>) -> String {
    let issuer = subject.and_then(|subject| subject.issuer.as_deref());
    let parts = [Some(app), issuer, subject.map(|subject| &*subject.name)];
    // The lengths keep apart what would read the same in a row.
    let text: String = parts
        .iter()
        .map(|part| part.map_or("-".to_owned(), |part| format!("{}:{part}", part.len())))
        .collect();
    format!("{kind}:{}", HEXLOWER.encode(&digest(&SHA256, text.as_bytes()).as_ref()[..16]))
}

/// What the subjects of all apps have used.
#[derive(Debug)]
pub struct Subjects {
    known: Cache<(Arc<str>, Subject), Arc<Limits>>,
    shared: Option<Arc<Shared>>,
}

impl Subjects {
    /// Nobody has used anything yet. With a `shared` state, all replicas together keep to their limits.
    #[must_use]
    pub fn new(shared: Option<Arc<Shared>>) -> Self {
        let known = Cache::builder().max_capacity(SUBJECTS).eviction_policy(EvictionPolicy::lru());
        Self { known: known.build(), shared }
    }

    /// Tells the other replicas what was used here, as after an outage; `unix` is the time.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn tell(&self, unix: Duration) -> Result<(), Away> {
        for (_, limits) in &self.known {
            limits.tell(unix).await?;
        }
        Ok(())
    }

    /// What a subject has used. Of each that is not known something is kept, here and by the replicas, whatever becomes
    /// of its request: so there are no more of them than its app has requests.
    ///
    /// # Errors
    /// If they come faster than that.
    fn admit(
        &self,
        (app, limits, quotas): (&Arc<str>, &Limits, &Quotas),
        subject: &Subject,
        now: Instant,
    ) -> Result<Arc<Limits>, Stopped> {
        if let Some(known) = self.known.get(&(app.clone(), subject.clone())) {
            return Ok(known);
        }
        let newcomer = limits.newcomers.take(now, quotas.rate);
        newcomer.map_err(|wait| Stopped::reached("rate", wait))?;
        Ok(self.of(app, subject, now))
    }

    fn of(&self, app: &Arc<str>, subject: &Subject, now: Instant) -> Arc<Limits> {
        self.known.get_with((app.clone(), subject.clone()), || {
            Arc::new(Limits::new(app, Some(subject), self.shared.as_ref(), now))
        })
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
/// refused to a subject costs its app nothing. Waits only if permits have to be drawn from what replicas share.
///
/// # Errors
/// The limit that was reached.
pub async fn admit<'g>(
    grant: &'g Grant<'_>,
    app: &Limits,
    subjects: &Subjects,
    now: Now,
) -> Result<Admitted<'g>, Stopped> {
    let quotas = grant.quotas();
    if let Some(subject) = grant.subject().filter(|_| quotas.limit_subjects()) {
        let subject = subjects.admit((&grant.caller().app().id, app, quotas), subject, now.instant)?;
        if let Some(rate) = quotas.subject_rate {
            subject.rate.take("subject_rate", now, rate).await?;
        }
        if let Some(most) = quotas.subject_tokens_per_day {
            subject.day.take("subject_tokens_per_day", now, most).await?;
        }
    }
    app.rate.take("rate", now, quotas.rate).await?;
    if let Some(most) = quotas.tokens_per_day {
        app.day.take("tokens_per_day", now, most).await?;
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
    pub limits: &'a Arc<Limits>,
    /// What subjects have used.
    pub subjects: &'a Subjects,
}

impl Allowance<'_> {
    /// Takes a submit at the relay from the rates: it asks for as much as a token does, and for work besides.
    ///
    /// # Errors
    /// The limit that was reached.
    pub async fn admit(&self, now: Now) -> Result<(), Stopped> {
        if let Some(subject) = self.subject.filter(|_| self.quotas.limit_subjects()) {
            let subject = self.subjects.admit((self.app, self.limits, self.quotas), subject, now.instant)?;
            if let Some(rate) = self.quotas.subject_rate {
                subject.rate.take("subject_rate", now, rate).await?;
            }
        }
        self.limits.rate.take("rate", now, self.quotas.rate).await
    }

    /// Takes a request at the relay that is no submit from the app's rate of those, if it has one.
    ///
    /// # Errors
    /// If that is reached.
    pub async fn admit_request(&self, now: Now) -> Result<(), Stopped> {
        let Some(quota) = self.quotas.relay_rate else { return Ok(()) };
        let rate = self.limits.relay.get_or_init(|| {
            let drawn = |shared| Drawn::new(shared, &name("relay", self.app, None));
            Box::new(Rate::new(now.instant, self.subjects.shared.as_ref().map(drawn)))
        });
        rate.take("relay_rate", now, quota).await
    }

    /// Takes a task from the quotas of the day, and sets `seconds` of audio aside for it; all or nothing but for the
    /// count of tasks.
    ///
    /// # Errors
    /// The quota that is used up.
    pub async fn reserve(&self, seconds: u64, now: Now) -> Result<Reservation, Stopped> {
        let (quotas, unix) = (self.quotas, now.unix);
        let mut reserved = Reservation::of_nobody(unix, seconds);
        if let Some(subject) = self.of_subject(now) {
            if let Some(most) = quotas.subject_tasks_per_day {
                subject.tasks.take("subject_tasks_per_day", now, most).await?;
            }
            let (limit, most) = ("subject_audio_seconds_per_day", quotas.subject_audio_seconds_per_day);
            let aside = subject.audio.set_aside(limit, unix, seconds, most).await?;
            reserved.of.push((Some(subject), aside));
        }
        let of_app = async {
            if let Some(most) = quotas.tasks_per_day {
                self.limits.tasks.take("tasks_per_day", now, most).await?;
            }
            let (limit, most) = ("audio_seconds_per_day", quotas.audio_seconds_per_day);
            self.limits.audio.set_aside(limit, unix, seconds, most).await
        };
        match of_app.await {
            Ok(aside) => {
                reserved.of.push((Some(self.limits.clone()), aside));
                Ok(reserved)
            }
            Err(stopped) => {
                reserved.give_back().await;
                Err(stopped)
            }
        }
    }

    /// Counts a task that was `submitted` before this process began, with what it used or has set aside.
    #[must_use]
    pub fn know(&self, submitted: Duration, seconds: u64, now: Now) -> Reservation {
        let (quotas, subject) = (self.quotas, self.of_subject(now));
        let of_subject = subject.map(|subject| (subject, quotas.subject_audio_seconds_per_day));
        let of_app = (self.limits.clone(), quotas.audio_seconds_per_day);
        let of = of_subject.into_iter().chain([of_app]).map(|(limits, most)| {
            limits.tasks.know(submitted);
            limits.audio.know(submitted, seconds);
            let count = most.and_then(|_| limits.audio.unknown_count());
            (Some(limits), Aside { count, day: daily::day(submitted) })
        });
        Reservation { of: of.collect(), seconds, submitted }
    }

    /// Nothing is kept of subjects that no limit is for.
    fn of_subject(&self, now: Now) -> Option<Arc<Limits>> {
        let subject = self.subject.filter(|_| self.quotas.limit_subjects())?;
        Some(self.subjects.of(self.app, subject, now.instant))
    }
}

/// Seconds of audio that are set aside for a task, and of whose: what becomes of the configuration meanwhile, they are
/// given back to those they were taken of.
#[derive(Debug)]
pub struct Reservation {
    /// Each with what was set aside of it; of what another replica set aside, without it.
    of: Vec<(Option<Arc<Limits>>, Aside)>,
    seconds: u64,
    submitted: Duration,
}

impl Reservation {
    /// Seconds that were set aside at the time of a submit, of an app that there is not any more, or by another
    /// replica.
    #[must_use]
    pub fn of_nobody(submitted: Duration, seconds: u64) -> Self {
        Self { of: Vec::new(), seconds, submitted }
    }

    /// Seconds that another replica set aside, on a day and in these counts.
    #[must_use]
    pub fn of_another(
        submitted: Duration,
        seconds: u64,
        day: u64,
        counts: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let of = counts.into_iter().map(|count| (None, Aside { count: Some(count), day })).collect();
        Self { of, seconds, submitted }
    }

    /// When that was, in Unix time.
    #[must_use]
    pub fn submitted(&self) -> Duration {
        self.submitted
    }

    /// How many seconds are set aside.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// The day of UTC that they are of, by whoever counts them.
    #[must_use]
    pub fn day(&self) -> u64 {
        self.of.iter().map(|(_, aside)| aside.day).max().unwrap_or_else(|| daily::day(self.submitted))
    }

    /// Where the replicas count them, each with the epoch in which that is known there.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, String)> {
        self.of.iter().filter_map(|(_, aside)| aside.count.clone()).collect()
    }

    /// Has the seconds that were `used` in place of those set aside here; the replicas' counts hear of it with the
    /// task. Once: nothing is set aside after that.
    pub fn settle(&self, used: u64) {
        let own = self.of.iter().filter_map(|(limits, _)| limits.as_ref());
        own.for_each(|limits| limits.audio.settle(self.submitted, self.seconds, used));
    }

    /// Gives all of it back: nothing was submitted.
    pub async fn give_back(&self) {
        for (limits, aside) in &self.of {
            if let Some(limits) = limits {
                limits.audio.give_back(self.submitted, self.seconds, aside).await;
            }
        }
    }
}

/// A grant within the limits: what was granted comes out of this alone.
#[derive(Debug)]
pub struct Admitted<'g>(&'g Grant<'g>);

impl<'g> Admitted<'g> {
    /// The right to what was granted.
    #[must_use]
    pub fn granted(self) -> &'g Granted {
        self.0.granted()
    }
}

/// Why nothing is admitted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Stopped {
    /// A limit was reached.
    #[error(transparent)]
    Reached(#[from] LimitReached),
    /// What the replicas keep together is away, and nothing is admitted without it.
    #[error(transparent)]
    Away(#[from] Away),
}

impl Stopped {
    fn reached(limit: &'static str, retry_after: Duration) -> Self {
        Self::Reached(LimitReached { limit, retry_after })
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
