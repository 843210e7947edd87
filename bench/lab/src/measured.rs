//! The measured fields of a sample.

use std::fmt;

use serde::Serialize;
use wisp_report::folder::{ERROR, Record};

use crate::plan::Point;

/// The measurements of a sample, under the names that records have.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Measured(Record);

impl Measured {
    /// The fields of a type, which has texts for keys.
    #[must_use]
    pub fn of(fields: &impl Serialize) -> Self {
        match serde_json::to_value(fields) {
            Ok(serde_json::Value::Object(fields)) => Self(fields),
            other => unreachable!("measurements are fields: {other:?}"),
        }
    }

    /// No more than why there are no measurements.
    #[must_use]
    pub fn failed(error: String) -> Self {
        Self(Record::from_iter([(ERROR.to_owned(), error.into())]))
    }

    /// The same without a field.
    #[must_use]
    pub(crate) fn without(mut self, field: &str) -> Self {
        self.0.remove(field);
        self
    }

    /// The fields.
    #[must_use]
    pub fn fields(&self) -> &Record {
        &self.0
    }

    /// The record of a sample of this point: its settings, and the measurements over them.
    #[must_use]
    pub fn record(self, point: &Point) -> Record {
        let mut record = point.record();
        record.extend(self.0);
        record
    }
}

/// A line of JSON.
impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}
