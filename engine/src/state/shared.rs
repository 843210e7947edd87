//! The state that all workers share.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::base::budget::Budget;
use crate::base::capacity::CapacityLimits;
use crate::base::denials::Denials;
use crate::base::limits::{LIMITS, LimitOutOfRange, Limits};
use crate::base::listener_limits::ListenerLimits;
use crate::base::reached::ReachedLimits;
use crate::base::slot::Slots;
use crate::base::spent::SpentBudgets;
use crate::base::sync::{AtomicU64, Mutex, Ordering, RwLock, rank};
use crate::delivery::outbox::{ConnectionId, Outbox};
use crate::metrics::histogram::{Histogram, Histograms};
use crate::metrics::{Counters, StatsSnapshot};
use crate::policy::{AllowAll, Policy};
use crate::state::evictable::Evictable;
use crate::state::queue_directory::QueueDirectory;
use crate::state::registry::Registry;
use crate::state::retained::RetainedStore;
use crate::state::session::Session;
use crate::state::subscriber::Subscriber;
use crate::state::timers::Timers;
use crate::state::topic_queue::{InvalidQueue, QueueSettings};
use crate::state::topic_tree::TopicTree;
use crate::state::unauthenticated::Unauthenticated;
use crate::state::will::DueWills;
use crate::store::journal::Journal;
use crate::store::{BadObject, MemoryStore, Restored, Store};

/// The shared state of a broker.
#[derive(Debug)]
pub struct Shared {
    /// The limits that the broker was started with. They are in range.
    pub(crate) limits: Limits,
    /// The same, with the live ones as they are now.
    live_limits: RwLock<Limits, { rank::LEAF }>,
    /// The own limits of each listener.
    listeners: Box<[ListenerLimits]>,
    /// All subscriptions to topics.
    pub(crate) tree: TopicTree<Subscriber>,
    /// All sessions.
    pub(crate) registry: Registry,
    /// Connections whose CONNECT is not accepted yet.
    pub(crate) unauthenticated: Arc<Unauthenticated>,
    /// Sessions that can be ended for new ones.
    pub(crate) evictable: Mutex<Evictable, { rank::LEAF }>,
    /// When sessions end and wills are due.
    pub(crate) timers: Timers<Arc<Session>>,
    /// Whose wills are due and not delivered yet.
    pub(crate) due_wills: DueWills,
    /// Topic queues and shared subscription groups.
    pub(crate) queues: QueueDirectory,
    /// Retained messages.
    pub(crate) retained: RetainedStore,
    /// Bytes in input buffers and outboxes.
    pub(crate) budget: Arc<Budget>,
    /// Bytes of stored messages.
    pub(crate) stored: Arc<Budget>,
    /// The limits of each outbox.
    outbox_limits: Arc<CapacityLimits>,
    /// The limits of the messages of each session.
    pub(crate) session_limits: Arc<CapacityLimits>,
    /// Bytes that subscriptions take.
    pub(crate) subscriptions: Budget,
    /// The numbers of subscriptions: to topics, and to groups and topic queues.
    pub(crate) subscription_counts: [AtomicU64; 2],
    /// Connected clients.
    pub(crate) connected: AtomicU64,
    /// The topics of `$SYS`.
    pub(crate) sys: SysOptions,
    /// The budgets of receivers that have left.
    pub(crate) spent: SpentBudgets,
    /// The prefix for response topics, sent to clients that ask for it (MQTT 5 section 3.2.2.3.15).
    pub(crate) response_information: Option<Box<str>>,
    /// Decides whether a client may connect, publish and subscribe.
    pub(crate) policy: Arc<dyn Policy>,
    /// Whether the policy restricts messages.
    pub(crate) restricts_messages: bool,
    /// Whether the policy gives clients rights.
    pub(crate) grants_rights: bool,
    /// The changes of the objects that outlive the process.
    pub(crate) journal: Journal,
    /// Counts since the start, of what happens outside the workers.
    counters: Counters,
    /// The counts of each worker.
    worker_counters: Mutex<Vec<Arc<Counters>>, { rank::LEAF }>,
    /// The time of messages in the broker.
    pub(crate) message_times: Histogram,
    /// Limits that were reached and are not reported yet.
    pub(crate) reached: ReachedLimits,
    /// Messages that rights have denied, not reported yet.
    pub(crate) denials: Denials,
    /// The indices of sessions and queues.
    pub(crate) receiver_slots: Arc<Slots>,
    outbox_slots: Arc<Slots>,
    /// Makes assigned client identifiers unique.
    assigned: AtomicU64,
    /// Distinguishes this run's assigned client identifiers from another run's.
    seed: u64,
}

