//! Counts of changes, by which caches of resolved topics know which of their entries are outdated.
//!
//! A change of a subscription outdates the topics that its filter may match, and few others: a filter without wildcards
//! counts for its own topic, another one for the one or two levels in front of its first wildcard. So a client that
//! connects and subscribes does not have all topics resolved again.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

use crate::base::sync::{AtomicU64, Ordering};

const PLACES: usize = if cfg!(loom) { 4 } else { 16 * 1024 };

/// The counts. Different topics may share one.
#[derive(Debug)]
pub(super) struct Epochs {
    counts: Box<[AtomicU64]>,
    /// Changes that concern all topics.
    all: AtomicU64,
    /// Changes of any kind.
    changes: AtomicU64,
}

/// The counts that concern one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicEpochs([u16; 3]);

/// The part of a topic name or filter that has a count.
#[derive(Hash)]
enum Part<'a> {
    Whole(&'a str),
    FirstLevel(&'a str),
    TwoLevels(&'a str),
}

impl Part<'_> {
    fn place(&self) -> u16 {
        let mut hasher = FixedState::default().build_hasher();
        self.hash(&mut hasher);
        (std::hash::Hasher::finish(&hasher) % PLACES as u64) as u16
    }
}

impl Default for Epochs {
    fn default() -> Self {
        let counts = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { counts, all: AtomicU64::new(0), changes: AtomicU64::new(0) }
    }
}

impl TopicEpochs {
    /// The counts of `topic`.
    pub(super) fn of(topic: &str) -> Self {
        let mut slashes = topic.match_indices('/').map(|(at, _)| at);
        let first = slashes.next().unwrap_or(topic.len());
        let second = slashes.next().unwrap_or(topic.len());
        let parts = [Part::Whole(topic), Part::FirstLevel(&topic[..first]), Part::TwoLevels(&topic[..second])];
        Self(parts.map(|part| part.place()))
    }
}

impl Epochs {
    /// Notes a change of a subscription to `filter`, which is no shared subscription.
    pub(super) fn note_change(&self, filter: &str) {
        let literal = filter.find(['+', '#']).map(|at| &filter[..at]);
        let mut slashes = literal.unwrap_or_default().match_indices('/').map(|(at, _)| at);
        let part = match (literal, slashes.next(), slashes.next()) {
            (None, ..) => Part::Whole(filter),
            (Some(_), Some(_), Some(second)) => Part::TwoLevels(&filter[..second]),
            (Some(_), Some(first), None) => Part::FirstLevel(&filter[..first]),
            (Some(_), None, _) => {
                self.note_change_of_all();
                return;
            }
        };
        self.counts[usize::from(part.place())].fetch_add(1, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Notes a change that concerns all topics.
    pub(super) fn note_change_of_all(&self) {
        self.all.fetch_add(1, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Changes whenever a subscription does that may match the topic: no count ever decreases.
    #[inline]
    pub(super) fn sum(&self, topic: TopicEpochs) -> u64 {
        let counts = topic.0.map(|place| self.counts[usize::from(place)].load(Ordering::Acquire));
        counts.iter().sum::<u64>() + self.all.load(Ordering::Acquire)
    }

    /// Changes whenever any subscription does.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;
    use wisp_wire::{TopicFilter, TopicName};

    use super::*;

    proptest! {
        /// A topic that a filter matches notices its change.
        #[test]
        fn a_change_is_noticed_by_every_topic_that_matches(
            filter in "(a|b|\\+|\\$s|)(/(a|b|\\+|)){0,3}(/#)?|#",
            topic in "(a|b|\\$s|)(/(a|b|)){0,4}",
        ) {
            prop_assume!(!topic.is_empty() && !filter.is_empty());
            let epochs = Epochs::default();
            let of_topic = TopicEpochs::of(&topic);
            let before = epochs.sum(of_topic);
            epochs.note_change(&filter);
            let matches = TopicFilter::new(&filter).unwrap().matches(TopicName::new(&topic).unwrap());
            prop_assert!(!matches || epochs.sum(of_topic) > before);
        }
    }

    #[test]
    fn a_change_concerns_few_other_topics() {
        let epochs = Epochs::default();
        let topics: Vec<TopicEpochs> = (0..1000).map(|number| TopicEpochs::of(&format!("t/{number}/x"))).collect();
        for filter in ["t/5/x", "t/7/+", "u/#"] {
            let before: Vec<u64> = topics.iter().map(|topic| epochs.sum(*topic)).collect();
            epochs.note_change(filter);
            let outdated = topics.iter().zip(before).filter(|(topic, before)| epochs.sum(**topic) != *before).count();
            assert!(outdated <= 5, "{filter}: {outdated} of 1000 topics");
        }
    }
}
