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
    /// It is no key of any upstream any more: nothing brings it back.
    removed: bool,
    throttled_until: Option<Instant>,
    /// When it last failed: what was sent before tells nothing of the time after.
    failed_at: Option<Instant>,
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
        !state.removed && !state.quarantined && state.throttled_until.is_none_or(|until| now >= until)
    }

    /// A mint that was `sent` then succeeded. Returns whether that ended a quarantine; one that was
    /// sent before the key failed ends nothing.
    pub(super) fn worked(&self, sent: Instant) -> bool {
        let mut state = self.lock();
        if state.removed || state.failed_at.is_some_and(|failed| sent < failed) {
            return false;
        }
        state.throttled_until = None;
        self.withdrawn.store(false, Relaxed);
        std::mem::take(&mut state.quarantined)
    }

    /// A mint with it failed. Returns whether that began a quarantine.
    pub(super) fn failed(&self, failure: &Failure, now: Instant) -> bool {
        let mut state = self.lock();
        match failure.kind {
            Kind::InvalidKey => {
                state.failed_at = Some(now);
                self.withdrawn.store(true, Relaxed);
                !std::mem::replace(&mut state.quarantined, true)
            }
            Kind::Throttled => {
                state.failed_at = Some(now);
                state.throttled_until = Some(now + failure.retry_after.min(MAX_BACK_OFF));
                false
            }
            _ => false,
        }
    }

    /// The key was taken out of the configuration.
    pub(super) fn remove(&self) {
        self.lock().removed = true;
        self.withdrawn.store(true, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds a key's health")
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    #[test]
    fn a_mint_sent_before_a_quarantine_does_not_end_it() {
        let (health, start) = (Health::default(), Instant::now());
        let later = start + Duration::from_secs(1);
        assert!(health.failed(&Failure::of(Kind::InvalidKey), later));
        assert!(!health.worked(start));
        assert!(health.is_withdrawn() && !health.is_usable(later));
        assert!(health.worked(later));
        assert!(!health.is_withdrawn() && health.is_usable(later));
    }

    #[test]
    fn a_removed_key_stays_out_even_if_a_mint_of_it_was_under_way() {
        let (health, start) = (Health::default(), Instant::now());
        health.remove();
        health.worked(start + Duration::from_secs(1));
        assert!(health.is_withdrawn() && !health.is_usable(start + Duration::from_secs(2)));
    }
}
