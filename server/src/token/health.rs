//! Whether an upstream key can be used; adopted by the key's fingerprint when a site is replaced.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{Failure, Kind};

/// The longest that a throttled key is left alone, whatever the upstream asks.
const MAX_BACK_OFF: Duration = Duration::from_secs(30);

/// The health of one upstream key.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Whether tokens minted from the key may still be handed out. Read on every hit.
    withdrawn: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    quarantined: bool,
    throttled_until: Option<Instant>,
}

impl Health {
    /// Whether tokens from the key may not be handed out: it is quarantined or removed.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Relaxed)
    }

    /// Whether the upstream refused the key, and no probe has cleared it.
    pub(super) fn is_quarantined(&self) -> bool {
        self.lock().quarantined
    }

    /// Whether a mint may be tried with it.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        let state = self.lock();
        !state.quarantined && state.throttled_until.is_none_or(|until| now >= until)
    }

    /// A mint with it succeeded. Returns whether that ended a quarantine.
    pub(super) fn worked(&self) -> bool {
        let mut state = self.lock();
        state.throttled_until = None;
        self.withdrawn.store(false, Relaxed);
        std::mem::take(&mut state.quarantined)
    }

    /// A mint with it failed. Returns whether that began a quarantine.
    pub(super) fn failed(&self, failure: &Failure, now: Instant) -> bool {
        let mut state = self.lock();
        match failure.kind {
            Kind::InvalidKey => {
                self.withdrawn.store(true, Relaxed);
                !std::mem::replace(&mut state.quarantined, true)
            }
            Kind::Throttled => {
                state.throttled_until = Some(now + failure.retry_after.min(MAX_BACK_OFF));
                false
            }
            _ => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds a key's health")
    }
}
