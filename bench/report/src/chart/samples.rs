//! The number of samples behind a figure's values, and the meaning of the ranges beside its medians.

use crate::figure::Kind;
use crate::statistics::{QUARTILES_MIN, has_quartiles};

use super::content::{Chart, Point};
use super::percentiles::is_named;

impl Chart<'_> {
    /// The number of samples of each median and the meaning of its range, in a sentence. `range` says where the range
    /// is seen, as in `lines`; empty if it is not shown. Empty if there is no median.
    pub(crate) fn samples_text(&self, range: &str) -> String {
        // Between the percentiles that are named, samples end where they had no more messages.
        let is_told = |point: &&Point| self.kind != Kind::Percentiles || is_named(point.x);
        let counts = || self.points().filter(is_told).filter_map(|point| Some(point.summary?.count));
        let (Some(least), Some(most)) = (counts().min(), counts().max()) else { return String::new() };
        if most == 1 {
            return "One sample each.".to_owned();
        }
        let of = if least == most { most.to_string() } else { format!("{least} to {most}") };
        if range.is_empty() {
            return format!("Medians of {of}.");
        }
        let (quartiles, all) = ("from the first to the third quartile", "from the least to the greatest");
        match (has_quartiles(least), has_quartiles(most)) {
            (true, _) => format!("Medians of {of}; {range} {quartiles}."),
            (_, false) => format!("Medians of {of}; {range} {all}."),
            (false, true) => format!("Medians of {of}; {range} {quartiles}, of fewer than {QUARTILES_MIN} {all}."),
        }
    }
}
