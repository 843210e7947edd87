//! What all workers share.

use std::sync::Arc;

use crate::budget::Budget;
use crate::limits::Limits;
use crate::queue::{ConnectionId, Queue};
use crate::registry::Registry;
use crate::router::Router;
use crate::slot::Slots;
use crate::sync::{AtomicU64, Ordering};

/// The shared state of a broker.
#[derive(Debug)]
pub struct Core {
    /// The limits in force.
    pub limits: Limits,
    /// All subscriptions.
    pub router: Router,
    /// Client identifiers in use.
    pub(crate) registry: Registry,
    /// Bytes waiting anywhere.
    pub budget: Arc<Budget>,
    /// Bytes that subscriptions take.
    pub(crate) subscriptions: Budget,
    /// Counts since the start.
    pub stats: Stats,
    slots: Arc<Slots>,
    /// Makes assigned client identifiers unique.
    assigned: AtomicU64,
    /// Tells this run's assigned client identifiers from those of another run.
    seed: u64,
}

impl Core {
    /// An empty broker. `seed` should differ from run to run.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            router: Router::default(),
            registry: Registry::default(),
            budget: Arc::new(Budget::new(limits.buffered_bytes_max)),
            subscriptions: Budget::new(limits.subscription_bytes_max),
            stats: Stats::default(),
            slots: Arc::default(),
            assigned: AtomicU64::new(0),
            seed,
        }
    }

    /// A queue for a connection that was just accepted.
    pub fn new_queue(&self, connection: ConnectionId) -> Arc<Queue> {
        Arc::new(Queue::new(connection, self.slots.take(), Arc::clone(&self.budget), &self.limits))
    }

    /// A client identifier for a client that brought none [MQTT-3.1.3-6].
    pub(crate) fn assign_client_id(&self) -> String {
        let number = self.assigned.fetch_add(1, Ordering::Relaxed);
        format!("wisp-{:x}-{number}", self.seed)
    }
}

/// Counts since the start of the broker. Workers add to them once a batch.
#[derive(Debug, Default)]
pub struct Stats {
    received: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsSnapshot {
    /// PUBLISH packets accepted from senders.
    pub messages_received: u64,
    /// PUBLISH packets handed to receivers, one for each receiver.
    pub messages_delivered: u64,
    /// Messages a subscribed receiver did not get: it was stuck, or accepts only smaller packets.
    pub messages_dropped: u64,
}

impl Stats {
    /// Adds to the counts.
    pub fn add(&self, more: StatsSnapshot) {
        for (count, more) in [
            (&self.received, more.messages_received),
            (&self.delivered, more.messages_delivered),
            (&self.dropped, more.messages_dropped),
        ] {
            if more > 0 {
                count.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    /// The counts now.
    pub fn snapshot(&self) -> StatsSnapshot {
        StatsSnapshot {
            messages_received: self.received.load(Ordering::Relaxed),
            messages_delivered: self.delivered.load(Ordering::Relaxed),
            messages_dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}
