//! A folder with what was measured: every sample in `results.jsonl`, and what it depends on in `run.json`.
//!
//! A record is flat: a line of JSON with a sample's settings and what was measured, under names that end in their unit
//! (`_ns`, `_s`, `_bytes`, `_per_s`). A folder may hold the records of several plans, told apart by their field `plan`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::figure::Figure;

/// Every sample, one line of JSON each.
pub const RECORDS_FILE: &str = "results.jsonl";
/// What the records depend on.
pub const RUN_FILE: &str = "run.json";

/// One sample: its settings and what was measured.
pub type Record = Map<String, Value>;

/// The field with the plan's name.
pub const PLAN: &str = "plan";
/// The field with the repetition, counted from 1.
pub const REPETITION: &str = "repetition";

/// What the records of a folder depend on.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, Debug)]
pub struct Run {
    /// The machine, as names and values, with no host names and no paths.
    pub machine: BTreeMap<String, String>,
    /// The versions of all that ran, by name.
    pub versions: BTreeMap<String, String>,
    /// The plans, in the order in which they were begun.
    pub plans: Vec<PlanInfo>,
}

/// What was run.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, Debug)]
pub struct PlanInfo {
    /// The plan's name, which its records have.
    pub name: String,
    /// The heading.
    pub title: String,
    /// What it asks, and how.
    pub about: String,
    /// The command that runs it again.
    pub command: String,
    /// When its first sample was taken, by universal time, as in `2026-01-31T12:00:00Z`.
    pub started: String,
    /// When its last sample was taken.
    pub ended: String,
    /// Whether all its samples are there.
    pub is_complete: bool,
    /// Processors' worth of other work on the machine when it began.
    pub load_average: Option<f64>,
    /// What is to be drawn.
    pub figures: Vec<Figure>,
}

/// Reads the records of a folder.
///
/// # Errors
/// When there are none, or a line is no record; the line's number is in the error.
pub fn read_records(folder: &Path) -> io::Result<Vec<Record>> {
    let text = fs::read_to_string(folder.join(RECORDS_FILE))?;
    let record = |(index, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("line {} of {RECORDS_FILE}: {error}", index + 1))
        })
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(record).collect()
}

/// Reads what the records depend on.
///
/// # Errors
/// When it is not there or is something else.
pub fn read_run(folder: &Path) -> io::Result<Run> {
    let text = fs::read_to_string(folder.join(RUN_FILE))?;
    serde_json::from_str(&text)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{RUN_FILE}: {error}")))
}
