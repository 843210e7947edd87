//! From records to what a figure draws: panels of series of points, each with its median and quartiles.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::figure::{Figure, Kind};
use crate::folder::{PLAN, REPETITION, Record};

use super::look::{Look, SLOTS};
use super::statistics::{Summary, between, median};
use super::units::Unit;
use super::{faults, words};

/// The percentiles that tables have and axes name.
pub(crate) const NAMED_PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];
/// How many points a distribution is drawn with, about: samples may each have other percentiles.
const PLACES_MAX: usize = 80;

/// What is drawn of a figure.
#[derive(Debug)]
pub(crate) struct Chart<'a> {
    pub(crate) figure: &'a Figure,
    /// How it is drawn: bars where a curve's horizontal axis is not of numbers.
    pub(crate) kind: Kind,
    /// The unit along the vertical axis.
    pub(crate) unit: Unit,
    pub(crate) panels: Vec<Panel>,
    /// What a reader has to know of the samples, in sentences.
    pub(crate) notes: Vec<String>,
}

/// One plot of perhaps several with the same axes.
#[derive(PartialEq, Debug)]
pub(crate) struct Panel {
    /// What tells it from the others.
    pub(crate) title: Option<String>,
    pub(crate) series: Vec<Series>,
}

/// A line, or the bars with one colour.
#[derive(PartialEq, Debug)]
pub(crate) struct Series {
    /// Empty if there is only one.
    pub(crate) label: String,
    pub(crate) look: Look,
    /// In the order of the horizontal axis.
    pub(crate) points: Vec<Point>,
}

/// What was measured at one place.
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
    pub(crate) look: Look,
}

impl Chart<'_> {
    /// The points of all panels.
    pub(crate) fn points(&self) -> impl Iterator<Item = &Point> {
        self.panels.iter().flat_map(|panel| &panel.series).flat_map(|series| &series.points)
    }
}

/// Samples with the same values of the fields that a figure tells apart.
struct Group<'a> {
    /// The panel's value, those of the lines, those along the horizontal axis.
    key: Vec<Value>,
    records: Vec<&'a Record>,
}

/// The fields that a figure tells apart, in the order in which what it shows is sorted.
struct Fields<'a> {
    all: Vec<&'a str>,
    panels: usize,
    lines: usize,
}

impl<'a> Fields<'a> {
    fn of(figure: &'a Figure) -> Self {
        let x: Vec<&str> = match figure.kind {
            Kind::Percentiles => Vec::new(),
            Kind::Curve | Kind::Bars => figure.x.split(',').map(str::trim).collect(),
        };
        let panels = figure.panels.as_slice().iter().map(String::as_str);
        let lines = figure.lines.iter().map(String::as_str);
        Self {
            all: panels.chain(lines).chain(x).collect(),
            panels: figure.panels.iter().len(),
            lines: figure.lines.len(),
        }
    }

    fn key(&self, record: &Record) -> Vec<Value> {
        self.all.iter().map(|field| record.get(*field).cloned().unwrap_or(Value::Null)).collect()
    }

    fn compare(&self, one: &[Value], other: &[Value]) -> Ordering {
        compare_all(&self.all, one, other)
    }

    /// The parts of a key: the panel's value, those of the lines, those along the horizontal axis.
    fn split<'k>(&self, key: &'k [Value]) -> (&'k [Value], &'k [Value], &'k [Value]) {
        let (panel, rest) = key.split_at(self.panels);
        let (lines, x) = rest.split_at(self.lines);
        (panel, lines, x)
    }

    fn line_names(&self) -> &[&'a str] {
        &self.all[self.panels..self.panels + self.lines]
    }

    fn x_names(&self) -> &[&'a str] {
        &self.all[self.panels + self.lines..]
    }
}

/// By the first value that differs.
fn compare_all(fields: &[&str], one: &[Value], other: &[Value]) -> Ordering {
    let parts = fields.iter().zip(one.iter().zip(other));
    let orders = parts.map(|(field, (one, other))| compare(field, one, other));
    orders.fold(Ordering::Equal, Ordering::then)
}

