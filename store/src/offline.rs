//! Work on a store that no broker has open: check it, list it, compact it, save the readable part of a damaged one.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

use crate::error::{FlushError, OpenError};
use crate::files::Files;
use crate::folder;
use crate::log::Log;
use crate::recovery::{self, Findings, Live, Recovery, Strictness};
use crate::report::Problem;
use crate::settings::{Settings, Stats, Sync};

/// A repair writes when this many bytes are waiting.
const PENDING_BYTES: usize = 4 << 20;

/// The state of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Damage. A store without any opens.
    pub problems: Vec<Problem>,
    /// The size of the store, and the torn tail that opening would cut off.
    pub recovery: Recovery,
    /// Bytes of the records of live objects.
    pub live_bytes: u64,
    /// Bytes of the segments that count.
    pub disk_bytes: u64,
}

/// Reads a whole store and lists its damage. Changes nothing but the lock file.
///
/// # Errors
///
/// There is no store, it is in use, or newer, or a file cannot be read.
pub fn check(mut files: impl Files) -> Result<CheckReport, OpenError> {
    let found = read(&mut files)?;
    Ok(CheckReport {
        problems: found.problems,
        recovery: found.recovery,
        live_bytes: found.index.live_bytes(),
        disk_bytes: found.index.disk_bytes(),
    })
}

/// Returns all live objects that can be read, in their order, and the damage.
///
/// # Errors
///
/// As [`check`].
pub fn dump(mut files: impl Files) -> Result<(Vec<Live>, Vec<Problem>), OpenError> {
    let found = read(&mut files)?;
    Ok((found.live, found.problems))
}

/// Why a compaction or a repair has failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum OfflineError {
    /// A store does not open.
    Open(OpenError),
    /// A store cannot be written.
    Flush(FlushError),
    /// The folder to repair to has a store with objects.
    NotEmpty,
}

impl Display for OfflineError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => Display::fmt(error, f),
            Self::Flush(error) => Display::fmt(error, f),
            Self::NotEmpty => f.write_str("the folder to save to has a store with objects: name an empty one"),
        }
    }
}

impl Error for OfflineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Open(error) => error.source(),
            Self::Flush(error) => error.source(),
            Self::NotEmpty => None,
        }
    }
}

impl From<OpenError> for OfflineError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<FlushError> for OfflineError {
    fn from(error: FlushError) -> Self {
        Self::Flush(error)
    }
}

/// Compacts a store: afterwards hardly more than its live objects is on the disk. Returns the sizes before and after.
///
/// # Errors
///
/// It does not open, or cannot be written.
pub fn compact(files: impl Files + 'static, settings: &Settings) -> Result<(Stats, Stats), OfflineError> {
    let (log, live) = Log::open(files, settings)?;
    drop(live);
    let before = log.stats();
    log.compact()?;
    Ok((before, log.stats()))
}

/// The result of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// Objects saved.
    pub saved: u64,
    /// Damage: the places whose changes are given up. A deletion that was lost lets its object come back.
    pub problems: Vec<Problem>,
    /// The torn tail that was given up too, as every start does.
    pub cut: Option<recovery::Cut>,
}

/// Makes a store of what `fill` appends, in a folder that is missing or empty. The folder is a store when everything is
/// synchronised, and not before: a crash leaves a folder that is none.
///
/// # Errors
///
/// The folder has a store already, or other files, or cannot be written. What was written to it is removed.
pub fn create(
    files: impl Files + 'static,
    settings: &Settings,
    fill: impl FnOnce(&Log) -> Result<(), FlushError>,
) -> Result<Stats, OfflineError> {
    let log = Log::create(files, &Settings { sync: Sync::Always, ..settings.clone() })?;
    let filled = fill(&log).and_then(|()| Ok(_ = log.flush()?)).map_err(OfflineError::from);
    match filled.and_then(|()| Ok(log.complete()?)) {
        Ok(()) => Ok(log.stats()),
        Err(error) => {
            log.discard();
            Err(error)
        }
    }
}

/// Saves all objects of a damaged store that can be read to a new store in another folder. The damaged store stays as it is.
///
/// # Errors
///
/// There is no store, it is in use or newer, or the new one cannot be written.
pub fn repair(
    mut from: impl Files,
    to: impl Files + 'static,
    settings: &Settings,
) -> Result<RepairReport, OfflineError> {
    let found = read(&mut from)?;
    let (log, existing) = Log::open(to, settings)?;
    if !existing.is_empty() {
        return Err(OfflineError::NotEmpty);
    }
    let mut written = std::collections::HashSet::with_capacity(found.live.len());
    let mut early = Vec::new();
    for object in &found.live {
        if object.refers_to.is_some_and(|target| !written.contains(&target)) {
            early.push(object);
        }
        written.insert(object.key);
        put(&log, object)?;
    }
    // These refer to an object that has come after them: now it is there.
    for object in early {
        put(&log, object)?;
    }
    log.flush()?;
    Ok(RepairReport { saved: found.live.len() as u64, problems: found.problems, cut: found.recovery.cut })
}

fn put(log: &Log, object: &Live) -> Result<(), FlushError> {
    log.put(object.key, object.kind, object.refers_to, object.shared, &[&object.body]);
    if log.pending_bytes() >= PENDING_BYTES {
        log.flush()?;
    }
    Ok(())
}

fn read(files: &mut dyn Files) -> Result<Findings, OpenError> {
    let identity = folder::enter_existing(files)?;
    recovery::read(files, identity, Strictness::List)
}
