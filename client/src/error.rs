//! What can go wrong for a client, and whose fault it is.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wisp_wire::ReasonCode;

/// Why a call failed. Clonable, because a connection that has ended gives the same answer to every
/// later call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for something that MQTT or this broker does not allow, such as an illegal
    /// topic or a message larger than the broker takes. The connection is as it was.
    Usage(String),
    /// The broker's name could not be turned into an address.
    Resolve {
        /// The name.
        host: String,
        /// What the host said.
        cause: Arc<io::Error>,
    },
    /// No connection to this address could be made.
    Connect {
        /// The address that was tried.
        address: SocketAddr,
        /// What the host said.
        cause: Arc<io::Error>,
    },
    /// The host could not send or receive any more. The connection has ended.
    Transport(Arc<io::Error>),
    /// The broker answered CONNECT with a refusal.
    Refused {
        /// The code it gave.
        code: ReasonCode,
        /// The text it gave (MQTT 5).
        reason: Option<String>,
    },
    /// The broker ended the connection.
    Closed {
        /// The code of its DISCONNECT (MQTT 5); without one the broker just closed.
        code: Option<ReasonCode>,
        /// The text of its DISCONNECT (MQTT 5).
        reason: Option<String>,
    },
    /// The broker did not take a message that it acknowledges (MQTT 5). The connection is as it was.
    NotTaken {
        /// The code it gave.
        code: ReasonCode,
        /// The text it gave.
        reason: Option<String>,
    },
    /// The broker sent what MQTT does not allow. The connection has ended.
    Protocol(String),
    /// Nothing came, or nothing could be sent, for as long as the caller was willing to wait.
    Timeout {
        /// What was waited for, as in "for the broker to answer SUBSCRIBE".
        waiting: &'static str,
        /// How long.
        waited: Duration,
    },
    /// The broker did not answer pings: it is gone, or cannot be reached. The connection has ended.
    Silent {
        /// How long it was waited for the answer.
        waited: Duration,
    },
    /// As many messages as the client may keep came before the answer that was waited for. Receive
    /// them first; the connection is as it was.
    InboxFull {
        /// How many messages wait to be received.
        messages: usize,
    },
}

/// Who has to do something about an [`Error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The program that uses the client.
    Caller,
    /// The broker, or what stands between it and the client.
    Broker,
    /// The host this program runs on, or the network.
    Host,
    /// Nobody did wrong, but a limit was reached.
    Limit,
}

impl Error {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Usage(_) => Fault::Caller,
            Self::Resolve { .. } | Self::Connect { .. } | Self::Transport(_) => Fault::Host,
            Self::Refused { .. }
            | Self::Closed { .. }
            | Self::NotTaken { .. }
            | Self::Protocol(_)
            | Self::Silent { .. } => Fault::Broker,
            Self::Timeout { .. } | Self::InboxFull { .. } => Fault::Limit,
        }
    }

    /// Whether the connection has ended, so that every later call fails in the same way.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Usage(_) | Self::NotTaken { .. } | Self::Timeout { .. } | Self::InboxFull { .. })
    }

    pub(crate) fn transport(cause: io::Error) -> Self {
        Self::Transport(Arc::new(cause))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => f.write_str(what),
            Self::Resolve { host, cause } => write!(f, "cannot find the host {host}: {cause}"),
            Self::Connect { address, cause } => write!(f, "cannot connect to {address}: {cause}"),
            Self::Transport(cause) => write!(f, "the connection broke: {cause}"),
            Self::Refused { code, reason } => {
                write!(f, "the broker refused the connection: {code}")?;
                write_reason(f, reason.as_deref())
            }
            Self::Closed { code: None, .. } => f.write_str("the broker closed the connection"),
            Self::Closed { code: Some(code), reason } => {
                write!(f, "the broker closed the connection: {code}")?;
                write_reason(f, reason.as_deref())
            }
            Self::NotTaken { code, reason } => {
                write!(f, "the broker did not take the message: {code}")?;
                write_reason(f, reason.as_deref())
            }
            Self::Protocol(what) => write!(f, "the broker does not keep to MQTT: {what}"),
            Self::Timeout { waiting, waited } => write!(f, "waited {} s {waiting}", waited.as_secs_f64()),
            Self::Silent { waited } => write!(f, "the broker did not answer a ping for {} s", waited.as_secs_f64()),
            Self::InboxFull { messages } => {
                write!(f, "{messages} messages wait to be received, and the answer can only come after them")
            }
        }
    }
}

fn write_reason(f: &mut fmt::Formatter<'_>, reason: Option<&str>) -> fmt::Result {
    match reason {
        // The text is the broker's: control characters in it must not reach a terminal.
        Some(reason) => write!(f, " ({})", reason.escape_debug()),
        None => Ok(()),
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve { cause, .. } | Self::Connect { cause, .. } | Self::Transport(cause) => Some(&**cause),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_line_and_names_a_fault() {
        let errors = [
            (Error::Usage("bad topic".into()), Fault::Caller),
            (Error::transport(io::ErrorKind::BrokenPipe.into()), Fault::Host),
            (Error::Refused { code: ReasonCode::NotAuthorized, reason: Some("a\nb".into()) }, Fault::Broker),
            (Error::Closed { code: None, reason: None }, Fault::Broker),
            (Error::Closed { code: Some(ReasonCode::SessionTakenOver), reason: Some("x".into()) }, Fault::Broker),
            (Error::NotTaken { code: ReasonCode::QuotaExceeded, reason: None }, Fault::Broker),
            (Error::Timeout { waiting: "for x", waited: Duration::from_secs(1) }, Fault::Limit),
            (Error::InboxFull { messages: 3 }, Fault::Limit),
        ];
        for (error, fault) in errors {
            assert_eq!(error.fault(), fault, "{error}");
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
        }
    }
}
