//! The base that samples are compared with.

use crate::faults;
use crate::figure::Figure;
use crate::folder::{self, PLAN, REPETITION, Record};
use crate::statistics::median;
use serde_json::Value;

use super::groups::{Fields, Group, has_values, is_same};
use super::notes::{Notes, is_within_repetitions};

/// The values of the good samples of a group.
pub(super) fn values(
    figure: &Figure,
    fields: &Fields<'_>,
    group: &Group<'_>,
    bases: &[&Record],
    notes: &mut Notes,
) -> Vec<f64> {
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

/// The good samples of the base. They need not be drawn themselves.
pub(super) fn bases<'a>(figure: &Figure, records: &[&'a Record]) -> Vec<&'a Record> {
    if figure.ratio_to.is_empty() {
        return Vec::new();
    }
    let mut only = figure.only.clone();
    only.extend(figure.ratio_to.clone());
    let is_base = |record: &&&Record| has_values(record, &only) && !faults::is_faulty(record);
    records.iter().filter(is_base).copied().collect()
}

/// The base of a sample: the median of the base's samples with the same values of all distinguished fields, except for
/// the fields that define the base; of the same repetition where repetitions are compared. A setting that the base does
/// not have, such as a runtime's mode, need not agree.
fn base(figure: &Figure, fields: &Fields<'_>, record: &Record, bases: &[&Record]) -> Option<f64> {
    let values: Vec<_> =
        bases_of(figure, fields, record, bases).filter_map(|base| base.get(&figure.y)?.as_f64()).collect();
    median(&values)
}

/// Whether the generator was the limit of a group's base: the ratios are then relative to the generator.
pub(super) fn is_base_saturated(figure: &Figure, fields: &Fields<'_>, group: &Group<'_>, bases: &[&Record]) -> bool {
    group.records.iter().any(|record| bases_of(figure, fields, record, bases).any(folder::is_saturated))
}

/// The samples that one is compared with.
fn bases_of<'a>(
    figure: &'a Figure,
    fields: &'a Fields<'_>,
    record: &'a Record,
    bases: &'a [&'a Record],
) -> impl Iterator<Item = &'a Record> {
    let agrees = move |base: &Record, field: &str| {
        let of_base = base.get(field).unwrap_or(&Value::Null);
        of_base.is_null() || is_same(of_base, record.get(field).unwrap_or(&Value::Null))
    };
    let is_within = is_within_repetitions(figure);
    let is_base = move |base: &&Record| {
        (!is_within || base.get(REPETITION) == record.get(REPETITION))
            && base.get(PLAN) == record.get(PLAN)
            && fields.all.iter().all(|field| figure.ratio_to.contains_key(*field) || agrees(base, field))
    };
    bases.iter().copied().filter(is_base)
}

/// Whether a line has all values with which others are compared.
pub(super) fn is_base_line(figure: &Figure, fields: &Fields<'_>, lines: &[Value]) -> bool {
    let value = |name: &String| fields.line_names().iter().position(|field| field == name).map(|at| &lines[at]);
    let is_base = |(name, wanted): (&String, &Value)| value(name).is_some_and(|value| is_same(value, wanted));
    !figure.ratio_to.is_empty() && figure.ratio_to.iter().all(is_base)
}
