//! One thread's measuring of a run with a fixed rate.
//!
//! ```text
//!   due ------------> handed to the socket -- ... --> read by the receiver
//!    |<-- send lag -->|                                |
//!    |<------------------- latency ------------------->|        and to the acknowledgement
//! ```
//!
//! Latency counts from the due time of a message, not from when it was sent. A broker that stalls for a second also
//! delays the messages that could not be sent meanwhile; a generator that counted from the sending would hide that
//! (coordinated omission). Latency ends when the thread has read the message from the socket. The clock is read once
//! for all messages of a read, so that a message includes its wait for the reader, and the work for each message is to
//! compute its due time and to increment a counter.
//!
//! The send lag is the generator's own part: how late a message went to the socket although neither a full socket nor a
//! full window held its sender back. If the sender was held back, the lag counts from when the thread learned that it
//! no longer is.

use std::ops::Range;
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::drive::schedule::Schedule;

/// Significant digits of recorded values.
const DIGITS: u8 = 3;

/// The latencies of a run.
#[derive(Clone, Debug)]
pub(crate) struct Histograms {
    pub(crate) end_to_end: Histogram<u64>,
    pub(crate) acknowledgement: Histogram<u64>,
    pub(crate) send_lag: Histogram<u64>,
}

impl Default for Histograms {
    fn default() -> Self {
        // Histograms grow with the recorded values, to some 400 KB each at most.
        let new = || Histogram::new(DIGITS).expect("so many digits are allowed");
        Self { end_to_end: new(), acknowledgement: new(), send_lag: new() }
    }
}

impl Histograms {
    /// Adds the values of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        let both = [
            (&mut self.end_to_end, &other.end_to_end),
            (&mut self.acknowledgement, &other.acknowledgement),
            (&mut self.send_lag, &other.send_lag),
        ];
        for (own, others) in both {
            own.add(others).expect("it grows");
        }
    }
}

/// One thread's clock and its measurements.
#[derive(Debug)]
pub(crate) struct Timing {
    schedule: Schedule,
    begun: Instant,
    /// When the bytes were read that are being looked at.
    read_ns: u64,
    histograms: Histograms,
}

impl Timing {
    /// For a run that began, for all threads, at `begun`.
    pub(crate) fn new(schedule: Schedule, begun: Instant) -> Self {
        Self { schedule, begun, read_ns: 0, histograms: Histograms::default() }
    }

    /// Since the run began.
    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        // A u64 has room for 584 years of them.
        self.begun.elapsed().as_nanos() as u64
    }

    /// Something was read just now.
    #[inline]
    pub(crate) fn note_read(&mut self) {
        self.read_ns = self.now_ns();
    }

    /// A sender's `n`th message was in it, for the first time.
    #[inline]
    pub(crate) fn received(&mut self, sender: u32, n: u64) {
        record(&mut self.histograms.end_to_end, self.read_ns, self.schedule.due_ns(sender, n));
    }

    /// The last acknowledgement of a sender's `n`th message was in it.
    #[inline]
    pub(crate) fn acknowledged(&mut self, sender: u32, n: u64) {
        record(&mut self.histograms.acknowledgement, self.read_ns, self.schedule.due_ns(sender, n));
    }

    /// Messages of a sender, which the broker held back until `free_ns`, went to the socket at `sent_ns`.
    pub(crate) fn sent(&mut self, sender: u32, messages: Range<u64>, free_ns: u64, sent_ns: u64) {
        for n in messages {
            record(&mut self.histograms.send_lag, sent_ns, self.schedule.due_ns(sender, n).max(free_ns));
        }
    }

    pub(crate) fn into_histograms(self) -> Histograms {
        self.histograms
    }
}

#[inline]
fn record(histogram: &mut Histogram<u64>, now_ns: u64, from_ns: u64) {
    histogram.record(now_ns.saturating_sub(from_ns)).expect("it grows");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_counts_from_the_due_time_and_lag_from_when_it_was_free() {
        let schedule = Schedule::new(1000.0, 2);
        let mut timing = Timing::new(schedule, Instant::now());
        let due_ns = schedule.due_ns(1, 3);
        timing.read_ns = due_ns + 5_000_000;
        timing.received(1, 3);
        timing.read_ns = due_ns + 7_000_000;
        timing.acknowledged(1, 3);
        // Held back beyond its due time, and before it.
        timing.sent(1, 3..4, due_ns + 1_000_000, due_ns + 3_000_000);
        timing.sent(1, 3..4, due_ns - 1_000_000, due_ns + 4_000_000);
        let mut sum = Histograms::default();
        sum.add(&timing.into_histograms());
        for (histogram, values) in [
            (&sum.end_to_end, &[5_000_000][..]),
            (&sum.acknowledgement, &[7_000_000]),
            (&sum.send_lag, &[2_000_000, 4_000_000]),
        ] {
            assert_eq!(histogram.len(), values.len() as u64);
            for value in values {
                assert_eq!(histogram.count_at(*value), 1, "{value}");
            }
        }
    }

    #[test]
    fn histograms_of_threads_add_up() {
        let schedule = Schedule::new(10.0, 1);
        let mut sum = Histograms::default();
        for latency_ns in [1, 1_000_000, 7_200_000_000_000] {
            let mut timing = Timing::new(schedule, Instant::now());
            timing.read_ns = schedule.due_ns(0, 0) + latency_ns;
            timing.received(0, 0);
            sum.add(&timing.into_histograms());
        }
        assert_eq!((sum.end_to_end.len(), sum.send_lag.len()), (3, 0));
        assert!(sum.end_to_end.max() >= 7_200_000_000_000 && sum.end_to_end.min() == 1);
    }
}
