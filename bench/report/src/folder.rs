//! A folder of measurements: every sample in `results.jsonl`, and their circumstances in `run.json`.
//!
//! A record is flat: a line of JSON with a sample's settings and measurements, under names that end in their unit
//! (`_ns`, `_s`, `_bytes`, `_per_s`). A folder may hold the records of several plans; the field `plan` tells them
//! apart.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::figure::Figure;

/// Every sample, one line of JSON each.
pub const RECORDS_FILE: &str = "results.jsonl";
/// The circumstances of the records.
pub const RUN_FILE: &str = "run.json";

/// One sample: its settings and measurements.
pub type Record = Map<String, Value>;

/// The field with the kind of measurement.
pub const KIND: &str = "kind";
/// The field with the plan's name.
pub const PLAN: &str = "plan";
/// The field with the repetition, counted from 1.
pub const REPETITION: &str = "repetition";

/// The field that identifies the point within the plan.
pub const POINT: &str = "point";
/// The field with how long the sample was to take, in seconds, where it has as many messages as take so long.
pub const WANTED_S: &str = "wanted_s";
/// The field with when the sample was taken, by universal time.
pub const TAKEN_AT: &str = "taken_at";
/// The field with why there is no more of the sample; null for samples that are whole.
pub const ERROR: &str = "error";
/// The field with the first messages that were lost, doubled, out of order or changed, in a line each.
pub const FIRST_FAULTS: &str = "first_faults";
/// The field that counts messages which were sent and did not come.
const LOST: &str = "lost";
/// The field that counts messages which a run that ended early did not send.
const NOT_SENT: &str = "not_sent";
/// The fields that count messages with which something went wrong, and how they are told.
pub(crate) const FAULTS: [(&str, &str); 5] = [
    (LOST, "lost"),
    (NOT_SENT, "never sent"),
    ("duplicated", "doubled"),
    ("out_of_order", "out of order"),
    ("corrupt", "corrupt"),
];

/// The circumstances of a folder's records.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, Debug)]
pub struct Run {
    /// The machine, as names and values, with no host names and no paths.
    pub machine: BTreeMap<String, String>,
    /// The versions of all that ran, by name.
    pub versions: BTreeMap<String, String>,
    /// The plans, in the order in which they were begun.
    pub plans: Vec<PlanInfo>,
}

/// A plan that was run.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, Debug)]
pub struct PlanInfo {
    /// The plan's name, which its records have.
    pub name: String,
    /// The heading.
    pub title: String,
    /// The question and the method.
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
    pub busy_processors: Option<f64>,
    /// The figures to draw.
    pub figures: Vec<Figure>,
    /// The seed of the order of its samples.
    #[serde(default)]
    pub seed: Option<u64>,
    /// The versions of all that ran, by name.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
}

/// The fault of a sample, in one line; None if it is good.
#[must_use]
pub fn fault(record: &Record) -> Option<String> {
    if let Some(error) = record.get(ERROR).and_then(Value::as_str) {
        return Some(error.to_owned());
    }
    let faults: Vec<_> = message_faults(record).map(|(word, count)| format!("{word} {count}")).collect();
    (!faults.is_empty()).then(|| faults.join(", "))
}

/// The faults of messages, and their counts.
fn message_faults(record: &Record) -> impl Iterator<Item = (&'static str, u64)> {
    let count = |name: &str| record.get(name).and_then(Value::as_u64).filter(|count| *count > 0);
    FAULTS.into_iter().filter_map(move |(name, word)| Some((word, count(name)?)))
}

/// Whether a sample failed for a reason that may have passed. A sample in which messages were lost is a result;
/// messages on their way when a run was ended early are not lost.
#[must_use]
pub fn is_to_be_taken_again(record: &Record) -> bool {
    let count = |name: &str| record.get(name).and_then(Value::as_u64).unwrap_or(0);
    let is_whole = count(NOT_SENT) == 0;
    let is_astray = |name: &str| name != NOT_SENT && (is_whole || name != LOST) && count(name) > 0;
    record.get(ERROR).is_some_and(Value::is_string) && !FAULTS.into_iter().any(|(name, _)| is_astray(name))
}

/// Identifies a sample within its plan: its point and its repetition. None for records that no sweep wrote.
#[must_use]
pub fn identity(record: &Record) -> Option<(&str, u64)> {
    Some((record.get(POINT)?.as_str()?, record.get(REPETITION)?.as_u64()?))
}

/// Whether the generator could do no more in a sample, which then says little of the broker.
#[must_use]
pub fn is_saturated(record: &Record) -> bool {
    record.get("is_generator_saturated").and_then(Value::as_bool) == Some(true)
}

