//! A group: records under one checksum.

use super::record::{self, Malformed, Record};
use super::segment::Seal;
use crate::switches;

/// The bytes before a group's first record.
pub const GROUP_HEADER_BYTES: usize = 48;

pub(super) const MAGIC: [u8; 4] = *b"grp\n";
const CHECKED: usize = 8;

/// The place and the contents of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupPlace {
    /// Its offset in the segment.
    pub offset: u64,
    /// Its number; the groups of a segment are numbered without gaps.
    pub number: u64,
    /// The sequence number of its first record. The others follow without gaps.
    pub first_sequence: u64,
    /// The number of its records.
    pub count: u32,
    /// All bytes of the segment before this offset had been synchronised before the group was written.
    pub settled: u64,
}

/// A group that has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// Where it stands.
    pub place: GroupPlace,
    records: &'a [u8],
}

/// Fills in the header of a group. `group` begins with room for it, and the records follow.
///
/// # Panics
///
/// Panics if there is no room for the header, or if there are 4 GiB of records.
pub fn close_group(group: &mut [u8], place: &GroupPlace, seal: Seal) {
    let length = u32::try_from(group.len() - GROUP_HEADER_BYTES).expect("a group is closed when it is long");
    group[8..12].copy_from_slice(&length.to_le_bytes());
    group[12..16].copy_from_slice(&place.count.to_le_bytes());
    group[16..24].copy_from_slice(&place.number.to_le_bytes());
    group[24..32].copy_from_slice(&place.first_sequence.to_le_bytes());
    group[32..40].copy_from_slice(&place.settled.to_le_bytes());
    group[40..48].copy_from_slice(&place.offset.to_le_bytes());
    let checksum = seal.checksum(&group[CHECKED..]);
    group[..4].copy_from_slice(&MAGIC);
    group[4..8].copy_from_slice(&checksum.to_le_bytes());
}

impl<'a> Group<'a> {
    /// The group at the front of `bytes`, which are at `offset` of the segment, if one is there and its checksum is right.
    pub(super) fn parse(bytes: &'a [u8], offset: u64, seal: Seal) -> Option<Self> {
        let header = bytes.first_chunk::<GROUP_HEADER_BYTES>()?;
        let place = place_of(header);
        let length = Self::length(header)?;
        if place.offset != offset || bytes.len() < length {
            return None;
        }
        let checksum = word(header, 4);
        if switches::checks_groups() && seal.checksum(&bytes[CHECKED..length]) != checksum {
            return None;
        }
        Some(Self { place, records: &bytes[GROUP_HEADER_BYTES..length] })
    }

    /// The length that a group's header names, with the header. It is not checked.
    #[must_use]
    pub fn length(header: &[u8; GROUP_HEADER_BYTES]) -> Option<usize> {
        (header[..4] == MAGIC).then_some(word(header, 8) as usize + GROUP_HEADER_BYTES)
    }

    /// The offset after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.place.offset + (GROUP_HEADER_BYTES + self.records.len()) as u64
    }

    /// The sequence number after its last record.
    #[must_use]
    pub fn end_sequence(&self) -> u64 {
        self.place.first_sequence.saturating_add(self.place.count.into())
    }

    /// Its records.
    #[must_use]
    pub fn records(&self) -> Records<'a> {
        Records { bytes: self.records, sequence: self.place.first_sequence, left: self.place.count }
    }
}

/// The records of a group: each with its sequence number and its length in bytes. An error is the last item.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    sequence: u64,
    left: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(u64, u32, Record<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            // Bytes after the last record are as wrong as a record that is missing.
            return (!std::mem::take(&mut self.bytes).is_empty()).then_some(Err(Malformed));
        }
        let before = self.bytes.len();
        let Ok(record) = record::read(&mut self.bytes) else {
            (self.left, self.bytes) = (0, &[]);
            return Some(Err(Malformed));
        };
        let sequence = self.sequence;
        self.sequence = sequence.saturating_add(1);
        self.left -= 1;
        Some(Ok((sequence, (before - self.bytes.len()) as u32, record)))
    }
}

fn place_of(header: &[u8; GROUP_HEADER_BYTES]) -> GroupPlace {
    let long = |at| u64::from(word(header, at + 4)) << 32 | u64::from(word(header, at));
    GroupPlace {
        count: word(header, 12),
        number: long(16),
        first_sequence: long(24),
        settled: long(32),
        offset: long(40),
    }
}

fn word(header: &[u8; GROUP_HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}
