//! Where a message is staged: whether each of its receivers has room, and then its place in the tables.

use std::sync::Arc;

use wisp_wire::{QoS, ReasonCode};

use super::forms::{Forms, Received};
use super::routed::Routed;
use super::stored::{Kept, SharedMessage, deliver_at};
use crate::base::capacity::{Admission, Capacity};
use crate::base::limits::{Limits, StallPolicy};
use crate::delivery::addressed::Delivery;
use crate::delivery::batch::Batch;
use crate::delivery::bundles::Bundles;
use crate::delivery::loan::{QueueInfo, Queued};
use crate::delivery::outbox::{ConnectionId, WireFormat};
use crate::metrics::StatsSnapshot;
use crate::ops::routes::{Route, Target};
use crate::state::session::Session;
use crate::state::topic_queue::{FullPolicy, TopicQueue};
use crate::store::journal::Recorder;

/// The receivers that a message has reached.
pub(super) struct Reached<'r> {
    /// It has receivers.
    pub(super) matched: bool,
    /// It is staged for at least one of them.
    pub(super) taken: bool,
    /// A shared subscription group that does not keep up: the message is dropped for it.
    pub(super) lagging_group: Option<&'r QueueInfo>,
}

/// The tables in which messages are staged.
pub(super) struct Staging<'p> {
    pub(super) batch: &'p mut Batch,
    pub(super) deliveries: &'p mut Bundles<Session, Delivery>,
    pub(super) queued: &'p mut Bundles<TopicQueue, Queued>,
    pub(super) stuck: &'p mut Vec<(ConnectionId, usize)>,
    pub(super) is_patient: bool,
}

