//! The command line: flags in, a [`Config`] out, once, at the edge.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{Parser, ValueEnum, value_parser};
use tracing::level_filters::LevelFilter;
use wisp_broker::{Config, Limits, MQTT_PORT, StallPolicy};

/// What the command line says.
pub(crate) struct Args {
    pub(crate) config: Config,
    pub(crate) log: LevelFilter,
}

/// A small MQTT broker, 3.1.1 and 5.
#[derive(Parser)]
#[command(name = "wisp-broker", version, after_help = "Limits are explained in docs/limits.md.")]
struct Flags {
    /// Address to listen on; may be given several times; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_values_t = Config::default().listen, value_parser = socket_addr)]
    listen: Vec<SocketAddr>,

    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = worker_count)]
    workers: Option<NonZeroUsize>,

    /// What to log on standard error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: LogLevel,

    #[command(flatten)]
    limits: LimitFlags,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitFlags {
    /// Longest packet accepted
    #[arg(long, value_name = "BYTES", default_value_t = Limits::DEFAULT.packet_bytes_max,
        value_parser = value_parser!(u32).range(64..=i64::from(wisp_broker::PACKET_BYTES_CEILING)))]
    packet_bytes_max: u32,

    /// Most connections at a time
    #[arg(long, value_name = "COUNT", default_value_t = Limits::DEFAULT.connections_count_max,
        value_parser = value_parser!(u32).range(1..))]
    connections_max: u32,

    /// Most bytes waiting for one receiver
    #[arg(long, value_name = "BYTES", default_value_t = Limits::DEFAULT.queue_bytes_max as u64,
        value_parser = value_parser!(u64).range(1024..=1 << 30))]
    queue_bytes_max: u64,

    /// Most messages waiting for one receiver
    #[arg(long, value_name = "COUNT", default_value_t = Limits::DEFAULT.queue_messages_max as u64,
        value_parser = value_parser!(u64).range(1..=1 << 30))]
    queue_messages_max: u64,

    /// Most bytes waiting in all queues and input buffers together
    #[arg(long, value_name = "BYTES", default_value_t = Limits::DEFAULT.buffered_bytes_max as u64,
        value_parser = value_parser!(u64).range(1 << 20..=1 << 40))]
    buffered_bytes_max: u64,

    /// Longest time from connecting to CONNECT
    #[arg(long, value_name = "MS", default_value_t = Limits::DEFAULT.connect_timeout_ms,
        value_parser = value_parser!(u64).range(1..=86_400_000))]
    connect_timeout_ms: u64,

    /// Longest keep-alive granted to clients of MQTT 5
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::DEFAULT.keep_alive_s_max,
        value_parser = value_parser!(u16).range(1..))]
    keep_alive_s_max: u16,

    /// Longest time senders are held back for a receiver without room
    #[arg(long, value_name = "MS", default_value_t = Limits::DEFAULT.stall_ms_max,
        value_parser = value_parser!(u64).range(1..=86_400_000))]
    stall_ms_max: u64,

    /// What follows then: drop messages for the receiver, or disconnect it
    #[arg(long, value_name = "POLICY", default_value = "drop")]
    stall_policy: StallPolicyFlag,

    /// Most subscriptions of one client
    #[arg(long, value_name = "COUNT", default_value_t = Limits::DEFAULT.subscriptions_count_max,
        value_parser = value_parser!(u32).range(1..))]
    subscriptions_max: u32,

    /// Most bytes that the subscriptions of all clients together take, by an estimate
    #[arg(long, value_name = "BYTES", default_value_t = Limits::DEFAULT.subscription_bytes_max as u64,
        value_parser = value_parser!(u64).range(1024..=1 << 40))]
    subscription_bytes_max: u64,

    /// Most levels of a topic
    #[arg(long, value_name = "COUNT", default_value_t = Limits::DEFAULT.topic_levels_max,
        value_parser = value_parser!(u16).range(1..=i64::from(wisp_broker::TOPIC_LEVELS_CEILING)))]
    topic_levels_max: u16,

    /// Longest topic
    #[arg(long, value_name = "BYTES", default_value_t = Limits::DEFAULT.topic_bytes_max,
        value_parser = value_parser!(u16).range(1..))]
    topic_bytes_max: u16,

    /// Longest client identifier
    #[arg(long, value_name = "BYTES", default_value_t = Limits::DEFAULT.client_id_bytes_max,
        value_parser = value_parser!(u16).range(23..))]
    client_id_bytes_max: u16,
}

