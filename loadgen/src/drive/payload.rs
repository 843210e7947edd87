//! The payload of a message, by which its receiver can check it.
//!
//! ```text
//!   byte 0       3        6             12           16         --size
//!   +------------+--------+-------------+------------+-----------+
//!   | run        | sender | n           | CRC-32     | padding   |
//!   +------------+--------+-------------+------------+-----------+
//! ```
//!
//! Numbers are big-endian. `n` counts a sender's messages from 0. The topic of a message and its sequence number there
//! follow from it ([`Spread::place`](crate::drive::spread::Spread::place)). The CRC is that of IEEE 802.3, as in zlib
//! and gzip, over the padding and then the first twelve bytes.
//!
//! The padding is the same in all messages. Because the CRC covers it first, that part is computed once for a run; a
//! message adds only its twelve bytes: six table look-ups for its sender, twelve for its receiver. The receiver still
//! checks every byte: it compares the padding with the known one, which takes less time than a CRC and misses nothing.

use crate::drive::crc;

/// The smallest message.
pub const HEADER_BYTES: usize = 16;
/// How many senders the header can tell apart.
pub(crate) const SENDERS_MAX: u32 = 1 << 24;
/// How many messages of a sender the header can tell apart.
pub(crate) const MESSAGES_MAX: u64 = 1 << 48;
/// The bits of a run's number.
pub(crate) const RUN_BITS: u32 = 24;

/// The bytes that the CRC covers, besides the padding.
const CHECKED_BYTES: usize = 12;
/// A prime number, so that a shifted piece of the padding is noticed whenever its length is a power of two.
const PADDING_BYTES: usize = 4093;

/// The padding of messages, repeated as needed: bytes without a pattern, so that holes and shifts are noticed.
static PADDING: [u8; PADDING_BYTES] = {
    let mut bytes = [0; PADDING_BYTES];
    let mut state: u32 = 1;
    let mut at = 0;
    while at < PADDING_BYTES {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes[at] = (state >> 24) as u8;
        at += 1;
    }
    bytes
};

/// Which message it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// The run that sent it, so that messages left by another run are recognized; [`RUN_BITS`] bits.
    pub run: u32,
    /// Which sender of the run; below [`SENDERS_MAX`].
    pub sender: u32,
    /// How many messages this sender had sent before; below [`MESSAGES_MAX`].
    pub n: u64,
}

/// A payload that is not one of this run's, or not as it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PayloadError {
    /// Not of this run: left behind by another one, or sent by somebody else.
    Foreign,
    /// Of this run, and changed on its way.
    Damaged(Damage),
}

/// The damage of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Damage {
    /// It has another length than it was sent with.
    Length {
        /// Its bytes.
        bytes: usize,
    },
    /// The numbers in its header do not fit their checksum.
    Header,
    /// The header is intact and names this message; the padding is damaged.
    Padding {
        /// Which message it is.
        header: Header,
        /// The first byte that is wrong, counted from the beginning of the payload.
        at: usize,
    },
}

impl Header {
    fn bits(self) -> u128 {
        debug_assert!(self.run >> RUN_BITS == 0 && self.sender < SENDERS_MAX && self.n < MESSAGES_MAX);
        u128::from(self.run) << 104 | u128::from(self.sender) << 80 | u128::from(self.n) << 32
    }

    /// The numbers that a payload begins with, right or not.
    #[inline]
    fn read(head: &[u8; HEADER_BYTES]) -> (Self, u32) {
        let bits = u128::from_be_bytes(*head);
        // Each cast keeps the bits of its field, and more only where the mask takes them away.
        let number = |shift: u32, bits_of: u32| (bits >> shift) as u64 & ((1 << bits_of) - 1);
        (Self { run: number(104, 24) as u32, sender: number(80, 24) as u32, n: number(32, 48) }, bits as u32)
    }
}

/// Makes and verifies the payloads of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PayloadFormat {
    run: u32,
    size: usize,
    /// The CRC of the padding, to go on from.
    padding: crc::State,
}

/// The part of a header that is equal in all messages of a sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SenderFormat {
    /// The header of its message 0, with the CRC.
    first: u128,
}

impl PayloadFormat {
    /// For payloads of `size` bytes, which are at least [`HEADER_BYTES`].
    #[must_use]
    pub(crate) fn new(run: u32, size: usize) -> Self {
        let mut padding = crc::State::default();
        for piece in pieces(size.saturating_sub(HEADER_BYTES)) {
            padding = padding.update(piece);
        }
        Self { run, size, padding }
    }

    /// The length of a payload.
    #[must_use]
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// A payload whose header is still to be written.
    #[must_use]
    pub(crate) fn blank(&self) -> Vec<u8> {
        let mut payload = vec![0; HEADER_BYTES];
        for piece in pieces(self.size - HEADER_BYTES) {
            payload.extend_from_slice(piece);
        }
        payload
    }

    /// For the messages of one sender.
    #[must_use]
    pub(crate) fn of_sender(&self, sender: u32) -> SenderFormat {
        let bits = Header { run: self.run, sender, n: 0 }.bits();
        SenderFormat { first: bits | u128::from(self.crc(&bits.to_be_bytes())) }
    }

    /// The header of an intact payload of this run.
    ///
    /// # Errors
    /// If it belongs to another run, or is damaged.
    #[inline]
    pub(crate) fn verify(&self, payload: &[u8]) -> Result<Header, PayloadError> {
        if let Some((head, padding)) = payload.split_first_chunk()
            && payload.len() == self.size
        {
            let (header, crc) = Header::read(head);
            if header.run == self.run && crc == self.crc(head) && is_padding(padding) {
                return Ok(header);
            }
        }
        Err(self.classify(payload))
    }