/// The operator's choices besides the limits.
#[derive(Clone, Debug)]
pub struct Options {
    /// Topic queues that exist from the start.
    pub queues: Vec<QueueSettings>,
    /// The prefix for response topics, sent to clients of MQTT 5 that ask for it.
    pub response_information: Option<Box<str>>,
    /// Decides whether a client may connect, publish and subscribe.
    pub policy: Arc<dyn Policy>,
    /// Keeps sessions, their messages, retained messages and topic queues beyond the life of the process.
    pub store: Arc<dyn Store>,
    /// Unix time in milliseconds when the engine's time is 0. A durable store needs it.
    pub unix_ms_at_start: u64,
    /// The topics of `$SYS`.
    pub sys: SysOptions,
    /// The limits that listeners have of their own, by the index of the listener. Others have none.
    pub listeners: Vec<ListenerLimits>,
    /// Sessions and their connections are kept for lists, which takes memory for each. Without it the lists of sessions and
    /// subscriptions are empty.
    pub lists_sessions: bool,
}

/// When the broker publishes to the topics of `$SYS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SysOptions {
    /// Seconds between two updates. 0, the default: there are no such topics.
    pub interval_s: u16,
    /// Unix time in milliseconds when the engine's time is 0. Updates come when Unix time is a multiple of the interval.
    pub unix_ms: u64,
}

/// The result of a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restoration {
    /// Sessions. Some may have expired meanwhile; they end at once.
    pub sessions: u64,
    /// Their subscriptions.
    pub subscriptions: u64,
    /// Messages that wait for them or are unacknowledged, one for each session, and messages in topic queues and groups.
    pub messages: u64,
    /// Retained messages.
    pub retained: u64,
    /// Objects that were dropped, since their session, message or group was not there.
    pub objects_dropped: u64,
    /// Limits that are lower than the restored number, which is here beside their names. Everything is kept.
    pub above_limits: Vec<(&'static str, u64)>,
}

/// State that exists in memory only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsaved {
    /// Sessions that outlive their connections.
    pub sessions: u64,
    /// Retained messages.
    pub retained_messages: u64,
    /// Messages at QoS 1 and 2 that wait for clients or are unacknowledged, and messages in topic queues.
    pub queued_messages: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queues: Vec::new(),
            response_information: None,
            policy: Arc::new(AllowAll),
            store: Arc::new(MemoryStore),
            unix_ms_at_start: 0,
            sys: SysOptions::default(),
            listeners: Vec::new(),
            lists_sessions: false,
        }
    }
}

impl Options {
    /// Whether a broker can start with these options and `limits`.
    ///
    /// # Errors
    /// The first limit that is out of range, or else the first option that makes no sense.
    pub fn check(&self, limits: &Limits) -> Result<(), InvalidOptions> {
        limits.check().map_err(InvalidOptions::Limit)?;
        self.listeners.iter().try_for_each(ListenerLimits::check).map_err(InvalidOptions::Limit)?;
        if !self.response_information.as_deref().is_none_or(is_mqtt_text) {
            return Err(InvalidOptions::ResponseInformation);
        }
        let mut names = BTreeSet::new();
        for queue in &self.queues {
            queue.check().map_err(InvalidOptions::Queue)?;
            if !names.insert(&queue.name) {
                return Err(InvalidOptions::Queue(InvalidQueue::Twice(queue.name.clone())));
            }
        }
        Ok(())
    }
}

/// Why a broker cannot start with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidOptions {
    /// A limit is out of its range.
    Limit(LimitOutOfRange),
    /// The settings of a topic queue make no sense.
    Queue(InvalidQueue),
    /// MQTT cannot carry the response information.
    ResponseInformation,
}

impl fmt::Display for InvalidOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(error) => error.fmt(f),
            Self::Queue(error) => error.fmt(f),
            Self::ResponseInformation => {
                write!(f, "the response information has more than 65535 bytes, or U+0000 in it")
            }
        }
    }
}

impl std::error::Error for InvalidOptions {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Limit(error) => Some(error),
            Self::Queue(error) => Some(error),
            Self::ResponseInformation => None,
        }
    }
}

/// Whether MQTT can carry `text`: it has at most 65535 bytes and no U+0000 [MQTT-1.5.4-2].
pub fn is_mqtt_text(text: &str) -> bool {
    text.len() <= usize::from(u16::MAX) && !text.contains('\0')
}

