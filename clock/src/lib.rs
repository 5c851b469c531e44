//! Time as a parameter: what broker, client and sandbox know of the time, they ask a [`Clock`].
//!
//! [`SystemClock`] is the machine's. [`ManualClock`] stands still until a test advances it, so that
//! one test turns the time of all three parts over real sockets.

mod manual;
mod system;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

pub use manual::ManualClock;
pub use system::SystemClock;

/// A source of monotonic time, wall-clock time and sleep.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The monotonic time: never goes back, knows no date. Deadlines and lifetimes are measured by it.
    fn now(&self) -> Instant;

    /// The wall-clock time since the Unix epoch: for time stamps, and for nothing that must not jump.
    fn unix(&self) -> Duration;

    /// Completes once [`now`](Clock::now) has reached `deadline`.
    fn sleep_until(&self, deadline: Instant) -> Sleep;
}

/// A pending sleep; dropping it gives it up.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// A clock that parts of a program share.
pub type SharedClock = Arc<dyn Clock>;

/// What is convenient to ask of any [`Clock`].
pub trait ClockExt {
    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> Sleep;

    /// The output of `future`, or [`Elapsed`] if it is not there within `limit`.
    fn timeout<F: Future + Send>(
        &self,
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> + Send;
}

impl<C: Clock + ?Sized> ClockExt for C {
    fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    fn timeout<F: Future + Send>(
        &self,
        limit: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> + Send {
        let sleep = self.sleep(limit);
        async move {
            tokio::select! {
                // A result that is there in time is never lost to the deadline.
                biased;
                output = future => Ok(output),
                () = sleep => Err(Elapsed),
            }
        }
    }
}

/// A time limit passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time limit passed")
    }
}

impl std::error::Error for Elapsed {}
