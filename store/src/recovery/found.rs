//! The results of opening a store.

use std::time::Duration;

/// An object that is in the store when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its key.
    pub key: u64,
    /// Its kind.
    pub kind: u8,
    /// The key of the object that it refers to.
    pub refers_to: Option<u64>,
    /// Whether it goes with the last object that refers to it.
    pub shared: bool,
    /// Its contents.
    pub body: Vec<u8>,
}

/// The findings of opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Segments read.
    pub segments: u64,
    /// Groups read.
    pub groups: u64,
    /// Records read.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Objects that are live.
    pub objects: u64,
    /// The torn tail that was cut off.
    pub cut: Option<Cut>,
    /// Files that were removed, since no segment that counts is in them.
    pub removed: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// A torn tail: the process or the machine has ended during a write. Nothing in it was acknowledged with `sync = "always"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: String,
    /// The offset of the cut.
    pub offset: u64,
    /// The bytes after it.
    pub bytes: u64,
}
