//! One connection: bytes in, packets handled, and the reasons why it is not read.
//!
//! ```text
//!          bytes                packets                 replies, staged messages
//!  driver -------> framing.rs ----------> protocol.rs -------------------------> worker
//!                      ^                      |
//!                      '--- pause.rs <--------'  receiver full, takeover, rate limit, policy, commit
//! ```

mod acknowledge;
mod ahead;
mod connect;
pub(crate) mod context;
pub(crate) mod disconnect;
pub(crate) mod framing;
mod grant;
mod other_protocol;
mod patience;
pub(crate) mod pause;
pub(crate) mod protocol;
mod publish;
pub(crate) mod rate_limit;
mod recent_bytes;
mod subscribe;

use std::net::SocketAddr;
use std::sync::Arc;

pub use other_protocol::OtherProtocol;
use wisp_wire::{decode, packet_len};

use self::context::Context;
use self::disconnect::{End, EndReason};
use self::framing::{Framing, Scratch};
use self::patience::Patience;
use self::pause::{Ahead, Pause, PauseCause};
use self::protocol::{Next, Protocol, Raw};
use self::rate_limit::RateLimiter;
use self::recent_bytes::RecentBytes;
use crate::base::limits::Limits;
use crate::base::reached::LimitName;
use crate::delivery::outbox::Outbox;
use crate::event::Origin;
use crate::policy::Answers;
use crate::state::timers::NEVER;
use crate::state::unauthenticated::{AddressFull, Share};

/// The QoS in the first byte of a PUBLISH.
const QOS_BITS: u8 = 0b0110;

/// A connection's state in the worker that owns it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) protocol: Protocol,
    pub(crate) framing: Framing,
    pub(crate) pause: Option<Box<Pause>>,
    /// Until its CONNECT is accepted.
    pub(crate) share: Option<Box<Share>>,
    patience: Patience,
    /// Only if its rate is limited.
    rate_limit: Option<Box<RateLimiter>>,
    /// The policy's answers about the packet at the front. Only while the packet cannot be handled.
    answers: Option<Box<Answers>>,
    /// The reason to end the connection once its own takeover is complete.
    pub(crate) deferred_end: Option<Box<EndReason>>,
    pub(crate) phase: Phase,
    /// It is on the worker's list of connections to read.
    pub(crate) is_ready: bool,
    pub(crate) recent_bytes: RecentBytes,
    /// It is on the worker's list of connections with a replay.
    pub(crate) is_replaying: bool,
    /// It is on the worker's list of connections with an input buffer.
    pub(crate) is_buffered: bool,
    /// The time under which it is among the worker's deadlines.
    pub(crate) filed_ms: u64,
    /// How often replies were collected that wait for the store.
    pub(crate) uncommitted: u32,
    /// Its outbox is held since the last packet, and the replies do not know it yet.
    pub(crate) has_hold: bool,
}

// There is one for each connection. A larger one is to be a choice.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Connection>() <= 208);

/// A connection is open, or at a stage of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// It has ended, and its last messages are being delivered.
    Closing,
    /// The client was told why. Its bytes are discarded until it closes, or for a moment.
    Lingering,
}

/// The state of a connection after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The socket has no more bytes.
    Drained,
    /// There may be more bytes.
    More,
    /// It is paused.
    Paused,
    /// It was paused before, and still is. Acknowledgements may have been handled.
    Ahead,
    /// It has ended. True if a packet with the reason is among the replies.
    Ended(EndReason, bool),
}

/// The result of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes at the front of the buffer.
    Bytes {
        /// How many; not 0.
        count: usize,
        /// Whether more bytes may be there.
        more: bool,
    },
    /// No bytes are there yet.
    WouldBlock,
    /// The peer has closed the connection.
    Closed,
    /// The connection has failed.
    Failed,
    /// The transport refuses the peer: its handshake or its framing is wrong. The reason is for the log.
    Rejected(&'static str),
}

/// What a transport holds and knows before the CONNECT of its connection is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportNote {
    /// Bytes that it has received and not passed on: a part of a handshake or of a record.
    pub held_bytes: usize,
    /// The name in the client's certificate, once that is verified.
    pub certificate_name: Option<Box<str>>,
    /// The address of the client, where a proxy tells it. From then on it is the peer of the connection.
    pub peer: Option<SocketAddr>,
}

/// The place for the bytes of the next receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// In the scratch buffer: offset and length.
    Scratch { start: usize, len: usize },
    /// In the connection's own buffer, from an offset on.
    Held { from: usize },
    /// The same, of a connection that is paused.
    Ahead { from: usize },
    /// In the scratch buffer, to be discarded: offset.
    Discard { start: usize },
}

