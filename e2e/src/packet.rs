//! MQTT packets as bytes, written and read by hand: a second opinion on the standards that shares no
//! code with the broker.

use std::collections::BTreeMap;

use crate::Version;

/// A PINGREQ packet.
pub const PINGREQ: &[u8] = &[0xC0, 0];
/// A DISCONNECT packet with no reason to give; in MQTT 5 that means normal disconnection.
pub const DISCONNECT: &[u8] = &[0xE0, 0];

/// Packet types, as the upper half of a packet's first byte.
pub mod kind {
    /// CONNACK
    pub const CONNACK: u8 = 2;
    /// PUBLISH
    pub const PUBLISH: u8 = 3;
    /// PUBACK
    pub const PUBACK: u8 = 4;
    /// SUBACK
    pub const SUBACK: u8 = 9;
    /// UNSUBACK
    pub const UNSUBACK: u8 = 11;
    /// PINGRESP
    pub const PINGRESP: u8 = 13;
    /// DISCONNECT
    pub const DISCONNECT: u8 = 14;
}

/// A packet: its first byte, the remaining length, and the rest.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(variable_integer(body.len()));
    bytes.extend(body);
    bytes
}

/// A variable byte integer, in as few bytes as it takes.
pub fn variable_integer(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value % 128) as u8;
        value /= 128;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A string or binary field: two bytes of length, and the bytes.
pub fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a field is at most 65,535 bytes long");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// The properties of a packet with their length in front; nothing before MQTT 5.
pub fn properties(version: Version, content: &[u8]) -> Vec<u8> {
    if version.is_v5() { [variable_integer(content.len()), content.to_vec()].concat() } else { Vec::new() }
}

/// What a CONNECT packet says.
#[derive(Clone)]
pub struct Connect<'a> {
    /// The protocol, by name and level.
    pub version: Version,
    /// May be empty.
    pub client_id: &'a str,
    /// Clean session before MQTT 5.
    pub clean_start: bool,
    /// 0 turns it off.
    pub keep_alive_s: u16,
    /// The content of the properties; ignored before MQTT 5.
    pub properties: &'a [u8],
}

impl<'a> Connect<'a> {
    /// A client with a clean session and without keep-alive.
    pub fn new(version: Version, client_id: &'a str) -> Connect<'a> {
        Connect { version, client_id, clean_start: true, keep_alive_s: 0, properties: &[] }
    }

    /// The packet's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (name, level): (&[u8], u8) = match self.version {
            Version::V31 => (b"MQIsdp", 3),
            Version::V311 => (b"MQTT", 4),
            Version::V5 => (b"MQTT", 5),
        };
        let flags = if self.clean_start { 2 } else { 0 };
        let mut body = field(name);
        body.extend([level, flags]);
        body.extend(self.keep_alive_s.to_be_bytes());
        body.extend(properties(self.version, self.properties));
        body.extend(field(self.client_id.as_bytes()));
        packet(0x10, &body)
    }
}

/// A PUBLISH packet at QoS 0 without flags.
pub fn publish(version: Version, topic: &str, payload: &[u8]) -> Vec<u8> {
    publish_with(version, 0, topic.as_bytes(), None, &[], payload)
}

/// A PUBLISH packet with anything in its fields, legal or not. A topic longer than a field can be is
/// the caller's mistake.
pub fn publish_with(
    version: Version,
    flags: u8,
    topic: &[u8],
    packet_id: Option<u16>,
    property_content: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = field(topic);
    body.extend(packet_id.into_iter().flat_map(u16::to_be_bytes));
    body.extend(properties(version, property_content));
    body.extend(payload);
    packet(0x30 | flags, &body)
}

/// A SUBSCRIBE packet: filters with their options, of which QoS is the lowest two bits.
pub fn subscribe(version: Version, packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(properties(version, &[]));
    for (filter, options) in filters {
        body.extend(field(filter.as_bytes()));
        body.push(*options);
    }
    packet(0x82, &body)
}

/// An UNSUBSCRIBE packet.
pub fn unsubscribe(version: Version, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(properties(version, &[]));
    body.extend(filters.iter().flat_map(|filter| field(filter.as_bytes())));
    packet(0xA2, &body)
}

/// A packet that came from the broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// The first byte: type and flags.
    pub first: u8,
    /// All that follows the remaining length.
    pub body: Vec<u8>,
}

