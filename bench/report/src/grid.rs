//! The figures of a chart as rows and columns, with the best ones marked: for a terminal and for a page.

use std::fmt::Write as _;

use crate::figure::{Better, Kind};
use crate::table::Table;

use super::chart::{Chart, Panel, Point, is_named};
use super::labels;
use super::units::Unit;

/// Wider tables are not for terminals.
const TERMINAL_WIDTH_MAX: usize = 120;
/// Longer curves are not for terminals.
const TERMINAL_ROWS_MAX: usize = 20;
/// Beyond this number columns become rows, if there are fewer rows.
const COLUMNS_MAX: usize = 4;
/// The mark of the best value of a row.
pub(crate) const BEST: &str = "★";

/// A table for each panel, all with the same columns.
#[derive(PartialEq, Debug)]
pub(crate) struct Grid {
    kind: Kind,
    /// The heading of the rows.
    pub(crate) corner: String,
    /// The headings of the columns.
    pub(crate) columns: Vec<String>,
    pub(crate) blocks: Vec<Block>,
}

/// The rows of a panel.
#[derive(PartialEq, Debug)]
pub(crate) struct Block {
    pub(crate) title: Option<String>,
    pub(crate) rows: Vec<(String, Vec<Option<Cell>>)>,
}

/// The measurement at one place.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Cell {
    /// None if there is no good sample.
    pub(crate) figures: Option<Figures>,
    pub(crate) is_best: bool,
    /// The number of samples with faults that were left out. A value with such samples is never the best.
    pub(crate) left_out: usize,
    /// The signs that notes explain.
    pub(crate) signs: &'static str,
}

/// The median and the range of the samples, as text.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Figures {
    pub(crate) median: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) count: usize,
}

impl Cell {
    fn of(point: &Point, unit: Unit) -> Self {
        let figures = point.summary.map(|summary| {
            let (from, to) = summary.range();
            let median = unit.text(summary.median);
            Figures { median, from: unit.text(from), to: unit.text(to), count: summary.count }
        });
        Self { figures, is_best: false, left_out: point.left_out, signs: point.signs() }
    }

    fn text(&self, with_range: bool) -> String {
        let Some(figures) = &self.figures else { return format!("none{}", self.signs) };
        let mut text = if self.is_best { format!("{BEST} ") } else { String::new() };
        let _ = write!(text, "{}{}", figures.median, self.signs);
        // One sample has no range.
        if with_range && figures.count > 1 {
            let _ = write!(text, " ({} to {})", figures.from, figures.to);
        }
        text
    }
}

impl Grid {
    pub(crate) fn of(chart: &Chart<'_>) -> Self {
        let mut columns: Vec<String> = Vec::new();
        for series in chart.panels.iter().flat_map(|panel| &panel.series) {
            if !columns.contains(&series.label) {
                columns.push(series.label.clone());
            }
        }
        let blocks = chart.panels.iter().map(|panel| block(chart, panel, &columns)).collect();
        for column in columns.iter_mut().filter(|column| column.is_empty()) {
            *column = labels::of_field(&chart.figure.y);
        }
        let corner = match chart.kind {
            Kind::Percentiles => "percentile".to_owned(),
            Kind::Curve | Kind::Bars => labels::of_fields(&chart.figure.x),
        };
        let grid = Self { kind: chart.kind, corner, columns, blocks };
        let has_more_columns = grid.blocks.iter().all(|block| block.rows.len() < grid.columns.len());
        if has_more_columns && grid.columns.len() > COLUMNS_MAX { grid.turned() } else { grid }
    }

