//! The groups of one write.

use super::groups::{GROUP_BYTES, Groups};
use crate::format::{Put, Record, write_delete, write_dropped, write_put};
use crate::index::{Index, Placed};

/// The groups of one write, and the changes to the index once they are written.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) segment: u32,
    pub(super) groups: Groups,
    /// Whether the headers are filled in.
    pub(super) is_closed: bool,
    /// The sequence number after the last record.
    pub(super) end: u64,
    /// The groups that come before the moved objects.
    kept: usize,
    moves: Vec<Move>,
    drops: Vec<u32>,
    /// The bytes that were moved.
    pub(super) moved_bytes: u64,
}

/// A record that was written anew.
#[derive(Debug)]
enum Move {
    Object { key: u64, copied: u64, copy: Placed },
    Deletion { oldest: u32 },
}

/// A record to write anew.
#[derive(Debug)]
pub(super) enum Survivor<'a> {
    /// A live object: its record, that record's sequence number, and its order.
    Object(Put<'a>, u64, u64),
    /// A deletion that is still needed.
    Deletion(u64, u32),
}

impl<'a> Survivor<'a> {
    /// Whether a record of a segment that is being compacted has to be written anew.
    pub(super) fn of(record: Record<'a>, sequence: u64, segment: u32, index: &mut Index) -> Option<Self> {
        match record {
            Record::Put(put) => {
                let entry = index.get(put.key).filter(|entry| entry.sequence == sequence)?;
                Some(Self::Object(put, sequence, entry.order))
            }
            Record::Delete { key, oldest } => {
                let is_needed = index.needs_deletion(segment, oldest, &[]) && !index.lower_oldest(key, oldest);
                (is_needed && crate::switches::keeps_deletions()).then_some(Self::Deletion(key, oldest))
            }
            Record::Dropped { .. } | Record::Segments(_) => None,
        }
    }
}

impl Batch {
    /// The changes before the sequence number `end`, for a segment.
    pub(super) fn new(segment: u32, groups: Groups, end: u64) -> Self {
        Self {
            segment,
            kept: groups.count(),
            groups,
            is_closed: false,
            end,
            moves: Vec::new(),
            drops: Vec::new(),
            moved_bytes: 0,
        }
    }

    pub(super) fn prepend_segments(&mut self, sequence: u64, segments: &[(u32, u64)]) {
        self.groups.prepend_segments(sequence, segments);
        self.kept += 1;
    }

    /// Appends objects and deletions that are written anew, and drops of segments, behind all changes: with them the index
    /// was as it is now.
    pub(super) fn append_moves(&mut self, first: u64, survivors: &[Survivor<'_>], drops: Vec<u32>) {
        let mut sequence = first;
        let before = self.groups.len();
        for survivor in survivors {
            let bytes = self.begin_moved(sequence, first);
            let start = bytes.len();
            match survivor {
                Survivor::Object(put, copied, order) => {
                    write_put(bytes, &Put { order: Some(*order), ..*put }, &[put.body]);
                    let length = (bytes.len() - start) as u32;
                    let copy = Placed {
                        sequence,
                        order: *order,
                        refers_to: 0,
                        segment: self.segment,
                        length,
                        shared: put.shared,
                    };
                    self.moves.push(Move::Object { key: put.key, copied: *copied, copy });
                }
                Survivor::Deletion(key, oldest) => {
                    write_delete(bytes, *key, *oldest);
                    self.moves.push(Move::Deletion { oldest: *oldest });
                }
            }
            sequence += 1;
        }
        self.moved_bytes = (self.groups.len() - before) as u64;
        for segment in &drops {
            write_dropped(self.begin_moved(sequence, first), *segment);
            sequence += 1;
        }
        self.drops = drops;
        self.end = sequence;
    }

    fn begin_moved(&mut self, sequence: u64, first: u64) -> &mut Vec<u8> {
        // The first one begins a group, so that the moves can be given up if the write fails.
        if sequence == first || self.groups.last_len() >= GROUP_BYTES {
            self.groups.begin_group(sequence)
        } else {
            self.groups.begin_record(sequence)
        }
    }

    /// Gives the moves up: a write has failed, and the room is for changes.
    pub(super) fn without_moves(mut self) -> Self {
        self.groups.truncate(self.kept);
        self.moves.clear();
        self.drops.clear();
        self.moved_bytes = 0;
        self
    }

    /// Tells the index of the moves and drops, which are written. Returns the segments that were dropped.
    pub(super) fn apply(&mut self, index: &mut Index) -> Vec<u32> {
        for moved in self.moves.drain(..) {
            match moved {
                Move::Object { key, copied, copy } => index.move_to(key, copied, copy),
                Move::Deletion { oldest } => index.note_deletion(self.segment, oldest),
            }
        }
        for segment in &self.drops {
            index.drop_segment(*segment);
        }
        std::mem::take(&mut self.drops)
    }
}
