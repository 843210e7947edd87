//! The page: the circumstances, then for each plan its question, its plots and their values.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::folder::{self, PlanInfo, RECORDS_FILE, RUN_FILE, Record, Run};

use super::chart::{self, Chart};
use super::grid::{BEST, Block, Cell, Grid};
use super::labels::{self, counted};
use super::plot::{self, Form};
use super::svg::escape;
use super::theme;
use super::{TABLE_FILE, best_text, faults, id, measured, of_plan, plot_file};

/// Tables with more rows are folded up.
const OPEN_ROWS_MAX: usize = 12;
/// Faults are grouped by these settings.
const TOLD_SETTINGS: [&str; 9] =
    [labels::BROKER, "mode", "pattern", "senders", "receivers", "size_bytes", "qos", "workers", "load_percent"];

/// The whole page. It needs nothing beside itself.
#[must_use]
pub(crate) fn page(run: &Run, records: &[Record]) -> String {
    let title = match run.plans.as_slice() {
        [plan] => plan.title.clone(),
        _ => "Results".to_owned(),
    };
    let mut html = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let _ = writeln!(html, "<title>{}</title>", escape(&title));
    let _ = writeln!(html, "<style>\n{}{}</style>\n</head>\n<body>", include_str!("page.css"), theme::style());
    let _ = writeln!(html, "<header>\n<h1>{}</h1>", escape(&title));
    let _ = writeln!(html, "<p class=\"muted\">{}</p>\n</header>", escape(&summary(run, records)));
    contents(&mut html, run);
    html.push_str("<main>\n");
    where_it_ran(&mut html, run, records);
    for plan in &run.plans {
        section(&mut html, plan, &of_plan(records, &plan.name));
    }
    html.push_str("</main>\n");
    footer(&mut html);
    html.push_str("</body>\n</html>\n");
    html
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
    let parts = |time: &str| Some((time.get(..10)?.to_owned(), time.get(11..16)?.to_owned()));
    match (parts(from), parts(to)) {
        (Some(from), Some(to)) if from == to => format!("{} {} UTC", from.0, from.1),
        (Some(from), Some(to)) if from.0 == to.0 => format!("{} {} to {} UTC", from.0, from.1, to.1),
        (Some(from), Some(to)) => format!("{} {} to {} {} UTC", from.0, from.1, to.0, to.1),
        _ => [from, to].join(" ").trim().to_owned(),
    }
}

fn contents(html: &mut String, run: &Run) {
    html.push_str("<nav aria-label=\"Contents\">\n<ul>\n<li><a href=\"#where\">What was run where</a></li>\n");
    for plan in &run.plans {
        let _ = write!(html, "<li><a href=\"#{}\">{}</a>", plan_id(plan), escape(&plan.title));
        if plan.figures.len() > 1 {
            html.push_str("\n<ul>\n");
            for figure in &plan.figures {
                let (id, title) = (figure_id(plan, &figure.name), escape(&figure.title));
                let _ = writeln!(html, "<li><a href=\"#{id}\">{title}</a></li>");
            }
            html.push_str("</ul>\n");
        }
        html.push_str("</li>\n");
    }
    html.push_str("</ul>\n</nav>\n");
}

fn plan_id(plan: &PlanInfo) -> String {
    format!("plan-{}", escape(&plan.name))
}

fn figure_id(plan: &PlanInfo, figure: &str) -> String {
    format!("figure-{}", escape(&id(&plan.name, figure)))
}

