//! The reasons why a connection ends, the party at fault, and the packet that the peer gets.

use std::fmt;

use wisp_wire::{DecodeError, PacketType, ReasonCode};

use super::other_protocol::OtherProtocol;

/// The end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    /// The reason.
    pub(crate) reason: EndReason,
    /// Whether a DISCONNECT or CONNACK with the reason was written. It should reach the peer before the connection is
    /// closed.
    pub(crate) has_disconnect_packet: bool,
}

impl End {
    pub(super) fn silent(reason: EndReason) -> Self {
        Self { reason, has_disconnect_packet: false }
    }
}

/// Why a connection ends. `Display` is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "Display says it in a sentence each")]
pub enum EndReason {
    Disconnected(ReasonCode),
    Closed,
    TransportFailed,
    Rejected(&'static str),
    Malformed(DecodeError),
    OtherProtocol(OtherProtocol),
    NotConnect,
    SecondConnect,
    Unexpected(PacketType),
    ConnectRefused(ReasonCode),
    ConnectTooLong,
    TooManySessions,
    TooManyUnauthenticated,
    TooManyUnauthenticatedOfAddress,
    UnauthenticatedBytes,
    ConnectTimeout,
    KeepAliveTimeout,
    TakenOver,
    Stuck,
    BuffersExhausted,
    ShuttingDown,
    TopicMissing,
    TopicAlias,
    RetainUnavailable,
    PublishRefused(ReasonCode),
    AcknowledgementMismatch,
    ReplyTooLong,
    SubscriptionIdentifierFromClient,
    SessionExpiryRaised,
    PolicyTimeout,
    RightsRevoked,
    StoreFailed,
    Administrative,
}

/// The party at fault for an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No party: the protocol provides for the end.
    None,
    /// The peer broke the protocol, or used a feature that the server said it does not offer.
    Peer,
    /// A limit set by the operator.
    Limit,
    /// The network or the host.
    Transport,
}

impl EndReason {
    /// The reason code for DISCONNECT in MQTT 5. `None` if the peer is gone or gets no packet.
    pub fn code(self) -> Option<ReasonCode> {
        Some(match self {
            Self::Disconnected(_) | Self::Closed | Self::TransportFailed | Self::Rejected(_) => return None,
            Self::OtherProtocol(_) | Self::NotConnect | Self::ConnectTimeout => return None,
            Self::ConnectRefused(_) | Self::ConnectTooLong | Self::TooManySessions => return None,
            Self::TooManyUnauthenticated | Self::TooManyUnauthenticatedOfAddress | Self::UnauthenticatedBytes => {
                return None;
            }
            Self::Malformed(error) => error.reason_code(),
            Self::SecondConnect | Self::Unexpected(_) | Self::TopicMissing => ReasonCode::ProtocolError,
            Self::SessionExpiryRaised | Self::SubscriptionIdentifierFromClient => ReasonCode::ProtocolError,
            Self::KeepAliveTimeout => ReasonCode::KeepAliveTimeout,
            Self::TakenOver => ReasonCode::SessionTakenOver,
            Self::Stuck | Self::BuffersExhausted => ReasonCode::QuotaExceeded,
            Self::ShuttingDown => ReasonCode::ServerShuttingDown,
            Self::AcknowledgementMismatch => ReasonCode::ProtocolError,
            Self::TopicAlias => ReasonCode::TopicAliasInvalid,
            Self::RetainUnavailable => ReasonCode::RetainNotSupported,
            Self::PublishRefused(code) => code,
            Self::ReplyTooLong => ReasonCode::PacketTooLarge,
            Self::PolicyTimeout => ReasonCode::ServerBusy,
            Self::RightsRevoked => ReasonCode::NotAuthorized,
            Self::StoreFailed => ReasonCode::ImplementationSpecificError,
            Self::Administrative => ReasonCode::AdministrativeAction,
        })
    }

    /// Whether the client's will is published [MQTT-3.1.2-8]: always, except after a normal DISCONNECT [MQTT-3.14.4-3]
    /// and when the server stops, since then it has no receivers.
    pub(crate) fn publishes_will(self) -> bool {
        !matches!(self, Self::Disconnected(ReasonCode::NORMAL_DISCONNECTION) | Self::ShuttingDown)
    }

