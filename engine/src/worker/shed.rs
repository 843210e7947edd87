//! Connections that are ended to keep limits: newcomers, and unfinished packets.

use super::{Outputs, Worker};
use crate::connection::disconnect::EndReason;
use crate::connection::{Connection, Phase};
use crate::delivery::outbox::ConnectionId;
use crate::state::unauthenticated::Exceeded;

/// At this number of newcomers, and each time it doubles, the ones that are connected by now are forgotten.
const COMPACT_AT: usize = 1024;

impl Worker {
    /// Notes a connection whose CONNECT is awaited. If there are more than allowed, the ones that have waited longest are
    /// ended: a client sends its CONNECT at once.
    pub(super) fn add_newcomer(&mut self, id: ConnectionId) {
        self.newcomers.push_back(id);
        let count = self.newcomers.len();
        if count >= COMPACT_AT && count.is_power_of_two() {
            let connections = &self.connections;
            self.newcomers.retain(|id| connections.get(id).is_some_and(|connection| is_newcomer(connection)));
        }
        self.shed_newcomers();
    }

    /// Ends newcomers while they exceed a limit together.
    pub(super) fn shed_newcomers(&mut self) {
        let limits = self.outputs.shared.live_limits();
        while let Some(exceeded) = self.outputs.shared.unauthenticated.exceeded(&limits) {
            let Some(id) = self.newcomers.pop_front() else { return };
            if !self.connections.get(&id).is_some_and(|connection| is_newcomer(connection)) {
                continue;
            }
            self.end(
                id,
                match exceeded {
                    Exceeded::Connections => EndReason::TooManyUnauthenticated,
                    Exceeded::Bytes => EndReason::UnauthenticatedBytes,
                },
            );
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.framing.clear(&self.outputs.shared.budget);
            }
        }
    }

    /// The connections to end because their unfinished packets leave no memory for others: all that have more than their
    /// share, and if memory is still short, the one that has most.
    pub(super) fn hoarders(&self) -> Vec<ConnectionId> {
        let Outputs { shared, .. } = &self.outputs;
        if !shared.budget.is_scarce() {
            return Vec::new();
        }
        let share = shared.limits.unfinished_bytes_share();
        let unfinished = || {
            let open = self.connections.iter().filter(|(_, connection)| connection.phase == Phase::Open);
            open.filter_map(|(id, connection)| Some((connection.unfinished_bytes()?, *id)))
        };
        let hoarders: Vec<ConnectionId> = unfinished().filter(|(bytes, _)| *bytes > share).map(|(_, id)| id).collect();
        if !hoarders.is_empty() || shared.budget.tolerates(share) {
            return hoarders;
        }
        unfinished().max().map(|(_, id)| id).into_iter().collect()
    }
}

fn is_newcomer(connection: &Connection) -> bool {
    connection.phase == Phase::Open && connection.share.is_some()
}
