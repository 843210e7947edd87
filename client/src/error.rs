//! The errors of a client, and the party at fault.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wisp_wire::ReasonCode;

/// The reason why a call failed. It can be cloned, because a connection that has ended gives the same reason to every
/// later call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for something that MQTT or this broker does not allow, such as an illegal topic or a message
    /// larger than the broker accepts. The connection remains open.
    Usage(String),
    /// The broker's name has no address.
    Resolve {
        /// The name.
        host: String,
        /// The host's error.
        cause: Arc<io::Error>,
    },
    /// No connection to this address was made.
    Connect {
        /// The address.
        address: SocketAddr,
        /// The host's error.
        cause: Arc<io::Error>,
    },
    /// The host failed to send or to receive. The connection has ended.
    Transport(Arc<io::Error>),
    /// TLS with the broker failed. The connection has ended.
    Tls {
        /// The party at fault.
        fault: Fault,
        /// The reason, and the way out if there is one.
        text: String,
    },
    /// WebSocket with the broker failed. The connection has ended.
    WebSocket {
        /// The party at fault.
        fault: Fault,
        /// The reason, and the way out if there is one.
        text: String,
    },
    /// The broker answered CONNECT with a refusal.
    Refused {
        /// The broker's code.
        code: ReasonCode,
        /// The broker's text (MQTT 5).
        reason: Option<String>,
    },
    /// The broker ended the connection.
    Closed {
        /// The code of its DISCONNECT (MQTT 5); `None` if it closed without DISCONNECT.
        code: Option<ReasonCode>,
        /// The text of its DISCONNECT (MQTT 5).
        reason: Option<String>,
    },
    /// The broker refused a message with QoS 1 or 2 (MQTT 5). The connection remains open.
    NotTaken {
        /// The broker's code.
        code: ReasonCode,
        /// The broker's text.
        reason: Option<String>,
    },
    /// The broker violated MQTT. The connection has ended.
    Protocol(String),
    /// The broker did not answer, or did not accept bytes, in time.
    Timeout {
        /// The purpose of the wait, as in "for the broker to answer SUBSCRIBE".
        waiting: &'static str,
        /// The length of the wait.
        waited: Duration,
    },
    /// The broker did not answer a ping: it is gone, or cannot be reached. The connection has ended.
    Silent {
        /// The length of the wait.
        waited: Duration,
    },
    /// So many messages arrived before the answer that the inbox is full. Receive them first; the connection remains
    /// open.
    InboxFull {
        /// The number of messages in the inbox.
        messages: usize,
    },
}

/// The party at fault for an [`Error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The program that uses the client.
    Caller,
    /// The broker, or a program between it and the client.
    Broker,
    /// The host this program runs on, or the network.
    Host,
    /// None: a limit was reached.
    Limit,
}

impl Error {
    /// The party at fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Usage(_) => Fault::Caller,
            Self::Tls { fault, .. } | Self::WebSocket { fault, .. } => *fault,
            Self::Resolve { .. } | Self::Connect { .. } | Self::Transport(_) => Fault::Host,
            Self::Refused { .. }
            | Self::Closed { .. }
            | Self::NotTaken { .. }
            | Self::Protocol(_)
            | Self::Silent { .. } => Fault::Broker,
            Self::Timeout { .. } | Self::InboxFull { .. } => Fault::Limit,
        }
    }

    /// Whether the connection has ended, so that every later call fails with this error.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Usage(_) | Self::NotTaken { .. } | Self::Timeout { .. } | Self::InboxFull { .. })
    }

    /// The error of a socket, or of a layer above it, which carries an error of this type.
    pub(crate) fn transport(cause: io::Error) -> Self {
        cause.downcast::<Self>().unwrap_or_else(|cause| Self::Transport(Arc::new(cause)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Tls { text, .. } | Self::WebSocket { text, .. } => f.write_str(text),
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
                write!(f, "the broker refused the message: {code}")?;
                write_reason(f, reason.as_deref())
            }
            Self::Protocol(rule) => write!(f, "the broker violated MQTT: {rule}"),
            Self::Timeout { waiting, waited } => write!(f, "waited {} s {waiting}", waited.as_secs_f64()),
            Self::Silent { waited } => write!(f, "the broker did not answer a ping for {} s", waited.as_secs_f64()),
            Self::InboxFull { messages } => {
                write!(f, "the inbox is full: the answer arrives after its {messages} messages are received")
            }
        }
    }
}

fn write_reason(f: &mut fmt::Formatter<'_>, reason: Option<&str>) -> fmt::Result {
    match reason {
        // The broker wrote this text: its control characters must not reach a terminal.
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
