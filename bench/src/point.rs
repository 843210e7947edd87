//! Settings of points that only this program knows, read by their type.

use std::fmt::Display;
use std::str::FromStr;

use wisp_lab::failure::Failure;
use wisp_lab::plan::Point;

/// The value of a text setting.
///
/// # Errors
/// If it is not set, or is no such value.
pub fn setting<T: FromStr<Err: Display>>(point: &Point, name: &str) -> Result<T, Failure> {
    let text = point.text(name).ok_or_else(|| Failure::Setup(format!("{name}: it has to be set, to text")))?;
    text.parse().map_err(|error| Failure::Setup(format!("{name}: {error}")))
}

/// Refuses settings that a kind has no use for, and which would only multiply its samples.
///
/// # Errors
/// When the point has another than the `known` ones, with its name.
pub fn only(point: &Point, known: &[&str]) -> Result<(), Failure> {
    match point.settings().find(|(name, _)| !known.contains(name)) {
        None => Ok(()),
        Some((name, _)) => {
            let (kind, known) = (point.kind().name(), known.join(", "));
            Err(Failure::Setup(format!("{name}: no setting of {kind} (which are {known})")))
        }
    }
}

/// A setting that is a whole number above 0.
///
/// # Errors
/// When it is not set, or is something else.
pub fn whole(point: &Point, name: &str) -> Result<u64, Failure> {
    let number = point.whole(name).filter(|number| *number > 0);
    number.ok_or_else(|| Failure::Setup(format!("{name}: it has to be set, to a whole number above 0")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wisp_lab::plan::Kind;

    use super::*;
    use crate::host::Host;

    fn point(settings: Value) -> Point {
        Point::new(Kind::Compute, serde_json::from_value(settings).unwrap())
    }

    #[test]
    fn settings_of_no_use_are_named() {
        let point = point(json!({"host": "wasmer", "count": 3}));
        assert_eq!(only(&point, &["count", "more", "host"]), Ok(()));
        let error = only(&point, &["host", "program"]).unwrap_err();
        assert_eq!(error.to_string(), "count: no setting of compute (which are host, program)");
    }

    #[test]
    fn settings_are_read_or_named() {
        let point = point(json!({"host": "wasmer", "other": "nobody", "count": 3, "none": 0}));
        assert_eq!(setting::<Host>(&point, "host"), Ok(Host::Wasmer));
        assert_eq!(whole(&point, "count"), Ok(3));
        for name in ["other", "count", "missing"] {
            let error = setting::<Host>(&point, name).unwrap_err();
            assert!(matches!(&error, Failure::Setup(what) if what.starts_with(name)), "{error:?}");
        }
        for name in ["none", "host", "missing"] {
            let error = whole(&point, name).unwrap_err();
            assert!(matches!(&error, Failure::Setup(what) if what.starts_with(name)), "{error:?}");
        }
    }
}
