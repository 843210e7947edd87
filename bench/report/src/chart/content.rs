//! The content of a figure: panels of series of points.

use crate::faults;
use crate::figure::{Figure, Kind};
use crate::folder;
use crate::statistics::Summary;
use crate::theme::Style;
use crate::units::Unit;

use super::groups::Group;

/// The content of a figure.
#[derive(Debug)]
pub(crate) struct Chart<'a> {
    pub(crate) figure: &'a Figure,
    /// How it is drawn: bars where a curve's horizontal axis is not of numbers.
    pub(crate) kind: Kind,
    /// The unit along the vertical axis.
    pub(crate) unit: Unit,
    pub(crate) panels: Vec<Panel>,
    /// Remarks about the samples, in sentences.
    pub(crate) notes: Vec<String>,
}

/// One plot of perhaps several with the same axes.
#[derive(PartialEq, Debug)]
pub(crate) struct Panel {
    /// The value that distinguishes it from the other panels.
    pub(crate) title: Option<String>,
    pub(crate) series: Vec<Series>,
}

/// A line, or the bars with one colour.
#[derive(PartialEq, Debug)]
pub(crate) struct Series {
    /// Empty if there is only one.
    pub(crate) label: String,
    pub(crate) style: Style,
    /// In the order of the horizontal axis.
    pub(crate) points: Vec<Point>,
}

/// The measurement at one place.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Point {
    /// Where along the horizontal axis: the field's value; the place in the order of all values, for bars; nines, for
    /// percentiles.
    pub(crate) x: f64,
    /// The same as text.
    pub(crate) text: String,
    /// None if there is no good sample.
    pub(crate) summary: Option<Summary>,
    /// How many samples with faults were left out.
    pub(crate) left_out: usize,
    /// Whether in some sample the generator was the limit.
    pub(crate) is_saturated: bool,
    pub(crate) style: Style,
}

impl Point {
    /// The signs that notes and the lines below a plot explain.
    pub(crate) fn signs(&self) -> &'static str {
        match (self.left_out > 0, self.is_saturated) {
            (false, false) => "",
            (true, false) => "†",
            (false, true) => "‡",
            (true, true) => "†‡",
        }
    }
}

impl Chart<'_> {
    /// The points of all panels.
    pub(crate) fn points(&self) -> impl Iterator<Item = &Point> {
        self.panels.iter().flat_map(|panel| &panel.series).flat_map(|series| &series.points)
    }
}

/// The point of a group with these values.
pub(super) fn point(x: f64, text: String, values: &[f64], group: &Group<'_>, style: Style) -> Point {
    Point {
        x,
        text,
        summary: Summary::of(values),
        left_out: group.records.iter().filter(|record| faults::is_faulty(record)).count(),
        is_saturated: group.records.iter().any(|record| folder::is_saturated(record)),
        style,
    }
}
