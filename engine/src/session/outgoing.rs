//! What is on its way to one client at QoS 1 and 2 (MQTT 5 section 4.3, 4.4 and 4.9), whether or not it is connected.
//!
//! ```text
//!             window has room            PUBACK, or PUBREC then PUBCOMP
//!   pending ------------------> inflight ------------------------------> done
//!                                 |  ^
//!       the client connects again '--' sent again, in the original order, with DUP
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use wisp_wire::{PacketId, PubRel, QoS, ReasonCode, SubscriptionId};

use super::inflight::{Again, InUse, Inflight};
use crate::limits::Limits;
use crate::message::{Earliest, Head, Message};
use crate::outbox::{ConnectionId, Outbox};
use crate::replay::Replay;
use crate::room::Room;
use crate::topic_queue::{Queued, Receiver, TopicQueue};

/// The identifiers of the subscriptions that a message matched.
pub(crate) type SubscriptionIds = Option<Arc<[SubscriptionId]>>;

/// A message for one session.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Message,
    /// The lower of the publisher's and the subscription's.
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Boxed, since most messages have none of it and there may be thousands on their way.
    extras: Option<Box<Extras>>,
}

#[derive(Debug)]
struct Extras {
    subscription_ids: SubscriptionIds,
    source: Option<Source>,
}

impl Delivery {
    /// A message that came by a subscription of the session's own.
    pub(crate) fn new(message: Message, qos: QoS, retain: bool, subscription_ids: SubscriptionIds) -> Self {
        let extras = subscription_ids.map(|ids| Box::new(Extras { subscription_ids: Some(ids), source: None }));
        Self { message, qos, retain, extras }
    }

    /// A message on loan from a topic queue or group.
    fn on_loan(queued: Queued, queue: &Arc<TopicQueue>, qos: QoS, receiver: &Receiver) -> Self {
        let Queued { message, deliveries } = queued;
        let source = Source { queue: Arc::clone(queue), deliveries: deliveries.saturating_add(1) };
        let extras = Extras { subscription_ids: receiver.subscription_ids.clone(), source: Some(source) };
        let retain = message.retain() && receiver.retain_as_published;
        Self { message, qos, retain, extras: Some(Box::new(extras)) }
    }

    /// The topic queue it is taken from, and goes back to if this client does not acknowledge it.
    pub(crate) fn source(&self) -> Option<&Source> {
        self.extras.as_ref()?.source.as_ref()
    }

    fn subscription_ids(&self) -> &[SubscriptionId] {
        self.extras.as_ref().and_then(|extras| extras.subscription_ids.as_deref()).unwrap_or_default()
    }

    pub(crate) fn into_returned(self) -> Option<Returned> {
        let Source { queue, deliveries } = self.extras?.source?;
        Some((queue, Queued { message: self.message, deliveries }))
    }
}

/// Where a message is on loan from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) queue: Arc<TopicQueue>,
    /// How often it has been delivered, this time included.
    pub(crate) deliveries: u16,
}

/// A message that a client did not acknowledge, and the topic queue it goes back to.
pub(crate) type Returned = (Arc<TopicQueue>, Queued);

/// What a worker lends to whatever it has do something.
pub(crate) struct Turn<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) now_ms: u64,
    /// Empty; packets are written here before they go to an outbox in one piece.
    pub(crate) buffer: &'a mut Vec<u8>,
    /// Counts messages that are not delivered.
    pub(crate) dropped: &'a mut u64,
}

impl Turn<'_> {
    /// Counts a message that a receiver does not get.
    pub(crate) fn count_dropped(&mut self, room: &Room) {
        *self.dropped += 1;
        room.count_dropped(1);
    }
}

/// The sending half of a session.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    attached: Option<Attached>,
    ended: bool,
    /// Not yet sent, in the order they came.
    pending: VecDeque<Delivery>,
    /// Sent and not yet acknowledged.
    inflight: Inflight,
    /// When the first of those that wait expires.
    expires_ms: Earliest,
    /// What the room is to be told has left: once a batch, since others look at it too.
    left: Left,
    seldom: Option<Box<Seldom>>,
}

/// Messages that are done with.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    bytes: usize,
    messages: usize,
}

impl Left {
    /// Gives back the place of a message.
    fn settle(&mut self, delivery: &Delivery) {
        match delivery.source() {
            Some(source) => source.queue.acknowledged(&delivery.message),
            None => {
                self.bytes += delivery.message.cost_bytes();
                self.messages += 1;
            }
        }
    }

    fn tell(&mut self, room: &Room) {
        let Self { bytes, messages } = std::mem::take(self);
        if messages > 0 {
            room.remove(bytes, messages);
        }
    }
}

