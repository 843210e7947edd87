//! The fifteen packet types: [`decode`] reads a packet from the front of a connection's input, `encode` appends one
//! to a connection's output.

mod ack;
mod connack;
mod connect;
mod disconnect;
mod publish;
mod suback;
mod subscribe;

use alloc::vec::Vec;

pub use ack::{PubAck, PubComp, PubRec, PubRel};
pub use connack::ConnAck;
pub use connect::{Connect, Will};
pub use disconnect::{Auth, Disconnect};
pub use publish::Publish;
pub use suback::{ReasonCodes, SubAck, UnsubAck};
pub use subscribe::{RetainHandling, Subscribe, SubscriptionOptions, Subscriptions, TopicFilters, Unsubscribe};

use crate::reader::Reader;
use crate::varint::{self, VARINT_MAX};
use crate::{DecodeError, EncodeError, PacketType, ProtocolVersion, ReasonCode, frame};

/// A packet, as a view over the bytes it was decoded from or over the caller's values.
#[expect(missing_docs, reason = "each is documented at the type it holds")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(PubAck<'a>),
    PubRec(PubRec<'a>),
    PubRel(PubRel<'a>),
    PubComp(PubComp<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(UnsubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// Decodes the packet at the front of `input` and returns it with its length; `None` while it is incomplete.
///
/// Nothing is copied or allocated. An error that the available bytes show is reported at once, even if the packet is
/// incomplete. A CONNECT names its own version and ignores `version`. Packets of both directions are decoded; the
/// caller decides which of them a peer may send.
#[inline(always)]
pub fn decode<'a>(
    input: &'a [u8],
    version: ProtocolVersion,
    packet_bytes_max: u32,
) -> Result<Option<(Packet<'a>, usize)>, DecodeError> {
    let Some(header) = frame::read(input, Some(version), packet_bytes_max)? else {
        return Ok(None);
    };
    let Some(body) = input.get(header.len..header.packet_len) else {
        if header.packet == PacketType::Connect {
            Connect::check_start(input[0], &input[header.len..])?;
        }
        return Ok(None);
    };
    let packet = match header.packet {
        PacketType::Publish => Packet::Publish(Publish::decode(input[0], body, version)?),
        // Without code and properties, as a success is acknowledged: at QoS 1 there is one for each message.
        PacketType::PubAck if body.len() == 2 => Packet::PubAck(PubAck::new(Reader::new(body).packet_id()?)),
        _ => decode_body(header.packet, &input[..header.packet_len], header.len, version)?,
    };
    Ok(Some((packet, header.packet_len)))
}

/// Decodes a whole packet behind a fixed header of `header_len` bytes. Not inlined, to keep the path of PUBLISH
/// short.
#[inline(never)]
fn decode_body(
    packet: PacketType,
    bytes: &[u8],
    header_len: usize,
    version: ProtocolVersion,
) -> Result<Packet<'_>, DecodeError> {
    let body = &bytes[header_len..];
    let padded = header_len > 1 + varint::encoded_len(body.len() as u32);
    Ok(match packet {
        PacketType::Connect => Packet::Connect(Connect::decode(bytes[0], body, padded)?),
        PacketType::ConnAck => Packet::ConnAck(ConnAck::decode(body, version)?),
        PacketType::PubAck => Packet::PubAck(PubAck::decode(body, version)?),
        PacketType::PubRec => Packet::PubRec(PubRec::decode(body, version)?),
        PacketType::PubRel => Packet::PubRel(PubRel::decode(body, version)?),
        PacketType::PubComp => Packet::PubComp(PubComp::decode(body, version)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(body, version)?),
        PacketType::SubAck => Packet::SubAck(SubAck::decode(body, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(body, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(UnsubAck::decode(body, version)?),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(body, version)?),
        PacketType::Auth => Packet::Auth(Auth::decode(body)?),
        PacketType::Publish => Packet::Publish(Publish::decode(bytes[0], body, version)?),
    })
}

fn read_code(reader: &mut Reader<'_>, packet: PacketType) -> Result<ReasonCode, DecodeError> {
    let code = ReasonCode::try_from(reader.byte()?)?;
    if code.is_legal_in(packet) { Ok(code) } else { Err(DecodeError::ReasonCodeMisplaced) }
}

/// The part of a packet behind the fixed header. `body_len` is called first and reports every error, so writing
/// cannot fail.
trait Body {
    fn first_byte(&self) -> u8;
    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError>;
    fn write_body(&self, version: ProtocolVersion, out: &mut Vec<u8>);
}

#[inline]
fn remaining_length(body: &impl Body, version: ProtocolVersion) -> Result<u32, EncodeError> {
    let len = body.body_len(version)?;
    u32::try_from(len).ok().filter(|&len| len <= VARINT_MAX).ok_or(EncodeError::PacketTooLong)
}

#[inline]
fn encode(body: &impl Body, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let remaining = remaining_length(body, version)?;
    let len = 1 + varint::encoded_len(remaining) + remaining as usize;
    out.reserve(len);
    let start = out.len();
    out.push(body.first_byte());
    varint::write(remaining, out);
    body.write_body(version, out);
    debug_assert_eq!(out.len(), start + len);
    Ok(())
}

macro_rules! packets {
    ($($name:ident)*) => {
        $(impl $name<'_> {
            /// Appends the packet to `out`, with one allocation at most. On an error `out` is unchanged.
            ///
            /// Before MQTT 5 properties are omitted.
            #[inline]
            pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                encode(self, version, out)
            }

            /// The number of bytes that `encode` appends.
            #[inline]
            pub fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
                let remaining = remaining_length(self, version)?;
                Ok(1 + varint::encoded_len(remaining) + remaining as usize)
            }
        }

        impl<'a> From<$name<'a>> for Packet<'a> {
            fn from(packet: $name<'a>) -> Self {
                Self::$name(packet)
            }
        })*

        impl Packet<'_> {
            /// The type of the packet.
            pub const fn packet_type(&self) -> PacketType {
                match self {
                    $(Self::$name(_) => PacketType::$name,)*
                    Self::PingReq => PacketType::PingReq,
                    Self::PingResp => PacketType::PingResp,
                }
            }

            /// Appends the packet to `out`, with one allocation at most. On an error `out` is unchanged.
            pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                match self {
                    $(Self::$name(packet) => packet.encode(version, out),)*
                    Self::PingReq | Self::PingResp => {
                        out.extend_from_slice(&[self.packet_type().first_byte(), 0]);
                        Ok(())
                    }
                }
            }

            /// The number of bytes that `encode` appends.
            pub fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
                match self {
                    $(Self::$name(packet) => packet.encoded_len(version),)*
                    Self::PingReq | Self::PingResp => Ok(2),
                }
            }
        }
    };
}

packets! { Connect ConnAck Publish PubAck PubRec PubRel PubComp Subscribe SubAck Unsubscribe UnsubAck Disconnect Auth }