/// Brokers in their own order, numbers by size, what is not there first.
fn compare(field: &str, one: &Value, other: &Value) -> Ordering {
    let place = |value: &Value| {
        let broker = if field == words::BROKER { value.as_str() } else { None };
        broker.map(|name| words::BROKERS.iter().position(|(known, _)| *known == name).unwrap_or(usize::MAX))
    };
    let kind = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(false) => 1,
        Value::Bool(true) => 2,
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::Array(_) | Value::Object(_) => 5,
    };
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    place(one)
        .cmp(&place(other))
        .then(kind(one).cmp(&kind(other)))
        .then(number(one).total_cmp(&number(other)))
        .then_with(|| one.as_str().cmp(&other.as_str()))
}

/// Works out what a figure draws of these records.
pub(crate) fn chart<'a>(figure: &'a Figure, records: &[&Record]) -> Chart<'a> {
    let fields = Fields::of(figure);
    let matching: Vec<&Record> = records.iter().copied().filter(|record| has_values(record, &figure.only)).collect();
    let groups = groups(&fields, &matching);
    let is_numeric = groups.iter().all(|group| matches!(fields.split(&group.key).2, [Value::Number(_)] | []));
    let kind = if figure.kind == Kind::Curve && !is_numeric { Kind::Bars } else { figure.kind };
    let unit = if figure.ratio_to.is_empty() { Unit::of(&figure.y) } else { Unit::Ratio };
    let placed: usize = groups.iter().map(|group| group.records.len()).sum();
    let mut notes = Notes { without_x: matching.len() - placed, ..Notes::default() };
    let bases = bases(figure, records);
    let mut panels: Vec<(Vec<Value>, Panel)> = Vec::new();
    let mut keys: Vec<Vec<Value>> = Vec::new();
    let xs = xs(&fields, &groups);
    for group in &groups {
        let (panel, lines, x) = fields.split(&group.key);
        notes.look_at(group);
        // The line of what all others are compared with would be straight.
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
            last.series.push(Series { label, look: look(&fields, &groups, lines), points: Vec::new() });
        }
        let Some(series) = last.series.last_mut() else { continue };
        if kind == Kind::Percentiles {
            series.points = percentiles(figure, group, series.look);
        } else {
            let values = values(figure, &fields, group, &bases, &mut notes);
            let place = match (kind, x) {
                (Kind::Curve, [x]) => x.as_f64().unwrap_or(f64::NAN),
                _ => xs.iter().position(|other| other == x).unwrap_or(0) as f64,
            };
            let look = point_look(&fields, x, series.look);
            series.points.push(point(place, x_text(&fields, x), &values, group, look));
        }
    }
    let panels: Vec<Panel> = panels.into_iter().map(|(_, panel)| panel).collect();
    notes.off_scale = off_scale(figure, &panels);
    Chart { figure, kind, unit, panels, notes: notes.sentences(figure) }
}

/// Whether a record has one of each field's values.
fn has_values(record: &Record, only: &BTreeMap<String, Value>) -> bool {
    only.iter().all(|(field, wanted)| {
        let value = record.get(field).unwrap_or(&Value::Null);
        match wanted {
            Value::Array(any) => any.iter().any(|wanted| is_same(value, wanted)),
            wanted => is_same(value, wanted),
        }
    })
}

