//! The subcommands, up to the status that the program ends with.

mod plans;
mod run;
mod sweep;
mod terminal;

use std::io;
use std::process::ExitCode;

use crate::args::{self, Command};
pub(crate) use terminal::PROGRAM;
use terminal::print;
use wisp_lab::failure::Failure;
use wisp_loadgen::Sink;

/// Executes a subcommand, and returns the status to end with.
///
/// # Errors
/// The reason why it could not start or continue.
pub(crate) fn execute(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(options) => run::run(options),
        Command::Sweep(options) => sweep::run(options.plan(), &options.broker, &options.place),
        Command::Latency(options) => sweep::run(options.plan(), &options.broker, &options.place),
        Command::Connections(options) => sweep::run(options.plan(), &options.broker, &options.place),
        Command::Report(options) => write_reports(options),
        Command::Plans(options) => plans::run(options),
        Command::Sink(options) => sink(options),
    }
}

fn write_reports(options: &args::Report) -> Result<ExitCode, Failure> {
    for folder in &options.folders {
        let written = wisp_report::write(folder).map_err(Failure::setup)?;
        print(&format!("{} samples, drawn in {}", written.samples, written.page.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn sink(options: &args::Sink) -> Result<ExitCode, Failure> {
    let failed = |what: &str, error: io::Error| Failure::Setup(format!("{what}: {error}"));
    let mut sink =
        Sink::listen(options.listen).map_err(|error| failed(&format!("cannot listen on {}", options.listen), error))?;
    let address = sink.local_addr().map_err(|error| failed("cannot tell where it listens", error))?;
    print(&format!("{PROGRAM} sink listening on {address}"))?;
    loop {
        let burst = sink.serve().map_err(|error| failed("cannot wait for sockets", error))?;
        let (seconds, rate) = (burst.elapsed().as_secs_f64(), burst.messages_per_s());
        let megabytes = burst.bytes as f64 / 1e6;
        print(&format!("{} messages, {megabytes:.1} MB in {seconds:.3} s: {rate:.0} msg/s", burst.messages))?;
    }
}
