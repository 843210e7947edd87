//! How a log works, and counters of its work.

use std::time::Duration;

/// The length at which a segment ends by default.
pub const SEGMENT_BYTES: u64 = 16 << 20;

/// A segment of a store with few live bytes may end here, so that a small store stays small.
const SEGMENT_BYTES_LEAST: u64 = 1 << 20;

/// How a log works.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// A segment that is this long ends. The groups of one flush stay in one segment, so it may become longer by one flush.
    pub segment_bytes: u64,
    /// When writes are synchronised.
    pub sync: Sync,
    /// The most bytes on the disk, for a caller that appends nothing large while [`Log::room`](crate::Log::room) is not above
    /// the [bytes that wait](crate::Log::pending_bytes). 0: no limit.
    pub disk_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, sync: Sync::Always, disk_bytes_max: 0 }
    }
}

impl Settings {
    /// The length at which a segment ends while `live_bytes` are live: a quarter of them, so that the segment being
    /// written, none of which can be given back, is small beside them.
    pub(crate) fn segment_target(&self, live_bytes: u64) -> u64 {
        let least = SEGMENT_BYTES_LEAST.min(self.segment_bytes);
        let most = if self.disk_bytes_max == 0 { u64::MAX } else { self.disk_bytes_max / 16 };
        (live_bytes / 4).min(most).clamp(least, self.segment_bytes)
    }

    /// The bytes that may be written beside `disk_bytes`, of which `live_bytes` are live. What compaction needs is left out: a
    /// segment is written anew before it goes, and the one being written cannot go.
    pub(crate) fn room(&self, disk_bytes: u64, live_bytes: u64) -> u64 {
        match self.disk_bytes_max {
            0 => u64::MAX,
            most => most.saturating_sub(disk_bytes + 2 * self.segment_target(live_bytes)),
        }
    }

    /// The bytes on the disk beyond which compaction begins. Three quarters of the limit are reached with less garbage.
    pub(crate) fn tolerated(&self, disk_bytes: u64, live_bytes: u64) -> u64 {
        let target = self.segment_target(live_bytes);
        let is_tight = self.disk_bytes_max > 0 && disk_bytes + 2 * target >= self.disk_bytes_max / 4 * 3;
        let garbage = if is_tight { live_bytes / 8 } else { live_bytes / 4 * 3 };
        live_bytes + garbage + target
    }
}

/// When writes are synchronised. [`Log::synced`](crate::Log::synced) promises no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Each flush synchronises: its changes survive a power cut.
    #[default]
    Always,
    /// A flush synchronises if the last sync is at least this long ago. Its changes survive the end of the process at once,
    /// and a power cut after the next sync.
    Every(Duration),
    /// Only a segment that has ended is synchronised.
    Never,
}

/// Counters and sizes of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Live objects.
    pub objects: u64,
    /// Bytes of the records of live objects.
    pub live_bytes: u64,
    /// Bytes of all segments that count.
    pub disk_bytes: u64,
    /// Segments that count.
    pub segments: u64,
    /// Writes of groups.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Writes that failed and were, or are to be, tried again.
    pub write_failures: u64,
    /// Bytes of live objects and of deletions that compaction has written anew.
    pub moved_bytes: u64,
    /// Segments dropped.
    pub dropped_segments: u64,
    /// Segments that could not be read again for compaction, and files that could not be removed.
    pub compaction_failures: u64,
}
