//! Runs the engine and the model side by side.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use wisp_engine::{EndReason, Limits, Options, QueueSettings};
use wisp_wire::{
    Connect, Disconnect, PacketId, Properties, Property, ProtocolVersion, PubAck, PubComp, PubRec, PubRel, QoS,
    ReasonCode, Subscribe, SubscriptionId, SubscriptionOptions, Subscriptions, TopicFilter, TopicName, Will,
};

use super::broker::{self, Broker, Connecting, Connection, Content, is_queue};
use super::check::Places;
use super::client::{Answer, Client, Outgoing};
use super::{Asks, CLIENTS, FILTERS, Letter, Operation, TOPICS, Wish};
use crate::events::{Event, Message};
use crate::support::{Outcome, Peer, V3, V5, World, encoded, plain, unsubscribe};

/// The most unacknowledged messages that the server sends.
const WINDOW: usize = 3;

/// A connection of the engine, and its packets that the client has not seen yet.
struct Wire {
    peer: Peer,
    unseen: VecDeque<Event>,
    expiry_s: u32,
}

pub(crate) struct Run {
    world: World,
    model: Broker,
    clients: [Client; CLIENTS],
    wires: [Option<Wire>; CLIENTS],
    /// How often applications have received each message that was published at QoS 2 to a group.
    had: BTreeMap<Vec<u8>, u32>,
    messages: u32,
}

impl Run {
    pub(crate) fn new() -> Self {
        let limits = Limits::DEFAULT.with(|limits| {
            limits.inflight_count_max = WINDOW as u16;
            limits.receive_maximum = 8;
            limits.session_expiry_s_max = broker::EXPIRY_S_MAX;
            limits.topic_alias_max = 2;
        });
        let mut queue = QueueSettings::new("q", &limits);
        queue.deliveries_max = Some(broker::DELIVERIES_MAX as u16);
        queue.dead_letter = Some("dead".into());
        let options = Options { queues: vec![queue], ..Options::default() };
        Self {
            world: World::with_options(limits, options),
            model: Broker::default(),
            clients: Default::default(),
            wires: Default::default(),
            had: BTreeMap::new(),
            messages: 0,
        }
    }

    pub(crate) fn apply(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        // Each operation has its own time, so that the ends of two never coincide.
        self.world.now_ms += 1;
        self.model.now_ms = self.world.now_ms;
        match operation {
            Operation::Connect { client, asks } => self.connect(client, asks)?,
            Operation::Pass { seconds } => self.pass_ms(seconds * 1000)?,
            Operation::See { client, most } => self.see(client, most)?,
            Operation::Subscribe { client, .. }
            | Operation::Unsubscribe { client, .. }
            | Operation::Publish { client, .. }
            | Operation::Answer { client, .. }
            | Operation::Disconnect { client, .. }
            | Operation::Vanish { client }
                if self.wires[client].is_none() => {}
            Operation::Subscribe { client, wanted } => self.subscribe(client, wanted)?,
            Operation::Unsubscribe { client, filter } => {
                self.model.unsubscribe(client, filter);
                let packet = unsubscribe(self.version(client), &[filter]);
                self.feed(client, &packet)?;
            }
            Operation::Publish { client, letters, lost } => self.publish(client, &letters, lost)?,
            Operation::Answer { client, pick, all, refuse, lost } => self.answer(client, pick, all, refuse, lost)?,
            Operation::Disconnect { client, with_will, expiry_s } => self.disconnect(client, with_will, expiry_s)?,
            Operation::Vanish { client } => self.drop_connection(client, EndReason::Closed, true, None),
        }
        self.harvest()
    }

    fn version(&self, client: usize) -> ProtocolVersion {
        self.wires[client].as_ref().unwrap().peer.version()
    }

    fn feed(&mut self, client: usize, bytes: &[u8]) -> Result<Outcome, TestCaseError> {
        let outcome = self.world.feed(&mut self.wires[client].as_mut().unwrap().peer, bytes);
        prop_assert!(!outcome.blocked, "no client is held back");
        prop_assert!(outcome.end.is_none(), "{:?}", outcome.end);
        Ok(outcome)
    }

