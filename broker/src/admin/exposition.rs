//! Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write};

use wisp_engine::{BUCKET_BOUNDS_US, HistogramSnapshot};

/// A page in the format.
#[derive(Debug)]
pub(super) struct Exposition(String);

impl Exposition {
    pub(super) fn new() -> Self {
        Self(String::with_capacity(16 * 1024))
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    /// A metric with one value.
    pub(super) fn value(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The HELP and TYPE lines of a metric.
    pub(super) fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP wisp_{name} {help}\n# TYPE wisp_{name} {kind}\n"));
    }

    /// A value of the metric of the last head.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.write(format_args!("wisp_{name}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            self.write(format_args!("{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escaped(text)));
        }
        self.write(format_args!("{} {value}\n", if labels.is_empty() { "" } else { "}" }));
    }

    /// A histogram of durations, in seconds.
    pub(super) fn histogram(&mut self, name: &str, help: &str, counts: &HistogramSnapshot) {
        self.head(name, "histogram", help);
        let (rows, mut count) = (format!("{name}_bucket"), 0);
        let bounds = BUCKET_BOUNDS_US.iter().map(|bound_us| seconds(*bound_us).to_string());
        for (bound, bucket) in bounds.chain(["+Inf".to_owned()]).zip(counts.buckets) {
            count += bucket;
            self.sample(&rows, &[("le", &bound)], count);
        }
        self.sample(&format!("{name}_sum"), &[], seconds(counts.sum_us));
        self.sample(&format!("{name}_count"), &[], count);
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes all that is written");
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// The text of a label, as the format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wisp_engine::Histogram;

    use super::*;

    #[test]
    fn labels_are_escaped_and_values_follow_them() {
        let mut page = Exposition::new();
        page.value("one", "gauge", "Help.", 7);
        page.sample("two", &[("a", "x\\\"\ny"), ("b", "ü{}")], 8);
        let expected =
            "# HELP wisp_one Help.\n# TYPE wisp_one gauge\nwisp_one 7\nwisp_two{a=\"x\\\\\\\"\\ny\",b=\"ü{}\"} 8\n";
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn the_buckets_of_a_histogram_are_cumulative_and_end_with_all() {
        let histogram = Histogram::default();
        for (ms, times) in [(1, 3), (2, 2), (5_000, 1)] {
            histogram.add(Duration::from_millis(ms), times);
        }
        let mut page = Exposition::new();
        page.histogram("x_seconds", "Help.", &histogram.snapshot());
        let text = page.finish();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines.len(), BUCKET_BOUNDS_US.len() + 3);
        assert_eq!(
            (lines[0], lines[13]),
            ("wisp_x_seconds_bucket{le=\"0.00005\"} 0", "wisp_x_seconds_bucket{le=\"1\"} 5")
        );
        let end = ["wisp_x_seconds_bucket{le=\"+Inf\"} 6", "wisp_x_seconds_sum 5.007", "wisp_x_seconds_count 6"];
        assert_eq!(lines[14..], end);
        for line in ["wisp_x_seconds_bucket{le=\"0.001\"} 3", "wisp_x_seconds_bucket{le=\"0.0025\"} 5"] {
            assert!(lines.contains(&line), "{line}");
        }
    }
}
