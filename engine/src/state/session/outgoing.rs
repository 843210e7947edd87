//! The messages at QoS 1 and 2 for one client, connected or not (MQTT 5 sections 4.3, 4.4 and 4.9).
//!
//! ```text
//!             window is free             PUBACK, or PUBREC then PUBCOMP
//!   pending ------------------> inflight ------------------------------> done
//!                                 |  ^
//!       the client connects again '--' sent again, in the original order, with DUP
//! ```

mod durable;
mod gone;
mod loans;
mod rights;

use std::collections::VecDeque;
use std::sync::Arc;

use wisp_wire::{PacketId, PubRel, QoS, ReasonCode};

use self::gone::Gone;
use super::granted::Granted;
use super::inflight::{InUse, Inflight, Place, Resend};
use crate::base::capacity::Capacity;
use crate::delivery::addressed::{Delivery, DeliveryContext};
use crate::delivery::loan::{LoanPace, QueueInfo, Returned};
use crate::delivery::message::{Message, NextExpiry};
use crate::delivery::outbox::{ConnectionId, Outbox};
use crate::state::retained::ReplayCursor;
use crate::store::journal::Recorder;
use crate::store::{Key, Ticket};

/// The sending half of a session.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// The session's key in the store, if the store keeps it.
    session: Option<Key>,
    attached: Option<Attachment>,
    /// Not yet sent, in the order of arrival.
    pending: VecDeque<Delivery>,
    /// Sent and not yet acknowledged.
    inflight: Inflight,
    /// Messages that have left but still count in the capacity. They are subtracted once a batch, since other workers
    /// use the capacity too.
    released: Released,
    /// Messages that were acknowledged and are not yet counted as released.
    gone: Gone,
    cold: Option<Box<ColdState>>,
}

/// A count of messages that have left the session.
#[derive(Clone, Copy, Debug, Default)]
struct Released {
    bytes: usize,
    messages: usize,
}

impl Released {
    /// Counts a message that has left, and removes it from the store.
    fn record(&mut self, delivery: &Delivery, recorder: Recorder<'_>) {
        self.count(delivery);
        if let Some(key) = delivery.key() {
            recorder.delete(key);
        }
    }

    /// Counts a message that has left. One on loan leaves its queue at once.
    fn count(&mut self, delivery: &Delivery) {
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

/// Rarely used fields, boxed to keep most sessions small.
#[derive(Debug, Default)]
struct ColdState {
    /// Topic queues and groups that this client receives from.
    sources: Vec<Arc<QueueInfo>>,
    /// Unfinished replays, while the client is away.
    replays: Vec<ReplayCursor>,
    loans: LoanPace,
    /// The rights of the client, if the policy gives any.
    granted: Option<Box<Granted>>,
    /// Messages at QoS 2 have packet identifiers, and are sent when this is committed.
    gate: Option<Ticket>,
    /// When the first pending message expires.
    expires_ms: NextExpiry,
}

impl ColdState {
    fn is_empty(&self) -> bool {
        let Self { sources, replays, loans, granted, gate, expires_ms } = self;
        let receives_nothing = sources.is_empty() && replays.is_empty() && loans.is_idle();
        receives_nothing && granted.is_none() && gate.is_none() && expires_ms.is_never()
    }
}

#[derive(Debug)]
struct Attachment {
    outbox: Arc<Outbox>,
    /// The most messages that may be unacknowledged at a time.
    window: u16,
    /// Bytes of the messages that the client has acknowledged on this connection. No more are counted than fit.
    acknowledged_bytes: u32,
    /// How often the outbox was filled again since the client last acknowledged a message, and when.
    refills: u8,
    refilled_ms: u64,
}

impl Attachment {
    /// The bytes to which the outbox is filled. Few for a client that has just connected, since many may come back at once
    /// and not read; more with each message that the client acknowledges, as in the slow start of TCP.
    fn fill_bytes(&self) -> usize {
        let bytes = FIRST_FILL_BYTES + self.acknowledged_bytes as usize;
        bytes.min(self.outbox.capacity().bytes_max_now())
    }
}

/// How soon the outbox of a client that does not acknowledge is filled again at first, and how often that time doubles. The
/// socket of a client that does not read takes megabytes as well.
const REFILL_PAUSE_MS: u64 = 10;
const REFILL_DOUBLINGS: u8 = 5;

/// The bytes to which the outbox of a client that has just connected is filled.
const FIRST_FILL_BYTES: usize = 64 * 1024;

/// The state of the message that an acknowledgement names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// A message that the acknowledgement fits.
    Known,
    /// No such message.
    Unknown,
    /// A message of the other QoS.
    Mismatch,
    /// The acknowledgement came from a connection that no longer has the session.
    Stale,
}

/// The result of offering a queue's messages to a consumer.
#[derive(Debug, Default)]
pub(crate) struct OfferOutcome {
    pub(crate) taken: usize,
    /// The consumer has to read before it can get more at QoS 0.
    pub(crate) waits_for_outbox: bool,
    /// The consumer has to acknowledge before it can have more on loan, though its window is free.
    pub(crate) is_bounded: bool,
    /// The consumer's client is not connected.
    pub(crate) is_away: bool,
    /// The session is to be resumed when this is committed.
    pub(crate) ticket: Option<Ticket>,
}

impl Outgoing {
    /// The sending half of a new session, which the store keeps under this key.
    pub(crate) fn new(session: Option<Key>) -> Self {
        Self { session, ..Self::default() }
    }

