//! Groups of bars, with their names below.

use crate::report::chart::{Panel, Point};
use crate::report::svg::{Anchor, Svg, text_width};

use super::{Frame, Plot};

/// What part of a group's room its bars fill.
const FILLED: f64 = 0.82;
/// How wide a bar is at most.
const BAR_WIDTH_MAX: f64 = 64.0;
/// By how many degrees names are turned that would touch.
const TURN: f64 = -35.0;

pub(super) fn draw(svg: &mut Svg, plot: &Plot<'_>, panel: &Panel, frame: Frame) {
    let room = frame.width() / plot.groups.len().max(1) as f64;
    let is_turned = are_turned(&plot.groups, frame.width());
    for (index, text) in plot.groups.iter().enumerate() {
        let middle = frame.left + room * (index as f64 + 0.5);
        if is_turned {
            svg.turned_text("muted", (middle + 4.0, frame.bottom + 16.0), Anchor::End, TURN, text);
        } else {
            svg.text("muted", (middle, frame.bottom + 19.0), Anchor::Middle, text);
        }
    }
    // A bar has the same place in all groups and panels, so that a missing one is seen.
    let mut labels: Vec<&str> = Vec::new();
    for series in plot.chart.panels.iter().flat_map(|panel| &panel.series) {
        if !labels.contains(&series.label.as_str()) {
            labels.push(&series.label);
        }
    }
    let width = (room * FILLED / labels.len().max(1) as f64).min(BAR_WIDTH_MAX);
    for series in &panel.series {
        let place = labels.iter().position(|label| *label == series.label).unwrap_or(0) as f64;
        for point in &series.points {
            let middle = frame.left + room * (point.x + 0.5);
            let left = middle + width * (place - labels.len() as f64 / 2.0);
            draw_bar(svg, plot, &series.label, point, (left, left + width), frame);
        }
    }
}

fn draw_bar(svg: &mut Svg, plot: &Plot<'_>, label: &str, point: &Point, (left, right): (f64, f64), frame: Frame) {
    let middle = f64::midpoint(left, right);
    svg.open(&format!("k{}", point.look.slot));
    if let Some(summary) = point.summary.filter(|summary| plot.y.has(summary.median)) {
        let [from, top, to] =
            [summary.first_quartile, summary.median, summary.third_quartile].map(|value| frame.y(&plot.y, value));
        let gap = if right - left > 8.0 { 1.5 } else { 0.5 };
        svg.rect("bar", (left + gap, top), (right - gap, frame.bottom), point.look.fill(), &plot.hint(label, point));
        if from - to >= 2.0 {
            svg.close();
            svg.open("quartiles");
            svg.line("axis", (middle, from), (middle, to));
            for y in [from, to] {
                svg.line("axis", (middle - 3.0, y), (middle + 3.0, y));
            }
        }
        let dagger = if point.left_out > 0 { "†" } else { "" };
        let text = plot.chart.unit.text(summary.median);
        let text = if text_width(&text) + 2.0 <= right - left { format!("{text}{dagger}") } else { dagger.to_owned() };
        if !text.is_empty() {
            svg.text("", (middle, top.min(to) - 5.0), Anchor::Middle, &text);
        }
    } else if point.left_out > 0 {
        svg.text("", (middle, frame.bottom - 5.0), Anchor::Middle, "†");
    }
    svg.close();
}

fn are_turned(groups: &[String], width: f64) -> bool {
    groups.iter().any(|text| text_width(text) + 6.0 > width / groups.len().max(1) as f64)
}

/// How high the names of the groups are.
pub(super) fn texts_height(groups: &[String], width: f64) -> f64 {
    if !are_turned(groups, width) {
        return 28.0;
    }
    let widest = groups.iter().map(|text| text_width(text)).fold(0.0, f64::max);
    24.0 + widest * TURN.to_radians().sin().abs()
}
