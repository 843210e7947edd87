//! What senders send: encoded PUBLISH packets, many to a system call, and next to no work for each.
//!
//! All packets of a run have the same length: topics are numbered with the same count of digits, and payloads have
//! one size. So a sender's whole stream is known from where it stands in it: the byte at position `p` belongs to
//! packet `p / length`. A thread has one buffer of packets for all its senders. To fill it for one of them only
//! the topic's digits and the payload's header are written into each packet; nothing is kept for a sender but its
//! position, however little its socket took.
//!
//! ```text
//!   | type, length | topic: prefix / digits | id (QoS 1, 2) | properties (MQTT 5) | header | padding |
//!                                   ^^^^^^    ^^                                    ^^^^^^
//! ```
//!
//! Each stream ends with PINGREQ: the broker's answer tells that it has read everything before.

use wisp_wire::{Packet, PacketId, Properties, ProtocolVersion, Publish, QoS, TopicName};

use crate::drive::acks::packet_id;
use crate::drive::payload::{HEADER_BYTES, Header};
use crate::drive::spread::Spread;

/// What ends a sender's stream.
const PINGREQ: [u8; 2] = [0xC0, 0x00];
/// What pads a message. Not zeros, so that a hole in a message would show.
const PADDING: u8 = b'w';

/// The topics of a run: `PREFIX/0042`.
#[derive(Clone, Debug)]
pub struct Topics {
    prefix: String,
    digits: usize,
}

impl Topics {
    /// Names for so many topics.
    ///
    /// # Errors
    /// When they are not legal topic names.
    pub fn new(prefix: &str, topics: u32) -> Result<Self, String> {
        let topics = Self { prefix: prefix.to_owned(), digits: topics.saturating_sub(1).to_string().len() };
        let name = topics.name(0);
        TopicName::new(&name).map_err(|error| format!("topic {name:?}: {error}"))?;
        Ok(topics)
    }

    /// The name of one.
    #[must_use]
    pub fn name(&self, topic: u32) -> String {
        format!("{}/{topic:0digits$}", self.prefix, digits = self.digits)
    }

    fn number(&self, topic: u32) -> String {
        format!("{topic:0digits$}", digits = self.digits)
    }
}

/// A message's packet, with the places that differ from one to the next.
#[derive(Clone, Debug)]
pub struct Template {
    packet: Vec<u8>,
    digits_at: usize,
    /// Where the packet identifier is, if there is one.
    id_at: Option<usize>,
    header_at: usize,
}

/// The length of a packet identifier.
pub(crate) const ID_BYTES: usize = 2;

impl Template {
    /// The packet of messages to this topic.
    ///
    /// # Errors
    /// When no MQTT packet can be so large.
    pub fn new(topics: &Topics, topic: u32, size: usize, version: ProtocolVersion, qos: QoS) -> Result<Self, String> {
        let payload = vec![PADDING; size];
        let name = topics.name(topic);
        let mut packet = Vec::new();
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: Some(TopicName::new(&name).map_err(|error| error.to_string())?),
            packet_id: PacketId::new(1).filter(|_| qos > QoS::AtMostOnce),
            properties: Properties::EMPTY,
            payload: &payload,
        };
        Packet::Publish(publish).encode(version, &mut packet).map_err(|error| error.to_string())?;
        let header_at = packet.len() - size;
        let after_id = header_at - usize::from(version.is_v5());
        let id_at = publish.packet_id.map(|_| after_id - ID_BYTES);
        Ok(Self { digits_at: id_at.unwrap_or(after_id) - topics.digits, id_at, header_at, packet })
    }

    /// How long each packet is.
    #[must_use]
    pub fn packet_bytes(&self) -> usize {
        self.packet.len()
    }

    /// What comes before the payload: up to the packet identifier, and after it. Without one the second is empty.
    #[must_use]
    pub fn lead(&self) -> (&[u8], &[u8]) {
        match self.id_at {
            None => (&self.packet[..self.header_at], &[]),
            Some(at) => (&self.packet[..at], &self.packet[at + ID_BYTES..self.header_at]),
        }
    }
}

