//! Encodes the messages of senders: many PUBLISH packets for each system call, and almost no work for each packet.
//!
//! All packets of a run have the same length, because topic names and payloads have. The content of a sender's whole
//! stream follows from the position in it: the byte at position `p` belongs to packet `p / length`. A thread has one
//! buffer of packets for all its senders. To fill it for one of them, only the topic's tail and the payload's header
//! are written into each packet. A sender's state is its position alone, however little its socket accepts.
//!
//! ```text
//!   | type, length | topic: prefix / tail | id (QoS 1, 2) | properties (MQTT 5) | header | padding |
//!                                   ^^^^     ^^                                     ^^^^^^
//! ```
//!
//! Each stream ends with a ping. The broker's answer shows that it has read everything before.

use wisp_wire::{EncodeError, Packet, PacketId, Properties, ProtocolVersion, Publish, QoS, TopicName};

use crate::drive::acks::packet_id;
use crate::drive::payload::{HEADER_BYTES, PayloadFormat};
use crate::drive::spread::Spread;
use crate::drive::topics::Topics;

/// The end of a sender's stream in MQTT.
pub(crate) const PINGREQ: &[u8] = &[0xC0, 0x00];

/// A message's packet, with the places that differ from one to the next.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) packet: Vec<u8>,
    pub(crate) tail_at: usize,
    pub(crate) tail_bytes: usize,
    /// Where the packet identifier is, if there is one.
    pub(crate) id_at: Option<usize>,
    /// The end of the bytes between the topic and the part before the payload that is equal in all packets.
    pub(crate) after_id: usize,
    pub(crate) header_at: usize,
    /// The bytes after the last packet; the broker answers them.
    pub(crate) end: &'static [u8],
}

/// The length of a packet identifier.
pub(crate) const ID_BYTES: usize = 2;

impl Template {
    /// The packet of messages to this topic.
    ///
    /// # Errors
    /// When no MQTT packet can be so large.
    pub(crate) fn new(
        topics: &Topics,
        topic: u32,
        payloads: &PayloadFormat,
        version: ProtocolVersion,
        qos: QoS,
    ) -> Result<Self, EncodeError> {
        let payload = payloads.blank();
        let name = topics.name(topic);
        let mut packet = Vec::new();
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: Some(TopicName::new(&name).expect("topics of MQTT were checked when they were made")),
            packet_id: PacketId::new(1).filter(|_| qos > QoS::AtMostOnce),
            properties: Properties::EMPTY,
            payload: &payload,
        };
        Packet::Publish(publish).encode(version, &mut packet)?;
        let header_at = packet.len() - payload.len();
        let after_id = header_at - usize::from(version.is_v5());
        let id_at = publish.packet_id.map(|_| after_id - ID_BYTES);
        let tail_bytes = topics.tail_bytes();
        let tail_at = id_at.unwrap_or(after_id) - tail_bytes;
        Ok(Self { packet, tail_at, tail_bytes, id_at, after_id, header_at, end: PINGREQ })
    }

    /// How long each packet is.
    #[must_use]
    pub(crate) fn packet_bytes(&self) -> usize {
        self.packet.len()
    }

    /// The bytes before the payload: up to the topic's tail or through it, and from the end of the packet identifier,
    /// or its place, on.
    #[must_use]
    pub(crate) fn lead(&self, with_tail: bool) -> (&[u8], &[u8]) {
        let tail_end = self.tail_at + self.tail_bytes;
        (&self.packet[..if with_tail { tail_end } else { self.tail_at }], &self.packet[self.after_id..self.header_at])
    }

    /// The bytes after a payload of `size` bytes.
    #[must_use]
    pub(crate) fn after_payload(&self, size: usize) -> &[u8] {
        &self.packet[self.header_at + size..]
    }
}

/// One thread's buffer of packets.
#[derive(Debug)]
pub(crate) struct Outgoing {
    payloads: PayloadFormat,
    spread: Spread,
    template: Template,
    topics: Topics,
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
    /// A buffer of about `buffer_bytes`, at least one packet.
    #[must_use]
    pub(crate) fn new(payloads: PayloadFormat, topics: Topics, template: Template, buffer_bytes: usize) -> Self {
        let packets = (buffer_bytes / template.packet_bytes()).max(1);
        let buffer = template.packet.repeat(packets);
        Self { payloads, spread: topics.layout().spread, topics, template, buffer, filled: None }
    }

    /// The length of a sender's whole stream.
    #[must_use]
    pub(crate) fn stream_bytes(&self, sender: u32) -> u64 {
        self.messages_bytes(sender) + self.template.end.len() as u64
    }

    /// How many messages a sender sends.
    #[must_use]
    pub(crate) fn messages(&self, sender: u32) -> u64 {
        self.spread.of_sender(sender)
    }

