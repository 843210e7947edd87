//! The files of a store behind a trait: the file system, or memory with faults for tests.

mod fs;
mod interface;
#[cfg(any(test, feature = "test-files"))]
mod memory;

pub use fs::FsFiles;
pub use interface::Files;
#[cfg(any(test, feature = "test-files"))]
pub use memory::{Crash, MemoryFiles, Random};
