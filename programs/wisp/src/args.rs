//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use wisp_arguments::{parse_qos, parse_version};
use wisp_client::{InvalidUrl, ProtocolVersion, QoS, RetainHandling, ServerUrl, SubscriptionId};

use crate::passwd::Passwd;

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
    /// Make or change a password file for a broker
    Passwd(Passwd),
    /// Make a CA, and certificates for a broker and its clients
    #[cfg(not(target_family = "wasm"))]
    Cert(Cert),
}

#[cfg(not(target_family = "wasm"))]
#[derive(Args)]
pub(crate) struct Cert {
    /// The folder for the files. If it has a CA from before, that one signs again; no file is ever replaced
    #[arg(value_name = "DIR", default_value = "certs")]
    pub(crate) folder: PathBuf,
    /// A name or address of the broker; may be given more than once [default: localhost, 127.0.0.1, ::1]
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
    /// Make a certificate for a client of this name too; may be given more than once
    #[arg(long = "client", value_name = "NAME")]
    pub(crate) clients: Vec<String>,
    /// The days for which the certificates are valid; the CA is for ten years
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

#[derive(Args)]
pub(crate) struct Server {
    /// The broker: mqtt://, mqtts://, ws:// or wss:// and HOST:PORT, or USER:PASSWORD@HOST:PORT
    /// [default: mqtt://127.0.0.1:1883]
    #[arg(short = 'L', long, value_name = "URL", conflicts_with_all = ["host", "port"])]
    pub(crate) url: Option<ServerUrl>,
    /// The same, or a user name, as with mosquitto's clients
    #[arg(short = 'u', value_name = "URL|USER", value_parser = parse_account)]
    pub(crate) account: Option<Account>,
    /// The broker's name or address, in place of a URL
    #[arg(short = 'h', long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Its port [default: 1883, over TLS 8883]
    #[arg(short, long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) login: Login,
    #[command(flatten)]
    pub(crate) tls: Tls,
    /// The MQTT version: 3.1, 3.1.1 or 5
    #[arg(
        short = 'V',
        long,
        alias = "protocol-version",
        value_name = "VERSION",
        default_value = "3.1.1",
        value_parser = parse_version
    )]
    pub(crate) mqtt_version: ProtocolVersion,
    /// The client identifier [default: a fresh one]
    #[arg(short = 'i', long, alias = "id", value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// The seconds of silence that the broker allows; 0 for any
    #[arg(short, long, alias = "keepalive", value_name = "SECONDS", default_value_t = 60)]
    pub(crate) keep_alive_s: u16,
    /// Resume the session of the client identifier, and let the broker keep it for this time after the end; needs --client-id.
    /// MQTT 3 has no time: 0 keeps no session, any other number keeps it as long as the broker chooses
    #[arg(
        short = 'x',
        long,
        alias = "session-expiry-interval",
        value_name = "SECONDS",
        default_value_t = 0,
        requires = "client_id"
    )]
    pub(crate) session_expiry_s: u32,
    /// Resume the session of the client identifier, and let the broker keep it for ever
    #[arg(short = 'c', long = "keep-session", alias = "disable-clean-session", requires = "client_id")]
    pub(crate) keeps_session: bool,
    /// Start a new session instead of resuming one
    #[arg(long)]
    pub(crate) clean_start: bool,
    /// Use topic aliases in both directions (MQTT 5)
    #[arg(long)]
    pub(crate) topic_aliases: bool,
    /// Tell on standard error about the connection
    #[arg(short, long)]
    pub(crate) debug: bool,
    #[command(flatten)]
    pub(crate) will: Will,
    /// Show this help
    #[arg(long, action = ArgAction::Help)]
    pub(crate) help: Option<bool>,
}

/// User and password. Without these, the variables WISP_USERNAME and WISP_PASSWORD count, then the URL.
#[derive(Args)]
pub(crate) struct Login {
    /// The user name [variable: WISP_USERNAME]
    #[arg(long, value_name = "USER")]
    pub(crate) username: Option<String>,
    /// The password; other users of this machine can see it, so better name a file [variable: WISP_PASSWORD]
    #[arg(short = 'P', long, value_name = "PASSWORD", alias = "pw", conflicts_with = "credentials")]
    pub(crate) password: Option<String>,
    /// A file with one line, USER:PASSWORD
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,
}

/// The certificates of a connection over TLS.
#[derive(Args)]
pub(crate) struct Tls {
    /// A PEM file with the CAs to trust [default: the ones of this machine]
    #[arg(long, value_name = "FILE")]
    pub(crate) cafile: Option<PathBuf>,
    /// A PEM file with this client's certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// A PEM file with its key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Accept any certificate of the broker, so that anyone in between can read and change everything
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Use TLS with --host; --cafile, --cert and --insecure do so too
    #[arg(long = "tls", alias = "tls-use-os-certs")]
    pub(crate) is_wanted: bool,
}

