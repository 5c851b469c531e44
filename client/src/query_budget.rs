//! How many status queries this client may make: its share of what the account may.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use valet_clock::{ClockExt, SharedClock};
use valet_pacing::{Quota, RateBudget};

/// What an account may ask in a second, all its users together (*Manage asynchronous tasks*); for
/// whoever was not told a share.
const ACCOUNT_QUERIES_PER_SECOND: f64 = 20.0;

/// The query budget of a client, shared by all its waits.
pub(crate) struct QueryBudget {
    budget: RateBudget,
    per_second: Mutex<f64>,
    /// Held by whoever is next: waits are served in the order they came.
    turn: tokio::sync::Mutex<()>,
}

impl QueryBudget {
    pub(crate) fn new(now: Instant) -> Self {
        let per_second = Mutex::new(ACCOUNT_QUERIES_PER_SECOND);
        Self { budget: RateBudget::new(now), per_second, turn: tokio::sync::Mutex::default() }
    }

    /// Obeys the share that came with a token; it may change with each one.
    pub(crate) fn learn(&self, share: Option<f64>) {
        // Zero is a share too small for the broker's decimals: the longest interval, not a free hand.
        if let Some(share) = share.filter(|share| share.is_finite() && *share >= 0.0) {
            *self.per_second.lock().expect("no code panics while it holds the share") = share;
        }
    }

    /// Waits for its turn.
    pub(crate) async fn take(&self, clock: &SharedClock) {
        let _turn = self.turn.lock().await;
        loop {
            let per_second = *self.per_second.lock().expect("no code panics while it holds the share");
            let interval = Duration::from_secs_f64((1.0 / per_second).clamp(0.000_1, 60.0));
            match self.budget.take(clock.now(), Quota::every(interval, 1)) {
                Ok(()) => return,
                Err(wait) => clock.sleep(wait).await,
            }
        }
    }
}
