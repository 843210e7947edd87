//! Turns records into a chart: panels of series of points, each with its median and range.

mod content;
mod groups;
mod notes;
mod percentiles;
mod ratio;
mod samples;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::figure::{Figure, Kind};
use crate::folder::Record;

use super::labels;
use super::theme::{SLOTS, Style};
use super::units::Unit;

use content::point;
pub(crate) use content::{Chart, Panel, Point, Series};

use groups::{Fields, Group, compare_all, distinct, groups, has_values, xs};
use notes::{Notes, off_scale};
pub(crate) use percentiles::{NAMED_PERCENTILES, is_named, nines, percentile_text};
use ratio::{bases, is_base_line};

/// Computes the chart of a figure.
pub(crate) fn chart<'a>(figure: &'a Figure, records: &[&Record]) -> Chart<'a> {
    let fields = Fields::of(figure);
    let matching: Vec<&Record> = records.iter().copied().filter(|record| has_values(record, &figure.only)).collect();
    let groups = groups(&fields, &matching);
    let is_numeric = groups.iter().all(|group| matches!(fields.split(&group.key).2, [Value::Number(_)] | []));
    let kind = if figure.kind == Kind::Curve && !is_numeric { Kind::Bars } else { figure.kind };
    let unit = if figure.ratio_to.is_empty() { Unit::of(&figure.y) } else { Unit::Ratio };
    let placed: usize = groups.iter().map(|group| group.records.len()).sum();
    let mut notes = Notes::new(matching.len() - placed);
    let bases = bases(figure, records);
    let mut panels: Vec<(Vec<Value>, Panel)> = Vec::new();
    let mut keys: Vec<Vec<Value>> = Vec::new();
    let xs = xs(&fields, &groups);
    for group in &groups {
        let (panel, lines, x) = fields.split(&group.key);
        notes.look_at(group);
        // The line of the base would be straight.
        if is_base_line(figure, &fields, lines) {
            continue;
        }
        if panels.last().is_none_or(|last| last.0 != panel) {
            panels.push((panel.to_vec(), Panel { title: panel_title(figure, panel), series: Vec::new() }));
            keys.clear();
        }
        let Some((_, last)) = panels.last_mut() else { continue };
        if keys.last().is_none_or(|last| last != lines) {
            keys.push(lines.to_vec());
            let label = line_label(&fields, lines);
            last.series.push(Series { label, style: style(&fields, &groups, lines), points: Vec::new() });
        }
        let Some(series) = last.series.last_mut() else { continue };
        if kind == Kind::Percentiles {
            series.points = percentiles::percentiles(figure, group, series.style);
        } else {
            let values = ratio::values(figure, &fields, group, &bases, &mut notes);
            let place = match (kind, x) {
                (Kind::Curve, [x]) => x.as_f64().unwrap_or(f64::NAN),
                _ => xs.iter().position(|other| other == x).unwrap_or(0) as f64,
            };
            let style = point_style(&fields, x, series.style);
            let mut point = point(place, x_text(&fields, x), &values, group, style);
            point.is_saturated |= ratio::is_base_saturated(figure, &fields, group, &bases);
            series.points.push(point);
        }
    }
    let panels: Vec<Panel> = panels.into_iter().map(|(_, panel)| panel).collect();
    notes.off_scale = off_scale(figure, &panels);
    Chart { figure, kind, unit, panels, notes: notes.sentences(figure) }
}

fn panel_title(figure: &Figure, panel: &[Value]) -> Option<String> {
    let text = labels::of_setting(figure.panels.as_deref()?, panel.first()?);
    Some(labels::capitalised(&text))
}

fn line_label(fields: &Fields<'_>, lines: &[Value]) -> String {
    let named = fields.line_names().iter().zip(lines).filter(|(_, value)| !value.is_null());
    let parts: Vec<_> = named.map(|(field, value)| labels::of_setting(field, value)).collect();
    if parts.is_empty() && !lines.is_empty() { "others".to_owned() } else { parts.join(", ") }
}

fn x_text(fields: &Fields<'_>, x: &[Value]) -> String {
    let named = fields.x_names().iter().zip(x).filter(|(_, value)| !value.is_null());
    let parts: Vec<_> = named.map(|(field, value)| labels::of_value(field, value)).collect();
    let are_numbers = x.len() > 1 && x.iter().all(Value::is_number);
    if are_numbers { format!("({})", parts.join(", ")) } else { parts.join(", ") }
}

/// Colours distinguish brokers, where there are several; otherwise the first distinguished field. Dashes distinguish
/// the rest.
fn style(fields: &Fields<'_>, groups: &[Group<'_>], lines: &[Value]) -> Style {
    let broker_at = fields.line_names().iter().position(|field| labels::is_of_broker(field));
    if let Some(broker) = broker_at.and_then(|at| lines[at].as_str()) {
        return Style {
            variant: place_of(fields, groups, lines, |at| Some(at) != broker_at),
            ..Style::of_broker(broker)
        };
    }
    if fields.x_names().iter().any(|field| labels::is_of_broker(field)) {
        return Style { slot: SLOTS, variant: place_of(fields, groups, lines, |_| true) };
    }
    if let (true, Some(broker)) = (lines.is_empty(), only_broker(groups)) {
        return Style::of_broker(broker);
    }
    let slot = place_of(fields, groups, lines, |at| at == 0) % SLOTS;
    Style { slot, variant: place_of(fields, groups, lines, |at| at > 0) }
}

/// Which of all its values some of the fields of a line have. Lines for which they have none come first.
fn place_of(fields: &Fields<'_>, groups: &[Group<'_>], lines: &[Value], is_one: impl Fn(usize) -> bool) -> usize {
    let part = |lines: &[Value]| {
        let some = lines.iter().enumerate().filter(|(at, _)| is_one(*at));
        some.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let mut parts = distinct(groups, |group| part(fields.split(&group.key).1));
    let names = fields.line_names().iter().enumerate().filter(|(at, _)| is_one(*at));
    let names: Vec<&str> = names.map(|(_, name)| *name).collect();
    parts.sort_by(|one, other| compare_all(&names, one, other));
    parts.iter().position(|other| *other == part(lines)).unwrap_or(0)
}

/// The broker of all samples, if it is one.
fn only_broker<'a>(groups: &[Group<'a>]) -> Option<&'a str> {
    let mut brokers = groups
        .iter()
        .flat_map(|group| &group.records)
        .map(|record| record.get(labels::BROKER).or_else(|| record.get(labels::HOST)));
    let first = brokers.next().flatten()?;
    if brokers.all(|broker| broker == Some(first)) { first.as_str() } else { None }
}

/// The look of the line, but for bars of which each is a broker's.
fn point_style(fields: &Fields<'_>, x: &[Value], line: Style) -> Style {
    let broker_at = fields.x_names().iter().position(|field| labels::is_of_broker(field));
    let broker = broker_at.and_then(|at| x[at].as_str()).filter(|_| line.slot == SLOTS);
    broker.map_or(line, |broker| Style { variant: line.variant, ..Style::of_broker(broker) })
}