    /// The CRC of a payload with this head and the padding it should have.
    #[inline]
    fn crc(&self, head: &[u8; HEADER_BYTES]) -> u32 {
        self.padding.finish_with(head.first_chunk::<CHECKED_BYTES>().expect("a constant that is smaller"))
    }

    /// Classifies a payload that is not intact. It belongs to this run if its run number matches, or its length and
    /// padding. An intact payload with another run number was sent by another run.
    #[cold]
    fn classify(&self, payload: &[u8]) -> PayloadError {
        let bytes = payload.len();
        let number = &self.run.to_be_bytes()[1..];
        let is_of_run = payload.starts_with(number);
        let Some((head, padding)) = payload.split_first_chunk().filter(|_| bytes == self.size) else {
            return if is_of_run { PayloadError::Damaged(Damage::Length { bytes }) } else { PayloadError::Foreign };
        };
        let (header, crc) = Header::read(head);
        let is_right = crc == self.crc(head);
        if !is_of_run && (is_right || padding.is_empty() || !is_padding(padding)) {
            return PayloadError::Foreign;
        }
        match first_difference(padding) {
            Some(at) if is_right => PayloadError::Damaged(Damage::Padding { header, at: HEADER_BYTES + at }),
            _ => PayloadError::Damaged(Damage::Header),
        }
    }
}

impl SenderFormat {
    /// The header of the sender's message `n`, below [`MESSAGES_MAX`].
    #[inline]
    #[must_use]
    pub(crate) fn header(&self, n: u64) -> [u8; HEADER_BYTES] {
        debug_assert!(n < MESSAGES_MAX);
        let [_, _, bytes @ ..] = n.to_be_bytes();
        let crc = crc::last_bytes(bytes);
        (self.first ^ (u128::from(n) << 32 | u128::from(crc))).to_be_bytes()
    }
}

/// The padding, `bytes` long.
fn pieces(bytes: usize) -> impl Iterator<Item = &'static [u8]> {
    (0..bytes).step_by(PADDING_BYTES).map(move |at| &PADDING[..PADDING_BYTES.min(bytes - at)])
}

#[inline]
fn is_padding(bytes: &[u8]) -> bool {
    bytes.chunks(PADDING_BYTES).all(|piece| piece == &PADDING[..piece.len()])
}

fn first_difference(bytes: &[u8]) -> Option<usize> {
    bytes.iter().zip(PADDING.iter().cycle()).position(|(byte, right)| byte != right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(run: u32, size: usize, sender: u32, n: u64) -> Vec<u8> {
        let payloads = PayloadFormat::new(run, size);
        let mut payload = payloads.blank();
        payload[..HEADER_BYTES].copy_from_slice(&payloads.of_sender(sender).header(n));
        payload
    }

    const NUMBERS: [(u32, u64); 5] =
        [(0, 0), (1, 1), (0x04_0506, 0x0708_090a_0b0c), (SENDERS_MAX - 1, MESSAGES_MAX - 1), (7, 0x0100_0000_00ff)];

    #[test]
    fn payloads_have_the_documented_layout() {
        let payload = payload(0x01_0203, 10_000, 0x04_0506, 0x0708_090a_0b0c);
        assert_eq!(payload[..12].to_vec(), (1..=12).collect::<Vec<u8>>());
        assert_eq!((payload.len(), payload[16..26].to_vec()), (10_000, PADDING[..10].to_vec()));
        let checked = [&payload[16..], &payload[..12]].concat();
        let mut crc = u32::MAX;
        for byte in checked {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
            }
        }
        assert_eq!(payload[12..16], (!crc).to_be_bytes());
    }

    #[test]
    fn what_was_sealed_is_opened() {
        for size in [16, 17, 40, 1024, HEADER_BYTES + PADDING_BYTES, 3 * PADDING_BYTES] {
            for (sender, n) in NUMBERS {
                let header = Header { run: 0xAB_CDEF, sender, n };
                assert_eq!(
                    PayloadFormat::new(header.run, size).verify(&payload(header.run, size, sender, n)),
                    Ok(header)
                );
            }
        }
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        for size in [16, 100, 5000] {
            let (payloads, right) = (PayloadFormat::new(9, size), payload(9, size, 3, 1_000_000));
            for bit in 0..8 * size {
                let mut wrong = right.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                let header = Header { run: 9, sender: 3, n: 1_000_000 };
                let expected = match bit / 8 {
                    // Without padding nothing tells that it was ours, but then it is missing.
                    0..3 if size == 16 => PayloadError::Foreign,
                    0..16 => PayloadError::Damaged(Damage::Header),
                    at => PayloadError::Damaged(Damage::Padding { header, at }),
                };
                assert_eq!(payloads.verify(&wrong), Err(expected), "bit {bit} of {size} bytes");
            }
        }
    }

    #[test]
    fn other_lengths_and_other_runs_are_told_apart() {
        let payloads = PayloadFormat::new(9, 100);
        let mine = payload(9, 101, 3, 4);
        for (bytes, expected) in [
            (&mine[..], PayloadError::Damaged(Damage::Length { bytes: 101 })),
            (&mine[..99], PayloadError::Damaged(Damage::Length { bytes: 99 })),
            (&mine[..15], PayloadError::Damaged(Damage::Length { bytes: 15 })),
            (&mine[..0], PayloadError::Foreign),
            (&payload(10, 100, 3, 4), PayloadError::Foreign),
            (&payload(10, 99, 3, 4), PayloadError::Foreign),
            (&[b'x'; 100], PayloadError::Foreign),
            (b"hello", PayloadError::Foreign),
        ] {
            assert_eq!(payloads.verify(bytes), Err(expected), "{bytes:?}");
        }
    }
}
