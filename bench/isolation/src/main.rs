//! The program `wisp-isolation`: attacks Wisp and its peers with bad clients, and measures the harm to the other clients.
//!
//! ```text
//!   cases ---> run ---> subject    a broker, started for one run of one case
//!     |         |         ^
//!     |         |         `--- client, load    the attack, and the clients that are harmed
//!     v         v
//!   targets   records ---> summary    results.jsonl and summary.md
//! ```
//!
//! Each repetition runs a case against all brokers in turn, so that the machine's moods meet all of them. A missed
//! target is a result, not an error: status 0 when every wanted run was made, 2 when something needed is missing, 130 when
//! interrupted.

mod args;
mod case;
mod cases;
mod client;
mod load;
mod peers;
mod record;
mod run;
mod setup;
mod subject;
mod summary;

use std::process::ExitCode;

use args::{Arguments, PROGRAM};
use wisp_arguments::parse_arguments;

fn main() -> ExitCode {
    let arguments: Arguments = match parse_arguments() {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    match run::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{PROGRAM}: {failure}");
            ExitCode::from(failure.status())
        }
    }
}
