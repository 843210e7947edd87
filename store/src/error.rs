//! Why a log does not open, or does not flush.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io;

use crate::format::FORMAT_VERSION;

/// Why a log does not open. Nothing has been changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder cannot be used.
    Folder {
        /// The folder.
        folder: String,
        /// Why.
        reason: String,
    },
    /// Another process has the store open.
    InUse {
        /// The folder.
        folder: String,
    },
    /// The folder has files, and they are no store.
    Foreign {
        /// The folder.
        folder: String,
        /// One of the files.
        file: String,
    },
    /// A later version has written the store.
    Newer {
        /// The folder.
        folder: String,
        /// The file that says so.
        file: String,
        /// The version.
        found: u32,
    },
    /// A file is damaged where the damage is no trace of a crash.
    Damaged {
        /// The folder.
        folder: String,
        /// The file.
        file: String,
        /// The offset.
        offset: u64,
        /// The damage.
        what: &'static str,
    },
    /// A file cannot be read or written.
    Io {
        /// The folder.
        folder: String,
        /// The file.
        file: String,
        /// The reason.
        source: io::Error,
    },
}

impl Display for OpenError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { folder, reason } => write!(f, "{folder}: {reason}"),
            Self::InUse { folder } => write!(f, "{folder}: in use by another process"),
            Self::Foreign { folder, file } => {
                write!(f, "{folder}: not a store, since it has other files ({file}): name an empty folder")
            }
            Self::Newer { folder, file, found } => {
                write!(f, "{folder}/{file}: format version {found}, this version reads up to {FORMAT_VERSION}")
            }
            Self::Damaged { folder, file, offset, what } => write!(
                f,
                "{folder}/{file}: damaged at offset {offset}: {what}. `wisp-broker store check {folder}` lists the damage, \
                 `wisp-broker store repair {folder} NEWFOLDER` saves all objects that can be read"
            ),
            Self::Io { folder, file, source } => write!(f, "{folder}/{file}: {source}"),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why a flush has failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum FlushError {
    /// The write failed, for example because the disk is full. All changes are kept in memory, and the next flush tries
    /// again.
    Write {
        /// The segment's file.
        file: String,
        /// The reason.
        source: io::Error,
    },
    /// A sync failed. Nobody knows which bytes are on the disk, so nothing is ever acknowledged after it, and the log
    /// must be opened again.
    Sync {
        /// The segment's file.
        file: String,
        /// The reason.
        reason: String,
    },
}

impl FlushError {
    /// Whether the log is of no use any more.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Sync { .. })
    }
}

impl Display for FlushError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { file, source } => write!(f, "{file}: cannot write: {source}: will try again"),
            Self::Sync { file, reason } => write!(f, "{file}: cannot synchronise: {reason}"),
        }
    }
}

impl Error for FlushError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Write { source, .. } => Some(source),
            Self::Sync { .. } => None,
        }
    }
}
