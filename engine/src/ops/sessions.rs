//! How a session begins, changes connections and ends.

use std::sync::Arc;

use wisp_wire::{Disconnect, Properties, ReasonCode, TopicFilter};

use crate::base::spent::Receiver;
use crate::delivery::bundles::Indexed;
use crate::delivery::outbox::{Outbox, WireFormat};
use crate::ops::dispatch::Dispatcher;
use crate::ops::subscriptions::FilterKind;
use crate::policy::Rights;
use crate::state::registry::Shard;
use crate::state::session::Session;
use crate::state::shared::Shared;
use crate::state::timers::Lifetime;
use crate::state::will::Will;
use crate::store::Object;
use crate::store::journal::Recorder;

/// A valid CONNECT.
pub(crate) struct AttachRequest<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) clean_start: bool,
    pub(crate) outbox: &'a Arc<Outbox>,
    /// The most unacknowledged messages.
    pub(crate) window: u16,
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<Box<Will>>,
    /// The client's rights, if the policy gives any.
    pub(crate) rights: Option<&'a Arc<dyn Rights>>,
    /// Receives the clients whose sessions are ended for the new one.
    pub(crate) evicted: &'a mut Vec<Arc<str>>,
}

/// A session that is attached to the connection.
pub(crate) struct Attached {
    pub(crate) session: Arc<Session>,
    /// The connection that lost its session to this one, to be flushed and closed.
    pub(crate) taken_over: Option<Arc<Outbox>>,
    /// The will of that connection, to be published after its last messages.
    pub(crate) previous_will: Option<Box<Will>>,
    /// The client learns of it when the store has committed it: its outbox is held until then.
    pub(crate) waits_for_store: bool,
}

/// The session of a client that connects, with the lock under which it was found.
struct Found<'a> {
    shard: Shard<'a>,
    /// A session to resume.
    present: Option<Arc<Session>>,
    /// A session to end.
    discarded: Option<Arc<Session>>,
}

/// The limit on sessions is reached.
pub(crate) struct TooManySessions;

impl Shared {
    /// Attaches the client's session, or a new one [MQTT-3.1.2-4, MQTT-3.1.2-5], and ends a present session that the
    /// client does not resume. `connack` writes the first packet; its argument is the Session Present flag.
    pub(crate) fn attach_session(
        &self,
        mut request: AttachRequest<'_>,
        dispatcher: &mut Dispatcher,
        now_ms: u64,
        connack: impl FnOnce(bool) -> Vec<u8>,
    ) -> Result<Attached, TooManySessions> {
        let Found { mut shard, present, discarded } = self.find_session(&mut request, dispatcher, now_ms)?;
        let connack = connack(present.is_some());
        let recorder = dispatcher.recorder(self);
        let session = present.clone().unwrap_or_else(|| {
            let slot = self.receiver_slots.take();
            let key = (recorder.is_durable() && request.expiry_s > 0).then(|| recorder.new_session_key());
            let session = Arc::new(Session::new((request.client_id, key), &self.session_limits, slot));
            if let Some(discarded) = &discarded {
                self.spent.remember(Receiver::Session(request.client_id), discarded.capacity(), now_ms);
                record_end(discarded, recorder);
            }
            self.spent.restore(Receiver::Session(request.client_id), session.capacity());
            shard.insert(&session);
            session
        });
        let was_kept = discarded.as_ref().is_some_and(|discarded| discarded.key().is_some());
        let waits_for_store = was_kept || session.key().is_some();
        if waits_for_store {
            request.outbox.hold();
        }
        let mut context = dispatcher.context(self, now_ms);
        // Before the session sends again what an earlier client, perhaps of another user, has not acknowledged.
        let returned = session.set_rights(request.rights, &mut context);
        let (mut taken_over, ticket) =
            session.attach(request.outbox, request.window, (&connack, &final_packet), &mut context);
        dispatcher.resume_after(ticket, &session);
        let mut lifetime = session.lifetime();
        let mut previous_will = lifetime.will.take().filter(|will| taken_over.is_some() && will.delay_s() == 0);
        lifetime.begin(&self.timers, session.index(), request.expiry_s, request.will);
        self.registry.count_kept(&mut lifetime);
        let user = request.rights.and_then(|rights| rights.user());
        record_session(&session, &mut lifetime, user, recorder);
        drop(lifetime);
        drop(shard);
        if let Some(discarded) = discarded {
            (taken_over, previous_will) = self.end_session(&discarded, dispatcher, now_ms);
        }
        if let Some(old) = &taken_over {
            self.spent.remember(Receiver::Connection(request.client_id), old.capacity(), now_ms);
        } else {
            dispatcher.publish_later(self, previous_will.take());
        }
        self.spent.restore(Receiver::Connection(request.client_id), request.outbox.capacity());
        if present.is_some() {
            self.return_loans(returned, dispatcher, now_ms);
            self.invalidate_routes(&session);
            self.rejoin_queues(&session);
            self.resume_session(&session, dispatcher, now_ms);
        }
        dispatcher.mark_for_flush(request.outbox);
        if let Some(old) = &taken_over {
            dispatcher.mark_for_flush(old);
        }
        Ok(Attached { session, taken_over, previous_will, waits_for_store })
    }

