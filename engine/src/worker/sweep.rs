//! A worker's periodic work: timeouts, receivers that use up the budget, idle buffers.

use super::{Outputs, SWEEP_MS, Worker};
use crate::base::capacity::Admission;
use crate::base::limits::PROGRESS_STALL_MS;
use crate::base::reached::{LimitName, ReachedLimit};
use crate::connection::Phase;
use crate::connection::disconnect::EndReason;
use crate::delivery::outbox::ConnectionId;
use crate::event::Event;
use crate::state::timers::NEVER;

impl Worker {
    /// Ends a turn and handles everything that is due by time: keep-alives, missing CONNECTs, clients that linger, and
    /// on the first worker sessions, wills and messages. If it returns true, messages may have been staged: the driver
    /// transmits them, and frees idle buffers of sockets.
    pub fn handle_timeout(&mut self, now_ms: u64) -> bool {
        self.is_reading = false;
        let Outputs { shared, dispatcher, index, .. } = &mut self.outputs;
        let has_expired = *index == 0 && shared.expire(dispatcher, now_ms);
        if now_ms < self.next_sweep_ms {
            return has_expired;
        }
        self.next_sweep_ms = now_ms + SWEEP_MS;
        self.sweep(now_ms).into_iter().for_each(|(id, reason)| self.end(id, reason));
        self.refresh_rights(now_ms);
        self.hoarders().into_iter().for_each(|id| self.end(id, EndReason::BuffersExhausted));
        let lingered: Vec<_> = self.lingering.extract_if(.., |(until_ms, _)| now_ms >= *until_ms).collect();
        lingered.into_iter().for_each(|(_, id)| self.close(id));
        self.outputs.dispatcher.evict_stale(&self.outputs.shared, now_ms);
        if self.outputs.index == 0 {
            self.outputs.shared.journal.review(now_ms);
            self.report_limits();
        }
        if let Some(sys) = &mut self.sys {
            sys.survey(&self.outputs.shared);
        }
        true
    }

    /// If the policy's version has changed: has routes resolved again, and ends connections that may not stay.
    fn refresh_rights(&mut self, now_ms: u64) {
        let version = self.outputs.shared.policy.version();
        if std::mem::replace(&mut self.policy_version, version) == version {
            return;
        }
        self.outputs.shared.tree.invalidate_all();
        let mut revoked = Vec::new();
        for (id, connection) in &mut self.connections {
            if !connection.protocol.refresh_rights(&mut self.outputs.context(now_ms)) {
                revoked.push(*id);
            }
        }
        revoked.into_iter().for_each(|id| self.end(id, EndReason::RightsRevoked));
    }

    fn report_limits(&mut self) {
        let Outputs { shared, events, .. } = &mut self.outputs;
        for (budget, name) in [(&shared.budget, LimitName::BufferedBytes), (&shared.stored, LimitName::StoredBytes)] {
            if budget.is_scarce() {
                shared.reached.note(name, None);
            }
        }
        events.extend(shared.denials.take().map(Event::Denied));
        let reached = shared.reached.take();
        events.extend(reached.map(|reached| {
            let ReachedLimit { name, client_id, count } = reached;
            Event::LimitReached { limit: name, client_id, count }
        }));
    }

    /// Frees empty input buffers and reports dropped messages. Returns the connections to end.
    fn sweep(&mut self, now_ms: u64) -> Vec<(ConnectionId, EndReason)> {
        let connections = &mut self.connections;
        self.buffered.retain(|id| {
            let Some(connection) = connections.get_mut(id) else { return false };
            connection.framing.shrink();
            connection.is_buffered = connection.framing.has_buffer();
            connection.is_buffered
        });
        let mut ends = self.overdue(now_ms);
        let shared = &self.outputs.shared;
        let (is_scarce, drops) = (shared.budget.is_scarce(), shared.budget.drops() + shared.stored.drops());
        if std::mem::replace(&mut self.reported_drops, drops) != drops {
            self.report_drops();
        }
        if is_scarce {
            self.add_stuck(now_ms, &mut ends);
        }
        ends
    }

    /// The connections whose deadline has passed. The others that were due are filed again.
    fn overdue(&mut self, now_ms: u64) -> Vec<(ConnectionId, EndReason)> {
        let mut overdue = Vec::new();
        while let Some(id) = self.deadlines.first_due(now_ms) {
            let Some(connection) = self.connections.get_mut(&id) else {
                debug_assert!(false, "a closed connection has no deadline");
                break;
            };
            let deadline = connection.protocol.deadline();
            let next_ms = match (connection.phase, deadline) {
                // It is not read, so it may have sent something.
                (Phase::Open, Some(_)) if connection.pause.is_some() => now_ms + SWEEP_MS,
                (Phase::Open, Some((at_ms, reason))) if at_ms <= now_ms => {
                    overdue.push((id, reason));
                    NEVER
                }
                (Phase::Open, Some((at_ms, _))) => at_ms,
                _ => NEVER,
            };
            self.deadlines.file(connection, next_ms);
        }
        overdue
    }

    fn report_drops(&mut self) {
        for connection in self.connections.values() {
            let messages: u64 = connection.protocol.capacities().map(|capacity| capacity.take_dropped()).sum();
            if messages > 0 {
                let client_id = connection.protocol.client_id().cloned();
                let origin = connection.protocol.origin();
                self.outputs.events.push_back(Event::Dropped { client_id, origin, messages });
            }
        }
    }

    /// Adds the receivers that take memory from others that read. They are ended under any stall policy.
    fn add_stuck(&self, now_ms: u64, ends: &mut Vec<(ConnectionId, EndReason)>) {
        let stall_ms = self.outputs.shared.limits.stall_ms_max.unwrap_or(PROGRESS_STALL_MS);
        for (id, connection) in &self.connections {
            let capacity = connection.protocol.outbox().capacity();
            let is_full = capacity.admit(1, 1, true, now_ms) != Admission::Admitted;
            if is_full && capacity.is_full_longer_than(stall_ms, now_ms) {
                ends.push((*id, EndReason::Stuck));
            }
        }
    }
}
