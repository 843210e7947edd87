//! The order in which connections are read, and how many bytes in one turn.
//!
//! ```text
//!                      first              until the turn has read enough
//!   one turn: [ resumed, then light ] -> [ busy: the ones that wait longest ]
//! ```
//!
//! A connection is *busy* if it has sent many bytes lately, in few reads or many. With a hundred busy senders one read of
//! each takes so long that every other client waits for tens of milliseconds. So a turn reads a part of them, sends the
//! messages, and the next one asks for new events first. If the messages of each sender are spread over many receivers,
//! the turn reads more of them, since a hundred small sends take longer than a few large reads.

use std::collections::VecDeque;

use crate::connection::Connection;
use crate::delivery::outbox::ConnectionId;

/// A turn that has read this many full reads, or [`TURN_BYTES_MIN`], has read enough.
const TURN_READS: usize = 4;
const TURN_BYTES_MIN: usize = 1024 * 1024;

/// The connections of one worker that may have bytes, each once.
#[derive(Debug, Default)]
pub(super) struct ReadOrder {
    /// Read in the next turn.
    light: Vec<ConnectionId>,
    /// Read in turns to come, the first ones first.
    busy: VecDeque<ConnectionId>,
    /// Still to be read in this turn, before the busy ones.
    turn: VecDeque<ConnectionId>,
    /// The busy ones that may be read in this turn.
    busy_in_turn: usize,
    /// The bytes that this turn may still read of busy connections.
    bytes_left: usize,
}

impl ReadOrder {
    /// Adds a connection that may have bytes, once.
    pub(super) fn push(&mut self, connection: &mut Connection) {
        if !connection.is_ready && connection.recent_bytes.is_busy() {
            connection.is_ready = true;
            self.busy.push_back(connection.protocol.outbox().connection());
        } else {
            self.push_resumed(connection);
        }
    }

    /// Adds a connection that is resumed: it has waited long enough.
    pub(super) fn push_resumed(&mut self, connection: &mut Connection) {
        if !connection.is_ready {
            connection.is_ready = true;
            self.light.push(connection.protocol.outbox().connection());
        }
    }

    /// Takes the connections that [`ReadOrder::restore`] puts back behind the ones that are resumed meanwhile.
    pub(super) fn take(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.light)
    }

    /// Puts connections back, behind the ones that were added since [`ReadOrder::take`].
    pub(super) fn restore(&mut self, mut taken: Vec<ConnectionId>) {
        if self.light.is_empty() {
            std::mem::swap(&mut self.light, &mut taken);
        } else {
            self.light.append(&mut taken);
        }
    }

    /// Begins a turn. `recv_bytes` is the size of a full read.
    pub(super) fn begin_turn(&mut self, recv_bytes: usize) {
        self.turn.extend(self.light.drain(..));
        self.busy_in_turn = self.busy.len();
        self.bytes_left = (TURN_READS * recv_bytes).max(TURN_BYTES_MIN);
    }

    /// The next connection of this turn. Once the turn has read enough it goes on only while `sends_are_small`, and
    /// then ends.
    pub(super) fn next(&mut self, sends_are_small: bool) -> Option<ConnectionId> {
        if let Some(id) = self.turn.pop_front() {
            return Some(id);
        }
        if self.bytes_left == 0 && !sends_are_small {
            self.busy_in_turn = 0;
        }
        if self.busy_in_turn == 0 {
            return None;
        }
        self.busy_in_turn -= 1;
        self.busy.pop_front()
    }

    /// Notes the bytes that a connection's last read has taken.
    pub(super) fn note_read(&mut self, connection: &mut Connection, bytes: usize, now_ms: u64) {
        connection.recent_bytes.add(bytes, now_ms);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
    }

    /// Whether connections are still to be read in this turn.
    pub(super) fn has_more(&self) -> bool {
        !self.turn.is_empty() || self.busy_in_turn > 0
    }

    /// Whether no connection may have bytes.
    pub(super) fn is_empty(&self) -> bool {
        self.light.is_empty() && self.busy.is_empty() && self.turn.is_empty()
    }
}
