//! Latencies: percentiles from histograms of three significant digits.

use std::fmt;

use hdrhistogram::Histogram;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// The tails of each decade that are drawn, in thousandths of its first: about evenly spread where percentiles are drawn by
/// their nines.
const TAILS: [u32; 10] = [1000, 800, 640, 500, 400, 320, 250, 200, 160, 125];
/// From a tail of 100 % down to one of 0.001 %.
const TAIL_DECADES: u32 = 5;

/// How long messages took, in nanoseconds, each right to one part in a thousand.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// The median.
    pub p50_ns: u64,
    /// Nine of ten took no longer.
    pub p90_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
    /// 999 of 1,000 took no longer.
    pub p999_ns: u64,
    /// 9,999 of 10,000 took no longer.
    pub p9999_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// The mean.
    pub mean_ns: f64,
    /// Percentiles with their values, for drawing: from 0 to 99.999 in ever smaller steps, as far as the number of
    /// messages can distinguish them, and 100, the maximum.
    pub ns_percentiles: Vec<(f64, u64)>,
}

impl Latency {
    /// None if nothing was measured.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |percentile: f64| histogram.value_at_percentile(percentile);
        let mut ns_percentiles: Vec<_> =
            percentiles(histogram.len()).map(|percentile| (percentile, at(percentile))).collect();
        ns_percentiles.push((100.0, histogram.max()));
        Some(Self {
            count: histogram.len(),
            p50_ns: at(50.0),
            p90_ns: at(90.0),
            p99_ns: at(99.0),
            p999_ns: at(99.9),
            p9999_ns: at(99.99),
            max_ns: histogram.max(),
            mean_ns: histogram.mean(),
            ns_percentiles,
        })
    }
}

/// The usual percentiles, in microseconds.
impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_ns, p90_ns, p99_ns, p999_ns, p9999_ns, max_ns, .. } = *self;
        let all = [("p50", p50_ns), ("p90", p90_ns), ("p99", p99_ns), ("p99.9", p999_ns), ("p99.99", p9999_ns)];
        for (name, ns) in all {
            write!(f, "{name} {:.1}, ", ns as f64 / 1e3)?;
        }
        write!(f, "max {:.1} us", max_ns as f64 / 1e3)
    }
}

/// The percentiles below 100 that `count` values can distinguish.
fn percentiles(count: u64) -> impl Iterator<Item = f64> {
    // In parts of 100 million, so that each percentile is the number that stands nearest to its digits.
    const WHOLE: u64 = 100_000_000;
    let tails = (0..TAIL_DECADES).flat_map(|decade| {
        let unit = WHOLE / 1000 / 10u64.pow(decade);
        TAILS.iter().map(move |tail| u64::from(*tail) * unit)
    });
    tails
        .chain([WHOLE / 10u64.pow(TAIL_DECADES)])
        .filter(move |tail| u128::from(*tail) * u128::from(count) >= u128::from(WHOLE))
        .map(|tail| (WHOLE - tail) as f64 / (WHOLE / 100) as f64)
}

/// Writes the fields of a [`Latency`] among other fields, each behind a prefix; nothing for None.
fn write_prefixed<S: Serializer>(prefix: &str, latency: Option<&Latency>, serializer: S) -> Result<S::Ok, S::Error> {
    let fields = match serde_json::to_value(latency) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let prefixed = fields.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value));
    prefixed.collect::<Map<_, _>>().serialize(serializer)
}

/// Reads the fields written by [`write_prefixed`]; None if there are none.
fn read_prefixed<'de, D: Deserializer<'de>>(prefix: &str, deserializer: D) -> Result<Option<Latency>, D::Error> {
    let all = Map::deserialize(deserializer)?;
    let own = all.into_iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value)));
    let own: Map<String, Value> = own.collect();
    if !own.contains_key("max_ns") {
        return Ok(None);
    }
    serde_json::from_value(Value::Object(own)).map(Some).map_err(D::Error::custom)
}

