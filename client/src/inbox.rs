//! Messages that arrived while a call waited for an answer.

use std::collections::VecDeque;

use crate::message::Delivered;

/// A bounded queue of messages. A full inbox stops the decoding of further packets, so one message may exceed the
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

    pub(crate) fn push(&mut self, delivered: Delivered) {
        debug_assert!(!self.is_full());
        self.bytes += delivered.message.bytes();
        self.messages.push_back(delivered);
    }

    pub(crate) fn pop(&mut self) -> Option<Delivered> {
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
        Delivered { message, packet_id: None }
    }

    #[test]
    fn fills_by_messages_or_by_bytes_and_empties_in_order() {
        let mut inbox = Inbox::new(2, 1000);
        inbox.push(message(1));
        assert!(!inbox.is_full());
        inbox.push(message(2));
        assert!(inbox.is_full());
        assert_eq!(inbox.pop(), Some(message(1)));
        assert!(!inbox.is_full());
        inbox.push(message(5000));
        assert_eq!((inbox.pop(), inbox.pop(), inbox.pop()), (Some(message(2)), Some(message(5000)), None));

        inbox.push(message(5000));
        assert!(inbox.is_full() && inbox.len() == 1);
    }
}