/// Whether two values are the same; 1 and 1.0 are.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Sorted by their keys; records without a place on the horizontal axis are in none.
fn groups<'a>(fields: &Fields<'_>, records: &[&'a Record]) -> Vec<Group<'a>> {
    let mut keyed: Vec<(Vec<Value>, &Record)> = records.iter().map(|record| (fields.key(record), *record)).collect();
    keyed.retain(|(key, _)| {
        let x = fields.split(key).2;
        x.is_empty() || x.iter().any(|value| !value.is_null())
    });
    keyed.sort_by(|one, other| fields.compare(&one.0, &other.0));
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (key, record) in keyed {
        match groups.last_mut() {
            Some(last) if fields.compare(&last.key, &key) == Ordering::Equal => last.records.push(record),
            _ => groups.push(Group { key, records: vec![record] }),
        }
    }
    groups
}

/// All values of a part of the groups' keys, in the order in which they are sorted.
fn distinct(groups: &[Group<'_>], part: impl Fn(&Group<'_>) -> Vec<Value>) -> Vec<Vec<Value>> {
    let mut values: Vec<Vec<Value>> = Vec::new();
    for value in groups.iter().map(part) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// All places along the horizontal axis, in their order.
fn xs(fields: &Fields<'_>, groups: &[Group<'_>]) -> Vec<Vec<Value>> {
    let mut xs = distinct(groups, |group| fields.split(&group.key).2.to_vec());
    xs.sort_by(|one, other| compare_all(fields.x_names(), one, other));
    xs
}

fn panel_title(figure: &Figure, panel: &[Value]) -> Option<String> {
    let text = words::of_setting(figure.panels.as_deref()?, panel.first()?);
    Some(words::capitalised(&text))
}

fn line_label(fields: &Fields<'_>, lines: &[Value]) -> String {
    let named = fields.line_names().iter().zip(lines).filter(|(_, value)| !value.is_null());
    let parts: Vec<_> = named.map(|(field, value)| words::of_setting(field, value)).collect();
    if parts.is_empty() && !lines.is_empty() { "others".to_owned() } else { parts.join(", ") }
}

fn x_text(fields: &Fields<'_>, x: &[Value]) -> String {
    let named = fields.x_names().iter().zip(x).filter(|(_, value)| !value.is_null());
    let parts: Vec<_> = named.map(|(field, value)| words::of_value(field, value)).collect();
    let are_numbers = x.len() > 1 && x.iter().all(Value::is_number);
    if are_numbers { format!("({})", parts.join(", ")) } else { parts.join(", ") }
}

/// Colours are for brokers, wherever they are told apart; else for what is told apart first. The rest is told by dashes.
fn look(fields: &Fields<'_>, groups: &[Group<'_>], lines: &[Value]) -> Look {
    let broker_at = fields.line_names().iter().position(|field| *field == words::BROKER);
    if let Some(broker) = broker_at.and_then(|at| lines[at].as_str()) {
        return Look {
            variant: place_of(fields, groups, lines, |at| Some(at) != broker_at),
            ..Look::of_broker(broker)
        };
    }
    if fields.x_names().contains(&words::BROKER) {
        return Look { slot: SLOTS, variant: place_of(fields, groups, lines, |_| true) };
    }
    if let (true, Some(broker)) = (lines.is_empty(), only_broker(groups)) {
        return Look::of_broker(broker);
    }
    let slot = place_of(fields, groups, lines, |at| at == 0) % SLOTS;
    Look { slot, variant: place_of(fields, groups, lines, |at| at > 0) }
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
    let mut brokers = groups.iter().flat_map(|group| &group.records).map(|record| record.get(words::BROKER));
    let first = brokers.next().flatten()?;
    if brokers.all(|broker| broker == Some(first)) { first.as_str() } else { None }
}

/// The look of the line, but for bars of which each is a broker's.
fn point_look(fields: &Fields<'_>, x: &[Value], line: Look) -> Look {
    let broker_at = fields.x_names().iter().position(|field| *field == words::BROKER);
    let broker = broker_at.and_then(|at| x[at].as_str()).filter(|_| line.slot == SLOTS);
    broker.map_or(line, |broker| Look { variant: line.variant, ..Look::of_broker(broker) })
}

fn point(x: f64, text: String, values: &[f64], group: &Group<'_>, look: Look) -> Point {
    Point {
        x,
        text,
        summary: Summary::of(values),
        left_out: group.records.iter().filter(|record| faults::is_faulty(record)).count(),
        is_saturated: group.records.iter().any(|record| faults::is_saturated(record)),
        look,
    }
}