/// For serde: a field's [`Latency`] among the other fields, each of its own behind a prefix.
macro_rules! behind_prefix {
    ($visible:vis $module:ident, $prefix:literal) => {
        #[doc = concat!("The fields of a latency behind the prefix `", $prefix, "`, for serde.")]
        $visible mod $module {
            use super::*;

            /// Writes the fields.
            ///
            /// # Errors
            /// The serializer's own.
            $visible fn serialize<S: Serializer>(of: &Option<Latency>, serializer: S) -> Result<S::Ok, S::Error> {
                write_prefixed($prefix, of.as_ref(), serializer)
            }

            /// Reads the fields; None if there are none.
            ///
            /// # Errors
            /// If a field has another type.
            $visible fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Latency>, D::Error> {
                read_prefixed($prefix, from)
            }
        }
    };
}

behind_prefix!(pub end_to_end, "latency_");
behind_prefix!(pub(crate) acknowledgement, "ack_");
behind_prefix!(pub(crate) send_lag, "send_lag_");

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl Iterator<Item = u64>) -> Latency {
        let mut histogram = Histogram::new(3).unwrap();
        values.for_each(|value| histogram.record(value).unwrap());
        Latency::of(&histogram).unwrap()
    }

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let latency = of((1..=100_000).map(|value| value * 1000));
        for (found, expected) in [
            (latency.p50_ns, 50_000_000u64),
            (latency.p90_ns, 90_000_000),
            (latency.p99_ns, 99_000_000),
            (latency.p999_ns, 99_900_000),
            (latency.p9999_ns, 99_990_000),
            (latency.max_ns, 100_000_000),
            (latency.mean_ns as u64, 50_000_500),
        ] {
            assert!(found.abs_diff(expected) <= expected / 1000, "{found} for {expected}");
        }
        assert_eq!(latency.count, 100_000);
        assert_eq!(Latency::of(&Histogram::new(3).unwrap()), None);
    }

    #[test]
    fn hours_and_nanoseconds_fit_one_histogram() {
        let hours = 5 * 3600 * 1_000_000_000;
        let latency = of([1, hours].into_iter());
        assert_eq!(latency.ns_percentiles.first(), Some(&(0.0, 1)));
        assert!(latency.max_ns >= hours && latency.max_ns <= hours + hours / 1000);
    }

    #[test]
    fn percentiles_get_closer_up_to_the_longest() {
        let million: Vec<_> = percentiles(1_000_000).collect();
        assert_eq!(million.len(), 51);
        for percentile in [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999] {
            assert!(million.contains(&percentile), "{percentile} in {million:?}");
        }
        assert!(million.windows(2).all(|pair| pair[0] < pair[1]) && million.last() < Some(&100.0));
        let thousand: Vec<_> = percentiles(1000).collect();
        assert_eq!(thousand.last(), Some(&99.9), "{thousand:?}");
        assert_eq!(percentiles(1).collect::<Vec<_>>(), [0.0]);

        let drawn = of(1..=1000).ns_percentiles;
        assert_eq!(drawn.last(), Some(&(100.0, 1000)));
        assert!(drawn.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{drawn:?}");
    }

    #[derive(PartialEq, Serialize, Deserialize, Debug)]
    struct Both {
        before: u32,
        #[serde(flatten, with = "super::end_to_end")]
        latency: Option<Latency>,
        #[serde(flatten, with = "super::send_lag")]
        lag: Option<Latency>,
        after: Option<String>,
    }

    #[test]
    fn fields_stand_behind_their_prefix_among_the_others() {
        let latency = of(1..=10);
        for both in [
            Both { before: 1, latency: Some(latency.clone()), lag: None, after: None },
            Both { before: 2, latency: None, lag: Some(latency.clone()), after: Some("x".to_owned()) },
            Both { before: 3, latency: Some(of(5..=7)), lag: Some(latency), after: None },
        ] {
            let json = serde_json::to_value(&both).unwrap();
            let max = |latency: &Option<Latency>| latency.as_ref().map(|latency| latency.max_ns);
            assert_eq!(json.get("latency_max_ns").and_then(Value::as_u64), max(&both.latency));
            assert_eq!(json.get("send_lag_max_ns").and_then(Value::as_u64), max(&both.lag));
            assert_eq!(serde_json::from_value::<Both>(json).unwrap(), both);
        }
    }
}
