//! How to connect, with every limit of the client in one place.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use wisp_wire::{ProtocolVersion, QoS};

use crate::ServerUrl;

/// How to connect and what limits to keep. Start from [`ConnectOptions::new`] and change fields.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The MQTT version to speak.
    pub version: ProtocolVersion,
    /// The client's name. [`ConnectOptions::new`] makes up a fresh one, so that no other client of the broker
    /// is thrown out by it.
    pub client_id: String,
    /// Whether to start without what the broker may have kept from an earlier connection. Before MQTT 5 it also
    /// decides whether the broker keeps anything after this one.
    pub clean_start: bool,
    /// Seconds that the broker keeps subscriptions and messages after the connection (MQTT 5 only); `u32::MAX` is for
    /// ever.
    pub session_expiry_s: u32,
    /// How many messages with QoS 1 and 2 the broker may deliver before they are acknowledged (MQTT 5 only). At least
    /// one.
    pub receive_max: u16,
    /// How many topic aliases the broker may give (MQTT 5 only).
    pub topic_alias_max: u16,
    /// Whether to publish by topic aliases, as many as the broker allows (MQTT 5; before, it changes nothing).
    pub use_topic_aliases: bool,
    /// What the broker publishes when the connection ends without DISCONNECT.
    pub will: Option<Will>,
    /// The longest silence the broker should put up with; pings are sent by themselves while a call
    /// waits. 0 turns it off. A broker that speaks MQTT 5 may order another value.
    pub keep_alive_s: u16,
    /// The user's name.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Vec<u8>>,
    /// How long connecting may take, up to and including the broker's CONNACK.
    pub connect_timeout: Duration,
    /// How long any other call may wait for the broker: to take bytes, to acknowledge a message, to answer SUBSCRIBE,
    /// UNSUBSCRIBE or a ping.
    pub answer_timeout: Duration,
    /// The largest packet that is accepted from the broker.
    pub packet_bytes_max: u32,
    /// How many messages are kept that came while waiting for something else; past it nothing more is read.
    pub inbox_messages_max: usize,
    /// How many bytes those messages may have.
    pub inbox_bytes_max: usize,
}

/// A message that the broker publishes for a client that ends without saying goodbye.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Will {
    /// The topic to publish to.
    pub topic: String,
    /// What to publish.
    pub payload: Vec<u8>,
    /// The QoS to publish with.
    pub qos: QoS,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// Seconds to wait for the client to come back before (MQTT 5 only).
    pub delay_s: u32,
}

/// How a message is published. The default is QoS 0 and not retained.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct PublishOptions {
    /// How hard delivery is tried.
    pub qos: QoS,
    /// Whether the broker keeps the message for later subscribers.
    pub retain: bool,
}

impl PublishOptions {
    /// With this QoS, and not retained.
    #[must_use]
    pub fn new(qos: QoS) -> Self {
        Self { qos, ..Self::default() }
    }
}

impl ConnectOptions {
    /// The largest packet MQTT has: a header of 5 bytes, and what a length of four times seven bits can say.
    pub const PACKET_BYTES_MAX: u32 = 5 + (1 << 28) - 1;

    /// The defaults for this MQTT version.
    #[must_use]
    pub fn new(version: ProtocolVersion) -> Self {
        Self {
            version,
            client_id: fresh_client_id(),
            clean_start: true,
            session_expiry_s: 0,
            receive_max: u16::MAX,
            topic_alias_max: 0,
            use_topic_aliases: false,
            will: None,
            keep_alive_s: 60,
            username: None,
            password: None,
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            packet_bytes_max: Self::PACKET_BYTES_MAX,
            inbox_messages_max: 10_000,
            inbox_bytes_max: 16 * 1024 * 1024,
        }
    }

    /// Takes over the user's name and password of `url`.
    #[must_use]
    pub fn with_user_of(mut self, url: &ServerUrl) -> Self {
        self.username = url.username().map(str::to_owned);
        self.password = url.password().map(|password| password.as_bytes().to_vec());
        self
    }
}

/// A name of at most 23 letters and digits, the most that every broker must take (MQTT-3.1.3-5).
fn fresh_client_id() -> String {
    // The standard library's seed for hash maps is the one source of chance that every host has
    // without a further crate.
    let chance = RandomState::new().build_hasher().finish();
    format!("wisp{chance:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_are_fresh_and_taken_by_every_broker() {
        let (one, other) = (fresh_client_id(), fresh_client_id());
        assert_ne!(one, other);
        for id in [one, other] {
            assert!(id.len() <= 23 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        }
    }
}
