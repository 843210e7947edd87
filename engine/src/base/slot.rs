//! Small dense numbers for outboxes, sessions and queues, so that a worker can keep what it knows of one in a plain array.

use std::sync::Arc;

use crate::base::sync::{Mutex, rank};

/// Hands out the lowest-numbered free slot it can without searching.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    state: Mutex<State, { rank::LEAF }>,
}

#[derive(Debug, Default)]
struct State {
    free: Vec<u32>,
    next: u32,
}

/// A number no other live place of its kind has. It goes back to its [`Slots`] when dropped.
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
    /// The number, below the most slots ever in use at a time.
    pub(crate) fn index(&self) -> usize {
        self.number as usize
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.home.state.lock().free.push(self.number);
    }
}
