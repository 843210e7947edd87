//! Steps 5 and 6 of a message's way for one worker: a PUBLISH in, its place in the batch out, for each receiver.
//!
//! A message is staged for all its receivers or for none. If one of them has no room the message is handed back, with
//! the room to wait for; the caller stops reading that sender and comes back with the same bytes.
//!
//! ```text
//!              QoS 0, to a connected client           -> batch: the bytes as they came, to its outbox
//!   PUBLISH -> QoS 1 and 2                            -> deliveries: one shared message, to its session
//!              topic queue, shared subscription group -> queued: the same message, to the queue
//! ```

mod forms;

use std::collections::VecDeque;
use std::sync::Arc;

use wisp_wire::{Publish, QoS, ReasonCode, TopicName};

use self::forms::Forms;
use crate::batch::Batch;
use crate::bundles::Bundles;
use crate::core::{Core, StatsSnapshot};
use crate::limits::{Limits, StallPolicy};
use crate::message::{Message, pool};
use crate::outbox::{ConnectionId, WireFormat};
use crate::retained::Retained;
use crate::room::Room;
use crate::router::{Route, RouteCache, Target, Unroutable};
use crate::session::Session;
use crate::session::outgoing::{Delivery, Turn};
use crate::topic_queue::{FullPolicy, Queued, TopicQueue, queue_name};
use crate::will::Will;

/// A PUBLISH as it was received, where it lies and who sent it.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    pub(crate) publish: Publish<'a>,
    /// What it is published to, though the packet may have an alias instead.
    pub(crate) topic: TopicName<'a>,
    /// Its encoding.
    pub(crate) raw: &'a [u8],
    /// Where in the worker's scratch buffer the encoding lies, if it does and stays there until the batch is pushed.
    pub(crate) in_scratch: Option<usize>,
    /// How it is written.
    pub(crate) format: WireFormat,
    /// Who sent it.
    pub(crate) client_id: &'a Arc<str>,
    /// Nobody is there to be told what became of it.
    pub(crate) is_will: bool,
}

/// What became of a PUBLISH.
#[derive(Debug)]
pub(crate) enum Routed {
    /// It is staged for everyone who wants it; false if nobody does.
    Done(bool),
    /// Here is no room. Nothing was staged.
    Blocked(Arc<Room>),
    /// It is not accepted. Nothing was staged.
    Refused(ReasonCode),
}

/// One worker's way into the core for messages.
#[derive(Debug, Default)]
pub struct Publisher {
    cache: RouteCache,
    batch: Batch,
    deliveries: Bundles<Session, Delivery>,
    queued: Bundles<TopicQueue, Queued>,
    /// Queues with messages for receivers at QoS 0 that have to read first.
    watched: Vec<Arc<TopicQueue>>,
    /// Wills of clients that have ended, not yet published: they wait for room like any message.
    wills: VecDeque<Will>,
    /// Connections of receivers that are stuck, to be closed.
    stuck: Vec<ConnectionId>,
    counts: StatsSnapshot,
    /// Packets on their way into an outbox; empty between calls.
    buffer: Vec<u8>,
}

impl Publisher {
    /// Stages `received` for everyone who wants it.
    pub(crate) fn publish(&mut self, core: &Core, received: &Received<'_>, now_ms: u64) -> Routed {
        let routed = self.route(core, received, now_ms);
        if matches!(routed, Routed::Refused(_)) && (received.publish.qos == QoS::AtMostOnce || received.is_will) {
            self.counts.messages_dropped += 1;
        }
        routed
    }

