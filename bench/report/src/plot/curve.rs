//! Lines with labels at their ends, and markers or bands for the measurements.

use crate::axis::Axis;
use crate::chart::{Panel, Point, Series, is_named};
use crate::figure::Kind;
use crate::label_positions;
use crate::svg::{Anchor, Svg};

use super::parts::{Frame, Plot, SATURATED, draw_marker};

/// How far labels are apart.
pub(super) const LABEL_GAP: f64 = 16.0;
/// How far from the frame the middle of a label's sample of its line is, and how long that sample is.
const LABEL_LEFT: f64 = 36.0;
const SAMPLE: f64 = 28.0;
/// How wide a label is beside its text.
pub(super) const LABEL_ROOM: f64 = LABEL_LEFT + SAMPLE / 2.0 + 9.0;
/// More points than this far apart have no caps on their error bars.
const CAP_ROOM: f64 = 14.0;

/// A point and where it is drawn.
type Drawn<'a> = (&'a Point, (f64, f64));

pub(super) fn draw(svg: &mut Svg, plot: &Plot<'_>, x: &Axis, panel: &Panel, frame: Frame) {
    let mut fitting = x.clone();
    fitting.fit(frame.width());
    for (value, text) in &fitting.ticks {
        let at = frame.x(x, *value);
        svg.line("axis", (at, frame.bottom), (at, frame.bottom + 5.0));
        svg.text("muted", (at, frame.bottom + 19.0), Anchor::Middle, text);
    }
    let places =
        |series: &Series| -> Vec<(f64, f64)> { drawn(plot, x, series, frame).into_iter().map(|(_, at)| at).collect() };
    let ends: Vec<_> = panel.series.iter().map(|series| places(series).last().copied()).collect();
    for series in &panel.series {
        draw_series(svg, plot, series, &drawn(plot, x, series, frame), frame);
        draw_missing(svg, plot, x, series, frame);
    }
    let labelled: Vec<(&Series, (f64, f64))> =
        panel.series.iter().zip(ends).filter_map(|(series, end)| Some((series, end?))).collect();
    let wanted: Vec<f64> = labelled.iter().map(|(_, end)| end.1).collect();
    let heights = label_positions::spread(&wanted, LABEL_GAP, frame.top, frame.bottom);
    for ((series, end), height) in labelled.into_iter().zip(heights) {
        if has_label(series) {
            draw_label(svg, series, &label(plot.chart.kind, series), end, (frame.right + LABEL_LEFT, height));
        }
    }
}

fn drawn<'a>(plot: &Plot<'_>, x: &Axis, series: &'a Series, frame: Frame) -> Vec<Drawn<'a>> {
    let place = |point: &'a Point| {
        let median = point.summary?.median;
        let has_place = x.has(point.x) && plot.y.has(median);
        has_place.then(|| (point, (frame.x(x, point.x), frame.y(&plot.y, median))))
    };
    series.points.iter().filter_map(place).collect()
}

fn has_label(series: &Series) -> bool {
    !series.label.is_empty()
}

/// The label at a line's end.
pub(super) fn label(kind: Kind, series: &Series) -> String {
    let is_saturated = kind == Kind::Percentiles && series.points.iter().any(|point| point.is_saturated);
    format!("{}{}", series.label, if is_saturated && has_label(series) { SATURATED } else { "" })
}

fn draw_series(svg: &mut Svg, plot: &Plot<'_>, series: &Series, points: &[Drawn<'_>], frame: Frame) {
    svg.open(&format!("k{}", series.style.slot));
    let is_distribution = plot.chart.kind == Kind::Percentiles;
    if is_distribution {
        draw_band(svg, plot, points, frame);
    }
    let line: Vec<_> = points.iter().map(|(_, at)| *at).collect();
    svg.path("line", &line, series.style.dashes());
    let room = points.windows(2).map(|two| two[1].1.0 - two[0].1.0).fold(f64::INFINITY, f64::min);
    for (point, at) in points {
        if is_distribution && !is_named(point.x) {
            continue;
        }
        if !is_distribution {
            draw_error(svg, plot, point, at.0, frame, if room >= CAP_ROOM { 3.0 } else { 0.0 });
        }
        let class = if point.left_out > 0 { "hollow" } else { "mark" };
        draw_marker(svg, series.style, *at, (class, "1"), &plot.hint(&series.label, point));
        // All points of a distribution are of the same samples, and its label has the sign.
        if point.is_saturated && !(is_distribution && has_label(series)) {
            svg.text("", (at.0, at.1 - 8.0), Anchor::Middle, SATURATED);
        }
    }
    svg.close();
}

/// The area between the ends of the ranges.
fn draw_band(svg: &mut Svg, plot: &Plot<'_>, points: &[Drawn<'_>], frame: Frame) {
    let edge = |is_upper: bool| {
        points.iter().filter_map(move |(point, at)| {
            let summary = point.summary?;
            let (from, to) = summary.range();
            Some((at.0, frame.y(&plot.y, if is_upper { to } else { from })))
        })
    };
    let lower: Vec<_> = edge(false).collect();
    let outline: Vec<_> = edge(true).chain(lower.into_iter().rev()).collect();
    svg.polygon("band", &outline, "1", "");
}

fn draw_error(svg: &mut Svg, plot: &Plot<'_>, point: &Point, x: f64, frame: Frame, cap: f64) {
    let Some(summary) = point.summary else { return };
    let (from, to) = summary.range();
    let [from, to] = [from, to].map(|value| frame.y(&plot.y, value));
    // A range shorter than the marker is hidden behind it.
    if from - to < 4.0 {
        return;
    }
    svg.line("error", (x, from), (x, to));
    if cap > 0.0 {
        for y in [from, to] {
            svg.line("error", (x - cap, y), (x + cap, y));
        }
    }
}

/// A dagger where there is no good sample.
fn draw_missing(svg: &mut Svg, plot: &Plot<'_>, x: &Axis, series: &Series, frame: Frame) {
    let missing = series.points.iter().filter(|point| point.summary.is_none() && point.left_out > 0);
    if plot.chart.kind == Kind::Percentiles {
        return;
    }
    svg.open(&format!("k{}", series.style.slot));
    for point in missing.filter(|point| x.has(point.x)) {
        let at = (frame.x(x, point.x), frame.bottom - 6.0);
        svg.text("", at, Anchor::Middle, "†");
    }
    svg.close();
}

fn draw_label(svg: &mut Svg, series: &Series, text: &str, end: (f64, f64), at: (f64, f64)) {
    let left = at.0 - SAMPLE / 2.0;
    if (at.1 - end.1).abs() > 3.0 || left - end.0 > 24.0 {
        svg.path("leader", &[(end.0 + 6.0, end.1), (left - 2.0, at.1)], "");
    }
    svg.open(&format!("k{}", series.style.slot));
    svg.path("line", &[(at.0 - SAMPLE / 2.0, at.1), (at.0 + SAMPLE / 2.0, at.1)], series.style.dashes());
    draw_marker(svg, series.style, at, ("mark", "1"), "");
    svg.close();
    svg.text("", (at.0 + SAMPLE / 2.0 + 5.0, at.1 + 4.5), Anchor::Start, text);
}
