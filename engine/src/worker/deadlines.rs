//! When clients must have sent something: a CONNECT in time, or any packet within the keep-alive. Sorted by time, so that
//! a quiet connection costs nothing until then.
//!
//! A packet does not move its connection's entry. When the entry is due, the connection is filed again under the time that
//! its last packet gives.

use std::collections::BTreeSet;

use crate::connection::Connection;
use crate::delivery::outbox::ConnectionId;
use crate::state::timers::NEVER;

/// The connections with a deadline.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(u64, ConnectionId)>);

impl Deadlines {
    /// Files a connection under `at_ms`, in place of the time it was filed under.
    pub(super) fn file(&mut self, connection: &mut Connection, at_ms: u64) {
        self.remove(connection);
        if at_ms != NEVER {
            self.0.insert((at_ms, connection.protocol.outbox().connection()));
        }
        connection.filed_ms = at_ms;
    }

    /// Removes a connection.
    pub(super) fn remove(&mut self, connection: &mut Connection) {
        if connection.filed_ms != NEVER {
            self.0.remove(&(connection.filed_ms, connection.protocol.outbox().connection()));
            connection.filed_ms = NEVER;
        }
    }

    /// The first connection that is due.
    pub(super) fn first_due(&self, now_ms: u64) -> Option<ConnectionId> {
        self.0.first().filter(|(at_ms, _)| *at_ms <= now_ms).map(|(_, id)| *id)
    }
}
