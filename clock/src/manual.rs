//! A clock that stands still until it is advanced.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{Clock, SharedClock, Sleep, SystemClock};

/// A clock for tests: time passes only by [`advance`](ManualClock::advance).
///
/// Clones are the same clock. Each part of a program gets a [`handle`](ManualClock::handle) with a
/// name of its own, so that a test can wait until that part sleeps before it advances the time.
#[derive(Clone)]
pub struct ManualClock(Arc<Shared>);

struct Shared {
    start: Instant,
    start_unix: Duration,
    state: Mutex<State>,
    watchers: Mutex<Vec<Watcher>>,
    /// Told whenever a sleep begins or ends.
    changed: Notify,
}

/// Is told the time since the Unix epoch.
type Watcher = Box<dyn Fn(Duration) + Send + Sync>;

#[derive(Default)]
struct State {
    elapsed: Duration,
    next_id: u64,
    sleepers: BTreeMap<u64, Sleeper>,
}

struct Sleeper {
    name: &'static str,
    deadline: Instant,
    waker: Waker,
}

impl ManualClock {
    /// A clock that stands at 2025-04-08 01:46:09 UTC.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            start: SystemClock.now(),
            start_unix: Duration::from_secs(1_744_076_769),
            state: Mutex::default(),
            watchers: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// This clock for the part called `name`.
    #[must_use]
    pub fn handle(&self, name: &'static str) -> SharedClock {
        self.wrong_handle(name, 0)
    }

    /// The same, but its wall clock is wrong by so many seconds: ahead, or, if they are negative, behind.
    #[must_use]
    pub fn wrong_handle(&self, name: &'static str, seconds: i64) -> SharedClock {
        Arc::new(Handle { clock: self.clone(), name, wrong_by: seconds })
    }

    /// Tells `watcher` the time since the Unix epoch, now and whenever it has changed, before any sleep ends: for
    /// another process that is to go by this clock.
    ///
    /// # Panics
    /// If a watcher panicked before.
    pub fn watch(&self, watcher: impl Fn(Duration) + Send + Sync + 'static) {
        let mut watchers = self.0.watchers.lock().expect("no watcher panics");
        watcher(self.unix());
        watchers.push(Box::new(watcher));
    }

    /// Lets `duration` pass at once: every sleep that ends in it wakes.
    ///
    /// # Panics
    /// If a watcher panics.
    pub fn advance(&self, duration: Duration) {
        // One at a time, so that what is told last is the time that it is.
        let watchers = self.0.watchers.lock().expect("no watcher panics");
        let woken: Vec<Waker> = {
            let mut state = self.0.lock();
            state.elapsed += duration;
            let unix = self.0.start_unix + state.elapsed;
            watchers.iter().for_each(|watcher| watcher(unix));
            let now = self.0.start + state.elapsed;
            state.sleepers.values().filter(|s| s.deadline <= now).map(|s| s.waker.clone()).collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// How many sleeps of the part called `name` are pending.
    #[must_use]
    pub fn sleeping(&self, name: &str) -> usize {
        self.pending(name).count()
    }

    /// How long until the next sleep of the part called `name` ends, if one is pending.
    #[must_use]
    pub fn next_wake(&self, name: &str) -> Option<Duration> {
        let now = self.now();
        self.pending(name).min().map(|deadline| deadline.saturating_duration_since(now))
    }

    /// Waits until at least `count` sleeps of the part called `name` are pending.
    pub async fn asleep(&self, name: &str, count: usize) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change falls between the two.
            changed.as_mut().enable();
            if self.sleeping(name) >= count {
                return;
            }
            changed.await;
        }
    }

    /// The deadlines of the sleeps of `name` that the present time has not reached.
    fn pending(&self, name: &str) -> impl Iterator<Item = Instant> + use<> {
        let state = self.0.lock();
        let now = self.0.start + state.elapsed;
        state
            .sleepers
            .values()
            .filter(|s| s.name == name && s.deadline > now)
            .map(|s| s.deadline)
            .collect::<Vec<_>>()
            .into_iter()
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("elapsed", &self.0.lock().elapsed).finish_non_exhaustive()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.0.start + self.0.lock().elapsed
    }