/// The versions of a plan that differ from the folder's latest ones.
fn other_versions(html: &mut String, run: &Run, plan: &PlanInfo) {
    let others: Vec<_> = plan.versions.iter().filter(|(name, value)| run.versions.get(*name) != Some(*value)).collect();
    if others.is_empty() {
        return;
    }
    let _ = writeln!(html, "<h3>Other versions in the plan {}</h3>\n<dl>", escape(&plan.name));
    for (name, value) in others {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    html.push_str("</dl>\n");
}

fn where_it_ran(html: &mut String, run: &Run, records: &[Record]) {
    html.push_str("<section id=\"where\">\n<h2>What was run where</h2>\n");
    for (title, facts) in [("Machine", &run.machine), ("Versions", &run.versions)] {
        if facts.is_empty() {
            continue;
        }
        let _ = writeln!(html, "<h3>{title}</h3>\n<dl>");
        for (name, value) in facts {
            let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
        }
        html.push_str("</dl>\n");
    }
    for plan in &run.plans {
        other_versions(html, run, plan);
    }
    html.push_str("<h3>Plans</h3>\n");
    open_scroll(html, "Plans");
    html.push_str(
        "<table>\n<thead><tr><th>plan</th><th class=\"text\">command</th><th>samples</th><th>with faults</th>",
    );
    html.push_str(
        "<th class=\"text\">when</th><th>processors busy before</th><th>complete</th></tr></thead>\n<tbody>\n",
    );
    for plan in &run.plans {
        let samples = of_plan(records, &plan.name);
        let faulty = samples.iter().filter(|record| faults::is_faulty(record)).count();
        let load = plan.busy_processors.map_or_else(|| "unknown".to_owned(), |busy| format!("{busy:.2}"));
        let (name, command) = (escape(&plan.name), escape(&plan.command));
        let when = escape(&period(&plan.started, &plan.ended));
        let complete = if plan.is_complete { "yes" } else { "no" };
        let _ = write!(html, "<tr><th><a href=\"#{}\">{name}</a></th>", plan_id(plan));
        let _ = write!(html, "<td class=\"text long\"><code>{command}</code></td><td>{}</td>", samples.len());
        let _ =
            writeln!(html, "<td>{faulty}</td><td class=\"text\">{when}</td><td>{load}</td><td>{complete}</td></tr>");
    }
    html.push_str(
        "</tbody>\n</table>\n</div>\n<p class=\"muted\">Processors busy before: with whatever else, just before the plan ",
    );
    html.push_str("began.</p>\n</section>\n");
}

/// A box that scrolls by itself where it is wider than the page, also by keyboard.
fn open_scroll(html: &mut String, label: &str) {
    let _ = writeln!(html, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">", escape(label));
}

fn section(html: &mut String, plan: &PlanInfo, records: &[&Record]) {
    let _ = writeln!(html, "<section id=\"{}\">\n<h2>{}</h2>", plan_id(plan), escape(&plan.title));
    for paragraph in plan.about.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let _ = writeln!(html, "<p>{}</p>", escape(paragraph.trim()));
    }
    if !plan.is_complete {
        html.push_str("<p class=\"warning\">Not all samples of this plan were taken.</p>\n");
    }
    for figure in &plan.figures {
        let chart = chart::chart(figure, records);
        draw_figure(html, plan, &chart);
    }
    tell_faults(html, records);
    tell_saturation(html, records);
    html.push_str("</section>\n");
}

fn draw_figure(html: &mut String, plan: &PlanInfo, chart: &Chart<'_>) {
    let figure = chart.figure;
    let id = figure_id(plan, &figure.name);
    let _ = writeln!(html, "<figure id=\"{id}\">\n<h3>{}</h3>", escape(&figure.title));
    if let Some(note) = &figure.note {
        let _ = writeln!(html, "<p>{}</p>", escape(note));
    }
    if let Some(drawing) = plot::draw(chart, &format!("{id}-plot"), Form::Inline) {
        open_scroll(html, &format!("Plot: {}", figure.title));
        html.push_str(&drawing);
        html.push_str("</div>\n");
        let file = escape(&plot_file(&plan.name, &figure.name));
        let samples = chart.samples_text(plot::range_name(chart));
        let told: Vec<&str> = [samples.as_str()].into_iter().chain(chart.notes.iter().map(String::as_str)).collect();
        let _ = write!(html, "<figcaption>{} ", escape(&told.join(" ")));
        let _ = writeln!(html, "<a href=\"{file}\">{file}</a></figcaption>");
    } else {
        let _ = writeln!(html, "<p class=\"warning\">Nothing to draw. {}</p>", escape(&chart.notes.join(" ")));
    }
    if chart.points().next().is_some() {
        table(html, chart);
    }
    html.push_str("</figure>\n");
}

fn table(html: &mut String, chart: &Chart<'_>) {
    let grid = Grid::of(chart);
    let rows: usize = grid.blocks.iter().map(|block| block.rows.len()).sum();
    let open = if rows <= OPEN_ROWS_MAX { " open" } else { "" };
    let _ = writeln!(html, "<details{open}>\n<summary>Table of {}</summary>", escape(&measured(chart)));
    open_scroll(html, &format!("Table: {}", chart.figure.title));
    let _ = write!(html, "<table>\n<thead><tr><th scope=\"col\">{}</th>", escape(&grid.corner));
    for column in &grid.columns {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(column));
    }
    html.push_str("</tr></thead>\n");
    for block in &grid.blocks {
        table_block(html, block, grid.columns.len());
    }
    html.push_str("</table>\n</div>\n<p class=\"muted\">");
    html.push_str(&chart.samples_text("below them"));
    if grid.has_best() {
        let _ = write!(html, " {BEST} {}.", best_text(chart));
    }
    html.push_str("</p>\n</details>\n");
}

