//! The figures of a plan, and whether there will be something to draw in them.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::plan::{Kind, settings};
use wisp_report::figure::Figure;
use wisp_report::folder::{PLAN, REPETITION, WANTED_S};

/// The fields of all records besides settings and measures.
const OF_ALL: [&str; 5] = [PLAN, REPETITION, WANTED_S, "kind", "protocol"];
/// The largest distance at which a name counts as a misspelling of another one.
const TYPING_ERRORS_MAX: usize = 3;

/// Reads the figures of a plan.
pub(super) fn read(value: Option<Value>) -> Result<Vec<Figure>, String> {
    let figures = match value {
        None => Vec::new(),
        Some(Value::Array(figures)) => figures,
        Some(_) => return Err("figure: figures are written as [[figure]]".to_owned()),
    };
    let mut read: Vec<Figure> = Vec::new();
    for (index, value) in figures.into_iter().enumerate() {
        let number = index + 1;
        let figure = Figure::deserialize(value).map_err(|error| format!("figure {number}: {error}"))?;
        let told = format!("figure {:?}", figure.name);
        figure.check().map_err(|error| format!("{told}, {error}"))?;
        if read.iter().any(|other| other.name == figure.name) {
            return Err(format!("{told}, name: it is another's too"));
        }
        read.push(figure);
    }
    Ok(read)
}

/// Checks that records will have the fields of all figures: settings of the kind, or given settings where any are
/// allowed, and the kind's measures.
pub(super) fn check(figures: &[Figure], kind: Kind, set: &BTreeSet<&str>) -> Result<(), String> {
    let mut known: BTreeSet<String> = kind.measures().chain(OF_ALL.map(str::to_owned)).collect();
    if kind.is_of_load() {
        known.extend(settings::names(kind).map(str::to_owned));
    } else {
        known.extend(set.iter().map(|name| (*name).to_owned()));
    }
    for figure in figures {
        for (key, field) in figure.fields() {
            if !known.contains(field) {
                let told = format!("figure {:?}, {key}: {field:?} is neither set nor measured", figure.name);
                let meant = known.iter().map(|name| (distance(field, name), name)).min();
                let meant = meant.filter(|(distance, _)| *distance <= TYPING_ERRORS_MAX.min(field.len() / 2));
                let meant = meant.map(|(_, name)| format!(" (is it {name}?)")).unwrap_or_default();
                return Err(format!("{told} in samples of {}{meant}", kind.name()));
            }
        }
    }
    Ok(())
}

/// How many letters have to be put in, taken out or changed to make one word of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (at, other) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (one, other, expected) in
            [("", "", 0), ("brokr", "broker", 1), ("kitten", "sitting", 3), ("abc", "", 3), ("", "ab", 2)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }
}
