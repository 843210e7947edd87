//! A log of keyed objects in segment files: one write and one sync for a group of changes.
//!
//! The store keeps objects under keys, and knows nothing of MQTT. A change puts an object or deletes one; all changes of all
//! threads have one order. [`Log::flush`] writes all that was appended since the last one with one write and one sync, so
//! after a crash the changes up to some flush are there, and at least all that [`Log::synced`] had said. docs/storage.md
//! describes the format byte by byte, and the guarantees with their tests.
//!
//! | step | where | in -> out |
//! |---|---|---|
//! | 1 append | `log/state.rs`, `index.rs` | a change -> a record in the group being collected, and the index |
//! | 2 collect | `log/batch.rs`, `log/evacuation.rs` | the groups, and a piece of compaction -> one batch |
//! | 3 write | `log/writer.rs`, `files/` | a batch -> a segment, synchronised |
//! | 4 open | `recovery/`, `folder.rs` | segments -> the index and the live objects, or a refusal |
//!
//! [`format`](mod@format) is pure: bytes in, records out. [`Files`] is the folder: the file system's, or one in memory with faults.
//! [`offline`] checks, lists, compacts and repairs a store that is not open.

mod backup;
mod error;
mod files;
mod folder;
pub mod format;
mod index;
mod log;
pub mod offline;
mod recovery;
mod report;
mod settings;
mod switches;
#[cfg(test)]
mod tests;

pub use backup::{BackupReport, backup, segments_in};
pub use error::{FlushError, OpenError};
#[cfg(any(test, feature = "test-files"))]
pub use files::{Crash, MemoryFiles, Random};
pub use files::{Files, FsFiles};
pub use log::{Changes, Log};
pub use recovery::{Body, Cut, Live, Recovery};
pub use report::Problem;
pub use settings::{Churn, SEGMENT_BYTES, Settings, Stats, Sync};
