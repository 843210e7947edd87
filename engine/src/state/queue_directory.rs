//! Topic queues and shared subscription groups by name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::base::budget::Budget;
use crate::base::capacity::{Capacity, CapacityLimits};
use crate::base::hold::HoldRule;
use crate::base::limits::Limits;
use crate::base::slot::Slots;
use crate::base::sync::{Mutex, rank};
use crate::delivery::loan::QueueInfo;
use crate::state::timers::Timers;
use crate::state::topic_queue::{QueueSettings, TopicQueue};

const PREFIX: &str = "$queue/";

/// The name of the queue that a topic or filter names, or `None`.
pub(crate) fn queue_name(topic: &str) -> Option<&str> {
    topic.strip_prefix(PREFIX).filter(|name| !name.is_empty())
}

/// All topic queues and groups.
#[derive(Debug)]
pub(crate) struct QueueDirectory {
    queues: Mutex<HashMap<Box<str>, Arc<TopicQueue>, RandomState>, { rank::DIRECTORY }>,
    configured: HashMap<Box<str>, Arc<QueueSettings>, RandomState>,
    /// The settings of queues that were created by use, and of groups.
    unconfigured: Arc<QueueSettings>,
    queue_hold: HoldRule,
    group_hold: HoldRule,
    queues_max: usize,
    slots: Arc<Slots>,
    stored: Arc<Budget>,
    /// The store keeps the messages of topic queues.
    is_durable: bool,
    /// When each queue is to be looked at next.
    timers: Arc<Timers<Arc<QueueInfo>>>,
}

/// The limit on queues is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyQueues;

impl QueueDirectory {
    /// Makes no queue yet. The settings are valid and their names differ.
    pub(crate) fn new(
        settings: Vec<QueueSettings>,
        is_durable: bool,
        limits: &Limits,
        slots: &Arc<Slots>,
        stored: &Arc<Budget>,
    ) -> Self {
        let configured = settings.into_iter().map(|settings| (settings.name.clone(), Arc::new(settings)));
        Self {
            queues: Mutex::default(),
            configured: configured.collect(),
            unconfigured: Arc::new(QueueSettings::unconfigured(limits)),
            queue_hold: HoldRule::Progress(limits.queue_stall_ms_max),
            group_hold: limits.receiver_hold(),
            queues_max: limits.topic_queues_count_max as usize,
            slots: Arc::clone(slots),
            stored: Arc::clone(stored),
            is_durable,
            timers: Arc::default(),
        }
    }

    /// The settings of all configured queues.
    pub(crate) fn configured(&self) -> impl Iterator<Item = &Arc<QueueSettings>> {
        self.configured.values()
    }

    /// The queue with this full name, `$queue/NAME` or `$share/GROUP/FILTER`, created if it is missing.
    pub(crate) fn find_or_create(&self, name: &str) -> Result<Arc<TopicQueue>, TooManyQueues> {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get(name) {
            return Ok(Arc::clone(queue));
        }
        if self.settings_of(name).is_none() && queues.len() >= self.queues_max {
            return Err(TooManyQueues);
        }
        let queue = self.create(name);
        queues.insert(name.into(), Arc::clone(&queue));
        Ok(queue)
    }

    /// The same at a restart, however many queues there are.
    pub(crate) fn restore(&self, name: &str) -> Arc<TopicQueue> {
        let mut queues = self.queues.lock();
        Arc::clone(queues.entry(name.into()).or_insert_with(|| self.create(name)))
    }

    fn settings_of(&self, name: &str) -> Option<&Arc<QueueSettings>> {
        queue_name(name).and_then(|name| self.configured.get(name))
    }

    fn create(&self, name: &str) -> Arc<TopicQueue> {
        let settings = self.settings_of(name).unwrap_or(&self.unconfigured);
        Arc::new(TopicQueue::new(Arc::new(self.info(name)), Arc::clone(settings), &self.timers))
    }

    /// The identity of a queue that is in no directory.
    pub(crate) fn info(&self, name: &str) -> QueueInfo {
        let settings = self.settings_of(name).unwrap_or(&self.unconfigured);
        let (bytes_max, messages_max) = (settings.bytes_max, settings.messages_max);
        let is_group = queue_name(name).is_none();
        let rule = if is_group { self.group_hold } else { self.queue_hold };
        let limits = CapacityLimits { budget: Arc::clone(&self.stored), bytes_max, messages_max, rule };
        let capacity = Capacity::new(Arc::new(limits));
        let info = QueueInfo::new(name, is_group, capacity, self.slots.take());
        info.set_keeps(self.is_durable && !is_group);
        info
    }

    /// The number of queues and groups that are not configured.
    pub(crate) fn len_unconfigured(&self) -> usize {
        self.queues.lock().keys().filter(|name| self.settings_of(name).is_none()).count()
    }

    /// Whether the configuration has the queue with this name, which is without `$queue/`.
    pub(crate) fn is_configured(&self, name: &str) -> bool {
        self.configured.contains_key(name)
    }

    /// Calls `visit` with the full name and the capacity of each queue and group. All of them are locked meanwhile.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&str, &Capacity)) {
        self.queues.lock().iter().for_each(|(name, queue)| visit(name, queue.capacity()));
    }

    /// The first `most` queues and groups behind the full name `after`, by name, whose names begin with `prefix`.
    pub(crate) fn behind(&self, after: &str, prefix: &str, most: usize) -> Vec<Arc<TopicQueue>> {
        let mut first = BTreeMap::new();
        for (name, queue) in self.queues.lock().iter() {
            if **name > *after && name.starts_with(prefix) {
                first.insert(name.clone(), Arc::clone(queue));
                if first.len() > most {
                    first.pop_last();
                }
            }
        }
        first.into_values().collect()
    }

    /// The number of messages in all queues.
    pub(crate) fn queued_messages(&self) -> u64 {
        self.queues.lock().values().map(|queue| queue.capacity().depth_messages() as u64).sum()
    }

    /// The queue with this full name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<TopicQueue>> {
        self.queues.lock().get(name).cloned()
    }

    /// The queue that `info` belongs to, unless it is gone. A later queue of the same name has another `info`.
    pub(crate) fn find(&self, info: &Arc<QueueInfo>) -> Option<Arc<TopicQueue>> {
        self.get(&info.name).filter(|queue| Arc::ptr_eq(queue.info(), info))
    }

    /// Removes a closed queue.
    pub(crate) fn remove(&self, queue: &TopicQueue) {
        let mut queues = self.queues.lock();
        let name = &*queue.info().name;
        if queues.get(name).is_some_and(|found| Arc::ptr_eq(found.info(), queue.info())) {
            queues.remove(name);
        }
    }

    /// When the first queue is due to be looked at.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.timers.next_ms()
    }

    /// The queues that are due: a message expires, or they may have been unused for long.
    pub(crate) fn due(&self, now_ms: u64) -> Vec<Arc<TopicQueue>> {
        self.timers.due(now_ms).iter().filter_map(|info| self.find(info)).collect()
    }
}
