//! The pause before a flush, in which receivers acknowledge messages that then need not be written.
//!
//! A message that all its receivers have acknowledged before the flush is not written at all. When most messages go so early, it saves
//! most of the disk's and the processor's work to wait for a moment. The pause is never longer than a flush has taken of late, so a reply
//! waits at most twice as long as without it, and it ends when nothing is left to write.

use std::time::Duration;

use wisp_store::{Churn, Stats};

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// The flushes without a pause after the first one that was in vain, and after many.
const REST_LEAST: u32 = 4;
const REST_MOST: u32 = 256;

/// Whether to pause before the next flush, from the results of the last ones.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    seen: Churn,
    seen_writes: u64,
    /// The time that a flush that writes takes of late.
    flush: Duration,
    /// Most objects go before their flush, or during it.
    is_worthwhile: bool,
    /// Flushes until a pause is tried again.
    rest: u32,
    /// The same at the last pause in vain. 0: the last pause was worthwhile.
    last_rest: u32,
}

impl Pauses {
    /// The pause before the next flush.
    pub(super) fn next(&self) -> Option<Duration> {
        (self.is_worthwhile && self.rest == 0).then(|| self.flush.min(PAUSE_MAX))
    }

    /// Notes a flush, of which `stats` are the counters after it.
    pub(super) fn note(&mut self, stats: &Stats, took: Duration, has_paused: bool) {
        if std::mem::replace(&mut self.seen_writes, stats.writes) < stats.writes {
            self.flush = if self.flush.is_zero() { took } else { (self.flush * 3 + took) / 4 };
        }
        let (seen, now) = (std::mem::replace(&mut self.seen, stats.churn), stats.churn);
        let void = now.void_bytes - seen.void_bytes;
        let all = void + now.put_bytes - seen.put_bytes;
        if all == 0 {
            return;
        }
        self.rest = self.rest.saturating_sub(1);
        if has_paused {
            self.is_worthwhile = void >= all / 2;
            self.last_rest = if self.is_worthwhile { 0 } else { (self.last_rest * 2).clamp(REST_LEAST, REST_MOST) };
            self.rest = self.last_rest;
        } else {
            self.is_worthwhile = void + now.young_bytes - seen.young_bytes >= all / 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Notes a flush with these bytes of records: written, made void before, deleted during it. True if the flush came after a pause.
    fn flush(pauses: &mut Pauses, written: u64, void: u64, young: u64) -> bool {
        let has_paused = pauses.next().is_some();
        let mut stats = Stats::default();
        stats.writes = pauses.seen_writes + u64::from(written > 0);
        stats.churn = pauses.seen;
        stats.churn.put_bytes += written;
        stats.churn.void_bytes += void;
        stats.churn.young_bytes += young;
        pauses.note(&stats, MS, has_paused);
        has_paused
    }

    #[test]
    fn a_flush_waits_while_most_of_it_goes_early_and_no_longer_than_a_flush_takes() {
        let mut pauses = Pauses::default();
        flush(&mut pauses, 1_000, 0, 100);
        assert_eq!(pauses.next(), None);
        flush(&mut pauses, 1_000, 0, 900);
        assert_eq!(pauses.next(), Some(MS));
        for _ in 0..100 {
            assert!(flush(&mut pauses, 0, 1_000, 0) && flush(&mut pauses, 0, 0, 0));
        }
        assert!(flush(&mut pauses, 400, 600, 0) && flush(&mut pauses, 900, 100, 0));
        assert_eq!(pauses.next(), None);
    }

    #[test]
    fn pauses_in_vain_become_rare() {
        let mut pauses = Pauses::default();
        // The receivers need longer than a flush, and less than two.
        let count = (0..10_000).filter(|_| flush(&mut pauses, 1_000, 0, 900)).count();
        assert!((30..60).contains(&count), "{count}");
        // Now they are faster.
        while !flush(&mut pauses, 0, 1_000, 0) {}
        assert_eq!((0..100).filter(|_| flush(&mut pauses, 0, 1_000, 0)).count(), 100);
    }
}
