//! Why a connection is not read, and how many paused connections a worker resumes at once.

use std::sync::Arc;

use foldhash::HashMap;

use crate::base::capacity::Capacity;
use crate::delivery::outbox::Outbox;
use crate::policy::PendingDecision;

/// A connection that is not read.
#[derive(Debug)]
pub(crate) struct Pause {
    pub(crate) cause: PauseCause,
    pub(crate) since_ms: u64,
}

/// What a paused connection waits for.
#[derive(Debug)]
pub(crate) enum PauseCause {
    /// Room for its messages in a receiver's queue.
    Capacity(Arc<Capacity>),
    /// Its own client to read the replies.
    Replies,
    /// The connection that had its session before: its last messages come first.
    Takeover(Arc<Outbox>),
    /// The time when it may send again, in milliseconds.
    RateLimit { until_ms: u64 },
    /// The answer of the policy.
    Policy(Arc<PendingDecision>),
    /// The store to commit what its last packets are acknowledged for.
    Commit,
}

/// Minimum bytes resumed per turn and full receiver. Paused senders may also have messages for other receivers, so even a nearly
/// full one lets this much through.
const RESUMED_BYTES_MIN: usize = 1024 * 1024;

/// Limits how many paused connections are resumed in one turn. Senders that wait for the same receiver are resumed in the order in
/// which they have waited, as many as may fill its queue: all others would find it full again, and the bytes they have read would
/// be moved for nothing.
#[derive(Default)]
pub(crate) struct ResumeQuota {
    /// Bytes resumed so far for each receiver's capacity, by its address.
    bytes: HashMap<*const Capacity, usize>,
}

impl ResumeQuota {
    /// Whether one more connection is resumed that holds `held_bytes` for a receiver with `free_bytes` free.
    pub(crate) fn admit(&mut self, capacity: *const Capacity, free_bytes: usize, held_bytes: usize) -> bool {
        let bytes = self.bytes.entry(capacity).or_default();
        if *bytes >= free_bytes.max(RESUMED_BYTES_MIN) {
            return false;
        }
        *bytes += held_bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    #[test]
    fn as_many_are_resumed_as_may_fill_the_queue() {
        let (one, other) = (ptr::without_provenance(8), ptr::without_provenance(16));
        let mut quota = ResumeQuota::default();
        for (capacity, free_bytes) in [(one, 3 * RESUMED_BYTES_MIN), (other, 0)] {
            let resumed = (0..100).filter(|_| quota.admit(capacity, free_bytes, RESUMED_BYTES_MIN / 2)).count();
            assert_eq!(resumed, if capacity == one { 6 } else { 2 }, "{free_bytes} bytes are free");
        }
        assert!(quota.admit(ptr::without_provenance(24), 0, 100 * RESUMED_BYTES_MIN), "however much it holds");
    }
}
