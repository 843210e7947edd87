//! The results of opening a store.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
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
    pub body: Body,
}

/// The contents of an object: bytes in memory that it shares with other objects, as a piece of a segment.
#[derive(Clone, Default)]
pub struct Body {
    shared: Arc<Vec<u8>>,
    start: usize,
    end: usize,
}

impl Body {
    /// A piece of `shared`.
    pub(super) fn piece(shared: &Arc<Vec<u8>>, piece: &[u8]) -> Self {
        let start = (piece.as_ptr() as usize).saturating_sub(shared.as_ptr() as usize);
        Self { shared: Arc::clone(shared), start, end: start + piece.len() }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.shared[self.start..self.end]
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self { start: 0, end: bytes.len(), shared: Arc::new(bytes) }
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Body {}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
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