    fn route(&mut self, core: &Core, received: &Received<'_>, now_ms: u64) -> Routed {
        let route = match self.cache.lookup(core, received.topic) {
            Ok(route) => route,
            Err(Unroutable::Topic(_)) => return Routed::Refused(ReasonCode::TopicNameInvalid),
            Err(Unroutable::TooManyQueues) => return Routed::Refused(ReasonCode::QuotaExceeded),
        };
        let staging = Staging {
            batch: &mut self.batch,
            deliveries: &mut self.deliveries,
            queued: &mut self.queued,
            stuck: &mut self.stuck,
        };
        if let Some(obstacle) = staging.obstacle(route, received, now_ms) {
            return obstacle;
        }
        let mut shared = SharedMessage { received, now_ms, message: None };
        if received.publish.retain && queue_name(received.topic.as_str()).is_none() {
            let retained = Retained { message: shared.get(), sender: Some(Arc::clone(received.client_id)) };
            if core.retained.store(retained, &core.limits).is_err() {
                if received.publish.qos != QoS::AtMostOnce && received.format == WireFormat::V5 {
                    return Routed::Refused(ReasonCode::QuotaExceeded);
                }
                // It goes on all the same, and what was retained before is no longer the last [MQTT-3.3.1-5].
                core.retained.remove(received.topic.as_str());
                self.counts.retained_refused += 1;
            }
        }
        self.counts.messages_received += 1;
        let reached = staging.stage(route, &mut shared, &core.limits, &mut self.counts);
        let acknowledged = received.publish.qos != QoS::AtMostOnce;
        if reached.matched && !reached.taken && acknowledged && received.format == WireFormat::V5 {
            // Counted as dropped already. A sender that can be told is; another is not ended for its receivers' fault.
            return Routed::Refused(ReasonCode::QuotaExceeded);
        }
        Routed::Done(reached.matched)
    }

    /// The messages at QoS 0 staged so far and the outboxes touched.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Whether what is staged should be delivered before anything else is.
    pub fn is_heavy(&self) -> bool {
        const STORED_BYTES_MAX: usize = 4 * 1024 * 1024;
        self.batch.is_heavy() || self.deliveries.bytes() + self.queued.bytes() >= STORED_BYTES_MAX
    }

    /// What is lent to a session or a queue to do something with.
    pub(crate) fn turn<'a>(&'a mut self, limits: &'a Limits, now_ms: u64) -> Turn<'a> {
        debug_assert!(self.buffer.is_empty(), "whoever had it last has emptied it");
        Turn { limits, now_ms, buffer: &mut self.buffer, dropped: &mut self.counts.messages_dropped }
    }

