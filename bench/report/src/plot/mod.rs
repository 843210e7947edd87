//! Draws a chart as SVG: the parts that all kinds of plots share.
//!
//! ```text
//!   title                         in a file of its own; a page has it as a heading
//!   legend                        bars only, and the markers in their place
//!   label of the vertical axis
//!   panel  |  lines or bars  |  labels at the lines' ends
//!   ...    |_________________|
//!            ticks, label of the horizontal axis
//!   meaning of signs and ranges   in a file of its own; a page says it beside the plot
//! ```

mod bars;
mod curve;
mod parts;

use crate::figure::Kind;

use super::axis::Axis;
use super::chart::{Chart, NAMED_PERCENTILES, Panel, Point, nines, percentile_text};
use super::labels;
use super::svg::{Anchor, Svg, text_width};
use super::theme;
use super::units::Unit;

use parts::{Frame, LINE, Plot, SATURATED, wrapped};

/// How wide a plot is if its labels are not unusually long.
const WIDTH: f64 = 720.0;
/// The least width between the axes.
const FRAME_WIDTH_MIN: f64 = 420.0;
/// How much higher than the highest bar its plot is.
const BARS_HEAD: f64 = 1.06;
/// Where a plot will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// A file of its own, with its title and its style.
    File,
    /// A page that has both.
    Inline,
}

/// Draws a chart; None if there is nothing to draw. `id` is unique in a page.
pub(crate) fn draw(chart: &Chart<'_>, id: &str, form: Form) -> Option<String> {
    let plot = Plot::new(chart)?;
    let left = plot.left_margin();
    let width = FRAME_WIDTH_MIN.max(WIDTH - left - plot.right_margin());
    let full_width = left + width + plot.right_margin();
    let title = if form == Form::File { wrapped(&chart.figure.title, full_width / 1.25) } else { Vec::new() };
    let legend = plot.legend(full_width - 8.0);
    let legend_lines = legend.last().map_or(0, |entry| entry.line + 1);
    let legend_top = LINE * title.len() as f64 + if title.is_empty() { 10.0 } else { 22.0 };
    let y_title_at = legend_top + (LINE + 2.0) * legend_lines as f64 + 6.0;
    let head = y_title_at + 16.0;
    let panel_title = if chart.panels.iter().any(|panel| panel.title.is_some()) { LINE + 4.0 } else { 0.0 };
    let height = plot.panel_height();
    let bottom = plot.bottom_margin(width);
    let feet = if form == Form::File { feet(chart, full_width - 8.0) } else { Vec::new() };
    let plot_height = head + (panel_title + height + bottom) * chart.panels.len() as f64 + LINE;
    let full_height = plot_height + if feet.is_empty() { 0.0 } else { LINE * feet.len() as f64 + 8.0 };

    let style = theme::style();
    let style = (form == Form::File).then_some(style.as_str());
    let mut svg = Svg::new(id, (full_width, full_height), &chart.figure.title, &description(chart), style);
    for (index, line) in title.iter().enumerate() {
        svg.text("title", (4.0, LINE * (index as f64 + 1.0) + 2.0), Anchor::Start, line);
    }
    draw_legend(&mut svg, &legend, legend_top, plot.has_dots());
    svg.text("muted", (4.0, y_title_at), Anchor::Start, &labels::capitalised(&plot.y_title()));
    for (index, panel) in chart.panels.iter().enumerate() {
        let top = head + (panel_title + height + bottom) * index as f64 + panel_title;
        let frame = Frame { left, right: left + width, top, bottom: top + height };
        if let Some(title) = &panel.title {
            svg.text("panel", (left, top - 8.0), Anchor::Start, title);
        }
        plot.draw_panel(&mut svg, panel, frame);
    }
    let at = (left + width / 2.0, plot_height - 6.0);
    svg.text("muted", at, Anchor::Middle, &labels::capitalised(&plot.x_title()));
    for (index, line) in feet.iter().enumerate() {
        svg.text("muted", (4.0, plot_height + LINE * (index as f64 + 1.0)), Anchor::Start, line);
    }
    Some(svg.finish())
}

