//! The options of a connection, with every limit of the client in one place.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use wisp_wire::{ProtocolVersion, QoS};

use crate::error::Error;
use crate::transport::{TlsOptions, Transport};
use crate::url::ServerUrl;

/// The options of a connection. Start from [`ConnectOptions::new`] and change fields.
#[derive(Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// The MQTT version to speak.
    pub version: ProtocolVersion,
    /// The client identifier. [`ConnectOptions::new`] makes a fresh one, so that the connection takes over no other
    /// client's session.
    pub client_id: String,
    /// Whether to start a new session instead of resuming one. Before MQTT 5 it also tells the broker to end the session
    /// with the connection.
    pub clean_start: bool,
    /// Seconds that the broker keeps the session after the connection (MQTT 5 only); `u32::MAX` is for ever.
    pub session_expiry_s: u32,
    /// The number of messages with QoS 1 and 2 that may be unacknowledged by this client at one time (MQTT 5 only). At
    /// least one.
    pub receive_max: u16,
    /// The number of topic aliases that the broker may assign (MQTT 5 only).
    pub topic_alias_max: u16,
    /// Whether to publish by topic aliases, as many as the broker allows (MQTT 5; without effect before).
    pub use_topic_aliases: bool,
    /// The message that the broker publishes when the connection ends without DISCONNECT.
    pub will: Option<Will>,
    /// The longest silence that the broker should allow; 0 for any. A call that waits sends pings in time. A broker of
    /// MQTT 5 may set another value.
    pub keep_alive_s: u16,
    /// The transport. [`ConnectOptions::over`] and [`Client::connect_to`](crate::Client::connect_to) choose it by a URL.
    pub transport: Transport,
    /// The user name.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Vec<u8>>,
    /// The longest time from connecting to the broker's CONNACK.
    pub connect_timeout: Duration,
    /// The longest time that any other call waits for the broker: to accept bytes, to acknowledge a message, to answer
    /// SUBSCRIBE, UNSUBSCRIBE or a ping.
    pub answer_timeout: Duration,
    /// The largest packet that is accepted from the broker.
    pub packet_bytes_max: u32,
    /// The number of messages that the inbox keeps while a call waits for an answer. A full inbox stops receiving.
    pub inbox_messages_max: usize,
    /// The number of bytes of these messages.
    pub inbox_bytes_max: usize,
}

/// A message that the broker publishes when a connection ends without DISCONNECT. Start from [`Will::new`] and change
/// fields.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Will {
    /// The topic of the message.
    pub topic: String,
    /// The content of the message.
    pub payload: Vec<u8>,
    /// The QoS of the message.
    pub qos: QoS,
    /// Whether the broker retains the message.
    pub retain: bool,
    /// Seconds in which the client may reconnect and so cancel the message (MQTT 5 only).
    pub delay_s: u32,
}

impl Will {
    /// A message with QoS 0, not retained, without delay.
    #[must_use]
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos: QoS::AtMostOnce, retain: false, delay_s: 0 }
    }
}

/// The options of a published message. The default is QoS 0 and not retained.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct PublishOptions {
    /// The QoS of the message.
    pub qos: QoS,
    /// Whether the broker retains the message.
    pub retain: bool,
}

impl PublishOptions {
    /// This QoS, and not retained.
    #[must_use]
    pub fn new(qos: QoS) -> Self {
        Self { qos, ..Self::default() }
    }
}

impl ConnectOptions {
    /// The largest packet of MQTT: a header of 5 bytes, and the longest length that four times seven bits can encode.
    pub const PACKET_BYTES_MAX: u32 = 5 + (1 << 28) - 1;

    /// The defaults for an MQTT version.
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
            transport: Transport::default(),
            username: None,
            password: None,
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            packet_bytes_max: Self::PACKET_BYTES_MAX,
            inbox_messages_max: 10_000,
            inbox_bytes_max: 16 * 1024 * 1024,
        }
    }

    /// Adopts the user name, the password and the transport of `url`.
    ///
    /// # Errors
    /// When the certificates cannot be used, or this build lacks the transport.
    pub fn over(self, url: &ServerUrl, tls: &TlsOptions) -> Result<Self, Error> {
        let transport = Transport::of(url, tls)?;
        Ok(Self { transport, ..self.with_user_of(url) })
    }

    /// Adopts the user name and password of `url`.
    #[must_use]
    pub fn with_user_of(mut self, url: &ServerUrl) -> Self {
        self.username = url.username().map(str::to_owned);
        self.password = url.password().map(|password| password.as_bytes().to_vec());
        self
    }
}

/// A client identifier of at most 23 letters and digits, which every broker must accept [MQTT-3.1.3-5].
fn fresh_client_id() -> String {
    // The standard library's seed for hash maps is the one source of random numbers that every host has without a
    // further crate.
    let random = RandomState::new().build_hasher().finish();
    format!("wisp{random:016x}")
}

/// Without the password, so that it does not appear in logs.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_are_fresh_and_legal_for_every_broker() {
        let (one, other) = (fresh_client_id(), fresh_client_id());
        assert_ne!(one, other);
        for id in [one, other] {
            assert!(id.len() <= 23 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        }
    }
}
