//! How a log works, and counters of its work.

use std::time::Duration;

/// The length at which a segment ends by default.
pub const SEGMENT_BYTES: u64 = 16 << 20;

/// A segment of a store with few live bytes may end here, so that a small store stays small.
const SEGMENT_BYTES_LEAST: u64 = 1 << 20;

/// A segment takes several flushes of the largest size of late: each segment costs a file.
const FLUSHES_PER_SEGMENT: u64 = 4;

/// Live bytes, and the bytes of the largest flush of late: the work of a store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) live_bytes: u64,
    pub(crate) flush_bytes: u64,
}

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
    /// The length at which a segment ends: a quarter of the live bytes, so that the segment being written, none of which can
    /// be given back, is small beside them; or several large flushes.
    pub(crate) fn segment_target(&self, load: Load) -> u64 {
        let least = SEGMENT_BYTES_LEAST.min(self.segment_bytes);
        let most = if self.disk_bytes_max == 0 { u64::MAX } else { self.disk_bytes_max / 16 };
        (load.live_bytes / 4).max(load.flush_bytes * FLUSHES_PER_SEGMENT).min(most).clamp(least, self.segment_bytes)
    }

    /// The bytes that may be written beside `disk_bytes`. What compaction needs is left out: a segment is written anew before
    /// it goes, and the one being written cannot go.
    pub(crate) fn room(&self, disk_bytes: u64, load: Load) -> u64 {
        match self.disk_bytes_max {
            0 => u64::MAX,
            most => most.saturating_sub(disk_bytes + 2 * self.segment_target(load)),
        }
    }

    /// The bytes on the disk beyond which compaction begins. Three quarters of the limit are reached with less garbage.
    pub(crate) fn tolerated(&self, disk_bytes: u64, load: Load) -> u64 {
        let target = self.segment_target(load);
        let is_tight = self.disk_bytes_max > 0 && disk_bytes + 2 * target >= self.disk_bytes_max / 4 * 3;
        let garbage = if is_tight { load.live_bytes / 8 } else { load.live_bytes / 4 * 3 };
        load.live_bytes + garbage + target
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
    /// How soon objects go.
    pub churn: Churn,
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

/// Bytes of the records of objects, as of the beginning of the last flush that had something to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Churn {
    /// They were there at a flush, and were written.
    pub put_bytes: u64,
    /// They went before the flush, and were not written.
    pub void_bytes: u64,
    /// They went after their own flush had begun, and before the next one.
    pub young_bytes: u64,
}
