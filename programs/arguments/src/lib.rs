//! The command lines of Wisp's programs: one-line errors, and the names of versions and QoS.

use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use wisp_wire::{ProtocolVersion, QoS};

/// The exit status after a wrong command line.
pub const STATUS_USAGE: u8 = 2;

/// Reads the command line. Prints an error as one line, and the texts of `--help` and `--version`.
///
/// # Errors
/// The exit status, if the program has to exit.
pub fn parse_arguments<A: Parser>() -> Result<A, ExitCode> {
    parse_arguments_with(|_| None)
}

/// As [`parse_arguments`], with a `hint` for a wrong argument, which follows the error.
///
/// # Errors
/// The exit status, if the program has to exit.
pub fn parse_arguments_with<A: Parser>(hint: impl Fn(&str) -> Option<&'static str>) -> Result<A, ExitCode> {
    A::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // The reader may have closed the pipe.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ => {
            let hint = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::String(argument)) => hint(argument),
                _ => None,
            };
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            eprintln!("{}: {}{hint}", A::command().get_name(), one_line(&error.to_string()));
            ExitCode::from(STATUS_USAGE)
        }
    })
}

/// The first paragraph of a message of clap, in one line; usage and hints follow it.
fn one_line(message: &str) -> String {
    let first = message.split("\n\n").next().unwrap_or(message);
    let words: Vec<_> = first.strip_prefix("error: ").unwrap_or(first).split_whitespace().collect();
    let line = words.join(" ");
    if line.is_empty() { "an argument is missing, see --help".to_owned() } else { line }
}

/// A name that no version of MQTT has.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("use 3.1, 3.1.1 or 5")]
pub struct UnknownVersion;

/// The version named `3.1`, `3.1.1` or `5`, or as mosquitto's clients name it: `mqttv311`, `311`.
///
/// # Errors
/// When there is no such version.
pub fn parse_version(name: &str) -> Result<ProtocolVersion, UnknownVersion> {
    match name.strip_prefix("mqttv").unwrap_or(name) {
        "3.1" | "31" => Ok(ProtocolVersion::Mqtt31),
        "3.1.1" | "311" => Ok(ProtocolVersion::Mqtt311),
        "5" | "5.0" | "50" => Ok(ProtocolVersion::Mqtt5),
        _ => Err(UnknownVersion),
    }
}

/// A number that no QoS has.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("use 0, 1 or 2")]
pub struct UnknownQoS;

/// The QoS named `0`, `1` or `2`.
///
/// # Errors
/// When there is no such QoS.
pub fn parse_qos(name: &str) -> Result<QoS, UnknownQoS> {
    name.parse().ok().and_then(QoS::new).ok_or(UnknownQoS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser, Debug)]
    #[command(name = "thing")]
    struct Arguments {
        #[arg(long)]
        needed: u16,
        #[arg(short = 'V', value_parser = parse_version, default_value = "3.1.1")]
        version: ProtocolVersion,
    }

    #[test]
    fn usage_errors_are_one_line_that_names_the_argument() {
        for (arguments, named) in [
            (vec!["thing"], "--needed"),
            (vec!["thing", "--needed", "x"], "--needed"),
            (vec!["thing", "--needed", "1", "--unknown"], "--unknown"),
            (vec!["thing", "--needed", "1", "-V", "4"], "3.1, 3.1.1 or 5"),
        ] {
            let error = Arguments::try_parse_from(&arguments).expect_err("wrong on purpose");
            let line = one_line(&error.to_string());
            assert!(line.contains(named) && !line.contains('\n') && !line.starts_with("error"), "{line:?}");
        }
        let right = Arguments::try_parse_from(["thing", "--needed", "1"]).unwrap();
        assert_eq!((right.needed, right.version), (1, ProtocolVersion::Mqtt311));
    }
}
