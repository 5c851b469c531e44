//! How many calls this client may make: its share of what the account may, less when the service refuses.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use valet_clock::{ClockExt, SharedClock};
use valet_pacing::{Pressure, Quota, RateBudget};

/// What an account may ask in a second, all its users together (*Manage asynchronous tasks*); for
/// whoever was not told a share.
const ACCOUNT_QUERIES_PER_SECOND: f64 = 20.0;
/// What an account may submit (Model Studio, *Rate limits*: 600 a minute), and how many of them at once.
const ACCOUNT_SUBMITS_PER_SECOND: f64 = 10.0;
const SUBMIT_BURST: u32 = 20;

/// The budget of one kind of call, shared by all clones of a client.
pub(crate) struct Pacer {
    budget: RateBudget,
    burst: u32,
    state: Mutex<State>,
    /// Held by whoever is next: calls are made in the order they came.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    per_second: f64,
    pressure: Pressure,
}

impl Pacer {
    /// For queries, lists and cancels.
    pub(crate) fn queries(now: Instant) -> Self {
        Self::new(now, ACCOUNT_QUERIES_PER_SECOND, 1)
    }

    /// For submits.
    pub(crate) fn submits(now: Instant) -> Self {
        Self::new(now, ACCOUNT_SUBMITS_PER_SECOND, SUBMIT_BURST)
    }

    fn new(now: Instant, per_second: f64, burst: u32) -> Self {
        let state = Mutex::new(State { per_second, pressure: Pressure::new() });
        Self { budget: RateBudget::new(now), burst, state, turn: tokio::sync::Mutex::default() }
    }

    /// Obeys the share that came with a token; it may change with each one.
    pub(crate) fn learn(&self, share: Option<f64>) {
        // Zero is a share too small for the broker's decimals: the longest interval, not a free hand.
        if let Some(share) = share.filter(|share| share.is_finite() && *share >= 0.0) {
            self.lock().per_second = share;
        }
    }

    /// Waits for its turn.
    pub(crate) async fn take(&self, clock: &SharedClock) {
        let _turn = self.turn.lock().await;
        loop {
            let (now, quota) = (clock.now(), self.quota());
            let paused = self.lock().pressure.pause(now);
            match paused.map_or_else(|| self.budget.take(now, quota), Err) {
                Ok(()) => return,
                Err(wait) => clock.sleep(wait).await,
            }
        }
    }

    /// The service refused a call: too many, of us or of others.
    pub(crate) fn refused(&self, now: Instant, retry_after: Option<Duration>) {
        self.lock().pressure.refused(now, retry_after, fastrand::f64());
    }

    /// The service answered a call.
    pub(crate) fn served(&self) {
        self.lock().pressure.served();
    }

    /// How many times as long as usual to wait between looks.
    pub(crate) fn stretch(&self) -> f64 {
        self.lock().pressure.stretch()
    }

    fn quota(&self) -> Quota {
        let state = self.lock();
        let seconds = state.pressure.stretch() / state.per_second;
        Quota::every(Duration::from_secs_f64(seconds.clamp(0.000_1, 60.0)), self.burst)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the pace")
    }
}
