//! The filters of one session.

use std::collections::BTreeMap;

use crate::store::Key;

/// Most filters in a vector. Most sessions have one or a few; a vector takes little memory for these.
const FEW: usize = 64;

/// The filters of a session, in their order.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub(crate) ended: bool,
    filters: Filters,
    bytes: usize,
}

#[derive(Debug)]
enum Filters {
    Few(Vec<(Box<str>, Option<Key>)>),
    Many(BTreeMap<Box<str>, Option<Key>>),
}

impl Default for Filters {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// An estimate of the bytes that a subscription takes: the filter, stored with its client and level by level in the tree, and
/// the tree's nodes, as if no other filter shared them.
pub(crate) fn footprint_bytes(filter: &str) -> usize {
    const LEVEL_BYTES: usize = 256;
    2 * filter.len() + LEVEL_BYTES * filter.split('/').count()
}

impl Subscriptions {
    /// The number of subscriptions.
    pub(crate) fn len(&self) -> usize {
        match &self.filters {
            Filters::Few(filters) => filters.len(),
            Filters::Many(filters) => filters.len(),
        }
    }

    /// The filters, in order.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &str> {
        let (few, many) = match &self.filters {
            Filters::Few(filters) => (Some(filters), None),
            Filters::Many(filters) => (None, Some(filters)),
        };
        let few = few.into_iter().flatten().map(|(filter, _)| &**filter);
        few.chain(many.into_iter().flat_map(BTreeMap::keys).map(|filter| &**filter))
    }

    /// The bytes that all subscriptions take, by the estimate.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is a subscription to `filter`.
    pub(crate) fn contains(&self, filter: &str) -> bool {
        match &self.filters {
            Filters::Few(filters) => place_of(filters, filter).is_ok(),
            Filters::Many(filters) => filters.contains_key(filter),
        }
    }

    /// The key in the store of the subscription to `filter`.
    pub(crate) fn key_of(&self, filter: &str) -> Option<Key> {
        match &self.filters {
            Filters::Few(filters) => place_of(filters, filter).ok().and_then(|place| filters[place].1),
            Filters::Many(filters) => filters.get(filter).copied().flatten(),
        }
    }

    /// Adds a subscription to `filter`, which has this key in the store. One that is there stays as it is.
    pub(crate) fn insert(&mut self, filter: &str, key: Option<Key>) {
        if self.contains(filter) {
            return;
        }
        self.bytes += footprint_bytes(filter);
        match &mut self.filters {
            Filters::Many(filters) => _ = filters.insert(filter.into(), key),
            Filters::Few(filters) if filters.len() == FEW => {
                let filters = std::mem::take(filters).into_iter().chain([(filter.into(), key)]);
                self.filters = Filters::Many(filters.collect());
            }
            Filters::Few(filters) => {
                if filters.is_empty() {
                    filters.reserve_exact(1);
                }
                let place = place_of(filters, filter).unwrap_or_else(|place| place);
                filters.insert(place, (filter.into(), key));
            }
        }
    }

    /// Removes the subscription to `filter`. False if there is none.
    pub(crate) fn remove(&mut self, filter: &str) -> bool {
        let removed = match &mut self.filters {
            Filters::Few(filters) => place_of(filters, filter).map(|place| filters.remove(place)).is_ok(),
            Filters::Many(filters) => filters.remove(filter).is_some(),
        };
        if removed {
            self.bytes -= footprint_bytes(filter);
        }
        removed
    }

    /// Ends the session: no subscription may be added any more. Returns the filters and their keys.
    pub(crate) fn end(&mut self) -> Vec<(Box<str>, Option<Key>)> {
        self.ended = true;
        self.bytes = 0;
        match std::mem::take(&mut self.filters) {
            Filters::Few(filters) => filters,
            Filters::Many(filters) => filters.into_iter().collect(),
        }
    }
}

fn place_of(filters: &[(Box<str>, Option<Key>)], filter: &str) -> Result<usize, usize> {
    filters.binary_search_by(|(known, _)| (**known).cmp(filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_kept_once_and_their_bytes_counted_in_any_number() {
        for count in [1, FEW, FEW + 1, 3 * FEW] {
            let mut subscriptions = Subscriptions::default();
            let filters: Vec<String> = (0..count).rev().map(|number| format!("{number:03}/x")).collect();
            for filter in filters.iter().chain(&filters) {
                subscriptions.insert(filter, None);
                assert!(subscriptions.contains(filter));
            }
            assert_eq!((subscriptions.len(), subscriptions.bytes()), (count, count * footprint_bytes("000/x")));
            assert!(!subscriptions.contains("absent") && !subscriptions.remove("absent"));
            let (removed, left) = filters.split_at(count / 2);
            assert!(removed.iter().all(|filter| subscriptions.remove(filter)));
            let mut ended = subscriptions.end();
            ended.reverse();
            assert!(ended.iter().map(|(filter, _)| &**filter).eq(left.iter().map(String::as_str)));
            assert_eq!((subscriptions.len(), subscriptions.bytes(), subscriptions.ended), (0, 0, true));
        }
    }
}
