//! The depth of one queue, its limits, and since when it is full. Each outbox, session and topic queue has a capacity;
//! a sender that is held back waits for one.
//!
//! A queue at its limit is *full* from the first refusal until it has drained to half, so that senders stop and start a
//! few times a second and not once a message.

use std::sync::Arc;

use crate::base::budget::Budget;
use crate::base::limits::QUEUE_BYTES_WHEN_SCARCE;
use crate::base::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A full queue makes progress when this part of its bytes, an eighth, is taken. It is stuck without progress for as
/// long as a stall may last.
const PROGRESS_SHARE: usize = 8;

/// The depth of one place and its limits. Shared by all workers, without a lock.
#[derive(Debug)]
pub struct Capacity {
    /// The budget of all queues of this kind.
    budget: Arc<Budget>,
    bytes_max: usize,
    messages_max: usize,
    stall_ms_max: u64,
    depth_bytes: AtomicUsize,
    depth_messages: AtomicUsize,
    /// When the queue became full or last made progress, plus one; 0 while it is not full.
    full_since: AtomicU64,
    /// The depth at that time, from which progress is measured.
    full_depth_bytes: AtomicUsize,
    dropped: AtomicU64,
    /// No receiver takes from the queue for the time being, so no sender is held back for it.
    unattended: AtomicBool,
    closed: AtomicBool,
}

