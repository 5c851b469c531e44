//! The order in which a list has its entries: who stood between two of a page the last time, and does not now, is gone.

use std::{collections::HashMap, hash::Hash, mem};

/// Fewer entries than these are in the same order by chance.
const FEW: usize = 8;

/// The order of a list, learnt by reading it again and again, each time from its last page to its first.
///
/// Nothing has to be known of what the list is ordered by, if only two entries that stay on it keep their order. A page
/// whose entries do not is no evidence of anything.
#[derive(Clone, Debug)]
pub struct Sequence<T> {
    /// The list as it was read the last time.
    last: Read<T>,
    /// As far as it is read this time.
    now: Read<T>,
}

/// Entries in the order in which they were read, and where in it each of them is.
#[derive(Clone, Debug)]
struct Read<T> {
    entries: Vec<T>,
    places: HashMap<T, usize>,
}

impl<T: Copy + Eq + Hash> Sequence<T> {
    /// A page has come. Gives those that stood between its entries the last time and are not among them.
    pub fn read(&mut self, page: &[T]) -> Vec<T> {
        self.now.add(page);
        let place = |entry| self.last.places.get(entry).copied();
        let places: Vec<usize> = page.iter().rev().filter_map(place).collect();
        let (Some(&first), Some(&last)) = (places.first(), places.last()) else { return Vec::new() };
        if places.len() < FEW || !places.is_sorted_by(|a, b| a < b) {
            return Vec::new();
        }
        let mut listed = places.into_iter().peekable();
        let gone = (first..=last).filter(|place| listed.next_if_eq(place).is_none());
        gone.map(|place| self.last.entries[place]).collect()
    }

    /// All pages were read: the next time is compared with this one.
    pub fn end(&mut self) {
        self.last = mem::take(&mut self.now);
    }

    /// Not all pages were read: the next time is compared with the time before this one.
    pub fn give_up(&mut self) {
        self.now = Read::default();
    }
}

impl<T: Copy + Eq + Hash> Read<T> {
    /// What has moved on to this page was read already. Whoever has come in between has no place that is known.
    fn add(&mut self, page: &[T]) {
        let new = page.iter().take_while(|entry| !self.places.contains_key(entry)).count();
        for entry in page[..new].iter().rev() {
            self.places.insert(*entry, self.entries.len());
            self.entries.push(*entry);
        }
    }
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self { last: Read::default(), now: Read::default() }
    }
}

impl<T> Default for Read<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a list in pages of ten; gives whoever is gone by a page.
    fn read(sequence: &mut Sequence<u32>, list: &[u32]) -> Vec<u32> {
        let mut gone: Vec<u32> = list.chunks(10).rev().flat_map(|page| sequence.read(page)).collect();
        sequence.end();
        gone.sort_unstable();
        gone
    }

    #[test]
    fn who_stood_between_two_of_a_page_and_does_not_now_is_gone() {
        let mut sequence = Sequence::default();
        let list: Vec<u32> = (0..30).collect();
        assert!(read(&mut sequence, &list).is_empty(), "nothing is known yet");
        let later: Vec<u32> = list.iter().copied().filter(|entry| ![3, 4, 15].contains(entry)).collect();
        assert_eq!(read(&mut sequence, &later), [3, 4, 15]);
        assert!(read(&mut sequence, &later).is_empty(), "that is known by now");
    }

    #[test]
    fn a_list_in_another_order_each_time_and_a_short_one_tell_nothing() {
        let mut sequence = Sequence::default();
        read(&mut sequence, &(0..30).collect::<Vec<u32>>());
        let turned: Vec<u32> = (0..30).rev().filter(|entry| entry % 7 > 0).collect();
        assert!(read(&mut sequence, &turned).is_empty());
        assert!(read(&mut sequence, &[29, 1]).is_empty());
    }

    #[test]
    fn who_moves_on_to_a_page_that_is_read_later_is_there_once() {
        let mut sequence = Sequence::default();
        let list: Vec<u32> = (0..20).collect();
        sequence.read(&list[10..]);
        sequence.read(&list[2..12]);
        sequence.end();
        assert!(read(&mut sequence, &list[2..]).is_empty());
    }

    #[test]
    fn what_was_given_up_is_not_compared_with() {
        let mut sequence = Sequence::default();
        let list: Vec<u32> = (0..20).collect();
        read(&mut sequence, &list);
        sequence.read(&list[10..]);
        sequence.give_up();
        assert_eq!(read(&mut sequence, &[&list[..5], &list[6..]].concat()), [5]);
    }

    proptest! {
        /// Whatever is added and taken away between and within passes: nobody who is on the list is taken for gone.
        #[test]
        fn who_is_on_the_list_is_never_gone(
            length in 0..80_u32, size in 1..20_usize,
            events in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200),
        ) {
            let (mut list, mut sequence) = ((0..length).collect::<Vec<u32>>(), Sequence::default());
            let (mut events, mut next) = (events.into_iter(), length);
            for _ in 0..3 {
                let mut page = list.len().div_ceil(size);
                while page > 0 {
                    let first = (page - 1) * size;
                    let entries = list.get(first..(first + size).min(list.len())).unwrap_or_default();
                    for gone in sequence.read(entries) {
                        prop_assert!(!list.contains(&gone), "{gone} is on the list");
                    }
                    page -= 1;
                    for (is_new, index) in events.by_ref().take(3) {
                        if is_new {
                            list.insert(index.index(list.len() + 1), next);
                            next += 1;
                        } else if !list.is_empty() {
                            list.remove(index.index(list.len()));
                        }
                    }
                }
                sequence.end();
            }
        }
    }
}
