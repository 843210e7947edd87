//! Remarks about the samples below a figure.

use crate::figure::{Figure, Kind};
use crate::folder::{self, PLAN, REPETITION, Record};
use crate::statistics::Summary;
use crate::{faults, labels};

use super::content::{Panel, Point};
use super::groups::Group;

/// How many points a logarithmic axis has no place for.
pub(super) fn off_scale(figure: &Figure, panels: &[Panel]) -> usize {
    let points = panels.iter().flat_map(|panel| &panel.series).flat_map(|series| &series.points);
    let is_off = |point: &&Point| {
        let is_off = |summary: Summary| {
            figure.y_log && summary.median <= 0.0 || figure.kind == Kind::Curve && figure.x_log && point.x <= 0.0
        };
        point.summary.is_some_and(is_off)
    };
    if figure.kind == Kind::Percentiles { 0 } else { points.filter(is_off).count() }
}

/// Findings while the chart is made.
#[derive(Default)]
pub(super) struct Notes {
    faulty: usize,
    saturated: usize,
    /// Samples that were too short to tell whether they are.
    too_short: usize,
    /// Samples at a rate that was not reached.
    overrun: usize,
    samples: usize,
    without_x: usize,
    pub(super) without_base: usize,
    pub(super) off_scale: usize,
    mixed: Vec<String>,
}

impl Notes {
    /// Of as many samples without a place on the horizontal axis.
    pub(super) fn new(without_x: usize) -> Self {
        Self { without_x, ..Self::default() }
    }

    pub(super) fn look_at(&mut self, group: &Group<'_>) {
        let count = |is: fn(&Record) -> bool| group.records.iter().filter(|record| is(record)).count();
        self.samples += group.records.len();
        self.faulty += count(faults::is_faulty);
        self.saturated += count(folder::is_saturated);
        self.too_short += count(faults::is_too_short);
        self.overrun += count(faults::is_overrun);
        // These follow from others: a warm-up from messages, a rate from the load.
        let follows = [PLAN, REPETITION, "messages", "warm_up_messages", "rate_per_s"];
        let first = group.records.first().copied();
        for field in first.into_iter().flat_map(Record::keys) {
            let value = first.and_then(|first| first.get(field));
            let is_mixed = || group.records.iter().any(|record| record.get(field) != value);
            let is_told = !labels::is_setting(field) || follows.contains(&field.as_str());
            if !is_told && !self.mixed.contains(field) && is_mixed() {
                self.mixed.push(field.clone());
            }
        }
    }

    pub(super) fn sentences(self, figure: &Figure) -> Vec<String> {
        let mut sentences = Vec::new();
        let samples = |count: usize| labels::counted(count, "sample", "samples");
        let all = self.samples;
        if self.faulty > 0 {
            sentences.push(format!("{} of {all} with faults left out (†).", samples(self.faulty)));
        }
        if self.saturated > 0 {
            let told = samples(self.saturated);
            sentences.push(format!("In {told} of {all} the load generator was the limit, not the broker (‡)."));
        }
        if self.too_short > 0 {
            let told = samples(self.too_short);
            sentences
                .push(format!("In {told} of {all} the run was too short to tell whether the generator was the limit."));
        }
        if self.overrun > 0 {
            let told = samples(self.overrun);
            let what = "the rate was not reached, and latency grew with the length of the sample";
            sentences.push(format!("In {told} of {all} {what}."));
        }
        if self.without_base > 0 {
            let told = samples(self.without_base);
            let where_sought = if is_within_repetitions(figure) { " in the same repetition" } else { "" };
            sentences.push(format!("{told} left out: nothing to compare with{where_sought}."));
        }
        if self.without_x > 0 {
            let field = labels::of_fields(&figure.x);
            sentences.push(format!("{} left out: no {field}.", samples(self.without_x)));
        }
        if self.off_scale > 0 {
            let points = labels::counted(self.off_scale, "value", "values");
            sentences.push(format!("{points} not drawn: not above zero, with no place on a logarithmic axis."));
        }
        if !self.mixed.is_empty() {
            let fields: Vec<_> = self.mixed.iter().map(|field| labels::of_field(field)).collect();
            sentences.push(format!("Medians are of samples that differ in {}.", fields.join(", ")));
        }
        sentences
    }
}

/// Whether samples are compared within their repetition: if the ratio is to another broker or host. A machine that is
/// slow for a while is then slow for both. Otherwise all points of a curve share one base; a single sample would lift
/// or lower the whole curve by chance, so the base is the median of all its samples.
pub(super) fn is_within_repetitions(figure: &Figure) -> bool {
    figure.ratio_to.keys().all(|field| labels::is_of_broker(field) || field == "mode")
}