/// The values of the good samples of a group.
fn values(figure: &Figure, fields: &Fields<'_>, group: &Group<'_>, bases: &[&Record], notes: &mut Notes) -> Vec<f64> {
    let good = group.records.iter().filter(|record| !faults::is_faulty(record));
    let measured = good.filter_map(|record| Some((*record, record.get(&figure.y)?.as_f64()?)));
    if figure.ratio_to.is_empty() {
        return measured.map(|(_, value)| value).collect();
    }
    let mut ratios = Vec::new();
    for (record, value) in measured {
        let base = base(figure, fields, record, bases).filter(|base| *base > 0.0);
        if let Some(base) = base {
            ratios.push(value / base);
        } else {
            notes.without_base += 1;
        }
    }
    ratios
}

/// The good samples with which others are compared. Those need not be drawn themselves.
fn bases<'a>(figure: &Figure, records: &[&'a Record]) -> Vec<&'a Record> {
    if figure.ratio_to.is_empty() {
        return Vec::new();
    }
    let mut only = figure.only.clone();
    only.extend(figure.ratio_to.clone());
    let is_base = |record: &&&Record| has_values(record, &only) && !faults::is_faulty(record);
    records.iter().filter(is_base).copied().collect()
}

/// What a sample is compared with: that of its repetition which has the same values of all fields that are told apart, but for
/// those that say what it is compared with. Within a repetition both were measured shortly after each other, so that a
/// machine that is slow for a while is so for both. A setting that the base does not have, as a runtime's mode, need not agree.
fn base(figure: &Figure, fields: &Fields<'_>, record: &Record, bases: &[&Record]) -> Option<f64> {
    let agrees = |base: &Record, field: &str| {
        let of_base = base.get(field).unwrap_or(&Value::Null);
        of_base.is_null() || is_same(of_base, record.get(field).unwrap_or(&Value::Null))
    };
    let is_base = |base: &&&Record| {
        base.get(REPETITION) == record.get(REPETITION)
            && base.get(PLAN) == record.get(PLAN)
            && fields.all.iter().all(|field| figure.ratio_to.contains_key(*field) || agrees(base, field))
    };
    let values: Vec<_> = bases.iter().filter(is_base).filter_map(|base| base.get(&figure.y)?.as_f64()).collect();
    median(&values)
}

/// Whether a line has all values with which others are compared.
fn is_base_line(figure: &Figure, fields: &Fields<'_>, lines: &[Value]) -> bool {
    let value = |name: &String| fields.line_names().iter().position(|field| field == name).map(|at| &lines[at]);
    let is_base = |(name, wanted): (&String, &Value)| value(name).is_some_and(|value| is_same(value, wanted));
    !figure.ratio_to.is_empty() && figure.ratio_to.iter().all(is_base)
}

/// How many nines a percentile has: 1 for 90, 2 for 99.
pub(crate) fn nines(percentile: f64) -> f64 {
    // Rounded, since the way through powers of ten loses the last digits.
    (-(1.0 - percentile / 100.0).log10() * 1e9).round() / 1e9
}

/// The latencies at each percentile that some good sample has, over all good samples that reach so far.
fn percentiles(figure: &Figure, group: &Group<'_>, look: Look) -> Vec<Point> {
    let good = group.records.iter().filter(|record| !faults::is_faulty(record));
    let samples: Vec<Vec<(f64, f64)>> = good.filter_map(|record| distribution(record.get(&figure.y)?)).collect();
    let mut places: Vec<f64> = samples.iter().flatten().map(|point| point.0).collect();
    places.extend(NAMED_PERCENTILES.map(nines));
    places.sort_by(f64::total_cmp);
    places.dedup();
    if places.len() > PLACES_MAX {
        let most = places.last().copied().unwrap_or(0.0);
        let even = (0..PLACES_MAX).map(|index| most * index as f64 / (PLACES_MAX - 1) as f64);
        places = even.chain(NAMED_PERCENTILES.map(nines)).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
    }
    let points = places.into_iter().map(|place| {
        let values: Vec<_> = samples.iter().filter_map(|sample| between(sample, place)).collect();
        point(place, percentile_text(place), &values, group, look)
    });
    points.filter(|point| point.summary.is_some() || is_named(point.x)).collect()
}

