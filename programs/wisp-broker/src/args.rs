//! The command line, parsed and checked. [`Effective`](crate::effective::Effective) combines it with the environment
//! and the file.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, value_parser};

use crate::settings::{Kind, SETTINGS, Section, Setting, Settings};
use crate::store::task::{self, Task};

/// The exit status after an error of the operator.
pub(crate) const STATUS_USAGE: u8 = 2;

/// The parsed command line.
#[derive(Clone)]
pub(crate) struct Args {
    pub(crate) action: Action,
    /// The admin listener of another broker, which is asked instead of running this one.
    pub(crate) health: Option<SocketAddr>,
    /// Work on a data folder instead of running.
    pub(crate) store: Option<Task>,
    /// The file of `--config`.
    pub(crate) config: Option<PathBuf>,
    /// The file of `--mosquitto-config`.
    pub(crate) mosquitto_config: Option<PathBuf>,
    /// The values of each setting that has a flag, in the order of [`SETTINGS`]. They are legal.
    pub(crate) flags: Vec<Option<Vec<String>>>,
}

/// The use that the program makes of its configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Run,
    /// Report that it is legal, and exit.
    Check,
    /// Show it, and exit.
    Print,
    /// Show what a launcher has to hand in, and exit.
    PrintNeeds,
}

/// Parses the command line. The error is the exit status; its message is printed here.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, ExitCode> {
    try_parse(args).map_err(|error| {
        if error.use_stderr() {
            eprintln!("wisp-broker: {}", one_line(&error));
            return ExitCode::from(STATUS_USAGE);
        }
        // --help and --version.
        print!("{error}");
        ExitCode::SUCCESS
    })
}

pub(crate) fn try_parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, clap::Error> {
    let mut matches = command().try_get_matches_from(args)?;
    let actions = [
        // A launcher adds the first to any others.
        ("print-needs", Action::PrintNeeds),
        ("check-config", Action::Check),
        ("print-config", Action::Print),
    ];
    let action = actions.into_iter().find(|(flag, _)| matches.get_flag(flag)).map_or(Action::Run, |(_, action)| action);
    let (health, store) = (matches.remove_one("health"), task::take(&mut matches));
    let (config, mosquitto_config) = (matches.remove_one("config"), matches.remove_one("mosquitto-config"));
    let mut values = |setting: &Setting| matches.remove_many(setting.name).map(Iterator::collect);
    Ok(Args { action, health, store, config, mosquitto_config, flags: SETTINGS.iter().map(&mut values).collect() })
}

fn command() -> Command {
    Command::new("wisp-broker")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A small MQTT broker, 3.1.1 and 5")
        .after_help(
            "Each flag may also be given by the environment (WISP_LISTEN for --listen) or by a key in the file.\n\
             docs/configuration.md tells more, and docs/limits.md explains the limits.",
        )
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Read this TOML file; - reads standard input"),
        )
        .arg(
            Arg::new("mosquitto-config")
                .long("mosquitto-config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with("config")
                .help("Read this mosquitto.conf instead; directives without an effect are named"),
        )
        .arg(
            Arg::new("check-config")
                .long("check-config")
                .action(ArgAction::SetTrue)
                .conflicts_with("print-config")
                .help("Check the configuration, and end"),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Show the effective configuration as a file for --config, and end"),
        )
        .arg(
            Arg::new("print-needs")
                .long("print-needs")
                .action(ArgAction::SetTrue)
                .help("Show what a sandbox has to grant: the addresses to listen on, the number of workers; and end"),
        )
        .arg(
            Arg::new("health")
                .long("health")
                .value_name("ADDR:PORT")
                .value_parser(value_parser!(SocketAddr))
                .conflicts_with_all(["check-config", "print-config"])
                .help("Ask the broker whose --admin is this address whether it is ready, and end: status 0 if it is, else 1"),
        )
        .args(SETTINGS.iter().map(flag))
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .subcommand(task::command())
}

fn flag(setting: &'static Setting) -> Arg {
    let default = setting.show(&Settings::default());
    let default = match default.trim_matches(['[', ']', '"']) {
        "" => "none",
        default => default,
    };
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value_name)
        .action(if setting.is_list() { ArgAction::Append } else { ArgAction::Set })
        .help(format!("{} [default: {default}]", setting.help));
    let arg = match setting.section {
        Section::Top => arg,
        Section::Limits => arg.help_heading("Limits"),
    };
    match setting.kind {
        Kind::Word { words, .. } => arg.value_parser(PossibleValuesParser::new(words)),
        _ => arg.value_parser(|text: &str| setting.check(text).map(|()| text.to_owned())),
    }
}

/// The first paragraph of a usage error, which has the reason; the rest is advice.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.trim_start_matches("error: ").split_whitespace().collect();
    format!("{} (see --help)", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Result<Args, clap::Error> {
        try_parse(["wisp-broker"].iter().chain(words).map(OsString::from))
    }

    #[test]
    fn the_command_is_built_as_clap_wants_it() {
        command().debug_assert();
    }

    #[test]
    fn flags_that_are_not_given_say_nothing() {
        let args = args(&[]).unwrap();
        assert_eq!((args.action, args.config), (Action::Run, None));
        assert_eq!(args.flags, vec![None; SETTINGS.len()]);
    }

    #[test]
    fn a_usage_error_is_one_line_that_names_the_flag() {
        let cases = [
            ["--listen", "nowhere"],
            ["--workers", "0"],
            ["--log", "loud"],
            ["--packet-bytes-max", "1"],
            ["--check-config", "--print-config"],
        ];
        for words in cases {
            let line = one_line(&args(&words).err().unwrap());
            assert!(!line.contains('\n') && line.contains(words[0]), "{line}");
        }
    }

    #[test]
    fn a_task_for_a_store_is_complete_and_has_no_flags() {
        let [one, new] = ["one", "new"].map(PathBuf::from);
        let tasks = [
            (vec!["check", "one"], Task::Check(one.clone())),
            (vec!["dump", "one"], Task::Dump(one.clone())),
            (vec!["compact", "one"], Task::Compact(one.clone())),
            (vec!["repair", "one", "new"], Task::Repair(one, new)),
        ];
        for (words, task) in tasks {
            let all = [&["store"], &words[..]].concat();
            assert_eq!(args(&all).unwrap().store, Some(task));
            for wrong in
                [&all[..all.len() - 1], &[&all[..], &["more"]].concat(), &[&["--workers", "1"], &all[..]].concat()]
            {
                let line = one_line(&args(wrong).err().unwrap());
                assert!(!line.contains('\n') && !line.is_empty(), "{line}");
            }
        }
        assert!(args(&["store"]).is_err() && args(&["store", "burn", "one"]).is_err());
        assert_eq!(args(&[]).unwrap().store, None);
    }

    #[test]
    fn only_a_list_may_be_given_twice() {
        for setting in SETTINGS.iter() {
            let flag = format!("--{}", setting.name);
            let default = setting.show(&Settings::default());
            let value = default.trim_matches(['[', ']', '"']);
            let outcome = args(&[&flag, value, &flag, value]);
            assert_eq!(outcome.is_ok(), setting.is_list(), "{flag}");
        }
    }
}
