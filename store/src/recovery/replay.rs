//! Records in the order of the segments -> the live objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::found::{Body, Live};
use crate::format::{Group, Put, Record};
use crate::index::{Index, Placed, SegmentUse};

/// The bytes that segments may have in memory beyond twice the live ones, while a store is read.
const HELD_BYTES_SPARE: u64 = 64 << 20;

/// The state that the records so far amount to.
#[derive(Debug, Default)]
pub(super) struct Replay {
    index: Index,
    /// Objects with the sequence numbers of their records, which go up. Some do not count any more.
    objects: Vec<(u64, Live)>,
    /// The bytes of segments that the objects' bodies may hold in memory.
    held_bytes: u64,
    /// The same when it was last reduced.
    reduced_bytes: u64,
    next_sequence: u64,
    pub(super) groups: u64,
    pub(super) records: u64,
}

impl Replay {
    /// Applies a group of a segment, of which these are the bytes. The objects hold them in memory.
    ///
    /// # Errors
    ///
    /// A text that says how the group is wrong.
    pub(super) fn apply(&mut self, segment: u32, bytes: &Arc<Vec<u8>>, group: &Group<'_>) -> Result<(), &'static str> {
        if group.place.first_sequence < self.next_sequence {
            return Err("a group is older than the ones before it");
        }
        self.next_sequence = group.end_sequence();
        self.groups += 1;
        for record in group.records() {
            let (sequence, length, record) = record.map_err(|_| "a record with a right checksum has a wrong form")?;
            self.records += 1;
            match record {
                Record::Put(put) => self.put((segment, bytes), sequence, length, &put),
                Record::Delete { key, oldest } => {
                    let removed = self.index.remove(key);
                    self.index.note_deletion(segment, removed.map_or(oldest, |entry| entry.oldest.min(oldest)));
                }
                Record::Dropped { .. } | Record::Segments(_) => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, (segment, bytes): (u32, &Arc<Vec<u8>>), sequence: u64, length: u32, put: &Put<'_>) {
        let order = put.order.unwrap_or(sequence);
        let refers_to = put.refers_to.unwrap_or(0);
        let placed = Placed { sequence, order, refers_to, segment, length, shared: put.shared };
        self.index.put(put.key, |_| placed);
        let Put { key, kind, refers_to, shared, body, .. } = *put;
        let body = Body::piece(bytes, body);
        self.objects.push((sequence, Live { key, kind, refers_to, shared, body }));
    }

    /// Reduces the memory when a segment has been read: the objects hold its bytes, though most of them may not count any more.
    pub(super) fn note_held(&mut self, bytes: u64) {
        self.held_bytes += bytes;
        let wanted = HELD_BYTES_SPARE + 2 * self.index.live_bytes();
        let is_new = self.held_bytes - self.reduced_bytes >= HELD_BYTES_SPARE.max(self.index.live_bytes() / 4);
        if self.held_bytes > wanted && is_new {
            self.reduce();
        }
    }

    /// Takes objects that do not count any more out, and copies the ones in segments with few others.
    fn reduce(&mut self) {
        let Self { index, objects, .. } = self;
        let is_sparse = |segment: &SegmentUse| segment.live_bytes < segment.length / 2;
        let sparse: BTreeSet<u32> =
            index.segments().iter().filter(|(_, segment)| is_sparse(segment)).map(|(number, _)| *number).collect();
        objects.retain_mut(|(sequence, object)| {
            let Some(entry) = index.get(object.key).filter(|entry| entry.sequence == *sequence) else { return false };
            if sparse.contains(&entry.segment) {
                object.body = Body::from(object.body.to_vec());
            }
            true
        });
        let held = |(number, segment): (&u32, &SegmentUse)| {
            if sparse.contains(number) { segment.live_bytes } else { segment.length }
        };
        self.held_bytes = index.segments().iter().map(held).sum();
        self.reduced_bytes = self.held_bytes;
    }

    pub(super) fn set_length(&mut self, segment: u32, length: u64) {
        self.index.set_length(segment, length);
    }

    /// The index, the live objects in their order, and the shared objects to which nothing refers.
    pub(super) fn finish(mut self) -> (Index, Vec<Live>, Vec<u64>) {
        self.objects.iter().for_each(|(sequence, object)| self.index.link_again(object.key, *sequence));
        self.index.take_killed();
        let mut orphans = Vec::new();
        let mut live = Vec::with_capacity(self.index.len());
        for (sequence, object) in self.objects {
            let Some(entry) = self.index.get(object.key).filter(|entry| entry.sequence == sequence) else { continue };
            if entry.shared && entry.references == 0 {
                orphans.push((entry.order, object.key));
            } else {
                live.push((entry.order, object));
            }
        }
        orphans.sort_unstable();
        if !live.is_sorted_by_key(|(order, _)| *order) {
            live.sort_by_key(|(order, _)| *order);
        }
        let live = live.into_iter().map(|(_, object)| object).collect();
        (self.index, live, orphans.into_iter().map(|(_, key)| key).collect())
    }
}