    fn unix(&self) -> Duration {
        self.0.start_unix + self.0.lock().elapsed
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.handle("unnamed").sleep_until(deadline)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the clock's lock")
    }
}

#[derive(Clone, Debug)]
struct Handle {
    clock: ManualClock,
    name: &'static str,
    /// In seconds.
    wrong_by: i64,
}

impl Clock for Handle {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn unix(&self) -> Duration {
        let wrong_by = Duration::from_secs(self.wrong_by.unsigned_abs());
        let right = self.clock.unix();
        if self.wrong_by < 0 { right - wrong_by } else { right + wrong_by }
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Box::pin(ManualSleep { handle: self.clone(), deadline, id: None })
    }
}

struct ManualSleep {
    handle: Handle,
    deadline: Instant,
    /// The entry among the sleepers, from the first poll on.
    id: Option<u64>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = self.handle.clock.0.clone();
        let mut state = shared.lock();
        if shared.start + state.elapsed >= self.deadline {
            return Poll::Ready(());
        }
        let id = self.id.unwrap_or_else(|| {
            state.next_id += 1;
            state.next_id
        });
        let sleeper = Sleeper { name: self.handle.name, deadline: self.deadline, waker: cx.waker().clone() };
        state.sleepers.insert(id, sleeper);
        drop(state);
        if self.id.replace(id).is_none() {
            shared.changed.notify_waiters();
        }
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let shared = &self.handle.clock.0;
            shared.lock().sleepers.remove(&id);
            shared.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClockExt, Elapsed};

    #[tokio::test]
    async fn a_sleep_ends_when_the_time_is_advanced_to_its_deadline() {
        let clock = ManualClock::new();
        let part = clock.handle("part");
        let sleep = tokio::spawn(part.sleep(Duration::from_secs(10)));
        clock.asleep("part", 1).await;
        assert_eq!(clock.next_wake("part"), Some(Duration::from_secs(10)));
        clock.advance(Duration::from_secs(9));
        assert!(!sleep.is_finished());
        clock.advance(Duration::from_secs(1));
        sleep.await.unwrap();
        assert_eq!(clock.sleeping("part"), 0);
    }

    #[tokio::test]
    async fn a_dropped_sleep_is_forgotten() {
        let clock = ManualClock::new();
        let part = clock.handle("part");
        let sleep = tokio::spawn(part.sleep(Duration::from_secs(10)));
        clock.asleep("part", 1).await;
        sleep.abort();
        assert!(sleep.await.unwrap_err().is_cancelled());
        assert_eq!(clock.sleeping("part"), 0);
    }

    #[tokio::test]
    async fn a_timeout_strikes_only_when_the_time_has_passed() {
        let clock = ManualClock::new();
        let part = clock.handle("part");
        assert_eq!(part.timeout(Duration::from_secs(3), async { 7 }).await, Ok(7));
        let late = {
            let part = part.clone();
            tokio::spawn(
                async move { part.timeout(Duration::from_secs(3), std::future::pending::<()>()).await },
            )
        };
        clock.asleep("part", 1).await;
        clock.advance(Duration::from_secs(3));
        assert_eq!(late.await.unwrap(), Err(Elapsed));
    }

    #[test]
    fn a_watcher_is_told_the_time_before_anyone_wakes() {
        let (clock, told) = (ManualClock::new(), Arc::new(Mutex::new(Vec::new())));
        let start = clock.unix();
        clock.watch({
            let told = told.clone();
            move |unix| told.lock().unwrap().push(unix)
        });
        clock.advance(Duration::from_secs(2));
        assert_eq!(*told.lock().unwrap(), [start, start + Duration::from_secs(2)]);
    }

    #[test]
    fn a_wrong_clock_has_another_date_and_the_same_time() {
        let clock = ManualClock::new();
        let [ahead, behind] = [7, -7].map(|seconds| clock.wrong_handle("part", seconds));
        assert_eq!(ahead.unix(), clock.unix() + Duration::from_secs(7));
        assert_eq!(behind.unix() + Duration::from_secs(7), clock.unix());
        assert_eq!((ahead.now(), behind.now()), (clock.now(), clock.now()));
    }

    #[test]
    fn both_times_advance_together() {
        let clock = ManualClock::new();
        let (now, unix) = (clock.now(), clock.unix());
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now() - now, clock.unix() - unix);
    }
}
