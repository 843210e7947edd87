//! One change of the store, as bytes.

use super::varint;

const KIND_MASK: u8 = 0b0000_0111;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const DROPPED: u8 = 3;
const SEGMENTS: u8 = 4;
/// Flags of a put: it refers to an object, it is shared, its order is not its sequence number.
const REFERS: u8 = 0b0000_1000;
const SHARED: u8 = 0b0001_0000;
const ORDERED: u8 = 0b0010_0000;

/// The record that changes nothing: the drop of segment 0, which no store has. It takes the place, and the sequence number, of a
/// record that was taken back before it was written.
pub const VOID: [u8; 2] = [DROPPED, 0];

/// The bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// An object, new or in place of the one with the same key.
    Put(Put<'a>),
    /// The object of a key is gone.
    Delete {
        /// The key.
        key: u64,
        /// No record of the key that this one takes back is in a segment below this one.
        oldest: u32,
    },
    /// Nothing of a segment counts any more, and its file is or will be removed.
    Dropped {
        /// The segment's number, or 0 in a [`VOID`] record.
        segment: u32,
    },
    /// The segments before this one that count, with their lengths in bytes. The first record of each segment.
    Segments(Vec<(u32, u64)>),
}

/// An object that is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put<'a> {
    /// Its key, never 0.
    pub key: u64,
    /// Its kind, which the store does not interpret.
    pub kind: u8,
    /// The key of the object that it refers to.
    pub refers_to: Option<u64>,
    /// Whether it goes with the last object that refers to it.
    pub shared: bool,
    /// The sequence number of its first put, if that is another record.
    pub order: Option<u64>,
    /// Its contents.
    pub body: &'a [u8],
}

/// Appends an object whose body comes in pieces; `put.body` is not looked at.
pub fn write_put(out: &mut Vec<u8>, put: &Put<'_>, body: &[&[u8]]) {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let flags = flag(put.refers_to.is_some(), REFERS) | flag(put.shared, SHARED) | flag(put.order.is_some(), ORDERED);
    out.extend_from_slice(&[PUT | flags, put.kind]);
    varint::write(out, put.key);
    for number in [put.refers_to, put.order].into_iter().flatten() {
        varint::write(out, number);
    }
    let length: usize = body.iter().map(|piece| piece.len()).sum();
    varint::write(out, length as u64);
    for piece in body {
        out.extend_from_slice(piece);
    }
}

/// Appends a deletion.
pub fn write_delete(out: &mut Vec<u8>, key: u64, oldest: u32) {
    out.push(DELETE);
    varint::write(out, key);
    varint::write(out, oldest.into());
}

/// Appends the drop of a segment.
pub fn write_dropped(out: &mut Vec<u8>, segment: u32) {
    out.push(DROPPED);
    varint::write(out, segment.into());
}

/// Appends the list of the segments that count.
pub fn write_segments(out: &mut Vec<u8>, segments: &[(u32, u64)]) {
    out.push(SEGMENTS);
    varint::write(out, segments.len() as u64);
    for (number, length) in segments {
        varint::write(out, (*number).into());
        varint::write(out, *length);
    }
}

/// Takes a record from the front of `bytes`.
pub(super) fn read<'a>(bytes: &mut &'a [u8]) -> Result<Record<'a>, Malformed> {
    read_some(bytes).ok_or(Malformed)
}

fn read_some<'a>(bytes: &mut &'a [u8]) -> Option<Record<'a>> {
    let (&tag, rest) = bytes.split_first()?;
    *bytes = rest;
    if tag & KIND_MASK == PUT && tag & !(KIND_MASK | REFERS | SHARED | ORDERED) == 0 {
        return read_put(bytes, tag).map(Record::Put);
    }
    match tag {
        DELETE => Some(Record::Delete { key: read_key(bytes)?, oldest: read_segment(bytes)? }),
        DROPPED => Some(Record::Dropped { segment: read_segment(bytes)? }),
        SEGMENTS => {
            let count = usize::try_from(varint::read(bytes)?).ok()?;
            // Each has two bytes at least, so a wrong count cannot reserve much.
            let mut segments = Vec::with_capacity(count.min(bytes.len() / 2));
            for _ in 0..count {
                segments.push((read_segment(bytes)?, varint::read(bytes)?));
            }
            Some(Record::Segments(segments))
        }
        _ => None,
    }
}

fn read_put<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<Put<'a>> {
    let (&kind, rest) = bytes.split_first()?;
    *bytes = rest;
    let key = read_key(bytes)?;
    let refers_to = if tag & REFERS == 0 { None } else { Some(read_key(bytes)?) };
    let order = if tag & ORDERED == 0 { None } else { Some(varint::read(bytes)?) };
    let length = usize::try_from(varint::read(bytes)?).ok()?;
    let (body, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(Put { key, kind, refers_to, shared: tag & SHARED != 0, order, body })
}

fn read_key(bytes: &mut &[u8]) -> Option<u64> {
    varint::read(bytes).filter(|key| *key != 0)
}

fn read_segment(bytes: &mut &[u8]) -> Option<u32> {
    varint::read(bytes)?.try_into().ok()
}