impl Capacity {
    /// The capacity of an empty queue for `bytes_max` in `messages_max` messages. It holds senders back for up to
    /// `stall_ms_max` without progress.
    pub(crate) fn new(bytes_max: usize, messages_max: usize, stall_ms_max: u64, budget: Arc<Budget>) -> Self {
        Self {
            budget,
            bytes_max,
            messages_max,
            stall_ms_max,
            depth_bytes: AtomicUsize::new(0),
            depth_messages: AtomicUsize::new(0),
            full_since: AtomicU64::new(0),
            full_depth_bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            unattended: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Whether `bytes` more in `messages` messages fit. If not, marks the queue as full since `now_ms`.
    ///
    /// An empty queue takes a packet of any length, since one longer than the limit must still get through, unless the
    /// budget is scarce. Several workers may be admitted at once, so the depth can pass the limit by the messages that
    /// each of them has staged. A closed or unattended queue admits everything, since no sender is held back for it.
    pub fn check_or_mark_full(&self, bytes: usize, messages: usize, now_ms: u64) -> bool {
        let depth_bytes = self.depth_bytes.load(Ordering::Relaxed);
        let depth_messages = self.depth_messages.load(Ordering::Relaxed);
        let scarce = self.budget.is_scarce();
        let bytes_max = self.bytes_max_if(scarce);
        let fits = depth_bytes + bytes <= bytes_max && depth_messages + messages <= self.messages_max;
        let alone = depth_bytes == 0 && messages <= 1 && !scarce;
        if self.full_since.load(Ordering::Relaxed) == 0 {
            if fits || alone || self.is_waived() {
                return true;
            }
            // The budget is scarce, and this queue's own limit is not reached. Other queues have to drain first, and
            // have their own time for it: this queue's stall begins only then.
            let for_others = scarce && depth_bytes + bytes <= self.bytes_max.max(bytes);
            self.mark_full(depth_bytes, now_ms + if for_others { self.stall_ms_max } else { 0 });
            return false;
        }
        if self.has_drained(bytes_max) && (fits || alone) {
            self.full_since.store(0, Ordering::Relaxed);
            return true;
        }
        let then = self.full_depth_bytes.load(Ordering::Relaxed);
        if then > 0 && depth_bytes <= then - then / PROGRESS_SHARE {
            self.mark_full(depth_bytes, now_ms);
        }
        self.is_waived()
    }

    /// Whether a sender that was held back should retry. Has no side effect.
    pub fn can_admit(&self) -> bool {
        self.full_since.load(Ordering::Relaxed) == 0 || self.has_drained(self.bytes_max_now()) || self.is_waived()
    }

    /// About how many more bytes fit, in any number of messages. No limit if no sender is held back for the queue.
    pub fn free_bytes(&self) -> usize {
        if self.is_waived() { usize::MAX } else { self.bytes_max_now().saturating_sub(self.depth_bytes()) }
    }

    /// Whether the depth leaves no space for the messages, for queues that hold no sender back. Nothing fits beyond the
    /// budget's tolerance, since a little in each of very many queues adds up.
    pub(crate) fn is_full_with(&self, bytes: usize, messages: usize) -> bool {
        let (depth_bytes, scarce) = (self.depth_bytes(), self.budget.is_scarce());
        let too_long = (depth_bytes > 0 || scarce) && depth_bytes + bytes > self.bytes_max_if(scarce);
        self.depth_messages() + messages > self.messages_max || too_long || !self.budget.tolerates(bytes)
    }

    /// Whether the queue's own limit refuses the messages, and not the budget.
    pub(crate) fn is_at_its_own_limit(&self, bytes: usize, messages: usize) -> bool {
        let depth_bytes = self.depth_bytes();
        self.depth_messages() + messages > self.messages_max || depth_bytes > 0 && depth_bytes + bytes > self.bytes_max
    }

    fn mark_full(&self, depth_bytes: usize, now_ms: u64) {
        self.full_depth_bytes.store(depth_bytes, Ordering::Relaxed);
        self.full_since.store(now_ms + 1, Ordering::Relaxed);
    }

    /// The limit in force. It is lower while the budget is scarce.
    fn bytes_max_if(&self, scarce: bool) -> usize {
        if scarce { QUEUE_BYTES_WHEN_SCARCE.min(self.bytes_max) } else { self.bytes_max }
    }

    fn bytes_max_now(&self) -> usize {
        self.bytes_max_if(self.budget.is_scarce())
    }

    fn has_drained(&self, bytes_max: usize) -> bool {
        self.depth_bytes() <= bytes_max / 2 && self.depth_messages.load(Ordering::Relaxed) <= self.messages_max / 2
    }

    /// Whether replies to the client itself fit. They have a share of their own beyond that of messages, since a
    /// receiver with a full outbox must still be answered. A client that keeps sending and does not read uses it up.
    pub fn has_reply_room(&self) -> bool {
        const REPLY_BYTES_MAX: usize = 64 * 1024;
        self.depth_bytes() <= self.bytes_max_now() + REPLY_BYTES_MAX
    }

    /// Whether senders have been held back for longer than `stall_ms_max` without progress. Asked for a sender that was
    /// refused.
    pub fn is_stuck(&self, now_ms: u64) -> bool {
        self.is_full_longer_than(self.stall_ms_max, now_ms)
    }

    /// Whether the queue has been full for more than `ms` without progress.
    pub fn is_full_longer_than(&self, ms: u64, now_ms: u64) -> bool {
        let since = self.full_since.load(Ordering::Relaxed);
        since != 0 && now_ms.saturating_sub(since - 1) > ms && !self.is_waived()
    }

    /// Counts messages that enter. Callers count many messages in one call, since all workers share the budget.
    pub(crate) fn add(&self, bytes: usize, messages: usize) {
        self.budget.charge(bytes);
        self.depth_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.depth_messages.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts messages that leave.
    pub(crate) fn remove(&self, bytes: usize, messages: usize) {
        let before = self.depth_bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "more bytes left than came in");
        self.budget.release(bytes);
        self.depth_messages.fetch_sub(messages, Ordering::Relaxed);
    }

    /// Counts messages that were dropped instead of queued.
    pub fn count_dropped(&self, messages: u64) {
        if self.dropped.fetch_add(messages, Ordering::Relaxed) == 0 {
            self.budget.note_drop();
        }
    }

    /// Messages dropped since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    /// Bytes in the queue now.
    pub fn depth_bytes(&self) -> usize {
        self.depth_bytes.load(Ordering::Relaxed)
    }

    /// Messages in the queue now.
    pub fn depth_messages(&self) -> usize {
        self.depth_messages.load(Ordering::Relaxed)
    }

    /// Whether no sender is held back for the queue.
    fn is_waived(&self) -> bool {
        self.is_closed() || self.unattended.load(Ordering::Relaxed)
    }

    /// Notes that no receiver takes from the queue for the time being, or that one does again.
    pub(crate) fn set_unattended(&self, unattended: bool) {
        self.unattended.store(unattended, Ordering::Relaxed);
        self.full_since.store(0, Ordering::Relaxed);
    }

    /// Closes the queue for good: no sender is held back for it any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether the queue is gone.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

impl Drop for Capacity {
    fn drop(&mut self) {
        self.budget.release(self.depth_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity() -> Capacity {
        Capacity::new(100, 4, 50, Arc::new(Budget::new(1_000)))
    }

    #[test]
    fn a_full_queue_admits_again_at_half() {
        let capacity = capacity();
        capacity.add(60, 1);
        assert!(!capacity.check_or_mark_full(50, 1, 1_000));
        assert!(!capacity.check_or_mark_full(1, 1, 1_001), "refused until it drained to half");
        capacity.remove(9, 0);
        assert!(!capacity.check_or_mark_full(1, 1, 1_002));
        capacity.remove(1, 0);
        assert!(capacity.check_or_mark_full(50, 1, 1_003));
    }

    #[test]
    fn messages_are_bounded_as_well_as_bytes() {
        let capacity = capacity();
        capacity.add(4, 4);
        assert!(!capacity.check_or_mark_full(1, 1, 0));
    }

    #[test]
    fn an_empty_queue_takes_a_packet_beyond_its_limit() {
        assert!(capacity().check_or_mark_full(10_000, 1, 0));
    }

    #[test]
    fn a_receiver_is_stuck_only_after_the_stall_limit() {
        let capacity = capacity();
        capacity.add(100, 1);
        assert!(!capacity.check_or_mark_full(1, 1, 1_000));
        assert!(!capacity.is_stuck(1_050));
        assert!(capacity.is_stuck(1_051));
        capacity.remove(60, 1);
        assert!(capacity.check_or_mark_full(1, 1, 2_000));
        assert!(!capacity.is_stuck(9_999));
    }

    #[test]
    fn a_receiver_that_makes_progress_is_slow_and_not_stuck() {
        let capacity = capacity();
        capacity.add(100, 1);
        assert!(!capacity.check_or_mark_full(1, 1, 1_000));
        capacity.remove(13, 0);
        assert!(!capacity.check_or_mark_full(1, 1, 1_040), "it has not drained to half");
        assert!(!capacity.is_stuck(1_090));
        capacity.remove(1, 0);
        assert!(!capacity.check_or_mark_full(1, 1, 1_080), "a byte now and then does not count");
        assert!(capacity.is_stuck(1_091));
    }

    #[test]
    fn a_message_that_never_fits_holds_its_sender_back_for_a_limited_time() {
        let capacity = capacity();
        capacity.add(10, 1);
        for now_ms in 1_000..=1_050 {
            assert!(!capacity.check_or_mark_full(200, 1, now_ms) && !capacity.is_stuck(now_ms));
            assert!(capacity.can_admit(), "it asks again, and that is no progress");
        }
        assert!(!capacity.check_or_mark_full(200, 1, 1_051) && capacity.is_stuck(1_051));
        assert!(capacity.check_or_mark_full(20, 1, 1_052) && !capacity.is_stuck(1_052), "another one fits");
    }

    #[test]
    fn a_closed_queue_holds_no_sender_back() {
        let capacity = capacity();
        capacity.add(100, 4);
        assert!(!capacity.check_or_mark_full(1, 1, 0));
        capacity.close();
        assert!(capacity.check_or_mark_full(1, 1, 1));
    }

    #[test]
    fn an_unattended_queue_holds_no_sender_back() {
        let capacity = capacity();
        capacity.add(100, 4);
        assert!(!capacity.check_or_mark_full(1, 1, 0));
        capacity.set_unattended(true);
        assert!(capacity.check_or_mark_full(1, 1, 1) && !capacity.is_stuck(60_000));
        capacity.set_unattended(false);
        assert!(!capacity.check_or_mark_full(1, 1, 60_000) && !capacity.is_stuck(60_001), "the clock starts anew");
    }

    #[test]
    fn a_scarce_budget_leaves_each_queue_little() {
        let budget = Arc::new(Budget::new(1_000));
        let capacity = Capacity::new(1 << 20, 100, 50, Arc::clone(&budget));
        budget.charge(1_000);
        assert!(capacity.check_or_mark_full(QUEUE_BYTES_WHEN_SCARCE, 1, 0));
        assert!(!capacity.check_or_mark_full(QUEUE_BYTES_WHEN_SCARCE + 1, 1, 0));
        budget.release(1_000);
    }
}
