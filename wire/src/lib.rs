//! MQTT 3.1, 3.1.1 and 5: decodes bytes to packets and encodes packets to bytes.
//!
//! On a message's path (ARCHITECTURE.md) this is step 3, from a connection's bytes to a packet for its session, and
//! step 8, from a packet for a receiver to the bytes of its connection. A decoded packet is a view over the input:
//! decoding copies and allocates nothing. It is also legal: [`TopicName`], [`TopicFilter`], [`PacketId`] and the
//! values of [`Property`] cannot hold anything else, and input that the standards call malformed is a [`DecodeError`]
//! that names the rule. Incomplete input is not an error but `Ok(None)`.
//!
//! ```
//! use wisp_wire::{Packet, ProtocolVersion, Publish, TopicName, decode};
//!
//! let mut bytes = Vec::new();
//! let publish = Publish::new(TopicName::new("a/b")?, b"hello");
//! publish.encode(ProtocolVersion::Mqtt5, &mut bytes)?;
//!
//! assert_eq!(decode(&bytes[..4], ProtocolVersion::Mqtt5, 1024)?, None);
//! assert_eq!(decode(&bytes, ProtocolVersion::Mqtt5, 1024)?, Some((Packet::Publish(publish), bytes.len())));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! There are no sockets, clocks or threads here, and no direction: the session decides which packets a peer may send,
//! and when.

#![no_std]

extern crate alloc;

mod error;
mod frame;
mod list;
mod packet;
mod properties;
mod reader;
mod reason;
mod text;
mod topic;
mod types;
mod varint;

pub use error::{DecodeError, EncodeError};
pub use frame::packet_len;
pub use list::{List, ListIter};
pub use packet::{
    Auth, ConnAck, Connect, Disconnect, Packet, PubAck, PubComp, PubRec, PubRel, Publish, ReasonCodes, RetainHandling,
    SubAck, Subscribe, SubscriptionOptions, Subscriptions, TopicFilters, UnsubAck, Unsubscribe, Will, decode,
};
pub use properties::{Properties, PropertiesIter, Property, PropertyOwner};
pub use reason::ReasonCode;
pub use topic::{Levels, TopicError, TopicFilter, TopicName};
pub use types::{PacketId, PacketType, ProtocolVersion, QoS, SubscriptionId};
