//! Everything that ends by time: sessions, wills, messages and unused queues.

use crate::ops::dispatch::Dispatcher;
use crate::state::shared::Shared;

impl Shared {
    /// Ends sessions, publishes wills and removes messages that are due. One worker calls this in each turn. False if
    /// nothing was due.
    pub(crate) fn expire(&self, dispatcher: &mut Dispatcher, now_ms: u64) -> bool {
        self.retained.remove_expired(dispatcher.recorder(self), now_ms);
        let sessions_expired = self.expire_sessions(dispatcher, now_ms);
        self.expire_queues(dispatcher, now_ms) || sessions_expired
    }

    fn expire_queues(&self, dispatcher: &mut Dispatcher, now_ms: u64) -> bool {
        let due = self.queues.due(now_ms);
        for queue in &due {
            let (is_gone, gated) = queue.expire(&mut dispatcher.context(self, now_ms));
            dispatcher.resume_all_after(gated);
            if is_gone {
                self.remove_queue(queue);
            }
        }
        !due.is_empty()
    }
}
