//! Result files behind unguessable names, each until its time is up.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;

use crate::ids;

#[derive(Debug, Default)]
pub(crate) struct Results(Mutex<HashMap<[u8; 32], Kept>>);

#[derive(Debug)]
struct Kept {
    body: Bytes,
    expires: Instant,
}

impl Results {
    /// Keeps a result until `expires`; its name is the only way to it.
    pub(crate) fn keep(&self, body: Bytes, now: Instant, expires: Instant) -> String {
        let name = ids::secret("");
        let mut results = self.lock();
        results.retain(|_, kept| now < kept.expires);
        results.insert(ids::hash(&name), Kept { body, expires });
        name
    }

    pub(crate) fn find(&self, name: &str, now: Instant) -> Option<Bytes> {
        let results = self.lock();
        let kept = results.get(&ids::hash(name)).filter(|kept| now < kept.expires)?;
        Some(kept.body.clone())
    }

    /// Changes are single insertions and removals, so a poisoned lock guards nothing broken.
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
