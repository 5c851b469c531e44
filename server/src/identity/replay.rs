//! Which single-use tokens have been seen: recorded last of all checks, and in one step.

use std::{
    collections::{HashMap, hash_map},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};

use crate::shared_redis::Remembered;

/// Records that are kept at once. Each lives minutes; beyond it nothing more is accepted, rather than
/// something twice.
const MOST: usize = 250_000;
/// The same of one issuer, so that none fills the room of all.
const MOST_OF_ONE: usize = 25_000;

/// For so long beyond its end a token is remembered: the clock of another replica may be behind, and take it for alive.
pub(super) const CLOCKS_APART: Duration = Duration::from_secs(30);

/// The tokens that were shown and have not expired.
#[derive(Debug, Default)]
pub(super) struct Replay(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    issuers: HashMap<Box<str>, Ids>,
    count: usize,
    /// What other replicas recorded, by its name among them.
    noted: HashMap<[u8; 32], Duration>,
}

/// What one issuer said: a hash of each id, and until when it means anything, in Unix time.
#[derive(Debug, Default)]
struct Ids {
    until: HashMap<[u8; 32], Duration>,
    /// None of them ends before.
    earliest: Duration,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// It was shown before.
    Before,
    /// There is no room to remember it.
    Full,
}

impl Replay {
    /// Records that `issuer` said `id`, which means nothing after `until`, in Unix time.
    pub(super) fn record(&self, issuer: &str, id: &str, until: Duration, now: Duration) -> Result<(), Seen> {
        let key = key(id);
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if records.count >= MOST {
            records.drop_ended(now);
        }
        let Records { issuers, count, .. } = &mut *records;
        if !issuers.contains_key(issuer) {
            issuers.insert(issuer.into(), Ids::default());
        }
        let ids = issuers.get_mut(issuer).expect("it was put there");
        if ids.until.len() >= MOST_OF_ONE {
            *count -= ids.drop_ended(now);
        }
        let full = *count >= MOST || ids.until.len() >= MOST_OF_ONE;
        match ids.until.entry(key) {
            hash_map::Entry::Occupied(entry) if *entry.get() > now => return Err(Seen::Before),
            hash_map::Entry::Occupied(mut entry) => drop(entry.insert(until)),
            hash_map::Entry::Vacant(_) if full => return Err(Seen::Full),
            hash_map::Entry::Vacant(entry) => {
                entry.insert(until);
                *count += 1;
            }
        }
        ids.earliest = if ids.until.len() == 1 { until } else { ids.earliest.min(until) };
        Ok(())
    }

    /// Notes what another replica has recorded, by its name among them.
    pub(super) fn note(&self, name: [u8; 32], until: Duration, now: Duration) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if records.noted.len() >= MOST {
            records.noted.retain(|_, until| *until > now);
        }
        // Beyond it the oldest would have to go, which nobody knows: what is noted is what its own replica refuses too.
        if records.noted.len() < MOST {
            records.noted.insert(name, until);
        }
    }

    /// What is known at `now`, by its name among the replicas, and for how long it matters.
    pub(super) fn remembered(&self, now: Duration) -> Vec<Remembered> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = records
            .issuers
            .iter()
            .flat_map(|(issuer, ids)| ids.until.iter().map(|(key, until)| (name_of(issuer, key), *until)));
        let noted = records.noted.iter().map(|(name, until)| (*name, *until));
        own.chain(noted).filter(|(_, until)| *until > now).map(|(name, until)| (name, until - now)).collect()
    }

    /// Whether it is recorded that `issuer` said `id`.
    pub(super) fn has(&self, issuer: &str, id: &str, now: Duration) -> bool {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = records.issuers.get(issuer).and_then(|ids| ids.until.get(&key(id)));
        let noted = || (!records.noted.is_empty()).then(|| records.noted.get(&name(issuer, id))).flatten();
        own.or_else(noted).is_some_and(|until| *until > now)
    }
}

impl Records {
    fn drop_ended(&mut self, now: Duration) {
        for ids in self.issuers.values_mut() {
            self.count -= ids.drop_ended(now);
        }
        self.issuers.retain(|_, ids| !ids.until.is_empty());
    }
}

impl Ids {
    /// Drops what means nothing any more; says how many. It looks through them only if there is one.
    fn drop_ended(&mut self, now: Duration) -> usize {
        if self.earliest > now {
            return 0;
        }
        let before = self.until.len();
        self.until.retain(|_, until| *until > now);
        self.earliest = self.until.values().min().copied().unwrap_or_default();
        before - self.until.len()
    }
}

/// What replicas call that `issuer` said `id`.
pub(super) fn name(issuer: &str, id: &str) -> [u8; 32] {
    name_of(issuer, &key(id))
}

fn name_of(issuer: &str, key: &[u8; 32]) -> [u8; 32] {
    // The length keeps apart what would read the same in a row.
    let text = [format!("{}:{issuer}", issuer.len()).as_bytes(), key].concat();
    digest(&SHA256, &text).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Ids are of any length.
fn key(id: &str) -> [u8; 32] {
    digest(&SHA256, id.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_shown_is_not_accepted_again_until_it_has_expired_anyway() {
        let replay = Replay::default();
        assert_eq!(replay.record("acme", "1", at(60), at(0)), Ok(()));
        assert_eq!(replay.record("acme", "1", at(60), at(59)), Err(Seen::Before));
        assert_eq!(replay.record("acm", "e1", at(60), at(59)), Ok(()), "another's word");
        assert_eq!(replay.record("acme", "2", at(60), at(59)), Ok(()));
        assert_eq!(replay.record("acme", "1", at(120), at(60)), Ok(()));
    }

    #[test]
    fn without_room_nothing_is_accepted() {
        let replay = Replay::default();
        for id in 0..MOST_OF_ONE {
            replay.record("acme", &id.to_string(), at(60), at(0)).unwrap();
        }
        assert_eq!(replay.record("acme", "one more", at(60), at(59)), Err(Seen::Full));
        assert_eq!(replay.record("acme", "0", at(60), at(59)), Err(Seen::Before));
        assert_eq!(replay.record("other", "one more", at(60), at(59)), Ok(()), "nobody fills another's room");
        assert_eq!(replay.record("acme", "one more", at(120), at(60)), Ok(()), "the others have expired");
    }

    #[test]
    fn all_together_have_a_bound() {
        let replay = Replay::default();
        for issuer in 0..MOST / MOST_OF_ONE {
            for id in 0..MOST_OF_ONE {
                replay.record(&issuer.to_string(), &id.to_string(), at(60), at(0)).unwrap();
            }
        }
        assert_eq!(replay.record("other", "1", at(60), at(59)), Err(Seen::Full));
        assert_eq!(replay.record("other", "1", at(120), at(60)), Ok(()), "the others have expired");
    }

    #[test]
    fn of_many_at_once_one_is_the_first() {
        let replay = Replay::default();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let record = || scope.spawn(|| replay.record("acme", "1", at(60), at(0)));
            let all: Vec<_> = (0..16).map(|_| record()).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    }
}
