//! The part of a connection's input that is handled while the store takes no more: acknowledgements and pings. Acknowledgements free
//! room in the store, so a client that publishes and receives would wait for itself if they stood behind a message that waits.
//!
//! ```text
//!  held [ PUBLISH that waits | PUBLISH | PUBACK  | PUBLISH | PINGREQ | SUBSCRIBE ... ]
//!                                        handled             handled   all from here on waits
//! ```
//!
//! Messages keep their order, and so do acknowledgements. A packet of any other type waits, with all behind it.

use wisp_wire::{PacketType, packet_len};

use super::context::Context;
use super::framing::Scratch;
use super::pause::{Ahead, PauseCause};
use super::{Connection, Reading, Received, Step, count_packets};
use crate::base::budget::Budget;

/// The most bytes of one read.
const READ_BYTES_MAX: usize = 16 * 1024;

impl Connection {
    /// Makes room to receive more while the store takes no more, and returns the offset to receive at. `None` if nothing is read
    /// now: the connection has another reason to wait, or must wait for its replies or for memory.
    pub(crate) fn prepare_ahead(&mut self, scratch: &Scratch, budget: &Budget) -> Option<usize> {
        let can_read = self.can_read_ahead(scratch, budget);
        let ahead = self.ahead()?;
        // If not now, then when it can.
        ahead.is_readable = !can_read;
        can_read.then(|| self.framing.extend(READ_BYTES_MAX))
    }

    /// Whether bytes may be there that can be read ahead.
    pub(crate) fn wants_ahead(&mut self, scratch: &Scratch, budget: &Budget) -> bool {
        self.ahead().is_some_and(|ahead| ahead.is_readable) && self.can_read_ahead(scratch, budget)
    }

    fn ahead(&mut self) -> Option<&mut Ahead> {
        match &mut self.pause.as_mut()?.cause {
            PauseCause::StoreFull(ahead) if !ahead.is_at_end => Some(ahead),
            _ => None,
        }
    }

    fn can_read_ahead(&self, scratch: &Scratch, budget: &Budget) -> bool {
        self.uncommitted == 0
            && self.framing.long_packet().is_none()
            && self.held_bytes() < scratch.share_bytes
            && !budget.is_scarce()
            && self.protocol.outbox().capacity().has_reply_room()
    }

    /// Handles the result of a receive behind the first `from` bytes.
    pub(crate) fn handle_ahead(&mut self, from: usize, received: Received, context: &mut Context<'_>) -> Reading {
        let (count, more) = match received {
            Received::Bytes { count, more } => (count, more),
            Received::WouldBlock => (0, false),
            // It is found again when the packets before it are handled.
            Received::Closed | Received::Failed | Received::Rejected(_) => (0, true),
        };
        self.framing.held.truncate(from + count);
        if let Some(ahead) = self.ahead() {
            ahead.is_readable = more;
            ahead.is_at_end = count == 0 && more;
        }
        context.shared.journal.begin_packets();
        let reading = match self.handle_acknowledgements(context) {
            Reading::Paused => Reading::Ahead,
            ended => ended,
        };
        self.framing.sync_budget(&context.shared.budget);
        reading
    }

    /// Handles the acknowledgements and pings behind a message that waits for the store, if the connection is paused for that.
    pub(crate) fn handle_acknowledgements(&mut self, context: &mut Context<'_>) -> Reading {
        let Some(ahead) = self.ahead() else { return Reading::Paused };
        let (mut next, mut is_at_end) = (ahead.kept, false);
        let mut kept = next;
        let mut held = std::mem::take(&mut self.framing.held);
        // They are about the message that waits.
        let answers = self.answers.take();
        let mut handled = 0;
        let stopped = loop {
            let rest = &held[next..];
            let len = match packet_len(rest, self.framing.packet_bytes_max) {
                Ok(Some(len)) if len <= rest.len() => len,
                known => {
                    is_at_end = known.is_err();
                    break Step::Incomplete;
                }
            };
            match rest.first().and_then(|first| PacketType::of(*first)) {
                Some(PacketType::Publish) => {
                    held.copy_within(next..next + len, kept);
                    kept += len;
                }
                Some(
                    PacketType::PubAck
                    | PacketType::PubRec
                    | PacketType::PubRel
                    | PacketType::PubComp
                    | PacketType::PingReq,
                ) => {
                    let packet = &rest[..len];
                    match self.handle_packet(packet, None, context) {
                        Step::Next(_) => handled += 1,
                        stopped => break stopped,
                    }
                    if let Some(limit) = &mut self.rate_limit {
                        limit.spend(packet);
                    }
                }
                _ => {
                    is_at_end = true;
                    break Step::Incomplete;
                }
            }
            next += len;
        };
        count_packets(handled, &stopped, context);
        held.drain(kept..next);
        (self.framing.held, self.answers) = (held, answers);
        if let Some(ahead) = self.ahead() {
            (ahead.kept, ahead.is_at_end) = (kept, is_at_end);
        }
        match stopped {
            Step::Ended(end) => Reading::Ended(end.reason, end.has_disconnect_packet),
            _ => Reading::Paused,
        }
    }
}
