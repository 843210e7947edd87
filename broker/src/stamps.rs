//! The signs by which a changed file is known without reading it.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// The time and the length of each file. A file that is missing has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<Option<(Option<SystemTime>, u64)>>);

impl Stamps {
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let stamp = |file| {
            let metadata = fs::metadata(file).ok()?;
            Some((metadata.modified().ok(), metadata.len()))
        };
        Self(files.into_iter().map(stamp).collect())
    }
}
