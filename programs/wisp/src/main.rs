//! `wisp pub` and `wisp sub`: publish and receive from the command line. `wisp passwd`: password files. `wisp cert`: certificates
//! for a first try.
//!
//! Exit status 0 on success, 1 when the connection failed, 2 when the command line was wrong, 27 when the time of
//! `wisp sub --timeout-s` is over. A standard output that is
//! closed early, as by `head`, ends the program without an error.

mod args;
#[cfg(not(target_family = "wasm"))]
mod cert;
mod connect;
mod failure;
mod passwd;
mod publish;
mod subscribe;

use std::process::ExitCode;

use wisp_arguments::parse_arguments_with;

use crate::args::{Arguments, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    let arguments: Arguments = match parse_arguments_with(args::hint) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let result = match &arguments.command {
        Command::Pub(options) => publish::run(options),
        Command::Sub(options) => subscribe::run(options),
        Command::Passwd(options) => passwd::run(options),
        #[cfg(not(target_family = "wasm"))]
        Command::Cert(options) => cert::run(options),
    };
    match result {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("wisp: {failure}");
            ExitCode::from(failure.status())
        }
    }
}
