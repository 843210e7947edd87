//! PUBACK, PUBREC, PUBREL, PUBCOMP: the acknowledgements of QoS 1 and 2, which share one format.

use alloc::vec::Vec;

use super::{Body, read_code};
use crate::reader::Reader;
use crate::{DecodeError, EncodeError, PacketId, PacketType, Properties, PropertyOwner, ProtocolVersion, ReasonCode};

macro_rules! acknowledgements {
    ($($name:ident $doc:literal)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name<'a> {
            /// The packet identifier of the message.
            pub packet_id: PacketId,
            /// The outcome. Before MQTT 5 it is always success, and not written.
            pub code: ReasonCode,
            /// Its properties.
            pub properties: Properties<'a>,
        }

        impl<'a> $name<'a> {
            /// The acknowledgement of success.
            #[inline]
            pub const fn new(packet_id: PacketId) -> Self {
                Self { packet_id, code: ReasonCode::Success, properties: Properties::EMPTY }
            }

            pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
                let (packet_id, code, properties) = decode(body, version, PacketType::$name, PropertyOwner::$name)?;
                Ok(Self { packet_id, code, properties })
            }
        }

        impl Body for $name<'_> {
            fn first_byte(&self) -> u8 {
                PacketType::$name.first_byte()
            }

            fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
                if !version.is_v5() {
                    return Ok(2);
                }
                if !self.code.is_legal_in(PacketType::$name) {
                    return Err(EncodeError::ReasonCode);
                }
                Ok(match tail(self.code, &self.properties) {
                    Tail::Nothing => 2,
                    Tail::Code => 3,
                    Tail::All => 3 + self.properties.encoded_len(PropertyOwner::$name)?,
                })
            }

            fn write_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.packet_id.get().to_be_bytes());
                if version.is_v5() {
                    write_tail(self.code, &self.properties, out);
                }
            }
        }
    )*};
}

acknowledgements! {
    PubAck "A message with QoS 1 has arrived."
    PubRec "A message with QoS 2 has arrived: the second of four packets."
    PubRel "The sender of a message with QoS 2 releases its packet identifier: the third of four packets."
    PubComp "A message with QoS 2 is complete: the last of four packets."
}

/// How much of reason code and properties is written. The standard lets a packet omit success and empty properties.
pub(super) enum Tail {
    Nothing,
    Code,
    All,
}

pub(super) const fn tail(code: ReasonCode, properties: &Properties<'_>) -> Tail {
    match (code, properties.is_empty()) {
        (ReasonCode::Success, true) => Tail::Nothing,
        (_, true) => Tail::Code,
        _ => Tail::All,
    }
}

pub(super) fn write_tail(code: ReasonCode, properties: &Properties<'_>, out: &mut Vec<u8>) {
    match tail(code, properties) {
        Tail::Nothing => {}
        Tail::Code => out.push(code as u8),
        Tail::All => {
            out.push(code as u8);
            properties.write(out);
        }
    }
}

/// Reads a tail that `write_tail` wrote, up to the end of the packet.
pub(super) fn read_tail<'a>(
    mut reader: Reader<'a>,
    packet: PacketType,
    owner: PropertyOwner,
) -> Result<(ReasonCode, Properties<'a>), DecodeError> {
    let code = if reader.is_empty() { ReasonCode::Success } else { read_code(&mut reader, packet)? };
    let properties = if reader.is_empty() { Properties::EMPTY } else { Properties::read(&mut reader, owner)? };
    reader.finish()?;
    Ok((code, properties))
}

fn decode(
    body: &[u8],
    version: ProtocolVersion,
    packet: PacketType,
    owner: PropertyOwner,
) -> Result<(PacketId, ReasonCode, Properties<'_>), DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    if !version.is_v5() {
        reader.finish()?;
        return Ok((packet_id, ReasonCode::Success, Properties::EMPTY));
    }
    let (code, properties) = read_tail(reader, packet, owner)?;
    Ok((packet_id, code, properties))
}
