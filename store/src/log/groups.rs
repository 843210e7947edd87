//! Groups that are being collected: records appended one after the other, headers filled in when they are written.

use crate::format::{GROUP_HEADER_BYTES, GroupPlace, Seal, close_group, write_segments};

/// A group that is this long ends.
const GROUP_BYTES: usize = 1 << 20;

/// Groups one after the other, as they will be written.
#[derive(Debug, Default)]
pub(super) struct Groups {
    bytes: Vec<u8>,
    starts: Vec<Start>,
    /// Whether the next record begins a group.
    is_full: bool,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    at: usize,
    first_sequence: u64,
    count: u32,
}

impl Groups {
    /// Begins with the memory of a buffer that is done with.
    pub(super) fn reuse(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes, starts: Vec::new(), is_full: false }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of groups.
    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }

    /// Between two records, the group may end here.
    pub(super) fn may_end(&mut self) {
        self.is_full = self.starts.last().is_some_and(|last| self.bytes.len() - last.at >= GROUP_BYTES);
    }

    /// Begins a record, in a new group if the last one has ended. The caller appends it.
    pub(super) fn begin_record(&mut self, sequence: u64) -> &mut Vec<u8> {
        match self.starts.last_mut() {
            Some(last) if !self.is_full => {
                last.count += 1;
                &mut self.bytes
            }
            _ => self.begin_group(sequence),
        }
    }

    /// Begins a record in a new group.
    pub(super) fn begin_group(&mut self, sequence: u64) -> &mut Vec<u8> {
        self.is_full = false;
        self.starts.push(Start { at: self.bytes.len(), first_sequence: sequence, count: 1 });
        self.bytes.extend_from_slice(&[0; GROUP_HEADER_BYTES]);
        &mut self.bytes
    }

    /// Puts the list of the segments that count in front, as a group of its own.
    pub(super) fn prepend_segments(&mut self, sequence: u64, segments: &[(u32, u64)]) {
        let mut first = Self::default();
        write_segments(first.begin_group(sequence), segments);
        let shift = first.bytes.len();
        self.bytes.splice(..0, first.bytes);
        for start in &mut self.starts {
            start.at += shift;
        }
        self.starts.splice(..0, first.starts);
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
        for (index, start) in self.starts.iter().enumerate() {
            let end = self.starts.get(index + 1).map_or(self.bytes.len(), |next| next.at);
            let place = GroupPlace {
                offset: offset + start.at as u64,
                number: number + index as u64,
                first_sequence: start.first_sequence,
                count: start.count,
                settled,
            };
            close_group(&mut self.bytes[start.at..end], &place, seal);
        }
    }
}
