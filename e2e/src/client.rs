//! A client that performs whole exchanges and reads every field of received packets, for tests of sessions, QoS
//! and properties. An answer may arrive among other packets; packets that the test does not wait for yet are
//! set aside, in order.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::Version;
use crate::broker::Broker;
use crate::host::{Ability, Host};
use crate::packet::{
    Acknowledgement, ConnAck, Connect, DISCONNECT, Message, PINGREQ, Publish, Received, acknowledge, acknowledge_with,
    disconnect_with, kind, subscribe_with, unsubscribe,
};
use crate::properties::Properties;
use crate::properties::property::TOPIC_ALIAS;
use crate::raw::{Incoming, RawClient};
use crate::wait::TIMEOUT;

/// A connected client.
pub struct Client {
    raw: RawClient,
    conn_ack: ConnAck,
    aside: VecDeque<Received>,
    last_packet_id: u16,
    aliases: HashMap<u32, String>,
}

impl Client {
    /// Connects with these fields.
    ///
    /// # Panics
    /// If the broker refuses.
    pub fn connect(broker: &Broker, connect: &Connect<'_>) -> Client {
        let client = Client::attempt(broker, connect);
        assert_eq!(client.conn_ack.code, 0, "the broker refuses {:?}: {:?}", connect.client_id, client.conn_ack);
        client
    }

    /// Sends CONNECT and reads CONNACK, even if it is a refusal.
    pub fn attempt(broker: &Broker, connect: &Connect<'_>) -> Client {
        let mut raw = RawClient::open(broker.addr(), connect.version);
        raw.send(&connect.encode());
        let conn_ack = raw.read_packet().conn_ack(connect.version);
        Client { raw, conn_ack, aside: VecDeque::new(), last_packet_id: 0, aliases: HashMap::new() }
    }

    /// Like [`Client::connect`], but returns None if the connection ends before CONNACK, because another client
    /// took over its id.
    pub fn try_connect(broker: &Broker, connect: &Connect<'_>) -> Option<Client> {
        let mut raw = RawClient::try_open(broker.addr(), connect.version).ok()?;
        raw.try_send(&connect.encode()).ok()?;
        let Incoming::Packet(packet) = raw.read() else {
            return None;
        };
        let conn_ack = packet.conn_ack(connect.version);
        assert_eq!(conn_ack.code, 0, "the broker refuses {:?}: {conn_ack:?}", connect.client_id);
        Some(Client { raw, conn_ack, aside: VecDeque::new(), last_packet_id: 0, aliases: HashMap::new() })
    }

    /// Connects with a clean session.
    pub fn clean(broker: &Broker, version: Version, client_id: &str) -> Client {
        Client::connect(broker, &Connect::new(version, client_id))
    }

    /// Connects with a session that is kept for an hour; before MQTT 5 for ever.
    pub fn kept(broker: &Broker, version: Version, client_id: &str) -> Client {
        Client::connect(broker, &Connect::kept(version, client_id, 3600))
    }

    /// The broker's CONNACK.
    pub fn conn_ack(&self) -> &ConnAck {
        &self.conn_ack
    }

    /// Whether the broker still had a session of this client. None for MQTT 3.1, whose CONNACK has no field for
    /// it.
    pub fn session_present(&self) -> Option<bool> {
        (self.version() != Version::V31).then_some(self.conn_ack.session_present)
    }

    /// The MQTT version of the client.
    pub fn version(&self) -> Version {
        self.raw.version()
    }

