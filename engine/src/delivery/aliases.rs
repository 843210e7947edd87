//! Topic aliases: numbers that stand for topic names on one connection, in one direction (MQTT 5 section 3.3.2.3.4).

use std::collections::HashMap;
use std::num::NonZeroU16;

use foldhash::fast::RandomState;
use wisp_wire::{Packet, Properties, Property, ProtocolVersion, Publish, TopicName, decode};

/// The aliases that the server has assigned on one connection and puts into the packets it sends there.
#[derive(Debug)]
pub(crate) struct AssignedAliases {
    known: HashMap<Box<str>, NonZeroU16, RandomState>,
    most: u16,
    packet_bytes_max: usize,
    name_bytes: usize,
}

/// Most bytes of names that have aliases on one connection, each way.
const NAME_BYTES_MAX: usize = 64 * 1024;

/// A topic alias property: its identifier and two bytes.
const ALIAS_BYTES: usize = 3;

/// The most bytes that an alias adds to a packet: the property, a longer length of the properties and a longer length
/// of the packet.
const GROWTH_BYTES: usize = ALIAS_BYTES + 2;

impl AssignedAliases {
    /// None yet, and up to `most` for a client that accepts packets of `packet_bytes_max`.
    pub(crate) fn new(most: u16, packet_bytes_max: u32) -> Self {
        Self { known: HashMap::default(), most, packet_bytes_max: packet_bytes_max as usize, name_bytes: 0 }
    }

    /// Appends a run of whole packets to `out`, with aliases in place of topic names that were sent before. The first
    /// topics get the aliases and keep them.
    pub(crate) fn rewrite(&mut self, mut packets: &[u8], out: &mut Vec<u8>) {
        while let Ok(Some((packet, len))) = decode(packets, ProtocolVersion::Mqtt5, u32::MAX) {
            let (raw, rest) = packets.split_at(len);
            packets = rest;
            let aliased = match packet {
                Packet::Publish(publish) => publish.topic.and_then(|topic| self.alias_for(topic, raw.len())),
                _ => None,
            };
            match (packet, aliased) {
                (Packet::Publish(publish), Some(aliased)) => write(&publish, aliased, out),
                _ => out.extend_from_slice(raw),
            }
        }
        debug_assert!(packets.is_empty(), "only whole packets are pushed");
        out.extend_from_slice(packets);
    }

    fn alias_for(&mut self, topic: TopicName<'_>, packet_bytes: usize) -> Option<Aliased> {
        let name = topic.as_str();
        if name.len() <= ALIAS_BYTES {
            return None;
        }
        if let Some(&alias) = self.known.get(name) {
            return Some(Aliased { alias, is_new: false });
        }
        let number = self.known.len() + 1;
        let too_long = packet_bytes + GROWTH_BYTES > self.packet_bytes_max;
        if too_long || number > usize::from(self.most) || self.name_bytes + name.len() > NAME_BYTES_MAX {
            return None;
        }
        self.name_bytes += name.len();
        let alias = NonZeroU16::new(number as u16)?;
        self.known.insert(name.into(), alias);
        Some(Aliased { alias, is_new: true })
    }
}

#[derive(Clone, Copy)]
struct Aliased {
    alias: NonZeroU16,
    /// The packet defines the alias, so it carries the name as well.
    is_new: bool,
}

fn write(publish: &Publish<'_>, aliased: Aliased, out: &mut Vec<u8>) {
    let mut properties: Vec<Property<'_>> = vec![Property::TopicAlias(aliased.alias)];
    properties.extend(publish.properties.iter());
    let topic = publish.topic.filter(|_| aliased.is_new);
    let aliased = Publish { topic, properties: Properties::from_slice(&properties), ..*publish };
    let written = aliased.encode(ProtocolVersion::Mqtt5, out);
    debug_assert!(written.is_ok(), "a packet that was encoded once can be with an alias");
}

/// The aliases that a client has assigned on its connection. Most clients assign none.
#[derive(Debug, Default)]
pub(crate) struct ReceivedAliases(Option<Box<Names>>);

#[derive(Debug, Default)]
struct Names {
    names: HashMap<NonZeroU16, Box<str>, RandomState>,
    name_bytes: usize,
}

/// Why a topic alias cannot be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AliasError {
    /// Above the maximum that CONNACK granted [MQTT-3.3.2-9].
    AboveMaximum,
    /// It stands for no topic name.
    Unknown,
    /// The names of all aliases together are too long.
    TooMuch,
}