    /// Hands what is staged at QoS 1 and 2, and for queues, over to where it goes. The outboxes are touched.
    pub fn hand_over(&mut self, core: &Core, now_ms: u64) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        deliveries.drain(|session, items| {
            if let Some(outbox) = session.deliver(items, &mut self.turn(&core.limits, now_ms)) {
                self.batch.touch(&outbox);
            }
        });
        self.deliveries = deliveries;
        // Dead letters make more of them, a few times at most: a queue is not its own.
        while self.queued.bytes() > 0 {
            let mut queued = std::mem::take(&mut self.queued);
            queued.drain(|queue, items| {
                queue.push(items, core, self, now_ms);
                // What is left found the queue gone, which then is made again.
                if let (false, Some(name)) = (items.is_empty(), queue_name(queue.name())) {
                    items.drain(..).for_each(|queued| self.publish_to_queue(core, name, queued.message));
                }
            });
            if self.queued.bytes() == 0 {
                // Empty, with its tables for the next batch.
                self.queued = queued;
            }
        }
    }

    /// Stages a message that has no sender any more for the topic queue `name`.
    pub(crate) fn publish_to_queue(&mut self, core: &Core, name: &str, message: Message) {
        match core.queue(&format!("$queue/{name}")) {
            Ok(queue) => {
                let bytes = message.cost_bytes();
                let (staged_bytes, staged) = self.queued.staged_for(&queue);
                // Nobody is there to be told or held back.
                if queue.policy() == FullPolicy::Refuse && queue.room().is_full_with(staged_bytes + bytes, staged + 1) {
                    self.counts.messages_dropped += 1;
                    return;
                }
                self.queued.stage(&queue, Queued { message, deliveries: 0 }, bytes);
            }
            Err(_) => self.counts.messages_dropped += 1,
        }
    }

    /// Has the worker look after a queue until its receivers have read.
    pub(crate) fn watch(&mut self, queue: &Arc<TopicQueue>) {
        self.watched.push(Arc::clone(queue));
    }

    /// Publishes a will as soon as there is room for it.
    pub(crate) fn publish_later(&mut self, will: Option<Box<Will>>) {
        self.wills.extend(will.map(|will| *will));
    }

    /// Whether the worker has to come back soon though nothing may happen.
    pub fn is_waiting(&self) -> bool {
        !self.wills.is_empty() || !self.watched.is_empty()
    }

    /// Publishes the wills for which there is room, and deals out what watched queues have.
    pub fn go_on(&mut self, core: &Core, now_ms: u64) {
        // There may be very many, all waiting for the same receiver.
        const WILLS_A_TURN: usize = 64;
        for _ in 0..self.wills.len().min(WILLS_A_TURN) {
            let Some(will) = self.wills.pop_front() else { break };
            if let Routed::Blocked(_) = self.publish_will(core, &will, now_ms) {
                self.wills.push_back(will);
            }
        }
        for queue in std::mem::take(&mut self.watched) {
            queue.unwatch();
            queue.pump(core, self, now_ms);
        }
    }

    /// Connections to end with [`EndReason::Stuck`](crate::EndReason::Stuck), found since the last call.
    pub fn take_stuck(&mut self) -> Vec<ConnectionId> {
        // One is found once a message.
        let mut stuck = std::mem::take(&mut self.stuck);
        stuck.sort_unstable();
        stuck.dedup();
        stuck
    }

    /// Counts a message that was not accepted and whose sender could not be told.
    pub(crate) fn count_dropped(&mut self) {
        self.counts.messages_dropped += 1;
    }

    /// Adds what this worker counted since the last call to the shared counts.
    pub fn settle(&mut self, core: &Core) {
        core.stats.add(std::mem::take(&mut self.counts));
    }

    /// Lets go of what is remembered of receivers that are gone, and of memory that was of no use since the last call. Every
    /// worker calls it now and then.
    pub fn tidy(&mut self, core: &Core) {
        self.cache.forget_if_stale(&core.router);
        pool::trim();
    }
}

/// A message that is made when the first receiver needs it.
struct SharedMessage<'a> {
    received: &'a Received<'a>,
    now_ms: u64,
    message: Option<Message>,
}

impl SharedMessage<'_> {
    fn get(&mut self) -> Message {
        let Self { received, now_ms, message } = self;
        let make = || Message::keep(&received.publish, received.topic, *now_ms);
        message.get_or_insert_with(make).clone()
    }
}

/// Whom a message has reached.
struct Reached {
    /// Somebody wants it.
    matched: bool,
    /// It is staged for somebody.
    taken: bool,
}

/// Where messages are staged.
struct Staging<'p> {
    batch: &'p mut Batch,
    deliveries: &'p mut Bundles<Session, Delivery>,
    queued: &'p mut Bundles<TopicQueue, Queued>,
    stuck: &'p mut Vec<ConnectionId>,
}