/// Reads the records of a folder. A last line that was not written to its end is no record. Of a sample that was taken again,
/// the newest record counts, and is the only one here.
///
/// # Errors
/// When there are none, or a line is no record; the line's number is in the error.
pub fn read_records(folder: &Path) -> io::Result<Vec<Record>> {
    let bytes = fs::read(folder.join(RECORDS_FILE))?;
    let record = |(index, line): (usize, &[u8])| {
        serde_json::from_slice(line).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("line {} of {RECORDS_FILE}: {error}", index + 1))
        })
    };
    // The torn line is cut off first: it may end in the middle of a letter.
    let lines = bytes[..whole_lines(&bytes)].split(|byte| *byte == b'\n');
    let lines = lines.enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    Ok(newest(lines.map(record).collect::<io::Result<_>>()?))
}

/// The newest record of each sample, in the place of the oldest.
fn newest(records: Vec<Record>) -> Vec<Record> {
    let mut places: HashMap<(String, String, u64), usize> = HashMap::new();
    let mut kept: Vec<Record> = Vec::with_capacity(records.len());
    for record in records {
        let plan = record.get(PLAN).and_then(Value::as_str);
        let sample =
            plan.zip(identity(&record)).map(|(plan, (point, number))| (plan.to_owned(), point.to_owned(), number));
        match sample.map(|sample| *places.entry(sample).or_insert(kept.len())) {
            Some(place) if place < kept.len() => kept[place] = record,
            _ => kept.push(record),
        }
    }
    kept
}

/// The records of a plan.
pub(crate) fn of_plan<'a>(records: &'a [Record], plan: &str) -> Vec<&'a Record> {
    records.iter().filter(|record| record.get(PLAN).and_then(Value::as_str) == Some(plan)).collect()
}

/// The bytes up to the end of the last line that has one.
fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

/// Reads the circumstances of the records.
///
/// # Errors
/// If the file is missing or is something else.
pub fn read_run(folder: &Path) -> io::Result<Run> {
    let text = fs::read_to_string(folder.join(RUN_FILE))?;
    serde_json::from_str(&text)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{RUN_FILE}: {error}")))
}

/// A folder that is written to. Each record is on the disk's way before the next sample begins.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    records: File,
    run: Run,
}

