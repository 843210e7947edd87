//! Which objects are live, and where: the state that the segments amount to.
//!
//! For each live object the index has the segment of its record, not the place in it: a record is the live one if it has the
//! sequence number that the index has for its key.
//!
//! # When a segment may go
//!
//! A record that does not count any more lies in its segment as long as the segment does, and something later must say that it
//! does not count. That is the live record of the same key, or a deletion. So a deletion is *needed* as long as a segment
//! exists that may have a record it takes back: one between its `oldest` and its own. A segment goes when none of its objects
//! is live and none of its deletions is needed; compaction first writes the others anew. For every record of a key that does
//! not count, one of two things holds, before and after each step:
//!
//! - the key is live, in a later record, and its `oldest` is not above the record's segment; or
//! - a later deletion of the key exists whose `oldest` is not above the record's segment.

mod keys;

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry as MapEntry, HashMap};

use self::keys::NearKeys;
use crate::switches;

/// The bytes that a deletion is taken to have, to choose a segment for compaction.
const DELETION_BYTES: u64 = 12;

/// A live object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The sequence number of its record.
    pub(crate) sequence: u64,
    /// The sequence number of its first put.
    pub(crate) order: u64,
    /// The object it refers to, 0 if none that was live.
    pub(crate) refers_to: u64,
    /// The segment of its record.
    pub(crate) segment: u32,
    /// No record of its key that only its own record takes back is in a segment below this one.
    pub(crate) oldest: u32,
    /// The bytes of its record.
    pub(crate) length: u32,
    /// The number of objects that refer to it.
    pub(crate) references: u32,
    /// Whether it goes with the last of these.
    pub(crate) shared: bool,
}

/// A segment that counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct SegmentUse {
    /// Bytes written.
    pub(crate) length: u64,
    /// Live objects whose records it has.
    pub(crate) live: u64,
    /// The bytes of these records.
    pub(crate) live_bytes: u64,
    /// Its deletions of records in other segments: how many for each `oldest`.
    deletions: BTreeMap<u32, u64>,
}

/// The record of a put, as the index needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) sequence: u64,
    pub(crate) order: u64,
    pub(crate) refers_to: u64,
    pub(crate) segment: u32,
    pub(crate) length: u32,
    pub(crate) shared: bool,
}

impl Placed {
    fn entry(self) -> Entry {
        Entry {
            sequence: self.sequence,
            order: self.order,
            refers_to: self.refers_to,
            segment: self.segment,
            oldest: self.segment,
            length: self.length,
            references: 0,
            shared: self.shared,
        }
    }
}

