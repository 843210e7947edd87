//! The name and the header of a segment, and the seal that its groups' checksums begin with.

/// The version of the format that this crate reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// The bytes before a segment's first group.
pub const SEGMENT_HEADER_BYTES: usize = 32;

const MAGIC: [u8; 8] = *b"wisp log";
const CHECKED: usize = 28;

/// Names one store. Its segments have it, so segments of another store are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(pub u64);

/// The beginning of all checksums in one segment: of which store and which segment the bytes are. A message's payload
/// that looks like a group is none, since no client knows the store's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal(u32);

impl Seal {
    /// The seal of a store's segment.
    #[must_use]
    pub fn new(identity: Identity, segment: u32) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(&identity.0.to_le_bytes()), &segment.to_le_bytes()))
    }

    /// The checksum of `bytes`.
    pub(super) fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

/// Why a segment's header is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// It is short, or its checksum is wrong.
    Damaged,
    /// A later version of the format.
    Newer(u32),
    /// It belongs to another store, or to another segment.
    Foreign,
}

/// The name of a segment's file.
#[must_use]
pub fn file_name(segment: u32) -> String {
    format!("segment-{segment:010}.log")
}

/// The number of the segment that a file is by its name.
#[must_use]
pub fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix("segment-")?.strip_suffix(".log")?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// The header of a segment.
#[must_use]
pub fn write_header(identity: Identity, segment: u32) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&segment.to_le_bytes());
    header[16..24].copy_from_slice(&identity.0.to_le_bytes());
    let checksum = crc32c::crc32c(&header[..CHECKED]);
    header[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Checks the header of a segment.
///
/// # Errors
///
/// It is damaged, newer, or of another store or segment.
pub fn read_header(bytes: &[u8], identity: Identity, segment: u32) -> Result<(), HeaderError> {
    let (found, number) = parse(bytes)?;
    if (found, number) == (identity, segment) { Ok(()) } else { Err(HeaderError::Foreign) }
}

/// The identity of the store that a segment says it belongs to.
#[must_use]
pub fn identity_of(bytes: &[u8]) -> Option<Identity> {
    parse(bytes).ok().map(|(identity, _)| identity)
}

fn parse(bytes: &[u8]) -> Result<(Identity, u32), HeaderError> {
    let header = bytes.first_chunk::<SEGMENT_HEADER_BYTES>().ok_or(HeaderError::Damaged)?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if header[..8] != MAGIC || word(CHECKED) != crc32c::crc32c(&header[..CHECKED]) {
        return Err(HeaderError::Damaged);
    }
    if word(8) != FORMAT_VERSION {
        return Err(HeaderError::Newer(word(8)));
    }
    Ok((Identity(u64::from(word(20)) << 32 | u64::from(word(16))), word(12)))
}
