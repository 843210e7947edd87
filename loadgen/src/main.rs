//! The program `wisp-loadgen`.
//!
//! Status 0 when every message came once and in order, 1 when not, 2 when the run could not start.

use std::io::{self, Write};
use std::process::ExitCode;

use wisp_client::program::{self, STATUS_USAGE};
use wisp_loadgen::args::{self, Arguments, Command};
use wisp_loadgen::drive::run;
use wisp_loadgen::failure::Interrupt;
use wisp_loadgen::sink::Sink;

/// The status of a run that found something bad.
const STATUS_BAD: u8 = 1;

fn main() -> ExitCode {
    let arguments: Arguments = match program::parse_arguments() {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let ended = match &arguments.command {
        Command::Run(options) => run(options),
        Command::Sink(options) => sink(options),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("wisp-loadgen: {error}");
        ExitCode::from(STATUS_USAGE)
    })
}

fn run(options: &args::Run) -> Result<ExitCode, String> {
    let interrupt = Interrupt::on_signals().map_err(|error| format!("cannot take over signals: {error}"))?;
    let results = run::run(&options.config()?, &interrupt)?;
    if let Some(error) = &results.error {
        eprintln!("wisp-loadgen: {error}");
    }
    print(&if options.json { results.to_json() } else { results.to_string() })?;
    Ok(if results.is_good() { ExitCode::SUCCESS } else { ExitCode::from(STATUS_BAD) })
}

fn sink(options: &args::Sink) -> Result<ExitCode, String> {
    let mut sink =
        Sink::listen(options.listen).map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let address = sink.local_addr().map_err(|error| error.to_string())?;
    print(&format!("wisp-loadgen sink listening on {address}"))?;
    loop {
        let burst = sink.serve().map_err(|error| format!("cannot wait for sockets: {error}"))?;
        let (seconds, rate) = (burst.elapsed().as_secs_f64(), burst.messages_per_s());
        let megabytes = burst.bytes as f64 / 1e6;
        print(&format!("{} messages, {megabytes:.1} MB in {seconds:.3} s: {rate:.0} msg/s", burst.messages))?;
    }
}

/// Prints a line at once. A closed standard output is no error: whoever closed it has seen enough.
fn print(line: &str) -> Result<(), String> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{line}").and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}