#[derive(Clone, Copy, ValueEnum)]
enum StallPolicyFlag {
    Drop,
    Disconnect,
}

/// Parses the command line. The error is the status to end with, after what there is to say was said.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, ExitCode> {
    let flags = Flags::try_parse_from(args).map_err(|error| {
        if error.use_stderr() {
            eprintln!("wisp-broker: {}", one_line(&error));
            return ExitCode::from(super::USAGE);
        }
        // --help and --version.
        print!("{error}");
        ExitCode::SUCCESS
    })?;
    Ok(Args {
        config: Config { listen: flags.listen, workers: flags.workers, limits: flags.limits.into() },
        log: flags.log.into(),
    })
}

/// The first paragraph of a usage error, which says what is wrong; the rest is advice.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.trim_start_matches("error: ").split_whitespace().collect();
    format!("{} (see --help)", words.join(" "))
}

fn socket_addr(text: &str) -> Result<SocketAddr, String> {
    let hint = format!("not an address and a port, like 127.0.0.1:{MQTT_PORT} or [::1]:{MQTT_PORT}");
    text.parse().map_err(|_| hint)
}

fn worker_count(text: &str) -> Result<NonZeroUsize, String> {
    const WORKERS_MAX: usize = 256;
    let count = text.parse().ok().and_then(NonZeroUsize::new).filter(|count| count.get() <= WORKERS_MAX);
    count.ok_or_else(|| format!("not a number from 1 to {WORKERS_MAX}"))
}

impl From<LimitFlags> for Limits {
    fn from(flags: LimitFlags) -> Self {
        Self {
            packet_bytes_max: flags.packet_bytes_max,
            connections_count_max: flags.connections_max,
            queue_bytes_max: flags.queue_bytes_max as usize,
            queue_messages_max: flags.queue_messages_max as usize,
            buffered_bytes_max: usize::try_from(flags.buffered_bytes_max).unwrap_or(usize::MAX),
            connect_timeout_ms: flags.connect_timeout_ms,
            keep_alive_s_max: flags.keep_alive_s_max,
            stall_ms_max: flags.stall_ms_max,
            stall_policy: match flags.stall_policy {
                StallPolicyFlag::Drop => StallPolicy::Drop,
                StallPolicyFlag::Disconnect => StallPolicy::Disconnect,
            },
            subscriptions_count_max: flags.subscriptions_max,
            subscription_bytes_max: usize::try_from(flags.subscription_bytes_max).unwrap_or(usize::MAX),
            topic_levels_max: flags.topic_levels_max,
            topic_bytes_max: flags.topic_bytes_max,
            client_id_bytes_max: flags.client_id_bytes_max,
        }
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flags_give_the_documented_defaults() {
        let args = parse(["wisp-broker".into()]).ok().unwrap();
        let default = Config::default();
        assert_eq!((args.config.listen, args.config.limits), (default.listen, default.limits));
        assert_eq!(args.config.workers, None);
    }

    #[test]
    fn a_usage_error_is_one_line_that_names_the_flag() {
        for arguments in [["--listen", "nowhere"], ["--workers", "0"], ["--log", "loud"], ["--packet-bytes-max", "1"]] {
            let error = Flags::try_parse_from(["wisp-broker"].into_iter().chain(arguments)).err().unwrap();
            let line = one_line(&error);
            assert!(!line.contains('\n') && line.contains(arguments[0]), "{line}");
        }
    }
}