/// The next step of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Receive, then handle the bytes.
    Receive(Target),
    /// Handle the bytes that were received before.
    Handle,
    /// There is nothing to receive or handle.
    Stop(Reading),
}

/// The result of handling the packet at the front.
enum Step {
    /// It was handled. Its length in bytes.
    Next(usize),
    /// Its end has not been received yet.
    Incomplete,
    /// It could not be handled yet.
    Paused(PauseCause),
    /// A CONNECT of this length, and the reason why the connection is not read further now.
    Connected(usize, PauseCause),
    Ended(End),
}

impl Connection {
    pub(crate) fn new(outbox: Arc<Outbox>, origin: Origin, share: Option<Share>, limits: &Limits, now_ms: u64) -> Self {
        Self {
            protocol: Protocol::new(outbox, origin, (now_ms, limits.connect_timeout_ms)),
            framing: Framing::new(limits.packet_bytes_max),
            pause: None,
            share: share.map(Box::new),
            patience: Patience::default(),
            rate_limit: RateLimiter::new(limits, now_ms),
            answers: None,
            deferred_end: None,
            phase: Phase::Open,
            is_ready: false,
            recent_bytes: RecentBytes::default(),
            is_replaying: false,
            is_buffered: false,
            filed_ms: NEVER,
            uncommitted: 0,
            has_hold: false,
        }
    }

    /// Whether the connection that had the session is not released yet, or its will is not delivered.
    pub(crate) fn waits_for_takeover(&self) -> bool {
        let cause = self.pause.as_ref().map(|pause| &pause.cause);
        matches!(cause, Some(PauseCause::Takeover(_) | PauseCause::PreviousWill))
    }

    /// Decides how the connection is read.
    pub(crate) fn prepare_read(&mut self, scratch: &mut Scratch, context: &mut Context<'_>) -> Plan {
        if !self.protocol.outbox().capacity().has_reply_room() {
            return Plan::Stop(self.paused(PauseCause::Replies, context.now_ms));
        }
        if let Some((until_ms, name)) = self.rate_limit.as_mut().and_then(|limit| limit.blocked_until(context.now_ms)) {
            context.shared.reached.note(name, self.protocol.client_id().map(|client_id| &**client_id));
            return Plan::Stop(self.paused(PauseCause::RateLimit { until_ms }, context.now_ms));
        }
        if let Some(len) = self.framing.long_packet() {
            if self.framing.held.len() >= len {
                return Plan::Handle;
            }
            let shared = context.shared;
            if shared.budget.is_scarce() {
                // Others may hold the memory, and end for it in the next sweep.
                let share = shared.limits.unfinished_bytes_share();
                if self.framing.held.len() > share {
                    let end = self.protocol.end(EndReason::BuffersExhausted, context.replies);
                    return Plan::Stop(Reading::Ended(end.reason, end.has_disconnect_packet));
                }
                if !shared.budget.tolerates(share) {
                    return Plan::Stop(self.paused(PauseCause::Buffers, context.now_ms));
                }
            }
            return Plan::Receive(Target::Held { from: self.framing.grow(len, scratch.recv_bytes) });
        }
        let held = self.framing.held.len();
        if scratch.free_bytes() < held + scratch.share_bytes {
            context.dispatcher.push_batch(scratch.bytes());
            scratch.clear();
        }
        if self.framing.has_packets {
            return Plan::Handle;
        }
        Plan::Receive(Target::Scratch { start: scratch.filled + held, len: scratch.share_bytes })
    }

    /// Handles the result of the receive that [`Connection::prepare_read`] planned; `None` for [`Plan::Handle`].
    pub(crate) fn handle(
        &mut self,
        received: Option<(Target, Received)>,
        scratch: &mut Scratch,
        context: &mut Context<'_>,
    ) -> Reading {
        let (target, count, more) = match received {
            None => (None, 0, true),
            Some((target, Received::Bytes { count, more })) => (Some(target), count, more),
            Some((target, nothing)) => {
                if let Target::Held { from } = target {
                    self.framing.held.truncate(from);
                }
                return match nothing {
                    Received::Closed => Reading::Ended(EndReason::Closed, false),
                    Received::Failed => Reading::Ended(EndReason::TransportFailed, false),
                    Received::Rejected(reason) => {
                        context.shared.count_rejected_connection();
                        Reading::Ended(EndReason::Rejected(reason), false)
                    }
                    Received::WouldBlock | Received::Bytes { .. } => Reading::Drained,
                };
            }
        };
        context.shared.journal.begin_packets();
        context.dispatcher.set_patient(self.patience.lasts(&context.shared.limits, context.now_ms));
        let reading = match (self.framing.long_packet(), target) {
            (Some(len), Some(Target::Held { from })) => self.handle_part(len, (from, count), more, context),
            (Some(_), _) => self.handle_long(context),
            (None, _) => self.handle_many(count, more, scratch, context),
        };
        let reading = if let Reading::Paused = reading { self.handle_acknowledgements(context) } else { reading };
        self.framing.sync_budget(&context.shared.budget);
        if let Some(share) = &mut self.share {
            share.hold(self.framing.held.len());
        }
        reading
    }

