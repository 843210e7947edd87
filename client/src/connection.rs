//! MQTT over a [`Link`]: packets, deadlines, pings, and why it ended.
//!
//! Every call that has to wait goes around the same loop: take the packets that are there
//! ([`Connection::next_packet`]), then [`Connection::turn`], which lets bytes flow where the socket is ready, pings
//! if it is time, and else waits for the socket until the call's deadline. While the inbox is full nothing is
//! read, and the broker's own flow control holds the rest back.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wisp_net::Host;
use wisp_wire::{
    Disconnect, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, PubComp, PubRec, PubRel, Publish, QoS,
    ReasonCode, TopicName,
};

use crate::aliases::{Alias, ReceivedAliases, SentAliases};
use crate::delivery::{Arrival, Delivery, Step};
use crate::inbox::Inbox;
use crate::incoming::{self, Delivered, Incoming, Receipt, ServerLimits};
use crate::keep_alive::{KeepAlive, Pulse};
use crate::link::{Link, Received};
use crate::{ConnectOptions, Error, Message};

/// How long closing waits for the broker to close as well.
const CLOSE_TIMEOUT_MAX: Duration = Duration::from_secs(2);

/// A connection, from before CONNECT until after its end.
pub(crate) struct Connection<H: Host> {
    link: Link<H>,
    version: ProtocolVersion,
    recv_bytes_max: u32,
    /// The largest packet the broker takes.
    pub(crate) send_bytes_max: u32,
    pub(crate) limits: ServerLimits,
    pub(crate) delivery: Delivery,
    received_aliases: ReceivedAliases,
    pub(crate) sent_aliases: SentAliases,
    pub(crate) answer_timeout: Duration,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) inbox: Inbox,
    /// Why the connection has ended. Input that came before the end is decoded all the same, and a DISCONNECT
    /// in it, which tells more, replaces what the socket said.
    ended: Option<Error>,
}

/// What a client leaves when it is taken apart.
#[non_exhaustive]
pub struct Parts<S> {
    /// The connection, no longer registered with a poller.
    pub stream: S,
    /// Messages that came and were not received.
    pub messages: Vec<Message>,
    /// What came after them and was not decoded yet.
    pub bytes: Vec<u8>,
}

impl<H: Host> Connection<H> {
    pub(crate) fn open(host: &H, address: SocketAddr, options: &ConnectOptions) -> Result<Self, Error> {
        let link = Link::open(host, address).map_err(|error| Error::Connect { address, cause: error.into() })?;
        Ok(Self {
            link,
            version: options.version,
            recv_bytes_max: options.packet_bytes_max,
            send_bytes_max: u32::MAX,
            limits: ServerLimits {
                receive_max: u16::MAX,
                qos_max: QoS::ExactlyOnce,
                retain_available: true,
                topic_alias_max: 0,
            },
            delivery: Delivery::default(),
            received_aliases: ReceivedAliases::new(options.topic_alias_max),
            sent_aliases: SentAliases::new(0),
            answer_timeout: options.answer_timeout,
            // Until CONNACK came there is nothing to ping; a timeout watches over the wait for it.
            keep_alive: KeepAlive::new(0, options.answer_timeout, Instant::now()),
            inbox: Inbox::new(options.inbox_messages_max, options.inbox_bytes_max),
            ended: None,
        })
    }

    /// Sends small packets at once. Without it one may wait for the acknowledgement of the one before, but
    /// everything works, so that a host that refuses is no error.
    pub(crate) fn prefer_latency(&self) {
        let _ = self.link.set_nodelay();
    }

    /// Encodes a packet into the output, or leaves the output as it was.
    pub(crate) fn queue(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        self.check_open()?;
        let bytes = self.link.output.bytes();
        let before = bytes.len();
        let encoded = packet.encode(self.version, bytes).map_err(|error| error.to_string());
        let length = bytes.len() - before;
        let fits = u32::try_from(length).is_ok_and(|length| length <= self.send_bytes_max);
        let refusal = match encoded {
            Ok(()) if fits => return Ok(()),
            Ok(()) => format!("a packet of {length} bytes is larger than the {} the broker takes", self.send_bytes_max),
            Err(error) => error,
        };
        bytes.truncate(before);
        Err(Error::Usage(refusal))
    }

