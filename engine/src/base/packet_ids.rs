//! Hashing packet identifiers. There are 65,535 of them, and no choice of them makes a table slow enough to matter, so a
//! multiplication is enough.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps by packet identifier. Takes no space in them.
pub(crate) type PacketIdState = BuildHasherDefault<PacketIdHasher>;

/// Spreads the bits of one number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PacketIdHasher(u64);

impl Hasher for PacketIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u16(u16::from(byte)));
    }

    fn write_u16(&mut self, number: u16) {
        // The golden ratio's bits: neighbours end up far apart, in the upper bits as well as in the lower.
        self.0 = (self.0.rotate_left(16) ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20);
    }
}
