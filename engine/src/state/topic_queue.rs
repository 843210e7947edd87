//! Queues with several consumers, where each message goes to one of them: topic queues (`$queue/NAME`) and the groups
//! of shared subscriptions (`$share/GROUP/FILTER`, MQTT 5 section 4.8.2).
//!
//! ```text
//!                push                   a receiver's window admits one
//!   senders ---------> [ messages ] ---------------------------------> on loan to a receiver
//!                        ^                                               |           |
//!                        '------ it goes away without acknowledging -----'           '-- acknowledged: gone
//! ```
//!
//! A message at QoS 1 or 2 belongs to the queue until its receiver has acknowledged it. Receivers take turns, and a
//! receiver with a full window is skipped. A thread locks the queue before the sessions of its receivers.

mod consumers;
mod settings;

use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) use self::consumers::Consumer;
use self::consumers::{Consumers, GROW_MS, GROW_SLOW_MS};
pub use self::settings::{FullPolicy, InvalidQueue, QueueSettings};
use crate::base::capacity::Capacity;
use crate::base::sync::{Mutex, rank};
use crate::delivery::addressed::DeliveryContext;
use crate::delivery::bundles::Indexed;
use crate::delivery::loan::{ConsumerOptions, DeadLetter, QueueInfo, Queued};
use crate::delivery::message::NextExpiry;
use crate::state::session::outgoing::OfferOutcome;
use crate::state::session::{Gated, Session};
use crate::state::timers::{NEVER, Timers};
use crate::store::Ticket;
use crate::store::journal::Recorder;

/// One queue.
#[derive(Debug)]
pub(crate) struct TopicQueue {
    info: Arc<QueueInfo>,
    settings: Arc<QueueSettings>,
    /// When it is to be looked at next, with those of all queues.
    timers: Arc<Timers<Arc<QueueInfo>>>,
    state: Mutex<State, { rank::QUEUE }>,
}

#[derive(Debug)]
struct State {
    messages: VecDeque<Queued>,
    consumers: Consumers,
    /// When the first of the messages expires.
    expires_ms: NextExpiry,
    /// Since when it has had neither messages nor consumers, as far as is known.
    unused_since_ms: Option<u64>,
    /// The time under which it is in the timers.
    filed_ms: u64,
    /// Since when messages wait for consumers at their bound of loans and none is taken. [`NEVER`] if none waits for them.
    bounded_ms: u64,
    /// When those consumers may have more.
    grow_at_ms: u64,
    /// The number of consumers that the store keeps.
    kept_consumers: usize,
    closed: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            messages: VecDeque::new(),
            consumers: Consumers::default(),
            expires_ms: NextExpiry::default(),
            unused_since_ms: None,
            filed_ms: 0,
            bounded_ms: NEVER,
            grow_at_ms: NEVER,
            kept_consumers: 0,
            closed: false,
        }
    }
}

/// How long a queue that is not configured may be unused.
const UNUSED_MS: u64 = 60_000;

impl Indexed for TopicQueue {
    fn index(&self) -> usize {
        self.info.index()
    }
}

impl TopicQueue {
    /// A queue that is in `timers` under the time 0: it is looked at first in the next turn.
    pub(crate) fn new(
        info: Arc<QueueInfo>,
        settings: Arc<QueueSettings>,
        timers: &Arc<Timers<Arc<QueueInfo>>>,
    ) -> Self {
        timers.file(0, info.index(), &info);
        Self { info, settings, timers: Arc::clone(timers), state: Mutex::default() }
    }

    /// The queue's identity, and the counts that sessions read.
    pub(crate) fn info(&self) -> &Arc<QueueInfo> {
        &self.info
    }

    /// Whether it is a group of shared subscriptions.
    pub(crate) fn is_group(&self) -> bool {
        self.info.is_group
    }

    /// Messages in the queue and on loan, and their limits.
    pub(crate) fn capacity(&self) -> &Arc<Capacity> {
        &self.info.capacity
    }

    /// The operator's settings, or the defaults.
    pub(crate) fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// The number of consumers, connected or not.
    pub(crate) fn consumers(&self) -> usize {
        self.state.lock().consumers.len()
    }

