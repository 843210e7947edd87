//! Messages that the client has acknowledged, let go several at a time.

use crate::delivery::addressed::Delivery;

/// The processor loads about as many lines of memory at a time.
const AT_A_TIME: usize = 16;

/// Acknowledged messages that still count. Since they were sent, the caches have lost them. Looking at one after another lets
/// the loads overlap; dropping each at once would wait for each. Boxed, since most sessions have none.
#[derive(Debug, Default)]
pub(super) struct Gone(Option<Box<Batch>>);

#[derive(Debug, Default)]
struct Batch {
    count: usize,
    messages: [Option<Delivery>; AT_A_TIME],
}

impl Gone {
    /// Adds a message. True if it is time to take them all, which the caller then does.
    pub(super) fn push(&mut self, delivery: Delivery) -> bool {
        let batch = self.0.get_or_insert_default();
        batch.messages[batch.count] = Some(delivery);
        batch.count += 1;
        batch.count == AT_A_TIME
    }

    /// Drops the messages. Returns their bytes and number.
    pub(super) fn take(&mut self) -> (usize, usize) {
        let Some(batch) = self.0.take() else { return (0, 0) };
        let messages = batch.messages.iter().flatten();
        (messages.map(|delivery| delivery.message.cost_bytes()).sum(), batch.count)
    }
}
