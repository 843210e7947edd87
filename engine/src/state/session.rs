//! A session: what the server keeps for a client identifier, for as long as the client is connected and, if it wishes,
//! after (MQTT 5 section 4.1).
//!
//! It has three parts, each under a lock of its own, taken in this order: what the client is in the middle of sending,
//! its subscriptions, and what is on its way to it. Whoever asks on behalf of a connection says which; a connection that
//! has lost the session to another is answered with [`NotOwner`], and changes nothing.

mod inflight;
pub(crate) mod outgoing;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use wisp_wire::{PacketId, ReasonCode, SubscriptionId, SubscriptionOptions};

use self::outgoing::{Acknowledged, Offered, Outgoing};
use crate::base::budget::Budget;
use crate::base::capacity::Capacity;
use crate::base::limits::Limits;
use crate::base::packet_ids::PacketIdState;
use crate::base::slot::Slot;
use crate::base::sync::{Mutex, MutexGuard, rank};
use crate::delivery::addressed::{Delivery, DeliveryContext};
use crate::delivery::bundles::Indexed;
use crate::delivery::loan::{ConsumerOptions, QueueInfo, Queued, Returned};
use crate::delivery::outbox::{ConnectionId, Outbox};
use crate::state::retained::ReplayCursor;
use crate::state::timers::Lifetime;

/// The session of one client.
#[derive(Debug)]
pub(crate) struct Session {
    client_id: Arc<str>,
    slot: Slot,
    capacity: Arc<Capacity>,
    incoming: Mutex<Incoming, { rank::INCOMING }>,
    subscriptions: Mutex<Subscriptions, { rank::SUBSCRIPTIONS }>,
    outgoing: Mutex<Outgoing, { rank::OUTGOING }>,
    lifetime: Mutex<Lifetime, { rank::LIFETIME }>,
}

/// Writes the last packet of a connection that loses its session.
pub(crate) type FinalPacket<'a> = &'a dyn Fn(&Outbox) -> Vec<u8>;

/// What is left of a session that has ended.
pub(crate) struct EndedSession {
    /// Its subscriptions, still to be removed from the topic tree and from queues.
    pub(crate) filters: Vec<Box<str>>,
    /// Messages that return to their queues.
    pub(crate) returned: Vec<Returned>,
    /// The connection it had.
    pub(crate) outbox: Option<Arc<Outbox>>,
}

/// The session belongs to another connection now, or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotOwner;

/// The receiving half: messages at QoS 2 between their PUBLISH and their PUBREL.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    owner: Option<ConnectionId>,
    unreleased: Option<Box<PacketIds>>,
}

type PacketIds = HashSet<PacketId, PacketIdState>;

impl Incoming {
    /// How many messages are between their PUBLISH and their PUBREL.
    pub(crate) fn unreleased(&self) -> usize {
        self.unreleased.as_ref().map_or(0, |ids| ids.len())
    }

    /// Whether the message has come before.
    pub(crate) fn contains(&self, id: PacketId) -> bool {
        self.unreleased.as_ref().is_some_and(|ids| ids.contains(&id))
    }

    /// Notes that the message has come.
    pub(crate) fn insert(&mut self, id: PacketId) {
        self.unreleased.get_or_insert_default().insert(id);
    }

    /// The message will not come again. False if it never came.
    pub(crate) fn release(&mut self, id: PacketId) -> bool {
        let Some(ids) = &mut self.unreleased else { return false };
        let known = ids.remove(&id);
        if ids.is_empty() {
            self.unreleased = None;
        }
        known
    }
}

/// The filters of a session. Most have one or a few, so they lie in a vector, in their order.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub(crate) ended: bool,
    filters: Vec<Box<str>>,
}