impl Writer {
    /// Opens a folder, and makes it if need be. An incomplete last line is dropped. The folder is locked while this
    /// lives.
    ///
    /// # Errors
    /// If it cannot be written to, is locked, or holds an unknown `run.json`.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(RECORDS_FILE);
        let records = OpenOptions::new().create(true).append(true).open(&path)?;
        // Before anything is read that another may be about to change.
        flock(&records, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => io::Error::new(io::ErrorKind::WouldBlock, "another run writes into it"),
            error => error.into(),
        })?;
        let run = match read_run(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Run::default(),
            other => other?,
        };
        let bytes = fs::read(&path)?;
        let whole = whole_lines(&bytes);
        if whole < bytes.len() {
            records.set_len(whole as u64)?;
        }
        Ok(Self { folder: folder.to_owned(), records, run })
    }

    /// The circumstances of its records. [`save`](Self::save) writes changes.
    pub fn run(&mut self) -> &mut Run {
        &mut self.run
    }

    /// A plan's part of it, which is begun if it is not there.
    pub fn plan(&mut self, name: &str) -> &mut PlanInfo {
        let plans = &mut self.run.plans;
        let index = plans.iter().position(|plan| plan.name == name).unwrap_or_else(|| {
            plans.push(PlanInfo { name: name.to_owned(), ..PlanInfo::default() });
            plans.len() - 1
        });
        &mut plans[index]
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_string(record)?;
        line.push('\n');
        // One write, so that a line is whole or torn and never two halves with another's line between.
        self.records.write_all(line.as_bytes())
    }

    /// Writes the circumstances of the records, in place of the earlier ones.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self) -> io::Result<()> {
        let passing = self.folder.join(format!("{RUN_FILE}.new"));
        let mut text = serde_json::to_string_pretty(&self.run)?;
        text.push('\n');
        fs::write(&passing, text)?;
        fs::rename(passing, self.folder.join(RUN_FILE))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Closing is not enough while a process that is just being started has the file, too. Nobody else minds if it fails.
        let _ = flock(&self.records, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tempfile::tempdir;

    fn record(number: u32) -> Record {
        serde_json::from_value(json!({"plan": "a", "number": number})).unwrap()
    }

    #[test]
    fn what_is_appended_is_read_and_a_torn_line_is_dropped() {
        let scratch = tempdir().unwrap();
        let folder = scratch.path().join("deep/folder");
        let mut writer = Writer::open(&folder).unwrap();
        writer.append(&record(1)).unwrap();
        writer.append(&record(2)).unwrap();
        drop(writer);
        let file = folder.join(RECORDS_FILE);
        let torn = format!("{}{{\"plan\": \"a\", \"numb", fs::read_to_string(&file).unwrap());
        fs::write(&file, torn).unwrap();
        assert_eq!(read_records(&folder).unwrap(), [record(1), record(2)]);
        Writer::open(&folder).unwrap().append(&record(3)).unwrap();
        assert_eq!(read_records(&folder).unwrap(), [record(1), record(2), record(3)]);
        fs::write(&file, "{}\nnonsense\n{}\n").unwrap();
        assert!(read_records(&folder).unwrap_err().to_string().contains("line 2"));
    }

    #[test]
    fn a_line_that_is_torn_within_a_letter_is_dropped() {
        let scratch = tempdir().unwrap();
        let folder = scratch.path().to_owned();
        let mut writer = Writer::open(&folder).unwrap();
        writer.append(&record(1)).unwrap();
        drop(writer);
        let file = folder.join(RECORDS_FILE);
        let mut bytes = fs::read(&file).unwrap();
        bytes.extend_from_slice(b"{\"plan\": \"\xc3");
        fs::write(&file, bytes).unwrap();
        assert_eq!(read_records(&folder).unwrap(), [record(1)]);
    }

    #[test]
    fn a_folder_has_one_writer_at_a_time() {
        let scratch = tempdir().unwrap();
        let folder = scratch.path().to_owned();
        let writer = Writer::open(&folder).unwrap();
        let error = Writer::open(&folder).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::WouldBlock, "another run writes into it")
        );
        drop(writer);
        Writer::open(&folder).unwrap();
    }

    #[test]
    fn of_a_sample_that_was_taken_again_the_newest_record_counts() {
        let scratch = tempdir().unwrap();
        let folder = scratch.path().to_owned();
        let of = |plan: &str, point: &str, repetition: u32, number: u32| -> Record {
            let value = json!({"plan": plan, "point": point, "repetition": repetition, "number": number});
            serde_json::from_value(value).unwrap()
        };
        let mut writer = Writer::open(&folder).unwrap();
        for record in
            [of("a", "x", 1, 1), of("a", "x", 2, 2), record(3), of("b", "x", 1, 4), record(3), of("a", "x", 1, 5)]
        {
            writer.append(&record).unwrap();
        }
        let left = [of("a", "x", 1, 5), of("a", "x", 2, 2), record(3), of("b", "x", 1, 4), record(3)];
        assert_eq!(read_records(&folder).unwrap(), left);
    }

    #[test]
    fn what_failed_is_taken_again_and_what_lost_messages_is_a_result() {
        for (value, again) in [
            (json!({"error": "no port was free", "lost": 0}), true),
            (json!({"error": "it died"}), true),
            (json!({"error": "nothing has moved for 60 s", "lost": 3}), false),
            (json!({"error": "nothing has moved for 60 s", "lost": 3, "not_sent": 0}), false),
            (json!({"error": "it died", "lost": 3, "not_sent": 5}), true),
            (json!({"error": "it died", "duplicated": 1, "lost": 3, "not_sent": 5}), false),
            (json!({"error": null, "lost": 3}), false),
            (json!({"lost": 0}), false),
        ] {
            assert_eq!(is_to_be_taken_again(&serde_json::from_value(value.clone()).unwrap()), again, "{value}");
        }
    }

    #[test]
    fn what_records_depend_on_is_kept_for_all_plans() {
        let scratch = tempdir().unwrap();
        let folder = scratch.path().to_owned();
        for (name, seed) in [("a", 1), ("b", 2), ("a", 3)] {
            let mut writer = Writer::open(&folder).unwrap();
            writer.plan(name).seed = Some(seed);
            writer.run().versions.insert(name.to_owned(), seed.to_string());
            writer.save().unwrap();
        }
        let run = read_run(&folder).unwrap();
        let plans: Vec<_> = run.plans.iter().map(|plan| (plan.name.as_str(), plan.seed)).collect();
        assert_eq!(plans, [("a", Some(3)), ("b", Some(2))]);
        assert_eq!(run.versions["b"], "2");
        fs::write(folder.join(RUN_FILE), "nonsense").unwrap();
        assert!(Writer::open(&folder).is_err(), "it is not written over");
    }

    #[test]
    fn faults_are_named() {
        let fault = |value| fault(&serde_json::from_value(value).unwrap());
        assert_eq!(fault(json!({"lost": 0, "error": null, "messages_per_s": 1.0})), None);
        assert_eq!(fault(json!({"lost": 2, "out_of_order": 1})).as_deref(), Some("lost 2, out of order 1"));
        assert_eq!(fault(json!({"lost": 2, "error": "it died"})).as_deref(), Some("it died"));
    }
}