impl Staging<'_> {
    /// Why the message cannot be staged now. Receivers that are stuck are not waited for, nor those that are away.
    fn obstacle(&self, route: &Route, received: &Received<'_>, now_ms: u64) -> Option<Routed> {
        let len = received.raw.len();
        // Asking for room starts a clock, so one that is not to get the message is not asked.
        let wanting = route.targets.iter().filter_map(|target| target.for_sender(received.client_id));
        // Nor is the sender itself: its acknowledgements, which make room, come behind this message.
        let wanting =
            wanting.filter(|target| target.session.client_id() != received.client_id || target.qos == QoS::AtMostOnce);
        let mut full = wanting.filter_map(|target| match target.qos.min(received.publish.qos) {
            QoS::AtMostOnce => {
                let outbox = target.outbox.as_ref()?;
                let (bytes, messages) = self.batch.staged_for(outbox);
                waits_for(outbox.room(), bytes + len, messages + 1, now_ms)
            }
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                target.outbox.as_ref()?;
                let (bytes, messages) = self.deliveries.staged_for(&target.session);
                waits_for(target.session.room(), bytes + len, messages + 1, now_ms)
            }
        });
        if let Some(room) = full.next() {
            return Some(Routed::Blocked(Arc::clone(room)));
        }
        route.queues.iter().find_map(|queue| self.obstacle_at(queue, received, now_ms))
    }

    fn obstacle_at(&self, queue: &TopicQueue, received: &Received<'_>, now_ms: u64) -> Option<Routed> {
        if queue.policy() != FullPolicy::Refuse {
            return None;
        }
        let (bytes, messages) = self.queued.staged_for(queue);
        let has_room = queue.room().has_room(bytes + received.raw.len(), messages + 1, now_ms);
        let acknowledged = received.publish.qos != QoS::AtMostOnce;
        // A group's receivers are waited for like any; who publishes to a topic queue can be told.
        let tellable = acknowledged && received.format == WireFormat::V5 && !queue.is_group();
        match has_room {
            true => None,
            false if tellable || queue.room().is_stuck(now_ms) => Some(Routed::Refused(ReasonCode::QuotaExceeded)),
            false => Some(Routed::Blocked(Arc::clone(queue.room()))),
        }
    }

    fn stage(
        self,
        route: &Route,
        shared: &mut SharedMessage<'_>,
        limits: &Limits,
        counts: &mut StatsSnapshot,
    ) -> Reached {
        let (received, now_ms) = (shared.received, shared.now_ms);
        let mut forms = Forms::new(received);
        let mut reached = Reached { matched: !route.queues.is_empty(), taken: !route.queues.is_empty() };
        for target in route.targets.iter().filter_map(|target| target.for_sender(received.client_id)) {
            reached.matched = true;
            let qos = target.qos.min(received.publish.qos);
            let room = match (&target.outbox, qos) {
                // Messages at QoS 0 are not kept for a client that is away (section 4.5).
                (None, QoS::AtMostOnce) => {
                    reached.taken = true;
                    continue;
                }
                (Some(outbox), QoS::AtMostOnce) => outbox.room(),
                _ => target.session.room(),
            };
            let own = qos != QoS::AtMostOnce && target.session.client_id() == received.client_id;
            if room.is_stuck(now_ms) || own && room.is_full_with(received.raw.len(), 1) {
                room.count_dropped(1);
                counts.messages_dropped += 1;
                if limits.stall_policy == StallPolicy::Disconnect {
                    self.stuck.extend(target.outbox.as_ref().map(|outbox| outbox.connection()));
                }
                continue;
            }
            reached.taken = true;
            if qos != QoS::AtMostOnce {
                let delivery = deliver_at(target, qos, shared.get());
                let bytes = delivery.message.cost_bytes();
                self.deliveries.stage(&target.session, delivery, bytes);
            } else if let Some(outbox) = &target.outbox
                && !outbox.is_closed()
            {
                let piece = forms.piece_for(target, outbox.receiver().format, self.batch);
                match piece.filter(|piece| piece.len <= outbox.receiver().packet_bytes_max as usize) {
                    Some(piece) => self.batch.stage(outbox, piece),
                    None => {
                        // Longer than the client accepts [MQTT-3.1.2-25].
                        room.count_dropped(1);
                        counts.messages_dropped += 1;
                        continue;
                    }
                }
            }
            counts.messages_delivered += 1;
        }
        for queue in &route.queues {
            let message = shared.get();
            let bytes = message.cost_bytes();
            self.queued.stage(queue, Queued { message, deliveries: 0 }, bytes);
        }
        reached
    }
}

fn deliver_at(target: &Target, qos: QoS, message: Message) -> Delivery {
    let retain = message.retain() && target.retain_as_published;
    Delivery::new(message, qos, retain, target.subscription_ids.clone())
}

/// The room, if a sender has to wait for it.
fn waits_for(room: &Arc<Room>, bytes: usize, messages: usize, now_ms: u64) -> Option<&Arc<Room>> {
    (!room.has_room(bytes, messages, now_ms) && !room.is_stuck(now_ms)).then_some(room)
}
