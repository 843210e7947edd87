//! The reasons why a connection is not read, and how many paused connections a worker resumes at once.

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

/// The reason for a pause.
#[derive(Debug)]
pub(crate) enum PauseCause {
    /// A receiver is full.
    Capacity(Arc<Capacity>),
    /// The client does not read its replies.
    Replies,
    /// The last messages of the connection that had the session come first.
    Takeover(Arc<Outbox>),
    /// A will that the client left with an earlier connection: it comes before all that the client sends now.
    PreviousWill,
    /// There is no memory for more of a long packet.
    Buffers,
    /// The rate limit, until this time in milliseconds.
    RateLimit { until_ms: u64 },
    /// The policy has not answered.
    Policy(Arc<PendingDecision>),
    /// The store has not committed the changes of the last packets.
    Commit,
    /// The store does not take more changes.
    StoreFull(Ahead),
}

/// A connection whose message waits until the store takes more, and the acknowledgements behind the message.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// The message cannot be refused but by the end of the connection.
    pub(crate) must_end: bool,
    /// The bytes of messages at the front of the input buffer.
    pub(crate) kept: usize,
    /// A packet of another type follows, or the end of the input. Nothing behind it is handled before the pause ends.
    pub(crate) is_at_end: bool,
    /// The socket may have bytes.
    pub(crate) is_readable: bool,
}

/// Minimum bytes resumed per turn and full receiver. Paused senders may also have messages for other receivers, so even
/// a nearly full one lets this much through.
const RESUMED_BYTES_MIN: usize = 1024 * 1024;

/// Limits how many paused connections are resumed in one turn. Senders to the same receiver are resumed in the order in
/// which they were paused, as many as may fill its queue: any more would find it full again, after their bytes were
/// moved in vain.
#[derive(Default)]
pub(crate) struct ResumeQuota {
    /// Bytes resumed so far for each receiver's capacity, by its address.
    bytes: HashMap<*const Capacity, usize>,
}

impl ResumeQuota {
    /// Whether to resume a connection that holds `held_bytes` for a receiver with `free_bytes` free.
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
    fn resumed_senders_hold_about_as_much_as_the_queue_takes() {
        let (one, other) = (ptr::without_provenance(8), ptr::without_provenance(16));
        let mut quota = ResumeQuota::default();
        for (capacity, free_bytes) in [(one, 3 * RESUMED_BYTES_MIN), (other, 0)] {
            let resumed = (0..100).filter(|_| quota.admit(capacity, free_bytes, RESUMED_BYTES_MIN / 2)).count();
            assert_eq!(resumed, if capacity == one { 6 } else { 2 }, "{free_bytes} bytes are free");
        }
        assert!(quota.admit(ptr::without_provenance(24), 0, 100 * RESUMED_BYTES_MIN), "however much it holds");
    }
}
