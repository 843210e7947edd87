//! The program `wisp-bench`.
//!
//! Status 0 when everything was measured, whether or not goals were reached; 1 when a broker lost, doubled or
//! reordered messages, or died; 2 when something needed is missing; 130 when interrupted.

use std::process::ExitCode;

use wisp_bench::args::{Arguments, Command};
use wisp_bench::smoke;
use wisp_client::program;

fn main() -> ExitCode {
    let arguments: Arguments = match program::parse_arguments() {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let Command::Smoke(options) = arguments.command;
    match smoke::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("wisp-bench: {failure}");
            ExitCode::from(failure.status())
        }
    }
}