/// All live objects, and all segments that count.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: HashMap<u64, Entry, NearKeys>,
    segments: BTreeMap<u32, SegmentUse>,
    live_bytes: u64,
    disk_bytes: u64,
    /// Bytes of records that have stopped to count since the last [`Index::take_killed`].
    killed_bytes: u64,
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// A record has stopped to count that was never written.
    pub(crate) fn forget_killed(&mut self, length: u32) {
        self.killed_bytes -= u64::from(length);
    }

    pub(crate) fn take_killed(&mut self) -> u64 {
        std::mem::take(&mut self.killed_bytes)
    }

    pub(crate) fn get(&self, key: u64) -> Option<&Entry> {
        self.entries.get(&key)
    }

    /// Puts an object at the place that the caller finds for it, beside the one that it replaces. Returns that one, whose
    /// reference is not taken back yet.
    pub(crate) fn put(&mut self, key: u64, place: impl FnOnce(Option<&Entry>) -> Placed) -> Option<Entry> {
        let (placed, replaced) = match self.entries.entry(key) {
            MapEntry::Vacant(vacant) => {
                let placed = place(None);
                vacant.insert(placed.entry());
                (placed, None)
            }
            MapEntry::Occupied(mut occupied) => {
                let old = *occupied.get();
                let placed = place(Some(&old));
                occupied.insert(Entry { oldest: old.oldest, references: old.references, ..placed.entry() });
                (placed, Some(old))
            }
        };
        if let Some(old) = &replaced {
            self.count_out(old);
        }
        self.count_in(placed.segment, placed.length);
        replaced
    }

    /// Takes an object out. The caller writes the deletion, says so with [`Index::note_deletion`] and takes the
    /// reference back.
    pub(crate) fn remove(&mut self, key: u64) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.count_out(&entry);
        Some(entry)
    }

    /// Counts a deletion in a segment.
    pub(crate) fn note_deletion(&mut self, segment: u32, oldest: u32) {
        if oldest < segment {
            *self.segment(segment).deletions.entry(oldest).or_default() += 1;
        }
    }

    /// Counts a reference, if the object is live.
    pub(crate) fn link(&mut self, target: u64) -> bool {
        let entry = self.entries.get_mut(&target);
        entry.map(|entry| entry.references = entry.references.saturating_add(1)).is_some()
    }

    /// Takes a reference back. If it was the last one to a shared object, that one is taken out, as by [`Index::remove`].
    pub(crate) fn unlink(&mut self, target: u64) -> Option<Entry> {
        let MapEntry::Occupied(mut occupied) = self.entries.entry(target) else { return None };
        let entry = occupied.get_mut();
        let was_last = entry.references == 1 && entry.shared;
        entry.references = entry.references.saturating_sub(1);
        let entry = was_last.then(|| occupied.remove())?;
        self.count_out(&entry);
        Some(entry)
    }

    /// Counts the reference of an object, after all records were read, if this record of it counts.
    pub(crate) fn link_again(&mut self, key: u64, sequence: u64) {
        let entry = self.entries.get(&key).filter(|entry| entry.sequence == sequence && entry.refers_to != 0);
        if let Some(target) = entry.map(|entry| entry.refers_to)
            && !self.link(target)
            && let Some(entry) = self.entries.get_mut(&key)
        {
            entry.refers_to = 0;
        }
    }

    /// Moves a live object to its copy, if the record that was copied still counts.
    pub(crate) fn move_to(&mut self, key: u64, copied: u64, copy: Placed) {
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.sequence == copied) else { return };
        let old = *entry;
        (entry.sequence, entry.segment, entry.length) = (copy.sequence, copy.segment, copy.length);
        self.count_out(&old);
        self.killed_bytes -= u64::from(old.length);
        self.count_in(copy.segment, copy.length);
    }

    /// Lets a live object answer for the records that a deletion has taken back, in place of that deletion.
    pub(crate) fn lower_oldest(&mut self, key: u64, oldest: u32) -> bool {
        let entry = self.entries.get_mut(&key);
        entry.map(|entry| entry.oldest = entry.oldest.min(oldest)).is_some()
    }

    fn count_in(&mut self, segment: u32, length: u32) {
        let segment = self.segment(segment);
        segment.live += 1;
        segment.live_bytes += u64::from(length);
        self.live_bytes += u64::from(length);
    }

    fn count_out(&mut self, entry: &Entry) {
        let length = u64::from(entry.length);
        if let Some(segment) = self.segments.get_mut(&entry.segment) {
            segment.live -= 1;
            segment.live_bytes -= length;
        }
        self.live_bytes -= length;
        self.killed_bytes += length;
    }

    fn segment(&mut self, segment: u32) -> &mut SegmentUse {
        self.segments.entry(segment).or_default()
    }

    /// The segments that count, with their lengths, below `end`.
    pub(crate) fn lengths_below(&self, end: u32) -> Vec<(u32, u64)> {
        self.segments.range(..end).map(|(number, segment)| (*number, segment.length)).collect()
    }

    pub(crate) fn segments(&self) -> &BTreeMap<u32, SegmentUse> {
        &self.segments
    }

    /// A segment has become longer, or is new.
    pub(crate) fn set_length(&mut self, segment: u32, length: u64) {
        let segment = self.segments.entry(segment).or_default();
        self.disk_bytes = self.disk_bytes - segment.length + length;
        segment.length = length;
    }

    /// Forgets a segment.
    pub(crate) fn drop_segment(&mut self, segment: u32) {
        if let Some(dropped) = self.segments.remove(&segment) {
            self.disk_bytes -= dropped.length;
        }
    }

    /// Whether a deletion in `segment` is needed: whether a segment exists that may have a record which it takes back.
    pub(crate) fn needs_deletion(&self, segment: u32, oldest: u32, dropped: &[u32]) -> bool {
        oldest < segment && self.segments.range(oldest..segment).any(|(number, _)| !dropped.contains(number))
    }

    /// The segments below `end` of which nothing counts, in the order in which they can be dropped.
    pub(crate) fn droppable(&self, end: u32) -> Vec<u32> {
        let mut dropped = Vec::new();
        for (number, segment) in self.segments.range(..end).filter(|(_, segment)| segment.live == 0) {
            if !switches::keeps_deletions() || self.needed_deletions(*number, segment, &dropped) == 0 {
                dropped.push(*number);
            }
        }
        dropped
    }

    /// The number of a segment's deletions that are needed.
    fn needed_deletions(&self, number: u32, segment: &SegmentUse, dropped: &[u32]) -> u64 {
        let needed = segment.deletions.iter().filter(|(oldest, _)| self.needs_deletion(number, **oldest, dropped));
        needed.map(|(_, count)| count).sum()
    }

    /// The segment below `end` to compact next: the one with the most to gain for each byte to read. If none has much, the
    /// oldest one: its deletions take nothing back any more, so with each turn through the segments fewer are needed.
    pub(crate) fn choose_victim(&self, end: u32, unreadable: &[u32]) -> Option<u32> {
        let gain = |number: u32, segment: &SegmentUse| {
            let kept = segment.live_bytes + DELETION_BYTES * self.needed_deletions(number, segment, &[]);
            (1.0 - kept as f64 / segment.length.max(1) as f64).max(0.0)
        };
        let mut best: Option<(u32, f64)> = None;
        for (number, segment) in self.segments.range(..end).filter(|(number, _)| !unreadable.contains(number)) {
            let gain = gain(*number, segment);
            if best.is_none_or(|(_, most)| gain > most) {
                best = Some((*number, gain));
            }
        }
        let (best, gain) = best?;
        let oldest = || self.segments.keys().copied().find(|number| !unreadable.contains(number));
        if gain < GAIN_LEAST { oldest() } else { Some(best) }
    }
}

/// Below this share of a segment that is not needed, compaction of it gains too little.
const GAIN_LEAST: f64 = 0.1;
