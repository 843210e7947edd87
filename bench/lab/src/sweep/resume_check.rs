//! The records of a plan in a folder, and whether further samples can be added to them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::Value;

use crate::failure::Failure;
use crate::plan::{Plan, Point, Setting};
use crate::sweep::options::Options;
use crate::versions::{self, SOURCES};
use wisp_report::folder::{self, Record, Run};

/// Settings that make a sample longer or shorter, and leave it a sample of the same.
const LENGTHS: [Setting; 3] = [Setting::Messages, Setting::Seconds, Setting::Count];

/// The circumstances of samples, besides the plan.
pub(super) struct Circumstances {
    /// The machine, as a run has it.
    pub(super) machine: BTreeMap<String, String>,
    /// Versions by name.
    pub(super) versions: BTreeMap<String, String>,
}

/// The plan's records in the folder, including records of points that the plan has no longer.
///
/// # Errors
/// If they cannot be read, or must not be extended.
pub(super) fn records(plan: &Plan, options: &Options) -> Result<Vec<Record>, Failure> {
    let folder = &options.folder;
    let mut records = match folder::read_records(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Failure::Setup(format!("cannot read {}: {error}", folder.display()))),
        Ok(records) => records,
    };
    records.retain(|record| record.get(folder::PLAN).and_then(Value::as_str) == Some(&plan.name));
    if records.is_empty() || options.is_resumed {
        return Ok(records);
    }
    Err(Failure::Setup(format!(
        "{} has {} records of the plan {} already: --resume goes on with them, --out names another folder",
        folder.display(),
        records.len(),
        plan.name
    )))
}

/// Checks that samples taken now are comparable with the folder's.
///
/// # Errors
/// The difference, in one line.
pub(super) fn check(
    plan: &Plan,
    options: &Options,
    records: &[Record],
    run: &Run,
    now: &Circumstances,
) -> Result<(), Failure> {
    let refused =
        |what: String| Err(Failure::Setup(format!("{} {what}: --out names another folder", options.folder.display())));
    // A page describes one machine, for all its plans.
    if let Some((name, was, is)) = differing(&run.machine, &now.machine).next().filter(|_| !run.plans.is_empty()) {
        return refused(format!("was measured on another machine ({name}: {was}, and here {is})"));
    }
    if records.is_empty() {
        return Ok(());
    }
    let of_plan = run.plans.iter().find(|info| info.name == plan.name).map(|info| &info.versions);
    let before = of_plan.filter(|versions| !versions.is_empty()).unwrap_or(&run.versions);
    let others: Vec<_> = differing(before, &now.versions)
        // The sources may change; the programs built from them have entries of their own.
        .filter(|(name, ..)| *name != SOURCES)
        .map(|(name, was, is)| format!("{name}: {was}, and now {is}"))
        .collect();
    if !others.is_empty() {
        let (count, others) = (records.len(), others.join("; "));
        return refused(format!("has {count} records of the plan {} by other versions ({others})", plan.name));
    }
    let points: BTreeSet<String> = plan.phases().iter().flat_map(|phase| &phase.points).map(Point::key).collect();
    let loads: BTreeSet<String> = points.iter().map(|key| without_length(key)).collect();
    let is_other_length = |key: &&str| !points.contains(*key) && loads.contains(&without_length(key));
    match records.iter().filter_map(folder::identity).map(|(key, _)| key).find(is_other_length) {
        None => Ok(()),
        Some(_) => {
            let what = "that are longer or shorter than these, as quick ones are";
            refused(format!("has samples of the plan {} {what}", plan.name))
        }
    }
}

/// Entries with different values, where both are known.
fn differing<'a>(
    first: &'a BTreeMap<String, String>,
    second: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    let is_known = |value: &str| value != versions::UNKNOWN;
    first
        .iter()
        .filter_map(|(name, was)| Some((name.as_str(), was.as_str(), second.get(name)?.as_str())))
        .filter(move |(_, was, is)| was != is && is_known(was) && is_known(is))
}

/// The key of a point without the settings that define the length of its sample.
fn without_length(key: &str) -> String {
    let is_length =
        |word: &&str| word.split_once('=').is_some_and(|(name, _)| LENGTHS.iter().any(|length| length.name() == name));
    key.split(' ').filter(|word| !is_length(word)).collect::<Vec<_>>().join(" ")
}
