//! A limit on events in a sliding window of time; knows nothing of accounts or HTTP.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The events let through in the last period.
#[derive(Debug, Default)]
pub(crate) struct Window {
    taken: VecDeque<Instant>,
}

impl Window {
    /// Lets one event through if fewer than `limit` were in the `period` before `now`.
    pub(crate) fn take(&mut self, now: Instant, limit: u32, period: Duration) -> bool {
        while self.taken.front().is_some_and(|&at| now.saturating_duration_since(at) >= period) {
            self.taken.pop_front();
        }
        let free = self.taken.len() < usize::try_from(limit).unwrap_or(usize::MAX);
        if free {
            self.taken.push_back(now);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use valet_clock::{Clock, ManualClock};

    use super::*;

    #[test]
    fn an_event_leaves_the_window_a_period_after_it_came() {
        let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
        let mut window = Window::default();
        assert!(window.take(clock.now(), 2, second));
        clock.advance(second / 2);
        assert!(window.take(clock.now(), 2, second));
        assert!(!window.take(clock.now(), 2, second));
        clock.advance(second / 2);
        assert!(window.take(clock.now(), 2, second));
        assert!(!window.take(clock.now(), 2, second));
    }
}
