//! The record of one run of a case, a line of results.jsonl each.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::case::Outcome;

const FILE: &str = "results.jsonl";

/// One run of a case against a broker.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub(crate) struct Record {
    pub(crate) case: String,
    pub(crate) broker: String,
    pub(crate) version: String,
    pub(crate) taken_at: String,
    /// How long the run took.
    pub(crate) wall_s: f64,
    /// How long the main part of a long case was.
    pub(crate) seconds: u64,
    pub(crate) is_quick: bool,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    /// Why the run has no figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

/// Adds a record to a folder, which is made if need be.
pub(crate) fn append(folder: &Path, record: &Record) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join(FILE))?;
    writeln!(file, "{}", serde_json::to_string(record)?)
}

/// All records of a folder; none if it has none.
pub(crate) fn read(folder: &Path) -> io::Result<Vec<Record>> {
    let text = match fs::read_to_string(folder.join(FILE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use wisp_lab::paths::Scratch;

    /// A record with one figure.
    pub(crate) fn record(case: &str, broker: &str, figure: &str, value: f64) -> Record {
        Record {
            case: case.to_owned(),
            broker: broker.to_owned(),
            version: "1.2.3".to_owned(),
            taken_at: "2026-01-31T12:00:00Z".to_owned(),
            wall_s: 1.5,
            seconds: 60,
            is_quick: false,
            outcome: Outcome::default().with(figure, value),
            failure: None,
        }
    }

    #[test]
    fn records_are_added_to_those_of_earlier_runs() {
        let scratch = Scratch::new().unwrap();
        let folder = scratch.file("results");
        assert_eq!(read(&folder).unwrap(), []);
        let mut records = [record("a", "wisp", "p99_ms", 1.0), record("a", "nats", "p99_ms", 2.0)];
        records[1].failure = Some("it died".to_owned());
        records[1].outcome.per_second = vec![3, 4];
        for record in &records {
            append(&folder, record).unwrap();
        }
        assert_eq!(read(&folder).unwrap(), records);
    }
}
