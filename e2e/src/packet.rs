//! MQTT packets as bytes, written and read by hand: a second reading of the standards that shares no code with
//! the broker.

use crate::Version;
use crate::properties::Properties;
use crate::properties::property::SESSION_EXPIRY_INTERVAL;

/// A PINGREQ packet.
pub const PINGREQ: &[u8] = &[0xC0, 0];
/// A DISCONNECT packet without a reason code, which means normal disconnection in MQTT 5.
pub const DISCONNECT: &[u8] = &[0xE0, 0];

/// Packet types, as the upper half of a packet's first byte.
pub mod kind {
    /// CONNACK
    pub const CONNACK: u8 = 2;
    /// PUBLISH
    pub const PUBLISH: u8 = 3;
    /// PUBACK
    pub const PUBACK: u8 = 4;
    /// PUBREC
    pub const PUBREC: u8 = 5;
    /// PUBREL
    pub const PUBREL: u8 = 6;
    /// PUBCOMP
    pub const PUBCOMP: u8 = 7;
    /// SUBACK
    pub const SUBACK: u8 = 9;
    /// UNSUBACK
    pub const UNSUBACK: u8 = 11;
    /// PINGRESP
    pub const PINGRESP: u8 = 13;
    /// DISCONNECT
    pub const DISCONNECT: u8 = 14;
    /// AUTH
    pub const AUTH: u8 = 15;
}

/// A packet: its first byte, the remaining length, and the rest.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(variable_integer(body.len()));
    bytes.extend(body);
    bytes
}

/// A variable byte integer in its shortest form.
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

/// The fields of a CONNECT packet.
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
    /// Ignored before MQTT 5.
    pub properties: Properties,
    /// The message that the broker publishes unless the client disconnects normally.
    pub will: Option<Will<'a>>,
    /// A user name and its password.
    pub user: Option<(&'a str, &'a str)>,
}

impl<'a> Connect<'a> {
    /// A client with a clean session and without keep-alive.
    pub fn new(version: Version, client_id: &'a str) -> Connect<'a> {
        Connect {
            version,
            client_id,
            clean_start: true,
            keep_alive_s: 0,
            properties: Properties::NONE,
            will: None,
            user: None,
        }
    }

    /// A client that resumes its session, and keeps it for this many seconds after the connection; before MQTT
    /// 5 for ever.
    pub fn kept(version: Version, client_id: &'a str, seconds: u32) -> Connect<'a> {
        Connect { clean_start: false, ..Connect::new(version, client_id) }.with(SESSION_EXPIRY_INTERVAL, seconds)
    }

    /// The same with a property that is a number.
    #[must_use]
    pub fn with(mut self, property: u8, value: u32) -> Connect<'a> {
        self.properties = self.properties.number(property, value);
        self
    }

    /// The same with clean start, or clean session.
    #[must_use]
    pub fn clean(mut self) -> Connect<'a> {
        self.clean_start = true;
        self
    }

    /// The same with a will.
    #[must_use]
    pub fn will(mut self, will: Will<'a>) -> Connect<'a> {
        self.will = Some(will);
        self
    }

    /// The same with a user name and its password.
    #[must_use]
    pub fn user(mut self, name: &'a str, password: &'a str) -> Connect<'a> {
        self.user = Some((name, password));
        self
    }

    /// The packet's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (name, level): (&[u8], u8) = match self.version {
            Version::V31 => (b"MQIsdp", 3),
            Version::V311 => (b"MQTT", 4),
            Version::V5 => (b"MQTT", 5),
        };
        let mut flags = if self.clean_start { 2 } else { 0 };
        if let Some(will) = &self.will {
            flags |= 4 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        if self.user.is_some() {
            flags |= 0xC0;
        }
        let mut body = field(name);
        body.extend([level, flags]);
        body.extend(self.keep_alive_s.to_be_bytes());
        body.extend(properties(self.version, &self.properties.content()));
        body.extend(field(self.client_id.as_bytes()));
        if let Some(will) = &self.will {
            body.extend(properties(self.version, &will.properties.content()));
            body.extend(field(will.topic.as_bytes()));
            body.extend(field(will.payload));
        }
        if let Some((name, password)) = self.user {
            body.extend(field(name.as_bytes()));
            body.extend(field(password.as_bytes()));
        }
        packet(0x10, &body)
    }
}

/// A will.
#[derive(Clone)]
pub struct Will<'a> {
    /// The topic name.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// 0, 1 or 2.
    pub qos: u8,
    /// Whether the broker retains the will.
    pub retain: bool,
    /// Ignored before MQTT 5.
    pub properties: Properties,
}

impl<'a> Will<'a> {
    /// A will at QoS 0.
    pub fn new(topic: &'a str, payload: &'a str) -> Will<'a> {
        Will { topic, payload: payload.as_bytes(), qos: 0, retain: false, properties: Properties::NONE }
    }

    /// The same at this QoS.
    #[must_use]
    pub fn qos(mut self, qos: u8) -> Will<'a> {
        self.qos = qos;
        self
    }

    /// The same, retained.
    #[must_use]
    pub fn retained(mut self) -> Will<'a> {
        self.retain = true;
        self
    }

    /// The same with a property that is a number.
    #[must_use]
    pub fn with(mut self, property: u8, value: u32) -> Will<'a> {
        self.properties = self.properties.number(property, value);
        self
    }
}

