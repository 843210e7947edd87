//! The statistics of a comparison: ratios of values that were measured in pairs.
//!
//! The speed of a shared machine drifts by more than the difference that a comparison looks for. Both values of a pair are
//! taken shortly after each other, so that the drift cancels in their ratio.

use wisp_report::statistics::{Summary, median};

/// A comparison is resolved when both quartiles of the ratios are at most this share away from their median.
pub const SPREAD_MAX: f64 = 0.03;
/// After this many pairs a comparison that is not resolved is given up.
pub const PAIRS_MAX: usize = 25;

/// Values of this build and of the other one, measured in pairs.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Paired {
    this: Vec<f64>,
    other: Vec<f64>,
}

/// The result of a comparison so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There are too few pairs to tell.
    MorePairs,
    /// The ratios agree, and their median is within the bound.
    Within,
    /// The ratios agree, and their median is above the bound.
    Above,
    /// The ratios do not agree after the largest number of pairs.
    NotResolved,
}

impl Paired {
    /// Adds a pair.
    pub fn push(&mut self, this: f64, other: f64) {
        self.this.push(this);
        self.other.push(other);
    }

    /// The number of pairs.
    #[must_use]
    pub fn count(&self) -> usize {
        self.this.len()
    }

    /// The medians of this build's values and of the other's.
    #[must_use]
    pub fn medians(&self) -> Option<(f64, f64)> {
        median(&self.this).zip(median(&self.other))
    }

    /// The ratios of this build's values to the other's; None without a pair of two finite values above zero.
    #[must_use]
    pub fn ratios(&self) -> Option<Summary> {
        Summary::of(&self.this.iter().zip(&self.other).map(|(this, other)| this / other).collect::<Vec<_>>())
    }

    /// The result. At least `pairs_min` pairs are taken before there is one; `ratio_max` is the largest median that passes.
    #[must_use]
    pub fn verdict(&self, pairs_min: usize, ratio_max: f64) -> Verdict {
        let resolved = self.ratios().filter(|ratios| self.count() >= pairs_min && is_resolved(ratios));
        match resolved {
            Some(ratios) if ratios.median <= ratio_max => Verdict::Within,
            Some(_) => Verdict::Above,
            None if self.count() < PAIRS_MAX => Verdict::MorePairs,
            None => Verdict::NotResolved,
        }
    }
}

/// Whether the quartiles, or of few ratios the least and the greatest, are close enough to the median.
fn is_resolved(ratios: &Summary) -> bool {
    let (low, high) = ratios.range();
    let spread = (ratios.median - low).max(high - ratios.median);
    spread <= SPREAD_MAX * ratios.median
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paired(ratios: &[f64]) -> Paired {
        let mut paired = Paired::default();
        for (index, ratio) in ratios.iter().enumerate() {
            // The machine's speed differs between pairs.
            let other = 100.0 * (1 + index % 3) as f64;
            paired.push(ratio * other, other);
        }
        paired
    }

    #[test]
    fn ratios_are_formed_within_pairs() {
        // The machine is half as fast in the second pair: the ratio of the medians would be 0.75.
        let mut paired = Paired::default();
        paired.push(100.0, 100.0);
        paired.push(200.0, 200.0);
        paired.push(100.0, 200.0);
        let ratios = paired.ratios().unwrap();
        assert_eq!((ratios.median, ratios.least), (1.0, 0.5));
        assert_eq!(paired.medians(), Some((100.0, 200.0)));
        assert_eq!((paired.count(), Paired::default().ratios()), (3, None));
    }

    #[test]
    fn a_comparison_needs_the_least_number_of_pairs() {
        let same = [1.0; 5];
        assert_eq!(paired(&[]).verdict(5, 1.03), Verdict::MorePairs);
        assert_eq!(paired(&same[..4]).verdict(5, 1.03), Verdict::MorePairs);
        assert_eq!(paired(&same).verdict(5, 1.03), Verdict::Within);
        assert_eq!(paired(&same[..3]).verdict(3, 1.03), Verdict::Within);
    }

    #[test]
    fn a_quarter_of_the_ratios_on_either_side_may_lie_further_away() {
        // The quartiles of five values are the second and the fourth.
        assert_eq!(paired(&[0.5, 0.971, 1.0, 1.029, 2.0]).verdict(5, 1.03), Verdict::Within);
        assert_eq!(paired(&[0.5, 0.969, 1.0, 1.029, 2.0]).verdict(5, 1.03), Verdict::MorePairs);
        assert_eq!(paired(&[0.5, 0.971, 1.0, 1.031, 2.0]).verdict(5, 1.03), Verdict::MorePairs);
        // Of four values all count.
        assert_eq!(paired(&[0.5, 1.0, 1.0, 1.0]).verdict(4, 1.03), Verdict::MorePairs);
    }

    #[test]
    fn the_spread_is_a_share_of_the_median() {
        let slower = |spread: f64| [2.0 - spread, 2.0 - spread, 2.0, 2.0 + spread, 2.0 + spread];
        assert_eq!(paired(&slower(0.059)).verdict(5, 3.0), Verdict::Within);
        assert_eq!(paired(&slower(0.061)).verdict(5, 3.0), Verdict::MorePairs);
    }

    #[test]
    fn the_median_decides_whether_the_bound_is_kept() {
        assert_eq!(paired(&[1.0, 1.02, 1.025, 1.05, 1.06]).verdict(5, 1.03), Verdict::Within);
        assert_eq!(paired(&[1.0, 1.02, 1.04, 1.05, 1.06]).verdict(5, 1.03), Verdict::Above);
    }

    #[test]
    fn after_the_largest_number_of_pairs_a_comparison_is_given_up() {
        let scattered: Vec<f64> = (0..PAIRS_MAX).map(|index| if index % 2 == 0 { 0.9 } else { 1.1 }).collect();
        assert_eq!(paired(&scattered[1..]).verdict(5, 1.03), Verdict::MorePairs);
        assert_eq!(paired(&scattered).verdict(5, 1.03), Verdict::NotResolved);
        // Without the processor time of both brokers there is no ratio.
        let mut unknown = Paired::default();
        (0..PAIRS_MAX).for_each(|_| unknown.push(0.0, 0.0));
        assert_eq!(unknown.verdict(5, 1.03), Verdict::NotResolved);
    }
}
