//! Topic queues and groups: finding, joining, leaving them, and giving them back the messages of a session.

use std::collections::BTreeMap;
use std::sync::Arc;

use wisp_wire::TopicFilter;

use crate::delivery::addressed::DeliveryContext;
use crate::delivery::bundles::Indexed;
use crate::delivery::loan::{QueueInfo, Queued, Returned};
use crate::state::queue_directory::TooManyQueues;
pub(crate) use crate::state::queue_directory::queue_name;
use crate::state::session::Session;
use crate::state::shared::Shared;
use crate::state::subscriber::{Subscriber, SubscriberKind};
use crate::state::topic_queue::{Consumer, TopicQueue};

impl Shared {
    /// Binds the configured queues to the topics they are for. Called once.
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

    /// Makes a session a consumer of the queue of that full name. A group receives messages that match `filter` from its first
    /// consumer on.
    pub(crate) fn join_queue(
        &self,
        name: &str,
        filter: Option<TopicFilter<'_>>,
        mut consumer: Consumer,
    ) -> Result<(), TooManyQueues> {
        let session = Arc::clone(&consumer.session);
        loop {
            let queue = self.queues.find_or_create(name)?;
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
                Err(again) => {
                    // It was closed after it was found.
                    consumer = again;
                    self.forget_queue(&queue);
                }
            }
        }
    }

    /// Undoes [`Shared::join_queue`].
    pub(crate) fn leave_queue(&self, name: &str, filter: Option<TopicFilter<'_>>, session: &Session) {
        let Some(queue) = self.queues.get(name) else { return };
        session.change_sources(|sources| sources.retain(|source| !Arc::ptr_eq(source, queue.info())));
        if queue.unsubscribe(session) {
            self.forget_queue(&queue);
            if let Some(filter) = filter {
                self.tree.unsubscribe(filter, queue.index());
            }
        }
    }

    /// Forgets a queue that is closed.
    pub(crate) fn forget_queue(&self, queue: &TopicQueue) {
        self.queues.remove(queue);
        self.tree.invalidate();
    }

    /// Returns messages that were on loan to their queues, in their order.
    pub(crate) fn give_back(&self, returned: Vec<Returned>, context: &mut DeliveryContext<'_>) {
        let mut by_queue: BTreeMap<usize, (Arc<QueueInfo>, Vec<Queued>)> = BTreeMap::new();
        for (queue, queued) in returned {
            by_queue.entry(queue.index()).or_insert_with(|| (queue, Vec::new())).1.push(queued);
        }
        for (info, queued) in by_queue.into_values() {
            match self.queues.find(&info) {
                Some(queue) => queue.take_back(queued, context),
                None => queued.iter().for_each(|queued| info.release(&queued.message)),
            }
        }
    }

    /// Sends what a session's window admits after acknowledgements, and has queues with messages try it again.
    pub(crate) fn resume_session(&self, session: &Session, context: &mut DeliveryContext<'_>) {
        for info in session.resume(context) {
            if let Some(queue) = self.queues.find(&info) {
                queue.pump_for(session, context);
            }
        }
    }
}
