//! CONNECT: the first packet of a connection, which fixes the version of all later ones.

use alloc::vec::Vec;

use super::Body;
use crate::reader::Reader;
use crate::{
    DecodeError, EncodeError, PacketType, Properties, PropertyOwner, ProtocolVersion, QoS, TopicName, text, varint,
};

/// A client opens a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connect<'a> {
    /// The version of this packet and of all that follow. Encoding uses it and ignores the version argument.
    pub version: ProtocolVersion,
    /// Whether to discard an earlier session; called clean session in MQTT 3.
    pub clean_start: bool,
    /// The longest pause between two packets of the client, in seconds; 0 for no limit.
    pub keep_alive_s: u16,
    /// The client identifier; empty if the server is to assign one.
    pub client_id: &'a str,
    /// Properties of the connection.
    pub properties: Properties<'a>,
    /// The message to publish unless the client disconnects normally.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password.
    pub password: Option<&'a [u8]>,
}

/// A message that the server publishes for a client unless it disconnects normally.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    /// The topic to publish it to.
    pub topic: TopicName<'a>,
    /// The payload.
    pub payload: &'a [u8],
    /// The QoS to publish it with.
    pub qos: QoS,
    /// Whether to retain it.
    pub retain: bool,
    /// Its properties.
    pub properties: Properties<'a>,
}

/// The bit of the protocol level that bridges set.
const BRIDGE: u8 = 0x80;
const BRIDGE_31: u8 = BRIDGE | 3;
const BRIDGE_311: u8 = BRIDGE | 4;

mod flag {
    pub(super) const RESERVED: u8 = 0x01;
    pub(super) const CLEAN_START: u8 = 0x02;
    pub(super) const WILL: u8 = 0x04;
    pub(super) const WILL_QOS: u8 = 0x18;
    pub(super) const WILL_QOS_SHIFT: u32 = 3;
    pub(super) const WILL_RETAIN: u8 = 0x20;
    pub(super) const PASSWORD: u8 = 0x40;
    pub(super) const USERNAME: u8 = 0x80;
}

impl<'a> Connect<'a> {
    /// The version of the CONNECT at the front of `input`, if enough of it has arrived. It lets a server answer a
    /// CONNECT that [`decode`](crate::decode) refuses in a format that its sender understands.
    pub fn peek_version(input: &[u8]) -> Option<ProtocolVersion> {
        read_version(&mut body_of(input)?).ok()
    }

    /// The protocol level of the CONNECT at the front of `input`, known or not, if enough of it has arrived. `None` if
    /// its protocol name is not `MQTT`.
    pub fn peek_level(input: &[u8]) -> Option<u8> {
        let mut reader = body_of(input)?;
        let is_mqtt = reader.binary().ok()? == ProtocolVersion::Mqtt5.name().as_bytes();
        reader.byte().ok().filter(|_| is_mqtt)
    }

    /// Whether the CONNECT at the front of `input` is that of a bridge: before MQTT 5 mosquitto's bridges set the highest bit of
    /// the protocol level.
    pub fn peek_is_bridge(input: &[u8]) -> bool {
        let level = body_of(input).and_then(|mut reader| {
            reader.binary().ok()?;
            reader.byte().ok()
        });
        level.is_some_and(|level| level & BRIDGE != 0)
    }

    /// Whether the CONNECT at the front of `input` has a will, if enough of it has arrived.
    pub fn peek_has_will(input: &[u8]) -> Option<bool> {
        let mut reader = body_of(input)?;
        read_version(&mut reader).ok()?;
        reader.byte().ok().map(|flags| flags & flag::WILL != 0)
    }

    /// Reports errors that the first bytes of an incomplete CONNECT already show, so that a peer that does not speak
    /// MQTT is refused without waiting for a whole packet.
    pub(super) fn check_start(first: u8, start: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(start);
        let checked = read_version(&mut reader).and_then(|version| {
            check_header_flags(first, version)?;
            read_flags(&mut reader, version).map(drop)
        });
        match checked {
            Err(DecodeError::Truncated) => Ok(()),
            other => other,
        }
    }

