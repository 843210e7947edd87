//! The state that all workers share: the changes that wait for the next flush, and the index.

use super::groups::Groups;
use crate::format::{Put, write_delete, write_put};
use crate::index::{Index, Placed};

/// Under one lock, which is held for the time that it takes to copy a record.
#[derive(Debug)]
pub(super) struct State {
    pub(super) index: Index,
    /// The changes that wait for the next flush.
    pub(super) groups: Groups,
    /// The segment to which they go.
    pub(super) target: u32,
    /// The sequence number of the list of segments at the front of that segment.
    pub(super) list_sequence: u64,
    pub(super) next_sequence: u64,
}

impl State {
    pub(super) fn new(index: Index, target: u32, next_sequence: u64) -> Self {
        Self {
            index,
            groups: Groups::default(),
            target,
            list_sequence: next_sequence,
            next_sequence: next_sequence + 1,
        }
    }

    /// Sends the changes from now on to the next segment.
    pub(super) fn end_segment(&mut self) {
        self.target += 1;
        self.list_sequence = self.take_sequences(1);
    }

    /// Takes `count` sequence numbers and returns the first.
    pub(super) fn take_sequences(&mut self, count: u64) -> u64 {
        let first = self.next_sequence;
        self.next_sequence += count;
        first
    }

    /// Puts an object. `put.order` and `put.body` are not looked at.
    pub(super) fn put(&mut self, put: &Put<'_>, body: &[&[u8]]) {
        let refers_to = put.refers_to.filter(|target| *target != put.key && self.index.link(*target));
        let sequence = self.take_sequences(1);
        let order = self.index.order_of(put.key).unwrap_or(sequence);
        let bytes = self.groups.begin_record(sequence);
        let before = bytes.len();
        write_put(bytes, &Put { order: (order != sequence).then_some(order), refers_to, ..*put }, body);
        let placed = Placed {
            sequence,
            order,
            refers_to: refers_to.unwrap_or(0),
            segment: self.target,
            length: (bytes.len() - before) as u32,
            shared: put.shared,
        };
        // The new reference was counted before the old one is taken back, so an object that both refer to stays.
        if let Some(replaced) = self.index.put(put.key, placed) {
            self.take_back(replaced.refers_to);
        }
    }

    /// Deletes an object, if it is live, and each shared one to which nothing refers any more.
    pub(super) fn delete(&mut self, key: u64) {
        let Some(entry) = self.index.remove(key) else { return };
        self.write_delete(key, entry.oldest);
        self.take_back(entry.refers_to);
    }

    fn take_back(&mut self, mut target: u64) {
        while self.index.unlink(target) {
            let Some(entry) = self.index.remove(target) else { return };
            self.write_delete(target, entry.oldest);
            target = entry.refers_to;
        }
    }

    fn write_delete(&mut self, key: u64, oldest: u32) {
        let sequence = self.take_sequences(1);
        write_delete(self.groups.begin_record(sequence), key, oldest);
        self.index.note_deletion(self.target, oldest);
    }
}
