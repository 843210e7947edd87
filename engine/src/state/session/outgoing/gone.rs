//! Messages that the client has acknowledged, let go several at a time.

use crate::delivery::addressed::Delivery;

/// The processor loads about as many lines of memory at a time.
const AT_A_TIME: usize = 16;

/// Acknowledged messages that still count. Since they were sent, the caches have lost them. Looking at one after another lets
/// the loads overlap; dropping each at once would wait for each.
#[derive(Debug, Default)]
pub(super) struct Gone(Vec<Delivery>);

impl Gone {
    /// Adds a message. True if it is time to take them all.
    pub(super) fn push(&mut self, delivery: Delivery) -> bool {
        if self.0.capacity() == 0 {
            self.0.reserve_exact(AT_A_TIME);
        }
        self.0.push(delivery);
        self.0.len() == AT_A_TIME
    }

    /// Drops the messages. Returns their bytes and number.
    pub(super) fn take(&mut self) -> (usize, usize) {
        let gone = std::mem::take(&mut self.0);
        (gone.iter().map(|delivery| delivery.message.cost_bytes()).sum(), gone.len())
    }
}