impl Subscriptions {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.filters.len()
    }

    fn place_of(&self, filter: &str) -> Result<usize, usize> {
        self.filters.binary_search_by(|known| (**known).cmp(filter))
    }

    /// Whether there is one to `filter`.
    pub(crate) fn contains(&self, filter: &str) -> bool {
        self.place_of(filter).is_ok()
    }

    /// Notes one to `filter`.
    pub(crate) fn insert(&mut self, filter: &str) {
        if let Err(place) = self.place_of(filter) {
            if self.filters.is_empty() {
                self.filters.reserve_exact(1);
            }
            self.filters.insert(place, filter.into());
        }
    }

    /// Forgets the one to `filter`. False if there is none.
    pub(crate) fn remove(&mut self, filter: &str) -> bool {
        self.place_of(filter).map(|place| self.filters.remove(place)).is_ok()
    }
}

/// What a client wants of a subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub(crate) options: SubscriptionOptions,
    pub(crate) id: Option<SubscriptionId>,
}

impl Indexed for Session {
    fn index(&self) -> usize {
        self.slot.index()
    }
}

impl Session {
    pub(crate) fn new(client_id: &str, limits: &Limits, stored: &Arc<Budget>, slot: Slot) -> Self {
        let (bytes, messages) = (limits.queue_bytes_max, limits.queue_messages_max);
        let capacity = Capacity::new(bytes, messages, limits.receiver_stall_ms_max(), Arc::clone(stored));
        Self {
            client_id: client_id.into(),
            slot,
            capacity: Arc::new(capacity),
            incoming: Mutex::default(),
            subscriptions: Mutex::default(),
            outgoing: Mutex::default(),
            lifetime: Mutex::default(),
        }
    }

    /// Whose it is.
    pub(crate) fn client_id(&self) -> &Arc<str> {
        &self.client_id
    }

    /// What waits for the client or is unacknowledged, at QoS 1 and 2, and how much may.
    pub(crate) fn capacity(&self) -> &Arc<Capacity> {
        &self.capacity
    }

    /// The connection the client is on now.
    pub(crate) fn outbox(&self) -> Option<Arc<Outbox>> {
        self.outgoing.lock().outbox().cloned()
    }

