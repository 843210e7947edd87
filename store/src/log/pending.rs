//! The changes that wait for the next flush. An object that is deleted or replaced before that is not written.
//!
//! The record of such an object becomes *void*, and its deletion is not appended at all. This is done within one group only: a
//! group is applied whole or not at all, so nobody can see the difference. With a put in one group and its deletion in a later
//! one, a crash between the two would show a state that never was.

use std::ops::Range;

use super::groups::{GROUP_BYTES, Groups, Start};
use crate::format::{GROUP_HEADER_BYTES, VOID};

/// A group that has so many bytes ends, though most of them are of void records.
const GROUP_BYTES_MOST: usize = 1 << 30;

/// Groups that are being collected.
#[derive(Debug, Default)]
pub(super) struct Pending {
    groups: Groups,
    /// The void records of each group.
    voids: Vec<Voids>,
    /// The beginning of each record of all groups, from the beginning of its group on.
    offsets: Vec<u32>,
    /// The index in `offsets` of the last group's first record.
    last_group: usize,
    /// Whether the next record begins a group.
    is_full: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Voids {
    count: u32,
    /// The bytes that they take too many.
    bytes: usize,
}

impl Pending {
    /// Empty, with the memory of groups that are done with, and room for so many records.
    pub(super) fn reuse(groups: Groups, records: usize) -> Self {
        Self { groups: groups.cleared(), offsets: Vec::with_capacity(records), ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(super) fn first_sequence(&self) -> Option<u64> {
        self.groups.starts().first().map(|start| start.first_sequence)
    }

    /// The bytes in memory.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// The number of records.
    pub(super) fn records(&self) -> usize {
        self.offsets.len()
    }

    /// The bytes that are left to write.
    pub(super) fn bytes_to_write(&self) -> usize {
        let bytes = |index: usize| {
            if self.is_void(index) { 0 } else { self.groups.place(index).len() - self.voids[index].bytes }
        };
        (0..self.voids.len()).map(bytes).sum()
    }

    /// Whether all records of a group are void.
    fn is_void(&self, index: usize) -> bool {
        self.voids[index].count == self.groups.starts()[index].count
    }

    /// Between two records, the group may end here.
    pub(super) fn may_end(&mut self) {
        let (bytes, void) = (self.groups.last_len(), self.voids.last().map_or(0, |voids| voids.bytes));
        self.is_full = bytes - void >= GROUP_BYTES || bytes >= GROUP_BYTES_MOST;
    }

    /// Begins a record, in a new group if the last one has ended. The caller appends it.
    pub(super) fn begin_record(&mut self, sequence: u64) -> &mut Vec<u8> {
        if self.groups.is_empty() || self.is_full {
            self.is_full = false;
            self.voids.push(Voids::default());
            self.last_group = self.offsets.len();
            self.offsets.push(GROUP_HEADER_BYTES as u32);
            self.groups.begin_group(sequence)
        } else {
            self.offsets.push(self.groups.last_len() as u32);
            self.groups.begin_record(sequence)
        }
    }

    /// Whether this record and all behind it are in the group that is being collected. Nothing is changed any more in one that
    /// has ended: the changes that belong to a deletion will be in the next.
    pub(super) fn may_void(&self, sequence: u64) -> bool {
        !self.is_full && self.groups.starts().last().is_some_and(|start| start.first_sequence <= sequence)
    }

    /// Makes a record void that [may be](Self::may_void).
    pub(super) fn void(&mut self, sequence: u64, length: u32) {
        let (bytes, starts) = self.groups.parts();
        let (Some(start), Some(voids)) = (starts.last(), self.voids.last_mut()) else { return };
        let index = self.last_group + (sequence - start.first_sequence) as usize;
        let at = start.at + self.offsets[index] as usize;
        bytes[at..at + VOID.len()].copy_from_slice(&VOID);
        voids.count += 1;
        voids.bytes += length as usize - VOID.len();
    }

    /// The groups to write, without the bytes that void records take too many, and without groups that have no others.
    pub(super) fn squeeze(mut self) -> Groups {
        if self.voids.iter().all(|voids| voids.count == 0) {
            return self.groups;
        }
        let places: Vec<_> =
            (0..self.voids.len()).map(|index| (self.groups.place(index), self.is_void(index))).collect();
        let (bytes, starts) = self.groups.parts();
        let (mut to, mut kept, mut first) = (places[0].0.start, 0, 0);
        for (index, (place, is_void)) in places.into_iter().enumerate() {
            let start = starts[index];
            let records = &self.offsets[first..first + start.count as usize];
            first += records.len();
            if !is_void {
                starts[kept] = Start { at: to, ..start };
                kept += 1;
                to = squeeze_group(bytes, place, records, to);
            }
        }
        starts.truncate(kept);
        bytes.truncate(to);
        self.groups
    }
}

/// Moves the group at a place down to another, without the bytes that void records take too many. Returns its end.
fn squeeze_group(bytes: &mut [u8], place: Range<usize>, records: &[u32], mut to: usize) -> usize {
    let mut keep = |piece: Range<usize>, bytes: &mut [u8]| {
        let end = to + piece.len();
        if to != piece.start {
            bytes.copy_within(piece, to);
        }
        to = end;
    };
    // All that lies between two void records moves at once.
    let mut from = place.start;
    for (index, offset) in records.iter().enumerate() {
        let at = place.start + *offset as usize;
        if bytes[at..].starts_with(&VOID) {
            keep(from..at + VOID.len(), bytes);
            from = records.get(index + 1).map_or(place.end, |next| place.start + *next as usize);
        }
    }
    keep(from..place.end, bytes);
    to
}
