//! The protocol state of one connection, without socket, clock or thread: bytes, requests and time come in; bytes,
//! events and deadlines come out.
//!
//! ```text
//!   received bytes --> input_buffer, handle_input --> poll_event
//!   requests --------> publish, subscribe, ... -----> poll_transmit, handle_sent
//!   time ------------> handle_timeout --------------> poll_timeout
//! ```
//!
//! A driver owns the socket and the clock. One turn of it:
//!
//! 1. Send the bytes of [`poll_transmit`](Protocol::poll_transmit), and report with
//!    [`handle_sent`](Protocol::handle_sent) how many of them the socket has accepted.
//! 2. Receive into [`input_buffer`](Protocol::input_buffer), and report with [`handle_input`](Protocol::handle_input)
//!    how many bytes arrived, or with [`handle_close`](Protocol::handle_close) that the connection has ended.
//! 3. Take events with [`poll_event`](Protocol::poll_event) until there are none. Packets are decoded one event at a
//!    time, so a driver that stops here, and also stops receiving, holds the broker back.
//! 4. If none of these steps moved anything, call [`handle_timeout`](Protocol::handle_timeout), and wait for the socket
//!    until [`poll_timeout`](Protocol::poll_timeout).
//!
//! After the end [`check_open`](Protocol::check_open) gives the reason. Events of earlier input still come.
//!
//! ```
//! use std::time::Instant;
//! use wisp_client::protocol::{Event, Protocol};
//! use wisp_client::{ConnectOptions, ProtocolVersion, PublishOptions, QoS};
//!
//! let now = Instant::now();
//! let mut protocol = Protocol::new(&ConnectOptions::new(ProtocolVersion::Mqtt311), now)?;
//! let connect = protocol.poll_transmit().len();
//! protocol.handle_sent(connect, now);
//!
//! let connack = [0x20, 2, 0, 0];
//! protocol.input_buffer()[..4].copy_from_slice(&connack);
//! protocol.handle_input(4);
//! assert!(matches!(protocol.poll_event(now), Some(Event::Connected)));
//!
//! let id = protocol.publish("sensors/door", b"open", PublishOptions::new(QoS::AtLeastOnce))?;
//! assert!(id.is_some() && !protocol.poll_transmit().is_empty());
//! # Ok::<(), wisp_client::Error>(())
//! ```

use std::io;
use std::time::{Duration, Instant};

use wisp_wire::{
    Disconnect, List, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, PubComp, PubRec, PubRel,
    Publish, QoS, ReasonCode, Subscribe, SubscriptionId, SubscriptionOptions, TopicName, Unsubscribe,
};

use crate::acknowledgements::{Acknowledgements, Arrival, Request, RequestKind, Step};
use crate::aliases::{Alias, ReceivedAliases, SentAliases};
use crate::buffers::{Input, Output};
use crate::error::Error;
pub use crate::event::Event;
use crate::keep_alive::{Due, KeepAlive};
pub use crate::message::Delivered;
use crate::message::Message;
use crate::options::{ConnectOptions, PublishOptions};
use crate::packets::{self, ConnectAnswer, FilterAnswer, Incoming, PublishAnswer, Published, ServerLimits, Violation};
use crate::requests::{parse_filters, parse_topic, with_connect};

/// The client's half of one MQTT connection.
pub struct Protocol {
    version: ProtocolVersion,
    client_id: String,
    session_present: bool,
    phase: Phase,
    /// The largest packet that is accepted from the broker.
    recv_bytes_max: u32,
    /// The limits of the broker.
    limits: ServerLimits,
    acknowledgements: Acknowledgements,
    received_aliases: ReceivedAliases,
    sent_aliases: SentAliases,
    keep_alive: KeepAlive,
    input: Input,
    output: Output,
    /// The reason of the end. A DISCONNECT in earlier input replaces the reason that the socket gave.
    end: Option<Error>,
    /// Whether the output ends with the DISCONNECT that reports a violation, which may be sent after the end.
    has_last_words: bool,
}

