//! Messages of topic queues and shared subscription groups: in the queue, and on loan to a session until it
//! acknowledges.
//!
//! A loan names its queue by a [`QueueInfo`], which sessions and queues share. So a session does not depend on the
//! queue, and neither keeps the other alive.

use std::sync::Arc;

use wisp_wire::{QoS, SubscriptionId};

use crate::base::capacity::Capacity;
use crate::base::slot::Slot;
use crate::base::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::delivery::bundles::Indexed;
use crate::delivery::message::Message;
use crate::store::journal::Recorder;
use crate::store::{Change, Key, Object};

/// The identifiers of the subscriptions that a message matched.
pub(crate) type SubscriptionIds = Option<Arc<[SubscriptionId]>>;

/// The identity of a queue, and the counts that sessions read.
#[derive(Debug)]
pub(crate) struct QueueInfo {
    /// `$queue/NAME`, or `$share/GROUP/FILTER`.
    pub(crate) name: Box<str>,
    /// Whether it is a group of shared subscriptions.
    pub(crate) is_group: bool,
    /// Messages in the queue and on loan, and their limits.
    pub(crate) capacity: Arc<Capacity>,
    slot: Slot,
    /// Messages in the queue, as of the last change.
    waiting: AtomicUsize,
    /// Messages that were delivered too often, since the queue exists.
    dead_letters: AtomicUsize,
    /// A worker has the queue on its list of queues to retry.
    watched: AtomicBool,
    /// The store keeps the messages that arrive.
    keeps: AtomicBool,
}

impl QueueInfo {
    pub(crate) fn new(name: &str, is_group: bool, capacity: Capacity, slot: Slot) -> Self {
        Self {
            name: name.into(),
            is_group,
            capacity: Arc::new(capacity),
            slot,
            waiting: AtomicUsize::new(0),
            dead_letters: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            keeps: AtomicBool::new(false),
        }
    }

    /// Whether the store keeps messages of this QoS in the queue: in a topic queue all messages, in a group those at QoS 1 and 2 if the
    /// session of a member outlives its connection.
    pub(crate) fn keeps(&self, qos: QoS) -> bool {
        self.keeps.load(Ordering::Relaxed) && !(self.is_group && qos == QoS::AtMostOnce)
    }

    /// Sets whether the store keeps the messages that arrive.
    pub(crate) fn set_keeps(&self, keeps: bool) {
        self.keeps.store(keeps, Ordering::Relaxed);
    }

    /// Whether messages are in the queue, as of the last change.
    pub(crate) fn has_backlog(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Messages in the queue, as of the last change.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Messages that were delivered too often, since the queue exists.
    pub(crate) fn dead_letters(&self) -> usize {
        self.dead_letters.load(Ordering::Relaxed)
    }

    /// A message was delivered too often.
    pub(crate) fn count_dead_letter(&self) {
        self.dead_letters.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how many messages are in the queue.
    pub(crate) fn set_waiting(&self, messages: usize) {
        self.waiting.store(messages, Ordering::Relaxed);
    }

    /// Marks the queue as watched. False if it was already.
    pub(crate) fn begin_watch(&self) -> bool {
        !self.watched.swap(true, Ordering::Relaxed)
    }

    /// The worker no longer watches the queue.
    pub(crate) fn end_watch(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }

    /// Frees the place of a message: it was acknowledged, dropped, or has expired.
    pub(crate) fn release(&self, message: &Message) {
        self.capacity.remove(message.cost_bytes(), 1);
    }

    /// Frees the place of a message that nobody gets, and removes it from the store.
    pub(crate) fn discard(&self, queued: &Queued, recorder: Recorder<'_>) {
        self.release(&queued.message);
        recorder.delete_all(queued.key().into_iter());
    }
}

impl Indexed for QueueInfo {
    fn index(&self) -> usize {
        self.slot.index()
    }
}

/// A message in a queue.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) message: Message,
    /// How often it was delivered without acknowledgement.
    pub(crate) deliveries: u16,
    /// Its key in the store less the message's. 0 if the store does not keep it.
    pub(crate) ordinal: u32,
}

impl Queued {
    /// A message that has just arrived, and that the store does not keep.
    pub(crate) fn new(message: Message) -> Self {
        Self { message, deliveries: 0, ordinal: 0 }
    }

    /// The key of this message in this queue in the store.
    pub(crate) fn key(&self) -> Option<Key> {
        if self.ordinal == 0 {
            return None;
        }
        self.message.key().map(|message| message.plus(u64::from(self.ordinal)))
    }

