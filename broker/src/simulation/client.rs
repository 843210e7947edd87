//! A client that publishes, subscribes, and breaks its connections by a sequence of random numbers. It follows the
//! standard: it repeats unacknowledged packets in order, and acknowledges the messages it gets.

use std::collections::{HashSet, VecDeque};
use std::io;

use wisp_net::Stream;
use wisp_net::memory::MemoryStream;
use wisp_wire::{
    Connect, Disconnect, EncodeError, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, PubComp, PubRec,
    PubRel, Publish, QoS, ReasonCode, Subscribe, SubscriptionOptions, Subscriptions, TopicFilter, TopicFilters,
    TopicName, Unsubscribe, decode,
};

use super::Rng;
use super::ledger::Ledger;
use super::policy::{LIMBO, SECRET};
use super::store::Kept;
use super::transport::MASK;

const TOPICS: [&str; 4] = ["t/0", "t/1", "t/2", "t/secret"];
const LIMBO_TOPIC: &str = "t/limbo";
pub(super) const PACKET_BYTES_MAX: u32 = 1 << 20;

/// The client's end of a connection, with the bytes to be sent and received.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) stream: Option<MemoryStream>,
    pub(super) outgoing: VecDeque<u8>,
    pub(super) incoming: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: MemoryStream) -> Self {
        Self { stream: Some(stream), ..Self::default() }
    }

    /// Sends and receives up to `most` bytes. False if the broker has closed the connection and nothing is left to read.
    pub(super) fn exchange(&mut self, most: usize) -> bool {
        let Some(stream) = &self.stream else { return false };
        let count = self.outgoing.len().min(most);
        let masked: Vec<u8> = self.outgoing.iter().take(count).map(|byte| byte ^ MASK).collect();
        if let (false, Ok(sent)) = (masked.is_empty(), stream.send(&masked)) {
            self.outgoing.drain(..sent);
        }
        let mut buffer = vec![0; most];
        match stream.recv(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.incoming.extend(buffer[..count].iter().map(|byte| byte ^ MASK));
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    pub(super) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) {
        let mut packet = Vec::new();
        encode(&mut packet).expect("a legal packet");
        self.outgoing.extend(packet);
    }
}

/// A packet that the broker has not acknowledged.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Message { id: PacketId, number: usize, topic: &'static str, qos: QoS },
    Release { id: PacketId },
}

/// A filter, and the acknowledged state of the subscription to it.
#[derive(Debug)]
struct Wish {
    filter: &'static str,
    qos: QoS,
    is_wanted: bool,
    is_confirmed: bool,
}

pub(super) struct Client {
    pub(super) id: String,
    version: ProtocolVersion,
    /// Its session outlives its connections.
    is_kept: bool,
    rng: Rng,
    wire: Option<Wire>,
    is_connected: bool,
    /// Unacknowledged packets have been repeated on this connection.
    has_repeated: bool,
    /// Connections left open when it made another.
    abandoned: Vec<MemoryStream>,
    last_id: u16,
    unacknowledged: VecDeque<Sent>,
    /// Messages at QoS 2 without PUBREL from the broker.
    received: HashSet<PacketId>,
    wishes: Vec<Wish>,
    /// The SUBSCRIBE or UNSUBSCRIBE that was not answered: its identifier and the number of the wish.
    asked: Option<(PacketId, usize)>,
    pings: u32,
    has_disconnected: bool,
}

