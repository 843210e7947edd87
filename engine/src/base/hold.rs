//! How long a full queue holds its senders back.
//!
//! It holds them for as long as it makes progress: an eighth of its bytes within a certain time. From full to half that
//! takes six steps at most, so each hold is bounded. What differs is how often a queue without progress is waited for:
//!
//! - *By progress*, where senders want to wait: each time.
//! - *By episodes*, for receivers that must not delay others. An episode begins when the queue becomes full. One that
//!   ends because half of the queue is free costs nothing. One that ends without progress uses up a third of the
//!   receiver's budget, which refills slowly. Without budget there is no episode: the receiver is lagging as soon as it
//!   is full.

use crate::base::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The rule by which a queue holds senders back, and the time in which it has to make progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HoldRule {
    Episodes(u64),
    Progress(u64),
}

/// The budget of a receiver: this many episodes may end without progress.
const EPISODES: u64 = 3;

/// An episode is back in the budget after this many times its length: with the default of 100 ms after half a minute,
/// so that a receiver that always lags costs its senders 1/300 of their time.
const REFILL: u64 = 300;

/// The clock of an episode advances by no more than this between two looks of waiting senders, which look every
/// millisecond. So no receiver lags because the broker itself did not run.
const LOOK_MS_MAX: u64 = 25;

/// A receiver that has taken this many bytes since an episode ended without progress has shown that it reads: the
/// buffers of a system hold less. Linux keeps at most 4 MiB to be sent (tcp_wmem), and 128 KiB for a program that does
/// not read (tcp_rmem), unless it is set otherwise.
const TAKEN_BYTES: u32 = 8 * 1024 * 1024;

/// A full queue makes progress when this part of its bytes, an eighth, is taken.
const PROGRESS_SHARE: u64 = 8;

/// A receiver that drained in time when it was last full is waited for this many times as long: it reads, and its system may
/// not let it run for a moment.
const PROVEN: u64 = 4;

/// A receiver that was full and drained in time this often has one more episode in its budget.
const TIMES_IN_TIME: u64 = 8;

/// A receiver keeps up if it drains to half, four eighths, in this many times the time for an eighth.
const STEPS_TO_HALF: u64 = 4;

/// Since when a queue is full, and whether it holds senders back. Shared by all workers, without a lock.
#[derive(Debug)]
pub(crate) struct Hold {
    /// At most a day.
    ms_max: u32,
    has_episodes: bool,
    /// When the queue became full or last made progress, plus one; 0 while it is not full. Later by the time that does
    /// not count.
    full_since: AtomicU64,
    /// The depth at that time, from which progress is measured; 0 after an episode without progress.
    from_bytes: AtomicU64,
    lagging: AtomicBool,
    record: Record,
}

/// The history of a receiver. Only for episodes.
#[derive(Debug, Default)]
struct Record {
    /// When a waiting sender looked last.
    looked_ms: AtomicU64,
    /// When the budget will be full again.
    budget_full_ms: AtomicU64,
    /// The queue drained to half in time when it was last full.
    drained_in_time: AtomicBool,
    /// The bytes taken since an episode ended without progress.
    taken_bytes: AtomicU32,
}

impl Record {
    /// Whether the receiver has shown that it keeps up.
    fn keeps_up(&self) -> bool {
        self.drained_in_time.load(Ordering::Relaxed) || self.taken_bytes.load(Ordering::Relaxed) >= TAKEN_BYTES
    }
}