    /// Handles the packets in the scratch buffer.
    fn handle_many(&mut self, count: usize, more: bool, scratch: &mut Scratch, context: &mut Context<'_>) -> Reading {
        let held = self.framing.held.len();
        let start = scratch.filled;
        let end = start + held + count;
        scratch.bytes_mut()[start..start + held].copy_from_slice(&self.framing.held);
        self.framing.held.clear();
        self.framing.expected = 0;
        self.framing.has_packets = false;

        let limit = self.rate_limit.as_ref();
        let admitted = limit.map_or(end, |limit| start + limit.admissible_prefix(&scratch.bytes()[start..end]));
        let mut rest = start;
        let mut packets = 0;
        let stopped = loop {
            match self.handle_packet(&scratch.bytes()[rest..admitted], Some(rest), context) {
                Step::Next(used) => {
                    rest += used;
                    packets += 1;
                }
                Step::Connected(used, cause) => {
                    rest += used;
                    break Step::Connected(used, cause);
                }
                stopped => break stopped,
            }
            if context.dispatcher.needs_flush() {
                break Step::Next(0);
            }
        };
        count_packets(packets, &stopped, context);
        scratch.filled = rest;
        self.framing.held.extend_from_slice(&scratch.bytes()[rest..end]);
        if let Some(limit) = &mut self.rate_limit {
            limit.spend(&scratch.bytes()[start..rest]);
        }
        match stopped {
            // The next read handles the rest, when the worker has delivered its batch or the rate admits it.
            Step::Next(_) => {
                self.framing.has_packets = true;
                Reading::More
            }
            Step::Incomplete if admitted < end => {
                self.framing.has_packets = true;
                Reading::More
            }
            Step::Incomplete => {
                let known = packet_len(&self.framing.held, self.framing.packet_bytes_max);
                self.framing.expected = known.ok().flatten().map_or(0, |len| len as u32);
                if let (Some(limit), Some(_)) = (&mut self.rate_limit, self.framing.long_packet()) {
                    limit.spend_part(self.framing.held.len());
                }
                if more { Reading::More } else { Reading::Drained }
            }
            Step::Paused(cause) => {
                self.framing.has_packets = true;
                self.paused(cause, context.now_ms)
            }
            Step::Connected(_, cause) => {
                self.framing.has_packets = true;
                self.paused(cause, context.now_ms)
            }
            Step::Ended(end) => Reading::Ended(end.reason, end.has_disconnect_packet),
        }
    }

    /// Handles a long packet of `len` bytes if its end has been received. The last receive added `count` bytes behind
    /// the first `from`.
    fn handle_part(
        &mut self,
        len: usize,
        (from, count): (usize, usize),
        more: bool,
        context: &mut Context<'_>,
    ) -> Reading {
        self.framing.held.truncate(from + count);
        self.protocol.restart_keep_alive(context.now_ms);
        if let Some(limit) = &mut self.rate_limit {
            limit.spend_part(count);
        }
        match from + count < len {
            true if more => Reading::More,
            true => Reading::Drained,
            false => self.handle_long(context),
        }
    }

    fn handle_long(&mut self, context: &mut Context<'_>) -> Reading {
        let packet = std::mem::take(&mut self.framing.held);
        let step = self.handle_packet(&packet, None, context);
        count_packets(u64::from(matches!(step, Step::Next(_))), &step, context);
        match step {
            Step::Next(used) => {
                debug_assert_eq!(used, packet.len(), "a long packet is read to its end and no further");
                self.framing.expected = 0;
                if let Some(limit) = &mut self.rate_limit {
                    limit.spend_whole(&packet);
                }
                Reading::More
            }
            Step::Incomplete => unreachable!("the whole packet was read"),
            Step::Paused(cause) => {
                self.framing.held = packet;
                self.paused(cause, context.now_ms)
            }
            Step::Connected(_, cause) => {
                self.framing.expected = 0;
                self.paused(cause, context.now_ms)
            }
            Step::Ended(end) => Reading::Ended(end.reason, end.has_disconnect_packet),
        }
    }