    /// Looks the client's session up. If it needs a new one that is kept, and there are as many as allowed, the session
    /// of a client that is away is ended.
    fn find_session(
        &self,
        request: &mut AttachRequest<'_>,
        dispatcher: &mut Dispatcher,
        now_ms: u64,
    ) -> Result<Found<'_>, TooManySessions> {
        loop {
            let shard = self.registry.shard(request.client_id);
            let found = shard.get(request.client_id);
            let (is_kept, is_counted) = found.as_ref().map_or((false, false), |found| {
                let lifetime = found.lifetime();
                // One that was restored may have expired before the first timers ran.
                (lifetime.expiry_s > 0 && !lifetime.is_over(now_ms), lifetime.is_counted)
            });
            let adds_one = request.expiry_s > 0 && !is_counted;
            if !adds_one || self.registry.kept() < self.limits.sessions_count_max as usize {
                // A session that ends with its connection is not resumed [MQTT-3.1.2-6].
                let resumes = is_kept && !request.clean_start;
                let (present, discarded) = if resumes { (found, None) } else { (None, found) };
                return Ok(Found { shard, present, discarded });
            }
            drop(shard);
            request.evicted.push(self.evict_session(dispatcher, now_ms).ok_or(TooManySessions)?);
        }
    }

    /// Detaches the session from the connection of `outbox`, which has ended. The session ends too if its expiry interval is 0. `will`
    /// says whether the will is published; `expiry_s` replaces the expiry interval of CONNECT.
    pub(crate) fn detach_session(
        &self,
        session: &Arc<Session>,
        outbox: &Outbox,
        (will, expiry_s): (bool, Option<u32>),
        dispatcher: &mut Dispatcher,
        now_ms: u64,
    ) {
        let mut shard = self.registry.shard(session.client_id());
        let recorder = dispatcher.recorder(self);
        let Ok(returned) = session.detach(outbox.connection(), now_ms, recorder) else { return };
        let user = if session.key().is_some() { session.user() } else { None };
        self.spent.remember(Receiver::Connection(session.client_id()), outbox.capacity(), now_ms);
        let mut lifetime = session.lifetime();
        if !will {
            lifetime.will = None;
        }
        lifetime.expiry_s = expiry_s.unwrap_or(lifetime.expiry_s);
        self.registry.count_kept(&mut lifetime);
        let due = lifetime.leave(&self.timers, (session.index(), session), now_ms);
        if !due.ended && session.key().is_some() {
            record_session(session, &mut lifetime, user.as_deref(), dispatcher.recorder(self));
        }
        drop(lifetime);
        if due.ended {
            self.spent.remember(Receiver::Session(session.client_id()), session.capacity(), now_ms);
            shard.remove(session);
            record_end(session, dispatcher.recorder(self));
        }
        // While the shard is locked, so that the client cannot be back before its will is noted.
        dispatcher.publish_later(self, due.will);
        drop(shard);
        self.invalidate_routes(session);
        self.return_loans(returned, dispatcher, now_ms);
        if due.ended {
            let (_, will) = self.end_session(session, dispatcher, now_ms);
            dispatcher.publish_later(self, will);
        }
    }

    /// Ends sessions and publishes wills that are due. False if none were.
    pub(crate) fn expire_sessions(&self, dispatcher: &mut Dispatcher, now_ms: u64) -> bool {
        let due = self.timers.due(now_ms);
        let any = !due.is_empty();
        for session in due {
            let mut shard = self.registry.shard(session.client_id());
            if session.is_attached() {
                // The client has reconnected meanwhile, which has removed the timer.
                continue;
            }
            let user = if session.key().is_some() { session.user() } else { None };
            let mut lifetime = session.lifetime();
            let due = lifetime.expire(&self.timers, (session.index(), &session), now_ms);
            if !due.ended && due.will.is_some() {
                record_session(&session, &mut lifetime, user.as_deref(), dispatcher.recorder(self));
            }
            drop(lifetime);
            if due.ended {
                shard.remove(&session);
                record_end(&session, dispatcher.recorder(self));
                dispatcher.counts().sessions_expired += 1;
            }
            dispatcher.publish_later(self, due.will);
            drop(shard);
            if due.ended {
                let (_, will) = self.end_session(&session, dispatcher, now_ms);
                dispatcher.publish_later(self, will);
            }
        }
        any
    }

    /// Sends the messages that a session's window admits after acknowledgements, and offers it the messages of its
    /// queues.
    pub(crate) fn resume_session(&self, session: &Arc<Session>, dispatcher: &mut Dispatcher, now_ms: u64) {
        let mut context = dispatcher.context(self, now_ms);
        let (queues, mut ticket) = session.resume(&mut context);
        for info in queues {
            if let Some(queue) = self.queues.find(&info) {
                ticket = queue.pump_for(session, &mut context).or(ticket);
            }
        }
        dispatcher.resume_after(ticket, session);
    }

    /// Has routes resolved again, since they name the connection of a session.
    fn invalidate_routes(&self, session: &Session) {
        // With very many filters this would take longer than resolving all topics.
        const FILTERS_MAX: usize = 256;
        let subscriptions = session.subscriptions();
        if subscriptions.len() > FILTERS_MAX {
            self.tree.invalidate_all();
            return;
        }
        for filter in subscriptions.filters() {
            let Ok(filter) = TopicFilter::new(filter) else { continue };
            match FilterKind::of(filter) {
                Some(FilterKind::Plain(filter)) => self.tree.invalidate(filter),
                // The routes of groups and queues do not name the connection, but depend on the rights of members.
                Some(FilterKind::Group(within)) if self.grants_rights => self.tree.invalidate(within),
                Some(FilterKind::Group(_) | FilterKind::Queue) | None => {}
            }
        }
    }

    /// Ends a session that is no longer in the registry. Returns its connection, and its will, which is due now at the
    /// latest [MQTT-3.1.2-8].
    pub(crate) fn end_session(
        &self,
        session: &Arc<Session>,
        dispatcher: &mut Dispatcher,
        now_ms: u64,
    ) -> (Option<Arc<Outbox>>, Option<Box<Will>>) {
        let recorder = dispatcher.recorder(self);
        let ended = session.end(&final_packet, recorder);
        ended.filters.iter().for_each(|(filter, _)| self.remove_subscription(filter, session, recorder, now_ms));
        let mut lifetime = session.lifetime();
        let will = lifetime.will.take();
        lifetime.begin(&self.timers, session.index(), 0, None);
        self.registry.count_kept(&mut lifetime);
        drop(lifetime);
        self.return_loans(ended.returned, dispatcher, now_ms);
        (ended.outbox, will)
    }
}