impl Received {
    /// The packet type, one of [`kind`].
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// Reads a CONNACK.
    ///
    /// # Panics
    /// If it is something else.
    pub fn conn_ack(&self, version: Version) -> ConnAck {
        assert_eq!(self.kind(), kind::CONNACK, "a CONNACK is expected, not {self:?}");
        assert!(self.body[0] <= 1, "reserved bits are set in {self:?}");
        let (properties, _) = read_properties(version, &self.body[2..]);
        ConnAck { session_present: self.body[0] == 1, code: self.body[1], properties }
    }

    /// Reads a PUBLISH at QoS 0 into its topic and payload.
    ///
    /// # Panics
    /// If it is something else.
    pub fn publish(&self, version: Version) -> (&str, &[u8]) {
        assert_eq!(self.first & 0xF6, 0x30, "a PUBLISH at QoS 0 is expected, not {self:?}");
        let (topic, rest) = read_field(&self.body);
        let (_, payload) = read_properties(version, rest);
        (str::from_utf8(topic).expect("topics are UTF-8"), payload)
    }

    /// Reads a SUBACK or UNSUBACK into its packet id and codes.
    ///
    /// # Panics
    /// If it is something else.
    pub fn acknowledgement(&self, version: Version) -> (u16, &[u8]) {
        assert!(matches!(self.kind(), kind::SUBACK | kind::UNSUBACK), "a SUBACK is expected, not {self:?}");
        let (packet_id, rest) = self.body.split_at(2);
        let (_, codes) = read_properties(version, rest);
        (u16::from_be_bytes([packet_id[0], packet_id[1]]), codes)
    }

    /// The reason code of an MQTT 5 DISCONNECT.
    ///
    /// # Panics
    /// If it is something else.
    pub fn disconnect_code(&self) -> u8 {
        assert_eq!(self.kind(), kind::DISCONNECT, "a DISCONNECT is expected, not {self:?}");
        self.body.first().copied().unwrap_or(0)
    }
}

/// What a CONNACK packet says.
#[derive(Debug)]
pub struct ConnAck {
    /// The broker still had a session.
    pub session_present: bool,
    /// Return code, in MQTT 5 reason code; 0 is success.
    pub code: u8,
    properties: BTreeMap<u8, Vec<u8>>,
}

impl ConnAck {
    /// A property with a number in it, whatever its width.
    pub fn number(&self, property: u8) -> Option<u32> {
        let bytes = self.properties.get(&property)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// A property with a string in it.
    pub fn text(&self, property: u8) -> Option<&str> {
        let bytes = self.properties.get(&property)?;
        Some(str::from_utf8(bytes).expect("strings are UTF-8"))
    }
}

/// Reads the properties of a packet, and returns what is after them. Of a property that comes more
/// than once only the last is kept, which can only be a user property.
fn read_properties(version: Version, bytes: &[u8]) -> (BTreeMap<u8, Vec<u8>>, &[u8]) {
    let mut found = BTreeMap::new();
    if !version.is_v5() {
        return (found, bytes);
    }
    let (length, rest) = read_variable_integer(bytes);
    let (mut content, after) = rest.split_at(length);
    while let [property, value @ ..] = content {
        let (value, next) = match property {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => value.split_at(1),
            0x13 | 0x21..=0x23 => value.split_at(2),
            0x02 | 0x11 | 0x18 | 0x27 => value.split_at(4),
            0x0B => value.split_at(value.len() - read_variable_integer(value).1.len()),
            0x26 => {
                let (_, second) = read_field(value);
                let (_, next) = read_field(second);
                value.split_at(value.len() - next.len())
            }
            _ => read_field(value),
        };
        found.insert(*property, value.to_vec());
        content = next;
    }
    (found, after)
}

fn read_field(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = u16::from_be_bytes([bytes[0], bytes[1]]);
    bytes[2..].split_at(usize::from(length))
}

/// Reads a variable byte integer, and returns what is after it.
fn read_variable_integer(bytes: &[u8]) -> (usize, &[u8]) {
    let (value, used) = split_variable_integer(bytes).expect("the integer is complete");
    (value, &bytes[used..])
}

/// The value at the beginning of the bytes and its length in bytes; None while it is incomplete.
pub fn split_variable_integer(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    assert!(end < 4, "the broker sent a length of more than four bytes: {:?}", &bytes[..=end]);
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7F));
    Some((value, end + 1))
}