impl Staging<'_> {
    /// The reason why the message cannot be staged now. A receiver that is lagging or away is no reason.
    pub(super) fn obstacle(&self, route: &Route, received: &Received<'_>, now_ms: u64) -> Option<Routed> {
        let len = received.raw.len();
        // `admit` marks a queue as full, so it is called only for receivers that get the message.
        let asked = route.targets.iter().filter_map(|target| target.for_sender(received.client_id));
        // The sender itself is left out: its acknowledgements, which free its window, come behind this message.
        let is_acknowledged = |target: &Target| target.qos.min(received.publish.qos) != QoS::AtMostOnce;
        let asked = asked.filter(|target| !is_acknowledged(target) || target.session.client_id() != received.client_id);
        // All of them are asked, so that receivers that are full at the same time hold their senders back at the same
        // time, and not one after another.
        let mut blocking = None;
        for target in asked {
            let Some(outbox) = &target.outbox else { continue };
            let (capacity, (bytes, messages)) = match target.qos.min(received.publish.qos) {
                QoS::AtMostOnce => (outbox.capacity(), self.batch.staged_for(outbox)),
                QoS::AtLeastOnce | QoS::ExactlyOnce => {
                    (target.session.capacity(), self.deliveries.staged_for(&target.session))
                }
            };
            if capacity.admit(bytes + len, messages + 1, self.is_patient, now_ms) == Admission::Wait {
                blocking.get_or_insert(capacity);
            }
        }
        if !route.queues.is_empty() {
            return self.obstacle_at_queues(&route.queues, blocking, received, now_ms);
        }
        blocking.map(|capacity| Routed::Blocked(Some(Arc::clone(capacity))))
    }

    /// The reason why the message cannot be staged now, if it also goes to queues. `blocking` is a full receiver besides them.
    #[inline(never)]
    fn obstacle_at_queues<'q>(
        &self,
        queues: &'q [Arc<TopicQueue>],
        mut blocking: Option<&'q Arc<Capacity>>,
        received: &Received<'_>,
        now_ms: u64,
    ) -> Option<Routed> {
        for group in queues.iter().filter(|queue| queue.is_group()) {
            if self.admit_to(group, received.raw.len(), self.is_patient, now_ms) == Admission::Wait {
                blocking.get_or_insert(group.capacity());
            }
        }
        if let Some(capacity) = blocking {
            return Some(Routed::Blocked(Some(Arc::clone(capacity))));
        }
        let mut queues = queues.iter().filter(|queue| !queue.is_group());
        queues.find_map(|queue| self.obstacle_at(queue, received, now_ms))
    }

    fn admit_to(&self, queue: &TopicQueue, len: usize, is_patient: bool, now_ms: u64) -> Admission {
        let (bytes, messages) = self.queued.staged_for(queue);
        queue.capacity().admit(bytes + len, messages + 1, is_patient, now_ms)
    }

    fn obstacle_at(&self, queue: &TopicQueue, received: &Received<'_>, now_ms: u64) -> Option<Routed> {
        if queue.policy() != FullPolicy::Refuse {
            return None;
        }
        let admission = self.admit_to(queue, received.raw.len(), true, now_ms);
        let acknowledged = received.publish.qos != QoS::AtMostOnce;
        // A full topic queue refuses the message if the protocol can say so.
        let can_refuse = acknowledged && received.format == WireFormat::V5;
        match admission {
            Admission::Admitted => None,
            Admission::Wait if !can_refuse => Some(Routed::Blocked(Some(Arc::clone(queue.capacity())))),
            Admission::Wait | Admission::Lagging => Some(Routed::Refused(ReasonCode::QuotaExceeded)),
        }
    }

    pub(super) fn stage<'r>(
        self,
        route: &'r Route,
        stored: &mut SharedMessage<'_>,
        (kept, recorder): (&mut Option<Box<Kept<'r>>>, Recorder<'_>),
        limits: &Limits,
        counts: &mut StatsSnapshot,
    ) -> Reached<'r> {
        let received = stored.received;
        let (mut forms, mut written) = (Forms::new(received), 0);
        let mut reached = Reached { matched: !route.queues.is_empty(), taken: false, lagging_group: None };
        counts.deliveries_denied += route.denied;
        let mut targets = route.targets.iter().filter_map(|target| target.for_sender(received.client_id)).peekable();
        while let Some(target) = targets.next() {
            reached.matched = true;
            let qos = target.qos.min(received.publish.qos);
            let capacity = match (&target.outbox, qos) {
                // Messages at QoS 0 are not kept for a client that is away (section 4.5).
                (None, QoS::AtMostOnce) => {
                    reached.taken = true;
                    continue;
                }
                (Some(outbox), QoS::AtMostOnce) => outbox.capacity(),
                _ => target.session.capacity(),
            };
            let own = qos != QoS::AtMostOnce && target.session.client_id() == received.client_id;
            if capacity.is_lagging() || own && capacity.is_full_with(received.raw.len(), 1) {
                self.stuck.extend(drop_for(target, capacity, (limits, counts)));
                continue;
            }
            reached.taken = true;
            if qos != QoS::AtMostOnce {
                // Each arm makes the delivery in its place: see `Bundles::stage`.
                match target.session.key() {
                    None => {
                        let is_last = targets.peek().is_none() && route.queues.is_empty();
                        let message = stored.share(is_last);
                        let bytes = message.cost_bytes();
                        self.deliveries.stage(&target.session, deliver_at(target, qos, message), bytes);
                    }
                    Some(session) => {
                        let delivery = stored.keep((kept, recorder), target, (qos, session), route.len());
                        let bytes = delivery.message.cost_bytes();
                        self.deliveries.stage(&target.session, delivery, bytes);
                    }
                }
            } else if let Some(outbox) = &target.outbox
                && !outbox.is_closed()
            {
                let piece = forms.piece_for(target, outbox.receiver().format, self.batch);
                match piece.filter(|piece| piece.len <= outbox.receiver().packet_bytes_max as usize) {
                    Some(piece) => {
                        self.batch.stage(outbox, piece);
                        written += 1;
                    }
                    None => {
                        // Longer than the client accepts [MQTT-3.1.2-25].
                        capacity.count_dropped(1);
                        counts.messages_dropped += 1;
                        continue;
                    }
                }
            }
            counts.messages_delivered += 1;
        }
        counts.publishes_sent += written;
        counts.payload_bytes_sent += written * received.publish.payload.len() as u64;
        if !route.queues.is_empty() {
            self.stage_at_queues(route, stored, (kept, recorder), &mut reached, counts);
        }
        reached
    }

    /// Stages the message for the topic queues and groups.
    #[inline(never)]
    fn stage_at_queues<'r>(
        self,
        route: &'r Route,
        stored: &mut SharedMessage<'_>,
        (kept, recorder): (&mut Option<Box<Kept<'r>>>, Recorder<'_>),
        reached: &mut Reached<'r>,
        counts: &mut StatsSnapshot,
    ) {
        for queue in &route.queues {
            if queue.is_group() && queue.capacity().is_lagging() {
                counts.messages_dropped += 1;
                reached.lagging_group = Some(queue.info());
                continue;
            }
            reached.taken = true;
            let queued = if queue.info().keeps(stored.received.publish.qos) {
                stored.keep_queued((kept, recorder), queue.info(), route.len())
            } else {
                Queued::new(stored.share(false))
            };
            let bytes = queued.message.cost_bytes();
            self.queued.stage(queue, queued, bytes);
        }
    }
}

/// Drops a message for a receiver that is full. Returns its connection and worker if it ends by policy.
#[cold]
fn drop_for(
    target: &Target,
    capacity: &Capacity,
    (limits, counts): (&Limits, &mut StatsSnapshot),
) -> Option<(ConnectionId, usize)> {
    capacity.count_dropped(1);
    counts.messages_dropped += 1;
    let outbox = target.outbox.as_ref().filter(|_| limits.stall_policy == StallPolicy::Disconnect);
    outbox.map(|outbox| (outbox.connection(), outbox.worker()))
}
