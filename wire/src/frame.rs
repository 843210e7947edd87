//! The fixed header: packet type, flags, remaining length. An error in it is reported before the rest of the packet
//! has arrived.

use crate::varint;
use crate::{DecodeError, PacketType, ProtocolVersion};

/// Bits of the first byte of a PUBLISH.
pub(crate) const RETAIN: u8 = 0b0001;
pub(crate) const QOS_SHIFT: u32 = 1;
pub(crate) const QOS_MASK: u8 = 0b0110;
pub(crate) const DUP: u8 = 0b1000;

pub(crate) struct Header {
    pub(crate) packet: PacketType,
    /// Length of the fixed header in bytes.
    pub(crate) len: usize,
    /// Length of the whole packet in bytes.
    pub(crate) packet_len: usize,
}

/// Framing only: the length of the whole packet at the front of `input`, fixed header included. It may exceed the
/// length of `input`. `None` while the fixed header is incomplete.
#[inline]
pub fn packet_len(input: &[u8], packet_bytes_max: u32) -> Result<Option<usize>, DecodeError> {
    Ok(read(input, None, packet_bytes_max)?.map(|header| header.packet_len))
}

/// Reads the fixed header. Without a version, a header that is legal in any version is accepted.
#[inline]
pub(crate) fn read(
    input: &[u8],
    version: Option<ProtocolVersion>,
    packet_bytes_max: u32,
) -> Result<Option<Header>, DecodeError> {
    let [first, rest @ ..] = input else {
        return Ok(None);
    };
    let packet = check_first_byte(*first, version)?;
    let Some(remaining) = varint::read(rest)? else {
        return Ok(None);
    };
    // The version of a CONNECT is not known yet; `Connect::decode` checks the form of its length.
    if remaining.padded && version == Some(ProtocolVersion::Mqtt5) && packet != PacketType::Connect {
        return Err(DecodeError::LengthNotMinimal);
    }
    let len = 1 + remaining.len;
    let packet_len = len + remaining.value as usize;
    if packet_len > packet_bytes_max as usize {
        return Err(DecodeError::PacketTooLarge);
    }
    if packet != PacketType::Publish {
        check_remaining_length(packet, version, remaining.value)?;
    }
    Ok(Some(Header { packet, len, packet_len }))
}

#[inline]
fn check_first_byte(first: u8, version: Option<ProtocolVersion>) -> Result<PacketType, DecodeError> {
    let packet = PacketType::of(first).ok_or(DecodeError::PacketTypeReserved)?;
    if packet == PacketType::Publish {
        return match first & (QOS_MASK | DUP) {
            DUP => Err(DecodeError::DupWithoutQos),
            flags if flags & QOS_MASK == QOS_MASK => Err(DecodeError::Qos),
            _ => Ok(packet),
        };
    }
    // MQTT 3.1 ignores the flags of CONNECT, and the version is in the packet: `Connect::decode` checks them.
    if packet == PacketType::Connect {
        return Ok(packet);
    }
    if packet == PacketType::Auth && version.is_some_and(|version| !version.is_v5()) {
        return Err(DecodeError::PacketTypeReserved);
    }
    // MQTT 3.1 sets DUP when it retransmits these three; later versions reserve the bit.
    let may_repeat = matches!(packet, PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe)
        && version.is_none_or(|version| version == ProtocolVersion::Mqtt31);
    let flags = if may_repeat { first & 0x0F & !DUP } else { first & 0x0F };
    if flags == packet.fixed_flags() { Ok(packet) } else { Err(DecodeError::HeaderFlags) }
}

/// Refuses a remaining length that no packet of this type can have.
fn check_remaining_length(
    packet: PacketType,
    version: Option<ProtocolVersion>,
    remaining: u32,
) -> Result<(), DecodeError> {
    use PacketType as P;
    let fixed = match (packet, version) {
        (P::PingReq | P::PingResp, _) => Some(0),
        (_, None | Some(ProtocolVersion::Mqtt5)) => None,
        (P::Disconnect, _) => Some(0),
        (P::ConnAck | P::PubAck | P::PubRec | P::PubRel | P::PubComp | P::UnsubAck, _) => Some(2),
        _ => None,
    };
    match fixed {
        Some(fixed) if remaining > fixed => Err(DecodeError::Leftover),
        Some(fixed) if remaining < fixed => Err(DecodeError::Truncated),
        _ => Ok(()),
    }
}
