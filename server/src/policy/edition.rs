//! Editions of a policy: what was granted under one that is void is void.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counts the editions of an app's policy. It outlives them all: what was granted under an edition that
/// is void is void.
#[derive(Clone, Debug, Default)]
pub struct Editions(Arc<AtomicU64>);

impl Editions {
    /// The edition that is in force.
    #[must_use]
    pub fn current(&self) -> Edition {
        Edition::of(self, self.0.load(Relaxed))
    }

    /// The one that will follow it. It can be granted under already, and voids nothing before
    /// [`Edition::take_force`].
    #[must_use]
    pub fn next(&self) -> Edition {
        Edition::of(self, self.0.load(Relaxed) + 1)
    }
}

/// One edition of an app's policy; every cached token points to one.
#[derive(Clone, Debug)]
pub struct Edition(Arc<Numbered>);

#[derive(Debug)]
struct Numbered {
    editions: Editions,
    number: u64,
}

impl Edition {
    fn of(editions: &Editions, number: u64) -> Self {
        Self(Arc::new(Numbered { editions: editions.clone(), number }))
    }

    /// Voids every edition before this one.
    pub fn take_force(&self) {
        self.0.editions.0.fetch_max(self.0.number, Relaxed);
    }

    /// Whether what was granted under it still holds.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.0.editions.0.load(Relaxed) <= self.0.number
    }

    /// Whether `other` is the same edition of the same policy.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let (own, other) = (&*self.0, &*other.0);
        own.number == other.number && Arc::ptr_eq(&own.editions.0, &other.editions.0)
    }
}
