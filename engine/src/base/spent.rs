//! The budgets of receivers beyond the life of their queues. A receiver that does not keep up has spent its budget of
//! episodes ([`crate::base::hold`]). When it connects again its queues are new, and without a memory of the budget each
//! connection would hold its senders back anew.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

use crate::base::capacity::Capacity;
use crate::base::sync::{AtomicUsize, Mutex, Ordering, rank};

/// The most receivers that are remembered. Beyond that the one is forgotten whose budget is full again first.
const RECEIVERS_MAX: usize = 4096;

/// A queue that is made anew for the same receiver.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Receiver<'a> {
    /// The outbox of a client's connection.
    Connection(&'a str),
    /// A client's session.
    Session(&'a str),
    /// A shared subscription group, which is gone when its last member is.
    Group(&'a str),
}

/// When the budgets of receivers whose queues are gone will be full again.
#[derive(Debug, Default)]
pub(crate) struct SpentBudgets {
    hasher: RandomState,
    /// By the receiver's hash: two receivers that share one lose nothing but a few episodes.
    full_ms: Mutex<HashMap<u64, u64, RandomState>, { rank::LEAF }>,
    /// The number of entries, so that the lock is not taken while there is none.
    count: AtomicUsize,
}

impl SpentBudgets {
    /// The queue of `receiver` is about to go: remembers the budget that it has spent.
    pub(crate) fn remember(&self, receiver: Receiver<'_>, capacity: &Capacity, now_ms: u64) {
        let full_ms = capacity.budget_full_ms(now_ms);
        if full_ms > now_ms {
            self.insert(self.hash(receiver), full_ms, now_ms);
        }
    }

    /// The receiver has a new queue, with the budget that is left of the one before.
    pub(crate) fn restore(&self, receiver: Receiver<'_>, capacity: &Capacity) {
        if self.count.load(Ordering::Relaxed) > 0
            && let Some(full_ms) = self.remove(self.hash(receiver))
        {
            capacity.set_budget_full_ms(full_ms);
        }
    }

    fn hash(&self, receiver: Receiver<'_>) -> u64 {
        self.hasher.hash_one(receiver)
    }

    fn insert(&self, receiver: u64, full_ms: u64, now_ms: u64) {
        let mut all = self.full_ms.lock();
        if all.len() >= RECEIVERS_MAX && !all.contains_key(&receiver) {
            all.retain(|_, full_ms| *full_ms > now_ms);
            let first = all.iter().min_by_key(|(_, full_ms)| **full_ms).map(|(receiver, _)| *receiver);
            if let Some(first) = first.filter(|_| all.len() >= RECEIVERS_MAX) {
                all.remove(&first);
            }
        }
        let entry = all.entry(receiver).or_default();
        *entry = full_ms.max(*entry);
        self.count.store(all.len(), Ordering::Relaxed);
    }

    fn remove(&self, receiver: u64) -> Option<u64> {
        let mut all = self.full_ms.lock();
        let full_ms = all.remove(&receiver);
        self.count.store(all.len(), Ordering::Relaxed);
        full_ms
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::budget::Budget;
    use crate::base::capacity::CapacityLimits;
    use crate::base::hold::HoldRule;

    fn capacity() -> Capacity {
        let (budget, rule) = (Arc::new(Budget::new(1_000)), HoldRule::Episodes(100));
        Capacity::new(Arc::new(CapacityLimits { budget, bytes_max: 100, messages_max: 4, rule }))
    }

    #[test]
    fn a_new_queue_has_the_budget_of_the_one_before() {
        let (budgets, old) = (SpentBudgets::default(), capacity());
        old.set_budget_full_ms(50_000);
        let (connection, session) = (Receiver::Connection("c"), Receiver::Session("c"));
        budgets.remember(connection, &old, 1_000);
        let restored = |receiver| {
            let new = capacity();
            budgets.restore(receiver, &new);
            new.budget_full_ms(0)
        };
        assert_eq!([session, connection, connection].map(restored), [0, 50_000, 0]);
    }

    #[test]
    fn a_full_budget_takes_no_memory() {
        let (budgets, old) = (SpentBudgets::default(), capacity());
        old.set_budget_full_ms(50_000);
        budgets.remember(Receiver::Connection("c"), &old, 50_000);
        assert_eq!(budgets.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_receivers_with_most_left_are_forgotten_first() {
        let (budgets, now_ms) = (SpentBudgets::default(), 10);
        for receiver in 0..2 * RECEIVERS_MAX as u64 {
            budgets.insert(receiver, now_ms + 1 + receiver, now_ms);
        }
        assert_eq!(budgets.count.load(Ordering::Relaxed), RECEIVERS_MAX);
        assert_eq!(budgets.remove(RECEIVERS_MAX as u64 - 1), None);
        assert_eq!(budgets.remove(RECEIVERS_MAX as u64), Some(now_ms + 1 + RECEIVERS_MAX as u64));
        budgets.insert(0, 1_000_000, 100_000);
        budgets.insert(1, 1_000_001, 100_000);
        assert_eq!(budgets.count.load(Ordering::Relaxed), 2, "the budgets of all others are full again");
    }
}
