//! The places of keys in the index's table.
//!
//! Keys are counted up, and objects that belong together have keys that follow each other: a message and the sessions that it waits
//! for, and messages in their order. In a table of a million entries each place that is far from the last one is a cache miss. So keys
//! that follow each other have places beside each other, and a row of keys that just fits is spread evenly over the table.

use std::hash::{BuildHasher, Hasher};

/// Sessions take so many bits of keys each. In a small table they would have one place.
const SESSION_BITS: u32 = 16;

/// The places between the keys of one session and the next, beyond the keys. Odd, so that any number of sessions is spread evenly.
const SESSION_GAP: u64 = 65;

/// For the bits that tell keys apart that have neighbouring places: the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The table takes the places from the low bits, and tells neighbours apart by the highest seven.
const PLACE_BITS: u32 = 57;

/// Makes hashers for keys. Clients do not choose keys, so there is no seed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NearKeys;

/// The hash of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyHash(u64);

impl BuildHasher for NearKeys {
    type Hasher = KeyHash;

    fn build_hasher(&self) -> KeyHash {
        KeyHash::default()
    }
}

impl Hasher for KeyHash {
    #[inline]
    fn write_u64(&mut self, key: u64) {
        let place = key.wrapping_add((key >> SESSION_BITS).wrapping_mul(SESSION_GAP));
        let mark = key.wrapping_mul(SPREAD) >> PLACE_BITS;
        self.0 = place & ((1 << PLACE_BITS) - 1) | mark << PLACE_BITS;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 << 8 ^ u64::from(*byte));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most keys that begin their search in the same 64 places, of a table that these keys fill to about five eighths.
    fn crowd(keys: impl Iterator<Item = u64>) -> usize {
        let places: Vec<u64> = keys.map(|key| NearKeys.hash_one(key)).collect();
        let groups = (places.len() * 8 / 5).next_power_of_two() / 64;
        let mut crowds = vec![0; groups];
        places.iter().for_each(|place| crowds[*place as usize / 64 % groups] += 1);
        crowds.into_iter().max().unwrap_or_default()
    }

    #[test]
    fn keys_of_messages_and_of_sessions_are_spread() {
        for first in [1, 12_345_678, 1 << 40] {
            assert!(crowd(first..first + 1_200_000) <= 64);
            // Each session takes as many keys, and some have gone.
            for sessions in [1, 2, 3, 16, 37] {
                assert!(crowd((0..80_000).map(|number| first + ((number * sessions) << 16))) <= 96, "{sessions}");
            }
            // Messages with several receivers, of which only the messages are left.
            for receivers in [2, 3, 10, 64, 1000] {
                assert!(crowd((0..80_000).map(|number| first + number * receivers)) <= 96, "{receivers}");
            }
        }
    }

    #[test]
    fn neighbours_are_told_apart() {
        let mark = |key: u64| NearKeys.hash_one(key) >> PLACE_BITS;
        for first in (1..1_000_000_u64).step_by(16) {
            let same = (first + 1..first + 16).filter(|key| mark(*key) == mark(first)).count();
            assert!(same <= 1, "{first}");
            let same = (1..16).filter(|session| mark(first + (session << 16)) == mark(first)).count();
            assert!(same <= 1, "{first}");
        }
    }
}
