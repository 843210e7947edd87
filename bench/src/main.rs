//! The program `wisp-bench`.
//!
//! Status 0 when everything was measured, whether or not goals were reached; 1 when a broker lost, doubled or
//! reordered messages, or died; 2 when something needed is missing; 130 when interrupted.

use std::process::ExitCode;

use wisp_bench::args::{Arguments, Command};
use wisp_bench::{memory, smoke};
use wisp_client::program;

fn main() -> ExitCode {
    let arguments: Arguments = match program::parse_arguments() {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let ended = match &arguments.command {
        Command::Smoke(options) => smoke::run(options),
        Command::Memory(options) => memory::run(options),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("wisp-bench: {failure}");
            ExitCode::from(failure.status())
        }
    }
}
