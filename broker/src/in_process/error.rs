//! The ways in which a client in the process fails and ends.

use std::error::Error;
use std::fmt;

use wisp_wire::{EncodeError, ReasonCode, TopicError};

/// The reason for which the connection of a client in the process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEnd {
    /// The program has disconnected it.
    Disconnected,
    /// The broker has ended it, with this reason.
    ByBroker(ReasonCode),
    /// The broker has stopped.
    BrokerStopped,
    /// The broker has closed it without a reason, as it does with a CONNECT that its policy does not answer in time. Its log
    /// has the reason.
    Closed,
}

/// The reason for which a call of a client in the process has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientError {
    /// The connection has ended.
    Ended(ClientEnd),
    /// The broker has refused the client or its message.
    Refused(ReasonCode),
    /// The broker has as many connections as `connections-max` allows.
    TooManyConnections,
    /// The message does not fit now: as many wait for the broker, or for its acknowledgement, as may. Not for calls that wait.
    Full,
    /// This is no topic name or filter.
    Topic(Box<str>, TopicError),
    /// MQTT has no packet for it.
    Encode(EncodeError),
    /// The packet is longer than `packet-bytes-max`.
    PacketTooLong {
        /// The length of the packet.
        bytes: usize,
        /// The most bytes that the broker accepts.
        max: u32,
    },
    /// The broker retains no messages.
    RetainNotAvailable,
}

impl fmt::Display for ClientEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("the program has disconnected the client"),
            Self::ByBroker(code) => write!(f, "the broker has ended the connection: {code}"),
            Self::BrokerStopped => f.write_str("the broker has stopped"),
            Self::Closed => f.write_str("the broker has closed the connection; its log has the reason"),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(end) => end.fmt(f),
            Self::Refused(code) => write!(f, "the broker has refused it: {code}"),
            Self::TooManyConnections => {
                f.write_str("the broker has as many connections as connections-max allows: raise it, or drop a client")
            }
            Self::Full => f.write_str("as many messages wait for the broker as may: try again later, or use publish"),
            Self::Topic(topic, error) => write!(f, "{topic:?} is no topic: {error}"),
            Self::Encode(error) => error.fmt(f),
            Self::PacketTooLong { bytes, max } => {
                write!(f, "a packet of {bytes} bytes: packet-bytes-max is {max}; raise it, or send less at once")
            }
            Self::RetainNotAvailable => f.write_str(
                "the broker retains no messages: raise retained-max and retained-bytes-max, or send it without retain",
            ),
        }
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Topic(_, error) => Some(error),
            Self::Encode(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ClientEnd> for ClientError {
    fn from(end: ClientEnd) -> Self {
        Self::Ended(end)
    }
}

impl From<EncodeError> for ClientError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}
