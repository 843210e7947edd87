//! The small values that packets consist of: version, packet type, quality of service, identifiers.

use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};

use crate::varint::VARINT_MAX;

/// The MQTT version of a connection, which its CONNECT fixes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ProtocolVersion {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3.
    Mqtt31,
    /// MQTT 3.1.1: protocol name `MQTT`, level 4.
    Mqtt311,
    /// MQTT 5: protocol name `MQTT`, level 5.
    Mqtt5,
}

impl ProtocolVersion {
    /// All versions, oldest first.
    pub const ALL: [Self; 3] = [Self::Mqtt31, Self::Mqtt311, Self::Mqtt5];

    /// The protocol level byte of CONNECT.
    #[inline]
    pub const fn level(self) -> u8 {
        match self {
            Self::Mqtt31 => 3,
            Self::Mqtt311 => 4,
            Self::Mqtt5 => 5,
        }
    }

    /// The protocol name of CONNECT.
    #[inline]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mqtt31 => "MQIsdp",
            Self::Mqtt311 | Self::Mqtt5 => "MQTT",
        }
    }

    /// Whether packets carry properties and reason codes.
    #[inline]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::Mqtt5)
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mqtt31 => "MQTT 3.1",
            Self::Mqtt311 => "MQTT 3.1.1",
            Self::Mqtt5 => "MQTT 5",
        })
    }
}

/// The type of a packet: the upper half of its first byte.
#[expect(missing_docs, reason = "each has its name in the standard")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The type that a packet's first byte announces; `None` for the reserved type 0.
    #[inline]
    pub const fn of(first_byte: u8) -> Option<Self> {
        Some(match first_byte >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The fixed flag bits of the first byte. 0 for PUBLISH, whose flags vary.
    #[inline]
    pub(crate) const fn fixed_flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// The first byte of a packet of this type; for PUBLISH without its flags.
    #[inline]
    pub(crate) const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.fixed_flags()
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        })
    }
}

/// Quality of service: the delivery guarantee.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: sent once, never acknowledged.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: sent until acknowledged.
    AtLeastOnce = 1,
    /// QoS 2: a handshake of four packets.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level with this number; `None` for 3 and above.
    #[inline]
    pub const fn new(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A packet identifier, which is never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The identifier with this number; `None` for 0.
    #[inline]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number on the wire.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A subscription identifier of MQTT 5: 1 to 268,435,455.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    /// The identifier with this number; `None` for 0 and beyond the range of a variable byte integer.
    #[inline]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(nonzero) if number <= VARINT_MAX => Some(Self(nonzero)),
            _ => None,
        }
    }

    /// The number on the wire.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}
