//! A session: the server's state for one client identifier. It lasts while the client is connected and, if the client
//! asks for it, longer (MQTT 5 section 4.1).
//!
//! It has three parts, each under a lock of its own, taken in this order: the messages that the client is sending, its
//! subscriptions, and the messages for it. Each call for a connection names the connection. If another connection has
//! the session by now, the call returns [`NotOwner`] and changes nothing.

mod granted;
pub(crate) mod inflight;
pub(crate) mod outgoing;
pub(crate) mod subscriptions;

use std::collections::VecDeque;
use std::sync::Arc;

use wisp_wire::{PacketId, ReasonCode, SubscriptionId, SubscriptionOptions};

use self::outgoing::{Acknowledged, OfferOutcome, Outgoing};
use self::subscriptions::Subscriptions;
use crate::base::budget::Budget;
use crate::base::capacity::{Capacity, CapacityLimits};
use crate::base::packet_ids::PacketIds;
use crate::base::slot::Slot;
use crate::base::sync::{Mutex, MutexGuard, rank};
use crate::delivery::addressed::{Delivery, DeliveryContext};
use crate::delivery::bundles::Indexed;
use crate::delivery::loan::{ConsumerOptions, Offer, QueueInfo, Queued, Returned};
use crate::delivery::outbox::{ConnectionId, Outbox};
use crate::policy::Rights;
use crate::state::retained::ReplayCursor;
use crate::state::timers::Lifetime;
use crate::store::journal::Recorder;
use crate::store::key::incoming_key;
use crate::store::{Key, Ticket};

/// The session of one client.
#[derive(Debug)]
pub(crate) struct Session {
    client_id: Arc<str>,
    /// Its key in the store, if it outlived its connection when it began and the store keeps such sessions.
    key: Option<Key>,
    slot: Slot,
    capacity: Arc<Capacity>,
    incoming: Mutex<Incoming, { rank::INCOMING }>,
    subscriptions: Mutex<Subscriptions, { rank::SUBSCRIPTIONS }>,
    outgoing: Mutex<Outgoing, { rank::OUTGOING }>,
    lifetime: Mutex<Lifetime, { rank::LIFETIME }>,
}

// There is one for each client, connected or away. A larger one is to be a choice.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Session>() <= 312);

/// Writes the last packet of a connection that loses its session.
pub(crate) type FinalPacket<'a> = &'a dyn Fn(&Outbox) -> Vec<u8>;

/// The parts of an ended session that the caller has to clean up.
pub(crate) struct EndedSession {
    /// Its subscriptions, still to be removed from the topic tree and from queues.
    pub(crate) filters: Vec<(Box<str>, Option<Key>)>,
    /// Messages that return to their queues.
    pub(crate) returned: Vec<Returned>,
    /// The connection that had the session.
    pub(crate) outbox: Option<Arc<Outbox>>,
}

/// Sessions that are to be resumed when their tickets are committed.
pub(crate) type Gated = Vec<(Ticket, Arc<Session>)>;

/// Another connection has the session now, or it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotOwner;

/// The receiving half: messages at QoS 2 between their PUBLISH and their PUBREL.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// The connection that has the session, or [`NOBODY`].
    owner: ConnectionId,
    unreleased: Option<Box<PacketIds>>,
}

/// No connection: the client is away. An `Option` would make each session larger.
const NOBODY: ConnectionId = ConnectionId { slot: u32::MAX, generation: u32::MAX };

impl Default for Incoming {
    fn default() -> Self {
        Self { owner: NOBODY, unreleased: None }
    }
}

impl Incoming {
    /// The number of messages between their PUBLISH and their PUBREL.
    pub(crate) fn unreleased(&self) -> usize {
        self.unreleased.as_ref().map_or(0, |ids| ids.len())
    }

    /// Whether the message has been received before.
    pub(crate) fn contains(&self, id: PacketId) -> bool {
        self.unreleased.as_ref().is_some_and(|ids| ids.contains(id))
    }

    /// Notes that the message was received. The memory for it is charged to `stored`.
    pub(crate) fn insert(&mut self, id: PacketId, stored: &Arc<Budget>) {
        self.unreleased.get_or_insert_with(|| Box::new(PacketIds::new(stored))).insert(id);
    }

    /// Forgets the message: its sender will not repeat it. False if it was not there.
    pub(crate) fn release(&mut self, id: PacketId) -> bool {
        let Some(ids) = &mut self.unreleased else { return false };
        let was_there = ids.remove(id);
        if ids.len() == 0 {
            self.unreleased = None;
        }
        was_there
    }
}

