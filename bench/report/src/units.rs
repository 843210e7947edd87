//! The unit of a field, from the end of its name, and the form of its values.

use crate::table::thousands;

/// The unit of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A plain number.
    Count,
    /// A rate, with the counted thing: `msg/s`.
    PerSecond(&'static str),
    /// Bytes, in powers of 1024.
    Bytes,
    /// A time, in units of `ns` nanoseconds.
    Time {
        /// Nanoseconds in one.
        ns: u64,
    },
    /// Hundredths.
    Percent,
    /// A part of one, shown in hundredths.
    Share,
    /// A factor.
    Ratio,
}

const NS: f64 = 1.0;
const US: f64 = 1e3;
const MS: f64 = 1e6;
const S: f64 = 1e9;

impl Unit {
    /// The unit that a field's name ends in.
    #[must_use]
    pub fn of(field: &str) -> Self {
        let field = field.strip_suffix("_percentiles").unwrap_or(field);
        if let Some(counted) = field.strip_suffix("_per_s") {
            return Self::PerSecond(match counted {
                "messages" | "sent" | "received" | "send" | "receive" | "rate" | "acks" => "msg/s",
                "megabytes" => "MB/s",
                _ => "/s",
            });
        }
        match field.rsplit('_').next() {
            Some("bytes") => Self::Bytes,
            Some("ns") => Self::Time { ns: 1 },
            Some("us") => Self::Time { ns: 1_000 },
            Some("ms") => Self::Time { ns: 1_000_000 },
            Some("s" | "seconds") => Self::Time { ns: 1_000_000_000 },
            Some("percent") => Self::Percent,
            Some("busy" | "share") => Self::Share,
            _ => Self::Count,
        }
    }

    /// The unit after an axis's label, if the values do not show it themselves.
    #[must_use]
    pub fn on_axis(self) -> Option<&'static str> {
        match self {
            Self::PerSecond(unit) => Some(unit),
            Self::Ratio => Some("times"),
            _ => None,
        }
    }

    /// A value with three significant digits, for tables and labels.
    #[must_use]
    pub fn text(self, value: f64) -> String {
        let scale = self.scale(value);
        let scaled = value / scale.size;
        let decimals = match scaled.abs() {
            // Whole numbers need no zeros behind them where they count things.
            size if size >= 99.95 || (scaled.fract() == 0.0 && scale.size == 1.0 && self != Self::Ratio) => 0,
            size if size >= 9.995 => 1,
            size if size >= 0.9995 || scaled == 0.0 => 2,
            size => (2.0 - size.log10().floor()).min(9.0) as usize,
        };
        format!("{scaled:.decimals$}{}", scale.suffix)
    }

    /// A setting or a place on an axis, with as many digits as it has, all values up to `largest` being in one unit.
    #[must_use]
    pub fn exact(self, value: f64, largest: f64) -> String {
        let is_whole = largest.abs() < 1e5 && value.fract() == 0.0;
        if self == Self::Count && is_whole {
            return thousands(value);
        }
        let is_decimal = value % 1000.0 == 0.0 && value % 1024.0 != 0.0 && value == largest;
        let scale = if self == Self::Bytes && is_decimal { decimal_bytes(value) } else { self.scale(largest) };
        let mut scaled = format!("{:.6}", value / scale.size);
        scaled.truncate(scaled.trim_end_matches('0').trim_end_matches('.').len());
        if scaled == "0" || scaled == "-0" { "0".to_owned() } else { format!("{scaled}{}", scale.suffix) }
    }

    /// The scale for a value of this size.
    fn scale(self, value: f64) -> Scale {
        let size = value.abs();
        let pick = |scales: &[Scale]| {
            // A value that would be rounded up to the next larger unit is written in that one.
            let fits = scales.iter().find(|scale| size >= scale.size * 0.9995);
            *fits.or(scales.last()).unwrap_or(&Scale { size: 1.0, suffix: "" })
        };
        match self {
            Self::Count | Self::PerSecond(_) => {
                pick(&[scale(1e9, "G"), scale(1e6, "M"), scale(1e3, "k"), scale(1.0, "")])
            }
            Self::Bytes => pick(&[
                scale(1024.0 * 1024.0 * 1024.0, " GiB"),
                scale(1024.0 * 1024.0, " MiB"),
                scale(1024.0, " KiB"),
                scale(1.0, " B"),
            ]),
            Self::Time { ns } => {
                let ns = ns as f64;
                let size = size * ns;
                let scales = [scale(S, " s"), scale(MS, " ms"), scale(US, " µs"), scale(NS, " ns")];
                let fits = scales.iter().find(|scale| size >= scale.size * 0.9995).unwrap_or(&scales[3]);
                Scale { size: fits.size / ns, suffix: fits.suffix }
            }
            Self::Percent => scale(1.0, " %"),
            Self::Share => scale(0.01, " %"),
            Self::Ratio => scale(1.0, "×"),
        }
    }
}

