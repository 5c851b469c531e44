//! Whether the service holds an answer back until there is something to tell (RFC 7240, `Prefer: wait`).
//!
//! DashScope itself does not. It is asked once at each base URL, and never again where it is not obeyed.

use std::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(crate) struct LongPolls(Mutex<Known>);

#[derive(Default)]
struct Known {
    base_url: String,
    offers: Option<bool>,
}

impl LongPolls {
    /// Whether it offers that, or may.
    pub(crate) fn may_ask(&self) -> bool {
        self.lock().offers != Some(false)
    }

    /// Calls go to `base_url` from now on.
    pub(crate) fn at(&self, base_url: &str) {
        let mut known = self.lock();
        if known.base_url != base_url {
            *known = Known { base_url: base_url.to_owned(), offers: None };
        }
    }

    /// It was asked to, and did or did not.
    pub(crate) fn learn(&self, applied: bool) {
        self.lock().offers = Some(applied);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("no code panics while it holds what is known")
    }
}
