//! The filters of one session.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use crate::store::Key;

/// Most filters in a vector. Most sessions have one or a few; a vector takes little memory for these.
const FEW: usize = 64;

/// The filters of a session, in their order.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Filters);

#[derive(Debug)]
enum Filters {
    Few(Vec<(Box<str>, Option<Key>)>),
    Many(Box<Many>),
    /// The session has ended: none may be added any more.
    Ended,
}

#[derive(Debug, Default)]
struct Many {
    filters: BTreeMap<Box<str>, Option<Key>>,
    bytes: usize,
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
        match &self.0 {
            Filters::Few(filters) => filters.len(),
            Filters::Many(many) => many.filters.len(),
            Filters::Ended => 0,
        }
    }

    /// The filters, in order.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &str> {
        let (few, many) = match &self.0 {
            Filters::Few(filters) => (Some(filters), None),
            Filters::Many(many) => (None, Some(&many.filters)),
            Filters::Ended => (None, None),
        };
        let few = few.into_iter().flatten().map(|(filter, _)| &**filter);
        few.chain(many.into_iter().flat_map(BTreeMap::keys).map(|filter| &**filter))
    }

    /// The filters behind `after`, in order.
    pub(crate) fn filters_behind(&self, after: &str) -> impl Iterator<Item = &str> {
        let (few, many) = match &self.0 {
            Filters::Few(filters) => (filters.get(filters.partition_point(|(filter, _)| **filter <= *after)..), None),
            Filters::Many(many) => (None, Some(many.filters.range::<str, _>((Excluded(after), Unbounded)))),
            Filters::Ended => (None, None),
        };
        let few = few.into_iter().flatten().map(|(filter, _)| &**filter);
        few.chain(many.into_iter().flatten().map(|(filter, _)| &**filter))
    }

    /// The bytes that all subscriptions take, by the estimate.
    pub(crate) fn bytes(&self) -> usize {
        match &self.0 {
            Filters::Few(filters) => filters.iter().map(|(filter, _)| footprint_bytes(filter)).sum(),
            Filters::Many(many) => many.bytes,
            Filters::Ended => 0,
        }
    }

    /// Whether the session has ended.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.0, Filters::Ended)
    }

    /// Whether there is a subscription to `filter`.
    pub(crate) fn contains(&self, filter: &str) -> bool {
        match &self.0 {
            Filters::Few(filters) => place_of(filters, filter).is_ok(),
            Filters::Many(many) => many.filters.contains_key(filter),
            Filters::Ended => false,
        }
    }

    /// The key in the store of the subscription to `filter`.
    pub(crate) fn key_of(&self, filter: &str) -> Option<Key> {
        match &self.0 {
            Filters::Few(filters) => place_of(filters, filter).ok().and_then(|place| filters[place].1),
            Filters::Many(many) => many.filters.get(filter).copied().flatten(),
            Filters::Ended => None,
        }
    }

    /// Adds a subscription to `filter`, which has this key in the store. One that is there stays as it is.
    pub(crate) fn insert(&mut self, filter: &str, key: Option<Key>) {
        debug_assert!(!self.is_ended(), "the caller has asked");
        if self.contains(filter) {
            return;
        }
        let bytes = self.bytes() + footprint_bytes(filter);
        match &mut self.0 {
            Filters::Many(many) => {
                many.filters.insert(filter.into(), key);
                many.bytes = bytes;
            }
            Filters::Few(filters) if filters.len() == FEW => {
                let filters = std::mem::take(filters).into_iter().chain([(filter.into(), key)]);
                self.0 = Filters::Many(Box::new(Many { filters: filters.collect(), bytes }));
            }
            Filters::Few(filters) => {
                if filters.is_empty() {
                    filters.reserve_exact(1);
                }
                let place = place_of(filters, filter).unwrap_or_else(|place| place);
                filters.insert(place, (filter.into(), key));
            }
            Filters::Ended => {}
        }
    }

    /// Removes the subscription to `filter`. False if there is none.
    pub(crate) fn remove(&mut self, filter: &str) -> bool {
        match &mut self.0 {
            Filters::Few(filters) => place_of(filters, filter).map(|place| filters.remove(place)).is_ok(),
            Filters::Many(many) => {
                let removed = many.filters.remove(filter).is_some();
                many.bytes -= if removed { footprint_bytes(filter) } else { 0 };
                removed
            }
            Filters::Ended => false,
        }
    }

    /// Ends the session: no subscription may be added any more. Returns the filters and their keys.
    pub(crate) fn end(&mut self) -> Vec<(Box<str>, Option<Key>)> {
        match std::mem::replace(&mut self.0, Filters::Ended) {
            Filters::Few(filters) => filters,
            Filters::Many(many) => many.filters.into_iter().collect(),
            Filters::Ended => Vec::new(),
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
            assert_eq!((subscriptions.len(), subscriptions.bytes(), subscriptions.is_ended()), (0, 0, true));
        }
    }
}
