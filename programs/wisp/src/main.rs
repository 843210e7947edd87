//! `wisp pub` and `wisp sub`: publish and receive from the command line.
//!
//! Exit status 0 on success, 1 when the connection failed, 2 when the command line was wrong. A standard output that is
//! closed early, as by `head`, ends the program without an error.

mod args;
mod publish;
mod subscribe;

use std::fmt;
use std::io;
use std::process::ExitCode;

use wisp_arguments::{STATUS_USAGE, parse_arguments};
use wisp_client::{Client, ConnectOptions, Error, Fault, Will};

use crate::args::{Arguments, Command, Server};

/// The exit status after a failure that is not the caller's fault.
const STATUS_FAILED: u8 = 1;

/// The number of topic aliases that the broker may assign with `--topic-aliases`.
const TOPIC_ALIAS_MAX: u16 = 1000;

fn main() -> ExitCode {
    let arguments: Arguments = match parse_arguments() {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let result = match &arguments.command {
        Command::Pub(options) => publish::run(options),
        Command::Sub(options) => subscribe::run(options),
    };
    match result {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("wisp: {failure}");
            ExitCode::from(failure.status())
        }
    }
}

/// Why the program ends early.
enum Failure {
    Client(Error),
    /// The broker refused a subscription.
    Refused(String),
    /// An argument cannot be used.
    Usage(String),
    /// Standard input or output failed.
    Stdio(String),
    /// The reader of standard output has closed it.
    OutputClosed,
}

impl Failure {
    fn status(&self) -> u8 {
        match self {
            Self::Client(error) if error.fault() == Fault::Caller => STATUS_USAGE,
            Self::Usage(_) => STATUS_USAGE,
            Self::Client(_) | Self::Refused(_) | Self::Stdio(_) | Self::OutputClosed => STATUS_FAILED,
        }
    }

    fn of_output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Stdio(format!("cannot write to standard output: {error}"))
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Refused(text) | Self::Usage(text) | Self::Stdio(text) => f.write_str(text),
            Self::OutputClosed => f.write_str("standard output is closed"),
        }
    }
}

/// Connects to the first of the server's addresses that answers.
fn connect(server: &Server) -> Result<Client, Failure> {
    let mut options = ConnectOptions::new(server.mqtt_version).with_user_of(&server.url);
    options.keep_alive_s = server.keep_alive_s;
    if let Some(id) = &server.client_id {
        options.client_id.clone_from(id);
    }
    options.clean_start = server.clean_start || server.session_expiry_s == 0;
    if server.mqtt_version.is_v5() {
        options.session_expiry_s = server.session_expiry_s;
    } else if server.clean_start && server.session_expiry_s > 0 {
        // In MQTT 3 one flag stands for both.
        let text = format!("{} cannot begin a new session and keep it", server.mqtt_version);
        return Err(Failure::Usage(text));
    }
    if server.topic_aliases {
        (options.use_topic_aliases, options.topic_alias_max) = (true, TOPIC_ALIAS_MAX);
    }
    let will = &server.will;
    options.will = will.will_topic.as_ref().map(|topic| {
        let mut message = Will::new(topic, will.will_message.as_str());
        (message.qos, message.retain, message.delay_s) = (will.will_qos, will.will_retain, will.will_delay_s);
        message
    });
    let mut last = None;
    for address in server.url.resolve()? {
        match Client::connect(address, options.clone()) {
            Ok(client) => return Ok(client),
            Err(error @ Error::Connect { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.expect("resolve gives one address at least").into())
}
