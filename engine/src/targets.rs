//! The receivers of one filter, each at most once. Thousands may subscribe to the same filter, and each of them comes,
//! goes and comes again, so finding one must not mean to look at all.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::router::Target;

/// From this many targets on it is kept in mind where each one is.
const INDEXED_FROM: usize = 32;

/// A set of targets, by their queues.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    /// In no order.
    pub(crate) all: Vec<Target>,
    /// Where in `all` the target with a queue's index is; empty while there are few.
    places: HashMap<usize, usize, RandomState>,
}

impl Targets {
    /// Adds a target, or replaces the one with the same queue. True if there was one.
    pub(crate) fn insert(&mut self, target: Target) -> bool {
        let index = target.queue.index();
        if let Some(place) = self.place_of(index) {
            self.all[place] = target;
            return true;
        }
        self.all.push(target);
        if self.all.len() == INDEXED_FROM {
            self.places = self.all.iter().enumerate().map(|(place, target)| (target.queue.index(), place)).collect();
        } else if self.all.len() > INDEXED_FROM {
            self.places.insert(index, self.all.len() - 1);
        }
        false
    }

    /// Removes the target with this queue. False if there is none.
    pub(crate) fn remove(&mut self, queue_index: usize) -> bool {
        let Some(place) = self.place_of(queue_index) else { return false };
        self.all.swap_remove(place);
        if self.all.len() < INDEXED_FROM {
            self.places = HashMap::default();
        } else {
            self.places.remove(&queue_index);
            if let Some(moved) = self.all.get(place) {
                self.places.insert(moved.queue.index(), place);
            }
        }
        if self.all.len() * 4 < self.all.capacity() {
            self.all.shrink_to(self.all.len() * 2);
        }
        true
    }

    fn place_of(&self, queue_index: usize) -> Option<usize> {
        if self.all.len() < INDEXED_FROM {
            return self.all.iter().position(|target| target.queue.index() == queue_index);
        }
        self.places.get(&queue_index).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::queue;

    proptest! {
        #[test]
        fn targets_are_a_map_from_queues(
            operations in prop::collection::vec((0..INDEXED_FROM * 2, any::<bool>(), 0..3_u8), 1..400),
        ) {
            let queues: Vec<_> = (0..INDEXED_FROM * 2).map(|_| queue()).collect();
            let (mut targets, mut model) = (Targets::default(), BTreeMap::new());
            for (at, no_local, kind) in operations {
                let queue = &queues[at];
                if kind == 0 {
                    prop_assert_eq!(targets.remove(queue.index()), model.remove(&queue.index()).is_some());
                } else {
                    let replaced = targets.insert(Target { queue: Arc::clone(queue), no_local });
                    prop_assert_eq!(replaced, model.insert(queue.index(), no_local).is_some());
                }
                let found: BTreeMap<_, _> = targets.all.iter().map(|t| (t.queue.index(), t.no_local)).collect();
                prop_assert_eq!((&found, targets.all.len()), (&model, model.len()));
            }
        }
    }
}
