//! Distributions of latencies, along an axis that counts nines.

use serde_json::Value;

use crate::faults;
use crate::figure::Figure;
use crate::statistics::between;
use crate::theme::Style;

use super::content::{Point, point};
use super::groups::Group;

/// The percentiles that tables have and axes name.
pub(crate) const NAMED_PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];
/// How many points a distribution is drawn with, about: samples may each have other percentiles.
const PLACES_MAX: usize = 80;

/// How many nines a percentile has: 1 for 90, 2 for 99.
pub(crate) fn nines(percentile: f64) -> f64 {
    // Rounded, since the way through powers of ten loses the last digits.
    (-(1.0 - percentile / 100.0).log10() * 1e9).round() / 1e9
}

/// The latencies at each percentile that some good sample has, over all good samples that reach so far.
pub(super) fn percentiles(figure: &Figure, group: &Group<'_>, style: Style) -> Vec<Point> {
    let good = group.records.iter().filter(|record| !faults::is_faulty(record));
    let samples: Vec<Vec<(f64, f64)>> = good.filter_map(|record| distribution(record.get(&figure.y)?)).collect();
    let mut places: Vec<f64> = samples.iter().flatten().map(|point| point.0).collect();
    places.extend(NAMED_PERCENTILES.map(nines));
    places.sort_by(f64::total_cmp);
    places.dedup();
    if places.len() > PLACES_MAX {
        let most = places.last().copied().unwrap_or(0.0);
        let even = (0..PLACES_MAX).map(|index| most * index as f64 / (PLACES_MAX - 1) as f64);
        places = even.chain(NAMED_PERCENTILES.map(nines)).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
    }
    let points = places.into_iter().map(|place| {
        let values: Vec<_> = samples.iter().filter_map(|sample| between(sample, place)).collect();
        point(place, percentile_text(place), &values, group, style)
    });
    points.filter(|point| point.summary.is_some() || is_named(point.x)).collect()
}

/// Whether tables have this percentile.
pub(crate) fn is_named(place: f64) -> bool {
    NAMED_PERCENTILES.iter().any(|percentile| nines(*percentile) == place)
}

pub(crate) fn percentile_text(place: f64) -> String {
    let mut text = format!("{:.4}", 100.0 * (1.0 - 10_f64.powf(-place)));
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    format!("{text} %")
}

/// A list of `[percentile, nanoseconds]` as points by nines. The largest value, at 100, has no place on such an axis.
fn distribution(list: &Value) -> Option<Vec<(f64, f64)>> {
    let pair = |pair: &Value| Some((pair.get(0)?.as_f64()?, pair.get(1)?.as_f64()?));
    let pairs = list.as_array()?.iter().filter_map(pair);
    let mut points: Vec<_> = pairs
        .filter(|(percentile, _)| (0.0..99.9999).contains(percentile))
        .map(|(percentile, value)| (nines(percentile), value))
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points.dedup_by(|later, earlier| later.0 == earlier.0);
    Some(points)
}
