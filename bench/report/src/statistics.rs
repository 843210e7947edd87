//! Statistics of samples: medians and ranges.

/// Of fewer values than these, quartiles would be means of neighbours, and no quarter of the values would lie beyond them.
pub const QUARTILES_MIN: usize = 5;

/// Where some values lie.
///
/// Quartiles are interpolated linearly between the two values next to them, the one at place `q * (count - 1)` of the sorted
/// values counted from 0: type 7 of Hyndman and Fan, the default of R, NumPy and spreadsheets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Summary {
    /// How many values there were, at least one.
    pub count: usize,
    /// The smallest value.
    pub least: f64,
    /// A quarter of the values is at most this.
    pub first_quartile: f64,
    /// The middle value, or the mean of the two in the middle.
    pub median: f64,
    /// A quarter of the values is at least this.
    pub third_quartile: f64,
    /// The largest value.
    pub most: f64,
}

impl Summary {
    /// Of these values, in any order; none of nothing. Values that are not finite are not counted.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            count: sorted.len(),
            least: *sorted.first()?,
            first_quartile: at(&sorted, 0.25)?,
            median: at(&sorted, 0.5)?,
            third_quartile: at(&sorted, 0.75)?,
            most: *sorted.last()?,
        })
    }

    /// From where to where the values are shown to lie: from the first to the third quartile, or, of few values, from the
    /// least to the greatest.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        if has_quartiles(self.count) { (self.first_quartile, self.third_quartile) } else { (self.least, self.most) }
    }
}

/// Whether quartiles of `count` values are meaningful.
#[must_use]
pub fn has_quartiles(count: usize) -> bool {
    count >= QUARTILES_MIN
}

/// The middle value, or the mean of the two in the middle; none of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    Summary::of(values).map(|summary| summary.median)
}

/// The interpolated value at a share of the way through sorted values.
fn at(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    // Rounding must not lead outside of the two.
    Some((below + (above - below) * place.fract()).clamp(below, above))
}

/// The value at `x` on the lines between points with rising `x`; none outside of them.
#[must_use]
pub fn between(points: &[(f64, f64)], x: f64) -> Option<f64> {
    let after = points.partition_point(|point| point.0 < x);
    let &(right, upper) = points.get(after)?;
    if right == x {
        return Some(upper);
    }
    let &(left, lower) = points.get(after.checked_sub(1)?)?;
    Some(lower + (upper - lower) * (x - left) / (right - left))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quartiles(values: &[f64]) -> (f64, f64, f64) {
        let summary = Summary::of(values).unwrap();
        assert_eq!(summary.count, values.len());
        (summary.first_quartile, summary.median, summary.third_quartile)
    }

    #[test]
    fn quartiles_are_as_worked_out_by_hand() {
        assert_eq!(quartiles(&[4.0]), (4.0, 4.0, 4.0));
        assert_eq!(quartiles(&[9.0, 1.0]), (3.0, 5.0, 7.0));
        assert_eq!(quartiles(&[3.0, 1.0, 2.0]), (1.5, 2.0, 2.5));
        assert_eq!(quartiles(&[10.0, 40.0, 20.0, 30.0]), (17.5, 25.0, 32.5));
        assert_eq!(quartiles(&[5.0, 1.0, 4.0, 2.0, 3.0]), (2.0, 3.0, 4.0));
        assert_eq!(quartiles(&[1000.0, 1.0, 2.0, 3.0]), (1.75, 2.5, 252.25));
    }

    #[test]
    fn few_values_are_shown_from_the_least_to_the_greatest() {
        let range = |values: &[f64]| Summary::of(values).unwrap().range();
        assert_eq!(range(&[4.0]), (4.0, 4.0));
        assert_eq!(range(&[9.0, 2.0, 3.0, 1.0]), (1.0, 9.0));
        assert_eq!(range(&[9.0, 5.0, 2.0, 3.0, 1.0]), (2.0, 5.0));
    }

    #[test]
    fn there_is_no_median_of_nothing() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(median(&[f64::NAN, f64::INFINITY]), None);
        assert_eq!(median(&[f64::NAN, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn what_lies_between_points_lies_on_the_line() {
        let points = [(0.0, 10.0), (1.0, 20.0), (3.0, 0.0)];
        for (x, expected) in
            [(-0.1, None), (0.0, Some(10.0)), (0.25, Some(12.5)), (2.0, Some(10.0)), (3.0, Some(0.0)), (3.1, None)]
        {
            assert_eq!(between(&points, x), expected, "{x}");
        }
        assert_eq!(between(&[], 1.0), None);
    }

    proptest! {
        #[test]
        fn quartiles_are_in_order_and_within_the_values(values in prop::collection::vec(-1e12..1e12, 1..60)) {
            let summary = Summary::of(&values).unwrap();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(least <= summary.first_quartile && summary.first_quartile <= summary.median);
            prop_assert!(summary.median <= summary.third_quartile && summary.third_quartile <= most);
        }

        #[test]
        fn a_quarter_of_the_values_lies_on_each_side(values in prop::collection::vec(-1000..1000_i32, 1..60)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let summary = Summary::of(&values).unwrap();
            let at_most = |limit: f64| values.iter().filter(|&&value| value <= limit).count() * 4;
            let at_least = |limit: f64| values.iter().filter(|&&value| value >= limit).count() * 4;
            prop_assert!(at_most(summary.first_quartile) >= values.len());
            prop_assert!(at_least(summary.third_quartile) >= values.len());
            prop_assert!(at_least(summary.first_quartile) >= 3 * values.len() - 3);
        }
    }
}
