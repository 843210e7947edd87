//! What comes from the broker: from the socket into the thread's one scratch buffer, cut into packets there.
//!
//! A receiver's messages all begin with the same bytes and have the same length, so that telling one takes a
//! comparison of some twenty bytes, and no message is decoded, copied or allocated for. Everything else goes
//! the long way through wisp-wire. Of a packet that is not complete, the beginning stays with its connection.

use std::io;

use wisp_net::Stream;
use wisp_wire::{Packet, ProtocolVersion};

use crate::checker::{Checker, Tally};
use crate::outgoing::Template;
use crate::payload::Header;

/// One connection's side of receiving.
#[derive(Debug)]
pub(crate) struct Inbound {
    version: ProtocolVersion,
    packet_bytes_max: u32,
    /// The beginning of a packet whose end has not come.
    partial: Vec<u8>,
    /// `None` for a sender's connection, where only answers come.
    messages: Option<Messages>,
    /// How many pings the broker has answered.
    pub(crate) pongs: u64,
}

/// What a receiver is to get.
#[derive(Debug)]
struct Messages {
    /// What each begins with, up to its payload.
    lead: Vec<u8>,
    packet_bytes: usize,
    checker: Checker,
}

/// What one attempt to receive gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Received {
    /// The buffer was filled, so there is more.
    More,
    /// All there was.
    All,
    /// Nothing.
    Nothing,
}

impl Inbound {
    /// For a connection on which only answers come. `early` are bytes that were received already.
    pub(crate) fn answers(version: ProtocolVersion, packet_bytes_max: u32, early: Vec<u8>) -> Self {
        Self { version, packet_bytes_max, partial: early, messages: None, pongs: 0 }
    }

    /// For a receiver, which gets messages like `template`.
    pub(crate) fn messages(
        version: ProtocolVersion,
        packet_bytes_max: u32,
        early: Vec<u8>,
        template: &Template,
        checker: Checker,
    ) -> Self {
        let messages = Messages { lead: template.lead().to_vec(), packet_bytes: template.packet_bytes(), checker };
        Self { messages: Some(messages), ..Self::answers(version, packet_bytes_max, early) }
    }

    /// What was found in the messages so far.
    pub(crate) fn tally(&self) -> Tally {
        self.messages.as_ref().map_or_else(Tally::default, |messages| *messages.checker.tally())
    }

    /// Different messages received so far.
    #[inline]
    pub(crate) fn received(&self) -> u64 {
        self.messages.as_ref().map_or(0, |messages| messages.checker.tally().received)
    }

    /// Receives once. `scratch` must hold the largest packet and more.
    pub(crate) fn receive(&mut self, stream: &impl Stream, scratch: &mut [u8]) -> Result<Received, String> {
        let begun = self.partial.len();
        scratch[..begun].copy_from_slice(&self.partial);
        let room = &mut scratch[begun..];
        let (room_bytes, received) = (room.len(), stream.recv(room));
        match received {
            Ok(0) => Err("the broker closed the connection".to_owned()),
            Ok(received) => {
                let bytes = &scratch[..begun + received];
                let used = self.take(bytes)?;
                self.partial.clear();
                self.partial.extend_from_slice(&bytes[used..]);
                Ok(if received == room_bytes { Received::More } else { Received::All })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) => Err(format!("the connection broke: {error}")),
        }
    }

