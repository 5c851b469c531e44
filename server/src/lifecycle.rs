//! How a broker stops: first it finishes what it has in hand, then it stops waiting for it.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use valet_clock::{ClockExt, SharedClock};

/// The two stages of a stop.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    asked: CancellationToken,
    soft: CancellationToken,
    hard: CancellationToken,
    cut_off: Arc<AtomicUsize>,
}

/// How a stop went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drained {
    /// Every request in hand was answered.
    Whole,
    /// So many connections were cut off.
    CutOff(usize),
}

impl Shutdown {
    /// Asks for a stop, or, if one was asked for, begins its second stage.
    pub fn advance(&self) {
        if self.asked.is_cancelled() {
            self.soft.cancel();
            self.hard.cancel();
        } else {
            self.asked.cancel();
        }
    }

    /// A stop was asked for.
    #[must_use]
    pub fn asked(&self) -> &CancellationToken {
        &self.asked
    }

    /// Begins the first stage after `lame_duck`, in which load balancers learn that nothing more should be
    /// sent here; at once if the second stage is asked for.
    pub async fn begin(&self, lame_duck: Duration, clock: &SharedClock) {
        if !lame_duck.is_zero() {
            tokio::select! {
                () = self.soft.cancelled() => {}
                () = clock.sleep(lame_duck) => {}
            }
        }
        self.soft.cancel();
    }

    /// The first stage: take nothing new, finish what is in hand.
    #[must_use]
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Completes at the second stage, for a connection that still has a request in hand: it is cut off,
    /// and counted.
    pub async fn cut_off(&self) {
        self.hard.cancelled().await;
        self.cut_off.fetch_add(1, Relaxed);
    }

    /// Waits until `connections` have ended; once `limit` has passed, or at a second signal, the second
    /// stage cuts off those that are left.
    pub async fn drain(&self, connections: &TaskTracker, limit: Duration, clock: &SharedClock) -> Drained {
        connections.close();
        tokio::select! {
            biased;
            () = connections.wait() => {}
            () = self.hard.cancelled() => {}
            () = clock.sleep(limit) => self.hard.cancel(),
        }
        connections.wait().await;
        match self.cut_off.load(Relaxed) {
            0 => Drained::Whole,
            count => Drained::CutOff(count),
        }
    }

    /// Waits for `work` that no connection waits for any more: until `limit` has passed or the second stage has begun.
    /// Tells whether it has ended.
    pub async fn finish(&self, work: impl Future<Output = ()>, limit: Duration, clock: &SharedClock) -> bool {
        tokio::select! {
            biased;
            () = work => true,
            () = self.hard.cancelled() => false,
            () = clock.sleep(limit) => false,
        }
    }

    /// Advances on every SIGTERM and SIGINT.
    ///
    /// # Errors
    /// If the system does not let signals be handled.
    pub fn on_signals(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = self.clone();
        Ok(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => tracing::info!("SIGTERM: stopping; once more stops at once"),
                    _ = interrupt.recv() => tracing::info!("interrupt: stopping; once more stops at once"),
                }
                shutdown.advance();
            }
        })
    }
}
