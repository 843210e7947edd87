//! A worker's periodic work: timeouts, receivers that use up the budget, idle buffers.

use super::{Outputs, SWEEP_MS, Worker};
use crate::base::limits::DISCONNECT_STALL_MS;
use crate::connection::Phase;
use crate::connection::disconnect::EndReason;
use crate::delivery::outbox::ConnectionId;
use crate::event::Event;

impl Worker {
    /// Ends a turn and handles everything that is due by time: keep-alives, missing CONNECTs, clients that linger, and
    /// on the first worker sessions, wills and messages. If it returns true, messages may have been staged: the driver
    /// transmits them, and frees idle buffers of sockets.
    pub fn handle_timeout(&mut self, now_ms: u64) -> bool {
        self.in_round = false;
        let Outputs { shared, dispatcher, index, .. } = &mut self.outputs;
        let has_expired = *index == 0 && shared.expire(dispatcher, now_ms);
        if now_ms < self.next_sweep_ms {
            return has_expired;
        }
        self.next_sweep_ms = now_ms + SWEEP_MS;
        self.sweep(now_ms).into_iter().for_each(|(id, reason)| self.end(id, reason));
        let lingered: Vec<_> = self.lingering.extract_if(.., |(until_ms, _)| now_ms >= *until_ms).collect();
        lingered.into_iter().for_each(|(_, id)| self.close(id));
        self.outputs.dispatcher.evict_stale(&self.outputs.shared);
        true
    }

    /// Looks at all connections, and returns the ones to end.
    fn sweep(&mut self, now_ms: u64) -> Vec<(ConnectionId, EndReason)> {
        let mut overdue = Vec::new();
        let (shared, events) = (&self.outputs.shared, &mut self.outputs.events);
        let stall_ms = shared.limits.stall_ms_max.unwrap_or(DISCONNECT_STALL_MS);
        let scarce = shared.budget.is_scarce();
        for (id, connection) in &mut self.connections {
            let capacity = connection.protocol.outbox().capacity();
            if scarce && !capacity.check_or_mark_full(1, 1, now_ms) && capacity.is_full_longer_than(stall_ms, now_ms) {
                // It takes memory from receivers that read, so it is ended under any stall policy.
                overdue.push((*id, EndReason::Stuck));
            }
            match connection.phase {
                Phase::Open if connection.pause.is_none() => {
                    let reason = connection.protocol.overdue(&shared.limits, now_ms);
                    overdue.extend(reason.map(|reason| (*id, reason)));
                }
                Phase::Lingering | Phase::Open | Phase::Closing => {}
            }
            connection.framing.shrink();
            let messages: u64 = connection.protocol.capacities().map(|capacity| capacity.take_dropped()).sum();
            if messages > 0 {
                let client_id = connection.protocol.client_id().cloned();
                let origin = connection.protocol.origin();
                events.push_back(Event::Dropped { client_id, origin, messages });
            }
        }
        overdue
    }
}
