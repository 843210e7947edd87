//! Groups records by the fields that a figure distinguishes.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::figure::{Figure, Kind};
use crate::folder::Record;
use crate::labels;

/// Samples with the same values of the fields that a figure tells apart.
pub(super) struct Group<'a> {
    /// The values of the panel, of the lines and of the horizontal axis.
    pub(super) key: Vec<Value>,
    pub(super) records: Vec<&'a Record>,
}

/// The fields that a figure distinguishes, in the order of sorting.
pub(super) struct Fields<'a> {
    pub(super) all: Vec<&'a str>,
    panels: usize,
    lines: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn of(figure: &'a Figure) -> Self {
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

    /// The parts of a key: panel, lines, horizontal axis.
    pub(super) fn split<'k>(&self, key: &'k [Value]) -> (&'k [Value], &'k [Value], &'k [Value]) {
        let (panel, rest) = key.split_at(self.panels);
        let (lines, x) = rest.split_at(self.lines);
        (panel, lines, x)
    }

    pub(super) fn line_names(&self) -> &[&'a str] {
        &self.all[self.panels..self.panels + self.lines]
    }

    pub(super) fn x_names(&self) -> &[&'a str] {
        &self.all[self.panels + self.lines..]
    }
}

/// By the first value that differs.
pub(super) fn compare_all(fields: &[&str], one: &[Value], other: &[Value]) -> Ordering {
    let parts = fields.iter().zip(one.iter().zip(other));
    let orders = parts.map(|(field, (one, other))| compare(field, one, other));
    orders.fold(Ordering::Equal, Ordering::then)
}

/// Brokers in their own order, numbers by size, missing values first.
fn compare(field: &str, one: &Value, other: &Value) -> Ordering {
    let place = |value: &Value| {
        let broker = if labels::is_of_broker(field) { value.as_str() } else { None };
        broker.map(|name| labels::BROKERS.iter().position(|(known, _)| *known == name).unwrap_or(usize::MAX))
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

/// Whether a record has one of each field's values.
pub(super) fn has_values(record: &Record, only: &BTreeMap<String, Value>) -> bool {
    only.iter().all(|(field, wanted)| {
        let value = record.get(field).unwrap_or(&Value::Null);
        match wanted {
            Value::Array(any) => any.iter().any(|wanted| is_same(value, wanted)),
            wanted => is_same(value, wanted),
        }
    })
}

/// Whether two values are the same; 1 and 1.0 are.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Sorted by their keys; records without a place on the horizontal axis are in none.
pub(super) fn groups<'a>(fields: &Fields<'_>, records: &[&'a Record]) -> Vec<Group<'a>> {
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
pub(super) fn distinct(groups: &[Group<'_>], part: impl Fn(&Group<'_>) -> Vec<Value>) -> Vec<Vec<Value>> {
    let mut values: Vec<Vec<Value>> = Vec::new();
    for value in groups.iter().map(part) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// All places along the horizontal axis, in their order.
pub(super) fn xs(fields: &Fields<'_>, groups: &[Group<'_>]) -> Vec<Vec<Value>> {
    let mut xs = distinct(groups, |group| fields.split(&group.key).2.to_vec());
    xs.sort_by(|one, other| compare_all(fields.x_names(), one, other));
    xs
}
