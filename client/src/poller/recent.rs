//! Tasks that this client submitted a while ago: how old they are, and how long their audio is.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::TaskId;

/// So many are remembered; of older ones only the age is lost.
const MOST: usize = 10_000;

/// What was known of a task when it was submitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Submitted {
    pub(super) at: Instant,
    pub(super) length: Option<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct Recent {
    order: VecDeque<TaskId>,
    tasks: HashMap<TaskId, Submitted>,
}

impl Recent {
    pub(super) fn add(&mut self, id: &TaskId, submitted: Submitted) {
        if self.tasks.insert(id.clone(), submitted).is_none() {
            self.order.push_back(id.clone());
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.tasks.remove(&oldest);
        }
    }

    pub(super) fn find(&self, id: &TaskId) -> Option<Submitted> {
        self.tasks.get(id).copied()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut recent = Recent::default();
        let submitted = Submitted { at: Instant::now(), length: None };
        for number in 0..=MOST {
            recent.add(&TaskId::from(number.to_string()), submitted);
        }
        assert!(recent.find(&"0".into()).is_none() && recent.find(&"1".into()).is_some());
        assert_eq!((recent.order.len(), recent.tasks.len()), (MOST, MOST));
    }
}
