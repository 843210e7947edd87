//! What is on its way to one client at QoS 1 and 2 (MQTT 5 section 4.3, 4.4 and 4.9), whether or not it is connected.
//!
//! ```text
//!             window has room            PUBACK, or PUBREC then PUBCOMP
//!   pending ------------------> inflight ------------------------------> done
//!                                 |  ^
//!       the client connects again '--' sent again, in the original order, with DUP
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use wisp_wire::{PacketId, PubRel, QoS, ReasonCode, SubscriptionId};

use crate::limits::Limits;
use crate::message::{Head, Message, MessageRef};
use crate::outbox::{ConnectionId, Outbox};
use crate::packet_ids::PacketIdState;
use crate::replay::Replay;
use crate::room::Room;
use crate::topic_queue::{Queued, Receiver, TopicQueue};

/// The identifiers of the subscriptions that a message matched.
pub(crate) type SubscriptionIds = Option<Arc<[SubscriptionId]>>;

/// A message for one session.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) message: MessageRef,
    /// The lower of the publisher's and the subscription's, and never 0.
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: SubscriptionIds,
    /// The topic queue it is taken from, and goes back to if this client does not acknowledge it.
    pub(crate) source: Option<Source>,
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
    /// Sent and not yet acknowledged, by their packet identifiers.
    inflight: HashMap<PacketId, Inflight, PacketIdState>,
    last_id: u16,
    sequence: u64,
    inflight_bytes: usize,
    seldom: Option<Box<Seldom>>,
}

/// What most sessions have not, most of the time.
#[derive(Debug, Default)]
struct Seldom {
    /// Those of `inflight` that this connection has not seen yet, in their order.
    unsent: VecDeque<PacketId>,
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

#[derive(Debug)]
struct Inflight {
    sequence: u64,
    /// None once the client has it for good (PUBREC) and only the identifier is still in use.
    delivery: Option<Delivery>,
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
        let mut unsent: Vec<PacketId> = self.inflight.keys().copied().collect();
        unsent.sort_unstable_by_key(|id| self.inflight[id].sequence);
        self.change_seldom(|seldom| seldom.unsent = unsent.into());
        old.map(|attached| attached.outbox)
    }

    /// Takes the session from its connection. What was on loan from topic queues goes back to them.
    pub(crate) fn detach(&mut self) -> Vec<Returned> {
        self.attached = None;
        self.change_seldom(|seldom| seldom.unsent = VecDeque::new());
        let returned = self.take_loans(|source| !source.queue.is_group());
        self.shrink();
        returned
    }

    /// Gives back what is empty: a client may be away for long.
    fn shrink(&mut self) {
        self.pending.shrink_to_fit();
        self.inflight.shrink_to_fit();
    }

