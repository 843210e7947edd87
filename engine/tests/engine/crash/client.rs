//! A client of MQTT 5 that keeps its state when the broker crashes. It follows the standard: it repeats unacknowledged packets in order,
//! and acknowledges the messages it gets.

use std::collections::{HashMap, VecDeque};

use wisp_engine::EndReason;
use wisp_wire::{
    Connect, PacketId, Properties, Property, PubAck, PubComp, PubRec, PubRel, Publish, QoS, ReasonCode,
    SubscriptionOptions, TopicName,
};

use super::ledger::{GROUP, Ledger, QUEUE, SHARED};
use super::store::MirrorStore;
use crate::events::{Event, Message};
use crate::seeds::Rng;
use crate::support::{Peer, V5, World, connect, encoded, plain, subscribe_with, unsubscribe};

/// The topics and filters of the clients of one life.
#[derive(Clone, Copy)]
pub(super) struct Topics {
    topics: &'static [&'static str],
    filters: &'static [&'static str],
}

/// Each message goes to all clients that are subscribed.
pub(super) const PLAIN: Topics = Topics { topics: &["t/0", "t/1", "u"], filters: &["t/#", "t/0", "+", "u"] };

/// Most messages go to one of several clients.
pub(super) const COMMON: Topics =
    Topics { topics: &["t/0", QUEUE, SHARED], filters: &["t/#", QUEUE, QUEUE, GROUP, GROUP] };

/// Each client has a topic of its own for retained messages, so that their order is known.
const RETAINED: [&str; 4] = ["r/0", "r/1", "r/2", "r/3"];

/// Seconds that sessions outlive their connections.
pub(super) const EXPIRY_S: u32 = 60;

/// A packet that the broker has not acknowledged.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Message { id: u16, number: usize, topic: &'static str, qos: QoS, retained: Option<usize> },
    Release { id: u16 },
}

/// A SUBSCRIBE or UNSUBSCRIBE that was not answered.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Subscribe(&'static str, QoS),
    Unsubscribe,
}

/// When the client left, by the wall clock: between the two times, to the client's knowledge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    least_ms: u64,
    most_ms: u64,
    /// The broker knows it after a crash if this many changes of its store are left.
    appended: u64,
}

/// Whether CONNACK should say that there is a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Present,
    Absent,
    Either,
}

pub(super) struct Client {
    number: usize,
    topics: Topics,
    /// Its session outlives its connections. If not, it only sends.
    is_kept: bool,
    pub(super) peer: Option<Peer>,
    /// `None` if the broker has no session.
    left: Option<Left>,
    expected: Expected,
    /// It has asked for a clean start, and the broker has not answered since.
    wants_clean: bool,
    /// CONNACK has come on this connection.
    is_connected: bool,
    has_repeated: bool,
    last_id: u16,
    unacknowledged: VecDeque<Sent>,
    /// Messages at QoS 2 without PUBREL from the broker.
    received: HashMap<u16, Vec<u8>>,
    /// Of these, the ones that came on this connection.
    begun: HashMap<u16, usize>,
    /// It is subscribed to the queue, and wants to be.
    takes_queue: bool,
    asked: Option<Asked>,
    answers: VecDeque<Vec<u8>>,
}

