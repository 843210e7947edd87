//! Everything that ends by time: sessions, wills, messages and unused queues.

use crate::base::sync::Ordering;
use crate::ops::dispatch::Dispatcher;
use crate::state::shared::Shared;

impl Shared {
    /// Ends sessions, publishes wills and removes messages that are due. One worker calls this in each turn. False if
    /// nothing was due.
    pub(crate) fn expire(&self, dispatcher: &mut Dispatcher, now_ms: u64) -> bool {
        const QUEUES_EVERY_MS: u64 = 1_000;
        let mut any = self.expire_sessions(dispatcher, now_ms);
        if now_ms.saturating_sub(self.queues_expired_ms.load(Ordering::Relaxed)) >= QUEUES_EVERY_MS {
            self.queues_expired_ms.store(now_ms, Ordering::Relaxed);
            self.expire_queues(dispatcher, now_ms);
            self.retained.remove_expired(now_ms);
            any = true;
        }
        any
    }

    fn expire_queues(&self, dispatcher: &mut Dispatcher, now_ms: u64) {
        for queue in self.queues.all() {
            if queue.expire(&mut dispatcher.context(&self.limits, now_ms)) {
                self.remove_queue(&queue);
            }
        }
    }
}