    /// Changes what most sessions have not, and keeps it only if there is something left.
    fn change_seldom(&mut self, change: impl FnOnce(&mut Seldom)) {
        let mut seldom = self.seldom.take().unwrap_or_default();
        change(&mut seldom);
        let empty = seldom.unsent.is_empty() && seldom.sources.is_empty() && seldom.replays.is_empty();
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

    /// Takes back unacknowledged messages on loan. At QoS 2 their identifiers stay in use until the client, who may have
    /// stored them, has released them.
    fn take_loans(&mut self, wanted: impl Fn(&Source) -> bool) -> Vec<Returned> {
        let mut loans: Vec<(u64, Returned)> = Vec::new();
        let inflight_bytes = &mut self.inflight_bytes;
        self.inflight.retain(|_, inflight| {
            let is_wanted = |delivery: &Delivery| delivery.source.as_ref().is_some_and(&wanted);
            if !inflight.delivery.as_ref().is_some_and(is_wanted) {
                return true;
            }
            let Some(Delivery { message, qos, source: Some(source), .. }) = inflight.delivery.take() else {
                return true;
            };
            *inflight_bytes -= message.cost_bytes();
            loans.push((inflight.sequence, (source.queue, Queued { message, deliveries: source.deliveries })));
            qos == QoS::ExactlyOnce
        });
        loans.sort_unstable_by_key(|(sequence, _)| *sequence);
        loans.into_iter().map(|(_, returned)| returned).collect()
    }

    /// Ends the session. Of what it had from shared subscriptions, others get what this client has not begun to receive
    /// exactly once [MQTT-4.8.2-5].
    pub(crate) fn end(&mut self, room: &Room) -> Vec<Returned> {
        self.ended = true;
        self.attached = None;
        self.inflight.retain(|_, inflight| match &inflight.delivery {
            Some(Delivery { qos: QoS::ExactlyOnce, source: Some(source), message, .. }) if source.queue.is_group() => {
                source.queue.acknowledged(message);
                false
            }
            _ => true,
        });
        let returned = self.take_loans(|_| true);
        self.pending = VecDeque::new();
        self.inflight = HashMap::default();
        self.seldom = None;
        room.close();
        returned
    }

    /// Puts a message behind those that wait. It is dropped if there is no room for it and the client is away: then it is
    /// not waited for.
    pub(crate) fn enqueue(&mut self, delivery: Delivery, room: &Room, turn: &mut Turn<'_>) {
        let bytes = delivery.message.cost_bytes();
        if self.attached.is_none() && room.is_full_with(bytes, 1) {
            self.drop_expired(room, turn.now_ms);
            if room.is_full_with(bytes, 1) {
                turn.count_dropped(room);
                return;
            }
        }
        room.add(bytes, 1);
        self.pending.push_back(delivery);
    }

    fn drop_expired(&mut self, room: &Room, now_ms: u64) {
        self.pending.retain(|delivery| {
            let expired = delivery.message.is_expired(now_ms);
            if expired {
                room.remove(delivery.message.cost_bytes(), 1);
            }
            !expired
        });
    }

    /// Sends what the window has room for, and returns the outbox to flush if there was anything.
    pub(crate) fn pump(&mut self, room: &Room, turn: &mut Turn<'_>) -> Option<Arc<Outbox>> {
        let outbox = Arc::clone(self.outbox()?);
        let mut sent = 0;
        while self.has_window() {
            if let Some(id) = self.next_unsent() {
                sent += usize::from(self.send_again(id, &outbox, room, turn));
                continue;
            }
            let Some(next) = self.pending.front() else { break };
            let bytes = next.message.cost_bytes();
            if self.inflight_bytes + bytes > turn.limits.queue_bytes_max && self.inflight_bytes > 0 {
                break;
            }
            if let Some(delivery) = self.pending.pop_front() {
                sent += usize::from(self.send(delivery, &outbox, room, turn));
            }
        }
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
        let sent = self.inflight.len() - self.seldom.as_ref().map_or(0, |seldom| seldom.unsent.len());
        self.attached.as_ref().is_some_and(|attached| sent < attached.window)
    }

    /// Sends a message for the first time. False if it was let go instead: it has expired, or is longer than the client
    /// accepts [MQTT-3.1.2-25].
    fn send(&mut self, delivery: Delivery, outbox: &Outbox, room: &Room, turn: &mut Turn<'_>) -> bool {
        if delivery.message.is_expired(turn.now_ms) {
            settle(&delivery, room);
            return false;
        }
        let id = self.free_id();
        // For a group's next receiver it is the first time; with topic queues DUP says that it has been to somebody.
        let dup = delivery.source.as_ref().is_some_and(|source| source.deliveries > 1 && !source.queue.is_group());
        if !write(&delivery, id, dup, outbox, turn) {
            turn.count_dropped(room);
            settle(&delivery, room);
            return false;
        }
        self.last_id = id.get();
        self.sequence += 1;
        self.inflight_bytes += delivery.message.cost_bytes();
        self.inflight.insert(id, Inflight { sequence: self.sequence, delivery: Some(delivery) });
        true
    }

    /// Sends again what an earlier connection did not acknowledge [MQTT-4.4.0-1]. True if it is a message.
    fn send_again(&mut self, id: PacketId, outbox: &Outbox, room: &Room, turn: &mut Turn<'_>) -> bool {
        let Some(inflight) = self.inflight.get(&id) else { return false };
        let Some(delivery) = &inflight.delivery else {
            let written = PubRel::new(id).encode(outbox.receiver().format.version(), turn.buffer);
            debug_assert!(written.is_ok(), "a PUBREL without properties can be encoded");
            return false;
        };
        if write(delivery, id, true, outbox, turn) {
            return true;
        }
        turn.count_dropped(room);
        self.finish(id, room);
        false
    }

    /// The next identifier not in use. The window is smaller than their number, so there is one.
    fn free_id(&self) -> PacketId {
        let mut number = self.last_id;
        loop {
            number = number.wrapping_add(1).max(1);
            match PacketId::new(number) {
                Some(id) if !self.inflight.contains_key(&id) => return id,
                _ => {}
            }
        }
    }

    fn finish(&mut self, id: PacketId, room: &Room) {
        if let Some(Inflight { delivery: Some(delivery), .. }) = self.inflight.remove(&id) {
            self.inflight_bytes -= delivery.message.cost_bytes();
            settle(&delivery, room);
        }
        if self.inflight.is_empty() && self.inflight.capacity() > 64 {
            self.inflight = HashMap::default();
        }
    }

    fn next_unsent(&mut self) -> Option<PacketId> {
        let seldom = self.seldom.as_mut()?;
        let next = seldom.unsent.pop_front()?;
        if seldom.unsent.is_empty() {
            self.change_seldom(|_| {});
        }
        Some(next)
    }

    fn is_unsent(&self, id: PacketId) -> bool {
        self.seldom.as_ref().is_some_and(|seldom| seldom.unsent.contains(&id))
    }

    fn forget_unsent(&mut self, id: PacketId) {
        if self.seldom.is_some() {
            self.change_seldom(|seldom| seldom.unsent.retain(|unsent| *unsent != id));
        }
    }

    /// PUBACK: the end of a message at QoS 1, whatever the reason code is.
    pub(crate) fn puback(&mut self, id: PacketId, room: &Room) -> Acknowledged {
        match self.inflight.get(&id) {
            None => Acknowledged::Unknown,
            _ if self.is_unsent(id) => Acknowledged::Unknown,
            Some(Inflight { delivery: Some(Delivery { qos: QoS::AtLeastOnce, .. }), .. }) => {
                self.finish(id, room);
                Acknowledged::Known
            }
            Some(_) => Acknowledged::Mismatch,
        }
    }

    /// PUBREC: the client has a message at QoS 2, or with a reason code from 0x80 does not want it.
    pub(crate) fn pubrec(&mut self, id: PacketId, code: ReasonCode, room: &Room) -> Acknowledged {
        match self.inflight.get_mut(&id) {
            None => Acknowledged::Unknown,
            Some(Inflight { delivery: Some(Delivery { qos: QoS::AtLeastOnce, .. }), .. }) => Acknowledged::Mismatch,
            Some(_) if code.is_error() => {
                self.forget_unsent(id);
                self.finish(id, room);
                Acknowledged::Known
            }
            Some(inflight) => {
                if let Some(delivery) = inflight.delivery.take() {
                    self.inflight_bytes -= delivery.message.cost_bytes();
                    settle(&delivery, room);
                }
                Acknowledged::Known
            }
        }
    }

    /// PUBCOMP: the identifier of a message at QoS 2 is free again.
    pub(crate) fn pubcomp(&mut self, id: PacketId, room: &Room) -> Acknowledged {
        match self.inflight.get(&id) {
            None => Acknowledged::Unknown,
            Some(Inflight { delivery: Some(_), .. }) => Acknowledged::Mismatch,
            Some(Inflight { delivery: None, .. }) => {
                self.forget_unsent(id);
                self.finish(id, room);
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
        let Some(outbox) = self.outbox().cloned() else { return offered };
        // What the session has from elsewhere came first.
        let before = self.pump(room, turn);
        let mut sent = 0;
        while offered.taken < most {
            let Some(next) = messages.front() else { break };
            let (qos, bytes) = (receiver.qos.min(next.message.qos()), next.message.cost_bytes());
            let expired = next.message.is_expired(turn.now_ms);
            if !expired
                && qos == QoS::AtMostOnce
                && !outbox.room().has_room(turn.buffer.len() + bytes, sent + 1, turn.now_ms)
            {
                offered.waits_for_outbox = true;
                break;
            }
            let fits = self.inflight_bytes + bytes <= turn.limits.queue_bytes_max || self.inflight_bytes == 0;
            if !expired && qos != QoS::AtMostOnce && !(self.has_window() && fits && self.pending.is_empty()) {
                break;
            }
            let Some(Queued { message, deliveries }) = messages.pop_front() else { break };
            offered.taken += 1;
            let delivery = Delivery {
                retain: message.retain() && receiver.retain_as_published,
                message,
                qos,
                subscription_ids: receiver.subscription_ids.clone(),
                source: Some(Source { queue: Arc::clone(queue), deliveries: deliveries.saturating_add(1) }),
            };
            let gone = qos == QoS::AtMostOnce || expired;
            if gone {
                let written = !expired && write_at_most_once(&delivery, &outbox, turn);
                sent += usize::from(written);
                settle(&delivery, room);
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

/// Gives back the place of a message that is done with.
fn settle(delivery: &Delivery, room: &Room) {
    match &delivery.source {
        Some(source) => source.queue.acknowledged(&delivery.message),
        None => room.remove(delivery.message.cost_bytes(), 1),
    }
}

fn write(delivery: &Delivery, id: PacketId, dup: bool, outbox: &Outbox, turn: &mut Turn<'_>) -> bool {
    let head = Head {
        dup,
        qos: delivery.qos,
        retain: delivery.retain,
        packet_id: Some(id),
        subscription_ids: delivery.subscription_ids.as_deref().unwrap_or_default(),
    };
    write_head(&delivery.message, &head, outbox, turn)
}

fn write_at_most_once(delivery: &Delivery, outbox: &Outbox, turn: &mut Turn<'_>) -> bool {
    let head = Head {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: delivery.retain,
        packet_id: None,
        subscription_ids: delivery.subscription_ids.as_deref().unwrap_or_default(),
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