    /// Sends any bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.raw.send(bytes);
    }

    /// Sends bytes and returns whether the connection is still open.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.raw.try_send(bytes).is_ok()
    }

    /// A packet id that was not used recently.
    pub fn new_packet_id(&mut self) -> u16 {
        self.last_packet_id = self.last_packet_id % u16::MAX + 1;
        self.last_packet_id
    }

    /// Subscribes at this QoS.
    ///
    /// # Panics
    /// If the broker grants another QoS.
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        let codes = self.subscribe_with(&Properties::NONE, &[(filter, qos)]);
        assert_eq!(codes, [qos], "{:?}: the QoS granted for {filter}", self.version());
    }

    /// Subscribes with properties and options, and returns the codes of SUBACK.
    pub fn subscribe_with(&mut self, properties: &Properties, filters: &[(&str, u8)]) -> Vec<u8> {
        let packet_id = self.new_packet_id();
        self.send(&subscribe_with(self.version(), packet_id, properties, filters));
        let answer = self.await_packet("SUBACK", |packet| packet.kind() == kind::SUBACK);
        let (found, codes) = answer.acknowledgement(self.version());
        assert_eq!(found, packet_id, "the packet id of SUBACK");
        codes.to_vec()
    }

    /// Unsubscribes and returns the codes of UNSUBACK; before MQTT 5 there are none.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let packet_id = self.new_packet_id();
        self.send(&unsubscribe(self.version(), packet_id, filters));
        let answer = self.await_packet("UNSUBACK", |packet| packet.kind() == kind::UNSUBACK);
        let (found, codes) = answer.acknowledgement(self.version());
        assert_eq!(found, packet_id, "the packet id of UNSUBACK");
        codes.to_vec()
    }

    /// Publishes and completes the exchange of its QoS. Returns the code of PUBACK or PUBREC.
    ///
    /// # Panics
    /// If the broker refuses the message.
    pub fn publish(&mut self, publish: &Publish<'_>) -> u8 {
        let code = self.publish_code(publish);
        assert!(code < 0x80, "{:?}: {} is refused with {code:02X}", self.version(), publish.topic);
        code
    }

    /// Like [`Client::publish`], for messages that the broker may refuse.
    pub fn publish_code(&mut self, publish: &Publish<'_>) -> u8 {
        let packet_id = self.send_publish(publish);
        match publish.qos {
            0 => 0,
            1 => self.await_code(kind::PUBACK, packet_id),
            _ => {
                let code = self.await_code(kind::PUBREC, packet_id);
                if code < 0x80 {
                    self.send(&acknowledge(kind::PUBREL, packet_id));
                    assert_eq!(self.await_code(kind::PUBCOMP, packet_id), 0, "the code of PUBCOMP");
                }
                code
            }
        }
    }

    /// Sends a PUBLISH with a new packet id and returns the id, without waiting.
    pub fn send_publish(&mut self, publish: &Publish<'_>) -> u16 {
        let packet_id = if publish.qos == 0 { 0 } else { self.new_packet_id() };
        self.send(&publish.encode(self.version(), packet_id));
        packet_id
    }

    /// Sends a PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub fn answer(&mut self, kind: u8, packet_id: u16) {
        self.send(&acknowledge(kind, packet_id));
    }

    /// Like [`Client::answer`], with a reason code.
    pub fn answer_with(&mut self, kind: u8, packet_id: u16, code: u8) {
        self.send(&acknowledge_with(kind, packet_id, code));
    }

    /// Waits for an acknowledgement of this kind and id, and returns its code.
    pub fn await_code(&mut self, kind: u8, packet_id: u16) -> u8 {
        self.await_acknowledgement(kind, packet_id).code
    }

    /// Waits for an acknowledgement of this kind and id.
    pub fn await_acknowledgement(&mut self, kind: u8, packet_id: u16) -> Acknowledgement {
        let version = self.version();
        let fits =
            |packet: &Received| packet.kind() == kind && packet.publish_acknowledgement(version).packet_id == packet_id;
        let packet = self.await_packet(&format!("a packet of kind {kind} for id {packet_id}"), fits);
        packet.publish_acknowledgement(version)
    }

    /// The next message, without acknowledging it. A topic alias is replaced by its topic.
    pub fn next_message(&mut self) -> Message {
        let packet = self.await_packet("a message", |packet| packet.kind() == kind::PUBLISH);
        self.read_message(&packet)
    }

    /// Like [`Client::next_message`]; None if no message arrives in time.
    pub fn next_message_within(&mut self, limit: Duration) -> Option<Message> {
        let packet = self.find_packet(limit, |packet| packet.kind() == kind::PUBLISH)?;
        Some(self.read_message(&packet))
    }

    fn read_message(&mut self, packet: &Received) -> Message {
        let mut message = packet.message(self.version());
        if let Some(alias) = message.properties.get(TOPIC_ALIAS) {
            if message.topic.is_empty() {
                message.topic = self.aliases.get(&alias).expect("the alias was given a topic before").clone();
            } else {
                self.aliases.insert(alias, message.topic.clone());
            }
        }
        message
    }

    /// Acknowledges a message with the whole exchange of its QoS.
    pub fn acknowledge(&mut self, message: &Message) {
        match message.qos {
            0 => {}
            1 => self.answer(kind::PUBACK, message.packet_id),
            _ => {
                self.answer(kind::PUBREC, message.packet_id);
                assert_eq!(self.await_code(kind::PUBREL, message.packet_id), 0, "the code of PUBREL");
                self.answer(kind::PUBCOMP, message.packet_id);
            }
        }
    }

    /// The next message, acknowledged.
    pub fn receive(&mut self) -> Message {
        let message = self.next_message();
        self.acknowledge(&message);
        message
    }

    /// The payloads of the next messages as text, acknowledged.
    pub fn receive_texts(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.receive().text().to_owned()).collect()
    }

    /// Waits for a PINGRESP.
    pub fn ping(&mut self) {
        self.send(PINGREQ);
        self.await_packet("PINGRESP", |packet| packet.kind() == kind::PINGRESP);
    }

    /// Asserts that nothing but the answer to a ping has arrived. Messages of other clients may still be in
    /// transit: a test that depends on them sends a message behind them.
    pub fn nothing_came(&mut self) {
        self.ping();
        assert!(self.aside.is_empty(), "{:?}: unexpected: {:02X?}", self.version(), self.aside);
    }

    /// Sends DISCONNECT and waits until the broker has closed the connection. Returns the packets received
    /// before.
    pub fn disconnect(mut self) -> Vec<Received> {
        self.send(DISCONNECT);
        self.read_to_close()
    }

    /// Like [`Client::disconnect`], with a code and properties of MQTT 5.
    pub fn disconnect_with(mut self, code: u8, properties: &Properties) -> Vec<Received> {
        self.send(&disconnect_with(code, properties));
        self.read_to_close()
    }

    /// Closes the connection without DISCONNECT.
    pub fn die(self) {
        drop(self);
    }

    /// Expects the broker to close the connection, in MQTT 5 after a DISCONNECT with this code. Packets that
    /// the test did not wait for are ignored. Without [`Ability::Codes`] the end of the connection suffices.
    pub fn expect_disconnect(&mut self, code: u8) {
        self.expect_disconnect_of(&[code]);
    }

    /// Like [`Client::expect_disconnect`], where the standard allows several codes.
    pub fn expect_disconnect_of(&mut self, fitting: &[u8]) {
        let mut packets = self.read_to_close();
        packets.retain(|packet| packet.kind() == kind::DISCONNECT);
        let codes: Vec<u8> = packets.iter().map(Received::disconnect_code).collect();
        if codes.is_empty() && Host::current().lacks(Ability::Codes).is_some() {
            return;
        }
        match codes[..] {
            [code] if self.version().is_v5() => {
                assert!(fitting.contains(&code), "DISCONNECT with {code:02X}, not one of {fitting:02X?}");
            }
            _ => assert!(codes.is_empty() && !self.version().is_v5(), "{:?}: {codes:02X?}", self.version()),
        }
    }

    /// Reads until the broker closes the connection. Returns the packets set aside and the packets read.
    pub fn read_to_close(&mut self) -> Vec<Received> {
        let mut packets: Vec<Received> = self.aside.drain(..).collect();
        packets.extend(self.raw.read_to_close());
        packets
    }

    /// The first matching packet, of the packets set aside and then of the next ones.
    ///
    /// # Panics
    /// If the connection ends or nothing comes.
    pub fn await_packet(&mut self, what: &str, fits: impl Fn(&Received) -> bool) -> Received {
        self.find_packet(TIMEOUT, fits).unwrap_or_else(|| {
            panic!("{:?}: waited for {what} in vain; set aside: {:02X?}", self.version(), self.aside)
        })
    }

    /// The next packet or the end of the connection, set aside or received; None if neither arrives in time.
    pub fn read_within(&mut self, limit: Duration) -> Option<Incoming> {
        match self.aside.pop_front() {
            Some(packet) => Some(Incoming::Packet(packet)),
            None => self.raw.read_within(limit),
        }
    }

    /// Sets packets from [`Client::read_within`] aside, to be read again.
    pub fn put_back(&mut self, packets: Vec<Received>) {
        for packet in packets.into_iter().rev() {
            self.aside.push_front(packet);
        }
    }

    fn find_packet(&mut self, limit: Duration, fits: impl Fn(&Received) -> bool) -> Option<Received> {
        if let Some(position) = self.aside.iter().position(&fits) {
            return self.aside.remove(position);
        }
        loop {
            match self.raw.read_within(limit)? {
                Incoming::Packet(packet) if fits(&packet) => return Some(packet),
                Incoming::Packet(packet) => self.aside.push_back(packet),
                Incoming::Closed => {
                    panic!("{:?}: the broker closed the connection; set aside: {:02X?}", self.version(), self.aside)
                }
            }
        }
    }
}
