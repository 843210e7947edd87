//! The sessions by client identifier, and how a session begins, changes hands and ends.
//!
//! All three happen under the lock of the shard that the client identifier falls into, so a session that is found there is
//! not over, and one that is over is not found.

#![expect(clippy::mutable_key_type, reason = "a session is found by its client identifier, which never changes")]

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use wisp_wire::{Disconnect, Properties, ReasonCode};

use crate::bundles::Indexed;
use crate::core::Core;
use crate::outbox::{ConnectionId, Outbox, WireFormat};
use crate::publish::Publisher;
use crate::session::Session;
use crate::session::outgoing::Returned;
use crate::sync::{AtomicUsize, Mutex, Ordering};
use crate::topic_queue::{Queued, TopicQueue};
use crate::will::Will;

const SHARDS: usize = 16;

/// All sessions, in shards so that connecting clients do not wait for each other.
#[derive(Debug)]
pub(crate) struct Registry {
    hasher: RandomState,
    shards: [Mutex<HashSet<ByClientId, RandomState>>; SHARDS],
    count: AtomicUsize,
}

/// A session that is found by its client identifier.
#[derive(Debug)]
struct ByClientId(Arc<Session>);

impl Borrow<str> for ByClientId {
    fn borrow(&self) -> &str {
        self.0.client_id()
    }
}

impl Hash for ByClientId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.client_id().hash(state);
    }
}

impl PartialEq for ByClientId {
    fn eq(&self, other: &Self) -> bool {
        self.0.client_id() == other.0.client_id()
    }
}

impl Eq for ByClientId {}

impl Default for Registry {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            shards: std::array::from_fn(|_| Mutex::default()),
            count: AtomicUsize::new(0),
        }
    }
}

impl Registry {
    fn shard(&self, client_id: &str) -> &Mutex<HashSet<ByClientId, RandomState>> {
        &self.shards[self.hasher.hash_one(client_id) as usize % SHARDS]
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// A CONNECT that was found in order.
pub(crate) struct Opening<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) clean_start: bool,
    pub(crate) outbox: &'a Arc<Outbox>,
    /// How many messages may be unacknowledged.
    pub(crate) window: u16,
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<Box<Will>>,
}

/// A session that is the connection's now.
pub(crate) struct Opened {
    pub(crate) session: Arc<Session>,
    /// A connection that lost its session to this one, and is to be flushed and closed.
    pub(crate) taken_over: Option<Arc<Outbox>>,
    /// The will that came with it, to be published after what it still has in hand.
    pub(crate) left_will: Option<Box<Will>>,
}

/// There are as many sessions as allowed.
pub(crate) struct TooManySessions;

impl Core {
    /// Gives the client its session, or a new one [MQTT-3.1.2-4, MQTT-3.1.2-5], and ends what it had and does not want.
    /// `connack` writes the first packet, told whether there was a session.
    pub(crate) fn open(
        &self,
        opening: Opening<'_>,
        publisher: &mut Publisher,
        now_ms: u64,
        connack: impl FnOnce(bool) -> Vec<u8>,
    ) -> Result<Opened, TooManySessions> {
        let mut shard = self.registry.shard(opening.client_id).lock();
        let found = shard.get(opening.client_id).map(|found| Arc::clone(&found.0));
        let (present, discarded) = match found {
            // A session that was not to outlive its connection is not handed on [MQTT-3.1.2-6].
            Some(found) if opening.clean_start || found.lifetime().expiry_s == 0 => (None, Some(found)),
            found => (found, None),
        };
        if present.is_none() && discarded.is_none() && self.registry.count() >= self.limits.sessions_count_max as usize
        {
            return Err(TooManySessions);
        }
        let connack = connack(present.is_some());
        let session = match &present {
            Some(present) => Arc::clone(present),
            None => {
                let session = Arc::new(Session::new(opening.client_id, self, self.receiver_slots.take()));
                if shard.replace(ByClientId(Arc::clone(&session))).is_none() {
                    self.registry.count.fetch_add(1, Ordering::Relaxed);
                }
                session
            }
        };
        let mut turn = publisher.turn(&self.limits, now_ms);
        let mut taken_over = session.attach(opening.outbox, opening.window, (&connack, &farewell), &mut turn);
        let mut lifetime = session.lifetime();
        let left_will = lifetime.will.take().filter(|will| taken_over.is_some() && will.delay_s() == 0);
        lifetime.begin(&self.calendar, &session, opening.expiry_s, opening.will);
        drop(lifetime);
        drop(shard);
        let mut left_will = left_will;
        if let Some(discarded) = discarded {
            (taken_over, left_will) = self.end_session(&discarded, publisher, now_ms);
        }
        if taken_over.is_none() {
            publisher.publish_later(left_will.take());
        }
        if present.is_some() {
            self.routes_moved(&session);
            self.pump_sources(&session, publisher, now_ms);
        }
        publisher.batch().touch(opening.outbox);
        if let Some(old) = &taken_over {
            publisher.batch().touch(old);
        }
        Ok(Opened { session, taken_over, left_will })
    }

