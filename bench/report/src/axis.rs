//! Axes: where a value lies, and which values are written.

use super::svg::text_width;
use super::units::Unit;

/// About as many ticks as an axis should have.
const TICKS_MAX: usize = 9;

/// How values become places.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Axis {
    is_log: bool,
    from: f64,
    to: f64,
    /// The values that are written, and how.
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0, or from below the least value if it is logarithmic, to a round value above the largest. None of nothing.
    pub(crate) fn measured(values: &[f64], is_log: bool, unit: Unit) -> Option<Self> {
        let (least, most) = bounds(values)?;
        let (from, to, ticks) = if is_log {
            let steps = log_steps(least, most, unit);
            let from = steps.iter().copied().rfind(|&step| step <= least).unwrap_or(least);
            let to = steps.iter().copied().find(|&step| step >= most && step > from).unwrap_or(most);
            let ticks = steps.into_iter().filter(|step| (from..=to).contains(step)).collect();
            (from, to, fewer(ticks, unit))
        } else {
            let step = nice_step(most.max(-least).max(f64::MIN_POSITIVE), unit);
            let from = (least / step).floor().min(0.0) * step;
            let count = ((most - from) / step - 1e-9).ceil().max(1.0) as usize;
            let ticks: Vec<_> = (0..=count).map(|index| from + step * index as f64).collect();
            (from, from + step * count as f64, ticks)
        };
        Some(Self { is_log, from, to, ticks: written(&ticks, is_log, unit) })
    }

    /// From the least to the largest value; they are written themselves where they are few. None of nothing.
    pub(crate) fn set(values: &[f64], is_log: bool, unit: Unit) -> Option<Self> {
        let (from, to) = bounds(values)?;
        let mut places = values.to_vec();
        places.sort_by(f64::total_cmp);
        places.dedup();
        if places.len() > TICKS_MAX {
            places = if is_log {
                fewer(log_steps(from, to, unit).into_iter().filter(|step| (from..=to).contains(step)).collect(), unit)
            } else {
                let step = nice_step(to - from, unit);
                let first = (from / step).ceil() as i64;
                let steps = (first..).map(|index| index as f64 * step).take_while(|&place| place <= to);
                // The least value is written too if the first round one leaves it room.
                let least = (first as f64 * step - from > step * 0.6).then_some(from);
                least.into_iter().chain(steps).collect()
            };
        }
        // A setting has its own digits, also beside a much larger one.
        let ticks = places.iter().map(|&value| (value, unit.exact(value, value))).collect();
        Some(Self { is_log, from, to, ticks })
    }

    /// With these ticks and no others.
    pub(crate) fn with_ticks(from: f64, to: f64, ticks: Vec<(f64, String)>) -> Self {
        Self { is_log: false, from, to, ticks }
    }

    /// How far along the axis a value lies, from 0 to 1; at an end if it lies beyond.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let value = value.max(self.from);
        let (value, from, to) =
            if self.is_log { (value.log10(), self.from.log10(), self.to.log10()) } else { (value, self.from, self.to) };
        // A single value stands in the middle.
        if to > from { ((value - from) / (to - from)).clamp(0.0, 1.0) } else { 0.5 }
    }

    /// Whether a value has a place.
    pub(crate) fn has(&self, value: f64) -> bool {
        value.is_finite() && (!self.is_log || value > 0.0)
    }

    /// How wide the widest tick's text is.
    pub(crate) fn text_width(&self) -> f64 {
        self.ticks.iter().map(|(_, text)| text_width(text)).fold(0.0, f64::max)
    }

    /// Leaves out the ticks whose texts would touch, on a horizontal axis of this width. The last one stays.
    pub(crate) fn fit(&mut self, width: f64) {
        let mut kept: Vec<(f64, String)> = Vec::new();
        for tick in std::mem::take(&mut self.ticks).into_iter().rev() {
            let right = self.place(tick.0) * width + text_width(&tick.1) / 2.0 + 8.0;
            let is_free =
                kept.last().is_none_or(|next| right <= self.place(next.0) * width - text_width(&next.1) / 2.0);
            if is_free {
                kept.push(tick);
            }
        }
        kept.reverse();
        self.ticks = kept;
    }
}

fn bounds(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (least <= most).then_some((least, most))
}

fn written(ticks: &[f64], is_log: bool, unit: Unit) -> Vec<(f64, String)> {
    let largest = ticks.iter().copied().fold(0.0, |largest: f64, tick| largest.max(tick.abs()));
    ticks.iter().map(|&tick| (tick, unit.exact(tick, if is_log { tick } else { largest }))).collect()
}

/// A round step of which at least four and at most eight make up a range.
fn nice_step(range: f64, unit: Unit) -> f64 {
    // Bytes are round in the unit in which they are written.
    let base = if unit == Unit::Bytes { 1024_f64.powf((range.max(1.0).log2() / 10.0).floor()) } else { 1.0 };
    let rough = (range / base / 6.0).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0].into_iter().min_by(|a, b| {
        let off = |step: f64| (step * power / rough).ln().abs();
        off(*a).total_cmp(&off(*b))
    });
    let ten = (10.0 * power / rough).ln().abs() < (round.unwrap_or(1.0) * power / rough).ln().abs();
    base * power * if ten { 10.0 } else { round.unwrap_or(1.0) }
}

