//! How much waits at one place, how much may, and since when it is too much. Outboxes, sessions and topic queues each
//! have a room; a sender that is held back waits for one.
//!
//! A room at its limit is *full* from the first refusal until it has drained to half: senders then stop and start a few
//! times a second, not once a message.

use std::sync::Arc;

use crate::base::budget::Budget;
use crate::base::limits::QUEUE_BYTES_WHEN_SCARCE;
use crate::base::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A full place from which the eighth part of what waits is taken, within the time allowed for a stall, is not stuck.
const PROGRESS_SHARE: usize = 8;

/// The depth of one place and its limits. Shared by all workers, without a lock.
#[derive(Debug)]
pub struct Capacity {
    /// That of all places of its kind.
    budget: Arc<Budget>,
    bytes_max: usize,
    messages_max: usize,
    stall_ms_max: u64,
    depth_bytes: AtomicUsize,
    depth_messages: AtomicUsize,
    /// When a sender was first refused since there last was room, plus one; 0 while there is room.
    full_since: AtomicU64,
    /// The depth then. A receiver that takes a good part of it is slow, not stuck, and its clock starts anew.
    full_depth_bytes: AtomicUsize,
    dropped: AtomicU64,
    /// Nobody takes from here for the time being, so nobody waits for it either.
    unattended: AtomicBool,
    closed: AtomicBool,
}

impl Capacity {
    /// An empty room for `bytes_max` in `messages_max` messages, for which senders wait up to `stall_ms_max`.
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

    /// Whether `bytes` more in `messages` messages fit. `now_ms` is noted as the beginning of the stall if not.
    ///
    /// An empty place has room for anything: a packet longer than the limit must still get through, unless all places
    /// together have too much. Several workers may be told yes at once, so the depth can pass the limit by what each of
    /// them has staged. A place that is closed or unattended has
    /// room, since nobody is to wait for it.
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
            // Where all together have too much, others are to go first, who have their time as well.
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

    /// Whether a sender that was held back should ask again. Asking this stops no clock.
    pub fn can_admit(&self) -> bool {
        self.full_since.load(Ordering::Relaxed) == 0 || self.has_drained(self.bytes_max_now()) || self.is_waived()
    }

    /// How many bytes more fit about now, however many messages; any number where nobody is to wait.
    pub fn free_bytes(&self) -> usize {
        if self.is_waived() { usize::MAX } else { self.bytes_max_now().saturating_sub(self.depth_bytes()) }
    }

    /// Whether nothing more fits, by the depth alone: for places nobody waits for. Nor does anything while all together are
    /// beyond what is tolerated: a little in each of very many places is too much as well.
    pub(crate) fn is_full_with(&self, bytes: usize, messages: usize) -> bool {
        let (depth_bytes, scarce) = (self.depth_bytes(), self.budget.is_scarce());
        let too_long = (depth_bytes > 0 || scarce) && depth_bytes + bytes > self.bytes_max_if(scarce);
        self.depth_messages() + messages > self.messages_max || too_long || !self.budget.tolerates(bytes)
    }

    /// Whether it is the place's own limit that keeps more out.
    pub(crate) fn is_at_its_own_limit(&self, bytes: usize, messages: usize) -> bool {
        let depth_bytes = self.depth_bytes();
        self.depth_messages() + messages > self.messages_max || depth_bytes > 0 && depth_bytes + bytes > self.bytes_max
    }

    fn mark_full(&self, depth_bytes: usize, now_ms: u64) {
        self.full_depth_bytes.store(depth_bytes, Ordering::Relaxed);
        self.full_since.store(now_ms + 1, Ordering::Relaxed);
    }

    /// The share of one place, which is smaller while all together have too much.
    fn bytes_max_if(&self, scarce: bool) -> usize {
        if scarce { QUEUE_BYTES_WHEN_SCARCE.min(self.bytes_max) } else { self.bytes_max }
    }

    fn bytes_max_now(&self) -> usize {
        self.bytes_max_if(self.budget.is_scarce())
    }

    fn has_drained(&self, bytes_max: usize) -> bool {
        self.depth_bytes() <= bytes_max / 2 && self.depth_messages.load(Ordering::Relaxed) <= self.messages_max / 2
    }

