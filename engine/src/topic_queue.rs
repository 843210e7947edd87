//! Queues that several clients receive from, each message going to one of them: topic queues (`$queue/NAME`) and the groups
//! of shared subscriptions (`$share/GROUP/FILTER`, MQTT 5 section 4.8.2).
//!
//! ```text
//!                push                     room in a receiver's window
//!   publishers ------> [ messages ] ---------------------------------> on loan to a receiver
//!                        ^                                               |           |
//!                        '------ it goes away without acknowledging -----'           '-- acknowledged: gone
//! ```
//!
//! A message at QoS 1 or 2 belongs to the queue until its receiver has acknowledged it. Receivers take turns, and one whose
//! window is full is passed over. Locks: the queue's before those of its receivers' sessions.

mod directory;
mod settings;

use std::collections::VecDeque;
use std::sync::Arc;

use wisp_wire::QoS;

pub(crate) use self::directory::{Directory, TooManyQueues, queue_name};
pub use self::settings::{FullPolicy, InvalidQueue, QueueSettings};
use crate::bundles::Indexed;
use crate::core::Core;
use crate::message::{Earliest, Message};
use crate::publish::Publisher;
use crate::room::Room;
use crate::session::Session;
use crate::session::outgoing::SubscriptionIds;
use crate::slot::Slot;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};

/// One queue.
#[derive(Debug)]
pub(crate) struct TopicQueue {
    /// `$queue/NAME`, or `$share/GROUP/FILTER`.
    name: Box<str>,
    slot: Slot,
    room: Arc<Room>,
    settings: Arc<QueueSettings>,
    /// How many messages wait, as of the last change.
    waiting: AtomicUsize,
    /// It is on a worker's list of queues to look after.
    watched: AtomicBool,
    used_ms: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Queued>,
    receivers: Vec<Receiver>,
    /// Whose turn it is.
    next: usize,
    /// When the first of the messages expires.
    expires_ms: Earliest,
    closed: bool,
}

/// A message in a queue.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) message: Message,
    /// How often it was delivered and not acknowledged.
    pub(crate) deliveries: u16,
}

/// A client that takes messages, and how it wants them.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) session: Arc<Session>,
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
    pub(crate) subscription_ids: SubscriptionIds,
}

impl Indexed for TopicQueue {
    fn index(&self) -> usize {
        self.slot.index()
    }
}

impl TopicQueue {
    pub(crate) fn new(name: &str, settings: Arc<QueueSettings>, core: &Core) -> Self {
        let (bytes, messages) = (settings.bytes_max, settings.messages_max);
        Self {
            name: name.into(),
            slot: core.receiver_slots.take(),
            room: Arc::new(Room::new(bytes, messages, core.limits.queue_stall_ms_max, Arc::clone(&core.stored))),
            settings,
            waiting: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            used_ms: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// `$queue/NAME`, or `$share/GROUP/FILTER`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a group of shared subscriptions.
    pub(crate) fn is_group(&self) -> bool {
        queue_name(&self.name).is_none()
    }

    /// What is in the queue or on loan, and how much may be.
    pub(crate) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// What becomes of messages when it is full.
    pub(crate) fn policy(&self) -> FullPolicy {
        self.settings.policy
    }

    /// Whether messages wait, as of the last change.
    pub(crate) fn has_backlog(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Adds a receiver, or replaces what it wanted before. True if it was there. `Err` if the queue is gone.
    pub(crate) fn subscribe(&self, receiver: Receiver) -> Result<bool, Receiver> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(receiver);
        }
        match state.receivers.iter_mut().find(|known| Arc::ptr_eq(&known.session, &receiver.session)) {
            Some(known) => {
                *known = receiver;
                Ok(true)
            }
            None => {
                state.receivers.push(receiver);
                Ok(false)
            }
        }
    }

    /// Removes a receiver. A group without receivers is gone, and what waited in it.
    pub(crate) fn unsubscribe(&self, session: &Session) -> bool {
        let mut state = self.state.lock();
        let Some(at) = state.receivers.iter().position(|known| std::ptr::eq(&*known.session, session)) else {
            return false;
        };
        state.receivers.remove(at);
        if state.next > at {
            state.next -= 1;
        }
        if self.is_group() && state.receivers.is_empty() {
            self.close(&mut state);
        }
        state.closed
    }

    fn close(&self, state: &mut State) {
        state.closed = true;
        for queued in state.messages.drain(..) {
            self.acknowledged(&queued.message);
        }
        self.waiting.store(0, Ordering::Relaxed);
        self.room.close();
    }

    /// Adds messages at the end and deals them out. What is left in `messages` found the queue gone.
    pub(crate) fn push(
        self: &Arc<Self>,
        messages: &mut Vec<Queued>,
        core: &Core,
        publisher: &mut Publisher,
        now_ms: u64,
    ) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        self.used_ms.store(now_ms, Ordering::Relaxed);
        for queued in messages.drain(..) {
            let bytes = queued.message.cost_bytes();
            if self.room.is_full_with(bytes, 1) {
                self.remove_expired(&mut state, now_ms);
            }
            match self.settings.policy {
                FullPolicy::DropOldest => self.drop_oldest(&mut state, bytes, publisher),
                FullPolicy::DropNewest if self.room.is_full_with(bytes, 1) => {
                    publisher.count_dropped();
                    continue;
                }
                FullPolicy::DropNewest | FullPolicy::Refuse => {}
            }
            state.expires_ms.note(&queued.message);
            self.room.add(bytes, 1);
            state.messages.push_back(queued);
        }
        self.deal(&mut state, core, publisher, now_ms);
    }

