//! The depth of one queue, its limits, and how long it holds senders back. Each outbox, session and topic queue has a
//! capacity; a sender that is held back waits for one.
//!
//! A queue at its limit is *full* from the first refusal until it has drained to half, so that senders stop and start a
//! few times a second and not once a message.
//!
//! ```text
//!              refuses a message            the hold is over, or was not granted
//!   open ------------------------> full --------------------------------------> lagging
//!     ^                     its senders wait                              no sender waits
//!     '-- drained to half ---------'------------- drained to half ---------------'
//! ```

use std::sync::Arc;

use crate::base::budget::Budget;
use crate::base::hold::{Hold, HoldRule};
use crate::base::limits::{Limits, QUEUE_BYTES_WHEN_SCARCE};
use crate::base::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The limits of all queues of one kind.
#[derive(Debug)]
pub(crate) struct CapacityLimits {
    /// The budget of all of them together.
    pub(crate) budget: Arc<Budget>,
    /// Most bytes in one of them.
    pub(crate) bytes_max: usize,
    /// Most messages in one of them.
    pub(crate) messages_max: usize,
    /// How each holds senders back.
    pub(crate) rule: HoldRule,
}

impl CapacityLimits {
    /// The limits of the queues of receivers, of which all together have this budget.
    pub(crate) fn of_receivers(limits: &Limits, budget: &Arc<Budget>) -> Self {
        let (bytes_max, messages_max) = (limits.queue_bytes_max, limits.queue_messages_max);
        Self { budget: Arc::clone(budget), bytes_max, messages_max, rule: limits.receiver_hold() }
    }
}

/// The depth of one place and its limits. Shared by all workers, without a lock.
#[derive(Debug)]
pub struct Capacity {
    limits: Arc<CapacityLimits>,
    depth_bytes: AtomicUsize,
    depth_messages: AtomicUsize,
    hold: Hold,
    dropped: AtomicU64,
    /// No receiver takes from the queue for the time being, so no sender is held back for it.
    unattended: AtomicBool,
    closed: AtomicBool,
    /// The client that takes from the queue is held back itself, so its acknowledgements are not read.
    reader_is_held_back: AtomicBool,
}

// There is one for each session, outbox and queue. A larger one is to be a choice.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Capacity>() <= 88);

/// The answer to a sender that has messages for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// They fit.
    Admitted,
    /// They do not fit. The sender is held back.
    Wait,
    /// They do not fit, and no sender is held back for the queue.
    Lagging,
}

impl Capacity {
    /// The capacity of an empty queue.
    pub(crate) fn new(limits: Arc<CapacityLimits>) -> Self {
        Self {
            depth_bytes: AtomicUsize::new(0),
            depth_messages: AtomicUsize::new(0),
            hold: Hold::new(limits.rule),
            limits,
            dropped: AtomicU64::new(0),
            unattended: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            reader_is_held_back: AtomicBool::new(false),
        }
    }

    /// Whether `bytes` more in `messages` messages fit. If not, marks the queue as full since `now_ms`, and decides
    /// whether their sender is held back. An impatient sender waits only for a receiver that has shown that it
    /// keeps up.
    ///
    /// An empty queue takes a packet of any length, since one longer than the limit must still get through, unless the
    /// budget is scarce. Several workers may be admitted at once, so the depth can pass the limit by the messages that
    /// each of them has staged. A closed or unattended queue admits everything, since no sender is held back for it. A
    /// queue whose reader is held back admits twice as much: two clients that send to each other must not wait for each
    /// other's acknowledgements.
    pub(crate) fn admit(&self, bytes: usize, messages: usize, is_patient: bool, now_ms: u64) -> Admission {
        let depth_bytes = self.depth_bytes.load(Ordering::Relaxed);
        let depth_messages = self.depth_messages.load(Ordering::Relaxed);
        let scarce = self.limits.budget.is_scarce();
        let bytes_max = self.bytes_max_if(scarce);
        let fits = depth_bytes + bytes <= bytes_max && depth_messages + messages <= self.limits.messages_max;
        let alone = depth_bytes == 0 && messages <= 1 && !scarce;
        if !self.hold.is_full() {
            if fits || alone || self.is_waived() || self.admits_more(bytes, messages, bytes_max) {
                return Admission::Admitted;
            }
            // The budget is scarce, and this queue's own limit is not reached. Other queues have to drain first, and
            // have their own time for it: this queue's hold begins only then.
            let for_others = scarce && depth_bytes + bytes <= self.limits.bytes_max.max(bytes);
            self.hold.begin(depth_bytes, for_others, now_ms);
        } else if self.has_drained(bytes_max) && (fits || alone) {
            self.hold.end(now_ms);
            return Admission::Admitted;
        }
        if self.is_waived() || self.admits_more(bytes, messages, bytes_max) {
            Admission::Admitted
        } else if self.hold.holds(depth_bytes, is_patient, now_ms) {
            Admission::Wait
        } else {
            Admission::Lagging
        }
    }

