//! A copy of a store to which another process may be writing.
//!
//! A segment that has ended does not change, and the one being written only grows. So a copy is the store as of one moment if it
//! has the last segment up to a whole group, and each segment that counts there. Compaction removes segments meanwhile, so all
//! files are opened first: a file that is open stays readable. A segment that counts at the end of what was read of the last one
//! was there when the files were opened: else its drop would have been written, and read, before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::OpenError;
use crate::files::{Files, FsFiles};
use crate::folder;
use crate::format::{Identity, Record, SEGMENT_HEADER_BYTES, Seal, Tail, Walk, file_name, read_header, segment_number};

const WRONG_CHECKSUM: &str = "the checksum of a group is wrong";

/// A copy that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// Segments copied.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The segments of a store, open. Their lengths are those of one moment.
struct Pinned {
    folder: String,
    identity: Identity,
    files: BTreeMap<u32, (File, u64)>,
}

/// Copies a store to a folder that is missing or empty, while a process writes to it or not. The copy has all that was written
/// before the call, and is synchronised. Its segments were read and found whole.
///
/// # Errors
///
/// There is no store, it is newer or damaged, a file cannot be read or written, or the new folder is not empty. What was written to
/// the new folder is removed.
pub fn backup(from: &Path, mut to: impl Files) -> Result<BackupReport, OpenError> {
    let pinned = Pinned::open(from)?;
    to.prepare(true).map_err(|error| folder_error(&to, error.to_string()))?;
    if !folder::list(&mut to)?.is_empty() {
        return Err(folder_error(&to, "not empty: name a new folder".to_owned()));
    }
    let mut copied = Vec::new();
    let outcome = pinned.copy(&mut to, &mut copied);
    if outcome.is_err() {
        for name in copied {
            // What stays has no marker, and is no store.
            let _ = to.remove(&name);
        }
    }
    outcome
}

fn folder_error(files: &dyn Files, reason: String) -> OpenError {
    OpenError::Folder { folder: files.folder(), reason }
}

impl Pinned {
    fn open(folder: &Path) -> Result<Self, OpenError> {
        let mut files = FsFiles::new(folder);
        let identity = folder::look(&mut files)?;
        let names = folder::list(&mut files)?;
        let mut opened = BTreeMap::new();
        for number in names.iter().filter_map(|name| segment_number(name)) {
            let name = file_name(number);
            match File::open(folder.join(&name)) {
                Ok(file) => _ = opened.insert(number, file),
                // It was dropped meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(folder::io_error(&files, &name, error)),
            }
        }
        // The last one first: if it has a group, the ones before it have ended.
        let mut lengths = BTreeMap::new();
        for (number, file) in opened.into_iter().rev() {
            let length = file.metadata().map_err(|error| folder::io_error(&files, &file_name(number), error))?.len();
            lengths.insert(number, (file, length));
        }
        Ok(Self { folder: files.folder(), identity, files: lengths })
    }

    fn copy(mut self, to: &mut dyn Files, copied: &mut Vec<String>) -> Result<BackupReport, OpenError> {
        let mut report = BackupReport::default();
        let (head, bytes) = self.head()?;
        let (counting, end) = self.counting(head, &bytes)?;
        let mut create = |number: u32, bytes: &[u8]| {
            let name = file_name(number);
            to.create(&name, bytes).map_err(|error| folder::io_error(to, &name, error))?;
            report.segments += 1;
            report.bytes += bytes.len() as u64;
            copied.push(name);
            Ok(())
        };
        for (number, length) in counting {
            create(number, &self.whole(number, length)?)?;
        }
        create(head, &bytes[..end])?;
        // Without it, the folder is no store.
        folder::write_marker(to, self.identity)?;
        Ok(report)
    }

    /// The last segment with a whole group.
    fn head(&mut self) -> Result<(u32, Vec<u8>), OpenError> {
        let numbers: Vec<u32> = self.files.keys().rev().copied().collect();
        for number in numbers {
            let bytes = self.read(number, u64::MAX)?;
            let mut walk = self.walk(number, &bytes);
            let is_begun = walk.by_ref().count() > 0;
            if walk.tail() == Tail::Damaged {
                return Err(self.damaged(&file_name(number), walk.offset(), WRONG_CHECKSUM));
            }
            if is_begun {
                self.check_header(number, &bytes)?;
                return Ok((number, bytes));
            }
        }
        Err(self.damaged(folder::MARKER, 0, "the store has lost its segments"))
    }

    /// The segments that count besides the head, with their lengths, and the end of the head's whole groups.
    fn counting(&self, head: u32, bytes: &[u8]) -> Result<(BTreeMap<u32, u64>, usize), OpenError> {
        let mut list = None;
        let mut walk = self.walk(head, bytes);
        for record in walk.by_ref().flat_map(|group| group.records()).flatten() {
            match (record.2, &mut list) {
                (Record::Segments(segments), None) => list = Some(BTreeMap::from_iter(segments)),
                (Record::Dropped { segment }, Some(list)) => _ = list.remove(&segment),
                _ => {}
            }
        }
        let end = walk.offset();
        match list {
            Some(list) => Ok((list, end as usize)),
            None => Err(self.damaged(&file_name(head), end, "the list of segments is missing")),
        }
    }

    /// A segment that has ended, which must be whole.
    fn whole(&mut self, number: u32, length: u64) -> Result<Vec<u8>, OpenError> {
        let name = file_name(number);
        if !self.files.contains_key(&number) {
            return Err(self.damaged(&name, 0, "the file is missing"));
        }
        let bytes = self.read(number, length)?;
        self.check_header(number, &bytes)?;
        let mut walk = self.walk(number, &bytes);
        walk.by_ref().for_each(drop);
        match walk.offset() {
            end if end == length => Ok(bytes),
            end => Err(self.damaged(&name, end, WRONG_CHECKSUM)),
        }
    }

    fn check_header(&self, number: u32, bytes: &[u8]) -> Result<(), OpenError> {
        let header = read_header(bytes, self.identity, number);
        header.map_err(|_| self.damaged(&file_name(number), 0, "the segment's header is wrong"))
    }

    fn walk<'b>(&self, number: u32, bytes: &'b [u8]) -> Walk<'b> {
        let groups = bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or_default();
        Walk::new(groups, SEGMENT_HEADER_BYTES as u64, Seal::new(self.identity, number))
    }

    fn read(&mut self, number: u32, length_max: u64) -> Result<Vec<u8>, OpenError> {
        let Some((file, length)) = self.files.get_mut(&number) else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        let read =
            file.seek(SeekFrom::Start(0)).and_then(|_| file.take(length_max.min(*length)).read_to_end(&mut bytes));
        read.map_err(|source| OpenError::Io { folder: self.folder.clone(), file: file_name(number), source })?;
        Ok(bytes)
    }

    fn damaged(&self, file: &str, offset: u64, what: &'static str) -> OpenError {
        OpenError::Damaged { folder: self.folder.clone(), file: file.to_owned(), offset, what }
    }
}

/// The number of segments in a folder: a copy needs as many descriptors.
#[must_use]
pub fn segments_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().and_then(segment_number).is_some()).count() as u64
}
