//! The receiving side of a connection: reads from the socket into the thread's scratch buffer and cuts packets out of
//! it.
//!
//! All messages of a receiver begin with the same bytes and have the same length. Recognizing one is therefore a
//! comparison of some twenty bytes, and no message is decoded, copied or allocated. Acknowledgements of four bytes are
//! recognized as quickly. All other packets are decoded by wisp-wire. The beginning of an incomplete packet stays with
//! its connection.

use std::io;
use std::mem;

use wisp_client::{ByteStream, Read};
use wisp_wire::{Packet, ProtocolVersion, QoS};

use crate::drive::acks::Acks;
use crate::drive::checker::Checker;
use crate::drive::error::{ConnectionError, Hint};
use crate::drive::messages::Messages;
use crate::drive::nats::{self, Operation};
use crate::drive::outgoing::PINGREQ;
use crate::drive::protocol::Protocol;
use crate::drive::replies::Replies;
use crate::drive::timing::Timing;

/// One connection's side of receiving.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) protocol: Protocol,
    packet_bytes_max: u32,
    /// The beginning of a packet whose end has not come.
    partial: Vec<u8>,
    /// `partial` has whole packets that were received before the run.
    has_early: bool,
    expected: Expected,
    /// Packets for the broker: acknowledgements and pings.
    pub(crate) replies: Replies,
    /// How many pings the broker has answered.
    pongs: u64,
    /// How many were sent before the one that ends a sender's stream.
    early_pings: u64,
}

/// The packets that a connection expects.
#[derive(Debug)]
enum Expected {
    /// A receiver's.
    Messages(Box<Messages>),
    /// A sender's.
    Acks(Acks),
}