fn table_block(html: &mut String, block: &Block, columns: usize) {
    html.push_str("<tbody>\n");
    if let Some(title) = &block.title {
        let _ = writeln!(
            html,
            "<tr><th class=\"panel\" scope=\"rowgroup\" colspan=\"{}\"><span>{}</span></th></tr>",
            columns + 1,
            escape(title)
        );
    }
    for (name, cells) in &block.rows {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(name));
        for cell in cells {
            match cell {
                Some(cell) => table_cell(html, cell),
                None => html.push_str("<td></td>"),
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n");
}

fn table_cell(html: &mut String, cell: &Cell) {
    let signs = cell.signs;
    let Some(figures) = &cell.figures else {
        let _ = write!(html, "<td>none{signs}</td>");
        return;
    };
    let (class, mark) = if cell.is_best { (" class=\"best\"", BEST) } else { ("", "") };
    let space = if mark.is_empty() { "" } else { " " };
    let (median, from, to) = (escape(&figures.median), escape(&figures.from), escape(&figures.to));
    let hint = counted(figures.count, "sample", "samples");
    let _ = write!(html, "<td{class} title=\"{hint}\">{mark}{space}{median}{signs}");
    // One sample has no range.
    if figures.count > 1 {
        let _ = write!(html, "<small>{from} to {to}</small>");
    }
    html.push_str("</td>");
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

fn tell_faults(html: &mut String, records: &[&Record]) {
    let faulty: Vec<_> = records.iter().copied().filter(|record| faults::is_faulty(record)).collect();
    if faulty.is_empty() {
        return;
    }
    let told = counted(faulty.len(), "sample", "samples");
    let _ = writeln!(
        html,
        "<h3>Faults</h3>\n<p>† {told} of {} failed or had messages go astray. They are in no median.</p>",
        records.len()
    );
    html.push_str("<ul>\n");
    for (settings, group) in by_settings(faulty.into_iter(), records) {
        let samples = counted(group.len(), "sample", "samples");
        let what = faults::told(&group);
        let _ = writeln!(html, "<li>{}: {samples}: {}</li>", escape(&settings), escape(&what));
    }
    html.push_str("</ul>\n");
}

fn tell_saturation(html: &mut String, records: &[&Record]) {
    let saturated: Vec<_> = records.iter().copied().filter(|record| folder::is_saturated(record)).collect();
    if saturated.is_empty() {
        return;
    }
    let told = counted(saturated.len(), "sample", "samples");
    let _ = writeln!(
        html,
        "<h3>Where the load generator was the limit</h3>\n<p>‡ In {told} of {} the generator could do no more: these figures \
         say what it can do, and the broker may do better.</p>\n<ul>",
        records.len()
    );
    for (settings, group) in by_settings(saturated.into_iter(), records) {
        let _ = writeln!(html, "<li>{}: {}</li>", escape(&settings), counted(group.len(), "sample", "samples"));
    }
    html.push_str("</ul>\n");
}

fn footer(html: &mut String) {
    html.push_str(
        "<footer>\n<h2>How to read this</h2>\n<p>Lines and bars show medians over repetitions; error bars and bands reach from the first \
         to the third quartile, interpolated linearly between the two nearest samples (type 7 of Hyndman and Fan); of fewer \
         than five samples they reach from the least to the greatest. A ratio to another broker or host is taken between two \
         samples of the same repetition, and then the median of the ratios is shown; a ratio to another place of the same curve \
         is to the median of all its samples. Samples that failed, or in which a message was lost, doubled, reordered or corrupted, are in no median: a hollow \
         marker or † says that some were left out. A broker has the same colour and marker in all plots.</p>\n",
    );
    let _ = writeln!(
        html,
        "<p>Files: <a href=\"{RECORDS_FILE}\">{RECORDS_FILE}</a> has every sample with all its settings, \
         <a href=\"{TABLE_FILE}\">{TABLE_FILE}</a> the same as a table, <a href=\"{RUN_FILE}\">{RUN_FILE}</a> what they depend on.</p>\n</footer>"
    );
}
