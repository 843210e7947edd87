//! A session: what the server keeps for a client identifier, for as long as the client is connected and, if it wishes,
//! after (MQTT 5 section 4.1).
//!
//! It has three parts, each under a lock of its own, taken in this order: what the client is in the middle of sending,
//! its subscriptions, and what is on its way to it. Whoever asks on behalf of a connection says which; a connection that
//! has lost the session to another is answered with [`Taken`], and changes nothing.

mod inflight;
pub(crate) mod outgoing;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use wisp_wire::{PacketId, ReasonCode, SubscriptionId, SubscriptionOptions};

use self::outgoing::{Acknowledged, Delivery, Offered, Outgoing, Returned, Turn};
use crate::bundles::Indexed;
use crate::core::Core;
use crate::lifetime::Lifetime;
use crate::outbox::{ConnectionId, Outbox};
use crate::packet_ids::PacketIdState;
use crate::replay::Replay;
use crate::room::Room;
use crate::slot::Slot;
use crate::sync::{Mutex, MutexGuard};
use crate::topic_queue::{Queued, Receiver, TopicQueue};

/// The session of one client.
#[derive(Debug)]
pub(crate) struct Session {
    client_id: Arc<str>,
    slot: Slot,
    room: Arc<Room>,
    incoming: Mutex<Incoming>,
    subscriptions: Mutex<Subscriptions>,
    outgoing: Mutex<Outgoing>,
    lifetime: Mutex<Lifetime>,
}

/// Writes the last packet of a connection that loses its session.
pub(crate) type Farewell<'a> = &'a dyn Fn(&Outbox) -> Vec<u8>;

/// The session belongs to another connection now, or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken;

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
    pub(crate) fn new(client_id: &str, core: &Core, slot: Slot) -> Self {
        let limits = &core.limits;
        let (bytes, messages) = (limits.queue_bytes_max, limits.queue_messages_max);
        let room = Room::new(bytes, messages, limits.receiver_stall_ms_max(), Arc::clone(&core.stored));
        Self {
            client_id: client_id.into(),
            slot,
            room: Arc::new(room),
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
    pub(crate) fn room(&self) -> &Arc<Room> {
        &self.room
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
    pub(crate) fn incoming(&self, connection: ConnectionId) -> Result<MutexGuard<'_, Incoming>, Taken> {
        let incoming = self.incoming.lock();
        if incoming.owner == Some(connection) { Ok(incoming) } else { Err(Taken) }
    }

    /// Hands the session over to the connection of `outbox`, with `connack` as the first packet there, and returns the
    /// one it had. The old one gets `farewell`, and nothing after it.
    pub(crate) fn attach(
        &self,
        outbox: &Arc<Outbox>,
        window: u16,
        (connack, farewell): (&[u8], Farewell<'_>),
        turn: &mut Turn<'_>,
    ) -> Option<Arc<Outbox>> {
        let mut incoming = self.incoming.lock();
        incoming.owner = Some(outbox.connection());
        let mut outgoing = self.outgoing.lock();
        let old = outgoing.attach(outbox, usize::from(window));
        self.room.set_unattended(false);
        if let Some(old) = &old {
            old.finish(&farewell(old));
        }
        outbox.push([connack].into_iter(), connack.len(), 0);
        outgoing.pump(&self.room, turn);
        old
    }

    /// Takes the session from `connection`, if it still has it. What was on loan from topic queues is returned.
    pub(crate) fn detach(&self, connection: ConnectionId) -> Result<Vec<Returned>, Taken> {
        let mut incoming = self.incoming.lock();
        if incoming.owner != Some(connection) {
            return Err(Taken);
        }
        incoming.owner = None;
        let mut outgoing = self.outgoing.lock();
        self.room.set_unattended(true);
        Ok(outgoing.detach(&self.room))
    }

    /// Whether the client is connected.
    pub(crate) fn is_attached(&self) -> bool {
        self.incoming.lock().owner.is_some()
    }

    /// Ends the session, which is no longer in the registry: its subscriptions, what waits, what is on loan. The
    /// connection it had, if any, gets `farewell`.
    pub(crate) fn end(&self, core: &Core, farewell: Farewell<'_>) -> (Vec<Returned>, Option<Arc<Outbox>>) {
        self.incoming.lock().owner = None;
        let mut subscriptions = self.subscriptions.lock();
        subscriptions.ended = true;
        for filter in std::mem::take(&mut subscriptions.filters) {
            core.remove_subscription(&filter, self);
        }
        drop(subscriptions);
        let mut outgoing = self.outgoing.lock();
        let outbox = outgoing.outbox().cloned();
        if let Some(outbox) = &outbox {
            outbox.finish(&farewell(outbox));
        }
        (outgoing.end(&self.room), outbox)
    }

    /// Queues messages and sends what the window has room for. Returns the outbox to flush, if there is anything to.
    pub(crate) fn deliver(&self, deliveries: &mut Vec<Delivery>, turn: &mut Turn<'_>) -> Option<Arc<Outbox>> {
        let mut outgoing = self.outgoing.lock();
        if outgoing.is_ended() {
            return None;
        }
        outgoing.enqueue(deliveries, &self.room, turn);
        outgoing.pump(&self.room, turn)
    }

    /// Sends what the window has room for after acknowledgements, and says which topic queues have more.
    pub(crate) fn go_on(&self, turn: &mut Turn<'_>) -> (Option<Arc<Outbox>>, Vec<Arc<TopicQueue>>) {
        let mut outgoing = self.outgoing.lock();
        let flush = outgoing.pump(&self.room, turn);
        (flush, outgoing.backlogs())
    }

    /// Takes messages from the front of a topic queue.
    pub(crate) fn take_from(
        &self,
        queue: &Arc<TopicQueue>,
        messages: &mut VecDeque<Queued>,
        most: usize,
        receiver: &Receiver,
        turn: &mut Turn<'_>,
    ) -> Offered {
        self.outgoing.lock().take_from(queue, messages, most, receiver, (&self.room, turn))
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
    pub(crate) fn change_sources(&self, change: impl FnOnce(&mut Vec<Arc<TopicQueue>>)) {
        self.outgoing.lock().change_sources(change);
    }

    /// Keeps what retained messages are still to come while the client is away.
    pub(crate) fn keep_replays(&self, replays: Vec<Replay>) {
        self.outgoing.lock().keep_replays(replays);
    }

    /// Takes them up again.
    pub(crate) fn take_replays(&self) -> Vec<Replay> {
        self.outgoing.lock().take_replays()
    }
}
