//! The arguments of `run`.

use std::path::PathBuf;

use clap::Args;
use wisp_arguments::{parse_qos, parse_version};
use wisp_wire::{ProtocolVersion, QoS};

use crate::args::tls::Tls;
use wisp_lab::broker::{Broker, Mode};
use wisp_lab::plan::{BrokerChoice, BrokerSetup, Load, SIZE_BYTES_MAX};
use wisp_loadgen::{HEADER_BYTES, Pattern, Target};

/// The window, unless one is given.
const WINDOW: u16 = 1000;

/// The arguments of `run`.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// A broker that runs on this machine: mqtt://HOST:PORT, mqtts://, ws://, wss:// or nats://, with USER:PASSWORD@ before the host if need be
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    pub(crate) url: Target,
    /// Its certificates.
    #[command(flatten)]
    pub(crate) tls: Tls,
    /// Start a broker on a free port, and stop it at the end: native, wasmer, wasmtime, wasmedge, mosquitto, nats-server,
    /// rumqttd, or a command line in which {port} or {address} stands for where it is to listen
    #[arg(long, value_name = "NAME|COMMAND", conflicts_with = "url")]
    pub(crate) broker: Option<BrokerChoice>,
    /// Measure how fast the generator is itself: start a broker that forwards nothing, and receive nothing
    #[arg(long, conflicts_with_all = ["broker", "url", "receivers", "pattern"])]
    pub(crate) sink: bool,
    /// How a runtime runs the module: aot, jit or interpreted
    #[arg(long, requires = "broker")]
    pub(crate) mode: Option<Mode>,
    /// Workers of a broker that has such a setting [default: the processors]
    #[arg(long, value_name = "COUNT", requires = "broker", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) workers: Option<u32>,
    /// A further argument for the broker; again for each
    #[arg(long, value_name = "ARGUMENT", requires = "broker", allow_hyphen_values = true)]
    pub(crate) broker_argument: Vec<String>,
    /// A further line of the configuration file of mosquitto, nats-server or rumqttd; again for each
    #[arg(long, value_name = "LINE", requires = "broker")]
    pub(crate) broker_setting: Vec<String>,
    /// The way of messages from senders to receivers
    #[arg(long, value_enum, default_value_t)]
    pub(crate) pattern: Pattern,
    /// Connections that send
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) senders: u32,
    /// Connections that receive; with 0, the clock stops when the broker has read everything [default: 1, of the sink 0]
    #[arg(long)]
    pub(crate) receivers: Option<u32>,
    /// Topics [default: one for each receiver; with wildcards ten for each; else one]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) topics: Option<u32>,
    /// Bytes of each message, some of which are its number and checksum
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = parse_size)]
    pub(crate) size: u64,
    /// Messages of all senders together
    #[arg(long, visible_alias = "messages", value_name = "MESSAGES", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Send messages at this rate, all senders together, and measure latency [default: as fast as the broker takes
    /// them]
    #[arg(long, value_name = "MSG_PER_S", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// The QoS to send and to subscribe with
    #[arg(long, value_name = "0|1|2", default_value = "0", value_parser = parse_qos)]
    pub(crate) qos: QoS,
    /// At QoS 1 and 2, messages of each sender that may be unacknowledged at once; fewer if an MQTT 5 broker says so
    #[arg(long, value_name = "MESSAGES", default_value_t = WINDOW, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) window: u16,
    /// The MQTT version: 3.1, 3.1.1 or 5 [default: 3.1.1]
    #[arg(short = 'V', long, value_name = "VERSION", value_parser = parse_version)]
    pub(crate) mqtt_version: Option<ProtocolVersion>,
    /// Threads: one for everything, or half of them for senders and half for receivers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// Topics are PREFIX/0, PREFIX/1, ... [default: one of its own for each run]
    #[arg(long, value_name = "PREFIX")]
    pub(crate) topic_prefix: Option<String>,
    /// Give up when nothing has moved for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout_s: u64,
    /// Give up when the run has taken so long
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) duration_max_s: Option<u64>,
    /// Add the record to a folder, and write the folder's tables and report again
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print one line of JSON with all settings and results
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run {
    /// The load of the run.
    #[must_use]
    pub(crate) fn load(&self) -> Load {
        let choice = match (&self.broker, self.sink) {
            (Some(broker), _) => broker.clone(),
            (None, true) => BrokerChoice::Start(Broker::Sink),
            (None, false) => BrokerChoice::Running(self.url.clone()),
        };
        Load {
            receivers: self.receivers.unwrap_or(u32::from(!choice.is_sink())),
            broker: BrokerSetup {
                mode: self.mode,
                workers: self.workers,
                arguments: self.broker_argument.clone(),
                settings: self.broker_setting.clone(),
                mqtt_version: self.mqtt_version,
                choice: choice.clone(),
            },
            pattern: self.pattern,
            qos: self.qos,
            window: Some(self.window),
            size_bytes: self.size,
            senders: self.senders,
            topics: self.topics,
            topic_prefix: self.topic_prefix.clone(),
            messages: Some(self.count),
            rate_per_s: self.rate,
            threads: self.threads.into(),
            timeout_s: self.timeout_s,
            ..Load::new(choice)
        }
    }
}

/// Why a text is no number of bytes of a message.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
enum SizeError {
    #[error("not a number of bytes")]
    NoNumber,
    #[error("a message needs {HEADER_BYTES} bytes for what is checked")]
    TooSmall,
    #[error("at most {SIZE_BYTES_MAX}")]
    TooLarge,
}

fn parse_size(text: &str) -> Result<u64, SizeError> {
    const LEAST: u64 = HEADER_BYTES as u64;
    match text.parse().map_err(|_| SizeError::NoNumber)? {
        ..LEAST => Err(SizeError::TooSmall),
        size @ LEAST..=SIZE_BYTES_MAX => Ok(size),
        _ => Err(SizeError::TooLarge),
    }
}

/// Why a text is no rate.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
enum RateError {
    #[error("not a number of messages a second")]
    NoNumber,
    #[error("a rate is above zero")]
    NotPositive,
}

fn parse_rate(text: &str) -> Result<f64, RateError> {
    let rate: f64 = text.parse().map_err(|_| RateError::NoNumber)?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err(RateError::NotPositive) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_below_the_header_are_refused() {
        for (text, right) in [
            ("15", false),
            ("16", HEADER_BYTES <= 16),
            ("0", false),
            ("x", false),
            ("267386880", true),
            ("267386881", false),
        ] {
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
}