    /// `padded`: the remaining length was not in its shortest form.
    pub(super) fn decode(first: u8, body: &'a [u8], padded: bool) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let version = read_version(&mut reader)?;
        check_header_flags(first, version)?;
        if padded && version.is_v5() {
            return Err(DecodeError::LengthNotMinimal);
        }
        let flags = read_flags(&mut reader, version)?;
        let clean_start = flags & flag::CLEAN_START != 0;
        let keep_alive_s = reader.u16()?;
        let properties = read_properties(&mut reader, version, PropertyOwner::Connect)?;
        let client_id = reader.text()?;
        if client_id_is_missing(version, clean_start, client_id) {
            return Err(DecodeError::ClientIdEmpty);
        }
        let will = if flags & flag::WILL != 0 { Some(Will::read(&mut reader, version, flags)?) } else { None };
        let username = if flags & flag::USERNAME != 0 { Some(reader.text()?) } else { None };
        let password = if flags & flag::PASSWORD != 0 { Some(reader.binary()?) } else { None };
        reader.finish()?;
        Ok(Self { version, clean_start, keep_alive_s, client_id, properties, will, username, password })
    }

    fn flags(&self) -> u8 {
        let bit = |set: bool, flag: u8| if set { flag } else { 0 };
        let will = self.will.map_or(0, |will| {
            flag::WILL | (will.qos as u8) << flag::WILL_QOS_SHIFT | bit(will.retain, flag::WILL_RETAIN)
        });
        bit(self.clean_start, flag::CLEAN_START)
            | will
            | bit(self.username.is_some(), flag::USERNAME)
            | bit(self.password.is_some(), flag::PASSWORD)
    }
}

impl<'a> Will<'a> {
    fn read(reader: &mut Reader<'a>, version: ProtocolVersion, flags: u8) -> Result<Self, DecodeError> {
        let properties = read_properties(reader, version, PropertyOwner::Will)?;
        let topic = TopicName::decode(reader.binary()?)?;
        let payload = reader.binary()?;
        let qos = QoS::new((flags & flag::WILL_QOS) >> flag::WILL_QOS_SHIFT).ok_or(DecodeError::WillQos)?;
        Ok(Self { topic, payload, qos, retain: flags & flag::WILL_RETAIN != 0, properties })
    }

    fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        let properties = properties_len(&self.properties, version, PropertyOwner::Will)?;
        Ok(properties + 2 + self.topic.as_str().len() + text::binary_encoded_len(self.payload)?)
    }

    fn write(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        if version.is_v5() {
            self.properties.write(out);
        }
        text::write_binary(self.topic.as_str().as_bytes(), out);
        text::write_binary(self.payload, out);
    }
}

/// The part of the CONNECT at the front of `input` that follows the fixed header.
fn body_of(input: &[u8]) -> Option<Reader<'_>> {
    let (first, rest) = input.split_first()?;
    let remaining = varint::read(rest).ok()??;
    let is_connect = PacketType::of(*first) == Some(PacketType::Connect);
    is_connect.then(|| Reader::new(&rest[remaining.len..]))
}

/// The flags of the fixed header are reserved, except in MQTT 3.1, which does not use them.
fn check_header_flags(first: u8, version: ProtocolVersion) -> Result<(), DecodeError> {
    let legal = first == PacketType::Connect.first_byte() || version == ProtocolVersion::Mqtt31;
    if legal { Ok(()) } else { Err(DecodeError::HeaderFlags) }
}

