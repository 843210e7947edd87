//! What bars and curves share: the frame, the chart with its axes, markers and wrapped texts.

use crate::axis::Axis;
use crate::chart::{Chart, Point};
use crate::figure::Kind;
use crate::labels;
use crate::svg::{Svg, text_width};
use crate::theme;

/// The mark of samples in which the generator was the limit.
pub(super) const SATURATED: &str = "‡";
/// How high a line of text is.
pub(super) const LINE: f64 = 18.0;

/// A rectangle between the axes, in the coordinates of the drawing.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Frame {
    pub(super) fn width(&self) -> f64 {
        self.right - self.left
    }

    pub(super) fn y(&self, axis: &Axis, value: f64) -> f64 {
        self.bottom - axis.place(value) * (self.bottom - self.top)
    }

    pub(super) fn x(&self, axis: &Axis, value: f64) -> f64 {
        self.left + axis.place(value) * self.width()
    }
}

/// A chart with its axes.
pub(super) struct Plot<'a> {
    pub(super) chart: &'a Chart<'a>,
    /// None for bars.
    pub(super) x: Option<Axis>,
    pub(super) y: Axis,
    /// The labels of the groups of bars.
    pub(super) groups: Vec<String>,
}

impl Plot<'_> {
    /// Whether there are markers in the places of bars.
    pub(super) fn has_dots(&self) -> bool {
        self.chart.kind == Kind::Bars && self.chart.figure.y_log
    }

    /// The text shown when a point is pointed at.
    pub(super) fn hint(&self, label: &str, point: &Point) -> String {
        let Some(summary) = point.summary else { return String::new() };
        let who = if label.is_empty() { String::new() } else { format!("{label}, ") };
        let text = |value| self.chart.unit.text(value);
        let samples = labels::counted(summary.count, "sample", "samples");
        let (from, to) = (text(summary.range().0), text(summary.range().1));
        let field = if self.chart.kind == Kind::Percentiles {
            String::new()
        } else {
            format!("{} ", labels::of_field(&self.chart.figure.x))
        };
        format!("{who}{field}{}: {} ({from} to {to}, {samples})", point.text, text(summary.median))
    }
}

/// A marker of one of the classes `mark`, `hollow` and `bar`, and how opaque it is.
pub(super) fn draw_marker(svg: &mut Svg, style: theme::Style, at: (f64, f64), (class, fill): (&str, &str), hint: &str) {
    let corners: Vec<_> = style.marker().iter().map(|corner| (at.0 + corner.0, at.1 + corner.1)).collect();
    if corners.is_empty() {
        svg.circle(class, at, 4.0, fill, hint);
    } else {
        svg.polygon(class, &corners, fill, hint);
    }
}

/// A text in lines of at most this width at 13 pixels.
pub(super) fn wrapped(text: &str, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(line) + text_width(word) + 5.8 <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
