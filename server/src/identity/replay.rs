//! Which single-use tokens have been seen: recorded last of all checks, and in one step.

use std::{
    collections::{HashMap, hash_map},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};

/// Records that are kept at once. Each lives minutes; beyond it nothing more is accepted, rather than
/// something twice.
const MOST: usize = 100_000;

/// The tokens that were shown and have not expired.
#[derive(Debug, Default)]
pub(super) struct Replay(Mutex<HashMap<[u8; 32], Duration>>);

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
        let key = key(issuer, id);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST {
            seen.retain(|_, until| *until > now);
        }
        let full = seen.len() >= MOST;
        match seen.entry(key) {
            hash_map::Entry::Occupied(entry) if *entry.get() > now => Err(Seen::Before),
            hash_map::Entry::Occupied(mut entry) => {
                entry.insert(until);
                Ok(())
            }
            hash_map::Entry::Vacant(_) if full => Err(Seen::Full),
            hash_map::Entry::Vacant(entry) => {
                entry.insert(until);
                Ok(())
            }
        }
    }
}

impl Replay {
    /// Whether it is recorded that `issuer` said `id`.
    pub(super) fn has(&self, issuer: &str, id: &str, now: Duration) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&key(issuer, id)).is_some_and(|until| *until > now)
    }
}

fn key(issuer: &str, id: &str) -> [u8; 32] {
    // The length keeps apart what would read the same in a row.
    let text = format!("{}:{issuer}{id}", issuer.len());
    digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
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
        for id in 0..MOST {
            replay.record("acme", &id.to_string(), at(60), at(0)).unwrap();
        }
        assert_eq!(replay.record("acme", "one more", at(60), at(59)), Err(Seen::Full));
        assert_eq!(replay.record("acme", "0", at(60), at(59)), Err(Seen::Before));
        assert_eq!(replay.record("acme", "one more", at(120), at(60)), Ok(()), "the others have expired");
    }
}