/// The result of one attempt to receive.
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
    /// For a sender, which gets acknowledgements only. `early` are bytes that were received already.
    pub(crate) fn acks(protocol: Protocol, packet_bytes_max: u32, early: Vec<u8>, sender: u32, qos: QoS) -> Self {
        Self::new(protocol, packet_bytes_max, early, Expected::Acks(Acks::new(sender, qos)))
    }

    /// For a receiver.
    pub(crate) fn messages(protocol: Protocol, packet_bytes_max: u32, early: Vec<u8>, messages: Messages) -> Self {
        Self::new(protocol, packet_bytes_max, early, Expected::Messages(Box::new(messages)))
    }

    fn new(protocol: Protocol, packet_bytes_max: u32, early: Vec<u8>, expected: Expected) -> Self {
        let replies = Replies::default();
        let has_early = !early.is_empty();
        Self { protocol, packet_bytes_max, partial: early, has_early, expected, replies, pongs: 0, early_pings: 0 }
    }

    /// A receiver's checker, when all is over.
    pub(crate) fn into_checker(self) -> Option<Checker> {
        match self.expected {
            Expected::Messages(messages) => Some(messages.checker),
            Expected::Acks(_) => None,
        }
    }

    /// Different messages received so far.
    #[inline]
    pub(crate) fn received(&self) -> u64 {
        match &self.expected {
            Expected::Messages(messages) => messages.checker.tally().received,
            Expected::Acks(_) => 0,
        }
    }

    /// A sender's messages, of which all before this one are acknowledged.
    #[inline]
    pub(crate) fn settled(&self) -> u64 {
        match &self.expected {
            Expected::Messages(_) => 0,
            Expected::Acks(acks) => acks.settled(),
        }
    }

    /// Tells how many of a sender's messages were sent whole.
    #[inline]
    pub(crate) fn note_sent(&mut self, messages: u64) {
        if let Expected::Acks(acks) = &mut self.expected {
            acks.note_sent(messages);
        }
    }

    /// Asks for an answer so that the broker does not take silence for absence. `is_early` if a sender's stream is still to be ended
    /// by a ping: answers come in the order of the pings.
    pub(crate) fn ping(&mut self, is_early: bool) {
        if let Protocol::Mqtt(_) = self.protocol {
            self.replies.push_bytes(PINGREQ);
            self.early_pings += u64::from(is_early);
        }
    }

    /// Whether the broker has answered the ping at the end of a sender's stream, and so has read all of it.
    #[inline]
    pub(crate) fn is_confirmed(&self) -> bool {
        matches!(self.expected, Expected::Acks(_)) && self.pongs > self.early_pings
    }

    /// Receives once. The incomplete packet is copied into `scratch` before the received bytes. If it would take more
    /// than half of `scratch`, the received bytes are appended to it instead, so that a long message is not copied
    /// again with each read.
    pub(crate) fn receive(
        &mut self,
        stream: &mut impl ByteStream,
        scratch: &mut [u8],
        mut timing: Option<&mut Timing>,
    ) -> Result<Received, ConnectionError> {
        if mem::take(&mut self.has_early) {
            // The broker may wait for their acknowledgements before it sends more.
            let early = mem::take(&mut self.partial);
            let used = self.take(&early, timing.as_deref_mut())?;
            self.partial = early[used..].to_vec();
        }
        let is_long = self.partial.len() > scratch.len() / 2;
        let begun = if is_long { 0 } else { self.partial.len() };
        scratch[..begun].copy_from_slice(&self.partial[..begun]);
        let room = &mut scratch[begun..];
        match stream.read(room) {
            Ok(Read { bytes: 0, .. }) => Err(ConnectionError::Closed(self.hint())),
            Ok(Read { bytes: received, more }) => {
                if let Some(timing) = &mut timing {
                    timing.note_read();
                }
                let bytes = &scratch[..begun + received];
                if is_long {
                    let mut long = mem::take(&mut self.partial);
                    long.extend_from_slice(bytes);
                    let used = self.take(&long, timing)?;
                    long.drain(..used);
                    self.partial = long;
                } else {
                    let used = self.take(bytes, timing)?;
                    self.partial.clear();
                    self.partial.extend_from_slice(&bytes[used..]);
                }
                Ok(if more { Received::More } else { Received::All })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) => Err(ConnectionError::Broke(error, self.hint())),
        }
    }

    /// The likely reason for an end of the connection.
    fn hint(&self) -> Hint {
        match (self.protocol, &self.expected) {
            (Protocol::Nats, Expected::Messages(_)) => Hint::SlowReceiver,
            _ => Hint::None,
        }
    }

    /// Takes the whole packets at the beginning of `bytes`, and says how long they were.
    fn take(&mut self, bytes: &[u8], mut timing: Option<&mut Timing>) -> Result<usize, ConnectionError> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            at += match &mut self.expected {
                Expected::Messages(messages) => messages.take_usual(rest, &mut self.replies, timing.as_deref_mut()),
                Expected::Acks(acks) => acks.take_usual(rest, &mut self.replies, timing.as_deref_mut())?,
            };
            match self.take_other(&bytes[at..], timing.as_deref_mut())? {
                0 => return Ok(at),
                length => at += length,
            }
        }
    }

    /// Takes a packet that is not a usual one, or none (0) if it is not complete.
    #[cold]
    fn take_other(&mut self, bytes: &[u8], timing: Option<&mut Timing>) -> Result<usize, ConnectionError> {
        match self.protocol {
            Protocol::Mqtt(version) => self.take_packet(bytes, version, timing),
            Protocol::Nats => self.take_operation(bytes, timing),
        }
    }

    fn take_packet(
        &mut self,
        bytes: &[u8],
        version: ProtocolVersion,
        timing: Option<&mut Timing>,
    ) -> Result<usize, ConnectionError> {
        let decoded = wisp_wire::decode(bytes, version, self.packet_bytes_max)?;
        let Some((packet, length)) = decoded else { return Ok(0) };
        match (&packet, &mut self.expected) {
            (Packet::Publish(publish), Expected::Messages(messages)) => {
                messages.take_other(publish, &mut self.replies, timing);
            }
            (Packet::PubRel(release), Expected::Messages(messages)) => {
                messages.released(release.packet_id.get(), &mut self.replies);
            }
            (Packet::Publish(_), Expected::Acks(_)) => {
                return Err(ConnectionError::NotSubscribed);
            }
            (Packet::PingResp, _) => self.pongs += 1,
            (Packet::Disconnect(disconnect), _) => {
                return Err(ConnectionError::Disconnected(disconnect.code));
            }
            (packet, Expected::Acks(acks)) => {
                acks.take_packet(packet, &mut self.replies, timing)?;
            }
            _ => {}
        }
        Ok(length)
    }

    fn take_operation(&mut self, bytes: &[u8], timing: Option<&mut Timing>) -> Result<usize, ConnectionError> {
        // The payload of a message that is let in is smaller than its packet.
        let decoded = nats::decode(bytes, self.packet_bytes_max as usize)?;
        let Some((operation, length)) = decoded else { return Ok(0) };
        match (operation, &mut self.expected) {
            (Operation::Message { subject, payload }, Expected::Messages(messages)) => {
                messages.check_other(subject, payload, QoS::AtMostOnce, timing);
            }
            (Operation::Message { .. }, Expected::Acks(_)) => return Err(ConnectionError::NotSubscribed),
            (Operation::Ping, _) => self.replies.push_bytes(nats::PONG),
            (Operation::Pong, _) => self.pongs += 1,
            (Operation::Error(why), _) => return Err(ConnectionError::ServerError(nats::one_line(why))),
            // It may tell of itself at any time, such as when others join its cluster.
            (Operation::Info(_) | Operation::Ok, _) => {}
        }
        Ok(length)
    }
}

