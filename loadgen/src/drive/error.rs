//! Why a run could not start, and why a connection failed during a run.

use std::fmt;
use std::io;

use wisp_client::Error;
use wisp_wire::{DecodeError, EncodeError, ReasonCode};

use crate::drive::nats::NatsError;
use crate::drive::pattern::LayoutError;
use crate::drive::topics::TopicError;

/// Why a run could not start.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The rate is not above zero.
    #[error("a rate is a number of messages a second above zero")]
    Rate,
    /// NATS has no such QoS.
    #[error("QoS {0} is MQTT's: core NATS acknowledges nothing, and is driven at QoS 0 alone")]
    NatsQos(u8),
    /// The numbers do not fit the pattern.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The protocol does not allow the topics.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// No packet can be as large.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The system does not allow enough descriptors.
    #[error(transparent)]
    Descriptors(#[from] DescriptorError),
    /// The broker cannot be reached, or refuses clients.
    #[error(transparent)]
    Broker(#[from] Error),
    /// The broker refused a client of the run.
    #[error("{client}: {cause}")]
    Client {
        /// The client's name, as in "sender 3".
        client: String,
        /// The reason.
        #[source]
        cause: Error,
    },
    /// Connecting ended early.
    #[error("{cause}; {connected} of {wanted} connected")]
    Incomplete {
        /// The reason.
        #[source]
        cause: Box<RunError>,
        /// Clients that were connected.
        connected: u32,
        /// All clients of the run.
        wanted: u32,
    },
    /// The caller's watch asked for the end while clients were being connected.
    #[error("interrupted before all were connected")]
    Interrupted,
    /// Connecting took longer than allowed, in seconds.
    #[error("not all connected after {0:.1} s")]
    ConnectTimeout(f64),
    /// The system has no poller.
    #[error("cannot wait for sockets: {0}")]
    Poller(#[source] io::Error),
    /// The system starts no thread for connecting.
    #[error("the system lets no thread be started: {0}")]
    NoThread(#[source] io::Error),
    /// The system does not start all threads of the run.
    #[error("the system lets only {started} of {wanted} threads be started: {cause}")]
    Threads {
        /// Threads that were started.
        started: usize,
        /// All threads of the run.
        wanted: usize,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
}

/// Why there are not enough descriptors.
#[derive(thiserror::Error, Debug)]
pub enum DescriptorError {
    /// The system does not change the limit.
    #[error("cannot ask for descriptors: {0}")]
    Limit(#[from] io::Error),
    /// The limit is too low.
    #[error("{needed} descriptors are needed, and the system allows {allowed} (see `ulimit -Hn`)")]
    TooFew {
        /// Descriptors that are needed.
        needed: u64,
        /// The highest limit that the system allows.
        allowed: u64,
    },
}

/// Why a connection failed during a run.
#[derive(thiserror::Error, Debug)]
pub(crate) enum ConnectionError {
    #[error("the broker closed the connection{0}")]
    Closed(Hint),
    #[error("the connection broke: {0}{1}")]
    Broke(io::Error, Hint),
    #[error("cannot send: {0}")]
    Send(#[from] io::Error),
    #[error("the broker does not keep to MQTT: {0}")]
    Mqtt(#[from] DecodeError),
    #[error("the server does not keep to NATS: {0}")]
    Nats(#[from] NatsError),
    #[error("the broker sent a message to a client that did not subscribe")]
    NotSubscribed,
    #[error("the broker closed the connection: {0}")]
    Disconnected(ReasonCode),
    #[error("the server says: {0}")]
    ServerError(String),
    #[error("the broker sent {packet} for message {packet_id}, which does not wait for it")]
    UnexpectedAck { packet: &'static str, packet_id: u16 },
    #[error("the broker did not take message {packet_id}: {code}")]
    Rejected { packet_id: u16, code: ReasonCode },
}

/// The likely reason for the end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hint {
    None,
    /// The connection is a receiver's, of a NATS server.
    SlowReceiver,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::SlowReceiver => {
                f.write_str(": NATS servers do so to receivers that are too slow (max_pending, write_deadline)")
            }
        }
    }
}
