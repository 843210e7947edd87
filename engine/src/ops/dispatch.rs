//! Steps 5 and 6 of the path of a message, for one worker. In: a PUBLISH. Out: the message in the batch, for each of
//! its receivers.
//!
//! A message is staged for all its receivers or for none. If a receiver is full the message is not accepted, and the
//! caller gets the capacity to wait for. It stops reading that sender and retries later with the same bytes.
//!
//! ```text
//!              QoS 0, to a connected client           -> batch: the bytes as they came, to its outbox
//!   PUBLISH -> QoS 1 and 2                            -> deliveries: one shared message, to its session
//!              topic queue, shared subscription group -> queued: the same message, to the queue
//! ```

pub(crate) mod forms;
mod own;
mod queues;
mod routed;
mod staging;
mod stored;

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use wisp_wire::{Packet, Publish, QoS, ReasonCode, decode};

use self::forms::Received;
pub(crate) use self::routed::Routed;
use self::staging::Staging;
use self::stored::{SharedMessage, is_stored};
use crate::base::denials::DeniedUse;
use crate::base::reached::LimitName;
use crate::base::reserved::is_reserved;
use crate::delivery::addressed::{Delivery, DeliveryContext};
use crate::delivery::batch::{Batch, Staged};
use crate::delivery::bundles::Bundles;
use crate::delivery::loan::{DeadLetter, QueueInfo, Queued};
use crate::delivery::message::pool;
use crate::delivery::outbox::{ConnectionId, Outbox, WireFormat};
use crate::metrics::{Counters, StatsSnapshot};
use crate::ops::queues::queue_name;
use crate::ops::routes::{RESERVED, RouteCache};
use crate::state::retained::Retained;
use crate::state::session::{Gated, Session};
use crate::state::shared::Shared;
use crate::state::topic_queue::TopicQueue;
use crate::state::will::Will;
use crate::store::journal::Recorder;
use crate::store::{CommitState, Ticket};

/// How often memory is freed that was not used since. A burst after a shorter pause finds its memory.
const TRIM_MS: u64 = 2_000;

/// One worker's state for routing and delivering messages.
#[derive(Debug, Default)]
pub(crate) struct Dispatcher {
    /// The worker's index.
    worker: usize,
    cache: RouteCache,
    batch: Batch,
    deliveries: Bundles<Session, Delivery>,
    queued: Bundles<TopicQueue, Queued>,
    /// Queues with messages at QoS 0 for consumers that must read before they get more.
    watched: Vec<Arc<QueueInfo>>,
    /// Dead letters, still to be published to their queues.
    dead: Vec<DeadLetter>,
    /// Wills that are due and not yet published. They wait for capacity like any message.
    wills: VecDeque<Will>,
    /// The clients whose wills were published since the last transmission.
    published_wills: Vec<Arc<str>>,
    /// The connections of stuck receivers, to be closed, and their workers.
    stuck: Vec<(ConnectionId, usize)>,
    /// Connections whose outboxes must drain before their sessions send more, and their workers.
    refills: Vec<(ConnectionId, usize)>,
    /// Sessions with messages at QoS 2 that wait for the store, in the order of the tickets.
    gated: VecDeque<(Ticket, Arc<Session>)>,
    counts: StatsSnapshot,
    /// The counters to which they are moved once a batch.
    counters: Arc<Counters>,
    /// The sender of the messages that are routed now has waited too long in vain.
    is_impatient: bool,
    /// When memory that was not used is freed next.
    next_trim_ms: u64,
    /// Packets to push into an outbox; empty between calls.
    buffer: Vec<u8>,
}

impl Dispatcher {
    /// The state of a new worker.
    pub(crate) fn new(shared: &Shared, worker: usize) -> Self {
        Self { worker, counters: shared.new_counters(), ..Self::default() }
    }

