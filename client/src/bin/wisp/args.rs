//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use wisp_client::program::parse_version;
use wisp_client::{ProtocolVersion, ServerUrl};

/// Publish to an MQTT broker, or receive from it.
#[derive(Parser)]
#[command(name = "wisp", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Publish a message, a file, or the lines of standard input
    Pub(Publish),
    /// Print the messages of topics, one a line
    Sub(Subscribe),
}

#[derive(Args)]
pub(crate) struct Server {
    /// The broker: mqtt://HOST:PORT, or mqtt://USER:PASSWORD@HOST:PORT
    #[arg(short, long, value_name = "URL")]
    pub(crate) url: ServerUrl,
    /// The MQTT version: 3.1, 3.1.1 or 5
    #[arg(short = 'V', long, value_name = "VERSION", default_value = "3.1.1", value_parser = parse_version)]
    pub(crate) mqtt_version: ProtocolVersion,
    /// The client's name [default: a fresh one]
    #[arg(short = 'i', long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// The seconds of silence the broker puts up with; 0 for any
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) keep_alive_s: u16,
}

#[derive(Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) server: Server,
    /// The topic to publish to
    #[arg(short, long, value_name = "TOPIC")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) source: Source,
    /// Let the broker keep the message for later subscribers
    #[arg(short, long)]
    pub(crate) retain: bool,
}

/// What to publish: exactly one of them.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Source {
    /// Publish this text
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Publish each line of standard input
    #[arg(short, long)]
    pub(crate) lines: bool,
    /// Publish the whole of a file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Subscribe {
    #[command(flatten)]
    pub(crate) server: Server,
    /// A topic filter; may be given more than once
    #[arg(short, long = "topic", value_name = "FILTER", required = true)]
    pub(crate) topics: Vec<String>,
    /// End after so many messages [default: never]
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Print the topic before each message
    #[arg(short, long)]
    pub(crate) verbose: bool,
}
