//! The values of a setting as they are written: one, a list, or a range in text, also in multiples of the machine's processors.
//!
//! ```text
//!   8            cores          4*cores
//!   1..40        1..40 step 3   16..65536 times 4   1..20*cores      1,2,4..10
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plan::setting::{Is, Setting, Value, of_kind};
use wisp_report::kind::Kind;

/// The largest number of values of a setting: more are most likely a slip of the keyboard.
const VALUES_MAX: usize = 1000;
/// The word for the number of processors.
const CORES: &str = "cores";
/// The lower bound of rates, shares and times: with a smaller value a run would take forever.
const NUMBER_MIN: f64 = 1e-6;

/// A value as a plan or a flag writes it, before anything is known of its setting.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(untagged)]
pub enum Written {
    /// True or false.
    Flag(bool),
    /// A whole number that is not negative.
    Whole(u64),
    /// Another number.
    Number(f64),
    /// A text, which may be a range.
    Text(String),
    /// A list.
    List(Vec<Written>),
    /// A table.
    Table(BTreeMap<String, Written>),
}

impl From<Value> for Written {
    fn from(value: Value) -> Self {
        match value {
            Value::Whole(number) => Self::Whole(number),
            Value::Number(number) => Self::Number(number),
            Value::Text(text) => Self::Text(text),
            Value::Texts(texts) => Self::from(texts),
        }
    }
}

impl From<Vec<Value>> for Written {
    fn from(values: Vec<Value>) -> Self {
        Self::List(values.into_iter().map(Self::from).collect())
    }
}

impl From<Vec<String>> for Written {
    fn from(texts: Vec<String>) -> Self {
        Self::List(texts.into_iter().map(Self::Text).collect())
    }
}

