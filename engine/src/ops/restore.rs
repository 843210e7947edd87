//! The state that the store has kept, taken up at the start. Each object is looked at once, in the order in which it was first put, so
//! sessions and messages come before the objects that name them.

mod queues;

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::HashMap;
use wisp_wire::{PacketId, TopicFilter};

use crate::base::denials::DeniedUse;
use crate::delivery::addressed::Delivery;
use crate::delivery::bundles::Indexed;
use crate::delivery::loan::{ConsumerOptions, Queued};
use crate::delivery::message::Message;
use crate::ops::sessions::{record_end, record_session};
use crate::ops::subscriptions::FilterKind;
use crate::policy::Rights;
use crate::state::retained::Retained;
use crate::state::session::inflight::Place;
use crate::state::session::{Session, Subscription};
use crate::state::shared::{Restoration, Shared};
use crate::state::will::Will;
use crate::store::journal::Recorder;
use crate::store::key::incoming_key;
use crate::store::{BadObject, Key, Object, ObjectFault, Restored, WaitingState, WillObject};

/// A session, and the parts of it that are taken up when all are known.
struct RestoredSession {
    session: Arc<Session>,
    inflight: Vec<(PacketId, Place)>,
    unreleased: Vec<PacketId>,
}

/// A message in a queue, and the session that had it on loan.
struct RestoredQueued {
    queued: Queued,
    loan: Option<RestoredLoan>,
}

struct RestoredLoan {
    session: Option<Key>,
    packet_id: PacketId,
    retain: bool,
    options: ConsumerOptions,
}

/// The work at hand.
struct Restoring<'a> {
    shared: &'a Shared,
    recorder: Recorder<'a>,
    sessions: HashMap<Key, RestoredSession>,
    /// The messages, and whether a session waits for them or a queue has them.
    messages: HashMap<Key, (Message, bool)>,
    /// The messages of each queue and group, to be taken up when all sessions and groups are known.
    queued: BTreeMap<Box<str>, Vec<RestoredQueued>>,
    done: Restoration,
}

/// The fate of an object.
enum Taken {
    /// It is part of the state.
    Kept,
    /// Something that it needs is not there.
    Dropped,
    /// It contradicts the others.
    Illegal(&'static str),
}

impl Shared {
    pub(crate) fn restore_objects(
        &self,
        objects: impl Iterator<Item = Restored<impl AsRef<[u8]>>>,
    ) -> Result<Restoration, BadObject> {
        let (recorder, done) = (self.journal.recorder(0), Restoration::default());
        let (sessions, messages, queued) = Default::default();
        let mut restoring = Restoring { shared: self, recorder, sessions, messages, queued, done };
        for object in objects {
            restoring.take(object.key, object.kind, object.body.as_ref())?;
        }
        Ok(restoring.finish())
    }
}

impl Restoring<'_> {
    fn take(&mut self, key: Key, kind: u8, body: &[u8]) -> Result<(), BadObject> {
        let object = Object::decode(key, kind, body)?;
        self.shared.journal.skip_keys(key, matches!(object, Object::Session { .. }));
        let taken = match object {
            Object::Session { client_id, expiry_s, away_since_ms, user, will } => {
                self.take_session(key, client_id, (expiry_s, away_since_ms), (user, will))
            }
            Object::Subscription { session, filter, options, id } => {
                self.take_subscription(key, session, filter, Subscription { options, id })
            }
            Object::Message(message) => {
                self.messages.insert(key, (Message::restored(&message, Some(key), self.recorder), false));
                Taken::Kept
            }
            Object::Waiting { .. } => self.take_waiting(key, &object),
            Object::Queued { queue, message, deliveries, loan } => {
                self.take_queued(key, queue, (message, deliveries), loan)
            }
            Object::Incoming { session, packet_id } if key == incoming_key(session, packet_id) => {
                self.sessions.get_mut(&session).map_or(Taken::Dropped, |restored| {
                    restored.unreleased.push(packet_id);
                    Taken::Kept
                })
            }
            Object::Incoming { .. } => Taken::Illegal("key"),
            Object::Retained { sender, message } => {
                let message = Message::restored(&message, None, self.recorder);
                self.shared.retained.restore(Retained { message, sender: Some(sender.into()), key: Some(key) });
                Taken::Kept
            }
        };
        match taken {
            Taken::Kept => {}
            Taken::Dropped => self.drop_object(key),
            Taken::Illegal(what) => return Err(BadObject { key, kind, fault: ObjectFault::Illegal(what) }),
        }
        Ok(())
    }

