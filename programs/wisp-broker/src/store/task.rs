//! The subcommand `store` on the command line.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};

/// What is done with a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Check(PathBuf),
    Dump(PathBuf),
    Compact(PathBuf),
    Repair(PathBuf, PathBuf),
    Backup(PathBuf, PathBuf),
}

const NEW_FOLDER: &str = "The folder to make: its parent is there, and it is missing or empty";

/// The subcommand `store`.
pub(crate) fn command() -> Command {
    let folder = |name: &'static str, help| {
        Arg::new(name).value_name(name).required(true).value_parser(value_parser!(PathBuf)).help(help)
    };
    let task =
        |name: &'static str, about| Command::new(name).about(about).arg(folder("DIR", "The folder of --data-dir"));
    Command::new("store")
        .about(
            "Check, list, compact or repair the folder of --data-dir while no broker uses it, or copy it at any time",
        )
        .after_help("docs/storage.md tells more.")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(task(
            "check",
            "List the damage: status 0 if there is none, 1 if there is some, 2 without an answer",
        ))
        .subcommand(task("dump", "Show each object that can be read, one a line"))
        .subcommand(task("compact", "Write all that is live anew, and remove the rest"))
        .subcommand(
            task("repair", "Save all objects that can be read to a new folder; the old one stays as it is")
                .arg(folder("NEWFOLDER", NEW_FOLDER)),
        )
        .subcommand(
            task("backup", "Copy the folder, also while a broker uses it, as it is at one moment")
                .arg(folder("NEWFOLDER", NEW_FOLDER)),
        )
}

/// The task of the command line. `None`: the broker is to run.
pub(crate) fn take(matches: &mut ArgMatches) -> Option<Task> {
    let (_, mut store) = matches.remove_subcommand()?;
    let (name, mut task) = store.remove_subcommand()?;
    let folder = task.remove_one("DIR")?;
    match name.as_str() {
        "check" => Some(Task::Check(folder)),
        "dump" => Some(Task::Dump(folder)),
        "compact" => Some(Task::Compact(folder)),
        "backup" => Some(Task::Backup(folder, task.remove_one("NEWFOLDER")?)),
        _ => Some(Task::Repair(folder, task.remove_one("NEWFOLDER")?)),
    }
}
