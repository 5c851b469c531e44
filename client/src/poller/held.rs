//! Requests that the service holds back: which tasks each waits for. Makes no call.

use std::collections::BTreeMap;

use futures_util::future::AbortHandle;

/// So many requests may wait for fewer tasks than they could, before two of them become one.
const PARTIAL: usize = 4;

/// The requests that are held back, by number.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<u64, Request>);

#[derive(Debug)]
struct Request {
    keys: Vec<u64>,
    /// By this it is given up; there from its start.
    handle: Option<AbortHandle>,
}

impl Held {
    /// A request is about to wait for these tasks.
    pub(super) fn begin(&mut self, number: u64, keys: Vec<u64>) {
        self.0.insert(number, Request { keys, handle: None });
    }

    /// It is under way.
    pub(super) fn fly(&mut self, number: u64, handle: AbortHandle) {
        if let Some(request) = self.0.get_mut(&number) {
            request.handle = Some(handle);
        }
    }

    /// The tasks of a request that has ended, but for those that nobody watches any more.
    pub(super) fn end(&mut self, number: u64) -> Vec<u64> {
        self.0.remove(&number).map_or_else(Vec::new, |request| request.keys)
    }

    /// Nobody watches a task any more; a request for none is given up.
    pub(super) fn leave(&mut self, key: u64) {
        let found = self.0.iter_mut().find(|(_, request)| request.keys.contains(&key));
        let Some((&number, request)) = found else { return };
        request.keys.retain(|other| *other != key);
        if request.keys.is_empty() {
            self.give_up(number);
        }
    }

    /// The tasks of a request that is given up, since one for `joining` more can wait for them as well, of
    /// `most` that it may wait for; none while there are few such requests.
    pub(super) fn join(&mut self, joining: usize, most: usize) -> Vec<u64> {
        let partial = || self.0.iter().filter(|(_, request)| request.keys.len() < most);
        let smallest = partial().min_by_key(|(_, request)| request.keys.len());
        match smallest.map(|(number, request)| (*number, request.keys.len())) {
            Some((number, size)) if partial().count() >= PARTIAL && size + joining <= most => {
                self.give_up(number)
            }
            _ => Vec::new(),
        }
    }

    fn give_up(&mut self, number: u64) -> Vec<u64> {
        let Some(request) = self.0.remove(&number) else { return Vec::new() };
        request.handle.iter().for_each(AbortHandle::abort);
        request.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_of_many_small_requests_is_joined_by_the_next() {
        let mut held = Held::default();
        for (number, size) in [3, 100, 1, 2].into_iter().enumerate() {
            held.begin(number as u64, (0..size).map(|task| number as u64 * 1000 + task).collect());
        }
        assert!(held.join(1, 100).is_empty(), "a full one counts for nothing");
        held.begin(9, vec![9]);
        let (handle, registration) = AbortHandle::new_pair();
        held.fly(2, handle);
        assert_eq!(held.join(99, 100), [2000]);
        assert!(registration.handle().is_aborted());
        assert!(held.end(2).is_empty() && held.end(3) == [3000, 3001]);
    }

    #[test]
    fn a_request_for_nobody_is_given_up() {
        let mut held = Held::default();
        let (handle, registration) = AbortHandle::new_pair();
        held.begin(1, vec![1, 2]);
        held.fly(1, handle);
        held.leave(1);
        assert!(!registration.handle().is_aborted());
        held.leave(2);
        held.leave(3);
        assert!(registration.handle().is_aborted() && held.end(1).is_empty());
    }
}
