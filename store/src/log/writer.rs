//! The segment that is being written: begun, written, synchronised, ended.

use std::io::ErrorKind;
use std::time::Duration;

use super::batch::Batch;
use super::evacuation::{Evacuation, Piece};
use super::groups::Groups;
use crate::error::FlushError;
use crate::files::Files;
use crate::format::{Identity, SEGMENT_HEADER_BYTES, Seal, file_name, write_header};
use crate::settings::{Settings, Stats, Sync};
use crate::switches;

/// Under a lock of its own: one flush at a time.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) files: Box<dyn Files>,
    pub(super) identity: Identity,
    sync: Sync,
    head: Option<Head>,
    /// The next segment, if its file is there already.
    ahead: Option<u32>,
    next_group: u64,
    /// A batch whose write has failed.
    pub(super) stuck: Option<Batch>,
    pub(super) evacuation: Evacuation,
    /// Segments that were dropped and whose files are there until the drop is synchronised.
    removals: Vec<u32>,
    is_unsynced: bool,
    last_sync: Duration,
    /// The file and the reason of a sync that has failed.
    failed: Option<(String, String)>,
    pub(super) stats: Stats,
    /// Groups that are done with, for their memory.
    pub(super) spare: Groups,
}

/// The segment being written.
#[derive(Clone, Copy, Debug)]
struct Head {
    number: u32,
    length: u64,
    /// All bytes before this offset are synchronised.
    settled: u64,
}

impl Writer {
    pub(super) fn new(
        mut files: Box<dyn Files>,
        identity: Identity,
        settings: &Settings,
        ahead: u32,
        next_group: u64,
    ) -> Self {
        Self {
            last_sync: files.elapsed(),
            files,
            identity,
            sync: settings.sync,
            head: None,
            ahead: Some(ahead),
            next_group,
            stuck: None,
            evacuation: Evacuation::new(settings.segment_bytes),
            removals: Vec::new(),
            is_unsynced: false,
            failed: None,
            stats: Stats::default(),
            spare: Groups::default(),
        }
    }

    /// The sync that has failed, if one has.
    pub(super) fn check(&self) -> Result<(), FlushError> {
        match &self.failed {
            None => Ok(()),
            Some((file, reason)) => Err(FlushError::Sync { file: file.clone(), reason: reason.clone() }),
        }
    }

    pub(super) fn has_unsynced(&self) -> bool {
        self.is_unsynced
    }

    /// Reads the next piece of the segment that is being compacted.
    pub(super) fn read_piece(&mut self) -> std::io::Result<Option<Piece>> {
        let identity = self.identity;
        self.evacuation.read(&mut *self.files, |segment| Seal::new(identity, segment))
    }

    fn seal(&self, segment: u32) -> Seal {
        Seal::new(self.identity, segment)
    }

    /// Whether the segment is the one being written.
    pub(super) fn is_head(&self, segment: u32) -> bool {
        self.head.is_some_and(|head| head.number == segment)
    }

    /// The length of a segment that is being written, or will be.
    pub(super) fn length_of(&self, segment: u32) -> u64 {
        self.head.filter(|head| head.number == segment).map_or(SEGMENT_HEADER_BYTES as u64, |head| head.length)
    }

    /// Writes a batch. After an error the segment ends where it did, and the batch can be written again.
    pub(super) fn write(&mut self, batch: &mut Batch) -> Result<(), FlushError> {
        let head = match self.head {
            Some(head) if head.number == batch.segment => head,
            _ => self.begin(batch.segment)?,
        };
        if !batch.is_closed {
            batch.groups.close(head.length, head.settled, self.next_group, self.seal(head.number));
            batch.is_closed = true;
        }
        let file = file_name(head.number);
        if let Err(source) = self.files.write(&file, head.length, batch.groups.bytes()) {
            // If this fails too, the rest is a torn tail, and the next write covers it.
            let _ = self.files.truncate(&file, head.length);
            return Err(self.write_failed(file, source));
        }
        self.next_group += batch.groups.count() as u64;
        self.head = Some(Head { length: head.length + batch.groups.len() as u64, ..head });
        self.is_unsynced = true;
        self.stats.writes += 1;
        self.stats.written_bytes += batch.groups.len() as u64;
        Ok(())
    }

    fn write_failed(&mut self, file: String, source: std::io::Error) -> FlushError {
        self.stats.write_failures += 1;
        FlushError::Write { file, source }
    }

    /// Begins a segment. The one before is synchronised first, so a torn tail can only be in the last one.
    fn begin(&mut self, number: u32) -> Result<Head, FlushError> {
        self.sync_head()?;
        if self.ahead != Some(number) {
            self.create(number)?;
        }
        self.ahead = None;
        let length = SEGMENT_HEADER_BYTES as u64;
        let head = Head { number, length, settled: length };
        self.head = Some(head);
        Ok(head)
    }

    fn create(&mut self, number: u32) -> Result<(), FlushError> {
        let file = file_name(number);
        let header = write_header(self.identity, number);
        let mut created = self.files.create(&file, &header);
        if created.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) {
            // Left by an attempt that has failed.
            created = self.files.remove(&file).and_then(|()| self.files.create(&file, &header));
        }
        created.map_err(|source| self.write_failed(file, source))
    }

    /// Creates the next segment's file once the current one is half full. A failure is found again when it is needed.
    pub(super) fn prepare_next(&mut self, target: u64) {
        if let Some(head) = self.head
            && self.ahead.is_none()
            && head.length * 2 > target
            && self.create(head.number + 1).is_ok()
        {
            self.ahead = Some(head.number + 1);
        }
    }

    /// Synchronises, if the setting says that it is time.
    pub(super) fn settle(&mut self) -> Result<(), FlushError> {
        let is_due = match self.sync {
            Sync::Always => true,
            Sync::Every(interval) => {
                self.is_unsynced && self.files.elapsed().saturating_sub(self.last_sync) >= interval
            }
            Sync::Never => false,
        };
        if is_due { self.sync_head() } else { Ok(()) }
    }

    fn sync_head(&mut self) -> Result<(), FlushError> {
        let Some(head) = self.head.as_mut().filter(|_| self.is_unsynced) else { return Ok(()) };
        let file = file_name(head.number);
        if switches::syncs_groups()
            && let Err(error) = self.files.sync(&file)
        {
            self.failed = Some((file, error.to_string()));
            return self.check();
        }
        head.settled = head.length;
        self.is_unsynced = false;
        self.stats.syncs += 1;
        if !matches!(self.sync, Sync::Always) {
            self.last_sync = self.files.elapsed();
        }
        self.remove_files();
        Ok(())
    }

    /// Removes the files of dropped segments, once the drops are synchronised: after a crash each file that is missing has
    /// to be known as dropped.
    pub(super) fn dropped(&mut self, segments: Vec<u32>) {
        self.stats.dropped_segments += segments.len() as u64;
        self.removals.extend(segments);
        if !self.is_unsynced || !switches::syncs_drops() {
            self.remove_files();
        }
    }

    fn remove_files(&mut self) {
        for segment in std::mem::take(&mut self.removals) {
            if self.files.remove(&file_name(segment)).is_err() {
                self.stats.compaction_failures += 1;
            }
        }
    }
}
