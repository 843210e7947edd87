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
    /// A worker has the queue on its list of queues to retry.
    watched: AtomicBool,
}

impl QueueInfo {
    pub(crate) fn new(name: &str, is_group: bool, capacity: Capacity, slot: Slot) -> Self {
        Self {
            name: name.into(),
            is_group,
            capacity: Arc::new(capacity),
            slot,
            waiting: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
        }
    }

    /// Whether messages are in the queue, as of the last change.
    pub(crate) fn has_backlog(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
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
    pub(crate) message: Message,
}

/// How a consumer wants the messages of a queue.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerOptions {
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
    pub(crate) subscription_ids: SubscriptionIds,
}