    /// How long each message's packet is.
    #[must_use]
    pub(crate) fn packet_bytes(&self) -> u64 {
        self.template.packet_bytes() as u64
    }

    /// The next bytes of a sender's stream; empty at its end. A caller that expects the socket to accept at most
    /// `likely_bytes` saves the work for the rest.
    pub(crate) fn next(&mut self, sender: u32, position: u64, likely_bytes: usize) -> &[u8] {
        let packet_bytes = self.template.packet_bytes() as u64;
        let messages_bytes = self.messages_bytes(sender);
        if position >= messages_bytes {
            let sent = usize::try_from(position - messages_bytes).unwrap_or(usize::MAX);
            return self.template.end.get(sent..).unwrap_or_default();
        }
        let at = position / packet_bytes;
        let filled = match self.filled {
            Some(filled) if filled.sender == sender && filled.has(at) => filled,
            // No more than requested: the next call would return only the remainder.
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

    /// Writes the packets of a sender from number `first` on into the buffer.
    fn fill(&mut self, sender: u32, first: u64, likely_bytes: usize) -> Filled {
        let packet_bytes = self.template.packet_bytes();
        let room = likely_bytes.div_ceil(packet_bytes).clamp(1, self.buffer.len() / packet_bytes);
        let packets = (self.spread.of_sender(sender) - first).min(room as u64);
        let (mut topic, _) = self.spread.place(sender, first);
        let payloads = self.payloads.of_sender(sender);
        let Template { tail_at, tail_bytes, id_at, header_at, .. } = self.template;
        // As many as fit the buffer.
        let buffer = self.buffer.chunks_exact_mut(packet_bytes).take(packets as usize);
        for (n, packet) in (first..).zip(buffer) {
            if self.spread.topics > 1 {
                packet[tail_at..tail_at + tail_bytes].copy_from_slice(self.topics.tail(topic));
                topic = if topic + 1 == self.spread.topics { 0 } else { topic + 1 };
            }
            packet[header_at..header_at + HEADER_BYTES].copy_from_slice(&payloads.header(n));
            if let Some(at) = id_at {
                packet[at..at + ID_BYTES].copy_from_slice(&packet_id(n).to_be_bytes());
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
    use crate::drive::pattern::{Layout, Pattern};
    use crate::drive::payload::Header;
    use crate::drive::topics::Naming;

    /// Decodes the streams of all senders, taken in pieces of odd sizes, and returns the receivers' counts.
    fn sent(version: ProtocolVersion, qos: QoS, layout: &Layout, size: usize) -> Vec<Tally> {
        let topics = Topics::new(layout, "a/b", Naming::MQTT).unwrap();
        let (payloads, spread) = (PayloadFormat::new(9, size), layout.spread);
        let template = Template::new(&topics, 0, &payloads, version, qos).unwrap();
        let mut outgoing = Outgoing::new(payloads, topics.clone(), template, 1000);
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
        let mut checkers: Vec<_> = (0..layout.receivers).map(|receiver| Checker::new(layout, receiver, None)).collect();
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
                let header = payloads.verify(publish.payload).unwrap();
                assert_eq!(header, Header { run: 9, sender, n });
                let topic = topics.topic(&header);
                assert_eq!(publish.topic.unwrap().as_str(), topics.name(topic));
                let receiver = topic / layout.topics_of_each();
                checkers[receiver as usize].check(header);
                n += 1;
            }
            assert!(rest.is_empty());
        }
        checkers.iter().map(|checker| *checker.tally()).collect()
    }

    #[test]
    fn every_message_is_sent_once_and_in_order_whatever_the_socket_takes() {
        for version in ProtocolVersion::ALL {
            for (pattern, senders, receivers, messages, size) in [
                (Pattern::OneToOne, 1, 1, 100, 16),
                (Pattern::FanIn, 3, 1, 50, 100),
                (Pattern::OneToOne, 2, 12, 200, 33),
                (Pattern::OneToOne, 3, 100, 250, 16),
                (Pattern::OneToOne, 1, 3, 5, 5000),
                (Pattern::Queue, 4, 1, 3, 20),
                (Pattern::Wildcard, 4, 3, 503, 20),
            ] {
                let layout = Layout::new(pattern, senders, receivers, None, messages).unwrap();
                for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                    for (receiver, tally) in (0..).zip(sent(version, qos, &layout, size)) {
                        let received = layout.topics_of(receiver).map(|topic| layout.spread.of_topic(topic)).sum();
                        let expected = Tally { received, ..Tally::default() };
                        assert_eq!(tally, expected, "{version} {qos:?} {layout:?} receiver {receiver}");
                    }
                }
            }
        }
    }
}