    /// Handles the packet at the front of `bytes`. They lie at `in_scratch` if they are in the scratch buffer.
    #[inline]
    fn handle_packet(&mut self, bytes: &[u8], in_scratch: Option<usize>, context: &mut Context<'_>) -> Step {
        let limit = self.framing.packet_bytes_max;
        let (packet, len) = match decode(bytes, self.protocol.version(), limit) {
            Ok(Some(decoded)) => decoded,
            Ok(None) => {
                let refused = self.protocol.refuse_long_connect(bytes, limit, context);
                return refused.map_or(Step::Incomplete, Step::Ended);
            }
            Err(error) => return Step::Ended(self.protocol.refuse_bytes(error, bytes, context.replies)),
        };
        let raw = Raw { bytes: &bytes[..len], in_scratch };
        let before = context.replies.len();
        // The result stays in its place: copying one that was just written waits for all stores before it.
        let mut next = self.protocol.handle(packet, raw, &mut self.answers, context);
        self.protocol.conclude(&mut next, before, &mut self.answers, context);
        if let Ok(Next::Continue) = next {
            return Step::Next(len);
        }
        if let Ok(Next::Connected { waits_for_store, .. }) = next {
            self.share = None;
            self.has_hold = waits_for_store;
        }
        match next {
            Ok(Next::Connected { taken_over: Some(old), .. }) => Step::Connected(len, PauseCause::Takeover(old)),
            Ok(Next::Connected { taken_over: None, .. }) if self.protocol.has_due_will(context.shared) => {
                Step::Connected(len, PauseCause::PreviousWill)
            }
            Ok(Next::Continue | Next::Connected { taken_over: None, .. }) => Step::Next(len),
            Ok(Next::Blocked(Some(capacity))) => Step::Paused(PauseCause::Capacity(capacity)),
            Ok(Next::Blocked(None)) => {
                context.dispatcher.counts().store_holds += 1;
                let client_id = self.protocol.client_id().map(|client_id| &**client_id);
                context.shared.reached.note(LimitName::DataDir, client_id);
                // Before MQTT 5 an acknowledgement cannot refuse.
                let must_end = !self.protocol.version().is_v5() && bytes[0] & QOS_BITS != 0;
                Step::Paused(PauseCause::StoreFull(Ahead { must_end, is_readable: true, ..Ahead::default() }))
            }
            Ok(Next::Undecided(pending)) => Step::Paused(PauseCause::Policy(pending)),
            Err(end) => Step::Ended(end),
        }
    }

    /// Adds the policy's answer about the packet at the front.
    pub(crate) fn give_answer(&mut self, verdict: crate::policy::Verdict) {
        self.answers.get_or_insert_default().give(verdict);
    }

    /// Notes what the transport holds and knows. Only until its CONNECT is accepted.
    ///
    /// # Errors
    /// If the peer's address has as many connections as allowed.
    pub(crate) fn note_transport(&mut self, note: TransportNote, limits: &Limits) -> Result<(), AddressFull> {
        let Some(share) = &mut self.share else { return Ok(()) };
        share.hold_below(note.held_bytes);
        if let Some(name) = note.certificate_name {
            self.answers.get_or_insert_default().certificate_name = Some(name);
        }
        match note.peer {
            Some(peer) => {
                self.protocol.set_peer(peer);
                share.enter_address(peer, limits)
            }
            None => Ok(()),
        }
    }

    /// Ends the pause.
    pub(crate) fn end_pause(&mut self) {
        if let Some(PauseCause::Capacity(_)) = self.pause.take().map(|pause| pause.cause) {
            self.protocol.set_held_back(false);
        }
    }

    /// The client has waited in vain for a receiver since the pause began.
    pub(crate) fn lose_patience(&mut self, now_ms: u64) {
        if let Some(pause) = &self.pause {
            self.patience.spend(now_ms.saturating_sub(pause.since_ms), now_ms);
        }
    }

    pub(crate) fn paused(&mut self, cause: PauseCause, now_ms: u64) -> Reading {
        if let PauseCause::Capacity(_) = cause {
            self.protocol.set_held_back(true);
        }
        self.pause = Some(Box::new(Pause { cause, since_ms: now_ms }));
        Reading::Paused
    }

    /// Bytes of a long packet whose end has not been received.
    pub(crate) fn unfinished_bytes(&self) -> Option<usize> {
        let len = self.framing.long_packet()?;
        Some(self.framing.held.len()).filter(|held| *held < len)
    }

    /// Bytes that were received and are not handled.
    pub(crate) fn held_bytes(&self) -> usize {
        self.framing.held.len()
    }
}

/// Counts the packets handled in a read: `packets` and the one with the result `last`, if it was handled.
fn count_packets(packets: u64, last: &Step, context: &mut Context<'_>) {
    let last = u64::from(matches!(last, Step::Connected(..) | Step::Ended(_)));
    context.dispatcher.counts().packets_received += packets + last;
}