/// Whether tables have this percentile.
pub(crate) fn is_named(place: f64) -> bool {
    NAMED_PERCENTILES.iter().any(|percentile| nines(*percentile) == place)
}

pub(crate) fn percentile_text(place: f64) -> String {
    let mut text = format!("{:.4}", 100.0 * (1.0 - 10_f64.powf(-place)));
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    format!("{text} %")
}

/// A list of `[percentile, nanoseconds]` as points by nines. The largest value, at 100, has no place on such an axis.
fn distribution(list: &Value) -> Option<Vec<(f64, f64)>> {
    let pair = |pair: &Value| Some((pair.get(0)?.as_f64()?, pair.get(1)?.as_f64()?));
    let pairs = list.as_array()?.iter().filter_map(pair);
    let mut points: Vec<_> = pairs
        .filter(|(percentile, _)| (0.0..99.9999).contains(percentile))
        .map(|(percentile, value)| (nines(percentile), value))
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points.dedup_by(|later, earlier| later.0 == earlier.0);
    Some(points)
}

/// How many points a logarithmic axis has no place for.
fn off_scale(figure: &Figure, panels: &[Panel]) -> usize {
    let points = panels.iter().flat_map(|panel| &panel.series).flat_map(|series| &series.points);
    let is_off = |point: &&Point| {
        let is_off = |summary: Summary| figure.y_log && summary.median <= 0.0 || figure.x_log && point.x <= 0.0;
        point.summary.is_some_and(is_off)
    };
    // The horizontal axis of other kinds is never logarithmic.
    if figure.kind == Kind::Curve { points.filter(is_off).count() } else { 0 }
}

/// What is found beside the figures.
#[derive(Default)]
struct Notes {
    faulty: usize,
    saturated: usize,
    samples: usize,
    without_x: usize,
    without_base: usize,
    off_scale: usize,
    mixed: Vec<String>,
}

impl Notes {
    fn look_at(&mut self, group: &Group<'_>) {
        let count = |is: fn(&Record) -> bool| group.records.iter().filter(|record| is(record)).count();
        self.samples += group.records.len();
        self.faulty += count(faults::is_faulty);
        self.saturated += count(faults::is_saturated);
        // These follow from others: a warm-up from messages, a rate from the load.
        let follows = [PLAN, REPETITION, "messages", "warm_up_messages", "rate_per_s"];
        let first = group.records.first().copied();
        for field in first.into_iter().flat_map(Record::keys) {
            let value = first.and_then(|first| first.get(field));
            let is_mixed = || group.records.iter().any(|record| record.get(field) != value);
            let is_told = !words::is_setting(field) || follows.contains(&field.as_str());
            if !is_told && !self.mixed.contains(field) && is_mixed() {
                self.mixed.push(field.clone());
            }
        }
    }

    fn sentences(self, figure: &Figure) -> Vec<String> {
        let mut sentences = Vec::new();
        let samples = |count: usize| words::counted(count, "sample", "samples");
        let all = self.samples;
        if self.faulty > 0 {
            sentences.push(format!("{} of {all} with faults left out (†).", samples(self.faulty)));
        }
        if self.saturated > 0 {
            let told = samples(self.saturated);
            sentences.push(format!("In {told} of {all} the load generator was the limit, not the broker (‡)."));
        }
        if self.without_base > 0 {
            let told = samples(self.without_base);
            sentences.push(format!("{told} left out: nothing to compare with in the same repetition."));
        }
        if self.without_x > 0 {
            let field = words::of_fields(&figure.x);
            sentences.push(format!("{} left out: no {field}.", samples(self.without_x)));
        }
        if self.off_scale > 0 {
            let points = words::counted(self.off_scale, "value", "values");
            sentences.push(format!("{points} not drawn: not above zero, with no place on a logarithmic axis."));
        }
        if !self.mixed.is_empty() {
            let fields: Vec<_> = self.mixed.iter().map(|field| words::of_field(field)).collect();
            sentences.push(format!("Medians are of samples that differ in {}.", fields.join(", ")));
        }
        sentences
    }
}
