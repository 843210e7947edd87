//! The command line, a file for each subcommand.

mod connections;
mod latency;
mod plans;
mod run;
mod settings;
mod sweep;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use connections::Connections;
pub(crate) use latency::Latency;
pub(crate) use plans::Plans;
pub(crate) use run::Run;
pub(crate) use settings::BrokerSettings;
pub(crate) use sweep::Sweep;

/// How measurements end.
const STATUSES: &str = "\
Status: 0 if every message came once, in order and unchanged; 1 if not, in one sample at least, or if the broker died; 2 if
something is missing, or wrong with what was asked for; 130 when interrupted. The second Ctrl-C ends everything at once.";

/// Start and drive an MQTT broker or a NATS server, check that every message arrives once and in order, and draw the
/// measurements.
#[derive(Parser, Debug)]
#[command(name = "wisp-loadgen", version)]
pub(crate) struct Arguments {
    /// The subcommand.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Send messages through a broker once, and check the received ones
    #[command(after_help = STATUSES)]
    Run(Box<Run>),
    /// Measure a plan: all combinations of its settings, several times in shuffled order
    ///
    /// Every sample is written at once to results.jsonl in the folder of --out; at the end there are also results.csv,
    /// plots and report.html. Ctrl-C ends a sweep and keeps its samples; --resume takes the missing ones. The defaults
    /// below are for a sweep without a plan: a plan may have others.
    #[command(after_help = STATUSES)]
    Sweep(Box<Sweep>),
    /// Measure how long messages take at a fixed rate, or at shares of the broker's own maximum
    ///
    /// Latency counts from the moment at which a message was due, so that a broker that stalls cannot hide it by holding the
    /// sender back.
    #[command(after_help = STATUSES)]
    Latency(Box<Latency>),
    /// Measure how fast a broker takes connections, and the memory of an idle one
    #[command(after_help = STATUSES)]
    Connections(Box<Connections>),
    /// Write tables, plots and report.html again, from the records in a folder
    Report(Report),
    /// List the plans that come with the program, or explain one
    ///
    /// Plans marked with * are run by wisp-bench: wisp-bench experiment NAME.
    Plans(Plans),
    /// Be a broker that counts messages and forwards nothing, to measure the generator itself
    ///
    /// `run --sink` starts one and drives it. Prints a line when it listens, and one with the rate each time the last
    /// client has gone.
    Sink(Sink),
}

/// The arguments of `report`.
#[derive(Args, Debug)]
pub(crate) struct Report {
    /// Folders with records
    #[arg(value_name = "DIR", required = true)]
    pub(crate) folders: Vec<PathBuf>,
}

/// The arguments of `sink`.
#[derive(Args, Debug)]
pub(crate) struct Sink {
    /// Where to listen; port 0 picks one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:1883")]
    pub(crate) listen: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