    /// The message as it begins anew in another queue. If the store keeps it, it leaves the old queue in the same call.
    pub(crate) fn moved_to(self, queue: &QueueInfo, recorder: Recorder<'_>) -> Self {
        let Some(old) = self.key() else { return Self::new(self.message) };
        let key = recorder.new_keys(2);
        let message = self.message.copy_with_key(key);
        let object = Object::Queued { queue: &queue.name, message: key, deliveries: 0, loan: None };
        recorder.append(&[
            Change::Put { key, object: Object::Message(message.as_object(recorder)) },
            Change::Put { key: key.plus(1), object },
            Change::Delete { key: old },
        ]);
        Self { message, deliveries: 0, ordinal: 1 }
    }
}

/// The queue that a message is on loan from.
#[derive(Debug)]
pub(crate) struct Loan {
    pub(crate) queue: Arc<QueueInfo>,
    /// How often it has been delivered, this time included.
    pub(crate) deliveries: u16,
}

/// A message that a client did not acknowledge, and the queue it goes back to.
pub(crate) type Returned = (Arc<QueueInfo>, Queued);

/// A message that was delivered too often, and the queue it goes to: its name without `$queue/`.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    pub(crate) queue: Box<str>,
    pub(crate) queued: Queued,
}

/// How a consumer wants the messages of a queue.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerOptions {
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
    pub(crate) subscription_ids: SubscriptionIds,
}

/// The part of a queue's messages that a consumer is offered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// The most messages.
    pub(crate) most: usize,
    /// The loans that the consumer may have beyond [`LOANS_MIN`], since no other consumer takes the messages.
    pub(crate) extra_loans: usize,
}

/// How many messages one consumer of queues may have on loan: about as many as it acknowledges in a second. So a slow consumer
/// leaves the messages of its queues to others, and a quick one is bounded only by its window.
#[derive(Debug, Default)]
pub(crate) struct LoanPace {
    on_loan: usize,
    /// The current period, and its acknowledgements.
    period: u64,
    acknowledged: usize,
    /// Acknowledgements in the period before.
    before: usize,
    /// Acknowledgements for which the time has not been noted.
    undated: usize,
}

/// The fewest messages on loan to one consumer, at which it begins.
pub(crate) const LOANS_MIN: usize = 8;

const PERIOD_MS: u64 = 500;

impl LoanPace {
    /// Whether the loans of this queue count. In a shared subscription each member keeps its window, as the standard has
    /// it.
    pub(crate) fn counts(queue: &QueueInfo) -> bool {
        !queue.is_group
    }

    /// Whether nothing is on loan.
    pub(crate) fn is_idle(&self) -> bool {
        self.on_loan == 0
    }

    /// Whether the consumer may have one more, with `extra_loans` beyond the fewest.
    pub(crate) fn admits(&self, extra_loans: usize) -> bool {
        self.on_loan < (LOANS_MIN + extra_loans).max(2 * self.acknowledged.max(self.before))
    }

    /// A message was lent.
    pub(crate) fn lend(&mut self) {
        self.on_loan += 1;
    }

    /// Messages have returned to their queues.
    pub(crate) fn take_back(&mut self, messages: usize) {
        self.on_loan = self.on_loan.saturating_sub(messages);
    }

    /// A message was acknowledged. [`LoanPace::note_time`] follows.
    pub(crate) fn acknowledge(&mut self) {
        self.take_back(1);
        self.undated += 1;
    }

    /// Notes the time of the acknowledgements since the last call.
    pub(crate) fn note_time(&mut self, now_ms: u64) {
        let period = now_ms / PERIOD_MS;
        if period != self.period {
            self.before = if period == self.period + 1 { self.acknowledged } else { 0 };
            (self.period, self.acknowledged) = (period, 0);
        }
        self.acknowledged += std::mem::take(&mut self.undated);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many messages are on loan to a consumer that always wants more, after a while.
    fn on_loan_after_s(seconds: u64, jobs_per_s: usize) -> usize {
        let mut pace = LoanPace::default();
        let every_ms = 1_000 / jobs_per_s as u64;
        for now_ms in (0..seconds * 1_000).step_by(every_ms as usize) {
            pace.note_time(now_ms);
            while pace.admits(0) {
                pace.lend();
            }
            pace.acknowledge();
        }
        pace.on_loan
    }

    #[test]
    fn a_consumer_has_about_a_second_of_its_own_work_on_loan() {
        for (jobs_per_s, most) in [(1, LOANS_MIN), (20, 22), (100, 102), (1_000, 1_002)] {
            let on_loan = on_loan_after_s(30, jobs_per_s);
            assert!(on_loan >= most / 2 && on_loan <= most, "{on_loan} at {jobs_per_s} a second");
        }
    }

    #[test]
    fn the_pace_of_long_ago_does_not_count() {
        let mut pace = LoanPace::default();
        (0..1_000).for_each(|_| pace.lend());
        (0..1_000).for_each(|_| pace.acknowledge());
        pace.note_time(10_000);
        assert_eq!(
            (0..)
                .take_while(|_| {
                    let admits = pace.admits(0);
                    pace.lend();
                    admits
                })
                .count(),
            2_000
        );
        pace.take_back(2_001);
        assert!(pace.is_idle());
        pace.note_time(20_000);
        assert_eq!(
            (0..)
                .take_while(|_| {
                    let admits = pace.admits(0);
                    pace.lend();
                    admits
                })
                .count(),
            LOANS_MIN
        );
    }
}