    /// The name of the limit that the client has reached, if the end is about one.
    pub fn limit(self) -> Option<&'static str> {
        Some(match self {
            Self::Malformed(DecodeError::PacketTooLarge) => "packet-bytes-max",
            Self::ConnectTooLong => "connect-bytes-max",
            Self::TooManySessions => "sessions-max",
            Self::TooManyUnauthenticated => "unauthenticated-max",
            Self::TooManyUnauthenticatedOfAddress => "unauthenticated-per-address-max",
            Self::UnauthenticatedBytes => "unauthenticated-bytes-max",
            Self::ConnectTimeout | Self::PolicyTimeout => "connect-timeout-ms",
            Self::Stuck => "stall-ms-max",
            Self::BuffersExhausted => "buffered-bytes-max",
            Self::TopicAlias => "topic-alias-max",
            _ => return None,
        })
    }

    /// What many connections may do alike, like speaking another protocol: worth a line in the log once, and then a count.
    pub fn alike(self) -> Option<&'static str> {
        match self {
            Self::Rejected(reason) => Some(reason),
            Self::OtherProtocol(protocol) => Some(protocol.opening()),
            _ => None,
        }
    }

    /// The party at fault.
    pub fn fault(self) -> Fault {
        match self {
            Self::Disconnected(_) | Self::Closed | Self::TakenOver | Self::ShuttingDown => Fault::None,
            Self::RightsRevoked | Self::Administrative => Fault::None,
            Self::TransportFailed => Fault::Transport,
            Self::ConnectTimeout
            | Self::ConnectTooLong
            | Self::TooManySessions
            | Self::TooManyUnauthenticated
            | Self::TooManyUnauthenticatedOfAddress
            | Self::UnauthenticatedBytes
            | Self::PolicyTimeout
            | Self::StoreFailed
            | Self::Stuck
            | Self::BuffersExhausted
            | Self::PublishRefused(_) => Fault::Limit,
            Self::ConnectRefused(ReasonCode::ServerBusy) => Fault::Limit,
            _ => Fault::Peer,
        }
    }
}

impl EndReason {
    /// The reason in words, where it needs no detail.
    fn text(self) -> &'static str {
        match self {
            Self::Closed => "the client closed the connection without DISCONNECT",
            Self::TransportFailed => "the connection failed",
            Self::NotConnect => "the client's first packet was not CONNECT [MQTT-3.1.0-1]",
            Self::SecondConnect => "the client sent a second CONNECT [MQTT-3.1.0-2]",
            Self::ConnectTooLong => "the client's CONNECT is longer than allowed (connect-bytes-max)",
            Self::TooManySessions => "CONNECT was refused: no more sessions can be kept (sessions-max)",
            Self::TooManyUnauthenticated => "too many connections without an accepted CONNECT (unauthenticated-max)",
            Self::TooManyUnauthenticatedOfAddress => {
                "too many connections of this address without an accepted CONNECT (unauthenticated-per-address-max)"
            }
            Self::UnauthenticatedBytes => {
                "connections without an accepted CONNECT hold too many bytes (unauthenticated-bytes-max)"
            }
            Self::ConnectTimeout => "the client sent no CONNECT in time (connect-timeout-ms)",
            Self::KeepAliveTimeout => {
                "the client was silent for one and a half times its keep-alive [MQTT-3.1.2-22; 3.1.1: MQTT-3.1.2-24]"
            }
            Self::TakenOver => "another connection took over the client identifier [MQTT-3.1.4-3; 3.1.1: MQTT-3.1.4-2]",
            Self::Stuck => "the client did not read for too long (stall-ms-max, reply-stall-ms-max)",
            Self::BuffersExhausted => "no buffer space to assemble the client's packet (buffered-bytes-max)",
            Self::ShuttingDown => "the server is shutting down",
            Self::TopicMissing => "the client published without a topic name or known alias (section 3.3.2.1)",
            Self::TopicAlias => "the client used a topic alias above the maximum (topic-alias-max) [MQTT-3.3.2-9]",
            Self::RetainUnavailable => {
                "the client sent a message to retain, and none are retained (retained-max, retained-bytes-max) [MQTT-3.2.2-14]"
            }
            Self::AcknowledgementMismatch => "the client acknowledged a message as if it had another QoS (section 4.3)",
            Self::ReplyTooLong => "the reply is longer than the client accepts [MQTT-3.1.2-24]",
            Self::SubscriptionIdentifierFromClient => {
                "the client published with a subscription identifier [MQTT-3.3.4-6]"
            }
            Self::PolicyTimeout => "the policy did not answer in time (connect-timeout-ms)",
            Self::RightsRevoked => {
                "the client may no longer be connected: its user was removed or has another password"
            }
            Self::StoreFailed => "the store could not commit what the client sent",
            Self::Administrative => "an operator has ended the connection",
            Self::SessionExpiryRaised => {
                "the client raised its session expiry interval from 0 at DISCONNECT (section 3.14.2.2.2)"
            }
            Self::Rejected(reason) => reason,
            Self::Disconnected(_) | Self::Malformed(_) | Self::OtherProtocol(_) => "",
            Self::Unexpected(_) | Self::ConnectRefused(_) | Self::PublishRefused(_) => "",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected(code) => write!(f, "the client sent DISCONNECT: {code}"),
            Self::Malformed(DecodeError::PacketTooLarge) => {
                write!(f, "the client's packet is longer than allowed (packet-bytes-max) [MQTT-3.2.2-15]")
            }
            Self::Malformed(error) => match error.reason_code() {
                ReasonCode::MalformedPacket => write!(f, "the client sent a malformed packet: {error}"),
                ReasonCode::ProtocolError => write!(f, "the client made a protocol error: {error}"),
                _ => write!(f, "the client's packet was refused: {error}"),
            },
            Self::OtherProtocol(protocol) => write!(f, "the client sent {}, not MQTT", protocol.opening()),
            Self::Unexpected(kind) => write!(f, "the client sent {kind:?}, which is not allowed here"),
            Self::ConnectRefused(code) => write!(f, "CONNECT was refused: {code}"),
            Self::PublishRefused(code) => write!(f, "the client's message was not accepted: {code}"),
            _ => f.write_str(self.text()),
        }
    }
}