/// As JSON.
impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Why something is no value of a setting.
#[derive(thiserror::Error, Clone, PartialEq, Debug)]
pub enum ValueError {
    /// There is none.
    #[error("there is no value in it")]
    Empty,
    /// There are too many.
    #[error("more than {VALUES_MAX} values")]
    TooMany,
    /// A number where a text belongs, for example.
    #[error("{0} is no text")]
    NotText(Written),
    /// A table, for example.
    #[error("{0} is no number and no range")]
    NotNumber(Written),
    /// A text that is neither a number nor a range.
    #[error("{0:?} is no number and no range like \"1..40 step 3\" or \"16..65536 times 4\"")]
    NotRange(String),
    /// A range without a number in it.
    #[error("{0:?} ends before it begins")]
    Reversed(String),
    /// A number out of range.
    #[error("{value} is no whole number from {least} to {most}")]
    NotWhole {
        /// The value.
        value: Value,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// A number out of range.
    #[error("{value} is no number from {NUMBER_MIN} to {most}")]
    OutOfRange {
        /// The value.
        value: Value,
        /// The most that is allowed.
        most: f64,
    },
    /// The kind has no such setting.
    #[error("no setting of {} (which are {})", .0.name(), of_kind(*.0).map(Setting::name).collect::<Vec<_>>().join(", "))]
    NoSetting(Kind),
}

/// Messages of libraries may have several lines.
pub(super) fn one_line(message: &str) -> String {
    message.replace('\n', " ")
}

/// The values of one setting.
///
/// # Errors
/// If the kind has no such setting, or a value is out of range.
pub fn values_of(kind: Kind, setting: Setting, written: &Written, processors: usize) -> Result<Vec<Value>, ValueError> {
    match setting.is(kind).ok_or(ValueError::NoSetting(kind))? {
        Is::Text => Ok(texts(written)?.into_iter().map(Value::Text).collect()),
        Is::Texts => Ok(vec![Value::Texts(all_texts(written)?)]),
        Is::Whole(least, most) => numbers(written, processors)?
            .into_iter()
            .map(|value| match value {
                Value::Whole(number) if (least..=most).contains(&number) => Ok(value),
                _ => Err(ValueError::NotWhole { value, least, most }),
            })
            .collect(),
        Is::Number(most) => numbers(written, processors)?
            .into_iter()
            .map(|value| match value.number().filter(|number| (NUMBER_MIN..=most).contains(number)) {
                Some(_) => Ok(value),
                None => Err(ValueError::OutOfRange { value, most }),
            })
            .collect(),
    }
}

/// All values of a numeric setting, in the order in which they are written, none twice.
fn numbers(written: &Written, processors: usize) -> Result<Vec<Value>, ValueError> {
    let mut all = Vec::new();
    collect(written, processors, &mut all)?;
    if all.is_empty() { Err(ValueError::Empty) } else { Ok(without_repeats(all)) }
}

/// All values of a setting in text, in the order in which they are written, none twice.
fn texts(written: &Written) -> Result<Vec<String>, ValueError> {
    all_texts(written).map(without_repeats)
}

fn all_texts(written: &Written) -> Result<Vec<String>, ValueError> {
    let list = match written {
        Written::List(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    if list.is_empty() {
        return Err(ValueError::Empty);
    }
    let text = |written: &Written| match written {
        Written::Text(text) => Ok(text.clone()),
        other => Err(ValueError::NotText(other.clone())),
    };
    list.iter().map(text).collect()
}

fn without_repeats<T: PartialEq>(values: Vec<T>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    for value in values {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

fn collect(written: &Written, processors: usize, into: &mut Vec<Value>) -> Result<(), ValueError> {
    match written {
        Written::Whole(number) => into.push(Value::Whole(*number)),
        Written::Number(number) if *number >= 0.0 => into.push(Value::of_number(*number)),
        Written::List(list) => list.iter().try_for_each(|written| collect(written, processors, into))?,
        Written::Text(text) => {
            for part in text.split(',') {
                into.extend(range(part.trim(), processors)?);
            }
        }
        other => return Err(ValueError::NotNumber(other.clone())),
    }
    if into.len() > VALUES_MAX { Err(ValueError::TooMany) } else { Ok(()) }
}

/// `3`, `2.5`, `cores`, `1..40`, `1..40 step 3` or `16..65536 times 4`.
fn range(text: &str, processors: usize) -> Result<Vec<Value>, ValueError> {
    let wrong = || ValueError::NotRange(text.to_owned());
    let Some((first, rest)) = text.split_once("..") else {
        let exact = whole(text, processors).map(Value::Whole);
        let decimal = || text.parse::<f64>().ok().filter(|number| *number >= 0.0).map(Value::of_number);
        return exact.or_else(decimal).map(|value| vec![value]).ok_or_else(wrong);
    };
    let mut words = rest.split_whitespace();
    let last = words.next().ok_or_else(wrong)?;
    let (first, last) = (whole(first.trim(), processors), whole(last, processors));
    let (first, last) = first.zip(last).ok_or_else(wrong)?;
    let by = (words.next(), words.next().map(|by| whole(by, processors).ok_or_else(wrong)).transpose()?);
    let next: Box<dyn Fn(u64) -> u64> = match (by, words.next()) {
        ((None, None), None) => Box::new(|value| value.saturating_add(1)),
        ((Some("step"), Some(step @ 1..)), None) => Box::new(move |value| value.saturating_add(step)),
        ((Some("times"), Some(factor @ 2..)), None) if first > 0 => Box::new(move |value| value.saturating_mul(factor)),
        _ => return Err(wrong()),
    };
    // With few processors a range may be empty; a range of plain numbers that is empty is a slip.
    if first > last && !text.contains(CORES) {
        return Err(ValueError::Reversed(text.to_owned()));
    }
    let values: Vec<_> = std::iter::successors(Some(first), |value| Some(next(*value)))
        .take_while(|value| *value <= last)
        .take(VALUES_MAX + 1)
        .map(Value::Whole)
        .collect();
    Ok(values)
}

/// A whole number, or a multiple of the processors.
fn whole(text: &str, processors: usize) -> Option<u64> {
    match text.split_once('*') {
        Some((times, CORES)) | Some((CORES, times)) => times.trim().parse::<u64>().ok()?.checked_mul(processors as u64),
        Some(_) => None,
        None if text == CORES => Some(processors as u64),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(json: serde_json::Value) -> Written {
        serde_json::from_value(json).unwrap()
    }

    fn of(json: serde_json::Value) -> Result<serde_json::Value, ValueError> {
        numbers(&written(json), 2).map(|values| values.iter().map(serde_json::Value::from).collect())
    }

    #[test]
    fn numbers_lists_and_ranges_are_multiplied_out() {
        for (text, meant) in [
            (json!(7), json!([7])),
            (json!(2.5), json!([2.5])),
            (json!("2.5"), json!([2.5])),
            (json!([2.0, "2.0", 2]), json!([2])),
            (json!([3, 1, 3]), json!([3, 1])),
            (json!("1..4"), json!([1, 2, 3, 4])),
            (json!("0..0"), json!([0])),
            (json!("1..8 step 3"), json!([1, 4, 7])),
            (json!("16..65536 times 4"), json!([16, 64, 256, 1024, 4096, 16384, 65536])),
            (json!("1..1000 times 10"), json!([1, 10, 100, 1000])),
            (json!("cores"), json!([2])),
            (json!("4*cores"), json!([8])),
            (json!("1..2*cores"), json!([1, 2, 3, 4])),
            (json!("1..20*cores step 13"), json!([1, 14, 27, 40])),
            (json!("1..3,4..cores"), json!([1, 2, 3])),
            (json!("3..5,5..4*cores step cores"), json!([3, 4, 5, 7])),
            (json!([1, "cores", "4..5"]), json!([1, 2, 4, 5])),
            (json!("1,2,4..6, 10"), json!([1, 2, 4, 5, 6, 10])),
        ] {
            assert_eq!(of(text.clone()), Ok(meant), "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused_in_a_line_with_the_text() {
        for wrong in [
            "",
            "x",
            "-1",
            "1..",
            "..4",
            "4..1",
            "1..x",
            "1..4 step",
            "1..4 step 0",
            "1..4 times 1",
            "0..4 times 2",
            "nan",
            "1..4 by 2",
            "1..4 step 2 3",
            "3*x",
            "*cores",
            "1..100000",
            "inf*cores",
            "cores*cores",
            "1..4 step 2.5",
        ] {
            let error = of(json!(wrong)).expect_err(wrong).to_string();
            assert!(!error.contains('\n') && (error.contains(wrong) || error.contains("1000")), "{wrong}: {error}");
        }
        assert!(of(json!("4..cores")).is_err(), "nothing is left on two processors");
        for wrong in [json!(-1), json!(true), json!([]), json!({"a": 1}), json!([["x"]])] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn texts_are_not_taken_apart() {
        let of = |json| texts(&written(json));
        assert_eq!(of(json!("a 1..4")), Ok(vec!["a 1..4".to_owned()]));
        assert_eq!(of(json!(["b", "a", "b"])), Ok(vec!["b".to_owned(), "a".to_owned()]));
        assert!(of(json!(["a", 1])).is_err() && of(json!([])).is_err());
    }

    #[test]
    fn a_list_of_arguments_is_one_value_and_keeps_repeats() {
        let of = |json| values_of(Kind::Latency, Setting::BrokerArguments, &written(json), 2);
        let texts = |texts: &[&str]| Ok(vec![Value::Texts(texts.iter().map(|text| (*text).to_owned()).collect())]);
        assert_eq!(of(json!(["--a", "1", "--b", "1"])), texts(&["--a", "1", "--b", "1"]));
        assert_eq!(of(json!("--a")), texts(&["--a"]));
    }

    #[test]
    fn ranges_of_settings_depend_on_the_kind() {
        let of = |kind, setting| values_of(kind, setting, &Written::Whole(1), 2);
        assert!(of(Kind::Transfer, Setting::SizeBytes).is_ok());
        let error = of(Kind::Throughput, Setting::SizeBytes).unwrap_err().to_string();
        assert!(error.starts_with("1 is no whole number from 16 to"), "{error}");
        let error = of(Kind::Compute, Setting::Qos).unwrap_err().to_string();
        assert_eq!(error, "no setting of compute (which are count, file_bytes, host, program, mode)");
    }
}