#[cfg(test)]
mod nats_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::checker::Tally;
    use crate::drive::outgoing::{Outgoing, Template};
    use crate::drive::pattern::{Layout, Pattern};
    use crate::drive::payload::PayloadFormat;
    use crate::drive::replies::{PUBACK, PUBCOMP, PUBREC, PUBREL, SHORT_BYTES, short};
    use crate::drive::topics::{Naming, Topics};
    use std::sync::Mutex;
    use wisp_net::Stream;
    use wisp_wire::{Properties, Property, Publish, TopicName};

    const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

    fn receiver(version: ProtocolVersion, qos: QoS) -> (Inbound, Vec<u8>) {
        receiver_in(Pattern::FanIn, None, version, qos)
    }

    /// A receiver, and the bytes of its messages.
    fn receiver_in(pattern: Pattern, topics: Option<u32>, version: ProtocolVersion, qos: QoS) -> (Inbound, Vec<u8>) {
        let layout = Layout::new(pattern, 2, 1, topics, 100).unwrap();
        let (topics, payloads) = (Topics::new(&layout, "t", Naming::MQTT).unwrap(), PayloadFormat::new(5, 40));
        let template = Template::new(&topics, 0, &payloads, version, qos).unwrap();
        let mut outgoing = Outgoing::new(payloads, topics.clone(), template.clone(), 10_000);
        let mut stream = Vec::new();
        for sender in 0..2 {
            let mut position = 0;
            while position + 2 < outgoing.stream_bytes(sender) {
                let bytes = outgoing.next(sender, position, 10_000);
                position += bytes.len() as u64;
                stream.extend_from_slice(bytes);
            }
        }
        let messages = Messages::new(&template, payloads, topics, qos, Checker::new(&layout, 0, None));
        (Inbound::messages(Protocol::Mqtt(version), 1000, Vec::new(), messages), stream)
    }

    pub(super) fn tally(inbound: &Inbound) -> Tally {
        match &inbound.expected {
            Expected::Messages(messages) => *messages.checker.tally(),
            Expected::Acks(_) => Tally::default(),
        }
    }

    pub(super) fn feed(inbound: &mut Inbound, mut bytes: &[u8], piece: usize) -> Result<(), ConnectionError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(piece.min(bytes.len()));
            let all = [std::mem::take(&mut inbound.partial), now.to_vec()].concat();
            let used = inbound.take(&all, None)?;
            inbound.partial = all[used..].to_vec();
            bytes = later;
        }
        Ok(())
    }

    /// The replies so far, as first bytes and identifiers.
    fn replies(inbound: &mut Inbound) -> Vec<(u8, u16)> {
        let mut rest = std::mem::take(&mut inbound.replies).into_bytes();
        let mut found = Vec::new();
        while let Some(reply) = short(&rest) {
            found.push(reply);
            rest.drain(..SHORT_BYTES);
        }
        assert!(rest.is_empty());
        found
    }

    #[test]
    fn pieces_do_not_matter() {
        for (version, qos) in ProtocolVersion::ALL.into_iter().flat_map(|version| ALL.map(|qos| (version, qos))) {
            for piece in [1, 2, 7, 48, 1000, usize::MAX] {
                let (mut inbound, stream) = receiver(version, qos);
                for half in stream.chunks(stream.len() / 2) {
                    feed(&mut inbound, half, piece).unwrap();
                    let answered = replies(&mut inbound);
                    let ids = (1..=50).filter(|_| qos > QoS::AtMostOnce);
                    let first = if qos == QoS::ExactlyOnce { PUBREC } else { PUBACK };
                    assert_eq!(answered, ids.map(|id| (first, id)).collect::<Vec<_>>());
                    let releases = answered.iter().filter(|(first, _)| *first == PUBREC);
                    let releases = releases.flat_map(|(_, id)| [PUBREL, 2, 0, *id as u8]).collect::<Vec<_>>();
                    feed(&mut inbound, &releases, piece).unwrap();
                    assert!(replies(&mut inbound).iter().all(|(first, _)| *first == PUBCOMP));
                }
                assert_eq!(tally(&inbound), Tally { received: 100, ..Tally::default() }, "{version} {qos:?} {piece}");
                assert!(inbound.partial.is_empty());
            }
        }
    }

    /// A socket that has these bytes.
    struct Bytes(Mutex<Vec<u8>>);

    impl Stream for Bytes {
        fn send(&self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn recv(&self, room: &mut [u8]) -> io::Result<usize> {
            let bytes = &mut *self.0.lock().unwrap();
            let taken = bytes.len().min(room.len());
            room[..taken].copy_from_slice(&bytes[..taken]);
            bytes.drain(..taken);
            if taken > 0 { Ok(taken) } else { Err(io::ErrorKind::WouldBlock.into()) }
        }

        fn shutdown(&self, _: std::net::Shutdown) -> io::Result<()> {
            Ok(())
        }

        fn set_nodelay(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn neither_a_packet_nor_what_came_early_is_too_long_for_the_buffer() {
        for (scratch_bytes, early_bytes) in [(7, 0), (7, 5), (30, 20), (64, 1000), (100, 0), (100, 3000), (100_000, 60)]
        {
            let (mut inbound, stream) = receiver(ProtocolVersion::Mqtt5, QoS::AtMostOnce);
            let (early, later) = stream.split_at(early_bytes);
            (inbound.partial, inbound.has_early) = (early.to_vec(), !early.is_empty());
            let (mut socket, mut scratch) = (Bytes(Mutex::new(later.to_vec())), vec![0; scratch_bytes]);
            while inbound.receive(&mut socket, &mut scratch, None).unwrap() != Received::Nothing {}
            assert_eq!(tally(&inbound), Tally { received: 100, ..Tally::default() }, "{scratch_bytes} {early_bytes}");
            assert!(inbound.partial.is_empty());
        }
    }

    #[test]
    fn answers_to_pings_on_the_way_confirm_nothing() {
        let mqtt = Protocol::Mqtt(ProtocolVersion::Mqtt5);
        let mut sender = Inbound::acks(mqtt, 1000, Vec::new(), 0, QoS::AtMostOnce);
        sender.ping(true);
        sender.ping(true);
        assert_eq!(std::mem::take(&mut sender.replies).into_bytes(), PINGREQ.repeat(2));
        for (is_last, answer) in [(false, 1), (false, 2), (true, 3), (true, 4)] {
            if answer == 4 {
                // While receivers are waited for, the stream's end being answered.
                sender.ping(false);
            }
            feed(&mut sender, &[0xD0, 0], 9).unwrap();
            assert_eq!(sender.is_confirmed(), is_last, "{answer}");
        }
        let (mut receiver, _) = receiver(ProtocolVersion::Mqtt5, QoS::AtMostOnce);
        receiver.ping(false);
        feed(&mut receiver, &[0xD0, 0], 9).unwrap();
        assert!(!receiver.is_confirmed(), "it has sent nothing");
    }

    #[test]
    fn until_it_is_released_an_identifier_is_one_message() {
        let (mut inbound, stream) = receiver(ProtocolVersion::Mqtt5, QoS::ExactlyOnce);
        // Both senders' messages under the same identifiers.
        feed(&mut inbound, &stream, usize::MAX).unwrap();
        assert_eq!(tally(&inbound), Tally { received: 50, ..Tally::default() });
        assert_eq!(replies(&mut inbound).len(), 100, "each is answered");
        // In the long form, with a code.
        feed(&mut inbound, &[PUBREL, 4, 0, 1, 0, 0], 4).unwrap();
        assert_eq!(replies(&mut inbound), [(PUBCOMP, 1)]);
        feed(&mut inbound, &stream[stream.len() / 2..], usize::MAX).unwrap();
        assert_eq!(tally(&inbound), Tally { received: 51, ..Tally::default() });
    }

    #[test]
    fn acknowledgements_open_the_window_in_any_order_and_form() {
        let sender = |qos| {
            let mut inbound = Inbound::acks(Protocol::Mqtt(ProtocolVersion::Mqtt5), 1000, Vec::new(), 0, qos);
            inbound.note_sent(4);
            inbound
        };
        let mut once = sender(QoS::AtLeastOnce);
        for (bytes, settled) in [
            (&[PUBACK, 2, 0, 1][..], 1),
            (&[PUBACK, 2, 0, 3], 1),
            (&[PUBACK, 3, 0, 2, 0x10], 3),
            (&[PUBACK, 4, 0, 4, 0, 0], 4),
        ] {
            feed(&mut once, bytes, 3).unwrap();
            assert_eq!(once.settled(), settled, "{bytes:?}");
        }
        let mut exactly = sender(QoS::ExactlyOnce);
        for (bytes, reply, settled) in [
            (&[PUBREC, 2, 0, 2][..], Some((PUBREL, 2)), 0),
            (&[PUBREC, 3, 0, 1, 0x10], Some((PUBREL, 1)), 0),
            (&[PUBCOMP, 2, 0, 2], None, 0),
            (&[PUBCOMP, 2, 0, 1], None, 2),
        ] {
            feed(&mut exactly, bytes, 3).unwrap();
            assert_eq!((replies(&mut exactly), exactly.settled()), (reply.into_iter().collect(), settled), "{bytes:?}");
        }
        for (qos, bytes) in [
            (QoS::AtLeastOnce, &[PUBACK, 2, 0, 5][..]),
            (QoS::AtLeastOnce, &[PUBACK, 2, 0, 1, PUBACK, 2, 0, 1]),
            (QoS::AtLeastOnce, &[PUBACK, 2, 0, 2, PUBACK, 2, 0, 2]),
            (QoS::AtLeastOnce, &[PUBREC, 2, 0, 1]),
            (QoS::AtLeastOnce, &[PUBACK, 3, 0, 1, 0x97]),
            (QoS::ExactlyOnce, &[PUBACK, 2, 0, 1]),
            (QoS::ExactlyOnce, &[PUBCOMP, 2, 0, 1]),
            (QoS::ExactlyOnce, &[PUBREC, 2, 0, 1, PUBREC, 2, 0, 1]),
            (QoS::AtMostOnce, &[PUBACK, 2, 0, 1]),
        ] {
            assert!(feed(&mut sender(qos), bytes, usize::MAX).is_err(), "{qos:?} {bytes:?}");
        }
    }

    #[test]
    fn properties_of_the_broker_do_not_make_another_message() {
        let (mut inbound, _) = receiver(ProtocolVersion::Mqtt5, QoS::AtMostOnce);
        let payloads = PayloadFormat::new(5, 40);
        let mut payload = payloads.blank();
        payload[..16].copy_from_slice(&payloads.of_sender(1).header(0));
        let mut bytes = Vec::new();
        let added = [Property::MessageExpiryInterval(5)];
        for (topic, length) in [("t/0", 40), ("t/1", 40), ("t/0", 39), ("t/0", 2)] {
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
        assert_eq!(tally(&inbound), Tally { received: 1, corrupt: 2, foreign: 1, ..Tally::default() });
    }

    #[test]
    fn messages_of_several_topics_are_as_usual_and_each_has_its_own() {
        for (pattern, topics, name) in [(Pattern::FanOut, Some(12), "t/01"), (Pattern::Wildcard, None, "t/0/1")] {
            for (version, qos) in ProtocolVersion::ALL.into_iter().flat_map(|version| ALL.map(|qos| (version, qos))) {
                let (mut inbound, mut stream) = receiver_in(pattern, topics, version, qos);
                let half = stream.len() / 2;
                let Expected::Messages(messages) = &mut inbound.expected else { unreachable!() };
                let used = messages.take_usual(&stream[..half], &mut Replies::default(), None);
                assert_eq!(used, half, "none goes the long way");
                let releases = (1..=50).flat_map(|id| [PUBREL, 2, 0, id]).collect::<Vec<_>>();
                feed(&mut inbound, &releases, usize::MAX).unwrap();
                // Sender 1 begins with topic 1. Its second message comes from there too.
                let found = stream[half..].windows(name.len()).position(|part| part == name.as_bytes()).unwrap();
                let second = half + half / 50 + found + name.len() - 1;
                assert_eq!(stream[second], b'2');
                stream[second] = b'1';
                feed(&mut inbound, &stream[half..], 777).unwrap();
                let expected = Tally { received: 99, corrupt: 1, ..Tally::default() };
                assert_eq!(tally(&inbound), expected, "{pattern} {version} {qos:?}");
            }
        }
    }

    #[test]
    fn answers_are_heard_and_rubbish_is_refused() {
        let (mut inbound, _) = receiver(ProtocolVersion::Mqtt5, QoS::AtMostOnce);
        feed(&mut inbound, &[0xD0, 0, 0xD0, 0], 3).unwrap();
        assert_eq!(inbound.pongs, 2);
        assert!(feed(&mut inbound, &[0xE0, 1, 0x8B], 9).unwrap_err().to_string().contains("shutting down"));
        assert!(feed(&mut inbound, &[0, 0], 9).is_err());

        let mqtt = Protocol::Mqtt(ProtocolVersion::Mqtt311);
        let mut sender = Inbound::acks(mqtt, 1000, Vec::new(), 0, QoS::AtMostOnce);
        let (_, stream) = receiver(ProtocolVersion::Mqtt311, QoS::AtMostOnce);
        assert!(feed(&mut sender, &stream, usize::MAX).is_err());
    }
}
