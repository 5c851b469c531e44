//! What other replicas are to know of submits with a key, and may not know yet: it is told as soon as it can be. Knows
//! nobody who tells it.

use std::{sync::Arc, time::Duration};

use super::{KEYS, Name, Outcome, Submits, may_have_arrived};

/// A claim that nothing came of.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Withdrawn {
    app: Arc<str>,
    name: Name,
    nonce: u64,
}

/// A submit of which others may not know what is known here.
#[derive(Clone, Debug)]
pub(in crate::relay) struct Untold {
    pub(in crate::relay) app: Arc<str>,
    pub(in crate::relay) name: Name,
    pub(in crate::relay) nonce: u64,
    pub(in crate::relay) fate: Fate,
}

/// What is known of a submit, with the name of its body and until when it is known, in Unix time.
#[derive(Clone, Debug)]
pub(in crate::relay) enum Fate {
    /// Nothing came of it.
    Withdrawn,
    /// This replica sends it.
    UnderWay(Name, Duration),
    /// It has ended.
    Ended(Name, Duration, Outcome),
}

impl Submits {
    /// A submit is about to be claimed: the claim may be known to others from now on, even if no answer comes.
    pub(in crate::relay) fn claim(&self, name: Name) {
        if let Some(submit) = self.lock().by_name.get_mut(&name) {
            submit.is_claimed = true;
        }
    }

    /// A submit is about to be sent by this replica; the others know, if it `is_told`.
    pub(in crate::relay) fn send(&self, name: Name, is_told: bool) {
        let known = &mut *self.lock();
        if let Some(submit) = known.by_name.get_mut(&name) {
            submit.is_sent = true;
            if !is_told {
                known.untold.insert(name);
            }
        }
    }

    /// What became of a submit is known; what is to be told of it to the others, if anything. Until that is
    /// [told](Self::told), it is remembered.
    pub(in crate::relay) fn settle(&self, name: Name, outcome: &Outcome) -> Option<Untold> {
        let known = &mut *self.lock();
        let submit = known.by_name.get_mut(&name)?;
        if may_have_arrived(outcome) {
            submit.settled = Some(outcome.clone());
            known.untold.insert(name);
            return submit.untold(name);
        }
        (submit.is_sent, submit.settled) = (false, None);
        known.untold.remove(&name);
        let claim = Withdrawn { app: submit.app.clone(), name, nonce: submit.nonce };
        submit.is_claimed.then(|| known.withdraw(claim))
    }

    /// All that others knew may be lost.
    pub(in crate::relay) fn lost(&self) {
        let known = &mut *self.lock();
        let keyed = known.keyed.values().flatten().map(|(_, name)| *name);
        known.untold.extend(keyed);
    }

    /// Some of what others may not know, at most so much. Nothing, if they know all.
    pub(in crate::relay) fn untold(&self, most: usize) -> Vec<Untold> {
        let known = &mut *self.lock();
        // Before what was sent later under the same key.
        let mut some: Vec<_> = known.withdrawn.iter().take(most).map(Withdrawn::untold).collect();
        while some.len() < most
            && let Some(name) = known.untold.pop_first()
        {
            let Some(submit) = known.by_name.get_mut(&name) else { continue };
            if let Some(untold) = submit.untold(name) {
                // Whoever reads of it takes it for claimed.
                submit.is_claimed = true;
                some.push(untold);
            }
        }
        // Not before it is told.
        known.untold.extend(some.iter().filter(|untold| !untold.is_withdrawn()).map(|untold| untold.name));
        some
    }

    /// These were told. What has become of one meanwhile is still to be told.
    pub(in crate::relay) fn told(&self, told: &[Untold]) {
        let known = &mut *self.lock();
        for Untold { app, name, nonce, fate } in told {
            let claim = Withdrawn { app: app.clone(), name: *name, nonce: *nonce };
            let now = known.by_name.get(name).filter(|submit| submit.nonce == *nonce);
            match (fate, now.and_then(|submit| submit.untold(*name)).map(|untold| untold.fate)) {
                (Fate::Withdrawn, _) => drop(known.withdrawn.remove(&claim)),
                (Fate::UnderWay(..), Some(Fate::UnderWay(..))) | (Fate::Ended(..), Some(_)) => {
                    known.untold.remove(name);
                }
                (Fate::UnderWay(..), Some(_)) => drop(known.untold.insert(*name)),
                (Fate::UnderWay(..), None) => drop(known.withdraw(claim)),
                (Fate::Ended(..), None) => {}
            }
        }
    }
}

impl super::Known {
    /// A claim is to be withdrawn. There are few: of those that are under way when the others go away.
    fn withdraw(&mut self, claim: Withdrawn) -> Untold {
        let untold = claim.untold();
        self.withdrawn.insert(claim);
        if self.withdrawn.len() > KEYS {
            self.withdrawn.pop_first();
        }
        untold
    }
}

impl super::Submit {
    /// What the others are to know of it; nothing, if this replica has not sent it.
    fn untold(&self, name: Name) -> Option<Untold> {
        let until = self.until?;
        let outcome = self.settled.clone().or_else(|| self.outcome.borrow().clone());
        let fate = match outcome {
            Some(outcome) => Fate::Ended(self.body, until, outcome),
            None if self.is_sent => Fate::UnderWay(self.body, until),
            None => return None,
        };
        Some(Untold { app: self.app.clone(), name, nonce: self.nonce, fate })
    }
}

impl Withdrawn {
    fn untold(&self) -> Untold {
        Untold { app: self.app.clone(), name: self.name, nonce: self.nonce, fate: Fate::Withdrawn }
    }
}

impl Untold {
    fn is_withdrawn(&self) -> bool {
        matches!(self.fate, Fate::Withdrawn)
    }
}