    /// Takes the session from a connection that has ended. The session ends too, unless it is to outlive it. `will` says
    /// whether the will is published at this end; `expiry_s` replaces what was agreed on before.
    pub(crate) fn leave(
        &self,
        session: &Arc<Session>,
        connection: ConnectionId,
        (will, expiry_s): (bool, Option<u32>),
        publisher: &mut Publisher,
        now_ms: u64,
    ) {
        let mut shard = self.registry.shard(session.client_id()).lock();
        let Ok(returned) = session.detach(connection) else { return };
        let mut lifetime = session.lifetime();
        if !will {
            lifetime.will = None;
        }
        lifetime.expiry_s = expiry_s.unwrap_or(lifetime.expiry_s);
        let due = lifetime.leave(&self.calendar, session, now_ms);
        drop(lifetime);
        if due.ended {
            self.forget(&mut shard, session);
        }
        drop(shard);
        self.routes_moved(session);
        self.give_back(returned, publisher, now_ms);
        publisher.publish_later(due.will);
        if due.ended {
            let (_, will) = self.end_session(session, publisher, now_ms);
            publisher.publish_later(will);
        }
    }

    /// Ends sessions and brings up wills whose time has come.
    pub(crate) fn review_sessions(&self, publisher: &mut Publisher, now_ms: u64) {
        for session in self.calendar.due(now_ms) {
            let mut shard = self.registry.shard(session.client_id()).lock();
            if session.is_attached() {
                // It has come back in the meantime, and is no longer in the calendar.
                continue;
            }
            let due = session.lifetime().review(&self.calendar, &session, now_ms);
            if due.ended {
                self.forget(&mut shard, &session);
            }
            drop(shard);
            publisher.publish_later(due.will);
            if due.ended {
                let (_, will) = self.end_session(&session, publisher, now_ms);
                publisher.publish_later(will);
            }
        }
    }

    /// Routes name the connection of a session, so they are looked up anew when it changes.
    fn routes_moved(&self, session: &Session) {
        if session.has_subscriptions() {
            self.router.moved();
        }
    }

    /// Has topic queues with messages try a receiver that has room again.
    pub(crate) fn pump_sources(&self, session: &Session, publisher: &mut Publisher, now_ms: u64) {
        let (flush, waiting) = session.go_on(&mut publisher.turn(&self.limits, now_ms));
        if let Some(outbox) = flush {
            publisher.batch().touch(&outbox);
        }
        for queue in waiting {
            queue.pump_for(session, self, publisher, now_ms);
        }
    }

    fn forget(&self, shard: &mut HashSet<ByClientId, RandomState>, session: &Arc<Session>) {
        // A session that was discarded for a new one is not the one found there.
        let client_id = &**session.client_id();
        if shard.get(client_id).is_some_and(|found| Arc::ptr_eq(&found.0, session)) {
            shard.remove(client_id);
            self.registry.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Ends a session that is no longer in the registry, and returns the connection it had and its will, which is due now at
    /// the latest [MQTT-3.1.2-8].
    fn end_session(
        &self,
        session: &Arc<Session>,
        publisher: &mut Publisher,
        now_ms: u64,
    ) -> (Option<Arc<Outbox>>, Option<Box<Will>>) {
        let (returned, outbox) = session.end(self, &farewell);
        let mut lifetime = session.lifetime();
        let will = lifetime.will.take();
        lifetime.begin(&self.calendar, session, 0, None);
        drop(lifetime);
        self.give_back(returned, publisher, now_ms);
        (outbox, will)
    }

    /// Gives messages that were on loan back to their topic queues, in their order.
    fn give_back(&self, returned: Vec<Returned>, publisher: &mut Publisher, now_ms: u64) {
        let mut by_queue: BTreeMap<usize, (Arc<TopicQueue>, Vec<Queued>)> = BTreeMap::new();
        for (queue, queued) in returned {
            by_queue.entry(queue.index()).or_insert_with(|| (queue, Vec::new())).1.push(queued);
        }
        for (queue, queued) in by_queue.into_values() {
            queue.take_back(queued, self, publisher, now_ms);
        }
    }
}

/// What the old connection of a session that was taken over is told [MQTT-3.1.4-3].
fn farewell(outbox: &Outbox) -> Vec<u8> {
    let mut packet = Vec::new();
    if outbox.receiver().format == WireFormat::V5 {
        let disconnect = Disconnect { code: ReasonCode::SessionTakenOver, properties: Properties::EMPTY };
        let written = disconnect.encode(WireFormat::V5.version(), &mut packet);
        debug_assert!(written.is_ok(), "a DISCONNECT without properties can be encoded");
    }
    packet
}