    /// Whether messages fit that can also wait elsewhere, such as retained messages. They leave half of the queue to
    /// other messages, so that no sender is held back for them.
    pub(crate) fn admits_backlog(&self, bytes: usize, messages: usize) -> bool {
        let (depth_bytes, depth_messages) = (self.depth_bytes(), self.depth_messages());
        let fits_half = depth_bytes + bytes <= self.bytes_max_now() / 2
            && depth_messages + messages <= self.limits.messages_max.div_ceil(2);
        let alone = depth_bytes == 0 && messages <= 1 && !self.limits.budget.is_scarce();
        fits_half || alone || self.is_waived()
    }

    /// Whether a sender that was held back should retry because its messages may fit now. Has no side effect.
    pub(crate) fn can_admit(&self) -> bool {
        let bytes_max = self.bytes_max_now();
        !self.hold.is_full() || self.has_drained(bytes_max) || self.is_waived() || self.admits_more(0, 0, bytes_max)
    }

    /// Whether messages fit beyond the limit because the queue's reader is held back.
    fn admits_more(&self, bytes: usize, messages: usize, bytes_max: usize) -> bool {
        self.reader_is_held_back.load(Ordering::Relaxed)
            && !self.hold.is_lagging()
            && self.depth_bytes() + bytes <= 2 * bytes_max
            && self.depth_messages() + messages <= 2 * self.limits.messages_max
    }

    /// Notes that the client that takes from the queue is held back itself, or no longer is.
    pub(crate) fn set_reader_held_back(&self, is_held_back: bool) {
        self.reader_is_held_back.store(is_held_back, Ordering::Relaxed);
    }

    /// Whether a sender that was held back should retry because the queue holds it back no longer.
    pub(crate) fn has_let_go(&self, now_ms: u64) -> bool {
        self.hold.has_let_go(self.depth_bytes(), now_ms) && !self.is_waived()
    }

    /// Whether the queue is full and holds no sender back: messages for it are dropped.
    pub(crate) fn is_lagging(&self) -> bool {
        self.hold.is_lagging() && !self.is_waived()
    }

    /// Whether waiting for it in vain counts against the patience of its senders.
    pub(crate) fn has_episodes(&self) -> bool {
        self.hold.has_episodes()
    }

    /// About how many more bytes fit, in any number of messages. No limit if no sender is held back for the queue.
    pub fn free_bytes(&self) -> usize {
        if self.is_waived() { usize::MAX } else { self.bytes_max_now().saturating_sub(self.depth_bytes()) }
    }

    /// Whether the depth leaves no space for the messages, for queues that hold no sender back. Nothing fits beyond the
    /// budget's tolerance, since a little in each of very many queues adds up.
    pub(crate) fn is_full_with(&self, bytes: usize, messages: usize) -> bool {
        let (depth_bytes, scarce) = (self.depth_bytes(), self.limits.budget.is_scarce());
        let too_long = (depth_bytes > 0 || scarce) && depth_bytes + bytes > self.bytes_max_if(scarce);
        self.depth_messages() + messages > self.limits.messages_max || too_long || !self.limits.budget.tolerates(bytes)
    }

    /// Whether the queue's own limit refuses the messages, and not the budget.
    pub(crate) fn is_at_its_own_limit(&self, bytes: usize, messages: usize) -> bool {
        let depth_bytes = self.depth_bytes();
        self.depth_messages() + messages > self.limits.messages_max
            || depth_bytes > 0 && depth_bytes + bytes > self.limits.bytes_max
    }

    /// The limit in force. It is lower while the budget is scarce.
    fn bytes_max_if(&self, scarce: bool) -> usize {
        if scarce { QUEUE_BYTES_WHEN_SCARCE.min(self.limits.bytes_max) } else { self.limits.bytes_max }
    }

