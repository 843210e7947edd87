//! A message addressed to one session, and how it is written for the session's connection.

use std::borrow::Cow;
use std::sync::Arc;

use wisp_wire::{PacketId, QoS, SubscriptionId};

use crate::base::capacity::Capacity;
use crate::base::limits::Limits;
use crate::delivery::batch::Batch;
use crate::delivery::loan::{ConsumerOptions, DeadLetter, Loan, QueueInfo, Queued, Returned, SubscriptionIds};
use crate::delivery::message::{Head, Message};
use crate::delivery::outbox::{ConnectionId, Outbox};
use crate::metrics::StatsSnapshot;
use crate::store::journal::Recorder;
use crate::store::{Change, Key, LoanObject, Object, WaitingState};

/// A message for one session.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Message,
    /// The lower QoS of the message's and the subscription's.
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// It has a packet identifier and waits for the store before it is sent for the first time.
    pub(crate) is_unsent: bool,
    /// Its key in the store less the message's. 0 if the store does not keep it.
    ordinal: u32,
    /// Boxed, since most messages have no extras and thousands may be in flight.
    extras: Option<Box<Extras>>,
}

#[derive(Debug)]
struct Extras {
    subscription_ids: SubscriptionIds,
    loan: Option<Loan>,
}

impl Delivery {
    /// A message that matched the session's own subscriptions.
    pub(crate) fn new(message: Message, qos: QoS, retain: bool, subscription_ids: SubscriptionIds) -> Self {
        let extras = subscription_ids.map(|ids| Box::new(Extras { subscription_ids: Some(ids), loan: None }));
        Self { message, qos, retain, is_unsent: false, ordinal: 0, extras }
    }

    /// Sets its key in the store: the message's and `ordinal`, which is not 0.
    pub(crate) fn set_ordinal(&mut self, ordinal: u32) {
        debug_assert!(ordinal > 0 && self.message.key().is_some(), "the message has a key, and this one another");
        self.ordinal = ordinal;
    }

    /// The key of this message for this session in the store.
    pub(crate) fn key(&self) -> Option<Key> {
        if self.ordinal == 0 {
            return None;
        }
        self.message.key().map(|message| message.plus(u64::from(self.ordinal)))
    }

    /// Whether it has to be stored with its packet identifier before it is sent.
    pub(crate) fn waits_for_store(&self) -> bool {
        self.ordinal > 0 && self.qos == QoS::ExactlyOnce
    }

