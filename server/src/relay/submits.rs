//! The submits under way, and those that can be asked for again. Knows their names, and nothing of what they are of.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

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
    /// Those that other replicas may not know of.
    untold: HashSet<Name>,
}

#[derive(Debug)]
struct Submit {
    outcome: watch::Receiver<Option<Outcome>>,
    /// What was submitted: the same key with another body is a mistake.
    body: Name,
    /// When it is forgotten, in Unix time; without a key, as soon as it has ended.
    until: Option<Duration>,
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
    outcome: Outcome,
    is_elsewhere: bool,
    tell: watch::Sender<Option<Outcome>>,
}

impl UnderWay {
    pub(super) fn name(&self) -> Name {
        self.name
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

/// A submit with a key.
#[derive(Debug)]
pub(super) struct Keyed {
    pub(super) app: Arc<str>,
    pub(super) name: Name,
    pub(super) body: Name,
    /// When it is forgotten, in Unix time.
    pub(super) until: Duration,
    /// What became of it; none while it is under way.
    pub(super) outcome: Option<Outcome>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut known = self.submits.lock();
        known.ended(&self.app, &self.name, &self.outcome);
        if self.is_elsewhere
            && let Some(until) = known.by_name.get(&self.name).and_then(|submit| submit.until)
        {
            known.forget_key(&self.app, until, self.name);
        }
        drop(known);
        self.tell.send_replace(Some(self.outcome.clone()));
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
        known.keep(&owner.app, name, Submit { outcome, body, until });
        *known.under_way.entry(owner.app.clone()).or_default() += 1;
        drop(known);
        let (submits, app, outcome) = (self.clone(), owner.app.clone(), Err(Refused::OutcomeUnknown));
        Ok(Joined::First(UnderWay { submits, app, name, outcome, is_elsewhere: false, tell }))
    }

    /// Whether other replicas may not know of a submit.
    pub(super) fn untold(&self, name: Name, is_untold: bool) {
        let untold = &mut self.lock().untold;
        if is_untold {
            untold.insert(name)
        } else {
            untold.remove(&name)
        };
    }

    /// The submits with a key: those that other replicas may not know of, or `all`.
    pub(super) fn keyed(&self, all: bool) -> Vec<Keyed> {
        let known = self.lock();
        let keyed = known.keyed.iter().flat_map(|(app, keys)| keys.iter().map(move |key| (app, key)));
        let wanted = keyed.filter(|(_, (_, name))| all || known.untold.contains(name));
        let keyed = wanted.filter_map(|(app, (until, name))| {
            let submit = known.by_name.get(name)?;
            let outcome = submit.outcome.borrow().clone();
            Some(Keyed { app: app.clone(), name: *name, body: submit.body, until: *until, outcome })
        });
        keyed.collect()
    }

    /// Knows a submit of an app again of which an earlier process told.
    pub(super) fn know(&self, app: &Arc<str>, name: Name, body: Name, until: Duration, outcome: Outcome) {
        let (_, outcome) = watch::channel(Some(outcome));
        self.lock().keep(app, name, Submit { outcome, body, until: Some(until) });
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
        let may_have_arrived = matches!(outcome, Ok(_) | Err(Refused::OutcomeUnknown));
        let until = self.by_name.get(name).and_then(|submit| submit.until);
        match until {
            Some(_) if may_have_arrived => {}
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

/// A key was used for another body.
pub(super) fn other_body() -> Refused {
    let problem = "was used for another submit; use a new one for each".into();
    Unreadable::Field { field: "Idempotency-Key".into(), problem }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::Refusal;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn owner(app: &str) -> Owner {
        Owner { app: app.into(), subject: None }
    }

    fn first(submits: &Submits, app: &str, key: Option<&str>, body: u8, now: Duration) -> UnderWay {
        match submits.join(&owner(app), key, [body; 32], now) {
            Ok(Joined::First(first)) => first,
            Ok(Joined::Other(_)) => panic!("it is known"),
            Err(refused) => panic!("{refused:?}"),
        }
    }

    fn limit(joined: Result<Joined, Refused>) -> (&'static str, Duration) {
        match joined {
            Err(Refused::Here(Refusal::Limited(reached))) => (reached.limit, reached.retry_after),
            Err(refused) => panic!("{refused:?}"),
            Ok(_) => panic!("there is room"),
        }
    }

    fn done() -> Outcome {
        Ok(("handle".into(), "id".into()))
    }

    #[test]
    fn keys_of_an_app_are_bounded_and_in_no_way_of_others_or_of_submits_without_one() {
        let submits = Submits::default();
        for number in 0..KEYS_OF_APP {
            let at = NOW + Duration::from_secs(u64::from(number > 0));
            first(&submits, "acme", Some(&number.to_string()), 0, at).end(done());
        }
        let full = submits.join(&owner("acme"), Some("one more"), [0; 32], NOW + Duration::from_secs(1));
        assert_eq!(limit(full), ("idempotency_keys", REMEMBERED - Duration::from_secs(1)));
        first(&submits, "acme", None, 0, NOW).end(done());
        first(&submits, "other", Some("1"), 0, NOW).end(done());
        // What is over makes room.
        first(&submits, "acme", Some("one more"), 0, NOW + REMEMBERED).end(done());
        assert_eq!(submits.lock().keys, KEYS_OF_APP + 1);
    }

    #[test]
    fn a_refused_submit_leaves_nothing_and_one_that_ended_is_known_by_its_key_alone() {
        let submits = Submits::default();
        first(&submits, "acme", Some("k"), 0, NOW)
            .end(Err(LimitReached { limit: "rate", retry_after: NOW }.into()));
        assert!(submits.lock().by_name.is_empty());
        assert_eq!(submits.lock().keys, 0);
        first(&submits, "acme", None, 1, NOW).end(done());
        assert!(submits.lock().by_name.is_empty());
        first(&submits, "acme", Some("k"), 0, NOW).end(done());
        let again = submits.join(&owner("acme"), Some("k"), [0; 32], NOW).unwrap();
        assert!(matches!(again, Joined::Other(outcome) if outcome.borrow().as_ref().unwrap().is_ok()));
        assert!(submits.join(&owner("acme"), Some("k"), [1; 32], NOW).is_err(), "another body");
        assert!(submits.lock().under_way.is_empty());
    }

    #[test]
    fn an_app_has_so_many_submits_under_way_and_no_more() {
        let submits = Submits::default();
        let mut under_way: Vec<_> = (0..64).map(|body| first(&submits, "acme", None, body, NOW)).collect();
        let full = submits.join(&owner("acme"), None, [64; 32], NOW);
        assert_eq!(limit(full), ("submits_under_way", Duration::from_secs(1)));
        assert!(matches!(submits.join(&owner("acme"), None, [0; 32], NOW), Ok(Joined::Other(_))));
        under_way.pop().unwrap().end(done());
        first(&submits, "acme", None, 64, NOW).end(done());
    }

    #[tokio::test]
    async fn a_submit_that_dies_is_of_unknown_outcome_and_keeps_nobody_waiting() {
        let submits = Submits::default();
        for key in [None, Some("k")] {
            let dying = first(&submits, "acme", key, 0, NOW);
            let mut outcome = dying.outcome();
            tokio::spawn(async move {
                let _dying = dying;
                panic!("on purpose");
            })
            .await
            .unwrap_err();
            let outcome = outcome.wait_for(Option::is_some).await.unwrap().clone();
            assert!(matches!(outcome, Some(Err(Refused::OutcomeUnknown))));
        }
        first(&submits, "acme", None, 0, NOW).end(done());
        let keyed = submits.join(&owner("acme"), Some("k"), [0; 32], NOW).unwrap();
        assert!(matches!(keyed, Joined::Other(_)), "it may have arrived");
    }
}
