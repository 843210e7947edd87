//! Random numbers: xorshift64*, by Marsaglia and Vigna. Each number needs the one before, so that no compiler can make several at once.

/// The generator's state, which is never 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins at a place of its own for each seed but 0, which begins where the default does.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        if seed == 0 { Self::default() } else { Self(seed) }
    }

    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

impl Default for Random {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_numbers_are_those_of_xorshift64_star() {
        // Computed apart, from the formula.
        let mut random = Random::new(1);
        let first: Vec<_> = (0..5).map(|_| random.next_number()).collect();
        let expected = [
            5_180_492_295_206_395_165,
            12_380_297_144_915_551_517,
            13_389_498_078_930_870_103,
            5_599_127_315_341_312_413,
            1_036_278_371_763_004_928,
        ];
        assert_eq!(first, expected);
    }

    #[test]
    fn no_seed_stands_still() {
        for seed in [0, 1, u64::MAX] {
            let mut random = Random::new(seed);
            assert_ne!(random.next_number(), random.next_number(), "{seed}");
        }
    }
}