    /// Whether the store keeps it.
    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        self.ordinal > 0
    }

    /// The change that puts it into the store, for a session with this key.
    pub(crate) fn change(&self, session: Key, state: WaitingState) -> Option<Change<'_>> {
        let is_released = matches!(state, WaitingState::Released(_));
        let object = Object::Waiting {
            session,
            message: if is_released { None } else { self.message.key() },
            qos: self.qos,
            retain: self.retain,
            subscription_ids: Cow::Borrowed(if is_released { &[] } else { self.subscription_ids() }),
            state,
        };
        self.key().map(|key| Change::Put { key, object })
    }

    /// The change when a message of a queue is lent to a session, which has this key if the store keeps it. `None` if the end of the broker
    /// returns it to its queue as it is there.
    pub(crate) fn lent_change<'a>(
        &'a self,
        loan: &'a Loan,
        session: Option<Key>,
        packet_id: PacketId,
    ) -> Option<Change<'a>> {
        let is_group = loan.queue.is_group;
        let is_lost = is_group && self.qos == QoS::ExactlyOnce;
        // From a topic queue only the identifier matters, as long as the client may have it.
        let stays = session.is_some() && (is_group || self.qos == QoS::ExactlyOnce);
        if is_group && !is_lost && !stays {
            return None;
        }
        let (qos, retain) = (self.qos, self.retain);
        let subscription_ids = Cow::Borrowed(self.subscription_ids());
        let lent = (is_lost || stays).then_some(LoanObject { session, qos, retain, packet_id, subscription_ids });
        self.queued_change(&loan.queue, loan.deliveries, lent)
    }

    /// The changes when a message on loan returns to its queue from a session with this key, and the key of its packet identifier,
    /// which stays in use at QoS 2.
    pub(crate) fn record_returned(
        &self,
        session: Option<Key>,
        packet_id: PacketId,
        recorder: Recorder<'_>,
    ) -> Option<Key> {
        let (loan, session) = (self.loan()?, session.filter(|_| self.is_kept())?);
        let identifier = (self.qos == QoS::ExactlyOnce).then(|| recorder.new_key());
        if identifier.is_none() && !loan.queue.is_group {
            return None;
        }
        let released = identifier.map(|key| Change::Put { key, object: Object::released(session, packet_id) });
        let returned = self.queued_change(&loan.queue, self.deliveries(loan), None);
        let changes: Vec<Change<'_>> = returned.into_iter().chain(released).collect();
        recorder.append(&changes);
        identifier
    }

    fn queued_change<'a>(
        &self,
        queue: &'a QueueInfo,
        deliveries: u16,
        loan: Option<LoanObject<'a>>,
    ) -> Option<Change<'a>> {
        let (key, message) = (self.key()?, self.message.key()?);
        Some(Change::Put { key, object: Object::Queued { queue: &queue.name, message, deliveries, loan } })
    }

    /// How often it has been sent.
    fn deliveries(&self, loan: &Loan) -> u16 {
        loan.deliveries.saturating_sub(u16::from(self.is_unsent))
    }

    /// Whether another client may have received it before, from a topic queue. Then its first sending has DUP too.
    pub(crate) fn is_again(&self) -> bool {
        self.loan().is_some_and(|loan| loan.deliveries > 1 && !loan.queue.is_group)
    }

    /// A message on loan from a topic queue or group.
    pub(crate) fn on_loan(queued: Queued, queue: &Arc<QueueInfo>, qos: QoS, options: &ConsumerOptions) -> Self {
        let Queued { message, deliveries, ordinal } = queued;
        let loan = Loan { queue: Arc::clone(queue), deliveries: deliveries.saturating_add(1) };
        let extras = Extras { subscription_ids: options.subscription_ids.clone(), loan: Some(loan) };
        let retain = message.retain() && options.retain_as_published;
        Self { message, qos, retain, is_unsent: false, ordinal, extras: Some(Box::new(extras)) }
    }

    /// The queue it is on loan from, to which it returns if this client does not acknowledge it.
    pub(crate) fn loan(&self) -> Option<&Loan> {
        self.extras.as_ref()?.loan.as_ref()
    }

    /// Whether no other client gets a message on loan when the session ends: another member of a group must not get one at QoS 2 that
    /// this client has begun to receive [MQTT-4.8.2-5].
    pub(crate) fn is_lost_with_session(&self) -> bool {
        self.qos == QoS::ExactlyOnce && self.loan().is_some_and(|loan| loan.queue.is_group)
    }

    fn subscription_ids(&self) -> &[SubscriptionId] {
        self.extras.as_ref().and_then(|extras| extras.subscription_ids.as_deref()).unwrap_or_default()
    }

    /// The message as it returns to its queue; `None` if it is not on loan.
    pub(crate) fn into_returned(self) -> Option<Returned> {
        let deliveries = self.deliveries(self.loan()?);
        let Loan { queue, .. } = self.extras?.loan?;
        Some((queue, Queued { message: self.message, deliveries, ordinal: self.ordinal }))
    }

    /// Writes the message with its packet identifier, or without one at QoS 0. False if the packet is longer than the
    /// client accepts [MQTT-3.1.2-25].
    pub(crate) fn write(
        &self,
        packet_id: Option<PacketId>,
        dup: bool,
        outbox: &Outbox,
        context: &mut DeliveryContext<'_>,
    ) -> bool {
        let head =
            Head { dup, qos: self.qos, retain: self.retain, packet_id, subscription_ids: self.subscription_ids() };
        write_message(&self.message, &head, outbox, context)
    }
}

/// The per-call context passed to sessions and queues. They report here instead of calling their callers.
pub(crate) struct DeliveryContext<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) now_ms: u64,
    /// For changes of the objects that the store keeps.
    pub(crate) recorder: Recorder<'a>,
    /// Empty between calls. Packets are written here and pushed to an outbox in one piece.
    pub(crate) buffer: &'a mut Vec<u8>,
    /// Outboxes to flush are marked here.
    pub(crate) batch: &'a mut Batch,
    /// The worker's counts.
    pub(crate) counts: &'a mut StatsSnapshot,
    /// Queues with messages at QoS 0 for consumers that must read before they get more.
    pub(crate) watched: &'a mut Vec<Arc<QueueInfo>>,
    /// Messages that were delivered too often.
    pub(crate) dead: &'a mut Vec<DeadLetter>,
    /// Connections whose outboxes must drain before their sessions send more, and their workers.
    pub(crate) refills: &'a mut Vec<(ConnectionId, usize)>,
}

impl DeliveryContext<'_> {
    /// Counts a message that its receiver does not get.
    pub(crate) fn count_dropped(&mut self, capacity: &Capacity) {
        self.counts.messages_dropped += 1;
        capacity.count_dropped(1);
    }

    /// Pushes the packets in the buffer, with `messages` messages, to `outbox` and marks it for flush.
    pub(crate) fn push_buffer(&mut self, outbox: &Arc<Outbox>, messages: usize) {
        if !self.buffer.is_empty() {
            outbox.push_windowed(self.buffer, messages);
            self.batch.mark_for_flush(outbox);
        }
    }
}

/// Writes a message into the context's buffer. False if the packet is longer than the client accepts.
pub(crate) fn write_message(
    message: &Message,
    head: &Head<'_>,
    outbox: &Outbox,
    context: &mut DeliveryContext<'_>,
) -> bool {
    let (start, receiver) = (context.buffer.len(), outbox.receiver());
    let written = message.encode(receiver.format.version(), head, context.now_ms, context.buffer);
    let fits = written.is_ok() && context.buffer.len() - start <= receiver.packet_bytes_max as usize;
    if fits {
        context.counts.publishes_sent += 1;
        context.counts.payload_bytes_sent += message.payload_bytes() as u64;
    } else {
        context.buffer.truncate(start);
    }
    fits
}
