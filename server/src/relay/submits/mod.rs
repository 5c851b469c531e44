//! The submits under way, and those that can be asked for again. Knows their names, and nothing of what they are of.

mod telling;

pub(super) use self::telling::{Fate, Untold};

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use self::telling::Withdrawn;
use super::{Owner, Refused, submit::sha256};
use crate::{admission::LimitReached, issue::Unreadable};

/// How long a submit is known by its `Idempotency-Key`.
pub(super) const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// The most submits of an app that are known by a key, and of all apps.
pub(super) const KEYS_OF_APP: usize = 50_000;
const KEYS: usize = 100_000;
/// The most submits of an app that are under way at a time.
const UNDER_WAY: u32 = 64;

/// The outcome of a submit: the task's handle, and its id at the upstream.
pub(super) type Outcome = Result<(String, String), Refused>;
/// The name of a submit, and that of a body.
pub(super) type Name = [u8; 32];

/// All submits that are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Submits(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    by_name: HashMap<Name, Submit>,
    /// Those with a key, of each app, by when they are forgotten in Unix time.
    keyed: HashMap<Arc<str>, BTreeSet<(Duration, Name)>>,
    keys: usize,
    under_way: HashMap<Arc<str>, u32>,
    /// Those of which other replicas may not know what is known here.
    untold: BTreeSet<Name>,
    /// Claims that lie there still, perhaps, though nothing came of them.
    withdrawn: BTreeSet<Withdrawn>,
}

#[derive(Debug)]
struct Submit {
    app: Arc<str>,
    outcome: watch::Receiver<Option<Outcome>>,
    /// What was submitted: the same key with another body is a mistake.
    body: Name,
    /// When it is forgotten, in Unix time; without a key, as soon as it has ended.
    until: Option<Duration>,
    /// Tells its claim from others that this replica makes of the same name.
    nonce: u64,
    /// Other replicas may know of a claim of it.
    is_claimed: bool,
    /// This replica sends it: it is claimed, or nobody could be asked.
    is_sent: bool,
    /// What came of it, before whoever waits is told.
    settled: Option<Outcome>,
}

impl Submit {
    fn new(
        app: &Arc<str>,
        outcome: watch::Receiver<Option<Outcome>>,
        body: Name,
        until: Option<Duration>,
    ) -> Self {
        Self {
            app: app.clone(),
            outcome,
            body,
            until,
            nonce: fastrand::u64(..),
            is_claimed: false,
            is_sent: false,
            settled: None,
        }
    }
}

/// What a submit is to those before it.
pub(super) enum Joined {
    /// It is under way, or was done.
    Other(watch::Receiver<Option<Outcome>>),
    First(UnderWay),
}

/// A submit under way. If it is dropped without an outcome, as in a panic, nobody knows what became of it.
#[derive(Debug)]
pub(super) struct UnderWay {
    submits: Submits,
    app: Arc<str>,
    name: Name,
    nonce: u64,
    outcome: Outcome,
    is_elsewhere: bool,
    tell: watch::Sender<Option<Outcome>>,
}

impl UnderWay {
    pub(super) fn name(&self) -> Name {
        self.name
    }

    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }

    pub(super) fn outcome(&self) -> watch::Receiver<Option<Outcome>> {
        self.tell.subscribe()
    }

    /// Has everyone who waits for it told.
    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// The same of one that another replica has sent, which is to be asked for it again.
    pub(super) fn end_elsewhere(mut self, outcome: Outcome) {
        (self.outcome, self.is_elsewhere) = (outcome, true);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut known = self.submits.lock();
        self.tell.send_replace(Some(self.outcome.clone()));
        known.ended(&self.app, &self.name, &self.outcome);
        if self.is_elsewhere
            && let Some(until) = known.by_name.get(&self.name).and_then(|submit| submit.until)
        {
            known.forget_key(&self.app, until, self.name);
        }
    }
}

