//! The page: the circumstances, then for each plan its question, its plots and their values.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use crate::folder::{self, PlanInfo, RECORDS_FILE, RUN_FILE, Record, Run, of_plan};
use crate::time;

use super::captions::{best_text, measured};
use super::chart::{self, Chart};
use super::faults;
use super::grid::{BEST, Block, Cell, Grid};
use super::labels::{self, counted};
use super::names::{TABLE_FILE, id, plot_file};
use super::plot::{self, Form};
use super::theme;

/// Tables with more rows are folded up.
const OPEN_ROWS_MAX: usize = 12;
/// Faults are grouped by these settings.
const TOLD_SETTINGS: [&str; 9] =
    [labels::BROKER, "mode", "pattern", "senders", "receivers", "size_bytes", "qos", "workers", "load_percent"];

/// The whole page. It needs nothing beside itself.
#[must_use]
pub(crate) fn page(run: &Run, records: &[Record]) -> String {
    let title = match run.plans.as_slice() {
        [plan] => plan.title.as_str(),
        _ => "Results",
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(include_str!("page.css"))) (PreEscaped(theme::style())) }
            }
            body {
                header {
                    h1 { (title) }
                    p.muted { (summary(run, records)) }
                }
                (contents(run))
                main {
                    (circumstances(run, records))
                    @for plan in &run.plans {
                        (section(plan, &of_plan(records, &plan.name)))
                    }
                }
                (footer())
            }
        }
    };
    page.into_string() + "\n"
}

/// How much was measured, and when.
fn summary(run: &Run, records: &[Record]) -> String {
    let dates = run.plans.iter().flat_map(|plan| [plan.started.as_str(), plan.ended.as_str()]);
    let dates: Vec<_> = dates.filter(|date| !date.is_empty()).collect();
    let when = match (dates.iter().min(), dates.iter().max()) {
        (Some(first), Some(last)) => format!(", {}", period(first, last)),
        _ => String::new(),
    };
    let plans = counted(run.plans.len(), "plan", "plans");
    format!("{} of {plans}{when}", counted(records.len(), "sample", "samples"))
}

/// From when to when, by universal time: `2026-01-31 12:00 to 12:10 UTC`.
fn period(from: &str, to: &str) -> String {
    // A text that is no time is shown as it is.
    match (time::date_and_minute(from), time::date_and_minute(to)) {
        (Some(from), Some(to)) if from == to => format!("{} {} UTC", from.0, from.1),
        (Some(from), Some(to)) if from.0 == to.0 => format!("{} {} to {} UTC", from.0, from.1, to.1),
        (Some(from), Some(to)) => format!("{} {} to {} {} UTC", from.0, from.1, to.0, to.1),
        _ => [from, to].join(" ").trim().to_owned(),
    }
}

