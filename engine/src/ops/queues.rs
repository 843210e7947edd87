//! Topic queues and groups: find, join and leave them, and return a session's loans to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use wisp_wire::TopicFilter;

use crate::base::spent::Receiver;
use crate::delivery::bundles::Indexed;
use crate::delivery::loan::{QueueInfo, Queued, Returned};
use crate::ops::dispatch::Dispatcher;
use crate::state::queue_directory::TooManyQueues;
pub(crate) use crate::state::queue_directory::queue_name;
use crate::state::session::Session;
use crate::state::shared::Shared;
use crate::state::subscriber::{Subscriber, SubscriberKind};
use crate::state::topic_queue::{Consumer, TopicQueue};
use crate::store::journal::Recorder;

impl Shared {
    /// Subscribes the configured queues to their filters. Called once.
    pub(crate) fn bind_queues(&self) {
        let configured: Vec<_> = self.queues.configured().cloned().collect();
        for settings in configured {
            let Ok(queue) = self.queues.find_or_create(&format!("$queue/{}", settings.name)) else { continue };
            if let Some(filter) = &settings.filter
                && let Ok(filter) = TopicFilter::new(filter)
            {
                self.tree.subscribe(filter, Subscriber::new(SubscriberKind::Queue(queue)));
            }
        }
    }

    /// Makes a session a consumer of the queue with this full name. A group receives messages that match `filter` from
    /// its first consumer on.
    pub(crate) fn join_queue(
        &self,
        name: &str,
        filter: Option<TopicFilter<'_>>,
        mut consumer: Consumer,
    ) -> Result<(), TooManyQueues> {
        let session = Arc::clone(&consumer.session);
        loop {
            let queue = self.queues.find_or_create(name)?;
            if queue.is_group() {
                self.spent.restore(Receiver::Group(name), queue.capacity());
            }
            match queue.subscribe(consumer) {
                Ok(known) => {
                    if let Some(filter) = filter {
                        self.tree.subscribe(filter, Subscriber::new(SubscriberKind::Queue(Arc::clone(&queue))));
                    }
                    if !known {
                        session.change_sources(|sources| sources.push(Arc::clone(queue.info())));
                    }
                    return Ok(());
                }
                Err(refused) => {
                    // The queue was closed after it was found.
                    consumer = refused;
                    self.remove_queue(&queue);
                }
            }
        }
    }

    /// Undoes [`Shared::join_queue`].
    pub(crate) fn leave_queue(
        &self,
        (name, filter): (&str, Option<TopicFilter<'_>>),
        session: &Session,
        recorder: Recorder<'_>,
        now_ms: u64,
    ) {
        let Some(queue) = self.queues.get(name) else { return };
        session.change_sources(|sources| sources.retain(|source| !Arc::ptr_eq(source, queue.info())));
        if queue.unsubscribe(session, recorder) {
            self.spent.remember(Receiver::Group(name), queue.capacity(), now_ms);
            self.remove_queue(&queue);
            if let Some(filter) = filter {
                self.tree.unsubscribe(filter, queue.index());
            }
        } else if let Some(filter) = filter.filter(|_| self.grants_rights) {
            // The member may have been the only one that may read some topics.
            self.tree.invalidate(filter);
        }
    }

    /// Removes a closed queue.
    pub(crate) fn remove_queue(&self, queue: &TopicQueue) {
        self.queues.remove(queue);
        // Its routes are those of its own topic or, for a group, of the filter's topics.
        if let Ok(filter) = TopicFilter::new(&queue.info().name) {
            self.tree.invalidate(filter.shared().map_or(filter, |(_, within)| within));
        }
    }

    /// Returns messages on loan to their queues, in their order.
    pub(crate) fn return_loans(&self, returned: Vec<Returned>, dispatcher: &mut Dispatcher, now_ms: u64) {
        let mut by_queue: BTreeMap<usize, (Arc<QueueInfo>, Vec<Queued>)> = BTreeMap::new();
        for (queue, queued) in returned {
            by_queue.entry(queue.index()).or_insert_with(|| (queue, Vec::new())).1.push(queued);
        }
        for (info, queued) in by_queue.into_values() {
            match self.queues.find(&info) {
                Some(queue) => {
                    let gated = queue.take_back(queued, &mut dispatcher.context(self, now_ms));
                    dispatcher.resume_all_after(gated);
                }
                None => queued.iter().for_each(|queued| info.discard(queued, dispatcher.recorder(self))),
            }
        }
    }

    /// Has the queues of a session offer it messages again, since its client has connected.
    pub(crate) fn rejoin_queues(&self, session: &Session) {
        for info in session.sources() {
            if let Some(queue) = self.queues.find(&info) {
                queue.rejoin(session);
            }
        }
    }
}