    /// Takes the whole packets at the beginning of `bytes`, and says how long they were.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            if let Some(Messages { lead, packet_bytes, checker }) = &mut self.messages
                && rest.len() >= *packet_bytes
                && rest.starts_with(lead)
                && let Some(header) = Header::read(&rest[lead.len()..])
            {
                checker.check(header);
                at += *packet_bytes;
                continue;
            }
            match self.take_other(rest)? {
                0 => return Ok(at),
                length => at += length,
            }
        }
    }

    /// Takes a packet that is not the usual message, or none (0) if it is not complete.
    #[cold]
    fn take_other(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let decoded = wisp_wire::decode(bytes, self.version, self.packet_bytes_max);
        let decoded = decoded.map_err(|error| format!("the broker does not keep to MQTT: {error}"))?;
        let Some((packet, length)) = decoded else { return Ok(0) };
        match packet {
            Packet::Publish(publish) => match &mut self.messages {
                Some(Messages { lead, packet_bytes, checker }) => {
                    let header = Header::read(publish.payload);
                    // Properties or flags that the broker added make another packet of the same message.
                    let topic = publish.topic.map(|topic| topic.as_str().as_bytes());
                    let same_topic = topic.is_some_and(|topic| lead.windows(topic.len()).any(|part| part == topic));
                    match header.filter(|_| same_topic && publish.payload.len() == *packet_bytes - lead.len()) {
                        Some(header) => checker.check(header),
                        None => checker.check_odd(header),
                    }
                }
                None => return Err("the broker sent a message to a client that did not subscribe".to_owned()),
            },
            Packet::PingResp => self.pongs += 1,
            Packet::Disconnect(disconnect) => {
                return Err(format!("the broker closed the connection: {}", disconnect.code));
            }
            _ => {}
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outgoing::{Outgoing, Topics};
    use crate::spread::Spread;
    use wisp_wire::{Properties, Property, Publish, QoS, TopicName};

    const SPREAD: Spread = Spread { senders: 2, topics: 1, messages: 100 };

    fn receiver(version: ProtocolVersion) -> (Inbound, Vec<u8>) {
        let topics = Topics::new("t", 1).unwrap();
        let template = Template::new(&topics, 0, 40, version).unwrap();
        let mut outgoing = Outgoing::new(5, SPREAD, &topics, template.clone(), 10_000);
        let mut stream = Vec::new();
        for sender in 0..2 {
            let mut position = 0;
            while position + 2 < outgoing.stream_bytes(sender) {
                let bytes = outgoing.next(sender, position, 10_000);
                position += bytes.len() as u64;
                stream.extend_from_slice(bytes);
            }
        }
        let checker = Checker::new(5, &SPREAD, 0);
        (Inbound::messages(version, 1000, Vec::new(), &template, checker), stream)
    }

    fn feed(inbound: &mut Inbound, mut bytes: &[u8], piece: usize) -> Result<(), String> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(piece.min(bytes.len()));
            let all = [std::mem::take(&mut inbound.partial), now.to_vec()].concat();
            let used = inbound.take(&all)?;
            inbound.partial = all[used..].to_vec();
            bytes = later;
        }
        Ok(())
    }

    #[test]
    fn pieces_do_not_matter() {
        for version in ProtocolVersion::ALL {
            for piece in [1, 2, 7, 48, 1000, usize::MAX] {
                let (mut inbound, stream) = receiver(version);
                feed(&mut inbound, &stream, piece).unwrap();
                assert_eq!(inbound.tally(), Tally { received: 100, ..Tally::default() }, "{version} {piece}");
                assert!(inbound.partial.is_empty());
            }
        }
    }

    #[test]
    fn properties_of_the_broker_do_not_make_another_message() {
        let (mut inbound, _) = receiver(ProtocolVersion::Mqtt5);
        let mut payload = [0; 40];
        payload[..16].copy_from_slice(&Header { run: 5, sender: 1, sequence: 0 }.to_bytes());
        let mut bytes = Vec::new();
        let added = [Property::MessageExpiryInterval(5)];
        for (topic, length) in [("t/0", 40), ("t/1", 40), ("t/0", 39), ("t/0", 3)] {
            let publish = Publish {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: false,
                topic: Some(TopicName::new(topic).unwrap()),
                packet_id: None,
                properties: Properties::from_slice(&added),
                payload: &payload[..length],
            };
            Packet::Publish(publish).encode(ProtocolVersion::Mqtt5, &mut bytes).unwrap();
        }
        feed(&mut inbound, &bytes, usize::MAX).unwrap();
        assert_eq!(inbound.tally(), Tally { received: 1, corrupt: 2, foreign: 1, ..Tally::default() });
    }

    #[test]
    fn answers_are_heard_and_rubbish_is_refused() {
        let (mut inbound, _) = receiver(ProtocolVersion::Mqtt5);
        feed(&mut inbound, &[0xD0, 0, 0xD0, 0], 3).unwrap();
        assert_eq!(inbound.pongs, 2);
        assert!(feed(&mut inbound, &[0xE0, 1, 0x8B], 9).unwrap_err().contains("shutting down"));
        assert!(feed(&mut inbound, &[0, 0], 9).is_err());

        let mut sender = Inbound::answers(ProtocolVersion::Mqtt311, 1000, Vec::new());
        let (_, stream) = receiver(ProtocolVersion::Mqtt311);
        assert!(feed(&mut sender, &stream, usize::MAX).is_err());
    }
}
