//! Groups of bars, with their names below; of markers where the axis is logarithmic, on which the length of a bar means
//! nothing.

use crate::chart::{Panel, Point};
use crate::svg::{Anchor, Svg, text_width};
use crate::theme::Style;

use super::parts::{Frame, LINE, Plot, draw_marker, wrapped};

/// The share of a group's width that its bars fill.
const FILLED: f64 = 0.82;
/// How wide a bar is at most.
const BAR_WIDTH_MAX: f64 = 64.0;
/// In how many lines names are written at most.
const LINES_MAX: usize = 4;
/// How far a marker reaches above its place.
const DOT: f64 = 5.0;
/// By how many degrees names are turned that would touch.
const TURN: f64 = -35.0;

pub(super) fn draw(svg: &mut Svg, plot: &Plot<'_>, panel: &Panel, frame: Frame) {
    let room = frame.width() / plot.groups.len().max(1) as f64;
    draw_names(svg, &plot.groups, frame);
    // A bar has the same place in all panels, and where it could not be measured a dagger.
    let series = || plot.chart.panels.iter().flat_map(|panel| &panel.series);
    let mut labels: Vec<Vec<&str>> = vec![Vec::new(); plot.groups.len()];
    for (label, point) in series().flat_map(|series| series.points.iter().map(|point| (series.label.as_str(), point))) {
        let labels = &mut labels[point.x as usize];
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let most = labels.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let width = (room * FILLED / most as f64).min(BAR_WIDTH_MAX);
    let texts = series().flat_map(|series| &series.points).filter_map(|point| point.summary);
    let widest_text = texts.map(|summary| text_width(&plot.chart.unit.text(summary.median))).fold(0.0, f64::max);
    // Values are written above all bars or none.
    let has_values = widest_text <= width;
    for series in &panel.series {
        for point in &series.points {
            let labels = &labels[point.x as usize];
            let place = labels.iter().position(|label| *label == series.label).unwrap_or(0) as f64;
            let left = frame.left + room * (point.x + 0.5) + width * (place - labels.len() as f64 / 2.0);
            draw_bar(svg, plot, point, &Bar { label: &series.label, left, right: left + width, has_values }, frame);
        }
    }
}

/// The names of the groups, in lines where there is room for their words, turned where not.
fn draw_names(svg: &mut Svg, groups: &[String], frame: Frame) {
    let room = frame.width() / groups.len().max(1) as f64;
    let lines = lines(groups, frame.width());
    for (index, text) in groups.iter().enumerate() {
        let middle = frame.left + room * (index as f64 + 0.5);
        match &lines {
            None => svg.turned_text("muted", (middle + 4.0, frame.bottom + 16.0), Anchor::End, TURN, text),
            Some(lines) => {
                for (line, text) in lines[index].iter().enumerate() {
                    let at = (middle, frame.bottom + 19.0 + LINE * line as f64);
                    svg.text("muted", at, Anchor::Middle, text);
                }
            }
        }
    }
}

/// A bar's place and label.
struct Bar<'a> {
    label: &'a str,
    left: f64,
    right: f64,
    has_values: bool,
}

fn draw_bar(svg: &mut Svg, plot: &Plot<'_>, point: &Point, bar: &Bar<'_>, frame: Frame) {
    let Bar { label, left, right, .. } = *bar;
    let middle = f64::midpoint(left, right);
    svg.open(&format!("k{}", point.style.slot));
    if let Some(summary) = point.summary.filter(|summary| plot.y.has(summary.median)) {
        let (from, to) = summary.range();
        let [from, at, to] = [from, summary.median, to].map(|value| frame.y(&plot.y, value));
        let hint = plot.hint(label, point);
        let top = if plot.has_dots() {
            draw_range(svg, middle, (from, to), "error");
            draw_dot(svg, point.style, (middle, at), &hint);
            at - DOT
        } else {
            let gap = if right - left > 8.0 { 1.5 } else { 0.5 };
            svg.rect("bar", (left + gap, at), (right - gap, frame.bottom), point.style.fill(), &hint);
            svg.close();
            svg.open("quartiles");
            draw_range(svg, middle, (from, to), "axis");
            at
        };
        let text = if bar.has_values { plot.chart.unit.text(summary.median) } else { String::new() };
        let text = format!("{text}{}", point.signs());
        if !text.is_empty() {
            svg.text("", (middle, top.min(to) - 5.0), Anchor::Middle, &text);
        }
    } else if point.left_out > 0 {
        svg.text("", (middle, frame.bottom - 5.0), Anchor::Middle, "†");
    }
    svg.close();
}

/// How far the samples reach, if that is to be seen.
fn draw_range(svg: &mut Svg, x: f64, (from, to): (f64, f64), class: &str) {
    if from - to < 2.0 {
        return;
    }
    svg.line(class, (x, from), (x, to));
    for y in [from, to] {
        svg.line(class, (x - 3.0, y), (x + 3.0, y));
    }
}

/// A marker in place of a bar, as opaque as the bar would be.
pub(super) fn draw_dot(svg: &mut Svg, style: Style, at: (f64, f64), hint: &str) {
    if style.fill() != "1" {
        // A background hides the lines behind the marker.
        draw_marker(svg, style, at, ("hollow", "1"), "");
    }
    draw_marker(svg, style, at, ("bar", style.fill()), hint);
}

/// The names of the groups in lines; none if some word is too long for its room.
fn lines(groups: &[String], width: f64) -> Option<Vec<Vec<String>>> {
    let room = width / groups.len().max(1) as f64 - 6.0;
    let lines: Vec<Vec<String>> = groups.iter().map(|text| wrapped(text, room)).collect();
    let fits = lines.iter().all(|lines| lines.len() <= LINES_MAX && lines.iter().all(|line| text_width(line) <= room));
    fits.then_some(lines)
}

/// How high the names of the groups are.
pub(super) fn names_height(groups: &[String], width: f64) -> f64 {
    match lines(groups, width) {
        Some(lines) => 10.0 + LINE * lines.iter().map(Vec::len).max().unwrap_or(1) as f64,
        None => 24.0 + widest(groups) * TURN.to_radians().sin().abs(),
    }
}

/// How far to the left of the first group's middle its name may reach.
pub(super) fn left_reach(groups: &[String], width: f64) -> f64 {
    if lines(groups, width).is_some() { 0.0 } else { widest(groups) * TURN.to_radians().cos() - 12.0 }
}

fn widest(groups: &[String]) -> f64 {
    groups.iter().map(|text| text_width(text)).fold(0.0, f64::max)
}