/// One thread's buffer of packets.
#[derive(Debug)]
pub struct Outgoing {
    run: u32,
    spread: Spread,
    template: Template,
    /// The digits of all topics, one after the other, if there is more than one.
    digits: Vec<u8>,
    digits_bytes: usize,
    /// Whole packets.
    buffer: Vec<u8>,
    /// Whose packets are in the buffer now.
    filled: Option<Filled>,
}

/// Packets `first..first + packets` of a sender stand at the buffer's beginning.
#[derive(Clone, Copy, Debug)]
struct Filled {
    sender: u32,
    first: u64,
    packets: u64,
}

impl Outgoing {
    /// A buffer of about so many bytes, of one packet at least.
    #[must_use]
    pub fn new(run: u32, spread: Spread, topics: &Topics, template: Template, buffer_bytes: usize) -> Self {
        let digits = if spread.topics > 1 {
            (0..spread.topics).map(|topic| topics.number(topic)).collect::<String>().into_bytes()
        } else {
            Vec::new()
        };
        let packets = (buffer_bytes / template.packet_bytes()).max(1);
        let buffer = template.packet.repeat(packets);
        Self { run, spread, digits, digits_bytes: topics.digits, template, buffer, filled: None }
    }

    /// The length of a sender's whole stream.
    #[must_use]
    pub fn stream_bytes(&self, sender: u32) -> u64 {
        self.messages_bytes(sender) + PINGREQ.len() as u64
    }

    /// How many messages a sender sends.
    #[must_use]
    pub fn messages(&self, sender: u32) -> u64 {
        self.spread.of_sender(sender)
    }

    /// How long each message's packet is.
    #[must_use]
    pub fn packet_bytes(&self) -> u64 {
        self.template.packet_bytes() as u64
    }

    /// What comes next in a sender's stream; empty at its end. A caller that expects the socket to take no more than
    /// `likely_bytes` saves the work for the rest.
    pub fn next(&mut self, sender: u32, position: u64, likely_bytes: usize) -> &[u8] {
        let packet_bytes = self.template.packet_bytes() as u64;
        let messages_bytes = self.messages_bytes(sender);
        if position >= messages_bytes {
            let sent = usize::try_from(position - messages_bytes).unwrap_or(usize::MAX);
            return PINGREQ.get(sent..).unwrap_or_default();
        }
        let at = position / packet_bytes;
        let filled = match self.filled {
            Some(filled) if filled.sender == sender && filled.has(at) => filled,
            // No more than is asked for, since what is left over would be all that the next call gives.
            _ => {
                let begun = (position - at * packet_bytes) as usize;
                self.fill(sender, at, likely_bytes.saturating_add(begun))
            }
        };
        // Both are below the buffer's length.
        let from = (position - filled.first * packet_bytes) as usize;
        let to = (filled.packets * packet_bytes) as usize;
        &self.buffer[from..to]
    }

    fn messages_bytes(&self, sender: u32) -> u64 {
        self.messages(sender) * self.packet_bytes()
    }

    /// Writes a sender's packets, from its `first` on, over those in the buffer.
    fn fill(&mut self, sender: u32, first: u64, likely_bytes: usize) -> Filled {
        let packet_bytes = self.template.packet_bytes();
        let room = likely_bytes.div_ceil(packet_bytes).clamp(1, self.buffer.len() / packet_bytes);
        let packets = (self.spread.of_sender(sender) - first).min(room as u64);
        let (mut topic, _) = self.spread.place(sender, first);
        let topics = u64::from(self.spread.topics);
        let (mut turn, mut sequence) = (first % topics, first / topics);
        let Template { digits_at, id_at, header_at, .. } = self.template;
        let mut n = first;
        // As many as fit the buffer.
        for packet in self.buffer.chunks_exact_mut(packet_bytes).take(packets as usize) {
            if !self.digits.is_empty() {
                let digits = &self.digits[topic as usize * self.digits_bytes..][..self.digits_bytes];
                packet[digits_at..digits_at + self.digits_bytes].copy_from_slice(digits);
                topic = if topic + 1 == self.spread.topics { 0 } else { topic + 1 };
            }
            let header = Header { run: self.run, sender, sequence };
            packet[header_at..header_at + HEADER_BYTES].copy_from_slice(&header.to_bytes());
            if let Some(at) = id_at {
                packet[at..at + ID_BYTES].copy_from_slice(&packet_id(n).to_be_bytes());
                n += 1;
            }
            turn += 1;
            if turn == topics {
                (turn, sequence) = (0, sequence + 1);
            }
        }
        let filled = Filled { sender, first, packets };
        self.filled = Some(filled);
        filled
    }
}