    /// With rows for columns.
    fn turned(self) -> Self {
        let mut columns: Vec<String> = Vec::new();
        for (name, _) in self.blocks.iter().flat_map(|block| &block.rows) {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        let turn = |block: &Block| {
            let cell = |name: &String, at: usize| {
                let (_, cells) = block.rows.iter().find(|(other, _)| other == name)?;
                cells[at].clone()
            };
            let row = |(at, label): (usize, &String)| {
                (label.clone(), columns.iter().map(|name| cell(name, at)).collect::<Vec<_>>())
            };
            let rows = self.columns.iter().enumerate().map(row);
            // Not all of them need be in each panel.
            let rows = rows.filter(|(_, cells)| cells.iter().any(Option::is_some)).collect();
            Block { title: block.title.clone(), rows }
        };
        let blocks = self.blocks.iter().map(turn).collect();
        Self { kind: self.kind, corner: self.corner, columns, blocks }
    }

    /// Tables for a terminal, with ranges if there is room, and with some of the rows of a long curve; and whether there are
    /// ranges.
    pub(crate) fn terminal(&self) -> (String, bool) {
        let mut text = String::new();
        let mut has_ranges = false;
        for block in &self.blocks {
            if let Some(title) = &block.title {
                let _ = writeln!(text, "{title}");
            }
            let table = self.block_table(block, true);
            let width = table.to_string().lines().next().map_or(0, |line| line.chars().count());
            let has_room = width <= TERMINAL_WIDTH_MAX;
            has_ranges |= has_room;
            let table = if has_room { table } else { self.block_table(block, false) };
            let _ = write!(text, "{table}");
            if self.is_dense() && block.rows.len() > TERMINAL_ROWS_MAX {
                let rows = labels::counted(block.rows.len(), "row", "rows");
                let _ = writeln!(text, "some of {rows}: the report has all");
            }
        }
        (text, has_ranges)
    }

    fn block_table(&self, block: &Block, with_range: bool) -> Table {
        let cell = |cell: &Option<Cell>| cell.as_ref().map_or_else(String::new, |cell| cell.text(with_range));
        let mut table = Table::new(std::iter::once(self.corner.clone()).chain(self.columns.iter().cloned()));
        let stride = if self.is_dense() { block.rows.len().div_ceil(TERMINAL_ROWS_MAX) } else { 1 };
        // The end of a curve is always shown.
        let is_shown = |index: usize| index.is_multiple_of(stride.max(1)) || index + 1 == block.rows.len();
        for (_, (name, cells)) in block.rows.iter().enumerate().filter(|(index, _)| is_shown(*index)) {
            table.push(std::iter::once(name.clone()).chain(cells.iter().map(cell)));
        }
        table
    }

    /// Whether the hidden rows can be guessed from the shown ones.
    fn is_dense(&self) -> bool {
        self.kind == Kind::Curve
    }

    /// Whether a cell has a sign.
    pub(crate) fn has_best(&self) -> bool {
        self.blocks
            .iter()
            .flat_map(|block| &block.rows)
            .any(|(_, cells)| cells.iter().flatten().any(|cell| cell.is_best))
    }
}

fn block(chart: &Chart<'_>, panel: &Panel, columns: &[String]) -> Block {
    let mut places: Vec<(f64, &str)> = Vec::new();
    let points = panel.series.iter().flat_map(|series| &series.points);
    for point in points.filter(|point| chart.kind != Kind::Percentiles || is_named(point.x)) {
        if !places.iter().any(|(x, _)| *x == point.x) {
            places.push((point.x, &point.text));
        }
    }
    places.sort_by(|one, other| one.0.total_cmp(&other.0));
    let point = |x: f64, label: &str| {
        let series = panel.series.iter().find(|series| series.label == label)?;
        series.points.iter().find(|point| point.x == x)
    };
    let mut rows = Vec::new();
    let mut medians = Vec::new();
    for (x, text) in places {
        let points: Vec<_> = columns.iter().map(|label| point(x, label)).collect();
        rows.push((text.to_owned(), points.iter().map(|point| Some(Cell::of((*point)?, chart.unit))).collect()));
        medians.push(points.iter().map(|point| Some((*point)?.summary?.median)).collect::<Vec<_>>());
    }
    let mut block = Block { title: panel.title.clone(), rows };
    if columns.len() > 1 {
        for ((_, cells), medians) in block.rows.iter_mut().zip(&medians) {
            mark(chart.figure.better, cells.iter_mut(), medians);
        }
    } else if chart.kind != Kind::Percentiles {
        let medians: Vec<_> = medians.into_iter().flatten().collect();
        mark(chart.figure.better, block.rows.iter_mut().flat_map(|(_, cells)| cells), &medians);
    }
    block
}

/// Marks the best of some cells that are without faults; all that are equally good, and none if there is nothing to compare.
fn mark<'c>(better: Better, cells: impl Iterator<Item = &'c mut Option<Cell>>, medians: &[Option<f64>]) {
    let mut compared: Vec<(&mut Cell, f64)> = cells
        .zip(medians)
        .filter_map(|(cell, median)| Some((cell.as_mut()?, (*median)?)))
        .filter(|(cell, _)| cell.left_out == 0)
        .collect();
    let known = compared.iter().map(|(_, median)| *median);
    let best = match better {
        Better::More => known.reduce(f64::max),
        Better::Less => known.reduce(f64::min),
        Better::None => return,
    };
    // Where all are equal, or there is only one, none is the best.
    if compared.iter().all(|(_, median)| Some(*median) == best) {
        return;
    }
    for (cell, median) in &mut compared {
        cell.is_best = Some(*median) == best;
    }
}
