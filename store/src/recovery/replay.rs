//! Records in the order of the segments -> the live objects.

use super::found::Live;
use crate::format::{Group, Put, Record};
use crate::index::{Entry, Index, Placed};

/// The state that the records so far amount to.
#[derive(Debug, Default)]
pub(super) struct Replay {
    index: Index,
    /// Objects with the sequence numbers of their records, which go up. The body of one that does not count any more is empty.
    objects: Vec<(u64, Live)>,
    next_sequence: u64,
    pub(super) groups: u64,
    pub(super) records: u64,
}

impl Replay {
    /// Applies a group of a segment.
    ///
    /// # Errors
    ///
    /// A text that says how the group is wrong.
    pub(super) fn apply(&mut self, segment: u32, group: &Group<'_>) -> Result<(), &'static str> {
        if group.place.first_sequence < self.next_sequence {
            return Err("a group is older than the ones before it");
        }
        self.next_sequence = group.end_sequence();
        self.groups += 1;
        for record in group.records() {
            let (sequence, length, record) = record.map_err(|_| "a record with a right checksum has a wrong form")?;
            self.records += 1;
            match record {
                Record::Put(put) => self.put(segment, sequence, length, &put),
                Record::Delete { key, oldest } => {
                    let removed = self.index.remove(key);
                    self.index.note_deletion(segment, removed.map_or(oldest, |entry| entry.oldest.min(oldest)));
                    self.forget(removed);
                }
                Record::Dropped { .. } | Record::Segments(_) => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, segment: u32, sequence: u64, length: u32, put: &Put<'_>) {
        let order = put.order.unwrap_or(sequence);
        let refers_to = put.refers_to.unwrap_or(0);
        let placed = Placed { sequence, order, refers_to, segment, length, shared: put.shared };
        let replaced = self.index.put(put.key, |_| placed);
        self.forget(replaced);
        let Put { key, kind, refers_to, shared, body, .. } = *put;
        self.objects.push((sequence, Live { key, kind, refers_to, shared, body: body.to_vec() }));
    }

    /// Gives the memory of an object back.
    fn forget(&mut self, entry: Option<Entry>) {
        if let Some(entry) = entry
            && let Ok(index) = self.objects.binary_search_by_key(&entry.sequence, |(sequence, _)| *sequence)
        {
            self.objects[index].1.body = Vec::new();
        }
    }

    pub(super) fn set_length(&mut self, segment: u32, length: u64) {
        self.index.set_length(segment, length);
    }

    /// The index, the live objects in their order, and the shared objects to which nothing refers.
    pub(super) fn finish(mut self) -> (Index, Vec<Live>, Vec<u64>) {
        self.index.link_all();
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
        live.sort_by_key(|(order, _)| *order);
        let live = live.into_iter().map(|(_, object)| object).collect();
        (self.index, live, orphans.into_iter().map(|(_, key)| key).collect())
    }
}
