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

use wisp_wire::{PacketId, PubRel, QoS, ReasonCode};

use super::inflight::{Again, InUse, Inflight};
use crate::base::capacity::Capacity;
use crate::delivery::addressed::{Delivery, DeliveryContext};
use crate::delivery::loan::{ConsumerOptions, QueueInfo, Queued, Returned};
use crate::delivery::message::{Message, NextExpiry};
use crate::delivery::outbox::{ConnectionId, Outbox};
use crate::state::retained::ReplayCursor;

/// The sending half of a session.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    attached: Option<Attachment>,
    ended: bool,
    /// Not yet sent, in the order they came.
    pending: VecDeque<Delivery>,
    /// Sent and not yet acknowledged.
    inflight: Inflight,
    /// When the first of those that wait expires.
    expires_ms: NextExpiry,
    /// What the room is to be told has left: once a batch, since others look at it too.
    released: Released,
    cold: Option<Box<ColdState>>,
}

/// Messages that are done with.
#[derive(Clone, Copy, Debug, Default)]
struct Released {
    bytes: usize,
    messages: usize,
}

impl Released {
    /// Gives back the place of a message.
    fn record(&mut self, delivery: &Delivery) {
        match delivery.loan() {
            Some(loan) => loan.queue.release(&delivery.message),
            None => {
                self.bytes += delivery.message.cost_bytes();
                self.messages += 1;
            }
        }
    }

    fn flush(&mut self, capacity: &Capacity) {
        let Self { bytes, messages } = std::mem::take(self);
        if messages > 0 {
            capacity.remove(bytes, messages);
        }
    }
}

/// What most sessions have not, most of the time.
#[derive(Debug, Default)]
struct ColdState {
    /// Topic queues and groups that this client receives from.
    sources: Vec<Arc<QueueInfo>>,
    /// Retained messages still to be delivered, while the client is away.
    replays: Vec<ReplayCursor>,
}