    /// For changes of the objects that the store keeps.
    pub(crate) fn recorder<'a>(&self, shared: &'a Shared) -> Recorder<'a> {
        shared.journal.recorder(self.worker)
    }

    /// Stages `received` for all its receivers.
    pub(crate) fn publish(&mut self, shared: &Shared, received: &Received<'_>, now_ms: u64) -> Routed {
        let routed = self.route(shared, received, now_ms);
        if matches!(routed, Routed::Refused(code) if code != RESERVED)
            && (received.publish.qos == QoS::AtMostOnce || received.is_will)
        {
            self.counts.messages_dropped += 1;
        }
        routed
    }

    fn route(&mut self, shared: &Shared, received: &Received<'_>, now_ms: u64) -> Routed {
        let (recorder, is_durable) = (self.recorder(shared), shared.journal.is_durable());
        let mut route = match self.cache.lookup(shared, received.topic) {
            Ok(route) => route,
            Err(unroutable) => {
                if let Some(limit) = unroutable.limit() {
                    shared.reached.note(limit, Some(received.client_id));
                }
                return Routed::Refused(unroutable.reason_code());
            }
        };
        let staging = Staging {
            batch: &mut self.batch,
            deliveries: &mut self.deliveries,
            queued: &mut self.queued,
            stuck: &mut self.stuck,
            is_patient: !self.is_impatient,
        };
        if let Some(obstacle) = staging.obstacle(route, received, now_ms) {
            if let Routed::Refused(_) = obstacle {
                shared.reached.note(LimitName::QueueBytes, Some(received.client_id));
            }
            return obstacle;
        }
        if is_durable && !recorder.admits(now_ms) && is_stored(route, received) {
            return self.without_room(shared, received, now_ms);
        }
        let mut stored = SharedMessage::new(received, now_ms);
        if received.publish.retain && queue_name(received.topic.as_str()).is_none() {
            // Another client may just have removed the message that this one removes or replaces.
            recorder.await_earlier();
            let sender = Some(Arc::clone(received.client_id));
            let retained = Retained { message: stored.share(false), sender, key: None };
            if let Err(full) = shared.retained.store(retained, &shared.limits, recorder) {
                shared.reached.note(full.limit(), Some(received.client_id));
                if received.publish.qos != QoS::AtMostOnce && received.format == WireFormat::V5 {
                    return Routed::Refused(ReasonCode::QuotaExceeded);
                }
                // The message is delivered but not retained. The topic's older retained message is removed, since it is
                // outdated [MQTT-3.3.1-5].
                shared.retained.remove(received.topic.as_str(), recorder);
                self.counts.retained_refused += 1;
            }
            // A client may have subscribed since the look-up, and been sent the retained message before this one.
            match self.cache.lookup_again(shared, received.topic) {
                Ok(fresh) => route = fresh,
                Err(unroutable) => return Routed::Refused(unroutable.reason_code()),
            }
        }
        self.counts.messages_received += 1;
        self.counts.payload_bytes_received += received.publish.payload.len() as u64;
        // Without a durable store there is nothing to drop, and so no look at it for each message.
        let mut kept = ManuallyDrop::new(None);
        let reached = staging.stage(route, &mut stored, (&mut kept, recorder), &shared.limits, &mut self.counts);
        if let Some(group) = reached.lagging_group {
            shared.reached.note(LimitName::StallMs, Some(&group.name));
        }
        let acknowledged = received.publish.qos != QoS::AtMostOnce;
        if reached.matched && !reached.taken && acknowledged && received.format == WireFormat::V5 {
            // The message is already counted as dropped. Only MQTT 5 has a reason code for it; a client of MQTT 3 stays
            // connected, since the fault is its receivers'.
            return Routed::Refused(ReasonCode::QuotaExceeded);
        }
        if is_durable {
            stored.record(ManuallyDrop::into_inner(kept), recorder);
        }
        Routed::Done(reached.matched)
    }

    /// The store takes no more. The sender waits for a time. Then the message is refused if the sender can be told so, and dropped if
    /// nobody waits for an acknowledgement. Other senders wait until the worker ends their connections.
    #[cold]
    fn without_room(&mut self, shared: &Shared, received: &Received<'_>, now_ms: u64) -> Routed {
        let awaits_answer = received.publish.qos != QoS::AtMostOnce && !received.is_will;
        let can_refuse = !awaits_answer || received.format == WireFormat::V5;
        if !can_refuse || !shared.journal.is_full_longer_than(shared.limits.queue_stall_ms_max, now_ms) {
            return Routed::Blocked(None);
        }
        self.counts.store_refusals += 1;
        self.counts.messages_dropped += u64::from(!awaits_answer);
        shared.reached.note(LimitName::DataDir, Some(received.client_id));
        Routed::StoreFull
    }

    /// Calls `transmit` for each receiver that is marked for flush, with the messages at QoS 0 staged for it.
    pub(crate) fn drain(&mut self, scratch: &[u8], transmit: impl FnMut(Staged<'_>)) {
        self.batch.drain(scratch, transmit);
    }

    /// Whether the staged messages should be delivered before more are staged.
    pub(crate) fn needs_flush(&self) -> bool {
        const STORED_BYTES_MAX: usize = 4 * 1024 * 1024;
        self.batch.needs_flush() || self.deliveries.bytes() + self.queued.bytes() >= STORED_BYTES_MAX
    }

    /// Whether the staged messages make small sends.
    pub(crate) fn sends_are_small(&self) -> bool {
        self.batch.sends_are_small(self.deliveries.receivers(), self.deliveries.bytes())
    }

    /// The per-call context passed to sessions and queues.
    pub(crate) fn context<'a>(&'a mut self, shared: &'a Shared, now_ms: u64) -> DeliveryContext<'a> {
        debug_assert!(self.buffer.is_empty(), "each call empties it");
        DeliveryContext {
            limits: &shared.limits,
            now_ms,
            recorder: shared.journal.recorder(self.worker),
            buffer: &mut self.buffer,
            batch: &mut self.batch,
            counts: &mut self.counts,
            watched: &mut self.watched,
            dead: &mut self.dead,
            refills: &mut self.refills,
        }
    }

    /// Sets whether the sender of the next messages waits for receivers that have not shown that they keep up.
    pub(crate) fn set_patient(&mut self, is_patient: bool) {
        self.is_impatient = !is_patient;
    }

    /// Marks a receiver for flush.
    pub(crate) fn mark_for_flush(&mut self, outbox: &Arc<Outbox>) {
        self.batch.mark_for_flush(outbox);
    }

    /// Delivers the staged messages at QoS 1 and 2 to their sessions, and the ones for queues to their queues.
    /// Receivers are marked for flush.
    pub(crate) fn flush_staged(&mut self, shared: &Shared, now_ms: u64) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        deliveries.drain(|session, items| {
            let dropped = self.counts.messages_dropped;
            let ticket = session.deliver(items, &mut self.context(shared, now_ms));
            // Left if the session has just ended.
            self.recorder(shared).delete_all(items.iter().filter_map(Delivery::key));
            self.resume_after(ticket, session);
            if self.counts.messages_dropped > dropped && !session.is_attached() {
                shared.reached.note(LimitName::QueueBytes, Some(session.client_id()));
            }
        });
        self.deliveries = deliveries;
        self.publish_dead_letters(shared);
        // Delivering dead letters can produce more; the chain is bounded because a queue cannot be its own dead-letter
        // queue.
        while self.queued.bytes() > 0 {
            let mut queued = std::mem::take(&mut self.queued);
            queued.drain(|queue, items| {
                let gated = queue.push(items, &mut self.context(shared, now_ms));
                self.resume_all_after(gated);
                // Messages are left if the queue is gone.
                items.drain(..).for_each(|queued| self.requeue(shared, queue, queued));
            });
            self.publish_dead_letters(shared);
            if self.queued.bytes() == 0 {
                // The empty bundles keep their tables for the next batch.
                self.queued = queued;
            }
        }
    }

    /// Has a session send more when a ticket is committed.
    pub(crate) fn resume_after(&mut self, ticket: Option<Ticket>, session: &Arc<Session>) {
        self.gated.extend(ticket.map(|ticket| (ticket, Arc::clone(session))));
    }

    /// The same for sessions that have taken messages of a queue.
    pub(crate) fn resume_all_after(&mut self, gated: Gated) {
        self.gated.extend(gated);
    }

    /// The next session whose messages the store has committed.
    pub(crate) fn next_committed(&mut self, shared: &Shared) -> Option<Arc<Session>> {
        let (ticket, _) = self.gated.front()?;
        if shared.journal.recorder(self.worker).state(*ticket) == CommitState::Pending {
            return None;
        }
        self.gated.pop_front().map(|(_, session)| session)
    }

    /// Queues a will, which is published as soon as its receivers have capacity. Until it is delivered, the client's next
    /// connection waits.
    pub(crate) fn publish_later(&mut self, shared: &Shared, will: Option<Box<Will>>) {
        if let Some(will) = will {
            shared.due_wills.add(&will.client_id);
            self.wills.push_back(*will);
        }
    }

    /// Records that the wills published so far were delivered.
    pub(crate) fn finish_wills(&mut self, shared: &Shared) {
        self.published_wills.drain(..).for_each(|client_id| shared.due_wills.remove(&client_id));
    }

    /// Whether the worker must retry soon even if no event arrives.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.wills.is_empty() || !self.watched.is_empty() || !self.gated.is_empty()
    }

    /// Publishes the waiting wills that fit, and offers the messages of watched queues again.
    pub(crate) fn retry_waiting(&mut self, shared: &Shared, now_ms: u64) {
        // Very many wills may wait for the same receiver.
        const WILLS_A_TURN: usize = 64;
        self.set_patient(true);
        for _ in 0..self.wills.len().min(WILLS_A_TURN) {
            let Some(will) = self.wills.pop_front() else { break };
            match self.publish_will(shared, &will, now_ms) {
                Routed::Blocked(_) => self.wills.push_back(will),
                Routed::Done(_) | Routed::Refused(_) | Routed::StoreFull => {
                    self.published_wills.push(Arc::clone(&will.client_id));
                }
            }
        }
        while let Some(session) = self.next_committed(shared) {
            shared.resume_session(&session, self, now_ms);
        }
        for info in std::mem::take(&mut self.watched) {
            info.end_watch();
            if let Some(queue) = shared.queues.find(&info) {
                let gated = queue.pump(&mut self.context(shared, now_ms));
                self.resume_all_after(gated);
            }
        }
    }

    /// Stages a will like a message that its client has just sent.
    fn publish_will(&mut self, shared: &Shared, will: &Will, now_ms: u64) -> Routed {
        let decoded = decode(&will.packet, will.version, u32::MAX);
        let Ok(Some((Packet::Publish(publish @ Publish { topic: Some(topic), .. }), _))) = decoded else {
            debug_assert!(false, "an encoded will can be decoded");
            return Routed::Done(false);
        };
        let rights = will.rights.as_ref();
        let is_denied = rights.is_some_and(|rights| !rights.may_publish(topic.as_str()));
        if is_denied || is_reserved(topic) {
            self.counts.publishes_denied += 1;
            let denied = if is_reserved(topic) { DeniedUse::Reserved } else { DeniedUse::Will };
            let user = rights.and_then(|rights| rights.user());
            shared.denials.note(denied, &will.client_id, user, topic.as_str());
            return Routed::Refused(RESERVED);
        }
        let received = Received {
            publish,
            topic,
            raw: &will.packet,
            in_scratch: None,
            format: will.version.into(),
            client_id: &will.client_id,
            is_will: true,
            incoming: None,
        };
        self.publish(shared, &received, now_ms)
    }

    /// Stuck connections found since the last call, to be ended with [`EndReason::Stuck`](crate::EndReason::Stuck), and
    /// their workers.
    pub(crate) fn take_stuck(&mut self) -> Vec<(ConnectionId, usize)> {
        // Each message adds its stuck receivers again.
        let mut stuck = std::mem::take(&mut self.stuck);
        stuck.sort_unstable();
        stuck.dedup();
        stuck
    }

    /// Connections found since the last call whose outboxes must drain before their sessions send more, and their workers.
    pub(crate) fn take_refills(&mut self) -> Vec<(ConnectionId, usize)> {
        std::mem::take(&mut self.refills)
    }

    /// This worker's counts since they were last added to its counters.
    pub(crate) fn counts(&mut self) -> &mut StatsSnapshot {
        &mut self.counts
    }

    /// The messages that this worker has received.
    pub(crate) fn messages_received(&self) -> u64 {
        self.counters.messages_received() + self.counts.messages_received
    }

    /// Pushes the staged messages at QoS 0 to their outboxes. The receivers stay marked for flush.
    pub(crate) fn push_batch(&mut self, scratch: &[u8]) {
        self.batch.push_all(scratch);
    }

    /// Adds this worker's counts since the last call to its counters.
    pub(crate) fn flush_counters(&mut self) {
        self.counters.take_from(&mut self.counts);
    }

    /// Whether memory is kept for the next messages, which [`Dispatcher::evict_stale`] frees in time.
    pub(crate) fn keeps_memory(&self) -> bool {
        !pool::is_empty()
    }

    /// Drops cached routes that are outdated, and memory that was not used for a while. Every worker calls this regularly.
    pub(crate) fn evict_stale(&mut self, shared: &Shared, now_ms: u64) {
        self.cache.evict_stale(&shared.tree);
        if now_ms >= self.next_trim_ms {
            self.next_trim_ms = now_ms + TRIM_MS;
            pool::trim(shared.limits.pool_bytes_max());
        }
    }
}
