//! Which turns of a worker are measured.

/// Picks one turn in [`TimedTurns::ONE_IN`] on average, at irregular distances: the turns of a steady load repeat in a pattern, and
/// a regular choice could meet the same part of it each time.
#[derive(Debug)]
pub(super) struct TimedTurns {
    /// Turns until the next one that is measured, which counts.
    left: u32,
    random: u32,
}

impl TimedTurns {
    pub(super) const ONE_IN: u32 = 16;

    /// `seed` should differ from worker to worker.
    pub(super) fn new(seed: u32) -> Self {
        Self { left: 1 + seed % Self::ONE_IN, random: seed }
    }

    /// Whether the turn that begins is measured.
    pub(super) fn is_timed(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        // A linear congruential generator. The upper bits are the irregular ones.
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.left = 1 + (self.random >> 16) % (2 * Self::ONE_IN - 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_of_each_place_in_a_pattern_are_measured_as_often_as_the_others() {
        const TURNS: u32 = 1 << 20;
        for (seed, period) in [(0, 2), (1, 4), (2, 16), (3, 31)] {
            let mut turns = TimedTurns::new(seed);
            let mut found = vec![0; period];
            for turn in 0..TURNS {
                found[turn as usize % period] += u32::from(turns.is_timed());
            }
            let expected = TURNS / TimedTurns::ONE_IN / period as u32;
            for count in found {
                assert!(count.abs_diff(expected) < expected / 5, "{count} and not {expected} with period {period}");
            }
        }
    }
}