fn contents(run: &Run) -> Markup {
    html! {
        nav aria-label="Contents" {
            ul {
                li { a href="#where" { "What was run where" } }
                @for plan in &run.plans {
                    li {
                        a href=(format!("#{}", plan_id(plan))) { (plan.title) }
                        @if plan.figures.len() > 1 {
                            ul {
                                @for figure in &plan.figures {
                                    li { a href=(format!("#{}", figure_id(plan, &figure.name))) { (figure.title) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn plan_id(plan: &PlanInfo) -> String {
    format!("plan-{}", plan.name)
}

fn figure_id(plan: &PlanInfo, figure: &str) -> String {
    format!("figure-{}", id(&plan.name, figure))
}

/// Names with their values.
fn definitions<'a>(facts: impl Iterator<Item = (&'a String, &'a String)>) -> Markup {
    html! {
        dl {
            @for (name, value) in facts {
                dt { (name) }
                dd { (value) }
            }
        }
    }
}

fn circumstances(run: &Run, records: &[Record]) -> Markup {
    html! {
        section #where {
            h2 { "What was run where" }
            @for (title, facts) in [("Machine", &run.machine), ("Versions", &run.versions)] {
                @if !facts.is_empty() {
                    h3 { (title) }
                    (definitions(facts.iter()))
                }
            }
            @for plan in &run.plans {
                (other_versions(run, plan))
            }
            h3 { "Plans" }
            (scrolling("Plans", plan_table(run, records)))
            p.muted { "Processors busy before: by anything else, just before the plan began." }
        }
    }
}

/// The versions of a plan that differ from the folder's latest ones.
fn other_versions(run: &Run, plan: &PlanInfo) -> Markup {
    let others: Vec<_> = plan.versions.iter().filter(|(name, value)| run.versions.get(*name) != Some(*value)).collect();
    html! {
        @if !others.is_empty() {
            h3 { "Other versions in the plan " (plan.name) }
            (definitions(others.into_iter()))
        }
    }
}

fn plan_table(run: &Run, records: &[Record]) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th { "plan" }
                    th.text { "command" }
                    th { "samples" }
                    th { "with faults" }
                    th.text { "when" }
                    th { "processors busy before" }
                    th { "complete" }
                }
            }
            tbody {
                @for plan in &run.plans {
                    @let samples = of_plan(records, &plan.name);
                    tr {
                        th { a href=(format!("#{}", plan_id(plan))) { (plan.name) } }
                        td.text.long { code { (plan.command) } }
                        td { (samples.len()) }
                        td { (samples.iter().filter(|record| faults::is_faulty(record)).count()) }
                        td.text { (period(&plan.started, &plan.ended)) }
                        td { (plan.busy_processors.map_or_else(|| "unknown".to_owned(), |busy| format!("{busy:.2}"))) }
                        td { (if plan.is_complete { "yes" } else { "no" }) }
                    }
                }
            }
        }
    }
}

/// A box that scrolls by itself where it is wider than the page, also by keyboard.
fn scrolling(label: &str, content: Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) { (content) }
    }
}

fn section(plan: &PlanInfo, records: &[&Record]) -> Markup {
    html! {
        section id=(plan_id(plan)) {
            h2 { (plan.title) }
            @for paragraph in plan.about.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
                p { (paragraph) }
            }
            @if !plan.is_complete {
                p.warning { "Not all samples of this plan were taken." }
            }
            @for figure in &plan.figures {
                (figure_of(plan, &chart::chart(figure, records)))
            }
            (fault_list(records))
            (saturation_list(records))
        }
    }
}

fn figure_of(plan: &PlanInfo, chart: &Chart<'_>) -> Markup {
    let figure = chart.figure;
    let id = figure_id(plan, &figure.name);
    let drawing = plot::draw(chart, &format!("{id}-plot"), Form::Inline);
    html! {
        figure id=(id) {
            h3 { (figure.title) }
            @if let Some(note) = &figure.note {
                p { (note) }
            }
            @if let Some(drawing) = drawing {
                @let file = plot_file(&plan.name, &figure.name);
                @let samples = chart.samples_text(plot::range_name(chart));
                (scrolling(&format!("Plot: {}", figure.title), PreEscaped(drawing)))
                figcaption {
                    (samples) " "
                    @for note in &chart.notes {
                        (note) " "
                    }
                    a href=(file) { (file) }
                }
            } @else {
                p.warning { "Nothing to draw. " (chart.notes.join(" ")) }
            }
            @if chart.points().next().is_some() {
                (value_table(chart))
            }
        }
    }
}

fn value_table(chart: &Chart<'_>) -> Markup {
    let grid = Grid::of(chart);
    let rows: usize = grid.blocks.iter().map(|block| block.rows.len()).sum();
    let table = html! {
        table {
            thead {
                tr {
                    th scope="col" { (grid.corner) }
                    @for column in &grid.columns {
                        th scope="col" { (column) }
                    }
                }
            }
            @for block in &grid.blocks {
                (table_block(block, grid.columns.len()))
            }
        }
    };
    html! {
        details open[rows <= OPEN_ROWS_MAX] {
            summary { "Table of " (measured(chart)) }
            (scrolling(&format!("Table: {}", chart.figure.title), table))
            p.muted {
                (chart.samples_text("below them"))
                @if grid.has_best() {
                    " " (BEST) " " (best_text(chart)) "."
                }
            }
        }
    }
}

fn table_block(block: &Block, columns: usize) -> Markup {
    html! {
        tbody {
            @if let Some(title) = &block.title {
                tr { th.panel scope="rowgroup" colspan=(columns + 1) { span { (title) } } }
            }
            @for (name, cells) in &block.rows {
                tr {
                    th scope="row" { (name) }
                    @for cell in cells {
                        @match cell {
                            Some(cell) => { (table_cell(cell)) }
                            None => { td {} }
                        }
                    }
                }
            }
        }
    }
}

fn table_cell(cell: &Cell) -> Markup {
    let signs = &cell.signs;
    let Some(figures) = &cell.figures else {
        return html! { td { "none" (signs) } };
    };
    html! {
        td class=[cell.is_best.then_some("best")] title=(counted(figures.count, "sample", "samples")) {
            @if cell.is_best {
                (BEST) " "
            }
            (figures.median) (signs)
            // One sample has no range.
            @if figures.count > 1 {
                small { (figures.from) " to " (figures.to) }
            }
        }
    }
}

/// Records grouped by the settings that differ, in words.
fn by_settings<'a>(records: impl Iterator<Item = &'a Record>, all: &[&Record]) -> BTreeMap<String, Vec<&'a Record>> {
    // A setting that is equal in all samples of a plan is not shown.
    let differs = |field: &&str| all.iter().any(|record| record.get(*field) != all[0].get(*field));
    let fields: Vec<_> = TOLD_SETTINGS.into_iter().filter(differs).collect();
    let mut groups: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    for record in records {
        let values = fields.iter().filter_map(|field| Some((field, record.get(*field)?)));
        let parts: Vec<_> = values
            .filter(|(_, value)| *value != &Value::Null)
            .map(|(field, value)| labels::of_setting(field, value))
            .collect();
        let told = if parts.is_empty() { "all settings".to_owned() } else { parts.join(", ") };
        groups.entry(told).or_default().push(record);
    }
    groups
}

