//! SUBACK and UNSUBACK: the result for each filter of a SUBSCRIBE or UNSUBSCRIBE.

use alloc::vec::Vec;

use super::{Body, read_code};
use crate::list::{Context, Item, List};
use crate::reader::Reader;
use crate::{DecodeError, EncodeError, PacketId, PacketType, Properties, PropertyOwner, ProtocolVersion, ReasonCode};

/// The reason codes of a SUBACK or UNSUBACK.
pub type ReasonCodes<'a> = List<'a, ReasonCode>;

/// The server answers a SUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubAck<'a> {
    /// The packet identifier of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// Its properties.
    pub properties: Properties<'a>,
    /// For each filter the granted QoS or the reason for the refusal. Before MQTT 5 every refusal is written as 0x80.
    pub codes: ReasonCodes<'a>,
}

/// The server answers an UNSUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnsubAck<'a> {
    /// The packet identifier of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Its properties.
    pub properties: Properties<'a>,
    /// A code for each filter. Before MQTT 5 the list is empty, and nothing is written.
    pub codes: ReasonCodes<'a>,
}

impl<'a> Item<'a> for ReasonCode {
    fn read(reader: &mut Reader<'a>, context: Context) -> Result<Self, DecodeError> {
        if context.version.is_v5() {
            return read_code(reader, context.packet);
        }
        match reader.byte()? {
            0 => Ok(Self::Success),
            1 => Ok(Self::GrantedQoS1),
            2 => Ok(Self::GrantedQoS2),
            0x80 => Ok(Self::UnspecifiedError),
            _ => Err(DecodeError::ReasonCodeUnknown),
        }
    }

    fn encoded_len(&self, context: Context) -> Result<usize, EncodeError> {
        if self.is_legal_in(context.packet) { Ok(1) } else { Err(EncodeError::ReasonCode) }
    }

    fn write(&self, context: Context, out: &mut Vec<u8>) {
        let code = if !context.version.is_v5() && self.is_error() { Self::UnspecifiedError } else { *self };
        out.push(code as u8);
    }
}

macro_rules! answers {
    ($($name:ident)*) => {$(
        impl<'a> $name<'a> {
            pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(body);
                let packet_id = reader.packet_id()?;
                let properties = if version.is_v5() {
                    Properties::read(&mut reader, PropertyOwner::$name)?
                } else {
                    Properties::EMPTY
                };
                let context = Context { version, packet: PacketType::$name };
                if !has_codes(context) {
                    reader.finish()?;
                    return Ok(Self { packet_id, properties, codes: List::from_slice(&[]) });
                }
                let codes = List::read(reader, context)?;
                if codes.is_empty() {
                    return Err(DecodeError::NoReasonCodes);
                }
                Ok(Self { packet_id, properties, codes })
            }
        }

        impl Body for $name<'_> {
            fn first_byte(&self) -> u8 {
                PacketType::$name.first_byte()
            }

            fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
                let context = Context { version, packet: PacketType::$name };
                if !has_codes(context) {
                    return Ok(2);
                }
                if self.codes.is_empty() {
                    return Err(EncodeError::NoReasonCodes);
                }
                let properties =
                    if version.is_v5() { self.properties.encoded_len(PropertyOwner::$name)? } else { 0 };
                Ok(2 + properties + self.codes.encoded_len(context)?)
            }

            fn write_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.packet_id.get().to_be_bytes());
                if version.is_v5() {
                    self.properties.write(out);
                }
                let context = Context { version, packet: PacketType::$name };
                if has_codes(context) {
                    self.codes.write(context, out);
                }
            }
        }
    )*};
}

answers! { SubAck UnsubAck }

/// Before MQTT 5 an UNSUBACK has only a packet identifier.
fn has_codes(context: Context) -> bool {
    context.version.is_v5() || context.packet == PacketType::SubAck
}
