//! Durable storage in a folder: the engine's store over the log of the crate `wisp-store`.
//!
//! ```text
//! workers --append--> the log's buffer --flush--> one write, one sync --wake--> workers send the replies they have held
//! ```
//!
//! A flush covers everything that all workers have appended. It runs on the thread `wisp-sync`, which begins as soon as a worker
//! has ended a turn and goes on for as long as there is more. If most messages are acknowledged by their receivers within the time of a
//! flush, it waits for that, since then they need not be written. On a host without threads the worker flushes itself, at the end of
//! its turn.

mod commits;
mod pauses;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use self::commits::Commits;
pub(crate) use self::store::Durable;
pub use self::store::{DISK_BYTES_LEAST, DataDir};
