//! The figures of a plan, and whether there will be something to draw in them.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::plan::error::Mistake;
use crate::plan::setting::names;
use crate::plan::values::{Written, one_line};
use wisp_report::figure::Figure;
use wisp_report::folder::{KIND, PLAN, REPETITION, WANTED_S};
use wisp_report::kind::Kind;

/// The fields of all records besides settings and measures.
const OF_ALL: [&str; 6] = [PLAN, REPETITION, WANTED_S, KIND, "protocol", "transport"];
/// The largest distance at which a name counts as a misspelling of another one.
const TYPING_ERRORS_MAX: usize = 3;

/// Reads the figures of a plan.
pub(super) fn read(value: Option<Written>) -> Result<Vec<Figure>, Mistake> {
    let figures = match value {
        None => Vec::new(),
        Some(Written::List(figures)) => figures,
        Some(_) => return Err(Mistake::NotList { key: "figure" }),
    };
    let mut read: Vec<Figure> = Vec::new();
    for (index, value) in figures.into_iter().enumerate() {
        let figure = serde_json::to_value(value).and_then(Figure::deserialize);
        let figure =
            figure.map_err(|error| Mistake::Unreadable { number: index + 1, reason: one_line(&error.to_string()) })?;
        figure.check().map_err(|cause| Mistake::Figure { figure: figure.name.clone(), cause })?;
        if read.iter().any(|other| other.name == figure.name) {
            return Err(Mistake::SameName(figure.name));
        }
        read.push(figure);
    }
    Ok(read)
}

/// Checks that records will have the fields of all figures: the kind's settings and measures.
pub(super) fn check(figures: &[Figure], kind: Kind) -> Result<(), Mistake> {
    let of_kind = kind.measures().chain(OF_ALL.map(str::to_owned));
    let known: BTreeSet<String> = of_kind.chain(names(kind).map(str::to_owned)).collect();
    for figure in figures {
        for (key, field) in figure.fields() {
            if !known.contains(field) {
                let similar = known.iter().map(|name| (distance(field, name), name)).min();
                let similar = similar.filter(|(distance, _)| *distance <= TYPING_ERRORS_MAX.min(field.len() / 2));
                return Err(Mistake::UnknownField {
                    figure: figure.name.clone(),
                    key,
                    field: field.to_owned(),
                    kind,
                    similar: similar.map(|(_, name)| name.clone()),
                });
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