impl Filled {
    fn has(&self, packet: u64) -> bool {
        (self.first..self.first + self.packets).contains(&packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::checker::{Checker, Tally};

    /// Takes the streams of all senders in pieces of odd sizes, decodes them, and gives what each topic got.
    fn sent(version: ProtocolVersion, qos: QoS, spread: Spread, size: usize) -> Vec<Tally> {
        let topics = Topics::new("a/b", spread.topics).unwrap();
        let template = Template::new(&topics, 0, size, version, qos).unwrap();
        let mut outgoing = Outgoing::new(9, spread, &topics, template, 1000);
        let mut streams = vec![Vec::new(); spread.senders as usize];
        let mut piece = 1;
        while let Some(sender) = (0..spread.senders)
            .filter(|sender| (streams[*sender as usize].len() as u64) < outgoing.stream_bytes(*sender))
            .min_by_key(|sender| (streams[*sender as usize].len() * 31) % 17)
        {
            let stream = &mut streams[sender as usize];
            let bytes = outgoing.next(sender, stream.len() as u64, piece);
            assert!(!bytes.is_empty());
            stream.extend_from_slice(&bytes[..bytes.len().min(piece)]);
            piece = 1 + (piece * 7 + 3) % 1500;
        }
        let mut checkers: Vec<_> = (0..spread.topics).map(|topic| Checker::new(9, &spread, topic)).collect();
        for (sender, stream) in (0..).zip(&streams) {
            assert!(outgoing.next(sender, stream.len() as u64, 1).is_empty());
            let mut rest = stream.as_slice();
            let mut n = 0;
            while let Some((packet, length)) = wisp_wire::decode(rest, version, u32::MAX).unwrap() {
                rest = &rest[length..];
                let Packet::Publish(publish) = packet else {
                    assert!(matches!(packet, Packet::PingReq) && rest.is_empty());
                    continue;
                };
                assert_eq!((publish.payload.len(), publish.qos), (size, qos));
                let id = publish.packet_id.map(PacketId::get);
                assert_eq!(id, (qos > QoS::AtMostOnce).then(|| packet_id(n)));
                n += 1;
                let name = publish.topic.unwrap().as_str();
                let topic = (0..spread.topics).find(|topic| topics.name(*topic) == name).unwrap();
                checkers[topic as usize].check(Header::read(publish.payload).unwrap());
            }
            assert!(rest.is_empty());
        }
        checkers.iter().map(|checker| *checker.tally()).collect()
    }

    #[test]
    fn every_message_is_sent_once_and_in_order_whatever_the_socket_takes() {
        for version in ProtocolVersion::ALL {
            for (senders, topics, messages, size) in
                [(1, 1, 100, 16), (3, 1, 50, 100), (2, 12, 200, 33), (3, 100, 250, 16), (1, 3, 5, 5000), (4, 2, 3, 20)]
            {
                let spread = Spread { senders, topics, messages };
                for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                    for (topic, tally) in (0..).zip(sent(version, qos, spread, size)) {
                        let expected = Tally { received: spread.of_topic(topic), ..Tally::default() };
                        assert_eq!(tally, expected, "{version} {qos:?} {spread:?} topic {topic}");
                    }
                }
            }
        }
    }

    #[test]
    fn illegal_topics_are_refused() {
        for prefix in ["a/#", "+", "a\0b"] {
            assert!(Topics::new(prefix, 3).is_err(), "{prefix:?}");
        }
    }
}
