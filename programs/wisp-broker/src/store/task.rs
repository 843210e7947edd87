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
    /// The file, and the folder to make.
    ImportMosquitto(PathBuf, PathBuf),
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
            "Check, list, compact or repair the folder of --data-dir while no broker uses it, copy it at any time, or make one of \
             mosquitto's persistence file",
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
        .subcommand(
            Command::new("import")
                .about("Make a folder of the sessions and messages that mosquitto 2.0 or 2.1 has saved")
                .arg(
                    Arg::new("FORMAT")
                        .value_name("FORMAT")
                        .required(true)
                        .value_parser([MOSQUITTO])
                        .help("The kind of file"),
                )
                .arg(folder("FILE", "The file, as in /var/lib/mosquitto/mosquitto.db: stop mosquitto first"))
                .arg(folder("NEWFOLDER", NEW_FOLDER)),
        )
}

/// The one format that can be imported.
const MOSQUITTO: &str = "mosquitto.db";

/// The task of the command line. `None`: the broker is to run.
pub(crate) fn take(matches: &mut ArgMatches) -> Option<Task> {
    let (_, mut store) = matches.remove_subcommand()?;
    let (name, mut task) = store.remove_subcommand()?;
    if name == "import" {
        return Some(Task::ImportMosquitto(task.remove_one("FILE")?, task.remove_one("NEWFOLDER")?));
    }
    let folder = task.remove_one("DIR")?;
    match name.as_str() {
        "check" => Some(Task::Check(folder)),
        "dump" => Some(Task::Dump(folder)),
        "compact" => Some(Task::Compact(folder)),
        "backup" => Some(Task::Backup(folder, task.remove_one("NEWFOLDER")?)),
        _ => Some(Task::Repair(folder, task.remove_one("NEWFOLDER")?)),
    }
}
