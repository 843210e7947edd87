//! The options of a client in the process.

use std::error::Error;
use std::fmt;
use std::num::NonZeroU16;

use wisp_wire::{Connect, Properties, Property, ProtocolVersion};

use super::content::Publication;
use super::error::ClientError;

/// Messages that a client may have without having handled them, unless set.
const RECEIVE_MESSAGES: u32 = 1024;

/// Bytes of messages that a client may have without having handled them, unless set.
const RECEIVE_BYTES: u64 = 16 * 1024 * 1024;

/// The largest limits that can be counted.
const RECEIVE_MESSAGES_MAX: u32 = 1 << 20;
const RECEIVE_BYTES_MAX: u64 = 1 << 36;

/// The checked options of a client in the process. [`ClientOptions::builder`] makes them.
#[derive(Clone)]
pub struct ClientOptions {
    /// CONNECT, encoded.
    pub(super) connect: Vec<u8>,
    pub(super) client_id: Box<str>,
    pub(super) receive: ReceiveLimits,
    pub(super) acknowledges: bool,
}

/// The most that a client may have without having handled it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiveLimits {
    pub(super) messages: u32,
    pub(super) bytes: u64,
}

/// Makes [`ClientOptions`].
#[derive(Clone)]
#[must_use]
pub struct ClientOptionsBuilder {
    client_id: Box<str>,
    clean_start: bool,
    session_expiry_s: u32,
    username: Option<Box<str>>,
    password: Option<Box<[u8]>>,
    will: Option<Publication>,
    will_delay_s: u32,
    user_properties: Vec<(Box<str>, Box<str>)>,
    receive: ReceiveLimits,
    acknowledges: bool,
}

/// Why options are refused. `Display` is one complete line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidClientOptions {
    /// The number of messages to receive is out of range.
    ReceiveMessages(u32),
    /// The number of bytes to receive is out of range.
    ReceiveBytes(u64),
    /// MQTT has no CONNECT for them.
    Connect(ClientError),
}

impl ClientOptions {
    /// The options of a client with this identifier; the broker assigns one if it is empty. The client starts clean, its session
    /// ends with it, and messages are acknowledged by themselves.
    pub fn builder(client_id: impl Into<Box<str>>) -> ClientOptionsBuilder {
        ClientOptionsBuilder {
            client_id: client_id.into(),
            clean_start: true,
            session_expiry_s: 0,
            username: None,
            password: None,
            will: None,
            will_delay_s: 0,
            user_properties: Vec::new(),
            receive: ReceiveLimits { messages: RECEIVE_MESSAGES, bytes: RECEIVE_BYTES },
            acknowledges: true,
        }
    }
}

impl ClientOptionsBuilder {
    /// Whether an earlier session of this client is discarded: true unless set.
    pub fn clean_start(mut self, clean_start: bool) -> Self {
        self.clean_start = clean_start;
        self
    }

    /// Seconds for which the session is kept after the client; `u32::MAX` for ever, 0 unless set.
    pub fn session_expiry_s(mut self, seconds: u32) -> Self {
        self.session_expiry_s = seconds;
        self
    }

    /// The user name, for the policy.
    pub fn username(mut self, username: impl Into<Box<str>>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// The password, for the policy.
    pub fn password(mut self, password: impl Into<Box<[u8]>>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The message that the broker publishes when the client ends without having disconnected.
    pub fn will(mut self, will: Publication) -> Self {
        self.will = Some(will);
        self
    }

    /// Seconds before the will is published, 0 unless set.
    pub fn will_delay_s(mut self, seconds: u32) -> Self {
        self.will_delay_s = seconds;
        self
    }

    /// One more name and value of the application.
    pub fn user_property(mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        self.user_properties.push((name.into(), value.into()));
        self
    }

    /// The most messages that the program may have without having handled them: in the channel, or taken and not dropped. 1,024
    /// unless set. It is also the number of messages at QoS 1 and 2 that may be unacknowledged.
    pub fn receive_messages_max(mut self, messages: u32) -> Self {
        self.receive.messages = messages;
        self
    }

    /// The most bytes of such messages, 16 MiB unless set. One message that is longer is received alone.
    pub fn receive_bytes_max(mut self, bytes: u64) -> Self {
        self.receive.bytes = bytes;
        self
    }

    /// Whether the program acknowledges messages at QoS 1 and 2 itself, with `Message::acknowledge`. Otherwise a message
    /// is acknowledged when it is dropped.
    pub fn manual_acknowledgement(mut self, manual: bool) -> Self {
        self.acknowledges = !manual;
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    /// The first option with which no client can be.
    pub fn build(self) -> Result<ClientOptions, InvalidClientOptions> {
        let ReceiveLimits { messages, bytes } = self.receive;
        if !(1..=RECEIVE_MESSAGES_MAX).contains(&messages) {
            return Err(InvalidClientOptions::ReceiveMessages(messages));
        }
        if !(1..=RECEIVE_BYTES_MAX).contains(&bytes) {
            return Err(InvalidClientOptions::ReceiveBytes(bytes));
        }
        let connect = self.encode().map_err(InvalidClientOptions::Connect)?;
        let Self { client_id, receive, acknowledges, .. } = self;
        Ok(ClientOptions { connect, client_id, receive, acknowledges })
    }

    fn encode(&self) -> Result<Vec<u8>, ClientError> {
        let mut properties = Vec::new();
        if self.session_expiry_s > 0 {
            properties.push(Property::SessionExpiryInterval(self.session_expiry_s));
        }
        let window = u16::try_from(self.receive.messages).unwrap_or(u16::MAX);
        properties.extend(NonZeroU16::new(window).map(Property::ReceiveMaximum));
        let pairs = self.user_properties.iter();
        properties.extend(pairs.map(|(name, value)| Property::UserProperty((name, value))));
        let mut of_will = self.will.as_ref().map_or_else(|| Ok(Vec::new()), Publication::properties)?;
        if self.will.is_some() && self.will_delay_s > 0 {
            of_will.push(Property::WillDelayInterval(self.will_delay_s));
        }
        let connect = Connect {
            version: ProtocolVersion::Mqtt5,
            clean_start: self.clean_start,
            // A client in the process cannot vanish silently.
            keep_alive_s: 0,
            client_id: &self.client_id,
            properties: Properties::from_slice(&properties),
            will: self.will.as_ref().map(|will| will.will(&of_will)).transpose()?,
            username: self.username.as_deref(),
            password: self.password.as_deref(),
        };
        let mut packet = Vec::new();
        connect.encode(ProtocolVersion::Mqtt5, &mut packet)?;
        Ok(packet)
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The packet has the password.
        f.debug_struct("ClientOptions").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientOptionsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptionsBuilder").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl fmt::Display for InvalidClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReceiveMessages(count) => {
                write!(f, "receive_messages_max = {count}: not a number from 1 to {RECEIVE_MESSAGES_MAX}")
            }
            Self::ReceiveBytes(bytes) => {
                write!(f, "receive_bytes_max = {bytes}: not a number from 1 to {RECEIVE_BYTES_MAX}")
            }
            Self::Connect(error) => error.fmt(f),
        }
    }
}

impl Error for InvalidClientOptions {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::ReceiveMessages(_) | Self::ReceiveBytes(_) => None,
        }
    }
}
