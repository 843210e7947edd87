//! Messages that came while a call waited for something else.

use std::collections::VecDeque;

use crate::incoming::Delivered;

/// A bounded queue of messages. Full means that no further packet is decoded, so one message may go past the
/// limit of bytes, but no second.
#[derive(Debug)]
pub(crate) struct Inbox {
    messages: VecDeque<Delivered>,
    /// The sum over `messages`.
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

impl Inbox {
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, messages_max, bytes_max }
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.messages.len() >= self.messages_max || self.bytes >= self.bytes_max
    }

    pub(crate) fn keep(&mut self, delivered: Delivered) {
        debug_assert!(!self.is_full());
        self.bytes += delivered.message.bytes();
        self.messages.push_back(delivered);
    }

    pub(crate) fn take(&mut self) -> Option<Delivered> {
        let delivered = self.messages.pop_front()?;
        self.bytes -= delivered.message.bytes();
        debug_assert!(!self.messages.is_empty() || self.bytes == 0);
        Some(delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, QoS};

    fn message(payload_bytes: usize) -> Delivered {
        let message = Message {
            topic: "t".to_owned(),
            payload: vec![0; payload_bytes],
            qos: QoS::AtMostOnce,
            dup: false,
            retain: false,
            subscription_ids: Vec::new(),
        };
        Delivered { message, topic_alias: None, packet_id: None }
    }

    #[test]
    fn fills_by_messages_or_by_bytes_and_empties_in_order() {
        let mut inbox = Inbox::new(2, 1000);
        inbox.keep(message(1));
        assert!(!inbox.is_full());
        inbox.keep(message(2));
        assert!(inbox.is_full());
        assert_eq!(inbox.take(), Some(message(1)));
        assert!(!inbox.is_full());
        inbox.keep(message(5000));
        assert_eq!((inbox.take(), inbox.take(), inbox.take()), (Some(message(2)), Some(message(5000)), None));

        inbox.keep(message(5000));
        assert!(inbox.is_full() && inbox.len() == 1);
    }
}
