//! What a message carries so that its receiver can check it.
//!
//! ```text
//!   byte 0        4          8                 16         --size
//!   +-------------+----------+------------------+-----------+
//!   | run         | sender   | sequence         | padding   |
//!   +-------------+----------+------------------+-----------+
//! ```
//!
//! Numbers are big-endian. The sequence counts from 0 for each sender and topic.

/// The smallest message.
pub const HEADER_BYTES: usize = 16;

/// The first bytes of every message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Which run sent it, so that what another run left behind is not taken for this one's.
    pub run: u32,
    /// Which sender of the run.
    pub sender: u32,
    /// How many messages this sender had sent to this topic before.
    pub sequence: u64,
}

impl Header {
    /// The header as bytes.
    #[inline]
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let sender = u128::from(self.run) << 96 | u128::from(self.sender) << 64;
        (sender | u128::from(self.sequence)).to_be_bytes()
    }

    /// The header at the beginning of a payload.
    #[inline]
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let all = u128::from_be_bytes(*payload.first_chunk::<HEADER_BYTES>()?);
        // Each cast keeps the bits of its field.
        Some(Self { run: (all >> 96) as u32, sender: (all >> 64) as u32, sequence: all as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trips_and_has_the_documented_layout() {
        let header = Header { run: 0x0102_0304, sender: 0x0506_0708, sequence: 0x090a_0b0c_0d0e_0f10 };
        let bytes = header.to_bytes();
        assert_eq!(bytes.to_vec(), (1..=16).collect::<Vec<u8>>());
        assert_eq!(Header::read(&bytes), Some(header));
        assert_eq!(Header::read(&[bytes.as_slice(), b"padding"].concat()), Some(header));
        assert_eq!(Header::read(&bytes[..15]), None);
    }
}