impl Hold {
    pub(crate) fn new(rule: HoldRule) -> Self {
        let (ms_max, has_episodes) = match rule {
            HoldRule::Episodes(ms_max) => (ms_max, true),
            HoldRule::Progress(ms_max) => (ms_max, false),
        };
        let (full_since, from_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let (lagging, record) = (AtomicBool::new(false), Record::default());
        Self {
            ms_max: u32::try_from(ms_max).unwrap_or(u32::MAX),
            has_episodes,
            full_since,
            from_bytes,
            lagging,
            record,
        }
    }

    fn ms_max(&self) -> u64 {
        self.ms_max.into()
    }

    fn record(&self) -> Option<&Record> {
        self.has_episodes.then_some(&self.record)
    }

    /// Whether waiting in vain counts against the patience of senders.
    pub(crate) fn has_episodes(&self) -> bool {
        self.has_episodes
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full_since.load(Ordering::Relaxed) != 0
    }

    /// Whether the queue is full and holds no sender back.
    pub(crate) fn is_lagging(&self) -> bool {
        // Another worker may have noted it just when the queue had drained.
        self.lagging.load(Ordering::Relaxed) && self.is_full()
    }

    /// Whether the queue has been full for more than `ms` without progress.
    pub(crate) fn is_older_than(&self, ms: u64, now_ms: u64) -> bool {
        let since = self.full_since.load(Ordering::Relaxed);
        since != 0 && now_ms.saturating_sub(since - 1) > ms
    }

    /// The queue is full. If other queues have to drain first, its own time begins later.
    pub(crate) fn begin(&self, depth_bytes: usize, for_others: bool, now_ms: u64) {
        if let Some(record) = self.record() {
            record.looked_ms.store(now_ms, Ordering::Relaxed);
        }
        self.lagging.store(false, Ordering::Relaxed);
        self.measure_from(depth_bytes, now_ms + if for_others { self.ms_max() } else { 0 });
    }

    fn measure_from(&self, depth_bytes: usize, from_ms: u64) {
        self.from_bytes.store(depth_bytes as u64, Ordering::Relaxed);
        self.full_since.store(from_ms + 1, Ordering::Relaxed);
    }

    /// The queue has drained to half.
    pub(crate) fn end(&self, now_ms: u64) {
        if let Some(record) = self.record() {
            let had_progress = self.from_bytes.load(Ordering::Relaxed) > 0;
            if had_progress && !self.is_older_than(STEPS_TO_HALF * self.ms_max(), now_ms) {
                record.drained_in_time.store(true, Ordering::Relaxed);
                let budget_full_ms = record.budget_full_ms.load(Ordering::Relaxed);
                let earned_ms = self.ms_max() * REFILL / TIMES_IN_TIME;
                record.budget_full_ms.store(budget_full_ms.saturating_sub(earned_ms), Ordering::Relaxed);
            }
        }
        self.reset();
    }

    /// The receiver has taken `bytes` from the queue.
    pub(crate) fn note_taken(&self, bytes: usize) {
        // Once it has shown that it reads, the count is not needed.
        if let Some(record) = self.record()
            && record.taken_bytes.load(Ordering::Relaxed) < TAKEN_BYTES
        {
            let bytes = u32::try_from(bytes).map_or(TAKEN_BYTES, |bytes| bytes.min(TAKEN_BYTES));
            record.taken_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// The receiver has left, or comes back. An episode that has begun costs as much of the budget as it has lasted.
    pub(crate) fn abandon(&self, now_ms: u64) {
        if let Some(record) = self.record() {
            record.budget_full_ms.store(self.budget_full_ms(now_ms), Ordering::Relaxed);
        }
        self.reset();
    }

    /// When the budget will be full again if the receiver leaves now.
    pub(crate) fn budget_full_ms(&self, now_ms: u64) -> u64 {
        let Some(record) = self.record() else { return 0 };
        let full_ms = record.budget_full_ms.load(Ordering::Relaxed);
        let since = self.full_since.load(Ordering::Relaxed);
        if since == 0 || self.is_lagging() {
            return full_ms;
        }
        full_ms.max(now_ms) + now_ms.saturating_sub(since - 1).min(self.ms_max()) * REFILL
    }

    /// Sets when the budget will be full again.
    pub(crate) fn set_budget_full_ms(&self, full_ms: u64) {
        if let Some(record) = self.record() {
            record.budget_full_ms.store(full_ms, Ordering::Relaxed);
        }
    }

    fn reset(&self) {
        self.full_since.store(0, Ordering::Relaxed);
        self.lagging.store(false, Ordering::Relaxed);
    }

    /// Whether a sender waits for the full queue. An impatient one waits only if the receiver has shown that it keeps
    /// up. If not, the queue is lagging from now on.
    pub(crate) fn holds(&self, depth_bytes: usize, is_patient: bool, now_ms: u64) -> bool {
        let Some(record) = self.record() else {
            if self.has_progressed(depth_bytes) {
                self.measure_from(depth_bytes, now_ms);
            }
            let is_over = self.is_older_than(self.ms_max(), now_ms);
            self.lagging.store(is_over, Ordering::Relaxed);
            return !is_over;
        };
        if self.is_lagging() {
            return false;
        }
        let cost_ms = self.ms_max() * REFILL;
        let budget_full_ms = record.budget_full_ms.load(Ordering::Relaxed).max(now_ms);
        if self.is_over(record, depth_bytes, now_ms) {
            if !self.lagging.swap(true, Ordering::Relaxed) {
                record.budget_full_ms.store(budget_full_ms + cost_ms, Ordering::Relaxed);
                record.drained_in_time.store(false, Ordering::Relaxed);
                record.taken_bytes.store(0, Ordering::Relaxed);
                self.from_bytes.store(0, Ordering::Relaxed);
            }
            return false;
        }
        let has_budget = budget_full_ms - now_ms <= (EPISODES - 1) * cost_ms;
        let is_held = has_budget && (is_patient || record.keeps_up());
        self.lagging.store(!is_held, Ordering::Relaxed);
        is_held
    }

    /// Whether a sender that waits should wait no longer, asked by each of them regularly.
    pub(crate) fn has_let_go(&self, depth_bytes: usize, now_ms: u64) -> bool {
        match self.record() {
            None => self.is_older_than(self.ms_max(), now_ms) && !self.has_progressed(depth_bytes),
            Some(record) => self.is_lagging() || self.is_over(record, depth_bytes, now_ms),
        }
    }

    /// Whether an episode ends without progress. Does not count time in which no waiting sender looked.
    fn is_over(&self, record: &Record, depth_bytes: usize, now_ms: u64) -> bool {
        let looked_ms = record.looked_ms.swap(now_ms, Ordering::Relaxed);
        let unseen_ms = now_ms.saturating_sub(looked_ms).saturating_sub(LOOK_MS_MAX);
        if self.has_progressed(depth_bytes) {
            self.measure_from(depth_bytes, now_ms);
        } else if unseen_ms > 0 {
            let later = |since| (since != 0).then_some(since + unseen_ms);
            let _ended_meanwhile = self.full_since.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        }
        let proven = if record.drained_in_time.load(Ordering::Relaxed) { PROVEN } else { 1 };
        self.is_older_than(proven * self.ms_max(), now_ms)
    }

    fn has_progressed(&self, depth_bytes: usize) -> bool {
        let from_bytes = self.from_bytes.load(Ordering::Relaxed);
        from_bytes > 0 && depth_bytes as u64 <= from_bytes - from_bytes / PROGRESS_SHARE && self.is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episodes() -> Hold {
        Hold::new(HoldRule::Episodes(100))
    }

    /// A sender that is held back from `from_ms` on looks every millisecond. Returns how long it waits.
    fn waits_ms(hold: &Hold, is_patient: bool, from_ms: u64) -> u64 {
        hold.begin(100, false, from_ms);
        if !hold.holds(100, is_patient, from_ms) {
            return 0;
        }
        let let_go_ms = (from_ms..).find(|now_ms| hold.has_let_go(100, *now_ms)).unwrap_or(0);
        assert!(!hold.holds(100, is_patient, let_go_ms));
        let_go_ms - from_ms
    }

    #[test]
    fn a_receiver_that_lags_again_and_again_soon_costs_nobody_anything() {
        let hold = episodes();
        let waited: u64 = (0..600).map(|second| waits_ms(&hold, true, second * 1_000)).sum();
        let most = EPISODES + 600 / (REFILL / 10);
        assert!(waited <= most * 101 && waited >= (most - 1) * 101, "{waited} ms in ten minutes");
        assert!(hold.is_lagging());
        hold.end(600_000);
        assert!(!hold.is_full());
        assert_eq!(waits_ms(&hold, true, 2_000_000), 101, "the budget is full again");
    }

    #[test]
    fn a_queue_that_drains_in_time_costs_nothing_however_often() {
        let hold = episodes();
        for now_ms in (0..1_000_000).step_by(200) {
            hold.begin(100, false, now_ms);
            for looked_ms in (now_ms..=now_ms + 100).step_by(20) {
                assert!(hold.holds(100, true, looked_ms) && !hold.has_let_go(100, looked_ms));
            }
            hold.end(now_ms + 100);
        }
        assert_eq!(waits_ms(&hold, true, 2_000_000), 401);
    }

    #[test]
    fn a_receiver_that_drains_in_time_again_is_waited_for_again() {
        let hold = episodes();
        let late = |now_ms: u64| (0..3_u64).filter(|second| waits_ms(&hold, true, now_ms + second * 1_000) > 0).count();
        assert_eq!((late(0), late(3_000)), (3, 0));
        hold.end(6_000);
        for now_ms in (10_000..20_000).step_by(1_000) {
            hold.begin(100, false, now_ms);
            hold.end(now_ms + 1);
        }
        assert_eq!(waits_ms(&hold, true, 20_000), 401);
    }

    #[test]
    fn an_impatient_sender_waits_only_for_a_queue_that_drained_in_time() {
        let hold = episodes();
        assert_eq!(waits_ms(&hold, false, 0), 0);
        hold.end(401);
        assert_eq!(waits_ms(&hold, false, 1_000), 0, "it took too long");
        hold.end(1_400);
        assert_eq!(waits_ms(&hold, false, 2_000), 401, "longer, since it has shown that it reads");
        hold.end(2_402);
        assert_eq!(waits_ms(&hold, false, 3_000), 0, "it made no progress the last time");
    }

    #[test]
    fn an_impatient_sender_waits_for_a_receiver_that_has_taken_much() {
        let hold = episodes();
        hold.note_taken(8 * 1024 * 1024 - 1);
        assert_eq!(waits_ms(&hold, false, 0), 0);
        hold.note_taken(1);
        assert_eq!(waits_ms(&hold, false, 1_000), 101);
        assert_eq!(waits_ms(&hold, false, 2_000), 0, "it has taken nothing since");
    }

    #[test]
    fn an_episode_lasts_as_long_as_there_is_progress_and_so_not_for_long() {
        let hold = episodes();
        hold.begin(1_000, false, 0);
        let (mut depth_bytes, mut now_ms) = (1_000, 0);
        while depth_bytes > 500 {
            assert!((0..100).all(|ms| !hold.has_let_go(depth_bytes, now_ms + ms)));
            now_ms += 100;
            depth_bytes -= depth_bytes.div_ceil(8);
            assert!(hold.holds(depth_bytes, true, now_ms));
        }
        assert_eq!(now_ms, 600);
        assert!((0..=100).all(|ms| !hold.has_let_go(depth_bytes, now_ms + ms)));
        assert!(hold.has_let_go(depth_bytes - 1, now_ms + 101), "a byte now and then does not count");
    }

    #[test]
    fn a_receiver_that_leaves_in_the_middle_of_an_episode_pays_for_it() {
        let hold = episodes();
        let (mut now_ms, mut held_ms) = (0, 0);
        while now_ms < 600_000 {
            hold.begin(100, false, now_ms);
            if hold.holds(100, true, now_ms) {
                (now_ms, held_ms) = (now_ms + 50, held_ms + 50);
            }
            hold.abandon(now_ms);
            now_ms += 1_000;
        }
        assert!(held_ms <= (EPISODES + 600 / 30) * 100, "{held_ms} ms in ten minutes");
    }

    #[test]
    fn time_in_which_the_broker_does_not_run_is_not_held_against_a_receiver() {
        let hold = episodes();
        hold.begin(100, false, 0);
        assert!(hold.holds(100, true, 0));
        for pause in 1..=4 {
            assert!(!hold.has_let_go(100, pause * 10_000) && hold.holds(100, true, pause * 10_000));
        }
        assert!(hold.has_let_go(100, 50_000));
    }

    #[test]
    fn progress_is_waited_for_without_an_end() {
        let hold = Hold::new(HoldRule::Progress(50));
        hold.begin(1_000, false, 0);
        let mut depth_bytes = 1_000;
        for now_ms in (50..1_000).step_by(50) {
            depth_bytes -= depth_bytes / 8 + 1;
            assert!(!hold.has_let_go(depth_bytes, now_ms) && hold.holds(depth_bytes, false, now_ms), "{now_ms}");
        }
        assert!(hold.holds(depth_bytes - 1, true, 1_000) && !hold.is_lagging());
        assert!(hold.has_let_go(depth_bytes - 1, 1_001) && !hold.holds(depth_bytes - 1, true, 1_001));
        assert!(hold.is_lagging());
        depth_bytes -= depth_bytes / 8 + 1;
        assert!(hold.holds(depth_bytes, true, 1_002) && !hold.is_lagging(), "it makes progress again");
    }
}
