//! Which topic queues and groups there are, by name.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use wisp_wire::TopicFilter;

use super::{InvalidQueue, QueueSettings, Receiver, TopicQueue};
use crate::core::Core;
use crate::limits::Limits;
use crate::publish::Publisher;
use crate::router::{Receiving, Subscriber};
use crate::session::Session;
use crate::sync::Mutex;

const PREFIX: &str = "$queue/";

/// The name of the queue that a topic, or a filter, stands for; None if it stands for none.
pub(crate) fn queue_name(topic: &str) -> Option<&str> {
    topic.strip_prefix(PREFIX).filter(|name| !name.is_empty())
}

/// All topic queues and groups.
#[derive(Debug)]
pub(crate) struct Directory {
    queues: Mutex<HashMap<Box<str>, Arc<TopicQueue>, RandomState>>,
    configured: HashMap<Box<str>, Arc<QueueSettings>, RandomState>,
    unconfigured: Arc<QueueSettings>,
}

/// There are as many queues as allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyQueues;

impl Directory {
    pub(crate) fn new(settings: Vec<QueueSettings>, limits: &Limits) -> Result<Self, InvalidQueue> {
        let mut configured: HashMap<Box<str>, Arc<QueueSettings>, RandomState> = HashMap::default();
        for settings in settings {
            settings.check()?;
            let name = settings.name.clone();
            if configured.insert(name.clone(), Arc::new(settings)).is_some() {
                return Err(InvalidQueue::Twice(name));
            }
        }
        Ok(Self { queues: Mutex::default(), configured, unconfigured: Arc::new(QueueSettings::unconfigured(limits)) })
    }
}

impl Core {
    /// Binds the configured queues to the topics they are for. Called once.
    pub(crate) fn bind_queues(&self) {
        let configured: Vec<_> = self.queues.configured.values().cloned().collect();
        for settings in configured {
            let name = format!("{PREFIX}{}", settings.name);
            let Ok(queue) = self.queue(&name) else { continue };
            if let Some(filter) = &settings.filter
                && let Ok(filter) = TopicFilter::new(filter)
            {
                self.router.subscribe(filter, Subscriber::new(Receiving::Queue(queue)));
            }
        }
    }

    /// The queue of that name, `$queue/NAME` or `$share/GROUP/FILTER`, made if there is none.
    pub(crate) fn queue(&self, name: &str) -> Result<Arc<TopicQueue>, TooManyQueues> {
        let mut queues = self.queues.queues.lock();
        if let Some(queue) = queues.get(name) {
            return Ok(Arc::clone(queue));
        }
        let configured = queue_name(name).and_then(|name| self.queues.configured.get(name));
        if configured.is_none() && queues.len() >= self.limits.topic_queues_count_max as usize {
            return Err(TooManyQueues);
        }
        let settings = configured.unwrap_or(&self.queues.unconfigured);
        let queue = Arc::new(TopicQueue::new(name, Arc::clone(settings), self));
        queues.insert(name.into(), Arc::clone(&queue));
        Ok(queue)
    }

    /// Makes a session a receiver of the queue of that name. A group receives what is published to
    /// `filter` from its first receiver on.
    pub(crate) fn join_queue(
        &self,
        name: &str,
        filter: Option<TopicFilter<'_>>,
        mut receiver: Receiver,
    ) -> Result<(), TooManyQueues> {
        let session = Arc::clone(&receiver.session);
        loop {
            let queue = self.queue(name)?;
            match queue.subscribe(receiver) {
                Ok(known) => {
                    if let Some(filter) = filter {
                        self.router.subscribe(filter, Subscriber::new(Receiving::Queue(Arc::clone(&queue))));
                    }
                    if !known {
                        session.change_sources(|sources| sources.push(queue));
                    }
                    return Ok(());
                }
                Err(again) => {
                    // It was closed after it was found.
                    receiver = again;
                    self.forget_queue(&queue);
                }
            }
        }
    }

    /// Ends what [`Core::join_queue`] began.
    pub(crate) fn leave_queue(&self, name: &str, filter: Option<TopicFilter<'_>>, session: &Session) {
        let found = self.queues.queues.lock().get(name).cloned();
        let Some(queue) = found else { return };
        session.change_sources(|sources| sources.retain(|source| !Arc::ptr_eq(source, &queue)));
        if queue.unsubscribe(session) {
            self.forget_queue(&queue);
            if let Some(filter) = filter {
                self.router.unsubscribe(filter, crate::bundles::Indexed::index(&*queue));
            }
        }
    }

    fn forget_queue(&self, queue: &Arc<TopicQueue>) {
        let mut queues = self.queues.queues.lock();
        if queues.get(queue.name()).is_some_and(|found| Arc::ptr_eq(found, queue)) {
            queues.remove(queue.name());
        }
        drop(queues);
        self.router.moved();
    }

    /// Removes what has expired from all queues, and queues that nobody uses.
    pub(crate) fn review_queues(&self, publisher: &mut Publisher, now_ms: u64) {
        let all: Vec<_> = self.queues.queues.lock().values().cloned().collect();
        for queue in all {
            if queue.review(self, publisher, now_ms) {
                self.forget_queue(&queue);
            }
        }
    }
}
