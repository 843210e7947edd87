//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use wisp_client::program::{parse_qos, parse_version};
use wisp_client::{ProtocolVersion, QoS};

use crate::drive::pattern::Pattern;
use crate::drive::payload::HEADER_BYTES;
use crate::drive::run::Config;
use crate::drive::target::Target;

/// The largest message of MQTT is 256 MiB with its header; topics are far shorter than what is left.
const SIZE_MAX: usize = 255 * 1024 * 1024;

/// The window, unless one is given.
pub const WINDOW: u16 = 1000;

/// Drive an MQTT broker or a NATS server at full speed, and check that every message arrives once and in order.
#[derive(Parser, Debug)]
#[command(name = "wisp-loadgen", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Send through a broker and check what is received
    ///
    /// Messages are spread evenly over the topics, of which each receiver gets those that the pattern says. Status 0 if all came
    /// once, in order, and as they were sent, 1 if not, 2 if the run could not start.
    Run(Run),
    /// Be a broker that counts what it gets and forwards nothing, to measure the generator itself
    ///
    /// Drive it with `run --receivers 0`. Prints a line when it listens, and one with the rate each time the last
    /// client has gone.
    Sink(Sink),
}

/// The arguments of `run`.
#[derive(Args, Debug)]
pub struct Run {
    /// The broker: mqtt://HOST:PORT or nats://HOST:PORT, with USER:PASSWORD@ before the host if need be
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    pub url: Target,
    /// Connections that send
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub senders: u32,
    /// Connections that receive; with 0, the clock stops when the broker has read everything
    #[arg(long, default_value_t = 1)]
    pub receivers: u32,
    /// Who gets what
    #[arg(long, value_enum, default_value_t = Pattern::OneToOne)]
    pub pattern: Pattern,
    /// Topics [default: one for each receiver; with wildcards ten for each; else one]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub topics: Option<u32>,
    /// Bytes of each message, of which the first 16 are its number and a checksum of all
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = parse_size)]
    pub size: usize,
    /// Messages of all senders together
    #[arg(long, value_name = "MESSAGES", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// The QoS to send and to subscribe with
    #[arg(long, value_name = "0|1|2", default_value = "0", value_parser = parse_qos)]
    pub qos: QoS,
    /// At QoS 1 and 2, messages of each sender that may be unacknowledged at once; fewer if an MQTT 5 broker says so
    #[arg(long, value_name = "MESSAGES", default_value_t = WINDOW, value_parser = clap::value_parser!(u16).range(1..))]
    pub window: u16,
    /// The MQTT version: 3.1, 3.1.1 or 5 [default: 3.1.1]
    #[arg(short = 'V', long, value_name = "VERSION", value_parser = parse_version)]
    pub mqtt_version: Option<ProtocolVersion>,
    /// Threads: one for everything, or half of them for senders and half for receivers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// Topics are PREFIX/0, PREFIX/1, ... [default: one of its own for each run]
    #[arg(long, value_name = "PREFIX")]
    pub topic_prefix: Option<String>,
    /// Send so many messages a second, all senders together, and measure latency [default: as fast as the broker takes them]
    #[arg(long, value_name = "MSG_PER_S", value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// Give up when nothing has moved for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout_s: u64,
    /// Give up when the run has taken so long
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub duration_max_s: Option<u64>,
    /// Print one line of JSON with all settings and results
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `sink`.
#[derive(Args, Debug)]
pub struct Sink {
    /// Where to listen; port 0 picks one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:1883")]
    pub listen: SocketAddr,
}

impl Run {
    /// What is to be run.
    ///
    /// # Errors
    /// When arguments do not fit each other.
    pub fn config(&self) -> Result<Config, String> {
        if let (Target::Nats(url), Some(version)) = (&self.url, self.mqtt_version) {
            return Err(format!("{version} is not what {url} speaks: leave out --mqtt-version"));
        }
        Ok(Config {
            target: self.url.clone(),
            version: self.mqtt_version.unwrap_or(ProtocolVersion::Mqtt311),
            qos: self.qos,
            window: self.window,
            senders: self.senders,
            receivers: self.receivers,
            pattern: self.pattern,
            topics: self.topics,
            size: self.size,
            messages: self.count,
            threads: self.threads.into(),
            topic_prefix: self.topic_prefix.clone(),
            rate_per_s: self.rate,
            timeout: Duration::from_secs(self.timeout_s),
            duration_max: self.duration_max_s.map(Duration::from_secs),
        })
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number of messages a second".to_owned())?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("a rate is above zero".to_owned()) }
}

fn parse_size(text: &str) -> Result<usize, String> {
    let size: usize = text.parse().map_err(|_| "not a number of bytes".to_owned())?;
    match size {
        ..HEADER_BYTES => Err(format!("a message needs {HEADER_BYTES} bytes for its number")),
        HEADER_BYTES..=SIZE_MAX => Ok(size),
        _ => Err(format!("at most {SIZE_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_below_the_header_are_refused() {
        for (text, right) in
            [("15", false), ("16", true), ("0", false), ("x", false), ("267386880", true), ("267386881", false)]
        {
            assert_eq!(parse_size(text).is_ok(), right, "{text}");
        }
    }

    #[test]
    fn rates_are_above_zero() {
        for (text, rate) in [("1000", Some(1000.0)), ("0.5", Some(0.5)), ("1e5", Some(1e5)), ("0", None), ("-1", None)]
        {
            assert_eq!(parse_rate(text).ok(), rate, "{text}");
        }
        assert!(["inf", "NaN", "", "fast"].iter().all(|text| parse_rate(text).is_err()));
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