fn fault_list(records: &[&Record]) -> Markup {
    let faulty: Vec<_> = records.iter().copied().filter(|record| faults::is_faulty(record)).collect();
    html! {
        @if !faulty.is_empty() {
            h3 { "Faults" }
            p {
                "† " (counted(faulty.len(), "sample", "samples")) " of " (records.len())
                " failed or had messages go astray. They are in no median."
            }
            ul {
                @for (settings, group) in by_settings(faulty.iter().copied(), records) {
                    li { (settings) ": " (counted(group.len(), "sample", "samples")) ": " (faults::told(&group)) }
                }
            }
        }
    }
}

fn saturation_list(records: &[&Record]) -> Markup {
    let saturated: Vec<_> = records.iter().copied().filter(|record| folder::is_saturated(record)).collect();
    html! {
        @if !saturated.is_empty() {
            h3 { "Where the load generator was the limit" }
            p {
                "‡ In " (counted(saturated.len(), "sample", "samples")) " of " (records.len())
                " the generator could do no more: these figures show its own limit, and the broker may do better."
            }
            ul {
                @for (settings, group) in by_settings(saturated.iter().copied(), records) {
                    li { (settings) ": " (counted(group.len(), "sample", "samples")) }
                }
            }
        }
    }
}

fn footer() -> Markup {
    html! {
        footer {
            h2 { "How to read this" }
            p {
                "Lines and bars show medians over repetitions; error bars and bands reach from the first to the third quartile, \
                 interpolated linearly between the two nearest samples (type 7 of Hyndman and Fan); of fewer than five samples \
                 they reach from the least to the greatest. A ratio to another broker or host is taken between two samples of the \
                 same repetition, and then the median of the ratios is shown; a ratio to another place of the same curve is to the \
                 median of all its samples. Samples that failed, or in which a message was lost, doubled, reordered or corrupted, \
                 are in no median: a hollow marker or † says that some were left out. A broker has the same colour and marker in \
                 all plots."
            }
            p {
                "Files: " a href=(RECORDS_FILE) { (RECORDS_FILE) } " has every sample with all its settings, "
                a href=(TABLE_FILE) { (TABLE_FILE) } " the same as a table, "
                a href=(RUN_FILE) { (RUN_FILE) } " the machine, the versions and the plans."
            }
        }
    }
}
