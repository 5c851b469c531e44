//! Time that a test turns: it passes only while the client pauses, never while an answer is on its way.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use valet_clock::{Clock, ManualClock, SharedClock, Sleep, SystemClock};

/// The client's time limits for one exchange; all other sleeps are pauses.
const LIMITS: [u64; 4] = [10, 30, 55, 300];
/// Enough for whatever can go on without an answer: tasks that wake one another.
const SETTLED: usize = 50;
/// Real time after which nothing goes on.
const PATIENCE: Duration = Duration::from_secs(30);

/// The manual clock as the client sees it, telling pauses from time limits.
#[derive(Debug)]
pub(crate) struct ClientClock {
    limits: SharedClock,
    pauses: SharedClock,
}

impl ClientClock {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        Self { limits: clock.handle("limit"), pauses: clock.handle("pause") }
    }
}

impl Clock for ClientClock {
    fn now(&self) -> Instant {
        self.pauses.now()
    }

    fn unix(&self) -> Duration {
        self.pauses.unix()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let is_limit =
            LIMITS.map(Duration::from_secs).contains(&deadline.saturating_duration_since(self.now()));
        if is_limit { self.limits.sleep_until(deadline) } else { self.pauses.sleep_until(deadline) }
    }
}

/// The output of `future`. Whenever all that goes on is pauses, time goes on to the end of the first.
pub(crate) async fn turn_until<F: Future>(clock: &ManualClock, future: F) -> F::Output {
    tokio::select! {
        biased;
        output = future => output,
        () = turn(clock) => unreachable!("it turns for ever, or panics"),
    }
}

async fn turn(clock: &ManualClock) {
    let mut since = SystemClock.now();
    while SystemClock.now() < since + PATIENCE {
        settle().await;
        match (clock.sleeping("limit"), clock.next_wake("pause")) {
            // A file is read beside this thread, if anything goes on.
            (0, None) => continue,
            (0, Some(pause)) => clock.advance(pause),
            // An answer is on its way, in real time.
            (_, _) => {}
        }
        since = SystemClock.now();
    }
    panic!("nothing goes on: the client neither pauses nor waits for an answer");
}

/// Lets everything go on that can without time or an answer.
pub(crate) async fn settle() {
    for _ in 0..SETTLED {
        tokio::task::yield_now().await;
    }
}
