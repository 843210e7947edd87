//! The state that all workers share: the changes that wait for the next flush, and the index.

use super::pending::Pending;
use crate::format::{Put, write_delete, write_put};
use crate::index::{Entry, Index, Placed};
use crate::settings::{Churn, Load};

/// Under one lock, which is held for the time that it takes to copy a record.
#[derive(Debug)]
pub(super) struct State {
    pub(super) index: Index,
    /// The changes that wait for the next flush.
    pub(super) pending: Pending,
    /// The segment to which they go.
    pub(super) target: u32,
    /// The sequence number of the list of segments at the front of that segment.
    pub(super) list_sequence: u64,
    pub(super) next_sequence: u64,
    /// The bytes of the largest flush of late.
    flush_bytes: u64,
    /// The puts that wait for the next flush and are not void, and the bytes of their records.
    pub(super) waiting_puts: usize,
    waiting_put_bytes: u64,
    /// The first sequence number of the last batch that was taken.
    last_batch: u64,
    churn: Churn,
    /// As of the last batch that was taken.
    pub(super) churn_taken: Churn,
}

impl State {
    pub(super) fn new(index: Index, target: u32, next_sequence: u64) -> Self {
        Self {
            index,
            pending: Pending::default(),
            target,
            list_sequence: next_sequence,
            next_sequence: next_sequence + 1,
            flush_bytes: 0,
            waiting_puts: 0,
            waiting_put_bytes: 0,
            last_batch: next_sequence,
            churn: Churn::default(),
            churn_taken: Churn::default(),
        }
    }

    /// Sends the changes from now on to the next segment.
    pub(super) fn end_segment(&mut self) {
        self.target += 1;
        self.list_sequence = self.take_sequences(1);
    }

    /// Takes all that waits. `next` is empty.
    pub(super) fn take_pending(&mut self, next: Pending) -> Pending {
        self.waiting_puts = 0;
        self.churn.put_bytes += std::mem::take(&mut self.waiting_put_bytes);
        self.churn_taken = self.churn;
        let pending = std::mem::replace(&mut self.pending, next);
        self.last_batch = pending.first_sequence().unwrap_or(self.next_sequence);
        pending
    }

    pub(super) fn load(&self) -> Load {
        Load { live_bytes: self.index.live_bytes(), flush_bytes: self.flush_bytes }
    }

    /// A flush has so many bytes.
    pub(super) fn note_flush(&mut self, bytes: u64) {
        self.flush_bytes = bytes.max(self.flush_bytes - self.flush_bytes.div_ceil(8));
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
        self.waiting_puts += 1;
        let (pending, waiting_bytes, segment) = (&mut self.pending, &mut self.waiting_put_bytes, self.target);
        let replaced = self.index.put(put.key, |old| {
            let order = old.map_or(sequence, |old| old.order);
            let bytes = pending.begin_record(sequence);
            let before = bytes.len();
            write_put(bytes, &Put { order: (order != sequence).then_some(order), refers_to, ..*put }, body);
            let length = (bytes.len() - before) as u32;
            *waiting_bytes += u64::from(length);
            Placed { sequence, order, refers_to: refers_to.unwrap_or(0), segment, length, shared: put.shared }
        });
        // The new reference was counted before the old one is taken back, so an object that both refer to stays.
        if let Some(replaced) = replaced {
            self.void(&replaced);
            self.take_back(replaced.refers_to);
        }
    }

    /// Deletes an object, if it is live, and each shared one to which nothing refers any more.
    pub(super) fn delete(&mut self, key: u64) {
        let Some(entry) = self.index.remove(key) else { return };
        self.note_removed(key, &entry);
        self.take_back(entry.refers_to);
    }

    fn take_back(&mut self, mut target: u64) {
        while let Some(entry) = self.index.unlink(target) {
            self.note_removed(target, &entry);
            target = entry.refers_to;
        }
    }

    /// Appends the deletion of an object, unless no record of it will be written.
    fn note_removed(&mut self, key: u64, entry: &Entry) {
        self.void(entry);
        // All records of the object are behind its first put.
        if !self.pending.may_void(entry.order) {
            let sequence = self.take_sequences(1);
            write_delete(self.pending.begin_record(sequence), key, entry.oldest);
            self.index.note_deletion(self.target, entry.oldest);
        }
    }

    /// The record of an object does not count any more.
    fn void(&mut self, entry: &Entry) {
        if self.pending.may_void(entry.sequence) {
            self.pending.void(entry.sequence, entry.length);
            self.index.forget_killed(entry.length);
            self.waiting_puts -= 1;
            self.waiting_put_bytes -= u64::from(entry.length);
            self.churn.void_bytes += u64::from(entry.length);
        } else if entry.sequence >= self.last_batch {
            self.churn.young_bytes += u64::from(entry.length);
        }
    }
}