impl Shared {
    /// An empty broker. `seed` should differ from run to run.
    ///
    /// # Panics
    /// If a limit is out of range.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self::with_options(limits, Options::default(), seed).expect("the limits are in range")
    }

    /// A broker with the operator's topic queues. `seed` should differ from run to run.
    ///
    /// # Errors
    /// As [`Options::check`].
    pub fn with_options(limits: Limits, options: Options, seed: u64) -> Result<Self, InvalidOptions> {
        options.check(&limits)?;
        let (budget, stored) = (Budget::new(limits.buffered_bytes_max), Budget::new(limits.stored_bytes_max));
        let (receiver_slots, budget, stored) = (Arc::default(), Arc::new(budget), Arc::new(stored));
        let is_durable = options.store.is_durable();
        let shared = Self {
            limits,
            live_limits: RwLock::new(limits),
            listeners: options.listeners.into(),
            tree: TopicTree::default(),
            registry: Registry::new(options.lists_sessions),
            unauthenticated: Arc::default(),
            evictable: Mutex::default(),
            timers: Timers::default(),
            due_wills: DueWills::default(),
            queues: QueueDirectory::new(options.queues, is_durable, &limits, &receiver_slots, &stored),
            retained: RetainedStore::default(),
            outbox_limits: Arc::new(CapacityLimits::of_receivers(&limits, &budget)),
            session_limits: Arc::new(CapacityLimits::of_receivers(&limits, &stored)),
            budget,
            stored,
            subscriptions: Budget::new(limits.subscription_bytes_max),
            subscription_counts: [AtomicU64::new(0), AtomicU64::new(0)],
            connected: AtomicU64::new(0),
            sys: options.sys,
            spent: SpentBudgets::default(),
            response_information: options.response_information,
            restricts_messages: options.policy.restricts_messages(),
            grants_rights: options.policy.grants_rights(),
            policy: options.policy,
            journal: Journal::new(options.store, options.unix_ms_at_start),
            counters: Counters::default(),
            worker_counters: Mutex::default(),
            message_times: Histogram::default(),
            reached: ReachedLimits::default(),
            denials: Denials::default(),
            receiver_slots,
            outbox_slots: Arc::default(),
            assigned: AtomicU64::new(0),
            seed,
        };
        shared.bind_queues();
        Ok(shared)
    }

    /// The limits for connections to come: the ones of the start, with the live ones as they are now.
    pub fn live_limits(&self) -> Limits {
        *self.live_limits.read()
    }

    /// The limits of a connection of this listener, without the live ones.
    pub(crate) fn limits_of(&self, listener: u16) -> Limits {
        self.own_limits(listener).of(&self.limits)
    }

    /// The limits for connections to come of this listener.
    pub(crate) fn live_limits_of(&self, listener: u16) -> Limits {
        self.own_limits(listener).of(&self.live_limits.read())
    }

    fn own_limits(&self, listener: u16) -> ListenerLimits {
        self.listeners.get(usize::from(listener)).copied().unwrap_or_default()
    }

    /// Takes up the [live](crate::Limit::is_live) limits of `limits`, for connections to come. Returns the names of the limits
    /// that have changed.
    ///
    /// # Errors
    /// If a limit is out of range. Then nothing changes.
    pub fn set_live_limits(&self, limits: &Limits) -> Result<Vec<&'static str>, LimitOutOfRange> {
        limits.check()?;
        let mut current = self.live_limits.write();
        let old = std::mem::replace(&mut *current, self.limits.with_live(limits));
        let changed = LIMITS.iter().filter(|limit| limit.get(&old) != limit.get(&current));
        Ok(changed.map(|limit| limit.name).collect())
    }

    /// Whether one more connection than the `open` ones is allowed, if its listener allows it. One that is not is counted;
    /// the driver closes it at once.
    pub fn admits_connection(&self, open: u64, listener_admits: bool) -> bool {
        let admits = listener_admits && open < u64::from(self.live_limits.read().connections_count_max);
        if !admits {
            self.counters.add(StatsSnapshot { connections_refused: 1, ..StatsSnapshot::default() });
        }
        admits
    }

    /// Whether clients may connect: the buffers have room for what their sessions send.
    pub fn admits_clients(&self) -> bool {
        self.budget.tolerates(0)
    }

    /// Counts a connection that its transport or its listener rejected.
    pub fn count_rejected_connection(&self) {
        self.counters.add(StatsSnapshot { connections_rejected: 1, ..StatsSnapshot::default() });
    }

    /// The counters of a new worker.
    pub(crate) fn new_counters(&self) -> Arc<Counters> {
        let counters = Arc::<Counters>::default();
        self.worker_counters.lock().push(Arc::clone(&counters));
        counters
    }

    /// The counts since the start, and the gauges of this moment.
    pub fn stats(&self) -> StatsSnapshot {
        let mut stats = StatsSnapshot::default();
        self.counters.add_to(&mut stats);
        let workers = self.worker_counters.lock();
        workers.iter().for_each(|counters| counters.add_to(&mut stats));
        stats.workers = workers.len() as u64;
        drop(workers);
        stats.messages_dropped += self.budget.overflowed_messages();
        stats.packets_sent += stats.publishes_sent;
        stats.bytes_sent += self.budget.sent_bytes();
        stats.sessions = self.registry.count() as u64;
        stats.sessions_connected = self.connected.load(Ordering::Relaxed);
        stats.sessions_kept = self.registry.kept() as u64;
        stats.sessions_highest = self.registry.highest() as u64;
        let [plain, shared] = self.subscription_counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        (stats.subscriptions, stats.shared_subscriptions) = (plain, shared);
        stats.subscription_bytes = self.subscriptions.used_bytes() as u64;
        let (retained, retained_bytes) = self.retained.size();
        (stats.retained, stats.retained_bytes) = (retained as u64, retained_bytes as u64);
        stats.buffered_bytes = self.budget.used_bytes() as u64;
        stats.stored_bytes = self.stored.used_bytes() as u64;
        let store = self.journal.stats();
        stats.store_writes = store.writes;
        stats.store_written_bytes = store.written_bytes;
        stats.store_syncs = store.syncs;
        stats.store_write_failures = store.write_failures;
        stats.store_objects = store.objects;
        stats.store_live_bytes = store.live_bytes;
        stats.store_disk_bytes = store.disk_bytes;
        stats.store_pending_bytes = store.pending_bytes;
        stats
    }

    /// The histograms since the start.
    pub fn histograms(&self) -> Histograms {
        Histograms { message: self.message_times.snapshot(), commit: self.journal.stats().commits }
    }

    /// Takes up the objects that the store has kept, in the order in which the objects were first put. Comes before any
    /// worker. Sessions that have expired meanwhile end, and wills that are due are published, as soon as the first
    /// worker looks.
    ///
    /// # Errors
    /// The first object that this version cannot read. The broker cannot be used then.
    pub fn restore(
        &mut self,
        objects: impl IntoIterator<Item = Restored<impl AsRef<[u8]>>>,
    ) -> Result<Restoration, BadObject> {
        let restoration = self.restore_objects(objects.into_iter())?;
        let objects_dropped = restoration.objects_dropped;
        self.counters.add(StatsSnapshot { objects_dropped, ..StatsSnapshot::default() });
        Ok(restoration)
    }

    /// Counts a request to the admin listener that was refused.
    pub fn count_refused_admin_request(&self) {
        self.counters.add(StatsSnapshot { admin_requests_refused: 1, ..StatsSnapshot::default() });
    }

    /// Counts a will that was denied outside the workers.
    pub(crate) fn count_denied_will(&self) {
        self.counters.add(StatsSnapshot { publishes_denied: 1, ..StatsSnapshot::default() });
    }

    /// The state that is lost when the broker ends. `None` with a durable store.
    pub fn unsaved(&self) -> Option<Unsaved> {
        if self.journal.is_durable() {
            return None;
        }
        let mut unsaved = Unsaved {
            sessions: self.registry.kept() as u64,
            retained_messages: self.retained.size().0 as u64,
            queued_messages: 0,
        };
        self.registry.for_each(|session| {
            unsaved.queued_messages += session.capacity().depth_messages() as u64;
        });
        unsaved.queued_messages += self.queues.queued_messages();
        Some(unsaved)
    }

    /// Whether nothing in the state depends on the time.
    pub(crate) fn has_no_timers(&self) -> bool {
        self.next_timer_ms().is_none()
    }

    /// When the first session, will, message or queue is due.
    pub(crate) fn next_timer_ms(&self) -> Option<u64> {
        let next = [self.timers.next_ms(), self.queues.next_ms(), self.retained.next_expiry_ms()];
        next.into_iter().flatten().min()
    }

    /// An outbox for a new connection of `worker`.
    pub fn new_outbox(&self, connection: ConnectionId, worker: usize) -> Arc<Outbox> {
        let slot = self.outbox_slots.take();
        Arc::new(Outbox::new((connection, worker), slot, &self.outbox_limits))
    }

    /// A client identifier for a client that sent none [MQTT-3.1.3-6].
    pub(crate) fn assign_client_id(&self) -> String {
        let number = self.assigned.fetch_add(1, Ordering::Relaxed);
        format!("wisp-{:x}-{number}", self.seed)
    }
}