    /// Compares the packets that the server has sent to each client.
    fn harvest(&mut self) -> Result<(), TestCaseError> {
        let mut places = Places::new();
        for (client, wire) in self.wires.iter_mut().enumerate() {
            let Some(wire) = wire else { continue };
            for event in wire.peer.events() {
                self.model.check(client, &event, &mut places)?;
                wire.unseen.push_back(event);
            }
        }
        self.model.check_heads(&places)?;
        self.model.check_settled()
    }

    fn content(&mut self, sender: usize, letter: &Letter) -> Content {
        self.messages += 1;
        let payload = if letter.empty { Vec::new() } else { self.messages.to_string().into_bytes() };
        let Letter { topic, qos, retain, expiry_s, .. } = *letter;
        Content { topic, payload, qos, retain, expiry_s, sender }
    }

    fn connect(&mut self, client: usize, asks: Asks) -> Result<(), TestCaseError> {
        let version = if asks.five { V5 } else { V3 };
        let will = asks.will.map(|(letter, delay_s)| (self.content(client, &letter), delay_s));
        let will = will.map(|(content, delay_s)| match asks.five {
            true => (content, delay_s),
            false => (Content { expiry_s: None, ..content }, 0),
        });
        let expiry_s = if asks.five { asks.expiry_s } else { u32::from(!asks.clean_start) * u32::MAX };
        let window = asks.receive_maximum.filter(|_| asks.five).map_or(WINDOW, usize::from).min(WINDOW);
        let connection = Connection { five: asks.five, window, ..Connection::default() };
        let old = self.wires[client].take();
        self.model
            .connect(client, Connecting { clean_start: asks.clean_start, expiry_s, will: will.clone(), connection });
        let packet = connect_packet(client, version, &asks, will.as_ref());
        self.wires[client] = Some(Wire { peer: self.world.accept(), unseen: VecDeque::new(), expiry_s });
        let outcome = self.feed(client, &packet)?;
        let id = old.as_ref().map(|old| old.peer.id());
        prop_assert_eq!(outcome.taken_over, id);
        if let Some(mut old) = old {
            let final_packet = Event::Disconnect(ReasonCode::SessionTakenOver);
            let has_disconnect_packet = if old.peer.version().is_v5() { vec![final_packet] } else { Vec::new() };
            prop_assert_eq!(old.peer.events(), has_disconnect_packet);
            prop_assert_eq!(old.peer.end(), Some(EndReason::TakenOver));
        }
        self.clients[client].lose_connection();
        let session = self.model.session(client);
        let present = session.connection.as_ref().unwrap().replies.front() == Some(&Event::ConnAck { present: true });
        if present {
            self.resend(client)?;
        } else {
            self.clients[client].forget();
        }
        Ok(())
    }

    /// Sends unacknowledged packets again [MQTT-4.4.0-1].
    fn resend(&mut self, client: usize) -> Result<(), TestCaseError> {
        let version = self.version(client);
        let outgoing = std::mem::take(&mut self.clients[client].outgoing);
        let mut bytes = Vec::new();
        for outgoing in &outgoing {
            if outgoing.received {
                bytes.extend(self.answer_packet(client, Answer::PubRel(outgoing.id), false)?);
            } else {
                bytes.extend(outgoing.content.packet(version, outgoing.id, true));
                self.publish_to_model(client, outgoing.id, &outgoing.content);
            }
        }
        self.clients[client].outgoing = outgoing;
        self.feed(client, &bytes)?;
        Ok(())
    }

