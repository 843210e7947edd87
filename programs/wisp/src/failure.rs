//! The failures of the program, with their exit statuses.

use std::fmt;
use std::io;

use wisp_arguments::STATUS_USAGE;
use wisp_client::{Error, Fault};

/// The exit status after a failure that is not the caller's fault.
const STATUS_FAILED: u8 = 1;

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
}

impl Failure {
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Client(error) if error.fault() == Fault::Caller => STATUS_USAGE,
            Self::Usage(_) => STATUS_USAGE,
            Self::Client(_) | Self::Refused(_) | Self::Stdio(_) | Self::OutputClosed => STATUS_FAILED,
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
            Self::OutputClosed => f.write_str("standard output is closed"),
        }
    }
}
