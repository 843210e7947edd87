//! CONNACK: whether the server accepts the connection.

use alloc::vec::Vec;

use super::{Body, read_code};
use crate::reader::Reader;
use crate::{DecodeError, EncodeError, PacketType, Properties, PropertyOwner, ProtocolVersion, ReasonCode};

/// The server answers a CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnAck<'a> {
    /// Whether the server resumes a session of this client. Not expressible in MQTT 3.1.
    pub session_present: bool,
    /// Success, or the reason for the refusal; before MQTT 5 one of the six return codes.
    pub code: ReasonCode,
    /// The server's limits and features.
    pub properties: Properties<'a>,
}

impl<'a> ConnAck<'a> {
    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let flags = reader.byte()?;
        let session_present = match (version, flags) {
            // MQTT 3.1 does not use the byte.
            (ProtocolVersion::Mqtt31, _) => false,
            (_, 0 | 1) => flags == 1,
            _ => return Err(DecodeError::ConnAckFlags),
        };
        let (code, properties) = if version.is_v5() {
            let code = read_code(&mut reader, PacketType::ConnAck)?;
            (code, Properties::read(&mut reader, PropertyOwner::ConnAck)?)
        } else {
            let code = ReasonCode::from_connect_return_code(reader.byte()?).ok_or(DecodeError::ReasonCodeUnknown)?;
            (code, Properties::EMPTY)
        };
        if session_present && code.is_error() {
            return Err(DecodeError::SessionPresentWithError);
        }
        reader.finish()?;
        Ok(Self { session_present, code, properties })
    }
}

impl Body for ConnAck<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::ConnAck.first_byte()
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        if self.session_present && self.code.is_error() {
            return Err(EncodeError::SessionPresentWithError);
        }
        if !version.is_v5() {
            return self.code.to_connect_return_code().map(|_| 2).ok_or(EncodeError::ReasonCode);
        }
        if !self.code.is_legal_in(PacketType::ConnAck) {
            return Err(EncodeError::ReasonCode);
        }
        Ok(2 + self.properties.encoded_len(PropertyOwner::ConnAck)?)
    }

    fn write_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        out.push(u8::from(self.session_present && version != ProtocolVersion::Mqtt31));
        if version.is_v5() {
            out.push(self.code as u8);
            self.properties.write(out);
        } else {
            // `body_len` refused the codes that have no return code.
            out.push(self.code.to_connect_return_code().unwrap_or_default());
        }
    }
}