    fn drop_oldest(&self, state: &mut State, bytes: usize, publisher: &mut Publisher) {
        // What others have too much of is not made good here.
        while self.room.is_at_its_own_limit(bytes, 1) {
            let Some(oldest) = state.messages.pop_front() else { break };
            self.acknowledged(&oldest.message);
            publisher.count_dropped();
        }
    }

    /// Deals out what waits, as far as there is room.
    pub(crate) fn pump(self: &Arc<Self>, core: &Core, publisher: &mut Publisher, now_ms: u64) {
        let mut state = self.state.lock();
        self.deal(&mut state, core, publisher, now_ms);
    }

    /// Gives what waits to one receiver, who has room again. The others were found without when it came.
    pub(crate) fn pump_for(self: &Arc<Self>, session: &Session, core: &Core, publisher: &mut Publisher, now_ms: u64) {
        let mut state = self.state.lock();
        let State { messages, receivers, .. } = &mut *state;
        let Some(receiver) = receivers.iter().find(|known| std::ptr::eq(&*known.session, session)) else { return };
        let mut turn = publisher.turn(&core.limits, now_ms);
        let offered = session.take_from(self, messages, usize::MAX, receiver, &mut turn);
        if let Some(outbox) = offered.outbox {
            publisher.batch().touch(&outbox);
        }
        self.dealt(messages.len(), offered.waits_for_outbox, publisher);
    }

    fn deal(self: &Arc<Self>, state: &mut State, core: &Core, publisher: &mut Publisher, now_ms: u64) {
        let State { messages, receivers, next, .. } = state;
        // Before anyone is asked: a receiver that has room a moment later has to see that there is something.
        self.waiting.store(messages.len(), Ordering::Relaxed);
        let mut waits_for_outbox = false;
        let mut passed_over = 0;
        while !messages.is_empty() && passed_over < receivers.len() {
            // Everyone gets a fair part of what is there before anyone gets more.
            let most = messages.len().div_ceil(receivers.len());
            let receiver = &receivers[*next % receivers.len()];
            *next = (*next + 1) % receivers.len();
            let mut turn = publisher.turn(&core.limits, now_ms);
            let offered = receiver.session.take_from(self, messages, most, receiver, &mut turn);
            waits_for_outbox |= offered.waits_for_outbox;
            passed_over = if offered.taken > 0 { 0 } else { passed_over + 1 };
            if let Some(outbox) = offered.outbox {
                publisher.batch().touch(&outbox);
            }
        }
        self.dealt(messages.len(), waits_for_outbox, publisher);
    }

    /// Notes what is left, and has it looked after if a receiver has to read first.
    fn dealt(self: &Arc<Self>, left: usize, waits_for_outbox: bool, publisher: &mut Publisher) {
        self.waiting.store(left, Ordering::Relaxed);
        if left > 0 && waits_for_outbox && !self.watched.swap(true, Ordering::Relaxed) {
            publisher.watch(self);
        }
    }

    /// A worker that looks after the queue no longer does.
    pub(crate) fn unwatch(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }

    /// A receiver is done with a message.
    pub(crate) fn acknowledged(&self, message: &Message) {
        self.room.remove(message.cost_bytes(), 1);
    }

    /// Puts messages that were not acknowledged back to the head, in their order, or where dead letters go.
    pub(crate) fn take_back(
        self: &Arc<Self>,
        returned: Vec<Queued>,
        core: &Core,
        publisher: &mut Publisher,
        now_ms: u64,
    ) {
        let mut state = self.state.lock();
        let mut dead = Vec::new();
        for queued in returned.into_iter().rev() {
            if state.closed || queued.message.is_expired(now_ms) {
                self.acknowledged(&queued.message);
            } else if self.settings.deliveries_max.is_some_and(|most| queued.deliveries >= most) {
                self.acknowledged(&queued.message);
                match &self.settings.dead_letter {
                    Some(name) => dead.push((name, queued.message)),
                    None => publisher.count_dropped(),
                }
            } else {
                state.expires_ms.note(&queued.message);
                state.messages.push_front(queued);
            }
        }
        self.deal(&mut state, core, publisher, now_ms);
        drop(state);
        for (name, message) in dead.into_iter().rev() {
            publisher.publish_to_queue(core, name, message);
        }
    }

    /// Removes expired messages.
    fn remove_expired(&self, state: &mut State, now_ms: u64) {
        if !state.expires_ms.has_come(now_ms) {
            return;
        }
        let State { messages, expires_ms, .. } = state;
        *expires_ms = Earliest::default();
        messages.retain(|queued| {
            let expired = queued.message.is_expired(now_ms);
            if expired {
                self.acknowledged(&queued.message);
            } else {
                expires_ms.note(&queued.message);
            }
            !expired
        });
    }

    /// Removes expired messages, and closes the queue if it may and nobody has used it for a while. True if it is gone.
    pub(crate) fn review(self: &Arc<Self>, core: &Core, publisher: &mut Publisher, now_ms: u64) -> bool {
        const IDLE_MS: u64 = 60_000;
        let mut state = self.state.lock();
        self.remove_expired(&mut state, now_ms);
        // What waited behind an expired message may go on.
        self.deal(&mut state, core, publisher, now_ms);
        let empty = state.receivers.is_empty() && self.room.depth_messages() == 0;
        if !empty {
            self.used_ms.store(now_ms, Ordering::Relaxed);
        }
        let idle = now_ms.saturating_sub(self.used_ms.load(Ordering::Relaxed)) >= IDLE_MS;
        if idle && empty && !self.settings.is_configured {
            self.close(&mut state);
        }
        state.closed
    }
}
