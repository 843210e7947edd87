//! DISCONNECT and AUTH: the end of a connection, and extended authentication during it.

use alloc::vec::Vec;

use super::ack::{Tail, read_tail, tail, write_tail};
use super::{Body, read_code};
use crate::reader::Reader;
use crate::{DecodeError, EncodeError, PacketType, Properties, PropertyOwner, ProtocolVersion, ReasonCode};

/// The last packet of a connection. Before MQTT 5 only clients send it, and it has no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnect<'a> {
    /// The reason; not written before MQTT 5.
    pub code: ReasonCode,
    /// Its properties.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT with a reason code and no properties.
    #[inline]
    pub const fn new(code: ReasonCode) -> Self {
        Self { code, properties: Properties::EMPTY }
    }

    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let reader = Reader::new(body);
        if !version.is_v5() {
            reader.finish()?;
            return Ok(Self::new(ReasonCode::NORMAL_DISCONNECTION));
        }
        let (code, properties) = read_tail(reader, PacketType::Disconnect, PropertyOwner::Disconnect)?;
        Ok(Self { code, properties })
    }
}

impl Body for Disconnect<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Disconnect.first_byte()
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        if !version.is_v5() {
            return Ok(0);
        }
        if !self.code.is_legal_in(PacketType::Disconnect) {
            return Err(EncodeError::ReasonCode);
        }
        Ok(match tail(self.code, &self.properties) {
            Tail::Nothing => 0,
            Tail::Code => 1,
            Tail::All => 1 + self.properties.encoded_len(PropertyOwner::Disconnect)?,
        })
    }

    fn write_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        if version.is_v5() {
            write_tail(self.code, &self.properties, out);
        }
    }
}

/// A step of extended authentication. The authentication method is mandatory, unless the packet is empty, which means
/// success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auth<'a> {
    /// The state of the authentication.
    pub code: ReasonCode,
    /// The authentication method and its data.
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        if reader.is_empty() {
            return Ok(Self { code: ReasonCode::Success, properties: Properties::EMPTY });
        }
        let code = read_code(&mut reader, PacketType::Auth)?;
        let properties = Properties::read(&mut reader, PropertyOwner::Auth)?;
        reader.finish()?;
        Ok(Self { code, properties })
    }

    fn is_blank(&self) -> bool {
        matches!(tail(self.code, &self.properties), Tail::Nothing)
    }
}

impl Body for Auth<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Auth.first_byte()
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        if !version.is_v5() {
            return Err(EncodeError::NotInVersion);
        }
        if !self.code.is_legal_in(PacketType::Auth) {
            return Err(EncodeError::ReasonCode);
        }
        if self.is_blank() { Ok(0) } else { Ok(1 + self.properties.encoded_len(PropertyOwner::Auth)?) }
    }

    fn write_body(&self, _: ProtocolVersion, out: &mut Vec<u8>) {
        if !self.is_blank() {
            out.push(self.code as u8);
            self.properties.write(out);
        }
    }
}