/// The options of a subscription.
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
    /// A session, which the store keeps under `key`.
    pub(crate) fn new((client_id, key): (&str, Option<Key>), limits: &Arc<CapacityLimits>, slot: Slot) -> Self {
        Self {
            client_id: client_id.into(),
            key,
            slot,
            capacity: Arc::new(Capacity::new(Arc::clone(limits))),
            incoming: Mutex::default(),
            subscriptions: Mutex::default(),
            outgoing: Mutex::new(Outgoing::new(key)),
            lifetime: Mutex::default(),
        }
    }

    /// The client's identifier.
    pub(crate) fn client_id(&self) -> &Arc<str> {
        &self.client_id
    }

    /// Its key in the store, if the store keeps it.
    pub(crate) fn key(&self) -> Option<Key> {
        self.key
    }

    /// The depth and limits of the messages at QoS 1 and 2 that wait for the client or are unacknowledged.
    pub(crate) fn capacity(&self) -> &Arc<Capacity> {
        &self.capacity
    }

    /// The client's connection.
    pub(crate) fn outbox(&self) -> Option<Arc<Outbox>> {
        self.outgoing.lock().outbox().cloned()
    }

    /// Gives the session the rights of the client that takes it. Messages that the client has no right to are dropped, or
    /// returned for their queues.
    pub(crate) fn set_rights(
        &self,
        rights: Option<&Arc<dyn Rights>>,
        context: &mut DeliveryContext<'_>,
    ) -> Vec<Returned> {
        self.outgoing.lock().set_rights(rights, &self.capacity, context)
    }

    /// Asks the rights anew, since they may have changed, and drops messages that the client has no right to any more.
    pub(crate) fn refresh_rights(&self, context: &mut DeliveryContext<'_>) {
        self.outgoing.lock().refresh_rights(&self.capacity, context);
    }

    /// Whether the client may be sent messages of a topic.
    pub(crate) fn may_receive(&self, topic: &str) -> bool {
        self.outgoing.lock().may_receive(topic)
    }

    /// The user name that the rights are about.
    pub(crate) fn user(&self) -> Option<Box<str>> {
        self.outgoing.lock().user().map(Box::from)
    }

    /// When the session ends, and the will. This lock is taken last of the session's.
    pub(crate) fn lifetime(&self) -> MutexGuard<'_, Lifetime> {
        self.lifetime.lock()
    }

    /// Drops the will of `connection`, if it still has the session.
    pub(crate) fn discard_will(&self, connection: ConnectionId) {
        // While this is locked the session keeps its connection.
        if let Ok(_incoming) = self.incoming(connection) {
            self.lifetime.lock().will = None;
        }
    }

    /// The subscriptions, to be changed together with the topic tree.
    pub(crate) fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock()
    }

    /// The receiving half. While it is locked the session keeps its connection, so a message at QoS 2 can be routed and
    /// its identifier recorded in one step.
    pub(crate) fn incoming(&self, connection: ConnectionId) -> Result<MutexGuard<'_, Incoming>, NotOwner> {
        let incoming = self.incoming.lock();
        if incoming.owner == connection { Ok(incoming) } else { Err(NotOwner) }
    }

    /// Attaches the session to the connection of `outbox`, with `connack` as the first packet there, and returns the
    /// outbox of the connection that had it. That one gets `final_packet`, and nothing after it. The session is to be resumed when the
    /// ticket is committed, if there is one.
    pub(crate) fn attach(
        &self,
        outbox: &Arc<Outbox>,
        window: u16,
        (connack, final_packet): (&[u8], FinalPacket<'_>),
        context: &mut DeliveryContext<'_>,
    ) -> (Option<Arc<Outbox>>, Option<Ticket>) {
        let mut incoming = self.incoming.lock();
        incoming.owner = outbox.connection();
        let mut outgoing = self.outgoing.lock();
        let old = outgoing.attach(outbox, window);
        self.capacity.set_unattended(false, context.now_ms);
        if let Some(old) = &old {
            old.push_final(&final_packet(old));
        }
        outbox.push([connack].into_iter(), connack.len(), 0);
        let ticket = outgoing.pump(&self.capacity, context);
        (old, ticket)
    }

    /// Detaches the session from `connection`, if that still has it. Returns the messages on loan from topic queues.
    pub(crate) fn detach(
        &self,
        connection: ConnectionId,
        now_ms: u64,
        recorder: Recorder<'_>,
    ) -> Result<Vec<Returned>, NotOwner> {
        let mut incoming = self.incoming.lock();
        if incoming.owner != connection {
            return Err(NotOwner);
        }
        incoming.owner = NOBODY;
        let mut outgoing = self.outgoing.lock();
        self.capacity.set_unattended(true, now_ms);
        Ok(outgoing.detach(&self.capacity, recorder))
    }

    /// Whether the client is connected.
    pub(crate) fn is_attached(&self) -> bool {
        self.incoming.lock().owner != NOBODY
    }

    /// Ends the session, which is no longer in the registry. Its connection, if any, gets `final_packet`.
    pub(crate) fn end(&self, final_packet: FinalPacket<'_>, recorder: Recorder<'_>) -> EndedSession {
        // Routes may name the session for a moment longer, so what it has stored is freed here.
        let incoming = std::mem::take(&mut *self.incoming.lock());
        let mut subscriptions = self.subscriptions.lock();
        let filters = subscriptions.end();
        if let Some(key) = self.key {
            let unreleased = incoming.unreleased.iter().flat_map(|ids| ids.iter());
            let keys = filters.iter().filter_map(|(_, key)| *key);
            recorder.delete_all(keys.chain(unreleased.map(|id| incoming_key(key, id))));
        }
        drop(subscriptions);
        let mut outgoing = self.outgoing.lock();
        let outbox = outgoing.outbox().cloned();
        if let Some(outbox) = &outbox {
            outbox.push_final(&final_packet(outbox));
        }
        EndedSession { filters, returned: outgoing.end(&self.capacity, recorder), outbox }
    }

    /// Enqueues messages and sends as many as the window admits. Empties `deliveries` unless the session has ended. The session is to
    /// be resumed when the ticket is committed, if there is one.
    #[must_use]
    pub(crate) fn deliver(&self, deliveries: &mut Vec<Delivery>, context: &mut DeliveryContext<'_>) -> Option<Ticket> {
        let mut outgoing = self.outgoing.lock();
        if outgoing.is_ended() {
            return None;
        }
        outgoing.drop_denied(deliveries, context);
        outgoing.enqueue(deliveries, &self.capacity, context);
        outgoing.pump(&self.capacity, context)
    }

    /// Sends the messages that the window admits after acknowledgements. Returns the queues with messages for this
    /// client, and the ticket after which the session is to be resumed again, if there is one.
    pub(crate) fn resume(&self, context: &mut DeliveryContext<'_>) -> (Vec<Arc<QueueInfo>>, Option<Ticket>) {
        let mut outgoing = self.outgoing.lock();
        outgoing.note_time(context.now_ms);
        let ticket = outgoing.pump(&self.capacity, context);
        (outgoing.backlogs(), ticket)
    }

    /// Whether the client's outbox is to be filled again.
    pub(crate) fn begin_refill(&self, now_ms: u64) -> bool {
        self.outgoing.lock().begin_refill(now_ms)
    }

    /// Takes messages from the front of a queue.
    pub(crate) fn take_from(
        &self,
        queue: &Arc<QueueInfo>,
        messages: &mut VecDeque<Queued>,
        offer: Offer,
        options: &ConsumerOptions,
        context: &mut DeliveryContext<'_>,
    ) -> OfferOutcome {
        let mut outgoing = self.outgoing.lock();
        if outgoing.is_restricted() {
            outgoing.take_allowed(queue, messages, offer, options, (&self.capacity, context))
        } else {
            outgoing.take_from_front(queue, messages, offer, options, (&self.capacity, context))
        }
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

    pub(crate) fn puback(&self, connection: ConnectionId, id: PacketId, recorder: Recorder<'_>) -> Acknowledged {
        self.acknowledge(connection, |outgoing| outgoing.puback(id, recorder))
    }

    pub(crate) fn pubrec(
        &self,
        connection: ConnectionId,
        id: PacketId,
        code: ReasonCode,
        recorder: Recorder<'_>,
    ) -> Acknowledged {
        self.acknowledge(connection, |outgoing| outgoing.pubrec(id, code, recorder))
    }

    pub(crate) fn pubcomp(&self, connection: ConnectionId, id: PacketId, recorder: Recorder<'_>) -> Acknowledged {
        self.acknowledge(connection, |outgoing| outgoing.pubcomp(id, recorder))
    }

    /// The client has left before the broker started.
    pub(crate) fn restore(&self, unreleased: impl Iterator<Item = PacketId>, stored: &Arc<Budget>) {
        let mut incoming = self.incoming.lock();
        unreleased.for_each(|id| incoming.insert(id, stored));
        self.capacity.set_unattended(true, 0);
    }

    /// Removes up to `most` of the messages that wait for the client, the oldest first. Returns their number.
    pub(crate) fn purge(&self, most: usize, recorder: Recorder<'_>) -> usize {
        self.outgoing.lock().purge(most, &self.capacity, recorder)
    }

    /// The sending half, to be looked at or filled with restored messages.
    pub(crate) fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock()
    }

    /// The topic queues and groups that the client receives from.
    pub(crate) fn sources(&self) -> Vec<Arc<QueueInfo>> {
        self.outgoing.lock().sources()
    }

    /// Changes the list of topic queues and groups that the client receives from.
    pub(crate) fn change_sources(&self, change: impl FnOnce(&mut Vec<Arc<QueueInfo>>)) {
        self.outgoing.lock().change_sources(change);
    }

    /// Stores unfinished replays while the client is away.
    pub(crate) fn keep_replays(&self, replays: Vec<ReplayCursor>) {
        self.outgoing.lock().keep_replays(replays);
    }

    /// Takes the stored replays.
    pub(crate) fn take_replays(&self) -> Vec<ReplayCursor> {
        self.outgoing.lock().take_replays()
    }
}
