//! `wisp-broker store`: checks, lists, compacts and repairs a data folder that no broker has open, copies one at any time, and makes one of
//! another broker's file.

mod count;
pub(crate) mod import;
mod line;
pub(crate) mod task;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use wisp_broker::{Host, SysHost};
use wisp_store::offline::{self, CheckReport, OfflineError, RepairReport};
use wisp_store::{Cut, FsFiles, OpenError, Problem, Settings};

use self::count::Count;
use self::import::ImportError;
use self::task::Task;
use crate::args::STATUS_USAGE;

/// The end of a task that was not done, or found damage.
#[derive(Debug)]
enum Failure {
    /// The store is damaged, or cannot be written.
    Bad(String),
    /// The store cannot be used at all.
    Refused(String),
    /// The report cannot be written.
    Output(io::Error),
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Damaged { .. } => Self::Bad(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Does a task. Reports go to standard output, errors to standard error.
pub(crate) fn run(task: &Task) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = perform(task, &mut out).and_then(|()| Ok(out.flush()?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => complain(&format!("cannot write the report: {error}"), ExitCode::FAILURE),
        Err(Failure::Bad(message)) => {
            // The report belongs before the conclusion. A reader that has closed it has no use for it.
            let _ = out.flush();
            complain(&message, ExitCode::FAILURE)
        }
        Err(Failure::Refused(message)) => complain(&message, ExitCode::from(STATUS_USAGE)),
    }
}

fn complain(message: &str, status: ExitCode) -> ExitCode {
    eprintln!("wisp-broker: {}", line::harmless(message));
    status
}

fn perform(task: &Task, out: &mut impl Write) -> Result<(), Failure> {
    match task {
        Task::Check(folder) => check(folder, out),
        Task::Dump(folder) => dump(folder, out),
        Task::Compact(folder) => compact(folder, out),
        Task::Repair(folder, new) => repair(folder, new, out),
        Task::Backup(folder, new) => backup(folder, new, out),
        Task::ImportMosquitto(file, new) => import_mosquitto(file, new, out),
    }
}

fn check(folder: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let report = offline::check(FsFiles::new(folder))?;
    out.write_all(check_text(&report).as_bytes())?;
    conclude(folder, &report.problems)
}

/// Fails if there is damage.
fn conclude(folder: &Path, problems: &[Problem]) -> Result<(), Failure> {
    if problems.is_empty() {
        return Ok(());
    }
    let folder = folder.display();
    Err(Failure::Bad(format!(
        "{folder} is damaged: `wisp-broker store repair {folder} NEWFOLDER` saves all objects that can be read"
    )))
}

fn check_text(report: &CheckReport) -> String {
    let mut text = places(&report.problems, report.recovery.cut.as_ref());
    let recovery = &report.recovery;
    let _ = writeln!(
        text,
        "{}, {} of them live, in {}: {}",
        Count(report.disk_bytes, "byte"),
        report.live_bytes,
        Count(recovery.segments, "segment"),
        Count(recovery.objects, "object"),
    );
    let _ = match report.problems.len() as u64 {
        0 => writeln!(text, "whole"),
        count => writeln!(text, "damaged in {}", Count(count, "place")),
    };
    text
}

/// A line for each damaged place, and one for a torn tail.
fn places(problems: &[Problem], cut: Option<&Cut>) -> String {
    let mut text: String = problems.iter().map(|problem| format!("damaged: {problem}\n")).collect();
    if let Some(Cut { file, offset, bytes }) = cut {
        let _ = writeln!(
            text,
            "{file}: offset {offset}, {}: a write that was not finished, which every start leaves out",
            Count(*bytes, "byte")
        );
    }
    text
}

fn dump(folder: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let (live, problems) = offline::dump(FsFiles::new(folder))?;
    let mut clients = HashMap::new();
    for object in &live {
        line::write(object, &mut clients, out)?;
    }
    out.flush()?;
    for problem in &problems {
        eprintln!("wisp-broker: damaged: {problem}");
    }
    conclude(folder, &problems)
}

fn compact(folder: &Path, out: &mut impl Write) -> Result<(), Failure> {
    // To open it would make a store of an empty folder.
    let problems = offline::check(FsFiles::new(folder))?.problems;
    conclude(folder, &problems)?;
    let (before, after) =
        offline::compact(FsFiles::new(folder), &Settings::default()).map_err(|error| match error {
            OfflineError::Open(error) => error.into(),
            error => Failure::Bad(format!("{}: {error}", folder.display())),
        })?;
    writeln!(
        out,
        "compacted: {} in {} before, {} in {} after, {}",
        Count(before.disk_bytes, "byte"),
        Count(before.segments, "segment"),
        Count(after.disk_bytes, "byte"),
        Count(after.segments, "segment"),
        Count(after.objects, "object")
    )?;
    Ok(())
}

fn repair(folder: &Path, new: &Path, out: &mut impl Write) -> Result<(), Failure> {
    // By another name it is refused by its lock, or for its objects.
    if folder == new {
        let new = new.display();
        return Err(Failure::Refused(format!("{new} is the folder to repair, which stays as it is: name a new one")));
    }
    let report = offline::repair(FsFiles::new(folder), FsFiles::new(new), &Settings::default());
    let report = report.map_err(|error| match error {
        OfflineError::Open(error) => error.into(),
        OfflineError::NotEmpty => Failure::Refused(format!("{}: {error}", new.display())),
        error => Failure::Bad(format!("{}: {error}", new.display())),
    })?;
    out.write_all(repair_text(&report, folder, new).as_bytes())?;
    Ok(())
}

fn repair_text(report: &RepairReport, folder: &Path, new: &Path) -> String {
    let mut text = places(&report.problems, report.cut.as_ref());
    let _ = match report.problems.len() as u64 {
        0 => writeln!(text, "no damage: nothing was given up"),
        count => writeln!(
            text,
            "{} given up: changes there are lost, and what a lost deletion had removed is back",
            Count(count, "place")
        ),
    };
    let (folder, new) = (folder.display().to_string(), new.display().to_string());
    let saved = Count(report.saved, "object");
    let _ = writeln!(text, "{saved} saved to {}; {} stays as it is", line::harmless(&new), line::harmless(&folder));
    text
}

fn backup(folder: &Path, new: &Path, out: &mut impl Write) -> Result<(), Failure> {
    /// Standard streams, and the files of the copy.
    const OTHERS: u64 = 16;
    SysHost.raise_descriptor_limit(wisp_store::segments_in(folder) + OTHERS);
    let report = wisp_store::backup(folder, FsFiles::new(new)).map_err(|error| match error {
        OpenError::Io { .. } => Failure::Bad(error.to_string()),
        error => error.into(),
    })?;
    let (segments, bytes) = (Count(report.segments, "segment"), Count(report.bytes, "byte"));
    writeln!(out, "copied: {bytes} in {segments} to {}", line::harmless(&new.display().to_string()))?;
    Ok(())
}

fn import_mosquitto(file: &Path, new: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let report = import::import_mosquitto(file, new).map_err(|error| match error {
        ImportError::Failed(message) => Failure::Bad(message),
        ImportError::Refused(message) => Failure::Refused(message),
    })?;
    write!(out, "{report}")?;
    let new = new.display().to_string();
    writeln!(out, "start the broker with --data-dir {}", line::harmless(&new))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wisp_store::Log;

    use super::*;

    fn text_of(task: &Task) -> Result<String, Failure> {
        let mut out = Vec::new();
        perform(task, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    fn store(folder: &Path, values: u32) {
        let (log, _) = Log::open(FsFiles::new(folder), &Settings::default()).unwrap();
        for value in 0..values {
            log.put(7, 99, None, false, &[&value.to_le_bytes()]);
            log.flush().unwrap();
        }
    }

    #[test]
    fn a_whole_store_is_counted_and_compacted() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data");
        store(&folder, 100);
        let checked = text_of(&Task::Check(folder.clone())).unwrap();
        assert!(checked.ends_with(": 1 object\nwhole\n"), "{checked}");
        let compacted = text_of(&Task::Compact(folder.clone())).unwrap();
        assert!(compacted.starts_with("compacted: ") && compacted.ends_with(" after, 1 object\n"), "{compacted}");
        let dumped = text_of(&Task::Dump(folder)).unwrap();
        assert_eq!(dumped, "undecodable key=7 kind=99 bytes=4: is of a kind that this version does not know\n");
    }

    #[test]
    fn damage_is_named_and_the_rest_is_saved() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, new) = (parent.path().join("data"), parent.path().join("new"));
        store(&folder, 3);
        let segment = folder.join("segment-0000000002.log");
        let mut bytes = fs::read(&segment).unwrap();
        bytes[90] ^= 1;
        fs::write(&segment, bytes).unwrap();
        let report = offline::check(FsFiles::new(&folder)).unwrap();
        let text = check_text(&report);
        assert!(text.starts_with("damaged: segment-0000000002.log: offset "), "{text}");
        assert!(text.ends_with("damaged in 1 place\n"), "{text}");
        for task in [Task::Check(folder.clone()), Task::Compact(folder.clone()), Task::Dump(folder.clone())] {
            let failure = text_of(&task).unwrap_err();
            assert!(matches!(&failure, Failure::Bad(text) if text.contains("store repair")), "{failure:?}");
        }
        let repair = Task::Repair(folder.clone(), new.clone());
        let saved = text_of(&repair).unwrap();
        assert!(saved.starts_with("damaged: segment-0000000002.log: offset "), "{saved}");
        assert!(saved.contains("\n1 place given up: ") && saved.contains("\n1 object saved to "), "{saved}");
        assert!(text_of(&Task::Check(new)).unwrap().ends_with("whole\n"));
        let again = text_of(&repair).unwrap_err();
        assert!(matches!(&again, Failure::Refused(text) if text.contains("new: the folder to save to")), "{again:?}");
    }

    #[test]
    fn a_folder_that_is_missing_empty_or_in_use_is_refused_and_stays_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().to_path_buf();
        let refusal = |task: Task| match text_of(&task) {
            Err(Failure::Refused(text)) => text,
            other => panic!("{other:?}"),
        };
        for task in [Task::Check, Task::Dump, Task::Compact] {
            refusal(task(folder.join("missing")));
            assert!(refusal(task(folder.clone())).ends_with(": no store"));
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        let (log, _) = Log::open(FsFiles::new(&folder), &Settings::default()).unwrap();
        for task in [Task::Check, Task::Dump, Task::Compact] {
            assert!(refusal(task(folder.clone())).ends_with(": in use by another process"));
        }
        let copied = text_of(&Task::Backup(folder.clone(), folder.join("copy"))).unwrap();
        assert!(copied.starts_with("copied: ") && copied.contains(" in 1 segment to "), "{copied}");
        assert!(refusal(Task::Backup(folder.clone(), folder.join("copy"))).contains("not empty"));
        drop(log);
        assert!(refusal(Task::Repair(folder.clone(), folder.join("."))).contains("name a new one"));
    }
}