    fn drop_object(&mut self, key: Key) {
        self.done.objects_dropped += 1;
        self.recorder.delete(key);
    }

    fn take_session(
        &mut self,
        key: Key,
        client_id: &str,
        (expiry_s, away_since_ms): (u32, Option<u64>),
        (user, will): (Option<&str>, Option<WillObject<'_>>),
    ) -> Taken {
        let Self { shared, recorder, .. } = *self;
        let earlier = shared.registry.shard(client_id).get(client_id);
        if let Some(earlier) = earlier {
            // The broker ended while one session of the client followed another.
            self.discard(&earlier);
        }
        let slot = shared.receiver_slots.take();
        let session = Arc::new(Session::new((client_id, Some(key)), &shared.session_limits, slot));
        shared.registry.shard(client_id).insert(&session);
        let rights = shared.grants_rights.then(|| shared.policy.restored_rights(client_id, user)).flatten();
        let will = will.and_then(|will| self.restored_will(&will, (&session, user), rights.as_ref()));
        if let Some(rights) = rights {
            session.outgoing().restore_rights(rights);
        }
        // A client that was connected is away from now on.
        let since_ms = away_since_ms.unwrap_or_else(|| recorder.to_unix_ms(0));
        let at_ms = |seconds: u32| recorder.engine_ms(since_ms.saturating_add(u64::from(seconds) * 1000));
        let mut lifetime = session.lifetime();
        lifetime.restore(&shared.timers, (session.index(), &session), (expiry_s, will), at_ms);
        shared.registry.count_kept(&mut lifetime);
        if away_since_ms.is_none() {
            record_session(&session, &mut lifetime, user, recorder);
        }
        drop(lifetime);
        self.sessions.insert(key, RestoredSession { session, inflight: Vec::new(), unreleased: Vec::new() });
        self.done.sessions += 1;
        Taken::Kept
    }

    /// The will, unless the client's rights are unknown.
    fn restored_will(
        &self,
        will: &WillObject<'_>,
        (session, user): (&Session, Option<&str>),
        rights: Option<&Arc<dyn Rights>>,
    ) -> Option<Box<Will>> {
        let Self { shared, .. } = *self;
        let client_id = session.client_id();
        if shared.grants_rights && rights.is_none() {
            shared.count_denied_will();
            let topic = will.topic().map_or("", |topic| topic.as_str());
            shared.denials.note(DeniedUse::Will, client_id, user, topic);
            return None;
        }
        Some(Box::new(Will::restored(will, Arc::clone(client_id), rights.cloned(), &shared.stored)))
    }

    /// Drops a session and everything that belongs to it.
    fn discard(&mut self, session: &Arc<Session>) {
        let Self { shared, recorder, .. } = *self;
        shared.registry.shard(session.client_id()).remove(session);
        record_end(session, recorder);
        let ended = session.end(&|_| Vec::new(), recorder);
        ended.filters.iter().for_each(|(filter, _)| shared.remove_subscription(filter, session, recorder, 0));
        let mut lifetime = session.lifetime();
        lifetime.begin(&shared.timers, session.index(), 0, None);
        shared.registry.count_kept(&mut lifetime);
        drop(lifetime);
        self.done.sessions -= 1;
        self.done.objects_dropped += 1 + ended.filters.len() as u64;
        let restored = session.key().and_then(|key| Some((key, self.sessions.remove(&key)?)));
        if let Some((key, RestoredSession { inflight, unreleased, .. })) = restored {
            let unreleased = unreleased.into_iter().map(|id| incoming_key(key, id));
            let keys: Vec<Key> = inflight.iter().filter_map(|(_, place)| place.key()).chain(unreleased).collect();
            keys.into_iter().for_each(|key| self.drop_object(key));
        }
    }

    fn take_subscription(&mut self, key: Key, session: Key, filter: &str, wanted: Subscription) -> Taken {
        let Some(RestoredSession { session, .. }) = self.sessions.get(&session) else { return Taken::Dropped };
        let kind = TopicFilter::new(filter).ok().and_then(FilterKind::of);
        let Some(kind) = kind else { return Taken::Illegal("filter") };
        if session.subscriptions().contains(filter) {
            return Taken::Illegal("filter");
        }
        if !matches!(kind, FilterKind::Plain(_)) {
            // However many there are.
            self.shared.queues.restore(filter);
        }
        if self.shared.add_subscription((filter, kind), session, wanted).is_err() {
            return Taken::Dropped;
        }
        self.shared.charge_subscription(filter, kind);
        session.subscriptions().insert(filter, Some(key));
        self.done.subscriptions += 1;
        Taken::Kept
    }

    fn take_waiting(&mut self, key: Key, object: &Object<'_>) -> Taken {
        let Object::Waiting { session, message, qos, retain, subscription_ids, state } = object else {
            return Taken::Illegal("kind");
        };
        let Some(restored) = self.sessions.get_mut(session) else { return Taken::Dropped };
        let Some(message) = message else {
            if let WaitingState::Released(id) = state {
                restored.inflight.push((*id, Place::Released(Some(key))));
            }
            return Taken::Kept;
        };
        let Some((message, is_used)) = self.messages.get_mut(message) else { return Taken::Dropped };
        let Some(ordinal) = ordinal_of(key, message) else { return Taken::Illegal("key") };
        *is_used = true;
        let ids = (!subscription_ids.is_empty()).then(|| Arc::from(&**subscription_ids));
        let mut delivery = Delivery::new(message.clone(), *qos, *retain, ids);
        delivery.set_ordinal(ordinal);
        match state {
            WaitingState::Pending => {
                let session = &restored.session;
                session.outgoing().restore_pending(delivery, session.capacity());
            }
            WaitingState::Sent(id) | WaitingState::Released(id) => {
                restored.inflight.push((*id, Place::Sent(delivery)));
            }
        }
        self.done.messages += 1;
        Taken::Kept
    }

    fn finish(mut self) -> Restoration {
        self.finish_queues();
        let unused = self.messages.drain().filter_map(|(key, (_, is_used))| (!is_used).then_some(key));
        let mut dropped: Vec<Key> = unused.collect();
        for (_, RestoredSession { session, mut inflight, unreleased }) in self.sessions.drain() {
            inflight.sort_by_key(|(id, _)| id.get());
            inflight.dedup_by(|(later, place), (first, _)| {
                let is_twice = later == first;
                dropped.extend(place.key().filter(|_| is_twice));
                is_twice
            });
            let start_ms = self.recorder.to_unix_ms(0);
            session.outgoing().restore_inflight(inflight, session.capacity(), start_ms);
            session.restore(unreleased.into_iter(), &self.shared.stored);
        }
        dropped.into_iter().for_each(|key| self.drop_object(key));
        let (retained, retained_bytes) = self.shared.retained.size();
        self.done.retained = retained as u64;
        let limits = &self.shared.limits;
        let above = [
            ("sessions-max", self.done.sessions, u64::from(limits.sessions_count_max)),
            (
                "topic-queues-max",
                self.shared.queues.len_unconfigured() as u64,
                u64::from(limits.topic_queues_count_max),
            ),
            ("retained-max", retained as u64, u64::from(limits.retained_count_max)),
            ("retained-bytes-max", retained_bytes as u64, limits.retained_bytes_max as u64),
            ("stored-bytes-max", self.shared.stored.used_bytes() as u64, limits.stored_bytes_max as u64),
            (
                "subscription-bytes-max",
                self.shared.subscriptions.used_bytes() as u64,
                limits.subscription_bytes_max as u64,
            ),
        ];
        let above = above.into_iter().filter(|(_, restored, limit)| restored > limit);
        self.done.above_limits = above.map(|(name, restored, _)| (name, restored)).collect();
        self.done
    }
}

/// The key of an object less that of its message, as memory has it.
fn ordinal_of(key: Key, message: &Message) -> Option<u32> {
    let ordinal = key.get().checked_sub(message.key()?.get())?;
    u32::try_from(ordinal).ok().filter(|ordinal| *ordinal > 0)
}
