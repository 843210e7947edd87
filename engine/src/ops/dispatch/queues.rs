//! Messages that enter a topic queue without a sender: dead letters, and messages whose queue was removed meanwhile. If the queue is full,
//! the message is dropped: there is no sender to refuse or to hold back.

use std::sync::Arc;

use super::Dispatcher;
use crate::delivery::loan::Queued;
use crate::ops::queues::queue_name;
use crate::state::shared::Shared;
use crate::state::topic_queue::{FullPolicy, TopicQueue};

impl Dispatcher {
    /// Stages dead letters for their queues.
    pub(super) fn publish_dead_letters(&mut self, shared: &Shared) {
        for letter in std::mem::take(&mut self.dead) {
            let recorder = self.recorder(shared);
            match self.queue_for(shared, &letter.queue, &letter.queued) {
                Some(queue) => {
                    let moved = letter.queued.moved_to(queue.info(), recorder);
                    self.stage_queued(&queue, moved);
                }
                None => self.drop_queued(shared, &letter.queued),
            }
        }
    }

    /// Stages a message of a queue that is gone for a new queue of the same name. A group has taken its messages with it.
    pub(super) fn requeue(&mut self, shared: &Shared, gone: &TopicQueue, queued: Queued) {
        let Some(name) = queue_name(&gone.info().name) else {
            self.recorder(shared).delete_all(queued.key().into_iter());
            return;
        };
        match self.queue_for(shared, name, &queued) {
            Some(queue) => self.stage_queued(&queue, queued),
            None => self.drop_queued(shared, &queued),
        }
    }

    /// The topic queue `name`, if it has room for the message.
    fn queue_for(&self, shared: &Shared, name: &str, queued: &Queued) -> Option<Arc<TopicQueue>> {
        let queue = shared.queues.find_or_create(&format!("$queue/{name}")).ok()?;
        let (bytes, messages) = self.queued.staged_for(&queue);
        let is_full = queue.policy() == FullPolicy::Refuse
            && queue.capacity().is_full_with(bytes + queued.message.cost_bytes(), messages + 1);
        (!is_full).then_some(queue)
    }

    fn stage_queued(&mut self, queue: &Arc<TopicQueue>, queued: Queued) {
        let bytes = queued.message.cost_bytes();
        self.queued.stage(queue, queued, bytes);
    }

    fn drop_queued(&mut self, shared: &Shared, queued: &Queued) {
        self.counts.messages_dropped += 1;
        self.recorder(shared).delete_all(queued.key().into_iter());
    }
}
