//! What all subcommands say and hear: lines, and signals.

use std::io::{self, Write};

use wisp_lab::failure::{Failure, Interrupt};

/// The prefix of error messages.
pub(crate) const PROGRAM: &str = "wisp-loadgen";

pub(super) fn on_signals() -> Result<Interrupt, Failure> {
    Interrupt::on_signals(PROGRAM).map_err(|error| Failure::Setup(format!("cannot take over signals: {error}")))
}

/// Prints a line at once. A closed standard output is no error: its reader has seen enough.
pub(super) fn print(line: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{line}").and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Setup(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
