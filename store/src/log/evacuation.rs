//! Compaction: a segment is read piece by piece, and all of it that still counts is written anew, a piece with each flush.
//! Then the segment is dropped.

use std::io;

use super::batch::Survivor;
use super::state::State;
use crate::files::Files;
use crate::format::{GROUP_HEADER_BYTES, Group, SEGMENT_HEADER_BYTES, Seal, Walk, file_name};
use crate::index::Index;
use crate::settings::Settings;

/// The least and the most bytes that are read with one flush, short of a group that is longer.
const PIECE_BYTES_LEAST: u64 = 64 << 10;
const PIECE_BYTES_MOST: u64 = 4 << 20;

/// The bytes to read for each byte written or deleted, so that compaction is faster than garbage comes.
const EFFORT: u64 = 2;

/// The segment that is being compacted, and the one up to which all are wanted compact.
#[derive(Debug)]
pub(super) struct Evacuation {
    current: Option<Victim>,
    /// The least bytes to read with one flush: a part of a segment.
    piece_bytes: u64,
    /// Bytes that may be read.
    credit: u64,
    /// Segments that could not be read. They stay.
    unreadable: Vec<u32>,
    /// All segments below this one are compacted, however much of them is live.
    all_below: u32,
}

#[derive(Clone, Copy, Debug)]
struct Victim {
    segment: u32,
    offset: u64,
    end: u64,
}

/// A piece of the segment that is being compacted.
#[derive(Debug)]
pub(super) struct Piece {
    segment: u32,
    seal: Seal,
    start: u64,
    bytes: Vec<u8>,
}

impl Piece {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The records that have to be written anew.
    pub(super) fn survivors(&self, index: &mut Index) -> Vec<Survivor<'_>> {
        let records = Walk::new(&self.bytes, self.start, self.seal).flat_map(|group| group.records()).flatten();
        records.filter_map(|(sequence, _, record)| Survivor::of(record, sequence, self.segment, index)).collect()
    }
}

impl Evacuation {
    pub(super) fn new(segment_bytes: u64) -> Self {
        let piece_bytes = (segment_bytes / 16).min(PIECE_BYTES_LEAST);
        Self { current: None, piece_bytes, credit: 0, unreadable: Vec::new(), all_below: 0 }
    }

    /// Whether there is more to do: more garbage than there should be, and a segment to compact.
    pub(super) fn has_more(&self, state: &State, settings: &Settings) -> bool {
        self.is_due(state, settings) && state.index.choose_victim(state.target, &self.unreadable).is_some()
    }

    fn is_due(&self, state: &State, settings: &Settings) -> bool {
        let disk = state.index.disk_bytes();
        disk > settings.tolerated(disk, state.load()) || self.next_of_all(&state.index).is_some()
    }

    /// Wants all segments below this one compacted.
    pub(super) fn want_all_below(&mut self, segment: u32) {
        self.all_below = segment;
    }

    fn next_of_all(&self, index: &Index) -> Option<u32> {
        index
            .segments()
            .range(..self.all_below)
            .map(|(number, _)| *number)
            .find(|number| !self.unreadable.contains(number))
    }

    /// Counts bytes that were written or have become garbage.
    pub(super) fn earn(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(EFFORT * bytes).min(16 * PIECE_BYTES_MOST);
    }

    /// Chooses a segment, unless there is one already.
    pub(super) fn choose(&mut self, state: &State, settings: &Settings) {
        if self.current.is_some_and(|victim| state.index.segments().contains_key(&victim.segment)) {
            return;
        }
        self.current = None;
        if !self.is_due(state, settings) {
            self.credit = 0;
            return;
        }
        let chosen =
            self.next_of_all(&state.index).or_else(|| state.index.choose_victim(state.target, &self.unreadable));
        self.current = chosen.and_then(|segment| {
            let end = state.index.segments().get(&segment)?.length;
            Some(Victim { segment, offset: SEGMENT_HEADER_BYTES as u64, end })
        });
    }

    /// The segment that was read to its end and has nothing that counts any more.
    pub(super) fn finished(&mut self, index: &Index) -> Option<u32> {
        let victim = self.current.filter(|victim| victim.offset >= victim.end)?;
        if index.segments().get(&victim.segment)?.live == 0 {
            return Some(victim.segment);
        }
        self.give_up();
        None
    }

    /// The current segment cannot be read.
    pub(super) fn give_up(&mut self) {
        self.unreadable.extend(self.current.take().map(|victim| victim.segment));
    }

    /// Reads the next piece of the current segment.
    pub(super) fn read(&mut self, files: &mut dyn Files, seal: impl Fn(u32) -> Seal) -> io::Result<Option<Piece>> {
        let Some(victim) = self.current.filter(|victim| victim.offset < victim.end) else { return Ok(None) };
        let name = file_name(victim.segment);
        let seal = seal(victim.segment);
        let left = victim.end - victim.offset;
        let wanted = self.credit.clamp(self.piece_bytes, PIECE_BYTES_MOST).min(left);
        let mut bytes = read_exactly(files, &name, victim.offset, wanted)?;
        if let Some(length) = bytes.first_chunk::<GROUP_HEADER_BYTES>().and_then(Group::length)
            && length > bytes.len()
            && length as u64 <= left
        {
            bytes = read_exactly(files, &name, victim.offset, length as u64)?;
        }
        let mut walk = Walk::new(&bytes, victim.offset, seal);
        let count = walk.by_ref().count();
        let end = walk.offset();
        if count == 0 {
            return Err(io::Error::other("damaged"));
        }
        bytes.truncate((end - victim.offset) as usize);
        self.credit = self.credit.saturating_sub(bytes.len() as u64);
        Ok(Some(Piece { segment: victim.segment, seal, start: victim.offset, bytes }))
    }

    /// A piece has been dealt with.
    pub(super) fn advance(&mut self, piece: &Piece) {
        if let Some(victim) = self.current.as_mut().filter(|victim| victim.segment == piece.segment) {
            victim.offset = piece.start + piece.bytes.len() as u64;
        }
    }
}

fn read_exactly(files: &mut dyn Files, name: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    let have = files.read(name, offset, &mut bytes)?;
    bytes.truncate(have);
    Ok(bytes)
}
