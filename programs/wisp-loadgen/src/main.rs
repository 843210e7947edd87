//! The program `wisp-loadgen`.
//!
//! Status 0 when every message came once, in order and unchanged, 1 when not, 2 when something could not start, 130 when
//! interrupted.

mod args;
mod commands;

use std::process::ExitCode;

use args::Arguments;
use commands::PROGRAM;
use wisp_arguments::parse_arguments;

fn main() -> ExitCode {
    let arguments: Arguments = match parse_arguments() {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    commands::execute(&arguments.command).unwrap_or_else(|failure| {
        eprintln!("{PROGRAM}: {failure}");
        ExitCode::from(failure.status())
    })
}
