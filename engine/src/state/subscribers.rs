//! The subscribers of one filter, each at most once. Thousands may subscribe to the same filter, and come and go, so
//! one is found without a search through all.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::delivery::bundles::Indexed;

/// From this many subscribers on, a map holds the position of each.
const INDEXED_FROM: usize = 32;

/// A set of subscribers by their indices.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "there is one for each filter, and few of them have a map")]
pub(crate) struct Subscribers<S> {
    /// In no order.
    pub(crate) all: Vec<S>,
    /// The position in `all` of each subscriber by its index, unless there are few.
    places: Option<Box<HashMap<usize, usize, RandomState>>>,
}

impl<S> Default for Subscribers<S> {
    fn default() -> Self {
        Self { all: Vec::new(), places: None }
    }
}

impl<S: Indexed> Subscribers<S> {
    /// Adds a subscriber, or replaces the one with the same index. True if there was one.
    pub(crate) fn insert(&mut self, subscriber: S) -> bool {
        let index = subscriber.index();
        if let Some(place) = self.place_of(index) {
            self.all[place] = subscriber;
            return true;
        }
        if self.all.is_empty() {
            // Most filters have only one subscriber.
            self.all.reserve_exact(1);
        }
        self.all.push(subscriber);
        if let Some(places) = &mut self.places {
            places.insert(index, self.all.len() - 1);
        } else if self.all.len() >= INDEXED_FROM {
            let places = self.all.iter().enumerate().map(|(place, subscriber)| (subscriber.index(), place));
            self.places = Some(Box::new(places.collect()));
        }
        false
    }

    /// Removes the subscriber with this index. False if there is none.
    pub(crate) fn remove(&mut self, index: usize) -> bool {
        let Some(place) = self.place_of(index) else { return false };
        self.all.swap_remove(place);
        if self.all.len() < INDEXED_FROM {
            self.places = None;
        } else if let Some(places) = &mut self.places {
            places.remove(&index);
            if let Some(moved) = self.all.get(place) {
                places.insert(moved.index(), place);
            }
        }
        if self.all.len() * 4 < self.all.capacity() {
            self.all.shrink_to(self.all.len() * 2);
        }
        true
    }

    /// The subscriber with this index.
    pub(crate) fn get(&self, index: usize) -> Option<&S> {
        self.place_of(index).map(|place| &self.all[place])
    }

    fn place_of(&self, index: usize) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(&index).copied(),
            None => self.all.iter().position(|subscriber| subscriber.index() == index),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Numbered(usize, bool);

    impl Indexed for Numbered {
        fn index(&self) -> usize {
            self.0
        }
    }

    proptest! {
        #[test]
        fn subscribers_are_a_map_by_number(
            operations in prop::collection::vec((0..INDEXED_FROM * 2, any::<bool>(), 0..3_u8), 1..400),
        ) {
            let (mut subscribers, mut model) = (Subscribers::default(), BTreeMap::new());
            for (at, no_local, kind) in operations {
                if kind == 0 {
                    prop_assert_eq!(subscribers.remove(at), model.remove(&at).is_some());
                } else {
                    let replaced = subscribers.insert(Numbered(at, no_local));
                    prop_assert_eq!(replaced, model.insert(at, no_local).is_some());
                }
                let found: BTreeMap<_, _> = subscribers.all.iter().map(|found| (found.0, found.1)).collect();
                prop_assert_eq!((&found, subscribers.all.len()), (&model, model.len()));
            }
        }
    }
}