impl ReceivedAliases {
    /// Makes `alias` stand for `name`.
    pub(crate) fn assign(&mut self, alias: NonZeroU16, name: TopicName<'_>, most: u16) -> Result<(), AliasError> {
        if alias.get() > most {
            return Err(AliasError::AboveMaximum);
        }
        self.0.get_or_insert_default().assign(alias, name.as_str())
    }

    /// The name that `alias` stands for.
    pub(crate) fn resolve(&self, alias: NonZeroU16, most: u16) -> Result<TopicName<'_>, AliasError> {
        if alias.get() > most {
            return Err(AliasError::AboveMaximum);
        }
        let name = self.0.as_ref().and_then(|known| known.names.get(&alias)).ok_or(AliasError::Unknown)?;
        TopicName::new(name).map_err(|_| AliasError::Unknown)
    }
}

impl Names {
    fn assign(&mut self, alias: NonZeroU16, name: &str) -> Result<(), AliasError> {
        let replaced = self.names.get(&alias).map_or(0, |known| known.len());
        if self.names.get(&alias).is_none_or(|known| **known != *name) {
            if self.name_bytes - replaced + name.len() > NAME_BYTES_MAX {
                return Err(AliasError::TooMuch);
            }
            self.name_bytes += name.len();
            self.name_bytes -= replaced;
            self.names.insert(alias, name.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(topic: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Publish::new(TopicName::new(topic).unwrap(), b"payload").encode(ProtocolVersion::Mqtt5, &mut out).unwrap();
        out
    }

    /// Topic name and alias of each packet.
    fn seen(bytes: &[u8]) -> Vec<(Option<String>, Option<u16>)> {
        let (mut rest, mut seen) = (bytes, Vec::new());
        while let Some((Packet::Publish(publish), len)) = decode(rest, ProtocolVersion::Mqtt5, u32::MAX).unwrap() {
            let topic = publish.topic.map(|topic| topic.as_str().to_owned());
            seen.push((topic, publish.properties.topic_alias().map(NonZeroU16::get)));
            assert_eq!(publish.payload, b"payload");
            rest = &rest[len..];
        }
        seen
    }

    #[test]
    fn the_second_message_on_a_topic_goes_without_its_name() {
        let (mut aliases, mut out) = (AssignedAliases::new(2, u32::MAX), Vec::new());
        let run = [packet("first"), packet("second"), packet("first"), packet("third"), packet("tw")].concat();
        aliases.rewrite(&run, &mut out);
        let name = |name: &str| Some(name.to_owned());
        let expected = [
            (name("first"), Some(1)),
            (name("second"), Some(2)),
            (None, Some(1)),
            (name("third"), None),
            (name("tw"), None),
        ];
        assert_eq!(seen(&out), expected);
    }

    #[test]
    fn no_alias_makes_a_packet_longer_than_the_client_accepts() {
        let plain = packet("topic");
        let mut aliases = AssignedAliases::new(9, plain.len() as u32);
        let mut out = Vec::new();
        aliases.rewrite(&plain, &mut out);
        assert_eq!(out, plain);
    }

    #[test]
    fn the_names_of_all_aliases_are_bounded_together() {
        let (mut aliases, long) = (ReceivedAliases::default(), "x".repeat(60_000));
        let long = TopicName::new(&long).unwrap();
        let two = NonZeroU16::new(2).unwrap();
        aliases.assign(NonZeroU16::MIN, long, 9).unwrap();
        assert_eq!(aliases.assign(two, long, 9), Err(AliasError::TooMuch));
        aliases.assign(NonZeroU16::MIN, TopicName::new("short").unwrap(), 9).unwrap();
        aliases.assign(two, long, 9).unwrap();
    }

    #[test]
    fn a_client_may_give_an_alias_to_another_topic() {
        let (mut aliases, one) = (ReceivedAliases::default(), NonZeroU16::MIN);
        assert_eq!(aliases.resolve(one, 1), Err(AliasError::Unknown));
        for name in ["a", "b"] {
            let name = TopicName::new(name).unwrap();
            aliases.assign(one, name, 1).unwrap();
            assert_eq!(aliases.resolve(one, 1), Ok(name));
        }
        let two = NonZeroU16::new(2).unwrap();
        assert_eq!(aliases.assign(two, TopicName::new("c").unwrap(), 1), Err(AliasError::AboveMaximum));
    }
}
