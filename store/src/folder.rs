//! The folder of a store: whether it is one, and the making of one.
//!
//! The file `wisp-store` says that the folder is a store, in which version of the format, and names the store. It is made
//! last, so a store without segments is one that has lost them.

use std::io::{self, ErrorKind};

use crate::error::OpenError;
use crate::files::Files;
use crate::format::{
    FORMAT_VERSION, GROUP_HEADER_BYTES, GroupPlace, Identity, SEGMENT_HEADER_BYTES, Seal, close_group, file_name,
    segment_number, write_header, write_segments,
};

pub(crate) const MARKER: &str = "wisp-store";
const FIRST_SEGMENT: u32 = 1;

/// Takes the folder for this process, and makes a store of an empty one.
pub(crate) fn enter(files: &mut dyn Files) -> Result<Identity, OpenError> {
    let names = begin(files, true)?;
    if !names.iter().any(|name| name == MARKER) {
        refuse_foreign(files, &names)?;
    }
    lock(files)?;
    match read_marker(files)? {
        Some(identity) => Ok(identity),
        None => create(files),
    }
}

/// Takes an empty folder, and makes a segment in it. The folder is no store before [`write_marker`].
pub(crate) fn enter_new(files: &mut dyn Files) -> Result<Identity, OpenError> {
    let names = begin(files, true)?;
    if names.iter().any(|name| name == MARKER || segment_number(name).is_some()) {
        return Err(folder_error(files, "has a store already: name a new folder".to_owned()));
    }
    refuse_foreign(files, &names)?;
    lock(files)?;
    create_segment(files)
}

/// Takes the folder of a store that is there. `None`: its identity is missing or damaged.
pub(crate) fn enter_existing(files: &mut dyn Files) -> Result<Option<Identity>, OpenError> {
    let names = begin(files, false)?;
    if !names.iter().any(|name| name == MARKER || segment_number(name).is_some()) {
        return Err(folder_error(files, "no store".to_owned()));
    }
    lock(files)?;
    read_marker(files)
}

/// The identity of a store that another process may have open.
pub(crate) fn look(files: &mut dyn Files) -> Result<Identity, OpenError> {
    let names = begin(files, false)?;
    match read_marker(files)? {
        Some(identity) => Ok(identity),
        None if names.iter().any(|name| name == MARKER || segment_number(name).is_some()) => {
            let what = "missing or damaged";
            Err(OpenError::Damaged { folder: files.folder(), file: MARKER.to_owned(), offset: 0, what })
        }
        None => Err(folder_error(files, "no store".to_owned())),
    }
}

fn begin(files: &mut dyn Files, create: bool) -> Result<Vec<String>, OpenError> {
    if let Err(error) = files.prepare(create) {
        let reason = match error.kind() {
            ErrorKind::NotADirectory => "not a folder".to_owned(),
            ErrorKind::NotFound if create => "cannot be created, since its parent folder is missing".to_owned(),
            _ => error.to_string(),
        };
        return Err(folder_error(files, reason));
    }
    let mut names = files.list().map_err(|error| folder_error(files, error.to_string()))?;
    names.sort_unstable();
    Ok(names)
}

fn folder_error(files: &dyn Files, reason: String) -> OpenError {
    OpenError::Folder { folder: files.folder(), reason }
}

pub(crate) fn io_error(files: &dyn Files, file: &str, source: io::Error) -> OpenError {
    OpenError::Io { folder: files.folder(), file: file.to_owned(), source }
}

/// Hidden files, and the folder that some file systems have at their root, are no reason to refuse.
fn refuse_foreign(files: &dyn Files, names: &[String]) -> Result<(), OpenError> {
    let is_foreign = |name: &&String| !name.starts_with('.') && *name != "lost+found" && segment_number(name).is_none();
    match names.iter().find(is_foreign) {
        Some(file) => Err(OpenError::Foreign { folder: files.folder(), file: file.clone() }),
        None => Ok(()),
    }
}

fn lock(files: &mut dyn Files) -> Result<(), OpenError> {
    match files.lock() {
        Ok(true) => Ok(()),
        Ok(false) => Err(OpenError::InUse { folder: files.folder() }),
        Err(error) => Err(folder_error(files, format!("cannot write: {error}"))),
    }
}