    fn subscribe(&mut self, client: usize, wanted: Vec<(&'static str, Wish)>) -> Result<(), TestCaseError> {
        let version = self.version(client);
        // One identifier applies to the whole packet.
        let id = wanted[0].1.id.filter(|_| version.is_v5());
        let dead_letters = client == CLIENTS - 1;
        // The server offers a queue's messages between one filter and the next, so a packet has at most one filter of a
        // queue.
        let mut queues = 0;
        let wanted: Vec<(&'static str, Wish)> = wanted
            .into_iter()
            .filter(|(filter, _)| {
                queues += usize::from(is_queue(filter));
                !is_queue(filter) || queues == 1
            })
            .filter(|(filter, _)| !filter.starts_with("$queue/") || dead_letters == (*filter == "$queue/dead"))
            .map(|(filter, wish)| {
                let plain = Wish { no_local: false, id, ..wish };
                let wish = match version.is_v5() {
                    true if is_queue(filter) => plain,
                    true => Wish { no_local: wish.no_local, ..plain },
                    false => {
                        let handling = wisp_wire::RetainHandling::Send;
                        Wish { retain_as_published: false, handling, ..plain }
                    }
                };
                (filter, wish)
            })
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        self.model.subscribe(client, &wanted);
        let packet = subscribe_packet(version, &wanted, id);
        self.feed(client, &packet)?;
        Ok(())
    }

    fn publish(&mut self, client: usize, letters: &[Letter], lost: bool) -> Result<(), TestCaseError> {
        let version = self.version(client);
        let mut bytes = Vec::new();
        for letter in letters {
            if self.clients[client].outgoing.len() >= 8 && letter.qos != QoS::AtMostOnce {
                // One more would exceed the server's Receive Maximum.
                continue;
            }
            let mut content = self.content(client, letter);
            content.expiry_s = content.expiry_s.filter(|_| version.is_v5());
            let id = if content.qos == QoS::AtMostOnce { 0 } else { self.clients[client].free_id() };
            bytes.extend(content.packet(version, id, false));
            if !lost {
                self.publish_to_model(client, id, &content);
            }
            if id > 0 {
                self.clients[client].outgoing.push(Outgoing { id, content, received: false });
            }
        }
        if lost {
            self.drop_connection(client, EndReason::TransportFailed, true, None);
        } else {
            self.feed(client, &bytes)?;
        }
        Ok(())
    }

    fn publish_to_model(&mut self, client: usize, id: u16, content: &Content) {
        let session = self.model.session(client);
        let five = session.connection.as_ref().unwrap().five;
        let new = content.qos != QoS::ExactlyOnce || session.unreleased.insert(id);
        // The message may have been made for MQTT 5.
        let content = Content { expiry_s: content.expiry_s.filter(|_| five), ..content.clone() };
        let qos = content.qos;
        let matched = !new || self.model.publish(content);
        let code = if matched || !five { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.model.session(client).reply(Event::PubAck(id, code)),
            QoS::ExactlyOnce => self.model.session(client).reply(Event::PubRec(id, code)),
        }
    }

    fn see(&mut self, client: usize, most: usize) -> Result<(), TestCaseError> {
        let Some(wire) = &mut self.wires[client] else { return Ok(()) };
        let most = most.min(wire.unseen.len());
        for event in wire.unseen.drain(..most) {
            let new = self.clients[client].see(&event)?;
            let Event::Message(Message { topic, payload, qos: QoS::ExactlyOnce, .. }) = &event else { continue };
            if new && topic.starts_with("$g/") && !payload.is_empty() {
                let had = self.had.entry(payload.clone()).or_default();
                *had += 1;
                prop_assert_eq!(*had, 1, "{:?} came twice from a group at QoS 2", event);
            }
        }
        Ok(())
    }

    fn answer(&mut self, client: usize, pick: usize, all: bool, refuse: bool, lost: bool) -> Result<(), TestCaseError> {
        let answers = &mut self.clients[client].answers;
        let chosen = match (all, answers.len()) {
            (_, 0) => return Ok(()),
            (true, _) => std::mem::take(answers),
            (false, len) => vec![answers.remove(pick % len)],
        };
        if lost {
            self.drop_connection(client, EndReason::TransportFailed, true, None);
            return Ok(());
        }
        let mut bytes = Vec::new();
        for answer in chosen {
            bytes.extend(self.answer_packet(client, answer, refuse)?);
        }
        self.feed(client, &bytes)?;
        Ok(())
    }

    /// The packet of an answer, with its effect on the model.
    fn answer_packet(&mut self, client: usize, answer: Answer, refuse: bool) -> Result<Vec<u8>, TestCaseError> {
        let version = self.version(client);
        let session = self.model.session(client);
        let code = if refuse && version.is_v5() { ReasonCode::UnspecifiedError } else { ReasonCode::Success };
        let (Answer::PubAck(id) | Answer::PubRec(id) | Answer::PubRel(id) | Answer::PubComp(id)) = answer;
        let packet_id = PacketId::new(id).unwrap();
        let properties = Properties::EMPTY;
        let at = session.inflight.iter().position(|inflight| inflight.id == id);
        Ok(match answer {
            Answer::PubAck(_) => {
                session.inflight.remove(at.unwrap());
                encoded(|out| PubAck { packet_id, code, properties }.encode(version, out))
            }
            Answer::PubRec(_) => {
                if code.is_error() {
                    session.inflight.remove(at.unwrap());
                    self.clients[client].refused(id);
                } else {
                    session.inflight[at.unwrap()].due = None;
                    session.reply(Event::PubRel(id, ReasonCode::Success));
                }
                encoded(|out| PubRec { packet_id, code, properties }.encode(version, out))
            }
            Answer::PubComp(_) => {
                session.inflight.remove(at.unwrap());
                encoded(|out| PubComp { packet_id, code: ReasonCode::Success, properties }.encode(version, out))
            }
            Answer::PubRel(_) => {
                session.unreleased.remove(&id);
                session.reply(Event::PubComp(id, ReasonCode::Success));
                encoded(|out| PubRel { packet_id, code: ReasonCode::Success, properties }.encode(version, out))
            }
        })
    }

    fn disconnect(&mut self, client: usize, with_will: bool, expiry_s: Option<u32>) -> Result<(), TestCaseError> {
        let version = self.version(client);
        let wire = self.wires[client].as_mut().unwrap();
        // 0 cannot be raised, and before MQTT 5 DISCONNECT has no interval.
        let expiry_s = expiry_s.filter(|_| version.is_v5() && wire.expiry_s > 0);
        let with_will = with_will && version.is_v5();
        let code = if with_will { ReasonCode::DisconnectWithWill } else { ReasonCode::NORMAL_DISCONNECTION };
        let properties: Vec<Property<'_>> = expiry_s.map(Property::SessionExpiryInterval).into_iter().collect();
        let packet = Disconnect { code, properties: Properties::from_slice(&properties) };
        let outcome = self.world.feed(&mut wire.peer, &encoded(|out| packet.encode(version, out)));
        prop_assert_eq!(outcome.reason(), Some(EndReason::Disconnected(code)));
        prop_assert_eq!(wire.peer.events(), vec![]);
        self.drop_connection(client, EndReason::Disconnected(code), with_will, expiry_s);
        Ok(())
    }

    fn drop_connection(&mut self, client: usize, reason: EndReason, with_will: bool, expiry_s: Option<u32>) {
        let mut wire = self.wires[client].take().unwrap();
        self.world.close(&mut wire.peer, reason);
        self.model.leave(client, with_will, expiry_s);
        self.clients[client].lose_connection();
    }

    /// Advances the time, and stops whenever something is due.
    fn pass_ms(&mut self, ms: u64) -> Result<(), TestCaseError> {
        let until_ms = self.model.now_ms + ms;
        loop {
            let next_ms = self.model.next_due_ms().filter(|next_ms| *next_ms <= until_ms);
            let to_ms = next_ms.unwrap_or(until_ms);
            self.world.pass_ms(to_ms - self.world.now_ms);
            (self.model.now_ms, self.model.reviewed_ms) = (to_ms, to_ms);
            self.model.review_all();
            self.harvest()?;
            if next_ms.is_none() {
                return Ok(());
            }
        }
    }

    /// All clients reconnect, receive their messages and disconnect for good. Nothing is left.
    pub(crate) fn finish(mut self) -> Result<(), TestCaseError> {
        let asks = Asks { five: true, clean_start: false, expiry_s: 5, receive_maximum: None, aliases: 0, will: None };
        for client in 0..CLIENTS {
            self.apply(Operation::Connect { client, asks })?;
        }
        loop {
            let before = self.messages_left();
            for client in 0..CLIENTS {
                self.apply(Operation::See { client, most: usize::MAX })?;
                self.apply(Operation::Answer { client, pick: 0, all: true, refuse: false, lost: false })?;
            }
            if before == (0, 0) {
                break;
            }
        }
        let at_most_once = Wish {
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            handling: wisp_wire::RetainHandling::DoNotSend,
            id: None,
        };
        for client in 0..CLIENTS {
            for filter in FILTERS.into_iter().filter(|filter| is_queue(filter)) {
                self.apply(Operation::Subscribe { client, wanted: vec![(filter, at_most_once)] })?;
            }
        }
        let clear = |topic| Letter { topic, qos: QoS::AtMostOnce, retain: true, empty: true, expiry_s: None };
        self.apply(Operation::Publish { client: 0, letters: TOPICS.map(clear).to_vec(), lost: false })?;
        for client in 0..CLIENTS {
            self.apply(Operation::Disconnect { client, with_will: false, expiry_s: Some(0) })?;
        }
        self.apply(Operation::Pass { seconds: 1 })?;
        self.world.assert_empty();
        Ok(())
    }

    /// Messages that clients have not seen or answered, and messages that the server has not sent or received.
    fn messages_left(&self) -> (usize, usize) {
        let wires = self.wires.iter().flatten().map(|wire| wire.unseen.len()).sum::<usize>();
        let answers = self.clients.iter().map(|client| client.answers.len() + client.outgoing.len()).sum::<usize>();
        let owed = |session: &broker::Session| session.pending.len() + session.inflight.len();
        (wires + answers, self.model.sessions.iter().flatten().map(owed).sum())
    }
}

fn connect_packet(client: usize, version: ProtocolVersion, asks: &Asks, will: Option<&(Content, u32)>) -> Vec<u8> {
    let (mut properties, mut of_will) = (Vec::new(), Vec::new());
    if asks.five {
        properties.push(Property::SessionExpiryInterval(asks.expiry_s));
        properties.extend(asks.receive_maximum.and_then(|most| most.try_into().ok()).map(Property::ReceiveMaximum));
        properties.push(Property::TopicAliasMaximum(asks.aliases));
        of_will.extend(will.map(|(_, delay_s)| Property::WillDelayInterval(*delay_s)));
        of_will.extend(will.and_then(|(content, _)| content.expiry_s).map(Property::MessageExpiryInterval));
    }
    let will = will.map(|(content, _)| Will {
        topic: TopicName::new(content.topic).unwrap(),
        payload: &content.payload,
        qos: content.qos,
        retain: content.retain,
        properties: Properties::from_slice(&of_will),
    });
    let id = client.to_string();
    let connect = Connect {
        clean_start: asks.clean_start,
        properties: Properties::from_slice(&properties),
        will,
        ..plain(version, &id)
    };
    encoded(|out| connect.encode(version, out))
}

fn subscribe_packet(version: ProtocolVersion, wanted: &[(&'static str, Wish)], id: Option<u32>) -> Vec<u8> {
    let options = |wish: &Wish| SubscriptionOptions {
        qos: wish.qos,
        no_local: wish.no_local,
        retain_as_published: wish.retain_as_published,
        retain_handling: wish.handling,
    };
    let filters: Vec<_> =
        wanted.iter().map(|(filter, wish)| (TopicFilter::new(filter).unwrap(), options(wish))).collect();
    let properties: Vec<Property<'_>> =
        id.and_then(SubscriptionId::new).map(Property::SubscriptionIdentifier).into_iter().collect();
    let subscribe = Subscribe {
        packet_id: PacketId::new(1).unwrap(),
        properties: Properties::from_slice(&properties),
        filters: Subscriptions::from_slice(&filters),
    };
    encoded(|out| subscribe.encode(version, out))
}
