//! From group to group through a segment, up to the first that is not whole.

use super::group::{GROUP_HEADER_BYTES, Group, MAGIC};
use super::segment::Seal;

/// Goes through the groups of a segment, or of a piece of it that begins with a group.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    seal: Seal,
    bytes: &'a [u8],
    base: u64,
    at: usize,
    /// The number of the next group and the least sequence number in it, once a group was found.
    next: Option<(u64, u64)>,
}

/// The bytes after the last whole group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// There are none.
    Clean,
    /// They were never synchronised: a crash has left them.
    Torn,
    /// They had been synchronised, as a later group proves, and are not right any more.
    Damaged,
}

impl<'a> Walk<'a> {
    /// Begins at the front of `bytes`, which are at offset `base` of the segment.
    #[must_use]
    pub fn new(bytes: &'a [u8], base: u64, seal: Seal) -> Self {
        Self { seal, bytes, base, at: 0, next: None }
    }

    /// The offset of the next group, or of the end.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// The number of the next group and its least sequence number, once a group was found.
    #[must_use]
    pub fn expected(&self) -> Option<(u64, u64)> {
        self.next
    }

    /// Whether the bytes after the last whole group are missing, torn or damaged.
    #[must_use]
    pub fn tail(&self) -> Tail {
        if self.at == self.bytes.len() {
            return Tail::Clean;
        }
        let proof = |group: &Group<'_>| group.place.settled > self.offset();
        let mut later = self.clone();
        while let Some(found) = later.find_next() {
            // The groups that follow it directly are none that a search from its end would find.
            if proof(&found) || later.by_ref().any(|next| proof(&next)) {
                return Tail::Damaged;
            }
        }
        Tail::Torn
    }

    /// Looks for the next whole group behind the first byte of the current place, however far away, and returns it.
    pub fn find_next(&mut self) -> Option<Group<'a>> {
        let from = self.at + 1;
        let last = self.bytes.len().checked_sub(GROUP_HEADER_BYTES)?;
        for at in from..=last {
            if self.bytes[at..at + MAGIC.len()] == MAGIC
                && let Some(group) = Group::parse(&self.bytes[at..], self.base + at as u64, self.seal)
            {
                self.pass(&group);
                return Some(group);
            }
        }
        self.at = self.bytes.len();
        None
    }

    fn pass(&mut self, group: &Group<'_>) {
        self.at = (group.end() - self.base) as usize;
        self.next = Some((group.place.number.saturating_add(1), group.end_sequence()));
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Group<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = Group::parse(&self.bytes[self.at..], self.offset(), self.seal)?;
        if let Some((number, sequence)) = self.next
            && (group.place.number != number || group.place.first_sequence < sequence)
        {
            return None;
        }
        self.pass(&group);
        Some(group)
    }
}