impl<'a> Plot<'a> {
    fn new(chart: &'a Chart<'a>) -> Option<Self> {
        let mut heights: Vec<f64> = chart
            .points()
            .filter_map(|point| point.summary)
            .flat_map(|summary| [summary.range().0, summary.median, summary.range().1])
            .filter(|value| !chart.figure.y_log || *value > 0.0)
            .collect();
        if heights.is_empty() {
            return None;
        }
        if chart.unit == Unit::Ratio {
            // The line that others are compared with is always to be seen.
            heights.push(1.0);
        }
        if chart.kind == Kind::Bars {
            // Values are written above bars.
            let least = heights.iter().copied().reduce(f64::min);
            let most = heights.iter().copied().reduce(f64::max);
            let head = |(least, most): (f64, f64)| {
                if chart.figure.y_log { most * (most / least).powf(BARS_HEAD - 1.0) } else { most * BARS_HEAD }
            };
            heights.extend(least.zip(most).map(head));
        }
        let y = Axis::measured(&heights, chart.figure.y_log, chart.unit)?;
        let drawn = chart.points().filter(|point| point.summary.is_some());
        let x = match chart.kind {
            Kind::Bars => None,
            Kind::Curve => {
                let values: Vec<f64> =
                    chart.points().map(|point| point.x).filter(|x| !chart.figure.x_log || *x > 0.0).collect();
                Some(Axis::set(&values, chart.figure.x_log, Unit::of(&chart.figure.x))?)
            }
            Kind::Percentiles => {
                let most = drawn.map(|point| point.x).fold(1.0, f64::max);
                let named = NAMED_PERCENTILES.into_iter().chain([99.999]).map(nines);
                let ticks = named.filter(|place| *place <= most).map(|place| (place, percentile_text(place))).collect();
                Some(Axis::with_ticks(0.0, most, ticks))
            }
        };
        let mut groups: Vec<(f64, String)> = Vec::new();
        if chart.kind == Kind::Bars {
            groups = chart.points().map(|point| (point.x, point.text.clone())).collect();
            groups.sort_by(|one, other| one.0.total_cmp(&other.0));
            groups.dedup_by(|one, other| one.0 == other.0);
        }
        Some(Self { chart, x, y, groups: groups.into_iter().map(|(_, text)| text).collect() })
    }

    fn y_title(&self) -> String {
        let figure = self.chart.figure;
        let title = if self.chart.unit == Unit::Ratio {
            format!("{}, {}", labels::of_field(&figure.y), base_text(self.chart))
        } else {
            labels::of_axis(&figure.y, self.chart.unit)
        };
        axis_title(title, figure.y_log)
    }

    fn x_title(&self) -> String {
        if self.chart.kind == Kind::Percentiles {
            return "percentile (logarithmic towards 100 %)".to_owned();
        }
        let x = &self.chart.figure.x;
        let title = if x.contains(',') { labels::of_fields(x) } else { labels::of_axis(x, Unit::of(x)) };
        axis_title(title, self.chart.kind == Kind::Curve && self.chart.figure.x_log)
    }

    fn left_margin(&self) -> f64 {
        let ticks = self.y.text_width() + 14.0;
        // The first name may reach to the left of its bars.
        let is_bars = self.chart.kind == Kind::Bars;
        if is_bars { ticks.max(bars::left_reach(&self.groups, WIDTH - ticks - self.right_margin())) } else { ticks }
    }

    fn right_margin(&self) -> f64 {
        if self.chart.kind == Kind::Bars {
            return 12.0;
        }
        let labels = self.chart.panels.iter().flat_map(|panel| &panel.series);
        let labels = labels.map(|series| text_width(&curve::label(self.chart.kind, series)));
        let widest = labels.fold(0.0, f64::max);
        if widest > 0.0 { widest + curve::LABEL_ROOM } else { 24.0 }
    }

    fn panel_height(&self) -> f64 {
        let labels = self.chart.panels.iter().map(|panel| panel.series.len()).max().unwrap_or(0);
        let usual = if self.chart.panels.len() > 1 { 220.0 } else { 320.0 };
        if self.chart.kind == Kind::Bars { usual } else { curve::LABEL_GAP.mul_add(labels as f64, 20.0).max(usual) }
    }

    /// How high the texts of the horizontal axis are.
    fn bottom_margin(&self, width: f64) -> f64 {
        if self.chart.kind != Kind::Bars { 28.0 } else { bars::names_height(&self.groups, width) }
    }

