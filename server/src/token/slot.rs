//! One cached token: what is live, what is being minted, what failed last. Knows neither HTTP nor
//! DashScope nor a clock: it is told the time.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

/// A token is not handed out in the last moments of its life: it would die on its way.
pub(super) const FLOOR: Duration = Duration::from_secs(2);

/// From this share of its life on, in hundredths, a request starts a refresh.
const REFRESH_PERCENT: u32 = 30;

/// The one jitter draw of a token brings its refresh forward by up to this, in hundredths of its life.
const JITTER_PERCENT: u32 = 6;

/// A token in hand. There may be a million, so it is kept small.
#[derive(Debug)]
pub(super) struct Live<T> {
    pub(super) value: T,
    expires: Instant,
    /// With how much life left a request starts a refresh, in milliseconds.
    due_with: u32,
    /// The life it had when it was minted, in milliseconds.
    life: u32,
}

impl<T> Live<T> {
    /// `sent` is when the mint was sent: the earliest that the token's life can have begun.
    /// `jitter`, from 0 to 1, is the one draw of this token.
    pub(super) fn new(value: T, sent: Instant, life: Duration, jitter: f64) -> Self {
        let earlier = life.mul_f64(jitter.clamp(0.0, 1.0)) * JITTER_PERCENT / 100;
        let due_with = life - (life * REFRESH_PERCENT / 100).saturating_sub(earlier);
        // Rounded up: only earlier. And down: no longer than it is.
        let due_with = u32::try_from(due_with.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
        let lived = u32::try_from(life.as_millis()).unwrap_or(u32::MAX);
        Self { value, expires: sent + life, due_with, life: lived }
    }

    /// When its life ends.
    pub(super) fn expires(&self) -> Instant {
        self.expires
    }

    /// The life it had when it was minted.
    pub(super) fn life(&self) -> Duration {
        Duration::from_millis(self.life.into())
    }

    /// The life it has left.
    pub(super) fn remaining(&self, now: Instant) -> Duration {
        self.expires.saturating_duration_since(now)
    }

    /// Whether it can still be handed out.
    pub(super) fn is_servable(&self, now: Instant) -> bool {
        self.lasts(Duration::ZERO, now)
    }

    /// Whether it can be handed out to whoever needs so much life.
    pub(super) fn lasts(&self, least: Duration, now: Instant) -> bool {
        let remaining = self.remaining(now);
        remaining > FLOOR && remaining >= least
    }

    /// Whether a request should start a refresh.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.remaining(now) <= Duration::from_millis(self.due_with.into())
    }
}

/// The outcome of a mint, as everyone who waited for it gets it.
pub(super) type Outcome<T, F> = Result<Arc<Live<T>>, F>;

/// Where one token lives.
#[derive(Debug)]
pub(super) struct Slot<T, F> {
    live: ArcSwapOption<Live<T>>,
    state: Mutex<State<T, F>>,
}

#[derive(Debug)]
struct State<T, F> {
    flight: Option<watch::Receiver<Option<Outcome<T, F>>>>,
    /// The last failure, remembered until then. Rare, and larger than all the rest.
    failure: Option<Box<(F, Instant)>>,
}

/// What to do about a token that is not in hand, or is due for a refresh.
pub(super) enum Join<T, F> {
    /// Mint: nobody else does.
    Lead(Lead<T, F>),
    /// Wait: somebody mints.
    Follow(Follow<T, F>),
    /// Take this one: it was minted a moment ago.
    Landed(Arc<Live<T>>),
    /// Neither: the last mint failed, and nobody tries again for so long.
    Barred(F, Duration),
}

impl<T, F: Clone> Slot<T, F> {
    pub(super) fn new() -> Self {
        Self { live: ArcSwapOption::empty(), state: Mutex::new(State { flight: None, failure: None }) }
    }

    /// The token in hand, if it can be handed out. Never waits.
    pub(super) fn peek(&self, now: Instant) -> Option<Arc<Live<T>>> {
        self.last().filter(|live| live.is_servable(now))
    }

    /// The last token, whether or not it can still be handed out. Never waits.
    pub(super) fn last(&self) -> Option<Arc<Live<T>>> {
        self.live.load_full()
    }

    /// Takes part in the mint of the next token. At most one caller at a time leads, and none if
    /// another token than the one it has `seen` is there by now.
    pub(super) fn join(self: &Arc<Self>, now: Instant, seen: Option<&Arc<Live<T>>>) -> Join<T, F> {
        let mut state = self.lock();
        // A mint lands under this lock: it cannot do so between this look and what follows.
        if let Some(live) = self.peek(now).filter(|live| seen.is_none_or(|seen| !Arc::ptr_eq(seen, live))) {
            return Join::Landed(live);
        }
        if let Some(flight) = &state.flight {
            return Join::Follow(Follow(flight.clone()));
        }
        if let Some((failure, until)) = state.failure.as_deref().filter(|(_, until)| now < *until) {
            return Join::Barred(failure.clone(), *until - now);
        }
        let (done, flight) = watch::channel(None);
        state.flight = Some(flight);
        Join::Lead(Lead { slot: self.clone(), done })
    }

    fn lock(&self) -> MutexGuard<'_, State<T, F>> {
        self.state.lock().expect("no code panics while it holds a slot's lock")
    }
}

/// The duty to mint. Dropped without an outcome, it frees the slot, and its followers are told that
/// there is none.
pub(super) struct Lead<T, F> {
    slot: Arc<Slot<T, F>>,
    done: watch::Sender<Option<Outcome<T, F>>>,
}

/// The slot is free before anyone learns the outcome: whoever acts on it may mint again.
impl<T, F: Clone> Lead<T, F> {
    /// A wait for the outcome, like any follower's.
    pub(super) fn follow(&self) -> Follow<T, F> {
        Follow(self.done.subscribe())
    }

    /// Whether a token is in hand meanwhile.
    pub(super) fn has_live(&self, now: Instant) -> bool {
        self.slot.peek(now).is_some()
    }

    /// The last token, whether or not it can still be handed out.
    pub(super) fn last(&self) -> Option<Arc<Live<T>>> {
        self.slot.last()
    }

    /// The mint succeeded: its token is handed out from now on.
    pub(super) fn succeed(self, live: Live<T>) -> Arc<Live<T>> {
        let live = Arc::new(live);
        let mut state = self.slot.lock();
        self.slot.live.store(Some(live.clone()));
        (state.failure, state.flight) = (None, None);
        drop(state);
        self.done.send_replace(Some(Ok(live.clone())));
        live
    }

    /// The mint failed: until `until`, nobody tries again. A token in hand stays.
    pub(super) fn fail(self, failure: F, until: Instant) {
        let mut state = self.slot.lock();
        (state.failure, state.flight) = (Some(Box::new((failure.clone(), until))), None);
        drop(state);
        self.done.send_replace(Some(Err(failure)));
    }
}

impl<T, F> Drop for Lead<T, F> {
    fn drop(&mut self) {
        if self.done.borrow().is_none() {
            self.slot.state.lock().expect("no code panics while it holds a slot's lock").flight = None;
        }
    }
}

/// A wait for somebody's mint.
pub(super) struct Follow<T, F>(watch::Receiver<Option<Outcome<T, F>>>);

impl<T, F: Clone> Follow<T, F> {
    /// The outcome; `None` if the mint ended without one.
    pub(super) async fn outcome(mut self) -> Option<Outcome<T, F>> {
        let outcome = self.0.wait_for(Option::is_some).await.ok()?;
        outcome.clone()
    }
}

#[cfg(test)]
mod tests;