/// Appends the state of a session, or that the store does not keep it any more.
pub(crate) fn record_session(session: &Session, lifetime: &mut Lifetime, user: Option<&str>, recorder: Recorder<'_>) {
    let Some(key) = session.key() else { return };
    let was_recorded = std::mem::replace(&mut lifetime.is_recorded, lifetime.expiry_s > 0);
    if lifetime.is_recorded {
        let object = Object::Session {
            client_id: session.client_id(),
            expiry_s: lifetime.expiry_s,
            // 0 is for a connected client.
            away_since_ms: lifetime.left_ms().map(|left_ms| recorder.to_unix_ms(left_ms).max(1)),
            user,
            will: lifetime.will.as_ref().map(|will| will.as_object()),
        };
        recorder.put(key, object);
    } else if was_recorded {
        recorder.delete(key);
    }
}

/// Appends that a session has ended, while its shard of the registry is locked. Its subscriptions and messages are removed later, and are not
/// restored without it.
pub(crate) fn record_end(session: &Session, recorder: Recorder<'_>) {
    if let Some(key) = session.key()
        && std::mem::take(&mut session.lifetime().is_recorded)
    {
        recorder.delete(key);
    }
}

/// The last packet of a connection that loses its session [MQTT-3.1.4-3].
fn final_packet(outbox: &Outbox) -> Vec<u8> {
    let mut packet = Vec::new();
    if outbox.receiver().format == WireFormat::V5 {
        let disconnect = Disconnect { code: ReasonCode::SessionTakenOver, properties: Properties::EMPTY };
        let written = disconnect.encode(WireFormat::V5.version(), &mut packet);
        debug_assert!(written.is_ok(), "a DISCONNECT without properties can be encoded");
    }
    packet
}
