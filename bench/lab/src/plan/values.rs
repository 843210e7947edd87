//! The values of a setting: one, a list, or a range in text, also in multiples of the machine's processors.
//!
//! ```text
//!   8            cores          4*cores
//!   1..40        1..40 step 3   16..65536 times 4   1..20*cores      1,2,4..10
//! ```

use serde_json::Value;

/// The largest number of values of a setting: more are most likely a slip of the keyboard.
const VALUES_MAX: usize = 1000;
/// The word for the number of processors.
const CORES: &str = "cores";

/// All values of a numeric setting, in the order in which they are written, none twice.
///
/// # Errors
/// When it is no number and no range of numbers, in a line.
pub(super) fn numbers(value: &Value, processors: usize) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    collect(value, processors, &mut all)?;
    if all.is_empty() {
        return Err("there is no value in it".to_owned());
    }
    Ok(without_repeats(all))
}

/// A number as it is written if it is whole, so that 2 and 2.0 are the same.
pub(super) fn plain(number: f64) -> Value {
    let is_whole = number.fract() == 0.0 && (0.0..9e15).contains(&number);
    if is_whole { Value::from(number as u64) } else { Value::from(number) }
}

/// All values of a setting in text, in the order in which they are written, none twice.
///
/// # Errors
/// When one is no text.
pub(super) fn texts(value: &Value) -> Result<Vec<Value>, String> {
    let list = match value {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    match list.iter().find(|value| !value.is_string()) {
        Some(other) => Err(format!("{other} is no text")),
        None if list.is_empty() => Err("there is no value in it".to_owned()),
        None => Ok(without_repeats(list)),
    }
}

/// All values of a setting of which nothing is known; a text in the form of a range is one.
///
/// # Errors
/// If a range is wrong or empty.
pub(super) fn any(value: &Value, processors: usize) -> Result<Vec<Value>, String> {
    let of_one = |value: &Value| match value {
        Value::String(text) if text.contains("..") || text.contains(CORES) => numbers(value, processors),
        Value::Object(_) => Err("a table is no value".to_owned()),
        other => Ok(vec![other.clone()]),
    };
    let all = match value {
        Value::Array(list) => list.iter().map(of_one).collect::<Result<Vec<_>, _>>()?.concat(),
        one => of_one(one)?,
    };
    if all.is_empty() { Err("there is no value in it".to_owned()) } else { Ok(without_repeats(all)) }
}

fn without_repeats(values: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for value in values {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

fn collect(value: &Value, processors: usize, into: &mut Vec<Value>) -> Result<(), String> {
    match value {
        Value::Number(number) if number.is_f64() && number.as_f64() >= Some(0.0) => {
            into.extend(number.as_f64().map(plain));
        }
        Value::Number(number) if number.is_u64() => into.push(value.clone()),
        Value::Array(list) => list.iter().try_for_each(|value| collect(value, processors, into))?,
        Value::String(text) => {
            for part in text.split(',') {
                into.extend(range(part.trim(), processors)?);
            }
        }
        other => return Err(format!("{other} is no number and no range")),
    }
    if into.len() > VALUES_MAX { Err(format!("more than {VALUES_MAX} values")) } else { Ok(()) }
}

/// `3`, `2.5`, `cores`, `1..40`, `1..40 step 3` or `16..65536 times 4`.
fn range(text: &str, processors: usize) -> Result<Vec<Value>, String> {
    let wrong = || format!("{text:?} is no number and no range like \"1..40 step 3\" or \"16..65536 times 4\"");
    let Some((first, rest)) = text.split_once("..") else {
        let exact = whole(text, processors).map(Value::from);
        let decimal = || text.parse::<f64>().ok().filter(|number| *number >= 0.0).map(plain);
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
        return Err(format!("{text:?} ends before it begins"));
    }
    let values: Vec<_> = std::iter::successors(Some(first), |value| Some(next(*value)))
        .take_while(|value| *value <= last)
        .take(VALUES_MAX + 1)
        .map(Value::from)
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

    fn of(value: Value) -> Result<Value, String> {
        numbers(&value, 2).map(Value::from)
    }

    #[test]
    fn numbers_lists_and_ranges_are_multiplied_out() {
        for (written, meant) in [
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
            assert_eq!(of(written.clone()), Ok(meant), "{written}");
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
            let error = of(json!(wrong)).expect_err(wrong);
            assert!(!error.contains('\n') && (error.contains(wrong) || error.contains("1000")), "{wrong}: {error}");
        }
        assert!(of(json!("4..cores")).is_err(), "nothing is left on two processors");
        for wrong in [json!(-1), json!(true), json!([]), json!({"a": 1}), json!([["x"]])] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn texts_are_not_taken_apart() {
        assert_eq!(texts(&json!("a 1..4")), Ok(vec![json!("a 1..4")]));
        assert_eq!(texts(&json!(["b", "a", "b"])), Ok(vec![json!("b"), json!("a")]));
        assert!(texts(&json!(["a", 1])).is_err() && texts(&json!([])).is_err());
    }

    #[test]
    fn of_settings_that_are_not_known_only_what_looks_like_a_range_is_one() {
        let all = any(&json!(["sort", "1..3", true, "cores"]), 4);
        assert_eq!(all, Ok(vec![json!("sort"), json!(1), json!(2), json!(3), json!(true), json!(4)]));
        assert!(any(&json!("1..x"), 4).is_err() && any(&json!({}), 4).is_err() && any(&json!([]), 4).is_err());
    }
}