    /// Encodes a message, by the alias of its topic where it has one.
    pub(crate) fn queue_message(&mut self, publish: &Publish<'_>, topic: TopicName<'_>) -> Result<(), Error> {
        let alias = self.sent_aliases.of(topic.as_str());
        let (topic, number) = match alias {
            Alias::None => (Some(topic), None),
            Alias::New(number) => (Some(topic), Some(number)),
            Alias::Known(number) => (None, Some(number)),
        };
        let property = number.map(Property::TopicAlias);
        let properties = Properties::from_slice(property.as_slice());
        self.queue(&Packet::Publish(Publish { topic, properties, ..*publish }))?;
        if let (Some(topic), Alias::New(number)) = (topic, alias) {
            self.sent_aliases.keep(topic.as_str(), number);
        }
        Ok(())
    }

    /// How many bytes are queued and not yet sent.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.link.output.len()
    }

    /// Hands everything that is queued to the host's socket.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        // A look at the socket first: a broker that has closed is noticed here, and not by the one message
        // that a socket still takes after its peer has gone.
        self.wait(Some(Duration::ZERO))?;
        let mut deadline = self.answer_deadline();
        let mut left = usize::MAX;
        loop {
            self.exchange();
            // Before the end is looked at, since a DISCONNECT among what came tells more about it.
            self.collect();
            self.check_open()?;
            let queued = self.queued_bytes();
            if queued == 0 {
                return Ok(());
            }
            // A slow broker is no reason to give up as long as it takes something.
            if queued < left {
                left = queued;
                deadline = self.answer_deadline();
            }
            self.turn_before(deadline, self.answer_timeout, "for the broker to take what is sent")?;
        }
    }

    /// Waits for a packet that `wanted` takes, and keeps the messages that come before it.
    pub(crate) fn await_answer<T>(
        &mut self,
        waiting: &'static str,
        mut wanted: impl FnMut(Incoming) -> Option<T>,
    ) -> Result<T, Error> {
        let deadline = self.answer_deadline();
        loop {
            while !self.inbox.is_full() {
                let Some(incoming) = self.next_packet() else { break };
                match self.absorb(incoming) {
                    Some(Incoming::Message(message)) => self.inbox.keep(message),
                    // An answer nobody waits for is a late one, to a call that gave up.
                    Some(answer) => {
                        if let Some(wanted) = wanted(answer) {
                            return Ok(wanted);
                        }
                    }
                    None => {}
                }
            }
            if self.inbox.is_full() {
                // The question goes out all the same, so that the answer is there once the caller has received.
                self.exchange();
                self.check_open()?;
                return Err(Error::InboxFull { messages: self.inbox.len() });
            }
            self.turn_before(deadline, self.answer_timeout, waiting)?;
        }
    }

    /// The next packet of the input. One that no broker may send ends the connection.
    pub(crate) fn next_packet(&mut self) -> Option<Incoming> {
        match incoming::decode(self.link.input.filled(), self.version, self.recv_bytes_max) {
            Ok(Some((incoming, length))) => {
                self.link.input.consume(length);
                Some(incoming)
            }
            Ok(None) => None,
            Err((error, code)) => {
                self.violated(error, code);
                None
            }
        }
    }

    /// Does what a packet asks of every call alike, and gives back what only some calls want.
    pub(crate) fn absorb(&mut self, incoming: Incoming) -> Option<Incoming> {
        match incoming {
            Incoming::PingResp => self.keep_alive.answered(),
            Incoming::Disconnect { code, reason } => self.ended = Some(Error::Closed { code: Some(code), reason }),
            Incoming::ConnAck(_) => {
                self.violated(Error::Protocol("it sent a second CONNACK".to_owned()), ReasonCode::ProtocolError);
            }
            Incoming::Message(delivered) => return self.arrived(delivered).map(Incoming::Message),
            Incoming::PubAck(receipt) => {
                let step = self.delivery.acknowledged(receipt.packet_id, receipt.code);
                return self.advance(step, receipt);
            }
            Incoming::PubRec(receipt) => {
                let step = self.delivery.recorded(receipt.packet_id, receipt.code);
                return self.advance(step, receipt);
            }
            Incoming::PubComp(receipt) => {
                let step = self.delivery.completed(receipt.packet_id, receipt.code);
                return self.advance(step, receipt);
            }
            Incoming::PubRel(packet_id) => {
                self.delivery.released(packet_id);
                self.reply(&Packet::PubComp(PubComp::new(packet_id)));
            }
            Incoming::SubAck(_) | Incoming::UnsubAck(_) | Incoming::Settled(_) => return Some(incoming),
        }
        None
    }

    /// Gives a message that has not come before.
    fn arrived(&mut self, mut delivered: Delivered) -> Option<Delivered> {
        let topic = Some(std::mem::take(&mut delivered.message.topic)).filter(|topic| !topic.is_empty());
        match self.received_aliases.resolve(topic, delivered.topic_alias) {
            Ok(topic) => delivered.message.topic = topic,
            Err(rule) => {
                self.violated(Error::Protocol(rule.to_owned()), ReasonCode::TopicAliasInvalid);
                return None;
            }
        }
        let exactly_once = delivered.packet_id.filter(|_| delivered.message.qos == QoS::ExactlyOnce);
        match exactly_once.map_or(Arrival::New, |packet_id| self.delivery.arrived(packet_id)) {
            Arrival::New => return Some(delivered),
            Arrival::Waits => {}
            Arrival::Known => self.acknowledge(QoS::ExactlyOnce, delivered.packet_id),
        }
        None
    }

    /// What the acknowledgement of a message of ours leads to.
    fn advance(&mut self, step: Option<Step>, receipt: Receipt) -> Option<Incoming> {
        match step {
            Some(Step::Settled(code)) => return Some(Incoming::Settled(Receipt { code, ..receipt })),
            Some(Step::Release) => self.reply(&Packet::PubRel(PubRel::new(receipt.packet_id))),
            None => {
                let error = format!("it acknowledged message {}, which is not on its way", receipt.packet_id);
                self.violated(Error::Protocol(error), ReasonCode::ProtocolError);
            }
        }
        None
    }

    /// The message for the caller, acknowledged by that.
    pub(crate) fn hand_over(&mut self, delivered: Delivered) -> Message {
        let Delivered { message, packet_id, .. } = delivered;
        if let Some(packet_id) = packet_id.filter(|_| message.qos == QoS::ExactlyOnce) {
            self.delivery.handed_over(packet_id);
        }
        self.acknowledge(message.qos, packet_id);
        message
    }

    fn acknowledge(&mut self, qos: QoS, packet_id: Option<PacketId>) {
        match (qos, packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => self.reply(&Packet::PubAck(PubAck::new(packet_id))),
            (QoS::ExactlyOnce, Some(packet_id)) => self.reply(&Packet::PubRec(PubRec::new(packet_id))),
            _ => {}
        }
    }

    /// Queues an acknowledgement, which goes with whatever is sent next. Once the connection has ended the broker
    /// cannot get it, and what came before is still for the caller.
    fn reply(&mut self, packet: &Packet<'_>) {
        let _ = self.queue(packet);
    }

    /// Lets bytes flow in each direction that is ready; if none is, waits until one is, or until the deadline.
    /// False when the deadline has passed and nothing can flow.
    pub(crate) fn turn(&mut self, deadline: Option<Instant>) -> Result<bool, Error> {
        self.check_open()?;
        if self.exchange() {
            return Ok(true);
        }
        let now = Instant::now();
        let wake_at = match self.keep_alive.pulse(now) {
            Pulse::Quiet => None,
            Pulse::Until(at) => Some(at),
            Pulse::Ping => {
                self.queue(&Packet::PingReq)?;
                self.keep_alive.asked(now);
                return Ok(true);
            }
            Pulse::Dead => return Err(self.end(Error::Silent { waited: self.answer_timeout })),
        };
        let until = [deadline, wake_at].into_iter().flatten().min();
        self.wait(until.map(|until| until.saturating_duration_since(now)))?;
        let expired = deadline.is_some_and(|deadline| deadline <= Instant::now());
        Ok(!expired || self.link.is_ready(!self.inbox.is_full()))
    }

    /// As [`turn`](Self::turn), with an error when the deadline has passed.
    pub(crate) fn turn_before(
        &mut self,
        deadline: Option<Instant>,
        waited: Duration,
        waiting: &'static str,
    ) -> Result<(), Error> {
        if self.turn(deadline)? { Ok(()) } else { Err(Error::Timeout { waiting, waited }) }
    }

    /// Sends DISCONNECT and waits until the broker has closed, too: closing while bytes from it are unread would
    /// reset the connection, and may take with it what was just sent.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        // Before the goodbye a broker that has closed is a failure, and after it is what was asked for.
        if self.queued_bytes() > 0 {
            self.flush()?;
        }
        self.queue(&disconnect(ReasonCode::NORMAL_DISCONNECTION))?;
        match self.flush() {
            Err(Error::Closed { code: None, .. }) if self.queued_bytes() == 0 => return Ok(()),
            flushed => flushed?,
        }
        self.link.finish_sending();
        let deadline = Instant::now().checked_add(self.answer_timeout.min(CLOSE_TIMEOUT_MAX));
        loop {
            while self.inbox.take().is_some() {}
            self.link.input.discard();
            match self.turn(deadline) {
                Ok(true) => {}
                // All is sent, so how the connection ends does not matter any more.
                Ok(false) | Err(_) => return Ok(()),
            }
        }
    }

    /// Takes itself apart; what is queued and not yet sent is lost.
    pub(crate) fn into_parts(self, messages: Vec<Message>) -> Parts<H::Stream> {
        let (stream, bytes) = self.link.into_parts();
        Parts { stream, messages, bytes }
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.ended.clone().map_or(Ok(()), Err)
    }

    /// Ends the connection because the broker broke a rule.
    pub(crate) fn violated(&mut self, error: Error, code: ReasonCode) -> Error {
        if self.ended.is_none() {
            // Told as far as the socket takes it at once: the broker may have stopped reading.
            let _ = self.queue(&disconnect(code));
            let _ = self.link.send();
            self.link.finish_sending();
        }
        // What follows in the input cannot be trusted to be packets.
        self.link.input.discard();
        self.end(error)
    }

    /// Keeps the messages that are there, as far as the inbox has room.
    fn collect(&mut self) {
        while !self.inbox.is_full() {
            let Some(incoming) = self.next_packet() else { break };
            if let Some(Incoming::Message(message)) = self.absorb(incoming) {
                self.inbox.keep(message);
            }
        }
    }

    /// Sends and receives where the socket is ready; says whether anything moved, which the end of the
    /// connection counts as.
    fn exchange(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        let sent = match self.link.send() {
            Ok(sent) => sent,
            Err(error) => {
                self.end_after_last_words(error);
                return true;
            }
        };
        if sent {
            self.keep_alive.sent(Instant::now());
        }
        if self.inbox.is_full() {
            return sent;
        }
        match self.link.receive() {
            Ok(Received::Nothing) => return sent,
            Ok(Received::Bytes) => {}
            Ok(Received::End) => {
                self.end(Error::Closed { code: None, reason: None });
            }
            Err(error) => {
                self.end(Error::transport(error));
            }
        }
        true
    }

    /// When sending fails, the broker's last words may still be there to receive. They are no more than the
    /// socket holds, since nothing more can come.
    fn end_after_last_words(&mut self, error: io::Error) {
        let received = loop {
            match self.link.receive_now() {
                Ok(Received::Bytes) => {}
                received => break received,
            }
        };
        // A connection that never came about also gives an end of stream, but its error tells more.
        let by_peer = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
        self.end(match received {
            Ok(Received::End) if by_peer => Error::Closed { code: None, reason: None },
            _ => Error::transport(error),
        });
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.link.wait(timeout).map_err(|error| self.end(Error::transport(error)))
    }

    fn end(&mut self, error: Error) -> Error {
        self.ended.get_or_insert(error).clone()
    }

    fn answer_deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.answer_timeout)
    }
}

fn disconnect(code: ReasonCode) -> Packet<'static> {
    Packet::Disconnect(Disconnect { code, properties: Properties::EMPTY })
}