impl Client {
    pub(super) fn new(index: usize, mut rng: Rng) -> Self {
        let filters: &[&'static str] = if rng.one_in(2) { &["t/#"] } else { &["t/0", "t/1", "t/secret"] };
        let mut wish = |filter: &&'static str| Wish {
            filter,
            qos: rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]),
            is_wanted: false,
            is_confirmed: true,
        };
        let wishes = filters.iter().map(&mut wish).collect();
        Self {
            id: format!("client-{index}"),
            version: rng.pick(&[ProtocolVersion::Mqtt311, ProtocolVersion::Mqtt5]),
            is_kept: !rng.one_in(4),
            rng,
            wire: None,
            is_connected: false,
            has_repeated: false,
            abandoned: Vec::new(),
            last_id: 0,
            unacknowledged: VecDeque::new(),
            received: HashSet::new(),
            wishes,
            asked: None,
            pings: 0,
            has_disconnected: false,
        }
    }

    fn fresh_id(&mut self) -> PacketId {
        self.last_id += 1;
        PacketId::new(self.last_id).expect("not 0")
    }

    /// Exchanges bytes and handles the received packets. True if bytes were received.
    pub(super) fn exchange(&mut self, most: usize, ledger: &mut Ledger) -> bool {
        let Some(wire) = &mut self.wire else { return false };
        let before = wire.incoming.len();
        let is_open = wire.exchange(most);
        let has_come = wire.incoming.len() > before;
        self.handle_incoming(ledger);
        if !is_open {
            self.lose();
        }
        has_come
    }

    fn lose(&mut self) {
        (self.wire, self.is_connected, self.has_repeated, self.asked, self.pings) = (None, false, false, None, 0);
    }

    /// Connects; the connection it has, if any, is left open.
    pub(super) fn connect(&mut self, stream: MemoryStream) {
        self.abandoned.extend(self.wire.take().and_then(|wire| wire.stream));
        self.lose();
        let keeps = [Property::SessionExpiryInterval(3_600)];
        let properties = if self.is_kept { Properties::from_slice(&keeps) } else { Properties::EMPTY };
        let connect = Connect {
            version: self.version,
            clean_start: !self.is_kept,
            keep_alive_s: 0,
            client_id: &self.id,
            properties: if self.version.is_v5() { properties } else { Properties::EMPTY },
            will: None,
            username: None,
            password: None,
        };
        let mut wire = Wire::new(stream);
        wire.push(|out| connect.encode(self.version, out));
        self.wire = Some(wire);
        if !self.is_kept {
            self.unacknowledged.clear();
            self.received.clear();
            self.wishes.iter_mut().for_each(|wish| wish.is_confirmed = !wish.is_wanted);
        }
    }

    /// Takes a random action, or none. A few of its messages have `long_bytes`. True if it wants a stream for
    /// [`Client::connect`].
    pub(super) fn act(&mut self, ledger: &mut Ledger, long_bytes: usize) -> bool {
        if self.rng.one_in(30) {
            self.abandoned.clear();
        }
        if self.wire.is_none() {
            return self.rng.one_in(8);
        }
        // A client may send before CONNACK has come.
        if !self.has_repeated && (self.is_connected || self.rng.one_in(20)) {
            self.repeat(ledger);
        }
        if !self.has_repeated {
            return false;
        }
        match self.rng.below(40) {
            0..4 => self.publish(ledger, long_bytes),
            4 => {
                let number = self.rng.below(self.wishes.len() as u64) as usize;
                let wish = &mut self.wishes[number];
                if wish.is_confirmed && (!wish.is_wanted || self.rng.one_in(4)) {
                    (wish.is_wanted, wish.is_confirmed) = (!wish.is_wanted, false);
                }
            }
            5 => {
                self.pings += 1;
                self.push(|out, version| Packet::PingReq.encode(version, out));
            }
            6 if self.rng.one_in(4) => {
                self.say_goodbye();
                self.lose();
            }
            7 if self.rng.one_in(4) => self.lose(),
            8 if self.rng.one_in(2) => return true,
            9 if self.rng.one_in(12) => self.publish_into_limbo(ledger),
            _ => {}
        }
        self.ask(ledger);
        false
    }

    /// Completes the exchanges it has begun. True if it wants a stream.
    pub(super) fn settle(&mut self, ledger: &mut Ledger) -> bool {
        if self.wire.is_none() {
            return self.rng.one_in(4);
        }
        if !self.has_repeated && self.is_connected {
            self.repeat(ledger);
        }
        self.ask(ledger);
        false
    }

    pub(super) fn is_settled(&self) -> bool {
        let is_idle = self.wire.as_ref().is_some_and(|wire| wire.outgoing.is_empty() && wire.incoming.is_empty());
        let is_confirmed = self.asked.is_none() && self.wishes.iter().all(|wish| wish.is_confirmed);
        is_idle && self.has_repeated && self.unacknowledged.is_empty() && is_confirmed && self.pings == 0
    }

    /// A description of the packets it waits for.
    pub(super) fn describe(&self) -> String {
        let bytes = self.wire.as_ref().map(|wire| (wire.outgoing.len(), wire.incoming.len()));
        let Self { id, is_connected, unacknowledged, asked, pings, .. } = self;
        format!("{id}: {bytes:?} {is_connected} {unacknowledged:?} {asked:?} {pings}")
    }

    /// Ends its session and its connection. True if it wants a stream.
    pub(super) fn leave(&mut self) -> bool {
        if self.is_kept {
            // The session ends with the next connection.
            self.is_kept = false;
            self.lose();
        }
        self.abandoned.clear();
        if self.is_connected && !self.has_disconnected {
            self.has_disconnected = true;
            self.say_goodbye();
        }
        self.wire.is_none() && !self.has_disconnected
    }

    pub(super) fn has_left(&self) -> bool {
        self.wire.is_none() && self.has_disconnected
    }

    fn say_goodbye(&mut self) {
        let disconnect = Disconnect { code: ReasonCode::NORMAL_DISCONNECTION, properties: Properties::EMPTY };
        self.push(|out, version| disconnect.encode(version, out));
    }

    fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>, ProtocolVersion) -> Result<(), EncodeError>) {
        if let Some(wire) = &mut self.wire {
            wire.push(|out| encode(out, self.version));
        }
    }

    fn publish(&mut self, ledger: &mut Ledger, long_bytes: usize) {
        let topic = self.rng.pick(&TOPICS);
        let qos = self.rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let padding = if self.rng.one_in(20) { long_bytes } else { self.rng.below(20) as usize };
        let number = ledger.publish(&self.id, (topic, qos), padding, topic.contains(SECRET));
        let id = self.fresh_id();
        if qos != QoS::AtMostOnce {
            self.unacknowledged.push_back(Sent::Message { id, number, topic, qos });
        }
        self.send_message((id, false), (topic, qos), ledger.payload(number));
    }

    fn publish_into_limbo(&mut self, ledger: &mut Ledger) {
        debug_assert!(LIMBO_TOPIC.contains(LIMBO));
        let number = ledger.publish(&self.id, (LIMBO_TOPIC, QoS::AtMostOnce), 0, true);
        let id = self.fresh_id();
        self.send_message((id, false), (LIMBO_TOPIC, QoS::AtMostOnce), ledger.payload(number));
    }

    fn send_message(&mut self, (id, dup): (PacketId, bool), (topic, qos): (&str, QoS), payload: &[u8]) {
        let topic = TopicName::new(topic).expect("legal");
        let packet_id = (qos != QoS::AtMostOnce).then_some(id);
        let publish = Publish { dup, qos, packet_id, ..Publish::new(topic, payload) };
        self.push(|out, version| publish.encode(version, out));
    }

    /// Sends unacknowledged packets again.
    fn repeat(&mut self, ledger: &mut Ledger) {
        self.has_repeated = true;
        for sent in self.unacknowledged.clone() {
            match sent {
                Sent::Message { id, number, topic, qos } => {
                    ledger.repeat(number);
                    self.send_message((id, true), (topic, qos), ledger.payload(number));
                }
                Sent::Release { id } => self.release(id),
            }
        }
    }

    fn release(&mut self, packet_id: PacketId) {
        let release = PubRel { packet_id, code: ReasonCode::Success, properties: Properties::EMPTY };
        self.push(|out, version| release.encode(version, out));
    }

    /// Asks for a change of its subscriptions, one at a time.
    fn ask(&mut self, ledger: &mut Ledger) {
        let Some(number) = self.wishes.iter().position(|wish| !wish.is_confirmed) else { return };
        if self.asked.is_some() {
            return;
        }
        let packet_id = self.fresh_id();
        self.asked = Some((packet_id, number));
        let Wish { filter: text, qos, is_wanted, .. } = self.wishes[number];
        let (filter, properties) = (TopicFilter::new(text).expect("legal"), Properties::EMPTY);
        if is_wanted {
            let filters = [(filter, SubscriptionOptions::new(qos))];
            let subscribe = Subscribe { packet_id, properties, filters: Subscriptions::from_slice(&filters) };
            self.push(|out, version| subscribe.encode(version, out));
        } else {
            ledger.unsubscribes(&self.id, text);
            let filters = [filter];
            let unsubscribe = Unsubscribe { packet_id, properties, filters: TopicFilters::from_slice(&filters) };
            self.push(|out, version| unsubscribe.encode(version, out));
        }
    }

    fn handle_incoming(&mut self, ledger: &mut Ledger) {
        let Some(wire) = &mut self.wire else { return };
        let incoming = std::mem::take(&mut wire.incoming);
        let mut rest = &incoming[..];
        while let Some((packet, len)) = decode(rest, self.version, PACKET_BYTES_MAX).expect("MQTT") {
            rest = &rest[len..];
            self.handle(&packet, ledger);
        }
        if let Some(wire) = &mut self.wire {
            wire.incoming = rest.to_vec();
        }
    }

    fn handle(&mut self, packet: &Packet<'_>, ledger: &mut Ledger) {
        if !self.is_connected {
            assert!(matches!(packet, Packet::ConnAck(_)), "{packet:?} before CONNACK");
        }
        match packet {
            Packet::ConnAck(ack) => {
                assert_eq!(ack.code, ReasonCode::Success);
                self.is_connected = true;
            }
            Packet::Publish(publish) => self.receive(publish, ledger),
            Packet::PubAck(ack) => self.acknowledged(ack.packet_id, QoS::AtLeastOnce, ack.code, ledger),
            Packet::PubRec(ack) => self.acknowledged(ack.packet_id, QoS::ExactlyOnce, ack.code, ledger),
            Packet::PubComp(ack) => self.completed(ack.packet_id, ledger),
            Packet::PubRel(ack) => {
                self.received.remove(&ack.packet_id);
                let (packet_id, code) = (ack.packet_id, ReasonCode::Success);
                let complete = PubComp { packet_id, code, properties: Properties::EMPTY };
                self.push(|out, version| complete.encode(version, out));
            }
            Packet::SubAck(ack) => self.answered(ack.packet_id, ack.codes.iter().next(), ledger),
            Packet::UnsubAck(ack) => self.answered(ack.packet_id, None, ledger),
            Packet::PingResp => self.pings = self.pings.checked_sub(1).expect("one for each PINGREQ"),
            Packet::Disconnect(_) => {}
            other => panic!("{other:?} from the broker"),
        }
    }

    fn receive(&mut self, publish: &Publish<'_>, ledger: &mut Ledger) {
        let topic = publish.topic.expect("no aliases were allowed").as_str();
        let (code, properties) = (ReasonCode::Success, Properties::EMPTY);
        let is_repeated = match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => {
                self.push(|out, version| PubAck { packet_id, code, properties }.encode(version, out));
                false
            }
            (QoS::ExactlyOnce, Some(packet_id)) => {
                self.push(|out, version| PubRec { packet_id, code, properties }.encode(version, out));
                !self.received.insert(packet_id)
            }
            _ => false,
        };
        if !is_repeated {
            ledger.arrive(&self.id, topic, publish.qos, publish.payload);
        }
    }

    /// PUBACK or PUBREC: they come in the order of the messages [MQTT-4.6.0-2, MQTT-4.6.0-3].
    fn acknowledged(&mut self, id: PacketId, qos: QoS, code: ReasonCode, ledger: &mut Ledger) {
        let first =
            self.unacknowledged.iter().position(|sent| matches!(sent, Sent::Message { qos: q, .. } if *q == qos));
        let first = first.unwrap_or_else(|| panic!("{id:?} of {} acknowledges nothing", self.id));
        let Sent::Message { id: expected, number, .. } = self.unacknowledged[first] else { unreachable!() };
        assert_eq!(id, expected, "acknowledged in another order than sent");
        ledger.acknowledge(number, !code.is_error());
        if qos == QoS::ExactlyOnce && !code.is_error() {
            self.unacknowledged[first] = Sent::Release { id };
            self.release(id);
        } else {
            self.unacknowledged.remove(first);
        }
    }

    fn completed(&mut self, id: PacketId, ledger: &mut Ledger) {
        let is_it = |sent: &Sent| matches!(sent, Sent::Release { id: other } if *other == id);
        let place = self.unacknowledged.iter().position(is_it);
        self.unacknowledged.remove(place.expect("a PUBREL comes before its PUBCOMP"));
        ledger.completed(&self.id, id.get());
    }

    /// SUBACK or UNSUBACK.
    fn answered(&mut self, id: PacketId, code: Option<ReasonCode>, ledger: &mut Ledger) {
        let (asked, number) = self.asked.take().expect("an answer to a question");
        assert_eq!(id, asked);
        let wish = &mut self.wishes[number];
        wish.is_confirmed = true;
        let (client, filter) = (self.id.clone(), wish.filter.to_owned());
        if !wish.is_wanted {
            if self.is_kept {
                ledger.confirm(Kept::Unsubscribed { client, filter });
            }
            return;
        }
        let code = code.expect("a code for each filter");
        assert_eq!(code.is_error(), wish.filter.contains(SECRET), "{} is answered with {code}", wish.filter);
        if code.is_error() {
            wish.is_wanted = false;
            return;
        }
        if self.is_kept {
            ledger.confirm(Kept::Subscribed { client, filter });
            ledger.subscribed(&self.id, (wish.filter, wish.qos));
        }
    }
}
