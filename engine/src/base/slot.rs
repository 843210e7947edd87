//! Dense indices for outboxes, sessions and queues, so that a worker can keep its notes about them in plain arrays.

use std::sync::Arc;

use crate::base::sync::{Mutex, rank};

/// Gives out free indices without searching, so that they stay dense.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    state: Mutex<State, { rank::LEAF }>,
}

#[derive(Debug, Default)]
struct State {
    free: Vec<u32>,
    next: u32,
}

/// An index that no other live object of its kind has. It returns to its [`Slots`] when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    number: u32,
    home: Arc<Slots>,
}

impl Slots {
    /// Takes a slot.
    pub(crate) fn take(self: &Arc<Self>) -> Slot {
        let mut state = self.state.lock();
        let number = state.free.pop().unwrap_or_else(|| {
            let number = state.next;
            state.next += 1;
            number
        });
        Slot { number, home: Arc::clone(self) }
    }
}

impl Slot {
    /// The index. It is lower than the highest number of slots in use at one time.
    pub(crate) fn index(&self) -> usize {
        self.number as usize
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.home.state.lock().free.push(self.number);
    }
}
