//! Whether the service holds an answer back until there is something to tell (RFC 7240, `Prefer: wait`).
//!
//! A broker's relay does; DashScope itself does not, and is never asked to. What the relay refuses is not
//! asked for again for a while. Knows no tasks.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use crate::{Error, Kind, Token, token::Mode};

/// The most tasks that one request may wait for.
const GROUP: usize = 100;
/// How long a relay that does not hold answers back, or not for several tasks, is taken at its word.
const REST: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct LongPolls(Mutex<Known>);

#[derive(Default)]
struct Known {
    base_url: String,
    mode: Mode,
    rests_until: Option<Instant>,
    /// Until when a request waits for one task only.
    alone_until: Option<Instant>,
}

impl LongPolls {
    /// The most tasks that one request may wait for; `None` where none can wait.
    pub(crate) fn most(&self, now: Instant) -> Option<usize> {
        let known = self.lock();
        let passes = |until: Option<Instant>| until.is_none_or(|until| now >= until);
        let waits = known.mode == Mode::Relay && passes(known.rests_until);
        waits.then_some(if passes(known.alone_until) { GROUP } else { 1 })
    }

    /// Calls are made with `token` from now on.
    pub(crate) fn at(&self, token: &Token) {
        let mut known = self.lock();
        if known.base_url != token.base_url() || known.mode != token.mode() {
            let (base_url, mode) = (token.base_url().to_owned(), token.mode());
            *known = Known { base_url, mode, ..Known::default() };
        }
    }

    /// It was asked to hold an answer back, and did not; where too many wait already it says when to ask again.
    pub(crate) fn ignored(&self, now: Instant, retry_after: Option<Duration>) {
        self.lock().rests_until = now.checked_add(retry_after.unwrap_or(REST).min(REST));
    }

    /// It refused to wait for so many tasks.
    pub(crate) fn refused(&self, now: Instant, tasks: usize, error: &Error) {
        if error.status() == Some(429) {
            return self.ignored(now, error.retry_after());
        }
        let mut known = self.lock();
        if tasks > 1 && matches!(error.kind(), Kind::Refused | Kind::Malformed) {
            known.alone_until = now.checked_add(REST);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("no code panics while it holds what is known")
    }
}