/// What most sessions have not, most of the time.
#[derive(Debug, Default)]
struct Seldom {
    /// Topic queues and groups that this client receives from.
    sources: Vec<Arc<TopicQueue>>,
    /// Retained messages still to be delivered, while the client is away.
    replays: Vec<Replay>,
}

#[derive(Debug)]
struct Attached {
    outbox: Arc<Outbox>,
    /// The most messages that may be unacknowledged at a time.
    window: usize,
}

/// What an acknowledgement was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// A message it fits.
    Known,
    /// No message there is.
    Unknown,
    /// A message of the other QoS.
    Mismatch,
    /// It came from a connection that no longer has the session.
    Stale,
}

/// What became of an offer.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    pub(crate) taken: usize,
    /// To be flushed, if anything was put there.
    pub(crate) outbox: Option<Arc<Outbox>>,
    /// The receiver has to read before it can get more at QoS 0.
    pub(crate) waits_for_outbox: bool,
}

impl Outgoing {
    /// The connection the client is on now.
    pub(crate) fn outbox(&self) -> Option<&Arc<Outbox>> {
        self.attached.as_ref().map(|attached| &attached.outbox)
    }

    /// Whether the session is over.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn is_attached_to(&self, connection: ConnectionId) -> bool {
        self.outbox().is_some_and(|outbox| outbox.connection() == connection)
    }

    /// Hands the session over to a connection, and returns the one it had. What is unacknowledged is to be sent again.
    pub(crate) fn attach(&mut self, outbox: &Arc<Outbox>, window: usize) -> Option<Arc<Outbox>> {
        debug_assert!(!self.ended, "an ended session is not in the registry");
        let old = self.attached.replace(Attached { outbox: Arc::clone(outbox), window });
        self.inflight.rewind();
        old.map(|attached| attached.outbox)
    }

    /// Takes the session from its connection. What was on loan from topic queues goes back to them.
    pub(crate) fn detach(&mut self, room: &Room) -> Vec<Returned> {
        self.left.tell(room);
        self.attached = None;
        let returned = self.inflight.take_loans(|source| !source.queue.is_group());
        self.shrink();
        returned
    }

    /// Gives back what is empty: a client may be away for long.
    fn shrink(&mut self) {
        self.pending.shrink_to_fit();
        self.inflight.shrink();
    }

    /// Changes what most sessions have not, and keeps it only if there is something left.
    fn change_seldom(&mut self, change: impl FnOnce(&mut Seldom)) {
        let mut seldom = self.seldom.take().unwrap_or_default();
        change(&mut seldom);
        let empty = seldom.sources.is_empty() && seldom.replays.is_empty();
        self.seldom = (!empty).then_some(seldom);
    }

    /// Notes that the client receives from a topic queue, or no longer does.
    pub(crate) fn change_sources(&mut self, change: impl FnOnce(&mut Vec<Arc<TopicQueue>>)) {
        self.change_seldom(|seldom| change(&mut seldom.sources));
    }

    /// The queues among its sources that have messages.
    pub(crate) fn backlogs(&self) -> Vec<Arc<TopicQueue>> {
        let sources = self.seldom.iter().flat_map(|seldom| &seldom.sources);
        sources.filter(|queue| queue.has_backlog()).cloned().collect()
    }

    /// Keeps what retained messages are still to come while the client is away.
    pub(crate) fn keep_replays(&mut self, replays: Vec<Replay>) {
        if !self.ended && !replays.is_empty() {
            self.change_seldom(|seldom| seldom.replays.extend(replays));
        }
    }

    /// Takes them up again.
    pub(crate) fn take_replays(&mut self) -> Vec<Replay> {
        let mut replays = Vec::new();
        if self.seldom.is_some() {
            self.change_seldom(|seldom| replays = std::mem::take(&mut seldom.replays));
        }
        replays
    }

    /// Ends the session. Of what it had from shared subscriptions, others get what this client has not begun to receive
    /// exactly once [MQTT-4.8.2-5].
    pub(crate) fn end(&mut self, room: &Room) -> Vec<Returned> {
        self.ended = true;
        self.attached = None;
        let is_lost = |delivery: &Delivery| {
            delivery.qos == QoS::ExactlyOnce && delivery.source().is_some_and(|source| source.queue.is_group())
        };
        self.inflight.take_where(is_lost).iter().for_each(|delivery| self.left.settle(delivery));
        let returned = self.inflight.take_loans(|_| true);
        std::mem::take(&mut self.pending).iter().for_each(|delivery| self.left.settle(delivery));
        self.inflight.take_where(|_| true).iter().for_each(|delivery| self.left.settle(delivery));
        self.left.tell(room);
        self.inflight = Inflight::default();
        self.seldom = None;
        room.close();
        returned
    }

    /// Puts messages behind those that wait. Those for which there is no room are dropped if the client is away: then it is
    /// not waited for.
    pub(crate) fn enqueue(&mut self, deliveries: &mut Vec<Delivery>, room: &Room, turn: &mut Turn<'_>) {
        if self.attached.is_none() {
            deliveries.drain(..).for_each(|delivery| self.enqueue_away(delivery, room, turn));
            return;
        }
        room.add(deliveries.iter().map(|delivery| delivery.message.cost_bytes()).sum(), deliveries.len());
        deliveries.iter().for_each(|delivery| self.expires_ms.note(&delivery.message));
        self.pending.extend(deliveries.drain(..));
    }

    fn enqueue_away(&mut self, delivery: Delivery, room: &Room, turn: &mut Turn<'_>) {
        let bytes = delivery.message.cost_bytes();
        if room.is_full_with(bytes, 1) {
            self.drop_expired(turn.now_ms);
            self.left.tell(room);
            if room.is_full_with(bytes, 1) {
                turn.count_dropped(room);
                return;
            }
        }
        room.add(bytes, 1);
        self.expires_ms.note(&delivery.message);
        self.pending.push_back(delivery);
    }

    fn drop_expired(&mut self, now_ms: u64) {
        if !self.expires_ms.has_come(now_ms) {
            return;
        }
        let Self { pending, left, expires_ms, .. } = self;
        *expires_ms = Earliest::default();
        pending.retain(|waiting| {
            let expired = waiting.message.is_expired(now_ms);
            if expired {
                left.settle(waiting);
            } else {
                expires_ms.note(&waiting.message);
            }
            !expired
        });
    }

    /// Sends what the window has room for, and returns the outbox to flush if there was anything.
    pub(crate) fn pump(&mut self, room: &Room, turn: &mut Turn<'_>) -> Option<Arc<Outbox>> {
        let outbox = Arc::clone(self.outbox()?);
        let mut sent = 0;
        while self.has_window() {
            if !self.inflight.is_sent() {
                sent += usize::from(self.send_again(&outbox, room, turn));
                continue;
            }
            let Some(next) = self.pending.front() else { break };
            if !self.has_bytes_for(&next.message, turn) {
                break;
            }
            if let Some(delivery) = self.pending.pop_front() {
                sent += usize::from(self.send(delivery, &outbox, room, turn));
            }
        }
        self.left.tell(room);
        if self.pending.is_empty() && self.pending.capacity() > 1024 {
            self.pending = VecDeque::new();
        }
        if turn.buffer.is_empty() {
            return None;
        }
        outbox.push_windowed(turn.buffer, sent);
        Some(outbox)
    }

    fn has_window(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| self.inflight.has_room(attached.window))
    }

    fn has_bytes_for(&self, message: &Message, turn: &Turn<'_>) -> bool {
        let bytes = self.inflight.bytes();
        bytes == 0 || bytes + message.cost_bytes() <= turn.limits.queue_bytes_max
    }

    /// Sends a message for the first time. False if it was let go instead: it has expired, or is longer than the client
    /// accepts [MQTT-3.1.2-25].
    fn send(&mut self, delivery: Delivery, outbox: &Outbox, room: &Room, turn: &mut Turn<'_>) -> bool {
        if delivery.message.is_expired(turn.now_ms) {
            self.left.settle(&delivery);
            return false;
        }
        // For a group's next receiver it is the first time; with topic queues DUP says that it has been to somebody.
        let dup = delivery.source().is_some_and(|source| source.deliveries > 1 && !source.queue.is_group());
        if !write(&delivery, Some(self.inflight.next_id()), dup, outbox, turn) {
            turn.count_dropped(room);
            self.left.settle(&delivery);
            return false;
        }
        self.inflight.push(delivery);
        true
    }

    /// Sends again the next of what an earlier connection did not acknowledge [MQTT-4.4.0-1]. True if it is a message.
    fn send_again(&mut self, outbox: &Outbox, room: &Room, turn: &mut Turn<'_>) -> bool {
        let too_long = match self.inflight.next_unsent() {
            None => return false,
            Some(Again::Release(id)) => {
                let written = PubRel::new(id).encode(outbox.receiver().format.version(), turn.buffer);
                debug_assert!(written.is_ok(), "a PUBREL without properties can be encoded");
                return false;
            }
            Some(Again::Message(id, delivery)) => {
                if write(delivery, Some(id), true, outbox, turn) {
                    return true;
                }
                id
            }
        };
        turn.count_dropped(room);
        self.finish(too_long);
        false
    }

    fn finish(&mut self, id: PacketId) {
        if let Some(delivery) = self.inflight.finish(id) {
            self.left.settle(&delivery);
        }
    }

    /// PUBACK: the end of a message at QoS 1, whatever the reason code is.
    pub(crate) fn puback(&mut self, id: PacketId) -> Acknowledged {
        match self.inflight.in_use(id) {
            InUse::Nothing => Acknowledged::Unknown,
            InUse::Message(QoS::AtLeastOnce) => {
                self.finish(id);
                Acknowledged::Known
            }
            InUse::Message(_) | InUse::Released => Acknowledged::Mismatch,
        }
    }

    /// PUBREC: the client has a message at QoS 2, or with a reason code from 0x80 does not want it.
    pub(crate) fn pubrec(&mut self, id: PacketId, code: ReasonCode) -> Acknowledged {
        match self.inflight.in_use(id) {
            InUse::Nothing => Acknowledged::Unknown,
            InUse::Message(QoS::AtMostOnce | QoS::AtLeastOnce) => Acknowledged::Mismatch,
            InUse::Message(QoS::ExactlyOnce) | InUse::Released if code.is_error() => {
                self.finish(id);
                Acknowledged::Known
            }
            InUse::Message(QoS::ExactlyOnce) | InUse::Released => {
                if let Some(delivery) = self.inflight.release(id) {
                    self.left.settle(&delivery);
                }
                Acknowledged::Known
            }
        }
    }

    /// PUBCOMP: the identifier of a message at QoS 2 is free again.
    pub(crate) fn pubcomp(&mut self, id: PacketId) -> Acknowledged {
        match self.inflight.in_use(id) {
            InUse::Nothing => Acknowledged::Unknown,
            InUse::Message(_) => Acknowledged::Mismatch,
            InUse::Released => {
                self.finish(id);
                Acknowledged::Known
            }
        }
    }

    /// Takes up to `most` messages from the front of a topic queue, as many as there is room for.
    pub(crate) fn take_from(
        &mut self,
        queue: &Arc<TopicQueue>,
        messages: &mut VecDeque<Queued>,
        most: usize,
        receiver: &Receiver,
        (room, turn): (&Room, &mut Turn<'_>),
    ) -> Offered {
        let mut offered = Offered::default();
        // One that is closed takes what it is given, and delivers nothing.
        let Some(outbox) = self.outbox().filter(|outbox| !outbox.is_closed()).cloned() else { return offered };
        // What the session has from elsewhere came first.
        let before = self.pump(room, turn);
        let mut sent = 0;
        while offered.taken < most {
            let Some(next) = messages.front() else { break };
            let qos = receiver.qos.min(next.message.qos());
            let gone = qos == QoS::AtMostOnce || next.message.is_expired(turn.now_ms);
            if !next.message.is_expired(turn.now_ms) {
                let bytes = turn.buffer.len() + next.message.cost_bytes();
                offered.waits_for_outbox = gone && !outbox.room().has_room(bytes, sent + 1, turn.now_ms);
                let has_window = self.has_window() && self.has_bytes_for(&next.message, turn);
                if offered.waits_for_outbox || !(gone || has_window && self.pending.is_empty()) {
                    break;
                }
            }
            let Some(queued) = messages.pop_front() else { break };
            offered.taken += 1;
            let delivery = Delivery::on_loan(queued, queue, qos, receiver);
            if gone {
                let expired = delivery.message.is_expired(turn.now_ms);
                sent += usize::from(!expired && write(&delivery, None, false, &outbox, turn));
                self.left.settle(&delivery);
            } else {
                sent += usize::from(self.send(delivery, &outbox, room, turn));
            }
        }
        if !turn.buffer.is_empty() {
            outbox.push_windowed(turn.buffer, sent);
            offered.outbox = Some(outbox);
        }
        offered.outbox = offered.outbox.or(before);
        offered
    }
}

/// Writes a message with its packet identifier, or without one at QoS 0.
fn write(delivery: &Delivery, packet_id: Option<PacketId>, dup: bool, outbox: &Outbox, turn: &mut Turn<'_>) -> bool {
    let head = Head {
        dup,
        qos: delivery.qos,
        retain: delivery.retain,
        packet_id,
        subscription_ids: delivery.subscription_ids(),
    };
    write_head(&delivery.message, &head, outbox, turn)
}

/// Writes a message unless it is longer than the client accepts.
pub(crate) fn write_head(message: &Message, head: &Head<'_>, outbox: &Outbox, turn: &mut Turn<'_>) -> bool {
    let (start, receiver) = (turn.buffer.len(), outbox.receiver());
    let written = message.encode(receiver.format.version(), head, turn.now_ms, turn.buffer);
    let fits = written.is_ok() && turn.buffer.len() - start <= receiver.packet_bytes_max as usize;
    if !fits {
        turn.buffer.truncate(start);
    }
    fits
}