    /// The client's connection.
    pub(crate) fn outbox(&self) -> Option<&Arc<Outbox>> {
        self.attached.as_ref().map(|attached| &attached.outbox)
    }

    /// The numbers of packet identifiers in use, and of messages that wait.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.inflight.in_flight(), self.pending.len())
    }

    /// Removes up to `most` of the messages that wait, the oldest first. Returns their number.
    pub(crate) fn purge(&mut self, most: usize, capacity: &Capacity, recorder: Recorder<'_>) -> usize {
        let count = most.min(self.pending.len());
        for delivery in self.pending.drain(..count) {
            self.released.record(&delivery, recorder);
        }
        self.released.flush(capacity);
        count
    }

    /// Whether the session has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.inflight.is_closed()
    }

    pub(crate) fn is_attached_to(&self, connection: ConnectionId) -> bool {
        self.outbox().is_some_and(|outbox| outbox.connection() == connection)
    }

    /// Attaches the session to a connection, and returns the outbox of the connection that had it. Unacknowledged
    /// messages will be sent again.
    pub(crate) fn attach(&mut self, outbox: &Arc<Outbox>, window: u16) -> Option<Arc<Outbox>> {
        debug_assert!(!self.is_ended(), "an ended session is not in the registry");
        let outbox = Arc::clone(outbox);
        self.let_go();
        let attached = Attachment { outbox, window, acknowledged_bytes: 0, refills: 0, refilled_ms: 0 };
        let old = self.attached.replace(attached);
        self.inflight.rewind();
        old.map(|attached| attached.outbox)
    }

    /// Detaches the session from its connection. Returns the messages on loan from topic queues.
    pub(crate) fn detach(&mut self, capacity: &Capacity, recorder: Recorder<'_>) -> Vec<Returned> {
        self.let_go();
        self.released.flush(capacity);
        self.attached = None;
        let session = self.session;
        let returned = self
            .inflight
            .take_loans(|loan| !loan.queue.is_group, |id, delivery| delivery.record_returned(session, id, recorder));
        if !returned.is_empty() {
            self.update_cold(|cold| cold.loans.take_back(returned.len()));
        }
        self.shrink();
        returned
    }

    /// Frees unused memory, since a client may be away for long.
    fn shrink(&mut self) {
        self.pending.shrink_to_fit();
        self.inflight.shrink();
    }

    /// Changes the rarely used fields, and frees them if they are empty afterwards.
    fn update_cold(&mut self, change: impl FnOnce(&mut ColdState)) {
        let mut cold = self.cold.take().unwrap_or_default();
        change(&mut cold);
        self.cold = (!cold.is_empty()).then_some(cold);
    }

    /// Changes the list of topic queues and groups that the client receives from.
    pub(crate) fn change_sources(&mut self, change: impl FnOnce(&mut Vec<Arc<QueueInfo>>)) {
        self.update_cold(|cold| change(&mut cold.sources));
    }

    /// The queues that the client receives from.
    pub(crate) fn sources(&self) -> Vec<Arc<QueueInfo>> {
        self.cold.iter().flat_map(|cold| &cold.sources).cloned().collect()
    }

    /// The queues among its sources that have messages.
    pub(crate) fn backlogs(&self) -> Vec<Arc<QueueInfo>> {
        let sources = self.cold.iter().flat_map(|cold| &cold.sources);
        sources.filter(|queue| queue.has_backlog()).cloned().collect()
    }

    /// Stores unfinished replays while the client is away.
    pub(crate) fn keep_replays(&mut self, replays: Vec<ReplayCursor>) {
        if !self.is_ended() && !replays.is_empty() {
            self.update_cold(|cold| cold.replays.extend(replays));
        }
    }

    /// Takes the stored replays.
    pub(crate) fn take_replays(&mut self) -> Vec<ReplayCursor> {
        let mut replays = Vec::new();
        if self.cold.is_some() {
            self.update_cold(|cold| replays = std::mem::take(&mut cold.replays));
        }
        replays
    }

    /// Ends the session. Returns the messages that other consumers get: all loans except the messages of shared
    /// subscriptions at QoS 2 that this client has begun to receive [MQTT-4.8.2-5].
    pub(crate) fn end(&mut self, capacity: &Capacity, recorder: Recorder<'_>) -> Vec<Returned> {
        self.record_end(recorder);
        self.let_go();
        self.attached = None;
        let lost = self.inflight.take_where(Delivery::is_lost_with_session, |_, _| None);
        lost.iter().for_each(|(_, delivery)| self.released.count(delivery));
        let returned = self.inflight.take_loans(|_| true, |_, _| None);
        std::mem::take(&mut self.pending).iter().for_each(|delivery| self.released.count(delivery));
        let others = self.inflight.take_where(|_| true, |_, _| None);
        others.iter().for_each(|(_, delivery)| self.released.count(delivery));
        self.released.flush(capacity);
        self.inflight = Inflight::closed();
        self.cold = None;
        capacity.close();
        returned
    }

    /// Appends messages to the pending ones. If the client is away, messages that do not fit are dropped, since senders
    /// are not held back for it.
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
        deliveries.iter().for_each(|delivery| self.note_expiry(&delivery.message));
        self.pending.extend(deliveries.drain(..));
    }

    fn enqueue_away(&mut self, delivery: Delivery, capacity: &Capacity, context: &mut DeliveryContext<'_>) {
        let bytes = delivery.message.cost_bytes();
        if capacity.is_full_with(bytes, 1) {
            self.drop_expired(context);
            self.released.flush(capacity);
            if capacity.is_full_with(bytes, 1) {
                context.count_dropped(capacity);
                context.recorder.delete_all(delivery.key().into_iter());
                return;
            }
        }
        capacity.add(bytes, 1);
        self.note_expiry(&delivery.message);
        self.pending.push_back(delivery);
    }

    fn note_expiry(&mut self, message: &Message) {
        if message.expires_at_ms().is_some() {
            self.update_cold(|cold| cold.expires_ms.note(message));
        }
    }

    fn drop_expired(&mut self, context: &DeliveryContext<'_>) {
        let now_ms = context.now_ms;
        if !self.cold.as_ref().is_some_and(|cold| cold.expires_ms.is_due(now_ms)) {
            return;
        }
        let (Self { pending, released, .. }, mut expires_ms) = (&mut *self, NextExpiry::default());
        pending.retain(|waiting| {
            let expired = waiting.message.is_expired(now_ms);
            if expired {
                released.record(waiting, context.recorder);
            } else {
                expires_ms.note(&waiting.message);
            }
            !expired
        });
        self.update_cold(|cold| cold.expires_ms = expires_ms);
    }

    /// Sends as many messages as the window admits. If messages at QoS 2 come next that the store keeps, they get their packet
    /// identifiers: returns the ticket for the next call.
    pub(crate) fn pump(&mut self, capacity: &Capacity, context: &mut DeliveryContext<'_>) -> Option<Ticket> {
        self.send_waiting(capacity, context);
        let ticket = self.number_waiting(context)?;
        if !self.is_past_gate(context) {
            return Some(ticket);
        }
        // Committed at once.
        self.pump(capacity, context)
    }

    /// Sends as many messages as the window admits, until one has to wait for the store.
    fn send_waiting(&mut self, capacity: &Capacity, context: &mut DeliveryContext<'_>) {
        self.let_go();
        let Some(outbox) = self.outbox().cloned() else { return };
        if !self.is_past_gate(context) {
            return;
        }
        let mut sent = 0;
        while self.has_window() && self.has_unsent() {
            if !self.has_room(&outbox, context) {
                if outbox.begin_refill() {
                    context.refills.push((outbox.connection(), outbox.worker()));
                }
                break;
            }
            if !self.inflight.is_sent() {
                sent += usize::from(self.send_again(&outbox, capacity, context));
                continue;
            }
            let Some(next) = self.pending.front() else { break };
            if next.waits_for_store() || !self.has_bytes_for(&next.message, context) {
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
        self.attached.as_ref().is_some_and(|attached| self.inflight.has_window(attached.window.into()))
    }

    fn has_unsent(&self) -> bool {
        !self.inflight.is_sent() || !self.pending.is_empty()
    }

    /// Whether the outbox may be filled further. The rest of the window is sent when the client has read.
    fn has_room(&self, outbox: &Outbox, context: &DeliveryContext<'_>) -> bool {
        let filled_bytes = outbox.capacity().depth_bytes() + context.buffer.len();
        let fill_bytes = self.attached.as_ref().map_or(0, Attachment::fill_bytes);
        filled_bytes == 0 || filled_bytes < fill_bytes
    }

    /// Whether the outbox is to be filled again: the client has read half of its bytes. The longer it has not acknowledged a
    /// message, the longer it waits.
    pub(crate) fn begin_refill(&mut self, now_ms: u64) -> bool {
        self.let_go();
        let Some(attached) = &mut self.attached else { return false };
        let drained = attached.outbox.capacity().depth_bytes() <= attached.fill_bytes() / 2;
        let may = drained && now_ms >= attached.refilled_ms + (REFILL_PAUSE_MS << attached.refills);
        if may {
            attached.refills = (attached.refills + 1).min(REFILL_DOUBLINGS);
            attached.refilled_ms = now_ms;
        }
        may
    }

    fn has_bytes_for(&self, message: &Message, context: &DeliveryContext<'_>) -> bool {
        let bytes = self.inflight.bytes();
        bytes == 0 || bytes + message.cost_bytes() <= context.limits.queue_bytes_max
    }

    /// Sends a message for the first time. False if it is dropped because it has expired or is longer than the client
    /// accepts [MQTT-3.1.2-25].
    fn send(
        &mut self,
        delivery: Delivery,
        outbox: &Outbox,
        capacity: &Capacity,
        context: &mut DeliveryContext<'_>,
    ) -> bool {
        if delivery.message.is_expired(context.now_ms) {
            self.released.record(&delivery, context.recorder);
            return false;
        }
        let id = self.inflight.next_id();
        if !delivery.write(Some(id), delivery.is_again(), outbox, context) {
            context.count_dropped(capacity);
            self.released.record(&delivery, context.recorder);
            return false;
        }
        self.record_sent(id, &delivery, context.recorder);
        self.lend(&delivery);
        self.inflight.push(delivery);
        true
    }

    /// Sends again the next packet that an earlier connection did not acknowledge [MQTT-4.4.0-1]. True if it is a
    /// message.
    fn send_again(&mut self, outbox: &Outbox, capacity: &Capacity, context: &mut DeliveryContext<'_>) -> bool {
        let too_long = match self.inflight.next_unsent() {
            None => return false,
            Some(Resend::Release(id)) => {
                let written = PubRel::new(id).encode(outbox.receiver().format.version(), context.buffer);
                debug_assert!(written.is_ok(), "a PUBREL without properties can be encoded");
                context.counts.packets_sent += 1;
                return false;
            }
            Some(Resend::Message(id, delivery)) => {
                let dup = !std::mem::take(&mut delivery.is_unsent) || delivery.is_again();
                if delivery.write(Some(id), dup, outbox, context) {
                    return true;
                }
                id
            }
        };
        context.count_dropped(capacity);
        self.finish(too_long, context.recorder);
        false
    }

    fn finish(&mut self, id: PacketId, recorder: Recorder<'_>) {
        let key = match self.inflight.finish(id) {
            Place::Free => None,
            Place::Released(key) => key,
            Place::Sent(delivery) => {
                let key = delivery.key();
                self.acknowledged(delivery);
                key
            }
        };
        if let Some(key) = key {
            recorder.delete(key);
        }
    }

    /// The client has the message, or will not get it.
    fn acknowledged(&mut self, delivery: Delivery) {
        if let Some(loan) = delivery.loan() {
            // It leaves its queue at once.
            loan.queue.release(&delivery.message);
            if LoanPace::counts(&loan.queue) {
                self.update_cold(|cold| cold.loans.acknowledge());
            }
            self.count_acknowledged(delivery.message.cost_bytes());
        } else if self.gone.push(delivery) {
            self.let_go();
        }
    }

    /// Counts the acknowledged messages as released.
    fn let_go(&mut self) {
        let (bytes, messages) = self.gone.take();
        self.released.bytes += bytes;
        self.released.messages += messages;
        self.count_acknowledged(bytes);
    }

    fn count_acknowledged(&mut self, bytes: usize) {
        self.inflight.subtract(bytes);
        if let Some(attached) = &mut self.attached
            && bytes > 0
        {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            attached.acknowledged_bytes = attached.acknowledged_bytes.saturating_add(bytes);
            attached.refills = 0;
        }
    }

    /// Notes the time of the acknowledgements since the last call.
    pub(crate) fn note_time(&mut self, now_ms: u64) {
        if let Some(cold) = &mut self.cold {
            cold.loans.note_time(now_ms);
        }
    }

    /// PUBACK ends a message at QoS 1, with any reason code.
    pub(crate) fn puback(&mut self, id: PacketId, recorder: Recorder<'_>) -> Acknowledged {
        match self.inflight.in_use(id) {
            InUse::Nothing => Acknowledged::Unknown,
            InUse::Message(QoS::AtLeastOnce) => {
                self.finish(id, recorder);
                Acknowledged::Known
            }
            InUse::Message(_) | InUse::Released => Acknowledged::Mismatch,
        }
    }

    /// PUBREC: the client has a message at QoS 2, or refuses it with a reason code from 0x80.
    pub(crate) fn pubrec(&mut self, id: PacketId, code: ReasonCode, recorder: Recorder<'_>) -> Acknowledged {
        match self.inflight.in_use(id) {
            InUse::Nothing => Acknowledged::Unknown,
            InUse::Message(QoS::AtMostOnce | QoS::AtLeastOnce) => Acknowledged::Mismatch,
            InUse::Message(QoS::ExactlyOnce) | InUse::Released if code.is_error() => {
                self.finish(id, recorder);
                Acknowledged::Known
            }
            InUse::Message(QoS::ExactlyOnce) | InUse::Released => {
                if let Some(delivery) = self.inflight.release(id, self.session.is_some()) {
                    self.record_released(id, &delivery, recorder);
                    self.acknowledged(delivery);
                }
                Acknowledged::Known
            }
        }
    }

    /// PUBCOMP frees the identifier of a message at QoS 2.
    pub(crate) fn pubcomp(&mut self, id: PacketId, recorder: Recorder<'_>) -> Acknowledged {
        match self.inflight.in_use(id) {
            InUse::Nothing => Acknowledged::Unknown,
            InUse::Message(_) => Acknowledged::Mismatch,
            InUse::Released => {
                self.finish(id, recorder);
                Acknowledged::Known
            }
        }
    }
}