/// A message to publish.
#[derive(Clone)]
pub struct Publish<'a> {
    /// The topic name; empty if only a topic alias is sent.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// 0, 1 or 2.
    pub qos: u8,
    /// Whether the broker retains the message.
    pub retain: bool,
    /// Whether the packet is a retransmission.
    pub duplicate: bool,
    /// Ignored before MQTT 5.
    pub properties: Properties,
}

impl<'a> Publish<'a> {
    /// A message at QoS 0.
    pub fn new(topic: &'a str, payload: &'a (impl AsRef<[u8]> + ?Sized)) -> Publish<'a> {
        let payload = payload.as_ref();
        Publish { topic, payload, qos: 0, retain: false, duplicate: false, properties: Properties::NONE }
    }

    /// The same at this QoS.
    #[must_use]
    pub fn qos(mut self, qos: u8) -> Publish<'a> {
        self.qos = qos;
        self
    }

    /// The same, to be retained.
    #[must_use]
    pub fn retained(mut self) -> Publish<'a> {
        self.retain = true;
        self
    }

    /// The same, sent again.
    #[must_use]
    pub fn duplicate(mut self) -> Publish<'a> {
        self.duplicate = true;
        self
    }

    /// The same with a property that is a number.
    #[must_use]
    pub fn with(mut self, property: u8, value: u32) -> Publish<'a> {
        self.properties = self.properties.number(property, value);
        self
    }

    /// The same with these properties.
    #[must_use]
    pub fn properties(mut self, properties: &Properties) -> Publish<'a> {
        self.properties = properties.clone();
        self
    }

    /// The packet's bytes. At QoS 0 it has no packet id.
    pub fn encode(&self, version: Version, packet_id: u16) -> Vec<u8> {
        let flags = u8::from(self.duplicate) << 3 | self.qos << 1 | u8::from(self.retain);
        let packet_id = (self.qos > 0).then_some(packet_id);
        publish_with(version, flags, self.topic.as_bytes(), packet_id, &self.properties.content(), self.payload)
    }
}

/// A PUBACK, PUBREC, PUBREL or PUBCOMP in its shortest form, which means success.
pub fn acknowledge(kind: u8, packet_id: u16) -> Vec<u8> {
    packet(kind << 4 | if kind == kind::PUBREL { 2 } else { 0 }, &packet_id.to_be_bytes())
}

/// The same with a reason code, in MQTT 5.
pub fn acknowledge_with(kind: u8, packet_id: u16, code: u8) -> Vec<u8> {
    let [high, low] = packet_id.to_be_bytes();
    packet(kind << 4 | if kind == kind::PUBREL { 2 } else { 0 }, &[high, low, code])
}

/// A DISCONNECT of MQTT 5 with a reason code and properties.
pub fn disconnect_with(code: u8, content: &Properties) -> Vec<u8> {
    packet(0xE0, &[&[code][..], &properties(Version::V5, &content.content())].concat())
}

/// A PUBLISH packet at QoS 0 without flags.
pub fn publish(version: Version, topic: &str, payload: &[u8]) -> Vec<u8> {
    publish_with(version, 0, topic.as_bytes(), None, &[], payload)
}

/// A PUBLISH packet with any field values, legal or not. The topic must not be longer than a field can be.
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

/// A SUBSCRIBE packet: filters with their options, whose lowest two bits are the QoS.
pub fn subscribe(version: Version, packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(version, packet_id, &Properties::NONE, filters)
}

