//! Systems that tell nothing of processes in a form that is known here.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::figures::{Memory, ProcessUsage, ProcessorTicks};

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux tells of processes"))
}

/// The memory of a process now.
///
/// # Errors
/// Always.
pub fn memory(_: u32) -> io::Result<Memory> {
    unsupported()
}

/// The most memory that a process had so far.
///
/// # Errors
/// Always.
pub fn peak_rss_bytes(_: u32) -> io::Result<Option<u64>> {
    unsupported()
}

/// Lets the count of the most memory that a process ever had begin anew.
///
/// # Errors
/// Always.
pub fn forget_peak(_: u32) -> io::Result<()> {
    unsupported()
}

/// The program of a process.
///
/// # Errors
/// Always.
pub fn program(_: u32) -> io::Result<PathBuf> {
    unsupported()
}

/// The files of which a process runs code.
///
/// # Errors
/// Always.
pub fn code_files(_: u32) -> io::Result<BTreeSet<PathBuf>> {
    unsupported()
}

/// The bytes that a process has given to disks.
///
/// # Errors
/// Always.
pub fn written_bytes(_: u32) -> io::Result<u64> {
    unsupported()
}

pub(crate) fn usage_of_group(_: u32) -> io::Result<Vec<ProcessUsage>> {
    unsupported()
}

pub(crate) fn children() -> io::Result<Vec<u32>> {
    unsupported()
}

pub(crate) fn ignored_signals() -> io::Result<u64> {
    unsupported()
}

pub(crate) fn processor_ticks() -> io::Result<ProcessorTicks> {
    unsupported()
}

pub(crate) fn processor_model() -> io::Result<Option<String>> {
    unsupported()
}

pub(crate) fn memory_bytes() -> io::Result<u64> {
    unsupported()
}
