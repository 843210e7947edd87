//! The end of a connection: its last packet, its session, its socket.
//!
//! ```text
//!         begin_close           messages delivered, replies committed
//!  Open -------------> Closing ---------------------------------------+--> closed
//!                              session detached                       |        ^
//!                                             reason sent to client   '--> Lingering
//! ```

use super::{Closing, Outputs, Worker};
use crate::connection::Phase;
use crate::connection::disconnect::EndReason;
use crate::delivery::outbox::ConnectionId;
use crate::event::Event;

/// How long a client that got the reason may take to close its side.
const LINGER_MS: u64 = 1_000;

impl Worker {
    pub(super) fn stop(&mut self) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        ids.into_iter().for_each(|id| self.end(id, EndReason::ShuttingDown));
    }

    /// Ends a connection on the broker's initiative, with a packet for the client.
    pub(super) fn end(&mut self, id: ConnectionId, reason: EndReason) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.phase != Phase::Open {
            return;
        }
        if reason != EndReason::ShuttingDown && connection.waits_for_takeover() {
            // A connection that takes the session over from this one waits for it, and so has to wait for the earlier
            // takeover as well.
            connection.deferred_end.get_or_insert_with(|| Box::new(reason));
            return;
        }
        let end = connection.protocol.end(reason, self.outputs.replies.buffer());
        let Outputs { dispatcher, replies, .. } = &mut self.outputs;
        let outbox = connection.protocol.outbox();
        // The packet acknowledges nothing, but comes behind the replies that are held, unless these are lost.
        if connection.uncommitted > 0 && reason != EndReason::StoreFailed {
            connection.uncommitted += u32::from(replies.hold(outbox, true, dispatcher));
        } else {
            replies.push(outbox, true, dispatcher);
        }
        self.begin_close(id, end.reason, end.has_disconnect_packet);
    }

    /// Begins to close a connection after its final replies were collected.
    pub(super) fn begin_close(&mut self, id: ConnectionId, reason: EndReason, has_disconnect_packet: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.end_pause();
        connection.share = None;
        connection.phase = Phase::Closing;
        let origin = connection.protocol.origin();
        self.outputs.events.push_back(match connection.protocol.client_id() {
            Some(client_id) => Event::Disconnected { connection: id, client_id: client_id.clone(), origin, reason },
            None => Event::Refused { connection: id, origin, reason },
        });
        self.closing.push(Closing { id, reason, has_disconnect_packet });
        self.transmit_due = true;
    }

    /// Detaches the sessions of connections that have ended, unless their replies wait for the store. True if there was
    /// one.
    pub(super) fn close_sessions(&mut self, now_ms: u64) -> bool {
        let mut any = false;
        for closing in std::mem::take(&mut self.closing) {
            let Some(connection) = self.connections.get_mut(&closing.id) else { continue };
            if connection.uncommitted > 0 && closing.reason != EndReason::ShuttingDown {
                self.closing.push(closing);
                continue;
            }
            any = true;
            let (shared, dispatcher) = (&self.outputs.shared, &mut self.outputs.dispatcher);
            connection.protocol.close(closing.reason, shared, dispatcher, now_ms);
            connection.protocol.outbox().release();
            if !closing.has_disconnect_packet {
                self.close(closing.id);
                continue;
            }
            // Closing with unread input would reset the connection, and the reset could overtake the packet with the
            // reason.
            connection.phase = Phase::Lingering;
            self.lingering.push((now_ms + LINGER_MS, closing.id));
            connection.framing.clear(&shared.budget);
            self.ready.push(connection);
            self.outputs.events.push_back(Event::Lingering(closing.id));
        }
        any
    }

    /// Removes a connection and has its socket closed.
    pub(super) fn close(&mut self, id: ConnectionId) {
        if let Some(mut connection) = self.connections.remove(&id) {
            connection.framing.clear(&self.outputs.shared.budget);
            self.deadlines.remove(&mut connection);
            self.outputs.events.push_back(Event::Closed(id));
        }
    }
}