/// The value of -u: a URL as Wisp takes it, or a user name as mosquitto's clients take it.
#[derive(Clone)]
pub(crate) enum Account {
    Url(ServerUrl),
    User(String),
}

fn parse_account(text: &str) -> Result<Account, InvalidUrl> {
    if text.contains("://") { text.parse().map(Account::Url) } else { Ok(Account::User(text.to_owned())) }
}

/// The way out for an argument that mosquitto's clients have and this program has not, or that is incomplete.
pub(crate) fn hint(argument: &str) -> Option<&'static str> {
    let name = argument.split([' ', '=']).next().unwrap_or(argument);
    Some(match name {
        "--host" => "-h is the broker's host; --help shows the help",
        "-A" | "-S" => "this program chooses address and name service by itself",
        "--capath" => "put the certificates of the folder into one file, and name it with --cafile",
        "-D" | "--property" => "MQTT 5 properties cannot be set",
        "-E" => "use -W 1 to end soon after subscribing",
        "-F" | "-o" | "--pretty" => {
            "the output has one form: the payload, with -v the topic before it, with -vv all flags"
        }
        "-I" | "--id-prefix" => "use --client-id",
        "-M" | "--max-inflight" => "this program waits for each acknowledgement",
        "-T" | "--filter-out" => "subscribe to fewer topics, or filter the output of -v",
        "-U" | "--unsubscribe" => "start a new session with --clean-start",
        "--ciphers" | "--tls-version" | "--tls-alpn" | "--tls-engine" => {
            "TLS 1.2 and 1.3 with safe suites are built in"
        }
        "--psk" | "--psk-identity" => "use certificates: --cafile, --cert and --key",
        "--proxy" => "connect through a tunnel, such as ssh -L",
        "--quiet" => "redirect standard error",
        "--repeat" | "--repeat-delay" => "pipe lines into -l",
        "--remove-retained" | "--retained-only" => "publish an empty message with -r -n to remove one",
        _ => return None,
    })
}

/// The message that the broker publishes if the program ends without DISCONNECT.
#[derive(Args)]
pub(crate) struct Will {
    /// The topic of a message that the broker publishes if this program loses its connection
    #[arg(long, value_name = "TOPIC")]
    pub(crate) will_topic: Option<String>,
    /// Its text
    #[arg(
        long,
        alias = "will-payload",
        value_name = "TEXT",
        requires = "will_topic",
        default_value = "",
        hide_default_value = true
    )]
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
#[command(disable_help_flag = true)]
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
    #[arg(short, long, alias = "stdin-line")]
    pub(crate) lines: bool,
    /// Publish the whole of a file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Publish the whole of standard input
    #[arg(short, long = "stdin", alias = "stdin-file")]
    pub(crate) stdin: bool,
    /// Publish an empty message, which with --retain removes the retained one
    #[arg(short = 'n', long = "null-message")]
    pub(crate) empty: bool,
}

#[derive(Args)]
#[command(disable_help_flag = true)]
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
    #[arg(short = 'n', visible_short_alias = 'C', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Exit after this time, with status 27 unless --count is reached before [default: never]
    #[arg(short = 'W', long, alias = "timeout", value_name = "SECONDS", value_parser = parse_timeout)]
    pub(crate) timeout_s: Option<Duration>,
    /// Connect again when the connection fails or ends, after 1 s at first, and then after up to a minute
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// Print no retained messages
    #[arg(short = 'R', long)]
    pub(crate) no_retained: bool,
    /// Print no line end after each message
    #[arg(short = 'N', long)]
    pub(crate) no_eol: bool,
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

fn parse_timeout(seconds: &str) -> Result<Duration, String> {
    let timeout = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    timeout.filter(|timeout| !timeout.is_zero()).ok_or_else(|| "use a number of seconds above 0".to_owned())
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

    #[test]
    fn a_hint_is_for_an_argument_that_does_not_exist() {
        for argument in ["-D", "--capath", "-F", "--psk", "--tls-version"] {
            for command in ["pub", "sub"] {
                let error = Arguments::try_parse_from(["wisp", command, argument, "x"]).err().expect("unknown");
                assert_eq!(error.kind(), clap::error::ErrorKind::UnknownArgument, "{argument}");
                assert!(hint(argument).is_some_and(|hint| !hint.is_empty()));
            }
        }
        assert!(hint("--unheard-of").is_none());
    }
}
