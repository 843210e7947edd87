//! A received message, before and after its acknowledgement.

use wisp_wire::{PacketId, QoS};

/// A received message.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Message {
    /// The topic of the message.
    pub topic: String,
    /// The content of the message.
    pub payload: Vec<u8>,
    /// The QoS of the delivery.
    pub qos: QoS,
    /// Whether the broker may have delivered the message before.
    pub dup: bool,
    /// Whether the message was retained before the subscription. With the option retain as published: whether its
    /// publisher asked for retaining it.
    pub retain: bool,
    /// The identifiers of the matching subscriptions (MQTT 5).
    pub subscription_ids: Vec<u32>,
}

impl Message {
    /// The size of the message in memory, for the limit of kept bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.topic.len() + self.payload.len() + size_of_val(self.subscription_ids.as_slice())
    }
}

/// A message that the broker has delivered and that is not acknowledged yet.
/// [`Protocol::acknowledge`](crate::protocol::Protocol::acknowledge) turns it into a [`Message`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivered {
    pub(crate) message: Message,
    /// Present with QoS 1 and 2.
    pub(crate) packet_id: Option<PacketId>,
}

impl Delivered {
    /// The message, which stays unacknowledged.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }
}