#[derive(Debug)]
struct Attachment {
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
    /// The consumer has to read before it can get more at QoS 0.
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
        let old = self.attached.replace(Attachment { outbox: Arc::clone(outbox), window });
        self.inflight.rewind();
        old.map(|attached| attached.outbox)
    }

    /// Takes the session from its connection. What was on loan from topic queues goes back to them.
    pub(crate) fn detach(&mut self, capacity: &Capacity) -> Vec<Returned> {
        self.released.flush(capacity);
        self.attached = None;
        let returned = self.inflight.take_loans(|loan| !loan.queue.is_group);
        self.shrink();
        returned
    }

    /// Gives back what is empty: a client may be away for long.
    fn shrink(&mut self) {
        self.pending.shrink_to_fit();
        self.inflight.shrink();
    }

    /// Changes what most sessions have not, and keeps it only if there is something left.
    fn update_cold(&mut self, change: impl FnOnce(&mut ColdState)) {
        let mut cold = self.cold.take().unwrap_or_default();
        change(&mut cold);
        let empty = cold.sources.is_empty() && cold.replays.is_empty();
        self.cold = (!empty).then_some(cold);
    }

    /// Notes that the client receives from a topic queue, or no longer does.
    pub(crate) fn change_sources(&mut self, change: impl FnOnce(&mut Vec<Arc<QueueInfo>>)) {
        self.update_cold(|cold| change(&mut cold.sources));
    }

    /// The queues among its sources that have messages.
    pub(crate) fn backlogs(&self) -> Vec<Arc<QueueInfo>> {
        let sources = self.cold.iter().flat_map(|cold| &cold.sources);
        sources.filter(|queue| queue.has_backlog()).cloned().collect()
    }

    /// Keeps what retained messages are still to come while the client is away.
    pub(crate) fn keep_replays(&mut self, replays: Vec<ReplayCursor>) {
        if !self.ended && !replays.is_empty() {
            self.update_cold(|cold| cold.replays.extend(replays));
        }
    }

    /// Takes them up again.
    pub(crate) fn take_replays(&mut self) -> Vec<ReplayCursor> {
        let mut replays = Vec::new();
        if self.cold.is_some() {
            self.update_cold(|cold| replays = std::mem::take(&mut cold.replays));
        }
        replays
    }

    /// Ends the session. Of what it had from shared subscriptions, others get what this client has not begun to receive
    /// exactly once [MQTT-4.8.2-5].
    pub(crate) fn end(&mut self, capacity: &Capacity) -> Vec<Returned> {
        self.ended = true;
        self.attached = None;
        let is_lost = |delivery: &Delivery| {
            delivery.qos == QoS::ExactlyOnce && delivery.loan().is_some_and(|loan| loan.queue.is_group)
        };
        self.inflight.take_where(is_lost).iter().for_each(|delivery| self.released.record(delivery));
        let returned = self.inflight.take_loans(|_| true);
        std::mem::take(&mut self.pending).iter().for_each(|delivery| self.released.record(delivery));
        self.inflight.take_where(|_| true).iter().for_each(|delivery| self.released.record(delivery));
        self.released.flush(capacity);
        self.inflight = Inflight::default();
        self.cold = None;
        capacity.close();
        returned
    }

    /// Puts messages behind those that wait. Those for which there is no room are dropped if the client is away: then it is
    /// not waited for.
    pub(crate) fn enqueue(
        &mut self,
        deliveries: &mut Vec<Delivery>,
        capacity: &Capacity,
        context: &mut DeliveryContext<'_>,
    ) {
        if self.attached.is_none() {
            deliveries.drain(..).for_each(|delivery| self.enqueue_away(delivery, capacity, context));
            return;
        }
        capacity.add(deliveries.iter().map(|delivery| delivery.message.cost_bytes()).sum(), deliveries.len());
        deliveries.iter().for_each(|delivery| self.expires_ms.note(&delivery.message));
        self.pending.extend(deliveries.drain(..));
    }

    fn enqueue_away(&mut self, delivery: Delivery, capacity: &Capacity, context: &mut DeliveryContext<'_>) {
        let bytes = delivery.message.cost_bytes();
        if capacity.is_full_with(bytes, 1) {
            self.drop_expired(context.now_ms);
            self.released.flush(capacity);
            if capacity.is_full_with(bytes, 1) {
                context.count_dropped(capacity);
                return;
            }
        }
        capacity.add(bytes, 1);
        self.expires_ms.note(&delivery.message);
        self.pending.push_back(delivery);
    }

    fn drop_expired(&mut self, now_ms: u64) {
        if !self.expires_ms.is_due(now_ms) {
            return;
        }
        let Self { pending, released, expires_ms, .. } = self;
        *expires_ms = NextExpiry::default();
        pending.retain(|waiting| {
            let expired = waiting.message.is_expired(now_ms);
            if expired {
                released.record(waiting);
            } else {
                expires_ms.note(&waiting.message);
            }
            !expired
        });
    }

    /// Sends as many messages as the window admits.
    pub(crate) fn pump(&mut self, capacity: &Capacity, context: &mut DeliveryContext<'_>) {
        let Some(outbox) = self.outbox().cloned() else { return };
        let mut sent = 0;
        while self.has_window() {
            if !self.inflight.is_sent() {
                sent += usize::from(self.send_again(&outbox, capacity, context));
                continue;
            }
            let Some(next) = self.pending.front() else { break };
            if !self.has_bytes_for(&next.message, context) {
                break;
            }
            if let Some(delivery) = self.pending.pop_front() {
                sent += usize::from(self.send(delivery, &outbox, capacity, context));
            }
        }
        self.released.flush(capacity);
        if self.pending.is_empty() && self.pending.capacity() > 1024 {
            self.pending = VecDeque::new();
        }
        context.push_buffer(&outbox, sent);
    }

    fn has_window(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| self.inflight.has_window(attached.window))
    }

    fn has_bytes_for(&self, message: &Message, context: &DeliveryContext<'_>) -> bool {
        let bytes = self.inflight.bytes();
        bytes == 0 || bytes + message.cost_bytes() <= context.limits.queue_bytes_max
    }

    /// Sends a message for the first time. False if it was let go instead: it has expired, or is longer than the client
    /// accepts [MQTT-3.1.2-25].
    fn send(
        &mut self,
        delivery: Delivery,
        outbox: &Outbox,
        capacity: &Capacity,
        context: &mut DeliveryContext<'_>,
    ) -> bool {
        if delivery.message.is_expired(context.now_ms) {
            self.released.record(&delivery);
            return false;
        }
        // For a group's next receiver it is the first time; with topic queues DUP says that it has been to somebody.
        let dup = delivery.loan().is_some_and(|loan| loan.deliveries > 1 && !loan.queue.is_group);
        if !delivery.write(Some(self.inflight.next_id()), dup, outbox, context) {
            context.count_dropped(capacity);
            self.released.record(&delivery);
            return false;
        }
        self.inflight.push(delivery);
        true
    }

    /// Sends again the next of what an earlier connection did not acknowledge [MQTT-4.4.0-1]. True if it is a message.
    fn send_again(&mut self, outbox: &Outbox, capacity: &Capacity, context: &mut DeliveryContext<'_>) -> bool {
        let too_long = match self.inflight.next_unsent() {
            None => return false,
            Some(Again::Release(id)) => {
                let written = PubRel::new(id).encode(outbox.receiver().format.version(), context.buffer);
                debug_assert!(written.is_ok(), "a PUBREL without properties can be encoded");
                return false;
            }
            Some(Again::Message(id, delivery)) => {
                if delivery.write(Some(id), true, outbox, context) {
                    return true;
                }
                id
            }
        };
        context.count_dropped(capacity);
        self.finish(too_long);
        false
    }

    fn finish(&mut self, id: PacketId) {
        if let Some(delivery) = self.inflight.finish(id) {
            self.released.record(&delivery);
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
                    self.released.record(&delivery);
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
        queue: &Arc<QueueInfo>,
        messages: &mut VecDeque<Queued>,
        most: usize,
        options: &ConsumerOptions,
        (capacity, context): (&Capacity, &mut DeliveryContext<'_>),
    ) -> Offered {
        let mut offered = Offered::default();
        // One that is closed takes what it is given, and delivers nothing.
        let Some(outbox) = self.outbox().filter(|outbox| !outbox.is_closed()).cloned() else { return offered };
        // What the session has from elsewhere came first.
        self.pump(capacity, context);
        let mut sent = 0;
        while offered.taken < most {
            let Some(next) = messages.front() else { break };
            let qos = options.qos.min(next.message.qos());
            let gone = qos == QoS::AtMostOnce || next.message.is_expired(context.now_ms);
            if !next.message.is_expired(context.now_ms) {
                let bytes = context.buffer.len() + next.message.cost_bytes();
                offered.waits_for_outbox =
                    gone && !outbox.capacity().check_or_mark_full(bytes, sent + 1, context.now_ms);
                let has_window = self.has_window() && self.has_bytes_for(&next.message, context);
                if offered.waits_for_outbox || !(gone || has_window && self.pending.is_empty()) {
                    break;
                }
            }
            let Some(queued) = messages.pop_front() else { break };
            offered.taken += 1;
            let delivery = Delivery::on_loan(queued, queue, qos, options);
            if gone {
                let expired = delivery.message.is_expired(context.now_ms);
                sent += usize::from(!expired && delivery.write(None, false, &outbox, context));
                self.released.record(&delivery);
            } else {
                sent += usize::from(self.send(delivery, &outbox, capacity, context));
            }
        }
        context.push_buffer(&outbox, sent);
        offered
    }
}