    pub(crate) fn bytes_max_now(&self) -> usize {
        self.bytes_max_if(self.limits.budget.is_scarce())
    }

    fn has_drained(&self, bytes_max: usize) -> bool {
        self.depth_bytes() <= bytes_max / 2
            && self.depth_messages.load(Ordering::Relaxed) <= self.limits.messages_max / 2
    }

    /// Whether replies to the client itself fit. They have a share of their own beyond that of messages, since a
    /// receiver with a full outbox must still be answered. A client that keeps sending and does not read uses it up.
    pub fn has_reply_room(&self) -> bool {
        const REPLY_BYTES_MAX: usize = 64 * 1024;
        self.depth_bytes() <= self.bytes_max_now() + REPLY_BYTES_MAX
    }

    /// Whether the queue has been full for more than `ms`, without progress if progress counts.
    pub(crate) fn is_full_longer_than(&self, ms: u64, now_ms: u64) -> bool {
        self.hold.is_older_than(ms, now_ms) && !self.is_waived()
    }

    /// Counts messages that enter. Callers count many messages in one call, since all workers share the budget.
    pub(crate) fn add(&self, bytes: usize, messages: usize) {
        self.limits.budget.charge(bytes);
        self.depth_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.depth_messages.fetch_add(messages, Ordering::Relaxed);
    }