/// Round values around a range on a logarithmic axis: powers of two for bytes; of ten for others, with 2 and 5 between where the
/// range is small.
fn log_steps(least: f64, most: f64, unit: Unit) -> Vec<f64> {
    if unit == Unit::Bytes {
        let exponents = (least.log2() + 1e-9).floor() as i32..=(most.log2() - 1e-9).ceil() as i32;
        return exponents.map(|exponent| 2_f64.powi(exponent)).collect();
    }
    let exponents = (least.log10() + 1e-9).floor() as i32..=(most.log10() - 1e-9).ceil() as i32;
    let parts: &[f64] = if most / least < 1e4 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    exponents.flat_map(|exponent| parts.iter().map(move |part| part * 10_f64.powi(exponent))).collect()
}

/// If there are too many ticks: the powers of ten if they suffice, otherwise every n-th tick from the first on.
fn fewer(ticks: Vec<f64>, unit: Unit) -> Vec<f64> {
    if ticks.len() <= TICKS_MAX {
        return ticks;
    }
    let is_decade = |tick: &f64| (tick.log10() - tick.log10().round()).abs() < 1e-9;
    let decades: Vec<f64> = ticks.iter().copied().filter(is_decade).collect();
    let ticks = if unit != Unit::Bytes && decades.len() >= 3 { decades } else { ticks };
    let stride = ticks.len().div_ceil(TICKS_MAX).max(1);
    ticks.into_iter().step_by(stride).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn measured_axes_begin_at_zero_and_have_round_ticks() {
        let rate = Unit::PerSecond("msg/s");
        let axis = Axis::measured(&[120_000.0, 1_130_000.0], false, rate).unwrap();
        assert_eq!(texts(&axis), ["0", "0.2M", "0.4M", "0.6M", "0.8M", "1M", "1.2M"]);
        assert_eq!((axis.place(0.0), axis.place(1_200_000.0)), (0.0, 1.0));
        let axis = Axis::measured(&[3.0 * 1024.0 * 1024.0], false, Unit::Bytes).unwrap();
        assert_eq!(texts(&axis), ["0", "0.5 MiB", "1 MiB", "1.5 MiB", "2 MiB", "2.5 MiB", "3 MiB"]);
        let axis = Axis::measured(&[0.9], false, Unit::Ratio).unwrap();
        assert_eq!(texts(&axis), ["0", "0.2×", "0.4×", "0.6×", "0.8×", "1×"]);
    }

    #[test]
    fn logarithmic_axes_have_decades_or_powers_of_two() {
        let ns = Unit::of("latency_ns");
        let axis = Axis::measured(&[12_000.0, 80_000_000.0], true, ns).unwrap();
        assert_eq!((axis.from, axis.to), (10_000.0, 100_000_000.0));
        assert_eq!(texts(&axis), ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms"]);
        let axis = Axis::measured(&[30.0, 400.0], true, Unit::Count).unwrap();
        assert_eq!(texts(&axis), ["20", "50", "100", "200", "500"]);
        let axis = Axis::set(&[16.0, 64.0, 65_536.0], true, Unit::Bytes).unwrap();
        assert_eq!(texts(&axis), ["16 B", "64 B", "64 KiB"]);
        assert!((axis.place(1024.0) - 0.5).abs() < 1e-9);
        assert!(axis.has(1.0) && !axis.has(0.0) && !axis.has(f64::NAN));
    }

    #[test]
    fn many_settings_are_written_at_round_values_and_where_they_begin() {
        let values: Vec<f64> = (1..=40).map(f64::from).collect();
        assert_eq!(
            texts(&Axis::set(&values, false, Unit::Count).unwrap()),
            ["1", "5", "10", "15", "20", "25", "30", "35", "40"]
        );
        assert_eq!(texts(&Axis::set(&[1.0, 10.0, 100.0], false, Unit::Count).unwrap()), ["1", "10", "100"]);
    }

    #[test]
    fn ticks_that_would_touch_are_left_out() {
        let mut axis = Axis::set(&[1.0, 2.0, 100.0], false, Unit::Count).unwrap();
        axis.fit(300.0);
        assert_eq!(texts(&axis), ["2", "100"]);
    }

    #[test]
    fn a_single_value_stands_in_the_middle_and_nothing_has_no_axis() {
        assert_eq!(Axis::set(&[5.0], true, Unit::Count).unwrap().place(5.0), 0.5);
        assert_eq!(Axis::measured(&[], false, Unit::Count), None);
        assert_eq!(texts(&Axis::measured(&[0.0], false, Unit::Count).unwrap()).first(), Some(&"0"));
    }

    proptest! {
        #[test]
        fn axes_hold_their_values_and_have_a_few_rising_ticks(
            values in prop::collection::vec(1e-3..1e10, 1..20), is_log: bool, is_bytes: bool,
        ) {
            let unit = if is_bytes { Unit::Bytes } else { Unit::Count };
            let axis = Axis::measured(&values, is_log, unit).unwrap();
            prop_assert!(values.iter().all(|&value| value >= axis.from * 0.999_999 && value <= axis.to * 1.000_001));
            prop_assert!((1..=TICKS_MAX + 1).contains(&axis.ticks.len()), "{:?}", axis.ticks);
            prop_assert!(axis.ticks.windows(2).all(|two| two[0].0 < two[1].0));
            let places: Vec<_> = axis.ticks.iter().map(|tick| axis.place(tick.0)).collect();
            prop_assert!(places.windows(2).all(|two| two[0] < two[1]));
        }
    }
}