fn id_of(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

impl Client {
    pub(super) fn new(number: usize, topics: Topics, is_kept: bool) -> Self {
        Self {
            number,
            topics,
            is_kept,
            peer: None,
            left: None,
            expected: Expected::Absent,
            wants_clean: false,
            is_connected: false,
            has_repeated: false,
            last_id: 0,
            unacknowledged: VecDeque::new(),
            received: HashMap::new(),
            begun: HashMap::new(),
            takes_queue: false,
            asked: None,
            answers: VecDeque::new(),
        }
    }

    fn name(&self) -> String {
        format!("client {}", self.number)
    }

    fn send(&mut self, world: &mut World, packet: &[u8]) {
        if let Some(peer) = &mut self.peer {
            world.feed(peer, packet);
        }
    }

    pub(super) fn connect(&mut self, world: &mut World, unix_ms: u64, rng: &mut Rng, ledger: &mut Ledger) {
        self.lose();
        self.wants_clean |= !self.is_kept || rng.one_in(10);
        let receive_maximum = rng.pick(&[1, 2, 5, 100]);
        let expiry_s = if self.is_kept { EXPIRY_S } else { 0 };
        let keeps =
            [Property::SessionExpiryInterval(expiry_s), Property::ReceiveMaximum(receive_maximum.try_into().unwrap())];
        let expiry_ms = u64::from(EXPIRY_S) * 1000;
        self.expected = match self.left {
            _ if self.wants_clean => Expected::Absent,
            None => Expected::Absent,
            Some(left) if unix_ms < left.least_ms + expiry_ms => Expected::Present,
            Some(left) if unix_ms > left.most_ms.saturating_add(expiry_ms) => Expected::Absent,
            Some(_) => Expected::Either,
        };
        let least_ms = if self.wants_clean { 0 } else { self.left.map_or(0, |left| left.least_ms) };
        self.left = Some(Left { least_ms, most_ms: u64::MAX, appended: 0 });
        if self.wants_clean {
            self.forget(ledger);
        }
        let (name, properties) = (self.name(), Properties::from_slice(&keeps));
        let connect = Connect { clean_start: self.wants_clean, properties, ..plain(V5, &name) };
        let mut peer = world.accept();
        world.feed(&mut peer, &encoded(|out| connect.encode(V5, out)));
        self.peer = Some(peer);
    }

    /// The connection ends, with DISCONNECT or without. The broker has noticed it if the store has nothing to do.
    pub(super) fn leave(&mut self, world: &mut World, unix_ms: u64, store: &MirrorStore, rng: &mut Rng) {
        let Some(mut peer) = self.peer.take() else { return };
        self.wants_clean |= !self.is_connected && self.expected != Expected::Present;
        if rng.one_in(2) {
            world.feed(&mut peer, &[0xe0, 0]);
        }
        world.close(&mut peer, EndReason::Closed);
        let is_noticed = !world.is_open(&peer);
        let least_ms = if self.is_connected { unix_ms } else { self.left.map_or(0, |left| left.least_ms) };
        let most_ms = if is_noticed { unix_ms } else { u64::MAX };
        self.left = Some(Left { least_ms, most_ms, appended: store.appended() });
        self.lose();
    }

    /// The broker has ended, and another one begins now with `appended` changes of the store. It has made `first_appended` itself already.
    pub(super) fn survive(&mut self, appended: u64, unix_ms: u64, first_appended: u64) {
        if let Some(left) = &mut self.left {
            let was_connected = self.is_connected || left.appended > appended || left.most_ms == u64::MAX;
            if self.is_connected {
                left.least_ms = unix_ms;
            }
            if was_connected {
                left.most_ms = unix_ms;
            }
            left.appended = if was_connected { first_appended } else { 0 };
        }
        self.lose();
    }

    /// The session has ended, or is about to.
    fn forget(&mut self, ledger: &mut Ledger) {
        self.unacknowledged.clear();
        self.received.clear();
        self.begun.clear();
        self.takes_queue = false;
        ledger.forget(self.number);
    }

    /// The connection is gone.
    pub(super) fn lose(&mut self) {
        if self.peer.is_some() && !self.is_connected && self.expected != Expected::Present {
            // The broker may have made a new session without the client's knowledge.
            self.wants_clean = true;
        }
        (self.peer, self.is_connected, self.has_repeated, self.asked) = (None, false, false, None);
        self.answers.clear();
        self.begun.clear();
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Takes a random action.
    pub(super) fn act(&mut self, world: &mut World, rng: &mut Rng, ledger: &mut Ledger) {
        if !self.has_repeated {
            return self.repeat(world, ledger);
        }
        match rng.below(12) {
            0..5 => self.publish(world, rng, ledger),
            5 | 6 => self.retain(world, rng, ledger),
            7 if self.is_kept && self.asked.is_none() => {
                let (filter, qos) =
                    (rng.pick(self.topics.filters), rng.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]));
                self.subscribe(world, ledger, filter, qos);
            }
            8 if self.is_kept && self.asked.is_none() && rng.one_in(3) => {
                let filter = rng.pick(self.topics.filters);
                ledger.ends(self.number, filter);
                self.asked = Some(Asked::Unsubscribe);
                self.takes_queue &= filter != QUEUE;
                let packet = unsubscribe(V5, &[filter]);
                self.send(world, &packet);
            }
            _ => self.answer(world, 1 + rng.below(4) as usize),
        }
    }

    fn subscribe(&mut self, world: &mut World, ledger: &mut Ledger, filter: &'static str, qos: QoS) {
        // Until the answer either QoS holds.
        ledger.ends(self.number, filter);
        self.asked = Some(Asked::Subscribe(filter, qos));
        let packet = subscribe_with(V5, &[filter], SubscriptionOptions::new(qos), &[]);
        self.send(world, &packet);
    }

    /// Sees to it that somebody takes the messages of the queue.
    pub(super) fn take_queue(&mut self, world: &mut World, ledger: &mut Ledger) {
        let is_used = self.topics.topics.contains(&QUEUE);
        if is_used && !self.takes_queue && self.asked.is_none() {
            self.subscribe(world, ledger, QUEUE, QoS::ExactlyOnce);
        }
    }

    fn fresh_id(&mut self) -> u16 {
        self.last_id += 1;
        self.last_id
    }

    fn publish(&mut self, world: &mut World, rng: &mut Rng, ledger: &mut Ledger) {
        if self.unacknowledged.len() >= 15 {
            return;
        }
        let (topic, qos) =
            (rng.pick(self.topics.topics), rng.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]));
        let number = ledger.publish(self.number, topic, qos);
        let sent = Sent::Message { id: self.fresh_id(), number, topic, qos, retained: None };
        self.unacknowledged.push_back(sent);
        self.send_again(world, sent, false);
    }

    fn retain(&mut self, world: &mut World, rng: &mut Rng, ledger: &mut Ledger) {
        if self.unacknowledged.iter().any(|sent| matches!(sent, Sent::Message { retained: Some(_), .. })) {
            return;
        }
        let (topic, qos) = (RETAINED[self.number], rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]));
        let number = ledger.publish(self.number, topic, qos);
        let is_clear = rng.one_in(4);
        let count = ledger.retain(topic, (!is_clear).then_some(number));
        let id = if qos == QoS::AtMostOnce { 0 } else { self.fresh_id() };
        let sent =
            Sent::Message { id, number: if is_clear { usize::MAX } else { number }, topic, qos, retained: Some(count) };
        if id > 0 {
            self.unacknowledged.push_back(sent);
        }
        self.send_again(world, sent, false);
    }

    fn send_again(&mut self, world: &mut World, sent: Sent, dup: bool) {
        let packet = match sent {
            Sent::Release { id } => encoded(|out| PubRel::new(id_of(id)).encode(V5, out)),
            Sent::Message { id, number, topic, qos, retained } => {
                let payload = if number == usize::MAX { Vec::new() } else { number.to_be_bytes().to_vec() };
                let publish = Publish {
                    dup,
                    qos,
                    retain: retained.is_some(),
                    packet_id: PacketId::new(id),
                    ..Publish::new(TopicName::new(topic).unwrap(), &payload)
                };
                encoded(|out| publish.encode(V5, out))
            }
        };
        self.send(world, &packet);
    }

    /// Sends unacknowledged packets again.
    pub(super) fn repeat(&mut self, world: &mut World, ledger: &mut Ledger) {
        if std::mem::replace(&mut self.has_repeated, true) {
            return;
        }
        for sent in self.unacknowledged.clone() {
            if let Sent::Message { number, .. } = sent
                && number != usize::MAX
            {
                ledger.repeat(number);
            }
            self.send_again(world, sent, true);
        }
    }

    /// Sends some of the answers that it owes.
    pub(super) fn answer(&mut self, world: &mut World, most: usize) {
        for _ in 0..most.min(self.answers.len()) {
            if let Some(answer) = self.answers.pop_front() {
                self.send(world, &answer);
            }
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.is_connected
            && self.has_repeated
            && self.unacknowledged.is_empty()
            && self.answers.is_empty()
            && self.asked.is_none()
    }

    /// Reads everything.
    pub(super) fn read(&mut self, ledger: &mut Ledger) {
        while let Some(event) = self.peer.as_mut().and_then(Peer::next_event) {
            self.handle(event, ledger);
        }
    }

    fn handle(&mut self, event: Event, ledger: &mut Ledger) {
        let success = ReasonCode::Success;
        match event {
            Event::ConnAck { present } => {
                let (name, expected) = (self.name(), if present { Expected::Present } else { Expected::Absent });
                let is_right = self.expected == Expected::Either || self.expected == expected;
                assert!(is_right, "{name}: the session is {expected:?}, not {:?}; {:?}", self.expected, self.left);
                if !present {
                    self.forget(ledger);
                }
                (self.is_connected, self.wants_clean) = (true, false);
            }
            Event::Message(message) => self.receive(&message, ledger),
            Event::PubAck(id, code) => self.acknowledged(id, QoS::AtLeastOnce, code, ledger),
            Event::PubRec(id, code) => self.acknowledged(id, QoS::ExactlyOnce, code, ledger),
            Event::PubRel(id, _) => {
                self.received.remove(&id);
                // On another connection the queue may have taken the message back.
                self.begun.remove(&id).into_iter().for_each(|number| ledger.is_done(number));
                let complete = PubComp { packet_id: id_of(id), code: success, properties: Properties::EMPTY };
                self.answers.push_back(encoded(|out| complete.encode(V5, out)));
            }
            Event::PubComp(id, _) => {
                let is_it = |sent: &Sent| matches!(sent, Sent::Release { id: other } if *other == id);
                self.unacknowledged.retain(|sent| !is_it(sent));
            }
            Event::SubAck(codes) => {
                assert!(!codes[0].is_error());
                let Some(Asked::Subscribe(filter, qos)) = self.asked.take() else { panic!("no SUBSCRIBE was sent") };
                self.takes_queue |= filter == QUEUE;
                ledger.subscribed(self.number, filter, qos);
            }
            Event::UnsubAck(_) => {
                let Some(Asked::Unsubscribe) = self.asked.take() else { panic!("no UNSUBSCRIBE was sent") };
            }
            Event::Disconnect(_) | Event::PingResp => {}
        }
    }

    fn receive(&mut self, message: &Message, ledger: &mut Ledger) {
        let Message { topic, payload, qos, id, retain, dup, .. } = message;
        let (code, properties) = (ReasonCode::Success, Properties::EMPTY);
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                let ack = PubAck { packet_id: id_of(*id), code, properties };
                self.answers.push_back(encoded(|out| ack.encode(V5, out)));
            }
            QoS::ExactlyOnce => {
                let ack = PubRec { packet_id: id_of(*id), code, properties };
                self.answers.push_back(encoded(|out| ack.encode(V5, out)));
                if let Some(known) = self.received.insert(*id, payload.clone()) {
                    assert_eq!(
                        known,
                        *payload,
                        "another message has the identifier {id}, which {} still has",
                        self.name()
                    );
                    assert!(dup, "the message {id} is sent again without DUP");
                    return;
                }
            }
        }
        if *retain || payload.is_empty() {
            return;
        }
        let number = usize::from_be_bytes(payload.as_slice().try_into().unwrap());
        if *qos == QoS::ExactlyOnce {
            self.begun.insert(*id, number);
        }
        ledger.arrive(self.number, topic, (*qos, *dup), number);
    }

    fn acknowledged(&mut self, id: u16, qos: QoS, code: ReasonCode, ledger: &mut Ledger) {
        assert!(!code.is_error(), "{code}");
        let is_it = |sent: &&Sent| matches!(sent, Sent::Message { qos: sent, .. } if *sent == qos);
        let first = self.unacknowledged.iter().position(|sent| is_it(&sent));
        let first = first.unwrap_or_else(|| panic!("{id} of {} acknowledges nothing", self.name()));
        let Sent::Message { id: expected, number, topic, retained, .. } = self.unacknowledged[first] else {
            unreachable!("it is a message")
        };
        assert_eq!(id, expected, "acknowledged in another order than sent");
        match retained {
            Some(count) => ledger.acknowledge_retained(topic, count),
            None => ledger.acknowledge(number),
        }
        if qos == QoS::ExactlyOnce {
            self.unacknowledged[first] = Sent::Release { id };
            let release = encoded(|out| PubRel::new(id_of(id)).encode(V5, out));
            self.answers.push_back(release);
        } else {
            self.unacknowledged.remove(first);
        }
    }

    /// A description of the packets it waits for.
    pub(super) fn describe(&self) -> String {
        let Self { is_connected, has_repeated, unacknowledged, received, asked, answers, .. } = self;
        let state = (is_connected, has_repeated, asked, answers.len());
        format!("{}: {state:?} {unacknowledged:?} {received:?}", self.name())
    }

    /// Ends the session for good.
    pub(super) fn end(&mut self, world: &mut World) {
        self.lose();
        let mut peer = world.accept();
        world.feed(&mut peer, &connect(V5, &self.name()));
        world.feed(&mut peer, &[0xe0, 0]);
        world.close(&mut peer, EndReason::Closed);
    }
}
