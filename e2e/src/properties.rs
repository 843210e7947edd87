//! The properties of MQTT 5 packets, in packet order.

use crate::packet::{field, read_field, read_variable_integer, variable_integer};

/// Identifiers of properties.
pub mod property {
    /// One byte
    pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    /// Four bytes, seconds
    pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    /// A string
    pub const CONTENT_TYPE: u8 = 0x03;
    /// A string
    pub const RESPONSE_TOPIC: u8 = 0x08;
    /// Binary
    pub const CORRELATION_DATA: u8 = 0x09;
    /// A variable byte integer
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    /// Four bytes, seconds
    pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    /// A string
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    /// Two bytes, seconds
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    /// A string
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    /// Binary
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    /// One byte
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    /// Four bytes, seconds
    pub const WILL_DELAY_INTERVAL: u8 = 0x18;
    /// One byte
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    /// A string
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    /// A string
    pub const REASON_STRING: u8 = 0x1F;
    /// Two bytes
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    /// Two bytes
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    /// Two bytes
    pub const TOPIC_ALIAS: u8 = 0x23;
    /// One byte
    pub const MAXIMUM_QOS: u8 = 0x24;
    /// One byte
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    /// Two strings
    pub const USER_PROPERTY: u8 = 0x26;
    /// Four bytes
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    /// One byte
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    /// One byte
    pub const SUBSCRIPTION_IDENTIFIERS_AVAILABLE: u8 = 0x29;
    /// One byte
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

use property::{SUBSCRIPTION_IDENTIFIER, USER_PROPERTY};

/// A list of properties, to send or received.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Properties {
    /// Identifier, and the value as it is in the packet.
    list: Vec<(u8, Vec<u8>)>,
}

impl Properties {
    /// No properties.
    pub const NONE: Properties = Properties { list: Vec::new() };

    /// Adds a number property, in the width that its identifier requires.
    #[must_use]
    pub fn number(mut self, property: u8, value: u32) -> Properties {
        let value = match number_bytes(property) {
            Some(width) => value.to_be_bytes()[4 - width..].to_vec(),
            None => variable_integer(value as usize),
        };
        self.list.push((property, value));
        self
    }

    /// Adds a property with a string or binary data in it.
    #[must_use]
    pub fn data(mut self, property: u8, value: impl AsRef<[u8]>) -> Properties {
        self.list.push((property, field(value.as_ref())));
        self
    }

    /// Adds a user property.
    #[must_use]
    pub fn user(mut self, name: &str, value: &str) -> Properties {
        self.list.push((USER_PROPERTY, [field(name.as_bytes()), field(value.as_bytes())].concat()));
        self
    }

    /// The content of a packet's properties, without the length in front.
    pub fn content(&self) -> Vec<u8> {
        self.list.iter().flat_map(|(property, value)| [&[*property], &value[..]].concat()).collect()
    }

    /// Reads the content of a packet's properties.
    pub fn read(mut content: &[u8]) -> Properties {
        let mut list = Vec::new();
        while let [property, value @ ..] = content {
            let width = match (*property, number_bytes(*property)) {
                (_, Some(width)) => width,
                (SUBSCRIPTION_IDENTIFIER, None) => value.len() - read_variable_integer(value).1.len(),
                (USER_PROPERTY, None) => value.len() - read_field(read_field(value).1).1.len(),
                (_, None) => value.len() - read_field(value).1.len(),
            };
            let (value, next) = value.split_at(width);
            list.push((*property, value.to_vec()));
            content = next;
        }
        Properties { list }
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the property is in the list.
    pub fn has(&self, property: u8) -> bool {
        self.value(property).is_some()
    }

    /// The value of a number property of any width.
    pub fn get(&self, property: u8) -> Option<u32> {
        self.value(property).map(|value| number(property, value))
    }

    /// The value of a string property.
    pub fn text(&self, property: u8) -> Option<&str> {
        self.bytes(property).map(|bytes| str::from_utf8(bytes).expect("strings are UTF-8"))
    }

    /// The value of a binary property.
    pub fn bytes(&self, property: u8) -> Option<&[u8]> {
        self.value(property).map(|value| read_field(value).0)
    }

    /// The user properties, in order.
    pub fn users(&self) -> Vec<(&str, &str)> {
        let text = |bytes| str::from_utf8(bytes).expect("strings are UTF-8");
        let pair = |value| {
            let (name, rest) = read_field(value);
            (text(name), text(read_field(rest).0))
        };
        self.values(USER_PROPERTY).map(pair).collect()
    }

    /// The subscription identifiers, sorted: their order has no meaning.
    pub fn subscription_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> =
            self.values(SUBSCRIPTION_IDENTIFIER).map(|value| number(SUBSCRIPTION_IDENTIFIER, value)).collect();
        ids.sort_unstable();
        ids
    }

    /// The list without one property.
    #[must_use]
    pub fn without(mut self, property: u8) -> Properties {
        self.list.retain(|(found, _)| *found != property);
        self
    }

    fn value(&self, property: u8) -> Option<&[u8]> {
        let mut values = self.values(property);
        let value = values.next();
        assert!(property == USER_PROPERTY || values.next().is_none(), "property {property:02X} comes twice: {self:?}");
        value
    }

    fn values(&self, property: u8) -> impl Iterator<Item = &[u8]> {
        self.list.iter().filter(move |(found, _)| *found == property).map(|(_, value)| &value[..])
    }
}

fn number(property: u8, value: &[u8]) -> u32 {
    match number_bytes(property) {
        Some(_) => value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)),
        None => u32::try_from(read_variable_integer(value).0).expect("a variable byte integer has 28 bits"),
    }
}

/// The width of number properties of fixed width.
fn number_bytes(property: u8) -> Option<usize> {
    match property {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => Some(1),
        0x13 | 0x21..=0x23 => Some(2),
        0x02 | 0x11 | 0x18 | 0x27 => Some(4),
        _ => None,
    }
}
