//! Histograms: how often something took how long.

use std::time::Duration;

use crate::base::sync::{AtomicU64, Ordering};

/// The upper bounds of the buckets, in microseconds. One more bucket has all that took longer.
pub const BUCKET_BOUNDS_US: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000];

const BUCKETS: usize = BUCKET_BOUNDS_US.len() + 1;

/// Counts durations, from any thread.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts `times` things that took so long each.
    pub fn add(&self, took: Duration, times: u64) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKET_BOUNDS_US.partition_point(|bound_us| *bound_us < took_us);
        self.buckets[bucket].fetch_add(times, Ordering::Relaxed);
        self.sum_us.fetch_add(took_us.saturating_mul(times), Ordering::Relaxed);
    }

    /// The counts of this moment.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let buckets = self.buckets.each_ref().map(|count| count.load(Ordering::Relaxed));
        HistogramSnapshot { buckets, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

/// The counts of a [`Histogram`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// How often it took at most [`BUCKET_BOUNDS_US`] and longer than the bound before; the last: longer than all.
    pub buckets: [u64; BUCKETS],
    /// The sum of all durations, in microseconds.
    pub sum_us: u64,
}

/// A row of the table of histograms.
#[derive(Clone, Copy, Debug)]
pub struct HistogramMetric {
    /// Its name.
    pub name: &'static str,
    /// Its meaning.
    pub help: &'static str,
    /// Its counts.
    pub value: fn(&Histograms) -> &HistogramSnapshot,
}

/// All histograms at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Histograms {
    /// Of the path of messages through the broker.
    pub message: HistogramSnapshot,
    /// Of the commits of a store.
    pub commit: HistogramSnapshot,
}

/// All histograms.
pub const HISTOGRAMS: [HistogramMetric; 2] = [
    HistogramMetric {
        name: "message_seconds",
        help: "Messages in the broker, those of one turn in sixteen: from the time a worker found sockets ready until all that it read from \
               them was routed, and sent as far as the receivers' sockets took it.",
        value: |histograms| &histograms.message,
    },
    HistogramMetric {
        name: "commit_seconds",
        help: "Writing a group of changes to the data folder, and synchronising it if each commit does.",
        value: |histograms| &histograms.commit,
    },
];

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_bucket_of_the_first_bound_that_it_does_not_pass() {
        for (bucket, bound_us) in BUCKET_BOUNDS_US.iter().enumerate() {
            let histogram = Histogram::default();
            for (us, times) in [(*bound_us, 3), (bound_us + 1, 5)] {
                histogram.add(Duration::from_micros(us), times);
            }
            let found = histogram.snapshot();
            assert_eq!((found.buckets[bucket], found.buckets[bucket + 1]), (3, 5), "{bound_us}");
            assert_eq!((found.buckets.iter().sum::<u64>(), found.sum_us), (8, 8 * bound_us + 5));
        }
        let histogram = Histogram::default();
        histogram.add(Duration::MAX, 1);
        histogram.add(Duration::ZERO, 2);
        let found = histogram.snapshot();
        assert_eq!((found.buckets[0], found.buckets[BUCKETS - 1]), (2, 1));
    }

    #[test]
    fn the_document_has_each_row() {
        let document = include_str!("../../../docs/monitoring.md");
        for HistogramMetric { name, help, .. } in &HISTOGRAMS {
            let row = format!("| `{name}` | histogram | seconds | {help} |");
            assert!(document.contains(&row), "docs/monitoring.md has not got the row\n{row}");
        }
    }
}