/// A SUBSCRIBE packet with properties.
pub fn subscribe_with(version: Version, packet_id: u16, content: &Properties, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(properties(version, &content.content()));
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

/// A packet from the broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// The first byte: type and flags.
    pub first: u8,
    /// All bytes behind the remaining length.
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

    /// Reads a PUBLISH at any QoS.
    ///
    /// # Panics
    /// If it is something else.
    pub fn message(&self, version: Version) -> Message {
        assert_eq!(self.kind(), kind::PUBLISH, "a PUBLISH is expected, not {self:?}");
        let (topic, rest) = read_field(&self.body);
        let qos = self.first >> 1 & 3;
        assert_ne!(qos, 3, "a QoS that does not exist: {self:?}");
        let (packet_id, rest) = if qos == 0 { (0, rest) } else { read_packet_id(rest) };
        assert!(qos == 0 || packet_id != 0, "0 is no packet id: {self:?}");
        let (properties, payload) = read_properties(version, rest);
        Message {
            topic: str::from_utf8(topic).expect("topics are UTF-8").to_owned(),
            topic_left_out: topic.is_empty(),
            payload: payload.to_vec(),
            qos,
            retain: self.first & 1 != 0,
            duplicate: self.first & 8 != 0,
            packet_id,
            properties,
        }
    }

    /// Reads a PUBACK, PUBREC, PUBREL or PUBCOMP.
    ///
    /// # Panics
    /// If it is something else.
    pub fn publish_acknowledgement(&self, version: Version) -> Acknowledgement {
        let flags = if self.kind() == kind::PUBREL { 2 } else { 0 };
        assert!((kind::PUBACK..=kind::PUBCOMP).contains(&self.kind()), "an acknowledgement is expected, not {self:?}");
        assert_eq!(self.first & 0xF, flags, "the flags of {self:?}");
        let (packet_id, rest) = read_packet_id(&self.body);
        let (code, properties) = self.code_and_properties(version, rest);
        Acknowledgement { packet_id, code, properties }
    }

    /// Reads an optional reason code and optional properties at the end of the packet.
    fn code_and_properties(&self, version: Version, rest: &[u8]) -> (u8, Properties) {
        match rest {
            [] => (0, Properties::NONE),
            _ if !version.is_v5() => panic!("{self:?} has a code before MQTT 5"),
            [code] => (*code, Properties::NONE),
            [code, rest @ ..] => (*code, read_properties(version, rest).0),
        }
    }

    /// Reads a DISCONNECT of MQTT 5 into its code and properties.
    ///
    /// # Panics
    /// If it is something else.
    pub fn disconnect(&self) -> (u8, Properties) {
        assert_eq!(self.kind(), kind::DISCONNECT, "a DISCONNECT is expected, not {self:?}");
        self.code_and_properties(Version::V5, &self.body)
    }

    /// Reads a SUBACK or UNSUBACK into its packet id and codes.
    ///
    /// # Panics
    /// If it is something else.
    pub fn acknowledgement(&self, version: Version) -> (u16, &[u8]) {
        assert!(matches!(self.kind(), kind::SUBACK | kind::UNSUBACK), "a SUBACK is expected, not {self:?}");
        let (packet_id, rest) = read_packet_id(&self.body);
        let (_, codes) = read_properties(version, rest);
        (packet_id, codes)
    }

    /// The reason code of an MQTT 5 DISCONNECT.
    ///
    /// # Panics
    /// If it is something else.
    pub fn disconnect_code(&self) -> u8 {
        self.disconnect().0
    }
}

/// The fields of a CONNACK packet.
#[derive(Clone, Debug)]
pub struct ConnAck {
    /// Whether the broker still had a session.
    pub session_present: bool,
    /// Return code, in MQTT 5 reason code; 0 is success.
    pub code: u8,
    /// None before MQTT 5.
    pub properties: Properties,
}

impl ConnAck {
    /// A property with a number in it, whatever its width.
    pub fn number(&self, property: u8) -> Option<u32> {
        self.properties.get(property)
    }

    /// A property with a string in it.
    pub fn text(&self, property: u8) -> Option<&str> {
        self.properties.text(property)
    }
}

/// A PUBLISH packet from the broker, at any QoS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The topic name; empty for a topic alias that is not resolved yet.
    pub topic: String,
    /// Whether the packet has no topic name.
    pub topic_left_out: bool,
    /// The payload.
    pub payload: Vec<u8>,
    /// 0, 1 or 2.
    pub qos: u8,
    /// The RETAIN flag.
    pub retain: bool,
    /// The DUP flag.
    pub duplicate: bool,
    /// The packet id; 0 at QoS 0, which has none.
    pub packet_id: u16,
    /// None before MQTT 5.
    pub properties: Properties,
}

impl Message {
    /// The payload as text.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.payload).expect("this payload is text")
    }
}

/// A PUBACK, PUBREC, PUBREL or PUBCOMP from the broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acknowledgement {
    /// The packet id of the message.
    pub packet_id: u16,
    /// The reason code; 0 is success, and the only value before MQTT 5.
    pub code: u8,
    /// None before MQTT 5.
    pub properties: Properties,
}

/// Reads the properties of a packet, and returns the bytes behind them.
fn read_properties(version: Version, bytes: &[u8]) -> (Properties, &[u8]) {
    if !version.is_v5() {
        return (Properties::NONE, bytes);
    }
    let (length, rest) = read_variable_integer(bytes);
    let (content, after) = rest.split_at(length);
    (Properties::read(content), after)
}

fn read_packet_id(bytes: &[u8]) -> (u16, &[u8]) {
    let (packet_id, rest) = bytes.split_at(2);
    (u16::from_be_bytes([packet_id[0], packet_id[1]]), rest)
}

/// Reads a string or binary field, and returns the bytes behind it.
pub(crate) fn read_field(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = u16::from_be_bytes([bytes[0], bytes[1]]);
    bytes[2..].split_at(usize::from(length))
}

/// Reads a variable byte integer, and returns the bytes behind it.
pub(crate) fn read_variable_integer(bytes: &[u8]) -> (usize, &[u8]) {
    let (value, used) = split_variable_integer(bytes).expect("the integer is complete");
    (value, &bytes[used..])
}

/// Reads the variable byte integer at the front of the bytes, and returns it with its length; None while it is
/// incomplete.
pub fn split_variable_integer(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    assert!(end < 4, "the broker sent a length of more than four bytes: {:?}", &bytes[..=end]);
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7F));
    Some((value, end + 1))
}
