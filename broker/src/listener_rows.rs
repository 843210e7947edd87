//! The listeners as an operator sees them.

use std::net::SocketAddr;

use crate::quota::Quota;

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerRow {
    /// Its address, with the actual port in place of port 0.
    pub address: SocketAddr,
    /// Whether it has TLS.
    pub tls: bool,
    /// Whether it has MQTT over WebSocket.
    pub web_socket: bool,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Whether it is the admin listener, which has no MQTT.
    pub is_admin: bool,
    /// Its connections.
    pub connections: u64,
    /// Most connections, if it has a limit of its own.
    pub connections_max: Option<u64>,
}

/// The part of a listener that stays the same, and its connections.
pub(crate) struct ListenerFacts {
    row: ListenerRow,
    quota: Quota,
}

impl ListenerFacts {
    /// `row` is without connections.
    pub(crate) fn new(row: ListenerRow, quota: Quota) -> Self {
        Self { row, quota }
    }

    /// The listener as it is now.
    pub(crate) fn now(&self) -> ListenerRow {
        ListenerRow { connections: self.quota.open(), connections_max: self.quota.max(), ..self.row.clone() }
    }
}