    /// The options of a consumer.
    pub(crate) fn options_of(&self, session: &Session) -> Option<ConsumerOptions> {
        self.state.lock().consumers.options_of(session).cloned()
    }

    /// Removes up to `most` of the messages that are not on loan, the oldest first. Returns their number.
    pub(crate) fn purge(&self, most: usize, recorder: Recorder<'_>) -> usize {
        let mut state = self.state.lock();
        let count = most.min(state.messages.len());
        for queued in state.messages.drain(..count) {
            self.info.discard(&queued, recorder);
        }
        let left = state.messages.len();
        self.info.set_waiting(left);
        if left == 0 {
            (state.bounded_ms, state.grow_at_ms) = (NEVER, NEVER);
        }
        count
    }

    /// Whether a consumer may be sent the messages of a topic.
    pub(crate) fn any_may_receive(&self, topic: &str) -> bool {
        self.state.lock().consumers.any(|session| session.may_receive(topic))
    }

    /// The policy for messages that find the queue full.
    pub(crate) fn policy(&self) -> FullPolicy {
        self.settings.policy
    }

    /// Adds a consumer, or replaces its options. True if it was there. `Err` if the queue is gone.
    pub(crate) fn subscribe(&self, consumer: Consumer) -> Result<bool, Consumer> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(consumer);
        }
        let is_kept = consumer.session.key().is_some();
        let known = state.consumers.insert(consumer);
        if is_kept && !known {
            state.kept_consumers += 1;
            self.info.set_keeps(true);
        }
        Ok(known)
    }

    /// Notes that the client of a consumer has connected.
    pub(crate) fn rejoin(&self, session: &Session) {
        self.state.lock().consumers.move_to_front(session.index());
    }

    /// Removes a consumer. A group without consumers is closed, and its messages are dropped.
    pub(crate) fn unsubscribe(&self, session: &Session, recorder: Recorder<'_>) -> bool {
        let mut state = self.state.lock();
        if !state.consumers.remove(session) {
            return false;
        }
        if session.key().is_some() {
            state.kept_consumers -= 1;
            if self.is_group() && state.kept_consumers == 0 {
                self.info.set_keeps(false);
            }
        }
        if state.consumers.is_empty() {
            if self.is_group() {
                self.close(&mut state, recorder);
            } else {
                // At once, so that it notes since when it is unused.
                self.file(&mut state, 0);
            }
        }
        state.closed
    }

    fn close(&self, state: &mut State, recorder: Recorder<'_>) {
        state.closed = true;
        for queued in state.messages.drain(..) {
            self.info.discard(&queued, recorder);
        }
        self.info.set_waiting(0);
        self.capacity().close();
        self.timers.unfile(state.filed_ms, self.index());
    }

    /// Files the queue under the time at which it is to be looked at next: `next_ms`, or before that when the first message
    /// expires or consumers may have more loans.
    fn file(&self, state: &mut State, next_ms: u64) {
        let next_ms = next_ms.min(state.expires_ms.at_ms()).min(state.grow_at_ms);
        if next_ms != state.filed_ms {
            self.timers.unfile(state.filed_ms, self.index());
            if next_ms != NEVER {
                self.timers.file(next_ms, self.index(), &self.info);
            }
            state.filed_ms = next_ms;
        }
    }

    /// Adds messages at the end and offers them to consumers. Messages left in `messages` found the queue gone.
    #[must_use]
    pub(crate) fn push(&self, messages: &mut Vec<Queued>, context: &mut DeliveryContext<'_>) -> Gated {
        let mut state = self.state.lock();
        if state.closed {
            return Gated::new();
        }
        state.unused_since_ms = None;
        for queued in messages.drain(..) {
            let bytes = queued.message.cost_bytes();
            if self.capacity().is_full_with(bytes, 1) {
                self.remove_expired(&mut state, context);
            }
            match self.settings.policy {
                FullPolicy::DropOldest => self.drop_oldest(&mut state, bytes, context),
                FullPolicy::DropNewest if self.capacity().is_full_with(bytes, 1) => {
                    context.counts.messages_dropped += 1;
                    context.recorder.delete_all(queued.key().into_iter());
                    continue;
                }
                FullPolicy::DropNewest | FullPolicy::Refuse => {}
            }
            state.expires_ms.note(&queued.message);
            self.capacity().add(bytes, 1);
            state.messages.push_back(queued);
        }
        let filed_ms = state.filed_ms;
        self.file(&mut state, filed_ms);
        self.offer(&mut state, context)
    }

    /// Takes a message that was restored, at the end. It is offered when the queue is looked at first.
    pub(crate) fn restore(&self, queued: Queued) {
        let mut state = self.state.lock();
        state.expires_ms.note(&queued.message);
        self.capacity().add(queued.message.cost_bytes(), 1);
        state.messages.push_back(queued);
        self.info.set_waiting(state.messages.len());
    }

    /// The queue that a message goes to which was delivered so often; the inner `None` if it is dropped. `None`: it stays.
    pub(crate) fn buries(&self, queued: &Queued) -> Option<Option<&str>> {
        let is_dead = self.settings.deliveries_max.is_some_and(|most| queued.deliveries >= most);
        is_dead.then_some(self.settings.dead_letter.as_deref())
    }

    fn drop_oldest(&self, state: &mut State, bytes: usize, context: &mut DeliveryContext<'_>) {
        // Only for the queue's own limit: dropping here frees too little when the budget is used up.
        while self.capacity().is_at_its_own_limit(bytes, 1) {
            let Some(oldest) = state.messages.pop_front() else { break };
            self.info.discard(&oldest, context.recorder);
            context.counts.messages_dropped += 1;
        }
    }

    /// Offers the messages to all consumers.
    #[must_use]
    pub(crate) fn pump(&self, context: &mut DeliveryContext<'_>) -> Gated {
        let mut state = self.state.lock();
        self.offer(&mut state, context)
    }

    /// Offers the messages to one consumer with free window again. The other consumers had no free window when the
    /// messages arrived.
    #[must_use]
    pub(crate) fn pump_for(&self, session: &Session, context: &mut DeliveryContext<'_>) -> Option<Ticket> {
        let mut state = self.state.lock();
        let State { messages, consumers, bounded_ms, .. } = &mut *state;
        let member = consumers.get_mut(session)?;
        let offered = member.take_from(&self.info, messages, usize::MAX, context);
        if offered.is_bounded {
            member.note_acknowledged(offered.taken);
        }
        let is_bounded = offered.is_bounded || *bounded_ms != NEVER;
        self.note_offered(&mut state, &OfferOutcome { is_bounded, ..offered }, context);
        offered.ticket
    }

    fn offer(&self, state: &mut State, context: &mut DeliveryContext<'_>) -> Gated {
        let State { messages, consumers, .. } = &mut *state;
        // Noted before the offer, so that a session with a newly opened window sees the backlog.
        self.info.set_waiting(messages.len());
        let (mut all, mut gated) = (OfferOutcome::default(), Gated::new());
        consumers.begin_round();
        while !messages.is_empty() {
            // Each consumer gets a fair part before any gets more.
            let most = messages.len().div_ceil(consumers.present().max(1));
            let Some(member) = consumers.take_turn() else { break };
            let offered = member.take_from(&self.info, messages, most, context);
            if offered.is_away {
                consumers.last_is_away();
                continue;
            }
            gated.extend(offered.ticket.map(|ticket| (ticket, Arc::clone(member.session()))));
            all.waits_for_outbox |= offered.waits_for_outbox;
            all.is_bounded |= offered.is_bounded;
            if offered.taken > 0 {
                all.taken += offered.taken;
                consumers.begin_round();
            }
        }
        self.note_offered(state, &all, context);
        gated
    }

    /// Notes how many messages are left. Marks the queue as watched if a consumer has to read first, and has it looked at
    /// again if consumers are at their bound of loans.
    fn note_offered(&self, state: &mut State, offered: &OfferOutcome, context: &mut DeliveryContext<'_>) {
        let left = state.messages.len();
        self.info.set_waiting(left);
        if left > 0 && offered.waits_for_outbox && self.info.begin_watch() {
            context.watched.push(Arc::clone(&self.info));
        }
        if left == 0 || !offered.is_bounded {
            (state.bounded_ms, state.grow_at_ms) = (NEVER, NEVER);
        } else if offered.taken > 0 || state.bounded_ms == NEVER {
            (state.bounded_ms, state.grow_at_ms) = (context.now_ms, context.now_ms + GROW_MS);
            let filed_ms = state.filed_ms;
            self.file(state, filed_ms);
        }
    }

    /// Lets consumers at their bound of loans have more if none has taken a message for a while.
    fn grow_loans(&self, state: &mut State, now_ms: u64) {
        if now_ms < state.grow_at_ms {
            return;
        }
        if state.consumers.grow(now_ms - state.bounded_ms) {
            (state.bounded_ms, state.grow_at_ms) = (NEVER, NEVER);
        } else {
            state.grow_at_ms = state.bounded_ms + GROW_SLOW_MS;
        }
    }

    /// Returns unacknowledged messages to the head of the queue, in their order, or sends them to the dead-letter
    /// queue.
    #[must_use]
    pub(crate) fn take_back(&self, returned: Vec<Queued>, context: &mut DeliveryContext<'_>) -> Gated {
        let mut state = self.state.lock();
        let dead_from = context.dead.len();
        for queued in returned.into_iter().rev() {
            if state.closed || queued.message.is_expired(context.now_ms) {
                self.info.discard(&queued, context.recorder);
                continue;
            }
            match self.buries(&queued) {
                Some(Some(name)) => {
                    self.info.count_dead_letter();
                    self.info.release(&queued.message);
                    context.dead.push(DeadLetter { queue: name.into(), queued });
                }
                Some(None) => {
                    self.info.count_dead_letter();
                    self.info.discard(&queued, context.recorder);
                    context.counts.messages_dropped += 1;
                }
                None => {
                    state.expires_ms.note(&queued.message);
                    state.messages.push_front(queued);
                }
            }
        }
        context.dead[dead_from..].reverse();
        if !state.closed {
            let filed_ms = state.filed_ms;
            self.file(&mut state, filed_ms);
        }
        self.offer(&mut state, context)
    }

    /// Removes expired messages.
    fn remove_expired(&self, state: &mut State, context: &DeliveryContext<'_>) {
        let now_ms = context.now_ms;
        if !state.expires_ms.is_due(now_ms) {
            return;
        }
        let State { messages, expires_ms, .. } = state;
        *expires_ms = NextExpiry::default();
        messages.retain(|queued| {
            let expired = queued.message.is_expired(now_ms);
            if expired {
                self.info.discard(queued, context.recorder);
            } else {
                expires_ms.note(&queued.message);
            }
            !expired
        });
    }

    /// Removes expired messages. Closes the queue if it is not configured and has been unused for a while. True if it
    /// is gone. Called when the timers say so, and files the queue for the next time.
    #[must_use]
    pub(crate) fn expire(&self, context: &mut DeliveryContext<'_>) -> (bool, Gated) {
        let now_ms = context.now_ms;
        let mut state = self.state.lock();
        if state.closed {
            return (true, Gated::new());
        }
        self.remove_expired(&mut state, context);
        self.grow_loans(&mut state, now_ms);
        // Messages behind an expired one may now be deliverable.
        let gated = self.offer(&mut state, context);
        let is_unused = state.consumers.is_empty() && self.capacity().depth_messages() == 0;
        let since_ms = state.unused_since_ms.filter(|_| is_unused).unwrap_or(now_ms);
        state.unused_since_ms = is_unused.then_some(since_ms);
        if now_ms - since_ms >= UNUSED_MS && !self.settings.is_configured {
            self.close(&mut state, context.recorder);
        } else {
            self.file(&mut state, if self.settings.is_configured { NEVER } else { since_ms + UNUSED_MS });
        }
        (state.closed, gated)
    }
}
