//! Groups one after the other, as they are written: records appended, headers filled in at the end.

use std::ops::Range;

use crate::format::{GROUP_HEADER_BYTES, GroupPlace, Seal, close_group, write_segments};

/// Room in front of the groups for a list of some hundred segments, so that the groups need not be moved for it.
const FRONT_BYTES: usize = 4 << 10;

/// A group that has so many bytes ends. Compaction reads whole groups.
pub(super) const GROUP_BYTES: usize = 4 << 20;

/// Groups one after the other.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The groups, behind the free room.
    bytes: Vec<u8>,
    /// The end of the free room.
    front: usize,
    starts: Vec<Start>,
}

/// The beginning of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// Its place in the buffer.
    pub(super) at: usize,
    pub(super) first_sequence: u64,
    pub(super) count: u32,
}

impl Groups {
    /// Empty, with the memory of groups that are done with.
    pub(super) fn cleared(mut self) -> Self {
        self.bytes.clear();
        self.starts.clear();
        self.front = 0;
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.front
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.front..]
    }

    /// The number of groups.
    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn starts(&self) -> &[Start] {
        &self.starts
    }

    /// The place of a group in the buffer.
    pub(super) fn place(&self, index: usize) -> Range<usize> {
        let end = |index: usize| self.starts.get(index).map_or(self.bytes.len(), |start| start.at);
        end(index)..end(index + 1)
    }

    /// The bytes of the last group.
    pub(super) fn last_len(&self) -> usize {
        self.starts.last().map_or(0, |start| self.bytes.len() - start.at)
    }

    /// The buffer and the beginnings of the groups in it, to take records out.
    pub(super) fn parts(&mut self) -> (&mut Vec<u8>, &mut Vec<Start>) {
        (&mut self.bytes, &mut self.starts)
    }

    /// Begins a record in the last group. The caller appends it.
    pub(super) fn begin_record(&mut self, sequence: u64) -> &mut Vec<u8> {
        match self.starts.last_mut() {
            Some(last) => {
                last.count += 1;
                &mut self.bytes
            }
            None => self.begin_group(sequence),
        }
    }

    /// Begins a record in a new group.
    pub(super) fn begin_group(&mut self, sequence: u64) -> &mut Vec<u8> {
        if self.starts.is_empty() {
            self.bytes.resize(FRONT_BYTES, 0);
            self.front = FRONT_BYTES;
        }
        self.starts.push(Start { at: self.bytes.len(), first_sequence: sequence, count: 1 });
        self.bytes.extend_from_slice(&[0; GROUP_HEADER_BYTES]);
        &mut self.bytes
    }

    /// Puts the list of the segments that count in front, as a group of its own.
    pub(super) fn prepend_segments(&mut self, sequence: u64, segments: &[(u32, u64)]) {
        let mut list = vec![0; GROUP_HEADER_BYTES];
        write_segments(&mut list, segments);
        let missing = list.len().saturating_sub(self.front);
        if missing > 0 {
            self.bytes.splice(..0, std::iter::repeat_n(0, missing));
            self.front += missing;
            self.starts.iter_mut().for_each(|start| start.at += missing);
        }
        let at = self.front - list.len();
        self.bytes[at..self.front].copy_from_slice(&list);
        self.front = at;
        self.starts.insert(0, Start { at, first_sequence: sequence, count: 1 });
    }

    /// Takes the groups from the one with this index on away.
    pub(super) fn truncate(&mut self, count: usize) {
        if let Some(start) = self.starts.get(count) {
            self.bytes.truncate(start.at);
            self.starts.truncate(count);
        }
    }

    /// Fills in the headers, for groups that begin at `offset` of a segment and are numbered from `number` on.
    pub(super) fn close(&mut self, offset: u64, settled: u64, number: u64, seal: Seal) {
        for index in 0..self.starts.len() {
            let (start, range) = (self.starts[index], self.place(index));
            let place = GroupPlace {
                offset: offset + (start.at - self.front) as u64,
                number: number + index as u64,
                first_sequence: start.first_sequence,
                count: start.count,
                settled,
            };
            close_group(&mut self.bytes[range], &place, seal);
        }
    }
}