    /// Whether replies to the client itself fit. They have a share of their own beyond the messages', since a receiver
    /// with a full outbox must still be answered; it ends when the client sends on without reading.
    pub fn has_reply_room(&self) -> bool {
        const REPLY_BYTES_MAX: usize = 64 * 1024;
        self.depth_bytes() <= self.bytes_max_now() + REPLY_BYTES_MAX
    }

    /// Whether senders have been held back here longer than the limit allows, without a good part of what waited being
    /// taken. A sender that asked for room and got none asks this.
    pub fn is_stuck(&self, now_ms: u64) -> bool {
        self.is_full_longer_than(self.stall_ms_max, now_ms)
    }

    /// Whether the place has been full for more than `ms`, without a good part of what waited being taken.
    pub fn is_full_longer_than(&self, ms: u64, now_ms: u64) -> bool {
        let since = self.full_since.load(Ordering::Relaxed);
        since != 0 && now_ms.saturating_sub(since - 1) > ms && !self.is_waived()
    }

    /// Counts what came in. Whoever has many messages counts them together: the budget is one for all workers.
    pub(crate) fn add(&self, bytes: usize, messages: usize) {
        self.budget.charge(bytes);
        self.depth_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.depth_messages.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts what has left.
    pub(crate) fn remove(&self, bytes: usize, messages: usize) {
        let before = self.depth_bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "more bytes left than came in");
        self.budget.release(bytes);
        self.depth_messages.fetch_sub(messages, Ordering::Relaxed);
    }

    /// Counts messages that were refused here for good.
    pub fn count_dropped(&self, messages: u64) {
        self.dropped.fetch_add(messages, Ordering::Relaxed);
    }

    /// Messages refused since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    /// Bytes here now.
    pub fn depth_bytes(&self) -> usize {
        self.depth_bytes.load(Ordering::Relaxed)
    }

    /// Messages here now.
    pub fn depth_messages(&self) -> usize {
        self.depth_messages.load(Ordering::Relaxed)
    }

    /// Whether nobody is to wait.
    fn is_waived(&self) -> bool {
        self.is_closed() || self.unattended.load(Ordering::Relaxed)
    }

    /// Notes that nobody takes from here for the time being, or that somebody does again.
    pub(crate) fn set_unattended(&self, unattended: bool) {
        self.unattended.store(unattended, Ordering::Relaxed);
        self.full_since.store(0, Ordering::Relaxed);
    }

    /// Lets nobody wait here any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether the place is gone.
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
    fn a_full_room_has_room_again_at_half() {
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
    fn an_empty_room_takes_a_packet_beyond_its_limit() {
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
    fn a_receiver_that_gets_on_is_slow_and_not_stuck() {
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
    fn a_message_that_does_not_fit_though_little_waits_is_not_waited_for_without_end() {
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
    fn nobody_waits_for_a_closed_room() {
        let capacity = capacity();
        capacity.add(100, 4);
        assert!(!capacity.check_or_mark_full(1, 1, 0));
        capacity.close();
        assert!(capacity.check_or_mark_full(1, 1, 1));
    }

    #[test]
    fn nobody_waits_for_a_room_that_nobody_takes_from() {
        let capacity = capacity();
        capacity.add(100, 4);
        assert!(!capacity.check_or_mark_full(1, 1, 0));
        capacity.set_unattended(true);
        assert!(capacity.check_or_mark_full(1, 1, 1) && !capacity.is_stuck(60_000));
        capacity.set_unattended(false);
        assert!(!capacity.check_or_mark_full(1, 1, 60_000) && !capacity.is_stuck(60_001), "the clock starts anew");
    }

    #[test]
    fn while_all_together_have_too_much_each_has_little() {
        let budget = Arc::new(Budget::new(1_000));
        let capacity = Capacity::new(1 << 20, 100, 50, Arc::clone(&budget));
        budget.charge(1_000);
        assert!(capacity.check_or_mark_full(QUEUE_BYTES_WHEN_SCARCE, 1, 0));
        assert!(!capacity.check_or_mark_full(QUEUE_BYTES_WHEN_SCARCE + 1, 1, 0));
        budget.release(1_000);
    }
}