    fn draw_panel(&self, svg: &mut Svg, panel: &Panel, frame: Frame) {
        for (value, text) in &self.y.ticks {
            let y = frame.y(&self.y, *value);
            svg.line("grid", (frame.left, y), (frame.right, y));
            svg.text("muted", (frame.left - 8.0, y + 4.5), Anchor::End, text);
        }
        if self.chart.unit == Unit::Ratio {
            let y = frame.y(&self.y, 1.0);
            svg.line("axis", (frame.left, y), (frame.right, y));
        }
        svg.line("axis", (frame.left, frame.bottom), (frame.right, frame.bottom));
        match &self.x {
            Some(x) => curve::draw(svg, self, x, panel, frame),
            None => bars::draw(svg, self, panel, frame),
        }
    }

    fn legend(&self, width: f64) -> Vec<LegendEntry> {
        let mut entries: Vec<LegendEntry> = Vec::new();
        if self.chart.kind != Kind::Bars {
            return entries;
        }
        let (mut line, mut left) = (0, 4.0);
        for series in self.chart.panels.iter().flat_map(|panel| &panel.series) {
            if series.label.is_empty() || entries.iter().any(|entry| entry.label == series.label) {
                continue;
            }
            let needed = text_width(&series.label) + 36.0;
            if left + needed > width && left > 4.0 {
                (line, left) = (line + 1, 4.0);
            }
            entries.push(LegendEntry { label: series.label.clone(), style: series.style, line, left });
            left += needed;
        }
        entries
    }
}

struct LegendEntry {
    label: String,
    style: theme::Style,
    line: usize,
    left: f64,
}

fn draw_legend(svg: &mut Svg, legend: &[LegendEntry], top: f64, has_dots: bool) {
    for entry in legend {
        let y = top + (LINE + 2.0) * entry.line as f64;
        svg.open(&format!("k{}", entry.style.slot));
        // Where each group has a marker of its own, only the filling is to be told.
        if has_dots && entry.style.slot < theme::SLOTS {
            bars::draw_dot(svg, entry.style, (entry.left + 7.0, y - 0.5), "");
        } else {
            svg.rect("bar", (entry.left, y - 6.0), (entry.left + 14.0, y + 5.0), entry.style.fill(), "");
        }
        svg.close();
        svg.text("", (entry.left + 20.0, y + 4.0), Anchor::Start, &entry.label);
    }
}

/// The base of ratios: "times that of 1 sender".
pub(crate) fn base_text(chart: &Chart<'_>) -> String {
    let base = chart.figure.ratio_to.iter().map(|(field, value)| labels::of_setting(field, value));
    format!("times that of {}", base.collect::<Vec<_>>().join(", "))
}

/// The content of a plot in words, for screen readers.
fn description(chart: &Chart<'_>) -> String {
    let figure = chart.figure;
    let mut lines: Vec<&str> = Vec::new();
    for series in chart.panels.iter().flat_map(|panel| &panel.series) {
        if !series.label.is_empty() && !lines.contains(&series.label.as_str()) {
            lines.push(&series.label);
        }
    }
    let against = match chart.kind {
        Kind::Percentiles => "percentile".to_owned(),
        Kind::Curve | Kind::Bars => labels::of_fields(&figure.x),
    };
    let mut text = format!("{} by {against}", labels::capitalised(&labels::of_field(&figure.y)));
    if !lines.is_empty() {
        text = format!("{text}, for {}", lines.join("; "));
    }
    format!("{text}. {}", chart.samples_text(range_name(chart)))
}

/// The word for the drawn ranges of samples.
pub(crate) fn range_name(chart: &Chart<'_>) -> &'static str {
    if chart.kind == Kind::Percentiles { "bands" } else { "lines" }
}

fn axis_title(title: String, is_log: bool) -> String {
    if is_log { format!("{title} (logarithmic)") } else { title }
}

/// The lines below a plot that stands alone: the number of samples, and the meaning of its signs.
fn feet(chart: &Chart<'_>, width: f64) -> Vec<String> {
    let mut feet = wrapped(&chart.samples_text(range_name(chart)), width);
    let is_any = |is: fn(&Point) -> bool| chart.points().any(is);
    if is_any(|point| point.left_out > 0) {
        let signs = if chart.kind == Kind::Bars { "†" } else { "Hollow, †:" };
        feet.push(format!("{signs} Samples with faults were left out here."));
    }
    if is_any(|point| point.is_saturated) {
        let or_base = if chart.unit == Unit::Ratio { ", or of what it is compared with," } else { "" };
        let foot =
            format!("{SATURATED} In some samples of this{or_base} the load generator was the limit, not the broker.");
        feet.extend(wrapped(&foot, width));
    }
    feet
}
