//! The program `wisp-bench`.
//!
//! Status 0 when everything was measured, whether or not goals were reached; 1 when a broker lost, doubled or
//! reordered messages, or died, or a program's result was wrong, or a build is above the bound of a
//! comparison; 2 when something needed is missing; 3 when a comparison is not resolved; 130 when interrupted.

use std::process::ExitCode;

use wisp_arguments::parse_arguments;
use wisp_bench::args::{Arguments, Command};
use wisp_bench::{compare, durable, experiment, memory, secure, smoke};

fn main() -> ExitCode {
    let arguments: Arguments = match parse_arguments() {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let ended = match &arguments.command {
        Command::Smoke(options) if options.against.is_set() => compare::forwarding(options),
        Command::Smoke(options) => smoke::run(options).map(|()| 0),
        Command::Memory(options) if options.against.is_set() => memory::compare(options),
        Command::Memory(options) => memory::run(options).map(|()| 0),
        Command::Secure(options) => secure::run(options).map(|()| 0),
        Command::Durable(options) => durable::run(options).map(|()| 0),
        Command::Experiment(options) => experiment::run(options),
    };
    match ended {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            eprintln!("wisp-bench: {failure}");
            ExitCode::from(failure.status())
        }
    }
}