    /// How long it lasts, and what is published when it ends. Locked last of all.
    pub(crate) fn lifetime(&self) -> MutexGuard<'_, Lifetime> {
        self.lifetime.lock()
    }

    /// Forgets the will that came with `connection`, if that still has the session.
    pub(crate) fn discard_will(&self, connection: ConnectionId) {
        // Locked, so that the session does not change hands in between.
        if let Ok(_incoming) = self.incoming(connection) {
            self.lifetime.lock().will = None;
        }
    }

    /// The subscriptions, to be changed together with the router.
    pub(crate) fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock()
    }

    /// The receiving half. While it is locked the session does not change hands, so a message at QoS 2 can be routed and
    /// its identifier noted as one step.
    pub(crate) fn incoming(&self, connection: ConnectionId) -> Result<MutexGuard<'_, Incoming>, NotOwner> {
        let incoming = self.incoming.lock();
        if incoming.owner == Some(connection) { Ok(incoming) } else { Err(NotOwner) }
    }

    /// Hands the session over to the connection of `outbox`, with `connack` as the first packet there, and returns the
    /// one it had. The old one gets `farewell`, and nothing after it.
    pub(crate) fn attach(
        &self,
        outbox: &Arc<Outbox>,
        window: u16,
        (connack, final_packet): (&[u8], FinalPacket<'_>),
        context: &mut DeliveryContext<'_>,
    ) -> Option<Arc<Outbox>> {
        let mut incoming = self.incoming.lock();
        incoming.owner = Some(outbox.connection());
        let mut outgoing = self.outgoing.lock();
        let old = outgoing.attach(outbox, usize::from(window));
        self.capacity.set_unattended(false);
        if let Some(old) = &old {
            old.push_final(&final_packet(old));
        }
        outbox.push([connack].into_iter(), connack.len(), 0);
        outgoing.pump(&self.capacity, context);
        old
    }

    /// Takes the session from `connection`, if it still has it. What was on loan from topic queues is returned.
    pub(crate) fn detach(&self, connection: ConnectionId) -> Result<Vec<Returned>, NotOwner> {
        let mut incoming = self.incoming.lock();
        if incoming.owner != Some(connection) {
            return Err(NotOwner);
        }
        incoming.owner = None;
        let mut outgoing = self.outgoing.lock();
        self.capacity.set_unattended(true);
        Ok(outgoing.detach(&self.capacity))
    }

    /// Whether the client is connected.
    pub(crate) fn is_attached(&self) -> bool {
        self.incoming.lock().owner.is_some()
    }

    /// Ends the session, which is no longer in the registry. Its connection, if any, gets `final_packet`.
    pub(crate) fn end(&self, final_packet: FinalPacket<'_>) -> EndedSession {
        self.incoming.lock().owner = None;
        let mut subscriptions = self.subscriptions.lock();
        subscriptions.ended = true;
        let filters = std::mem::take(&mut subscriptions.filters);
        drop(subscriptions);
        let mut outgoing = self.outgoing.lock();
        let outbox = outgoing.outbox().cloned();
        if let Some(outbox) = &outbox {
            outbox.push_final(&final_packet(outbox));
        }
        EndedSession { filters, returned: outgoing.end(&self.capacity), outbox }
    }

    /// Enqueues messages and sends as many as the window admits. Empties `deliveries` unless the session has ended.
    pub(crate) fn deliver(&self, deliveries: &mut Vec<Delivery>, context: &mut DeliveryContext<'_>) {
        let mut outgoing = self.outgoing.lock();
        if !outgoing.is_ended() {
            outgoing.enqueue(deliveries, &self.capacity, context);
            outgoing.pump(&self.capacity, context);
        }
    }

    /// Sends what the window admits after acknowledgements, and returns the queues with messages for this client.
    pub(crate) fn resume(&self, context: &mut DeliveryContext<'_>) -> Vec<Arc<QueueInfo>> {
        let mut outgoing = self.outgoing.lock();
        outgoing.pump(&self.capacity, context);
        outgoing.backlogs()
    }

    /// Takes messages from the front of a topic queue.
    pub(crate) fn take_from(
        &self,
        queue: &Arc<QueueInfo>,
        messages: &mut VecDeque<Queued>,
        most: usize,
        options: &ConsumerOptions,
        context: &mut DeliveryContext<'_>,
    ) -> Offered {
        self.outgoing.lock().take_from(queue, messages, most, options, (&self.capacity, context))
    }

    fn acknowledge(
        &self,
        connection: ConnectionId,
        change: impl FnOnce(&mut Outgoing) -> Acknowledged,
    ) -> Acknowledged {
        let mut outgoing = self.outgoing.lock();
        if !outgoing.is_attached_to(connection) {
            return Acknowledged::Stale;
        }
        change(&mut outgoing)
    }

    pub(crate) fn puback(&self, connection: ConnectionId, id: PacketId) -> Acknowledged {
        self.acknowledge(connection, |outgoing| outgoing.puback(id))
    }

    pub(crate) fn pubrec(&self, connection: ConnectionId, id: PacketId, code: ReasonCode) -> Acknowledged {
        self.acknowledge(connection, |outgoing| outgoing.pubrec(id, code))
    }

    pub(crate) fn pubcomp(&self, connection: ConnectionId, id: PacketId) -> Acknowledged {
        self.acknowledge(connection, |outgoing| outgoing.pubcomp(id))
    }

    /// Whether routes lead here.
    pub(crate) fn has_subscriptions(&self) -> bool {
        self.subscriptions.lock().len() > 0
    }

    /// Notes that the client receives from a topic queue, or no longer does.
    pub(crate) fn change_sources(&self, change: impl FnOnce(&mut Vec<Arc<QueueInfo>>)) {
        self.outgoing.lock().change_sources(change);
    }

    /// Keeps what retained messages are still to come while the client is away.
    pub(crate) fn keep_replays(&self, replays: Vec<ReplayCursor>) {
        self.outgoing.lock().keep_replays(replays);
    }

    /// Takes them up again.
    pub(crate) fn take_replays(&self) -> Vec<ReplayCursor> {
        self.outgoing.lock().take_replays()
    }
}
