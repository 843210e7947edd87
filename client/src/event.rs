//! The events of a connection.

use wisp_wire::{PacketId, ReasonCode};

use crate::message::Delivered;

/// An answer or a message from the broker.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The broker has accepted the connection.
    Connected,
    /// A message to [acknowledge](crate::protocol::Protocol::acknowledge).
    Message(Delivered),
    /// The broker has taken over a message of this client with QoS 1 or 2, or refused it.
    Published {
        /// The identifier of the message.
        packet_id: PacketId,
        /// The code of the broker: a success or a refusal.
        code: ReasonCode,
        /// The text of the broker (MQTT 5).
        reason: Option<String>,
    },
    /// The broker has answered SUBSCRIBE.
    Subscribed {
        /// The identifier of the request.
        packet_id: PacketId,
        /// The code of the broker for each filter: a success or a refusal.
        codes: Vec<ReasonCode>,
    },
    /// The broker has answered UNSUBSCRIBE.
    Unsubscribed {
        /// The identifier of the request.
        packet_id: PacketId,
        /// The code of the broker for each filter. Before MQTT 5 all are successes.
        codes: Vec<ReasonCode>,
    },
}
