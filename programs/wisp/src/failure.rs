//! The failures of the program, with their exit statuses.

use std::fmt;
use std::io;

use wisp_arguments::STATUS_USAGE;
use wisp_client::{Error, Fault, ReasonCode};

/// The exit status after a failure that is not the caller's fault.
const STATUS_FAILED: u8 = 1;
/// The exit status after `--timeout-s`, the same as mosquitto_sub's.
const STATUS_TIMED_OUT: u8 = 27;

/// Why the program ends early.
pub(crate) enum Failure {
    Client(Error),
    /// The broker refused a subscription.
    Refused(String),
    /// An argument cannot be used.
    Usage(String),
    /// Standard input or output failed.
    Stdio(String),
    /// The reader of standard output has closed it.
    OutputClosed,
    /// A certificate cannot be made.
    #[cfg(not(target_family = "wasm"))]
    Certificate(String),
    /// The time of the command line is over.
    TimedOut,
}

impl Failure {
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Client(error) if error.fault() == Fault::Caller => STATUS_USAGE,
            Self::Usage(_) => STATUS_USAGE,
            Self::TimedOut => STATUS_TIMED_OUT,
            #[cfg(not(target_family = "wasm"))]
            Self::Certificate(_) => STATUS_FAILED,
            Self::Client(_) | Self::Refused(_) | Self::Stdio(_) | Self::OutputClosed => STATUS_FAILED,
        }
    }

    /// Whether a new connection may succeed. A failure of TLS or WebSocket is a matter of settings, unless a connection
    /// succeeded before with the same ones.
    pub(crate) fn is_transient(&self, was_connected: bool) -> bool {
        let Self::Client(error) = self else { return false };
        match error {
            Error::Resolve { .. }
            | Error::Connect { .. }
            | Error::Transport(_)
            | Error::Timeout { .. }
            | Error::Silent { .. } => true,
            // Two clients with one identifier would take the session from each other for ever.
            Error::Closed { code, .. } => *code != Some(ReasonCode::SessionTakenOver),
            Error::Refused { code, .. } => {
                use ReasonCode::{
                    ConnectionRateExceeded, QuotaExceeded, ServerBusy, ServerUnavailable, UseAnotherServer,
                };
                matches!(
                    code,
                    ConnectionRateExceeded | QuotaExceeded | ServerBusy | ServerUnavailable | UseAnotherServer
                )
            }
            Error::Tls { .. } | Error::WebSocket { .. } => was_connected,
            _ => false,
        }
    }

    pub(crate) fn of_output(error: &io::Error) -> Self {
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
            #[cfg(not(target_family = "wasm"))]
            Self::Certificate(text) => f.write_str(text),
            Self::OutputClosed => f.write_str("standard output is closed"),
            Self::TimedOut => f.write_str("the time is over"),
        }
    }
}
