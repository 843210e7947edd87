//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use wisp_arguments::{parse_qos, parse_version};
use wisp_client::{ProtocolVersion, QoS, RetainHandling, ServerUrl, SubscriptionId};

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
    /// Print the messages of topics, one per line
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
    /// The client identifier [default: a fresh one]
    #[arg(short = 'i', long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// The seconds of silence that the broker allows; 0 for any
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) keep_alive_s: u16,
    /// Resume the session of the client identifier, and let the broker keep it for this time after the end; needs --client-id.
    /// MQTT 3 has no time: 0 keeps no session, any other number keeps it as long as the broker chooses
    #[arg(long, value_name = "SECONDS", default_value_t = 0, requires = "client_id")]
    pub(crate) session_expiry_s: u32,
    /// Start a new session instead of resuming one
    #[arg(long)]
    pub(crate) clean_start: bool,
    /// Use topic aliases in both directions (MQTT 5)
    #[arg(long)]
    pub(crate) topic_aliases: bool,
    #[command(flatten)]
    pub(crate) will: Will,
}

/// The message that the broker publishes if the program ends without DISCONNECT.
#[derive(Args)]
pub(crate) struct Will {
    /// The topic of a message that the broker publishes if this program loses its connection
    #[arg(long, value_name = "TOPIC")]
    pub(crate) will_topic: Option<String>,
    /// Its text
    #[arg(long, value_name = "TEXT", requires = "will_topic", default_value = "", hide_default_value = true)]
    pub(crate) will_message: String,
    /// Its QoS
    #[arg(long, value_name = "0|1|2", requires = "will_topic", default_value = "0", value_parser = parse_qos)]
    pub(crate) will_qos: QoS,
    /// Let the broker retain it
    #[arg(long, requires = "will_topic")]
    pub(crate) will_retain: bool,
    /// The seconds in which a reconnection cancels it (MQTT 5)
    #[arg(long, value_name = "SECONDS", requires = "will_topic", default_value_t = 0)]
    pub(crate) will_delay_s: u32,
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
    /// The QoS; at 1 and 2 the program waits for each acknowledgement
    #[arg(short, long, value_name = "0|1|2", default_value = "0", value_parser = parse_qos)]
    pub(crate) qos: QoS,
    /// Let the broker retain the message
    #[arg(short, long)]
    pub(crate) retain: bool,
}

/// The source of the messages: exactly one of these.
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
    /// The highest QoS to receive with
    #[arg(short, long, value_name = "0|1|2", default_value = "0", value_parser = parse_qos)]
    pub(crate) qos: QoS,
    /// Receive no message that the same connection published (MQTT 5)
    #[arg(long)]
    pub(crate) no_local: bool,
    /// Show whether a message was published with --retain (MQTT 5)
    #[arg(long)]
    pub(crate) retain_as_published: bool,
    /// The retained messages to receive: all, of new subscriptions only, or none (MQTT 5)
    #[arg(long, value_name = "all|new|none", default_value = "all", value_parser = parse_retain_handling)]
    pub(crate) retain_handling: RetainHandling,
    /// A number that each message of this subscription carries (MQTT 5)
    #[arg(long, value_name = "NUMBER", value_parser = parse_subscription_id)]
    pub(crate) subscription_id: Option<SubscriptionId>,
    /// Exit after this number of messages [default: never]
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Print the topic before each message; given twice, also its properties, as in [qos 1, retained, id 7]
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

fn parse_retain_handling(name: &str) -> Result<RetainHandling, String> {
    match name {
        "all" => Ok(RetainHandling::Send),
        "new" => Ok(RetainHandling::SendIfNew),
        "none" => Ok(RetainHandling::DoNotSend),
        _ => Err("use all, new or none".to_owned()),
    }
}

fn parse_subscription_id(number: &str) -> Result<SubscriptionId, String> {
    number.parse().ok().and_then(SubscriptionId::new).ok_or_else(|| "use 1 to 268435455".to_owned())
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
