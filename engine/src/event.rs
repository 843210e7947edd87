//! The outputs of a worker for its driver: instructions for sockets and mailboxes, and events for log, metrics and
//! hooks.

use std::net::SocketAddr;
use std::sync::Arc;

use wisp_wire::{ProtocolVersion, QoS};

use crate::base::denials::Denial;
use crate::connection::disconnect::EndReason;
use crate::delivery::outbox::{ConnectionId, Outbox};
use crate::order::Order;
use crate::policy::IN_PROCESS_LISTENER;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The peer's address, if the host provides it.
    pub peer: Option<SocketAddr>,
    /// The index of the listener in the configuration, or [`IN_PROCESS_LISTENER`].
    pub listener: u16,
}

impl Origin {
    /// A client without a socket, in the program that embeds the broker.
    pub const IN_PROCESS: Self = Self { peer: None, listener: IN_PROCESS_LISTENER };

    /// Whether the client is in the program that embeds the broker.
    pub fn is_in_process(&self) -> bool {
        self.listener == IN_PROCESS_LISTENER
    }
}

/// A message from one worker, or the acceptor, to another worker.
#[derive(Debug)]
pub enum Mail {
    /// A connection was accepted for this worker.
    Accept(Arc<Outbox>, Origin),
    /// An action of the operator, for any worker.
    Order(Order),
    /// A connection of this worker must end.
    End(ConnectionId, EndReason),
    /// A connection's outbox was filled, and its session has more to send when the client has read.
    Refill(ConnectionId),
    /// All connections of this worker must end, because the broker stops. Waiting packets are transmitted once more;
    /// then the driver closes all sockets.
    Stop,
}

/// An output of a worker.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// For the driver: deliver this to the mailbox of a worker.
    Mail(usize, Mail),
    /// For the driver: the last packet is in the outbox. When it has been sent, shut the sending direction down. The
    /// connection is still read, and its bytes are discarded, until [`Event::Closed`].
    Lingering(ConnectionId),
    /// For the driver: close the socket. Nothing more is sent or read.
    Closed(ConnectionId),
    /// A client has connected.
    Connected {
        /// Its connection.
        connection: ConnectionId,
        /// Its identifier.
        client_id: Arc<str>,
        /// The user that its rights are about, or else the user name of its CONNECT.
        user: Option<Box<str>>,
        /// Its version of MQTT.
        version: ProtocolVersion,
        /// The peer's address and the listener.
        origin: Origin,
        /// The keep-alive in effect, in seconds; 0 for none.
        keep_alive_s: u16,
        /// Whether it asked for a clean start.
        clean_start: bool,
    },
    /// A connection has ended without a session: CONNECT was refused, malformed, or never came.
    Refused {
        /// The connection.
        connection: ConnectionId,
        /// The peer's address and the listener.
        origin: Origin,
        /// The reason.
        reason: EndReason,
    },
    /// A connected client's connection has ended.
    Disconnected {
        /// The connection.
        connection: ConnectionId,
        /// The client's identifier.
        client_id: Arc<str>,
        /// The peer's address and the listener.
        origin: Origin,
        /// The reason.
        reason: EndReason,
    },
    /// A client has connected while another connection had its session.
    TakenOver {
        /// The client's identifier.
        client_id: Arc<str>,
        /// The connection that had the session.
        old: ConnectionId,
        /// The connection that has it now.
        new: ConnectionId,
    },
    /// The session of a client that is away was ended for a new one, because there are as many as allowed.
    Evicted {
        /// The identifier of the client that is away.
        client_id: Arc<str>,
    },
    /// A limit was reached. Limits that end a connection are told by the reason of its end.
    LimitReached {
        /// The name of the limit, as in the configuration.
        limit: &'static str,
        /// The first client since the last such event for this limit, if it is known.
        client_id: Option<Arc<str>>,
        /// How often it was reached since then.
        count: u64,
    },
    /// The rights of clients have denied messages.
    Denied(Denial),
    /// A client has subscribed.
    Subscribed {
        /// The client's identifier.
        client_id: Arc<str>,
        /// The filter.
        filter: Box<str>,
        /// The QoS that was granted.
        qos: QoS,
    },
    /// A client has unsubscribed.
    Unsubscribed {
        /// The client's identifier.
        client_id: Arc<str>,
        /// The filter.
        filter: Box<str>,
    },
    /// A receiver did not get messages: its queue was full, or they are longer than it accepts.
    Dropped {
        /// The receiver's identifier, if it has connected.
        client_id: Option<Arc<str>>,
        /// The peer's address and the listener.
        origin: Origin,
        /// Messages dropped since the last such event for this receiver.
        messages: u64,
    },
}