impl Submits {
    /// Takes in a submit, unless it is known.
    ///
    /// # Errors
    /// If its key was used for another body, or there are too many.
    pub(super) fn join(
        &self,
        owner: &Owner,
        key: Option<&str>,
        body: Name,
        now: Duration,
    ) -> Result<Joined, Refused> {
        // Without a key, the same body under way is the same submit.
        let name =
            key.map_or_else(|| [&b"body "[..], &body].concat(), |key| [b"key ", key.as_bytes()].concat());
        let name = sha256(&[&owner.bytes()[..], &name].concat());
        let mut known = self.lock();
        known.forget(&owner.app, now);
        if let Some(submit) = known.by_name.get(&name) {
            if submit.body == body {
                return Ok(Joined::Other(submit.outcome.clone()));
            }
            return Err(other_body());
        }
        known.has_room(&owner.app, key.is_some(), now)?;
        let (tell, outcome) = watch::channel(None);
        let until = key.map(|_| now + REMEMBERED);
        let submit = Submit::new(&owner.app, outcome, body, until);
        let nonce = submit.nonce;
        known.keep(&owner.app, name, submit);
        *known.under_way.entry(owner.app.clone()).or_default() += 1;
        drop(known);
        let (submits, app, outcome) = (self.clone(), owner.app.clone(), Err(Refused::OutcomeUnknown));
        Ok(Joined::First(UnderWay { submits, app, name, nonce, outcome, is_elsewhere: false, tell }))
    }

    /// Knows a submit of an app again of which an earlier process told.
    pub(super) fn know(&self, app: &Arc<str>, name: Name, body: Name, until: Duration, outcome: Outcome) {
        let (_, outcome) = watch::channel(Some(outcome));
        self.lock().keep(app, name, Submit::new(app, outcome, body, Some(until)));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn keep(&mut self, app: &Arc<str>, name: Name, submit: Submit) {
        if let Some(until) = submit.until {
            let is_new = self.keyed.entry(app.clone()).or_default().insert((until, name));
            self.keys += usize::from(is_new);
        }
        self.by_name.insert(name, submit);
    }

    /// Forgets what nobody can ask for again, and what was refused: asked again, it is tried again. What may have
    /// arrived is not tried again.
    fn ended(&mut self, app: &Arc<str>, name: &Name, outcome: &Outcome) {
        if let Some(count) = self.under_way.get_mut(app) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(app);
            }
        }
        let Some(submit) = self.by_name.get_mut(name) else { return };
        match submit.until {
            Some(_) if may_have_arrived(outcome) => {
                // If it died, nobody has told the others.
                if submit.settled.take().is_none() && submit.is_sent {
                    self.untold.insert(*name);
                }
            }
            Some(until) => self.forget_key(app, until, *name),
            None => drop(self.by_name.remove(name)),
        }
    }

    /// Forgets the keys of an app whose time is over.
    fn forget(&mut self, app: &Arc<str>, now: Duration) {
        while let Some(&(until, name)) = self.keyed.get(app).and_then(BTreeSet::first)
            && until <= now
        {
            self.forget_key(app, until, name);
        }
    }

    fn forget_key(&mut self, app: &Arc<str>, until: Duration, name: Name) {
        self.by_name.remove(&name);
        self.untold.remove(&name);
        let Some(keys) = self.keyed.get_mut(app) else { return };
        self.keys -= usize::from(keys.remove(&(until, name)));
        if keys.is_empty() {
            self.keyed.remove(app);
        }
    }

    /// Whether there is room for one more submit of an app. Keys fill no room of those that have none.
    fn has_room(&mut self, app: &Arc<str>, is_keyed: bool, now: Duration) -> Result<(), LimitReached> {
        if self.under_way.get(app).is_some_and(|count| *count >= UNDER_WAY) {
            return Err(LimitReached { limit: "submits_under_way", retry_after: Duration::from_secs(1) });
        }
        if !is_keyed {
            return Ok(());
        }
        let full = |until: Option<Duration>| {
            let retry_after = until.map_or(REMEMBERED, |until| until.saturating_sub(now));
            Err(LimitReached { limit: "idempotency_keys", retry_after })
        };
        let first = |keys: &BTreeSet<(Duration, Name)>| keys.first().map(|(until, _)| *until);
        if let Some(keys) = self.keyed.get(app).filter(|keys| keys.len() >= KEYS_OF_APP) {
            return full(first(keys));
        }
        if self.keys >= KEYS {
            let apps: Vec<_> = self.keyed.keys().cloned().collect();
            apps.iter().for_each(|app| self.forget(app, now));
        }
        if self.keys >= KEYS { full(self.keyed.values().filter_map(first).min()) } else { Ok(()) }
    }
}

/// Whether there may be a task of it.
fn may_have_arrived(outcome: &Outcome) -> bool {
    matches!(outcome, Ok(_) | Err(Refused::OutcomeUnknown))
}

/// A key was used for another body.
pub(super) fn other_body() -> Refused {
    let problem = "was used for another submit; use a new one for each".into();
    Unreadable::Field { field: "Idempotency-Key".into(), problem }.into()
}

#[cfg(test)]
mod tests;