    /// Counts messages that leave.
    pub(crate) fn remove(&self, bytes: usize, messages: usize) {
        let before = self.depth_bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "more bytes left than came in");
        self.hold.note_taken(bytes);
        self.limits.budget.release(bytes);
        self.depth_messages.fetch_sub(messages, Ordering::Relaxed);
    }

    /// Counts messages that were dropped instead of queued.
    pub fn count_dropped(&self, messages: u64) {
        if self.dropped.fetch_add(messages, Ordering::Relaxed) == 0 {
            self.limits.budget.note_drop();
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

    /// The budget of all queues of this kind.
    pub(crate) fn budget(&self) -> &Budget {
        &self.limits.budget
    }

    /// Notes that no receiver takes from the queue for the time being, or that one does again.
    pub(crate) fn set_unattended(&self, unattended: bool, now_ms: u64) {
        self.unattended.store(unattended, Ordering::Relaxed);
        self.set_reader_held_back(false);
        self.hold.abandon(now_ms);
    }

    /// When the receiver's budget of episodes will be full again if it leaves now.
    pub(crate) fn budget_full_ms(&self, now_ms: u64) -> u64 {
        self.hold.budget_full_ms(now_ms)
    }

    /// Sets when the receiver's budget of episodes will be full again.
    pub(crate) fn set_budget_full_ms(&self, full_ms: u64) {
        self.hold.set_budget_full_ms(full_ms);
    }

    /// Whether a sender that was held back has waited in vain: the receiver has left.
    pub(crate) fn has_left(&self) -> bool {
        self.is_waived()
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
        self.limits.budget.release(self.depth_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity_with(rule: HoldRule) -> Capacity {
        let budget = Arc::new(Budget::new(1_000));
        Capacity::new(Arc::new(CapacityLimits { budget, bytes_max: 100, messages_max: 4, rule }))
    }

    fn capacity() -> Capacity {
        capacity_with(HoldRule::Progress(50))
    }

    fn fits(capacity: &Capacity, bytes: usize, now_ms: u64) -> bool {
        capacity.admit(bytes, 1, true, now_ms) == Admission::Admitted
    }

    #[test]
    fn a_full_queue_admits_again_at_half() {
        let capacity = capacity();
        capacity.add(60, 1);
        assert!(!fits(&capacity, 50, 1_000));
        assert!(!fits(&capacity, 1, 1_001), "refused until it drained to half");
        capacity.remove(9, 0);
        assert!(!fits(&capacity, 1, 1_002));
        capacity.remove(1, 0);
        assert!(fits(&capacity, 50, 1_003));
    }

    #[test]
    fn messages_are_bounded_as_well_as_bytes() {
        let capacity = capacity();
        capacity.add(4, 4);
        assert!(!fits(&capacity, 1, 0));
    }

    #[test]
    fn an_empty_queue_takes_a_packet_beyond_its_limit() {
        assert!(fits(&capacity(), 10_000, 0));
    }

    #[test]
    fn a_queue_without_progress_lets_go_only_after_the_stall_limit() {
        let capacity = capacity();
        capacity.add(100, 1);
        assert!(!fits(&capacity, 1, 1_000));
        assert!(!capacity.has_let_go(1_050));
        assert!(capacity.has_let_go(1_051));
        capacity.remove(60, 1);
        assert!(fits(&capacity, 1, 2_000));
        assert!(!capacity.has_let_go(9_999));
    }

    #[test]
    fn a_queue_that_makes_progress_holds_on() {
        let capacity = capacity();
        capacity.add(100, 1);
        assert!(!fits(&capacity, 1, 1_000));
        capacity.remove(13, 0);
        assert!(!fits(&capacity, 1, 1_040), "it has not drained to half");
        assert!(!capacity.has_let_go(1_090));
        capacity.remove(1, 0);
        assert!(!fits(&capacity, 1, 1_080), "a byte now and then does not count");
        assert!(capacity.has_let_go(1_091));
    }

    #[test]
    fn a_message_that_never_fits_holds_its_sender_back_for_a_limited_time() {
        let capacity = capacity();
        capacity.add(10, 1);
        for now_ms in 1_000..=1_050 {
            assert!(!fits(&capacity, 200, now_ms) && !capacity.has_let_go(now_ms));
            assert!(capacity.can_admit(), "it asks again, and that is no progress");
        }
        assert!(!fits(&capacity, 200, 1_051) && capacity.has_let_go(1_051));
        assert!(fits(&capacity, 20, 1_052) && !capacity.has_let_go(1_052), "another one fits");
    }

    #[test]
    fn a_closed_queue_holds_no_sender_back() {
        let capacity = capacity();
        capacity.add(100, 4);
        assert!(!fits(&capacity, 1, 0));
        capacity.close();
        assert!(fits(&capacity, 1, 1));
    }

    #[test]
    fn an_unattended_queue_holds_no_sender_back() {
        let capacity = capacity();
        capacity.add(100, 4);
        assert!(!fits(&capacity, 1, 0));
        capacity.set_unattended(true, 2);
        assert!(fits(&capacity, 1, 1) && !capacity.has_let_go(60_000));
        capacity.set_unattended(false, 60_000);
        assert!(!fits(&capacity, 1, 60_000) && !capacity.has_let_go(60_001), "the clock starts anew");
    }

    #[test]
    fn a_scarce_budget_leaves_each_queue_little() {
        let (budget, rule) = (Arc::new(Budget::new(1_000)), HoldRule::Progress(50));
        let limits = CapacityLimits { budget: Arc::clone(&budget), bytes_max: 1 << 20, messages_max: 100, rule };
        let capacity = Capacity::new(Arc::new(limits));
        budget.charge(1_000);
        assert!(fits(&capacity, QUEUE_BYTES_WHEN_SCARCE, 0));
        assert!(!fits(&capacity, QUEUE_BYTES_WHEN_SCARCE + 1, 0));
        budget.release(1_000);
    }

    #[test]
    fn a_receiver_lags_without_progress_until_half_of_its_queue_is_free() {
        let capacity = capacity_with(HoldRule::Episodes(50));
        capacity.add(100, 1);
        for now_ms in 1_000..=1_050 {
            assert_eq!(capacity.admit(1, 1, true, now_ms), Admission::Wait);
            assert!(!capacity.has_let_go(now_ms) && !capacity.is_lagging());
        }
        capacity.remove(11, 0);
        assert!(capacity.has_let_go(1_051));
        assert_eq!(capacity.admit(1, 1, true, 1_051), Admission::Lagging);
        capacity.remove(38, 0);
        assert_eq!(capacity.admit(1, 1, true, 1_052), Admission::Lagging);
        assert!(capacity.is_lagging());
        capacity.remove(1, 0);
        assert!(fits(&capacity, 50, 1_053) && !capacity.is_lagging());
    }

    #[test]
    fn a_backlog_leaves_half_of_the_queue_to_others() {
        let capacity = capacity();
        assert!(capacity.admits_backlog(1_000, 1), "it is empty");
        capacity.add(30, 1);
        assert!(capacity.admits_backlog(20, 1) && !capacity.admits_backlog(21, 1) && !capacity.admits_backlog(1, 2));
        assert!(fits(&capacity, 70, 0));
    }
}