#[derive(Clone, Copy)]
enum Phase {
    /// From CONNECT to CONNACK, with the options that CONNACK puts into effect.
    Connecting { deadline: Option<Instant>, timeout: Duration, keep_alive_s: u16, use_topic_aliases: bool },
    /// Since CONNACK.
    Connected,
}

impl Protocol {
    /// Starts a connection: CONNECT is the first packet to send.
    ///
    /// # Errors
    /// When an option is illegal or not part of the MQTT version.
    pub fn new(options: &ConnectOptions, now: Instant) -> Result<Self, Error> {
        let mut protocol = Self {
            version: options.version,
            client_id: options.client_id.clone(),
            session_present: false,
            phase: Phase::Connecting {
                deadline: now.checked_add(options.connect_timeout),
                timeout: options.connect_timeout,
                keep_alive_s: options.keep_alive_s,
                use_topic_aliases: options.use_topic_aliases,
            },
            recv_bytes_max: options.packet_bytes_max,
            limits: ServerLimits::NONE,
            acknowledgements: Acknowledgements::default(),
            received_aliases: ReceivedAliases::new(options.topic_alias_max),
            sent_aliases: SentAliases::new(0),
            // Nothing is pinged before CONNACK: the wait for it has its own deadline.
            keep_alive: KeepAlive::new(0, options.answer_timeout, now),
            input: Input::default(),
            output: Output::default(),
            end: None,
            has_last_words: false,
        };
        with_connect(options, |connect| protocol.queue(connect))?;
        Ok(protocol)
    }

    /// The MQTT version of the connection.
    #[must_use]
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// The client identifier. In MQTT 5 the broker may have assigned it.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Whether the broker resumed a session of this client.
    #[must_use]
    pub fn session_present(&self) -> bool {
        self.session_present
    }

    /// The longest silence of the client, in seconds, that the broker allows; 0 for any.
    #[must_use]
    pub fn keep_alive_s(&self) -> u16 {
        self.keep_alive.interval_s()
    }

    /// The number of messages with QoS 1 and 2 that may be unacknowledged by the broker at one time.
    #[must_use]
    pub fn receive_max(&self) -> u16 {
        self.limits.receive_max
    }

    /// The highest QoS that the broker accepts.
    #[must_use]
    pub fn qos_max(&self) -> QoS {
        self.limits.qos_max
    }

