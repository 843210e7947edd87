//! Opening: from the bytes of the segments to the live objects, or to a refusal that names file and offset.
//!
//! The last segment with a whole group is the one that was being written. Its first record lists the segments that count, and
//! their lengths; the drops in it take segments off the list. All segments on the list must be whole: they were synchronised
//! before the last one was begun. The last one may end in a torn tail, which is cut off.

mod found;
mod replay;
mod survey;

use std::time::Instant;

use crate::error::OpenError;
use crate::files::Files;
use crate::folder;
use crate::format::{Identity, file_name, write_header};
use crate::index::Index;
use survey::Survey;

pub use found::{Body, Cut, Live, Recovery};
pub(crate) use survey::{Findings, Strictness};

/// A store that can be written to.
pub(crate) struct Opened {
    pub(crate) identity: Identity,
    pub(crate) index: Index,
    pub(crate) live: Vec<Live>,
    /// Shared objects to which nothing refers: the crash came before the objects that would have.
    pub(crate) orphans: Vec<u64>,
    /// The segment to write to. Its file is there.
    pub(crate) ahead: u32,
    pub(crate) next_group: u64,
    pub(crate) next_sequence: u64,
    pub(crate) recovery: Recovery,
}

/// Reads a store, or makes one, and prepares it for writing.
///
/// A run never writes to a segment that an earlier one has written to, so a torn tail needs no repair: the next list of
/// segments has the length without it.
pub(crate) fn open(files: &mut dyn Files) -> Result<Opened, OpenError> {
    let identity = folder::enter(files)?;
    open_as(files, identity)
}

/// Makes a store that has no marker yet.
pub(crate) fn create(files: &mut dyn Files) -> Result<Opened, OpenError> {
    let identity = folder::enter_new(files)?;
    open_as(files, identity)
}

fn open_as(files: &mut dyn Files, identity: Identity) -> Result<Opened, OpenError> {
    let started = Instant::now();
    let mut found = read(files, Some(identity), Strictness::Refuse)?;
    // If only the process has ended, its last writes may not be on the disk yet.
    if let Some(head) = found.head {
        let name = file_name(head);
        files.sync(&name).map_err(|error| folder::io_error(files, &name, error))?;
    }
    for segment in found.leftovers.drain(..) {
        let name = file_name(segment);
        // It does no harm, and the next start tries again.
        if files.remove(&name).is_ok() {
            found.recovery.removed.push(name);
        }
    }
    if !found.ahead_exists {
        let name = file_name(found.ahead);
        let created = files.create(&name, &write_header(identity, found.ahead));
        created.map_err(|error| folder::io_error(files, &name, error))?;
    }
    found.recovery.took = started.elapsed();
    Ok(Opened {
        identity,
        index: found.index,
        live: found.live,
        orphans: found.orphans,
        ahead: found.ahead,
        next_group: found.next_group,
        next_sequence: found.next_sequence,
        recovery: found.recovery,
    })
}

/// Reads a store and changes nothing. Without an identity the segments' own is taken.
pub(crate) fn read(
    files: &mut dyn Files,
    identity: Option<Identity>,
    strictness: Strictness,
) -> Result<Findings, OpenError> {
    Survey::new(files, identity, strictness).run()
}
