//! Whether a list of all unfinished tasks tells more than looks at the tasks one by one.

use std::time::{Duration, Instant};

use crate::{Lengths, Pass};

/// Fewer tasks than these are looked at one by one.
const FEW: usize = 16;
/// What was learnt of the length of the list holds so long.
const FRESH: Duration = Duration::from_secs(60);
/// A list that told too little is not asked for again for so long; twice as long after each such one.
const REST: Duration = Duration::from_secs(10);

/// The sums: a list costs a call for each of its pages and tells of all tasks on them; a look costs a
/// call and tells of one.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// How many calls the last list took, and when.
    calls: Option<(usize, Instant)>,
    /// How long the lists were, and when.
    lengths: Option<(Lengths, Instant)>,
    disappointments: u32,
    rests_until: Option<Instant>,
}

impl Listing {
    /// Nothing is known of the list.
    #[must_use]
    pub const fn new() -> Self {
        Self { calls: None, lengths: None, disappointments: 0, rests_until: None }
    }

    /// Whether to ask for the list at `now`, when looks at `due` tasks are due.
    #[must_use]
    pub fn pays(&self, now: Instant, due: usize) -> bool {
        let fresh = self.calls.filter(|(_, at)| now.saturating_duration_since(*at) < FRESH);
        let rests = self.rests_until.is_some_and(|until| now < until);
        !rests && due >= FEW && fresh.is_none_or(|(calls, _)| Self::pays_for(calls, due))
    }

    /// A pass over the lists, if it pays at `now`; of so many pages at a time.
    #[must_use]
    pub fn pass(&self, now: Instant, due: usize, at_once: u32) -> Option<Pass> {
        let fresh = self.lengths.filter(|(_, at)| now.saturating_duration_since(*at) < FRESH);
        let lengths = fresh.map_or([0, 0], |(lengths, _)| lengths);
        self.pays(now, due).then(|| Pass::new(due, lengths, at_once))
    }

    /// A page of a pass has told how long the lists are.
    pub fn note(&mut self, now: Instant, pass: &Pass) {
        self.lengths = Some((pass.lengths(), now));
    }

    /// Whether a list of so many calls is worth it for so many tasks: it leaves some of them to be
    /// looked at nonetheless, so it must save more than it costs.
    #[must_use]
    pub const fn pays_for(calls: usize, due: usize) -> bool {
        calls.saturating_mul(2) <= due
    }

    /// A list took so many calls, and spared so many looks.
    pub fn learn(&mut self, now: Instant, calls: usize, spared: usize) {
        self.calls = Some((calls, now));
        if spared > calls {
            self.disappointments = 0;
        } else {
            self.disappoints(now);
        }
    }

    /// The list did not come, for a reason that may be over soon: what it is worth is not known.
    pub fn fails(&mut self, now: Instant) {
        self.rests_until = now.checked_add(REST);
    }

    /// The list was refused or senseless, or not worth its length.
    pub fn disappoints(&mut self, now: Instant) {
        self.rests_until = now.checked_add(REST * 2_u32.pow(self.disappointments.min(6)));
        self.disappointments += 1;
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_asked_for_only_if_it_saves_more_than_it_costs() {
        let (now, mut listing) = (Instant::now(), Listing::new());
        assert!(!listing.pays(now, FEW - 1) && listing.pays(now, FEW));
        listing.learn(now, 50, 90);
        assert!(!listing.pays(now, 99) && listing.pays(now, 100));
        assert!(listing.pays(now + FRESH, FEW), "what it cost once does not hold for ever");
    }

    #[test]
    fn a_pass_begins_where_the_last_one_found_the_end() {
        let (now, mut listing) = (Instant::now(), Listing::new());
        let mut pass = listing.pass(now, 100, 1).expect("it pays");
        assert_eq!((pass.ask(), pass.note(7)), (Some(1), crate::Progress::GoesOn));
        listing.note(now, &pass);
        assert_eq!(listing.pass(now, 100, 1).and_then(|mut pass| pass.ask()), Some(7));
        assert_eq!(listing.pass(now + FRESH, 100, 1).and_then(|mut pass| pass.ask()), Some(1));
        assert!(listing.pass(now, FEW - 1, 1).is_none());
    }

    #[test]
    fn a_list_that_tells_nothing_is_asked_for_less_and_less() {
        let (mut now, mut listing) = (Instant::now(), Listing::new());
        let mut rests = Vec::new();
        for _ in 0..4 {
            listing.learn(now, 2, 0);
            let rest = (0..).find(|s| listing.pays(now + Duration::from_secs(*s), 100)).expect("it ends");
            rests.push(rest);
            now += Duration::from_secs(rest);
        }
        assert_eq!(rests, [10, 20, 40, 80]);
        listing.learn(now, 2, 50);
        listing.learn(now, 2, 0);
        assert!(listing.pays(now + REST, 100), "one that told much makes good for those before");
    }

    #[test]
    fn a_list_that_fails_is_asked_for_again_soon_however_often_it_did() {
        let (mut now, mut listing) = (Instant::now(), Listing::new());
        for _ in 0..20 {
            listing.fails(now);
            assert!(!listing.pays(now, 100) && listing.pays(now + REST, 100));
            now += REST;
        }
    }
}