    /// Queues a message. Returns its identifier, unless its QoS is 0; an [`Event::Published`] follows.
    ///
    /// # Errors
    /// When the topic is illegal, the message exceeds a limit of the broker, or the connection has ended.
    pub fn publish(&mut self, topic: &str, payload: &[u8], options: PublishOptions) -> Result<Option<PacketId>, Error> {
        self.check_connected()?;
        let PublishOptions { qos, retain } = options;
        if qos > self.limits.qos_max {
            return Err(Error::Usage(format!("the broker accepts QoS {} at most", self.limits.qos_max as u8)));
        }
        if retain && !self.limits.retain_available {
            return Err(Error::Usage("the broker does not retain messages".to_owned()));
        }
        let topic = parse_topic(topic)?;
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(self.take_message_id()?) };
        self.queue_message(&Publish { qos, retain, packet_id, ..Publish::new(topic, payload) }, topic)?;
        if let Some(packet_id) = packet_id {
            self.acknowledgements.published(packet_id, qos);
        }
        Ok(packet_id)
    }

    /// Queues a SUBSCRIBE. Returns its identifier; an [`Event::Subscribed`] follows. The subscription identifier and all
    /// options but the QoS need MQTT 5.
    ///
    /// # Errors
    /// When a filter is illegal, an option is not part of the MQTT version, or the connection has ended.
    pub fn subscribe(
        &mut self,
        filters: &[(&str, SubscriptionOptions)],
        id: Option<SubscriptionId>,
    ) -> Result<PacketId, Error> {
        self.check_connected()?;
        let is_plain = |options: &SubscriptionOptions| *options == SubscriptionOptions::new(options.qos);
        if !self.version.is_v5() && (id.is_some() || !filters.iter().all(|(_, options)| is_plain(options))) {
            return Err(Error::Usage(format!("{} subscribes with a QoS and nothing else", self.version)));
        }
        let parsed = parse_filters(filters.iter().map(|(filter, _)| *filter))?;
        let parsed: Vec<_> = parsed.into_iter().zip(filters.iter().map(|(_, options)| *options)).collect();
        let packet_id = self.take_id()?;
        let id = id.map(Property::SubscriptionIdentifier);
        let properties = Properties::from_slice(id.as_slice());
        self.queue(&Packet::Subscribe(Subscribe { packet_id, properties, filters: List::from_slice(&parsed) }))?;
        let request = Request { kind: RequestKind::Subscribe, filter_count: parsed.len() };
        self.acknowledgements.requested(packet_id, request);
        Ok(packet_id)
    }

    /// Queues an UNSUBSCRIBE. Returns its identifier; an [`Event::Unsubscribed`] follows.
    ///
    /// # Errors
    /// When a filter is illegal, or the connection has ended.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Result<PacketId, Error> {
        self.check_connected()?;
        let parsed = parse_filters(filters.iter().copied())?;
        let packet_id = self.take_id()?;
        let filters = List::from_slice(&parsed);
        self.queue(&Packet::Unsubscribe(Unsubscribe { packet_id, properties: Properties::EMPTY, filters }))?;
        let request = Request { kind: RequestKind::Unsubscribe, filter_count: parsed.len() };
        self.acknowledgements.requested(packet_id, request);
        Ok(packet_id)
    }

    /// Accepts a message: queues its acknowledgement, if it needs one.
    pub fn acknowledge(&mut self, delivered: Delivered) -> Message {
        let Delivered { message, packet_id } = delivered;
        if let Some(packet_id) = packet_id.filter(|_| message.qos == QoS::ExactlyOnce) {
            self.acknowledgements.accepted(packet_id);
        }
        self.queue_acknowledgement(message.qos, packet_id);
        message
    }

    /// Queues DISCONNECT.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn disconnect(&mut self) -> Result<(), Error> {
        self.queue(&disconnect(ReasonCode::NORMAL_DISCONNECTION))
    }

    /// Space for received bytes, never empty.
    pub fn input_buffer(&mut self) -> &mut [u8] {
        self.input.spare()
    }

    /// The first bytes of [`input_buffer`](Self::input_buffer) were received.
    ///
    /// # Panics
    /// When the buffer is shorter.
    pub fn handle_input(&mut self, bytes: usize) {
        self.input.received(bytes);
    }

    /// The connection has ended: by the broker, or by an error of the host.
    pub fn handle_close(&mut self, error: Option<io::Error>) {
        self.has_last_words = false;
        self.end_with(error.map_or(Error::Closed { code: None, reason: None }, Error::transport));
    }

    /// The next event of the input. A packet that no broker may send ends the connection.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        loop {
            let incoming = match packets::decode(self.input.filled(), self.version, self.recv_bytes_max) {
                Ok(Some((incoming, length))) => {
                    self.input.consume(length);
                    incoming
                }
                Ok(None) => return None,
                Err(violation) => {
                    let other = packets::other_protocol(self.input.filled());
                    if let (Phase::Connecting { .. }, Some(error)) = (self.phase, other) {
                        self.end_with(error);
                        return None;
                    }
                    return self.end_by_violation(violation);
                }
            };
            let event = match self.phase {
                Phase::Connecting { keep_alive_s, use_topic_aliases, .. } => {
                    self.handle_first_packet(incoming, keep_alive_s, use_topic_aliases, now)
                }
                Phase::Connected => self.handle_packet(incoming),
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// The bytes to send. After the end there are some only if the broker violated the protocol: then they end with
    /// the DISCONNECT that says so, to be sent as far as the socket accepts it at once.
    #[must_use]
    pub fn poll_transmit(&self) -> &[u8] {
        if self.end.is_none() || self.has_last_words { self.output.pending() } else { &[] }
    }

    /// The number of bytes that are queued and not sent. After the end they are lost.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.output.pending().len()
    }

    /// The socket has accepted the first bytes of [`poll_transmit`](Self::poll_transmit).
    ///
    /// # Panics
    /// When there are fewer.
    pub fn handle_sent(&mut self, bytes: usize, now: Instant) {
        self.output.sent(bytes);
        if bytes > 0 {
            self.keep_alive.sent(now);
        }
    }

    /// The time of the next [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            _ if self.end.is_some() => None,
            Phase::Connecting { deadline, .. } => deadline,
            Phase::Connected => self.keep_alive.deadline(),
        }
    }

    /// Pings, or gives a broker up that does not answer, if it is time. To be called after the events of all received
    /// bytes, for the answer may be among them.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.end.is_some() {
            return;
        }
        match self.phase {
            Phase::Connecting { deadline: Some(deadline), timeout, .. } if deadline <= now => {
                // Too late is not at all: no event may follow.
                self.input.discard();
                self.end_with(Error::Timeout { waiting: "for the broker to answer CONNECT", waited: timeout });
            }
            Phase::Connecting { .. } => {}
            Phase::Connected => match self.keep_alive.due(now) {
                Some(Due::Ping) => {
                    // A broker that accepts no packet of two bytes gets no ping, and counts as silent.
                    let _ = self.queue(&Packet::PingReq);
                    self.keep_alive.ping_sent(now);
                }
                Some(Due::GiveUp) => self.end_with(Error::Silent { waited: self.keep_alive.answer_timeout() }),
                None => {}
            },
        }
    }

    /// Whether the connection is open.
    ///
    /// # Errors
    /// The reason of its end.
    pub fn check_open(&self) -> Result<(), Error> {
        self.end.clone().map_or(Ok(()), Err)
    }

    /// Forgets received bytes that no event has come from.
    pub fn discard_input(&mut self) {
        self.input.discard();
    }

    /// Received bytes that no event has come from.
    #[must_use]
    pub fn undecoded(&self) -> &[u8] {
        self.input.filled()
    }

    fn check_connected(&self) -> Result<(), Error> {
        self.check_open()?;
        match self.phase {
            Phase::Connected => Ok(()),
            Phase::Connecting { .. } => Err(Error::Usage("the broker has not answered CONNECT yet".to_owned())),
        }
    }

    fn take_message_id(&mut self) -> Result<PacketId, Error> {
        // A caller that waits for each answer has as many unsettled messages only after calls that gave up.
        if self.acknowledgements.unsettled() >= usize::from(self.limits.receive_max) {
            let text = format!("the broker accepts {} unacknowledged messages at most", self.limits.receive_max);
            return Err(Error::Usage(text));
        }
        self.take_id()
    }

    fn take_id(&mut self) -> Result<PacketId, Error> {
        self.acknowledgements.take_id().ok_or_else(|| Error::Usage("no packet identifier is free".to_owned()))
    }

    /// Encodes a packet into the output, or leaves the output unchanged.
    fn queue(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        self.check_open()?;
        let bytes = self.output.bytes();
        let before = bytes.len();
        let encoded = packet.encode(self.version, bytes).map_err(|error| error.to_string());
        let (length, limit) = (bytes.len() - before, self.limits.packet_bytes_max);
        let fits = u32::try_from(length).is_ok_and(|length| length <= limit);
        let refusal = match encoded {
            Ok(()) if fits => return Ok(()),
            Ok(()) => format!("a packet of {length} bytes is larger than the broker's limit of {limit}"),
            Err(error) => error,
        };
        bytes.truncate(before);
        Err(Error::Usage(refusal))
    }

    /// Encodes a message, with the alias of its topic if there is one.
    fn queue_message(&mut self, publish: &Publish<'_>, topic: TopicName<'_>) -> Result<(), Error> {
        let alias = self.sent_aliases.of(topic.as_str());
        let (sent_topic, number) = match alias {
            Alias::None => (Some(topic), None),
            Alias::New(number) => (Some(topic), Some(number)),
            Alias::Known(number) => (None, Some(number)),
        };
        let property = number.map(Property::TopicAlias);
        let properties = Properties::from_slice(property.as_slice());
        self.queue(&Packet::Publish(Publish { topic: sent_topic, properties, ..*publish }))?;
        if let Alias::New(number) = alias {
            self.sent_aliases.assigned(topic.as_str(), number);
        }
        Ok(())
    }

    fn queue_acknowledgement(&mut self, qos: QoS, packet_id: Option<PacketId>) {
        match (qos, packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => self.reply(&Packet::PubAck(PubAck::new(packet_id))),
            (QoS::ExactlyOnce, Some(packet_id)) => self.reply(&Packet::PubRec(PubRec::new(packet_id))),
            _ => {}
        }
    }

    /// Queues an acknowledgement. After the end it is dropped, since the broker cannot receive it; the message remains
    /// valid for the caller.
    fn reply(&mut self, packet: &Packet<'_>) {
        let _ = self.queue(packet);
    }

    /// Handles a packet before CONNACK, which has to be CONNACK.
    fn handle_first_packet(
        &mut self,
        incoming: Incoming,
        keep_alive_s: u16,
        use_topic_aliases: bool,
        now: Instant,
    ) -> Option<Event> {
        let answer = match incoming {
            Incoming::ConnAck(answer) => answer,
            Incoming::Disconnect { code, reason } => return self.end_by_disconnect(code, reason),
            _ => {
                let rule = "it sent another packet before CONNACK [MQTT-3.2.0-1]";
                return self.end_by_violation(Violation::of_protocol(rule));
            }
        };
        let ConnectAnswer { session_present, code, reason, assigned_client_id, server_keep_alive_s, limits } = answer;
        if code != ReasonCode::Success {
            self.end_with(Error::Refused { code, reason });
            return None;
        }
        self.phase = Phase::Connected;
        self.session_present = session_present;
        self.client_id = assigned_client_id.unwrap_or_else(|| std::mem::take(&mut self.client_id));
        self.limits = limits;
        self.sent_aliases = SentAliases::new(if use_topic_aliases { limits.topic_alias_max } else { 0 });
        let keep_alive_s = server_keep_alive_s.unwrap_or(keep_alive_s);
        self.keep_alive = KeepAlive::new(keep_alive_s, self.keep_alive.answer_timeout(), now);
        Some(Event::Connected)
    }

    fn handle_packet(&mut self, incoming: Incoming) -> Option<Event> {
        match incoming {
            Incoming::Publish(published) => self.handle_publish(published),
            Incoming::PubAck(answer) => {
                let step = self.acknowledgements.acknowledged(answer.packet_id, answer.code);
                self.advance(step, answer)
            }
            Incoming::PubRec(answer) => {
                let step = self.acknowledgements.recorded(answer.packet_id, answer.code);
                self.advance(step, answer)
            }
            Incoming::PubComp(answer) => {
                let step = self.acknowledgements.completed(answer.packet_id, answer.code);
                self.advance(step, answer)
            }
            Incoming::PubRel(packet_id) => {
                self.acknowledgements.released(packet_id);
                self.reply(&Packet::PubComp(PubComp::new(packet_id)));
                None
            }
            Incoming::SubAck(answer) => self.handle_filter_answer(RequestKind::Subscribe, answer),
            Incoming::UnsubAck(answer) => self.handle_filter_answer(RequestKind::Unsubscribe, answer),
            Incoming::PingResp => {
                self.keep_alive.ping_answered();
                None
            }
            Incoming::Disconnect { code, reason } => self.end_by_disconnect(code, reason),
            Incoming::ConnAck(_) => self.end_by_violation(Violation::of_protocol("it sent a second CONNACK")),
        }
    }

    /// Returns a message, unless it is a repetition.
    fn handle_publish(&mut self, published: Published) -> Option<Event> {
        let Published { mut delivered, topic_alias } = published;
        let topic = Some(std::mem::take(&mut delivered.message.topic)).filter(|topic| !topic.is_empty());
        match self.received_aliases.resolve(topic, topic_alias) {
            Ok(topic) => delivered.message.topic = topic,
            Err(rule) => {
                let (error, code) = (Error::Protocol(rule.to_owned()), ReasonCode::TopicAliasInvalid);
                return self.end_by_violation(Violation { error, code });
            }
        }
        let exactly_once = delivered.packet_id.filter(|_| delivered.message.qos == QoS::ExactlyOnce);
        match exactly_once.map_or(Arrival::New, |packet_id| self.acknowledgements.arrived(packet_id)) {
            Arrival::New => return Some(Event::Message(delivered)),
            Arrival::Unacknowledged => {}
            Arrival::Accepted => self.queue_acknowledgement(QoS::ExactlyOnce, delivered.packet_id),
        }
        None
    }

    /// Takes the step that an acknowledgement of a message of this client asks for.
    fn advance(&mut self, step: Option<Step>, answer: PublishAnswer) -> Option<Event> {
        let PublishAnswer { packet_id, reason, .. } = answer;
        match step {
            Some(Step::Settled(code)) => Some(Event::Published { packet_id, code, reason }),
            Some(Step::Release) => {
                self.reply(&Packet::PubRel(PubRel::new(packet_id)));
                None
            }
            None => {
                let rule = format!("it acknowledged message {packet_id}, which was not sent or is settled");
                self.end_by_violation(Violation::of_protocol(rule))
            }
        }
    }

    fn handle_filter_answer(&mut self, kind: RequestKind, answer: FilterAnswer) -> Option<Event> {
        let FilterAnswer { packet_id, mut codes } = answer;
        let filters = self.acknowledgements.answered(packet_id, kind)?;
        if kind == RequestKind::Unsubscribe && !self.version.is_v5() {
            codes = vec![ReasonCode::Success; filters];
        }
        if codes.len() != filters {
            let rule = format!("it answered {filters} filters with {} codes", codes.len());
            return self.end_by_violation(Violation::of_protocol(rule));
        }
        Some(match kind {
            RequestKind::Subscribe => Event::Subscribed { packet_id, codes },
            RequestKind::Unsubscribe => Event::Unsubscribed { packet_id, codes },
        })
    }

    /// Ends the connection with a DISCONNECT that names the violation.
    fn end_by_violation(&mut self, violation: Violation) -> Option<Event> {
        let Violation { error, code } = violation;
        if self.end.is_none() {
            self.has_last_words = self.queue(&disconnect(code)).is_ok();
        }
        // The rest of the input cannot be trusted to be packets.
        self.input.discard();
        self.end_with(error);
        None
    }

    /// The broker's DISCONNECT says more about the end than the socket does.
    fn end_by_disconnect(&mut self, code: ReasonCode, reason: Option<String>) -> Option<Event> {
        self.end = Some(Error::Closed { code: Some(code), reason });
        None
    }

    fn end_with(&mut self, error: Error) {
        self.end.get_or_insert(error);
    }
}

fn disconnect(code: ReasonCode) -> Packet<'static> {
    Packet::Disconnect(Disconnect { code, properties: Properties::EMPTY })
}