/// Sizes that were chosen as powers of ten are told so.
fn decimal_bytes(value: f64) -> Scale {
    match value.abs() {
        size if size >= 1e9 => scale(1e9, " GB"),
        size if size >= 1e6 => scale(1e6, " MB"),
        _ => scale(1e3, " kB"),
    }
}

#[derive(Clone, Copy)]
struct Scale {
    size: f64,
    suffix: &'static str,
}

const fn scale(size: f64, suffix: &'static str) -> Scale {
    Scale { size, suffix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_name_tells_the_unit() {
        for (field, unit) in [
            ("messages_per_s", Unit::PerSecond("msg/s")),
            ("megabytes_per_s", Unit::PerSecond("MB/s")),
            ("size_bytes", Unit::Bytes),
            ("latency_p999_ns", Unit::Time { ns: 1 }),
            ("latency_ns_percentiles", Unit::Time { ns: 1 }),
            ("startup_ms", Unit::Time { ns: 1_000_000 }),
            ("seconds", Unit::Time { ns: 1_000_000_000 }),
            ("broker_cpu_s", Unit::Time { ns: 1_000_000_000 }),
            ("load_percent", Unit::Percent),
            ("generator_busy", Unit::Share),
            ("senders", Unit::Count),
        ] {
            assert_eq!(Unit::of(field), unit, "{field}");
        }
    }

    #[test]
    fn values_have_three_digits() {
        let (rate, bytes, ns, ms) = (Unit::PerSecond("msg/s"), Unit::Bytes, Unit::of("x_ns"), Unit::of("x_ms"));
        for (unit, value, text) in [
            (rate, 812_345.0, "812k"),
            (rate, 1_234_567.0, "1.23M"),
            (rate, 999_700.0, "1.00M"),
            (rate, 0.0, "0"),
            (rate, 37.0, "37"),
            (rate, 37.25, "37.2"),
            (bytes, 65_536.0, "64.0 KiB"),
            (bytes, 16.0, "16 B"),
            (ns, 1_234.0, "1.23 µs"),
            (ns, 0.5, "0.500 ns"),
            (ms, 12.345, "12.3 ms"),
            (ms, 0.25, "250 µs"),
            (ms, 4_500.0, "4.50 s"),
            (Unit::Share, 0.974, "97.4 %"),
            (Unit::Ratio, 0.512, "0.512×"),
            (Unit::Ratio, 1.0, "1.00×"),
            (Unit::Ratio, 12.34, "12.3×"),
        ] {
            assert_eq!(unit.text(value), text, "{value} as {unit:?}");
        }
    }

    #[test]
    fn places_on_an_axis_have_one_unit_and_no_more_digits_than_they_need() {
        let rate = Unit::PerSecond("msg/s");
        assert_eq!(rate.exact(500_000.0, 2_000_000.0), "0.5M");
        assert_eq!(rate.exact(500_000.0, 500_000.0), "500k");
        assert_eq!(Unit::Bytes.exact(1_024.0, 1_024.0), "1 KiB");
        assert_eq!(Unit::Bytes.exact(10_000.0, 10_000.0), "10 kB");
        assert_eq!(Unit::Bytes.exact(1_024_000.0, 1_024_000.0), "1000 KiB");
        assert_eq!(Unit::Bytes.exact(100e6, 100e6), "100 MB");
        assert_eq!(Unit::Count.exact(1_000.0, 1_000.0), "1,000");
        assert_eq!(Unit::Count.exact(2_500_000.0, 2_500_000.0), "2.5M");
        assert_eq!(Unit::of("x_ns").exact(0.0, 5_000.0), "0");
        assert_eq!(Unit::of("x_ns").exact(2_500.0, 5_000.0), "2.5 µs");
        assert_eq!(Unit::Ratio.exact(0.25, 1.0), "0.25×");
    }
}
