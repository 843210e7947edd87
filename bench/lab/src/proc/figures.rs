//! What is told of processes and of the machine.

/// The memory of a process in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Pages that are in memory.
    pub rss_bytes: u64,
    /// The same, with pages that several processes have counted in part.
    pub pss_bytes: u64,
    /// Pages of no file: heap and stacks.
    pub anonymous_bytes: u64,
}

/// The resources used by a process since its start, with all threads.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(crate) struct ProcessUsage {
    pub(crate) cpu_s: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) threads: u64,
}

/// Time of all processors since the machine was started, in its own unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProcessorTicks {
    pub(crate) all: u64,
    pub(crate) idle: u64,
}