/// The store's identity. `None`: the file is missing, or not whole.
fn read_marker(files: &mut dyn Files) -> Result<Option<Identity>, OpenError> {
    let mut text = [0; 64];
    let length = match files.read(MARKER, 0, &mut text) {
        Ok(length) => length,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(files, MARKER, error)),
    };
    let Ok(text) = std::str::from_utf8(&text[..length]) else { return Ok(None) };
    let Some((checked, checksum)) = text.strip_suffix('\n').and_then(|text| text.rsplit_once(' ')) else {
        return Ok(None);
    };
    if checksum != format!("{:08x}", crc32c::crc32c(checked.as_bytes())) {
        return Ok(None);
    }
    let mut words = checked.split(' ').skip(1);
    let version = words.next().and_then(|version| version.parse().ok());
    let identity = words.next().and_then(|identity| u64::from_str_radix(identity, 16).ok());
    match (version, identity) {
        (Some(FORMAT_VERSION), Some(identity)) => Ok(Some(Identity(identity))),
        (Some(found), _) => Err(OpenError::Newer { folder: files.folder(), file: MARKER.to_owned(), found }),
        _ => Ok(None),
    }
}

/// Writes the file that makes the folder a store.
pub(crate) fn write_marker(files: &mut dyn Files, identity: Identity) -> Result<(), OpenError> {
    let checked = format!("{MARKER} {FORMAT_VERSION} {:016x}", identity.0);
    let text = format!("{checked} {:08x}\n", crc32c::crc32c(checked.as_bytes()));
    let created = match files.remove(MARKER) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => files.create(MARKER, text.as_bytes()),
    };
    created.map_err(|error| io_error(files, MARKER, error))
}

/// Makes a store: a segment with an empty list of segments, then the file that says so. Traces of an attempt that was
/// interrupted are removed.
fn create(files: &mut dyn Files) -> Result<Identity, OpenError> {
    let segments: Vec<u32> = list(files)?.iter().filter_map(|name| segment_number(name)).collect();
    let first = file_name(FIRST_SEGMENT);
    for segment in segments {
        if segment != FIRST_SEGMENT || !is_new(files, &first)? {
            let what = "missing or damaged, though there are segments";
            return Err(OpenError::Damaged { folder: files.folder(), file: MARKER.to_owned(), offset: 0, what });
        }
        files.remove(&first).map_err(|error| io_error(files, &first, error))?;
    }
    let identity = create_segment(files)?;
    write_marker(files, identity)?;
    Ok(identity)
}

fn create_segment(files: &mut dyn Files) -> Result<Identity, OpenError> {
    let (identity, first) = (Identity(files.random()), file_name(FIRST_SEGMENT));
    let segment = first_segment(identity, FIRST_SEGMENT, 1, 1, &[]);
    files.create(&first, &segment).map_err(|error| io_error(files, &first, error))?;
    Ok(identity)
}

pub(crate) fn list(files: &mut dyn Files) -> Result<Vec<String>, OpenError> {
    files.list().map_err(|error| folder_error(files, error.to_string()))
}

/// A segment that holds a list of segments and nothing else.
pub(crate) fn first_segment(
    identity: Identity,
    segment: u32,
    number: u64,
    first_sequence: u64,
    list: &[(u32, u64)],
) -> Vec<u8> {
    let mut group = vec![0; GROUP_HEADER_BYTES];
    write_segments(&mut group, list);
    let offset = SEGMENT_HEADER_BYTES as u64;
    let place = GroupPlace { offset, number, first_sequence, count: 1, settled: offset };
    close_group(&mut group, &place, Seal::new(identity, segment));
    [&write_header(identity, segment)[..], &group].concat()
}

/// Whether a segment has no more than the making of a store has put into it.
fn is_new(files: &mut dyn Files, name: &str) -> Result<bool, OpenError> {
    let length = files.length(name).map_err(|error| io_error(files, name, error))?;
    Ok(length <= first_segment(Identity(0), FIRST_SEGMENT, 1, 1, &[]).len() as u64)
}