fn read_version(reader: &mut Reader<'_>) -> Result<ProtocolVersion, DecodeError> {
    let name_len = reader.u16()?;
    if name_len != 4 && name_len != 6 {
        return Err(DecodeError::ProtocolName);
    }
    let level_of: fn(u8) -> Option<ProtocolVersion> = match reader.take(usize::from(name_len))? {
        b"MQTT" => |level| match level {
            4 | BRIDGE_311 => Some(ProtocolVersion::Mqtt311),
            5 => Some(ProtocolVersion::Mqtt5),
            _ => None,
        },
        b"MQIsdp" => |level| matches!(level, 3 | BRIDGE_31).then_some(ProtocolVersion::Mqtt31),
        _ => return Err(DecodeError::ProtocolName),
    };
    level_of(reader.byte()?).ok_or(DecodeError::ProtocolLevel)
}

fn read_flags(reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<u8, DecodeError> {
    let flags = reader.byte()?;
    // MQTT 3.1 leaves the bit unused instead of reserving it.
    if flags & flag::RESERVED != 0 && version != ProtocolVersion::Mqtt31 {
        return Err(DecodeError::ConnectFlagReserved);
    }
    if flags & flag::WILL == 0 {
        if flags & flag::WILL_QOS != 0 {
            return Err(DecodeError::WillQosWithoutWill);
        }
        if flags & flag::WILL_RETAIN != 0 {
            return Err(DecodeError::WillRetainWithoutWill);
        }
    }
    if flags & flag::WILL_QOS == flag::WILL_QOS {
        return Err(DecodeError::WillQos);
    }
    if flags & flag::PASSWORD != 0 && flags & flag::USERNAME == 0 && !version.is_v5() {
        return Err(DecodeError::PasswordWithoutUsername);
    }
    Ok(flags)
}

fn read_properties<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
    owner: PropertyOwner,
) -> Result<Properties<'a>, DecodeError> {
    if version.is_v5() { Properties::read(reader, owner) } else { Ok(Properties::EMPTY) }
}

fn properties_len(
    properties: &Properties<'_>,
    version: ProtocolVersion,
    owner: PropertyOwner,
) -> Result<usize, EncodeError> {
    if version.is_v5() { properties.encoded_len(owner) } else { Ok(0) }
}

/// In MQTT 3.1 servers assign no identifiers; in MQTT 3.1.1 only with a clean session.
fn client_id_is_missing(version: ProtocolVersion, clean_start: bool, client_id: &str) -> bool {
    client_id.is_empty()
        && match version {
            ProtocolVersion::Mqtt31 => true,
            ProtocolVersion::Mqtt311 => !clean_start,
            ProtocolVersion::Mqtt5 => false,
        }
}

impl Body for Connect<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Connect.first_byte()
    }

    fn body_len(&self, _: ProtocolVersion) -> Result<usize, EncodeError> {
        let version = self.version;
        if client_id_is_missing(version, self.clean_start, self.client_id) {
            return Err(EncodeError::ClientIdEmpty);
        }
        if self.password.is_some() && self.username.is_none() && !version.is_v5() {
            return Err(EncodeError::PasswordWithoutUsername);
        }
        let fixed = 2 + version.name().len() + 4;
        let mut len = fixed + properties_len(&self.properties, version, PropertyOwner::Connect)?;
        len += text::encoded_len(self.client_id)?;
        if let Some(will) = &self.will {
            len += will.encoded_len(version)?;
        }
        if let Some(username) = self.username {
            len += text::encoded_len(username)?;
        }
        if let Some(password) = self.password {
            len += text::binary_encoded_len(password)?;
        }
        Ok(len)
    }

    fn write_body(&self, _: ProtocolVersion, out: &mut Vec<u8>) {
        text::write_binary(self.version.name().as_bytes(), out);
        out.push(self.version.level());
        out.push(self.flags());
        out.extend_from_slice(&self.keep_alive_s.to_be_bytes());
        if self.version.is_v5() {
            self.properties.write(out);
        }
        text::write_binary(self.client_id.as_bytes(), out);
        if let Some(will) = &self.will {
            will.write(self.version, out);
        }
        if let Some(username) = self.username {
            text::write_binary(username.as_bytes(), out);
        }
        if let Some(password) = self.password {
            text::write_binary(password, out);
        }
    }
}
