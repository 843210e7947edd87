//! Steps 2 and 3 of a message's way: the receiving half of a connection, which only its owner uses.
//!
//! In: a socket that is ready. Out: packets, handed to the session and, if they are messages, staged for their receivers.
//! One `recv` fills a stretch of the worker's scratch buffer, where the packets are decoded and stay until they are
//! delivered. What is left at the end of a `recv`, the beginning of a packet, is held with the connection and put in
//! front of what comes next:
//!
//! ```text
//! scratch  [ staged by others | held | received                       | free ]
//!                             '--------- packets ---------'- leftover -'
//! ```
//!
//! A long packet does not take this way: its bytes are received straight into the connection's own buffer, which grows
//! with what has come, not with what was announced.

use std::io;
use std::sync::Arc;

use wisp_engine::{
    Budget, Capacity, Connection as EngineConnection, ConnectionId, Dispatcher, End, EndReason, Next, Outbox, Raw,
    Shared as Engine,
};
use wisp_net::Stream;
use wisp_wire::{decode, packet_len};

use crate::peer::{Pause, PauseCause, Peer, Reading};

/// Packets longer than this are assembled in the connection's own buffer.
const LONG_PACKET_BYTES: usize = 64 * 1024;

/// How many full reads the scratch buffer holds.
const SCRATCH_READS: usize = 4;

/// What the connections that a worker holds back share: the more they are the less each reads at once, down to [`READ_BYTES_MIN`].
/// What they have read and not handled can be a few times this, for the first read much; a thousand senders to one receiver would
/// have 256 MiB without it, and 1 GiB under WASIX. Long packets, which are not read here, are beside it.
const HELD_BYTES: usize = 32 * 1024 * 1024;

/// What a connection reads at once however many are held back, if the host has no smaller limit: less is not worth a call.
const READ_BYTES_MIN: usize = 64 * 1024;

/// The buffer a worker receives into.
pub(crate) struct Scratch {
    bytes: Box<[u8]>,
    /// Up to here packets lie that are staged and not yet delivered.
    filled: usize,
    /// How much is read at once at most.
    recv_bytes: usize,
    /// The same while others are held back.
    share_bytes: usize,
}

impl Scratch {
    pub(crate) fn new(recv_bytes: usize) -> Self {
        let bytes = vec![0; SCRATCH_READS * recv_bytes + LONG_PACKET_BYTES].into_boxed_slice();
        Self { bytes, filled: 0, recv_bytes, share_bytes: recv_bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Everything staged was delivered.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Bounds how much is read at once while so many connections are held back.
    pub(crate) fn share_among(&mut self, held_back: usize) {
        self.share_bytes = (HELD_BYTES / (held_back + 1)).max(READ_BYTES_MIN).min(self.recv_bytes);
    }

    fn has_room_for(&self, bytes: usize) -> bool {
        self.bytes.len() - self.filled >= bytes
    }

    /// Receives and throws away.
    pub(crate) fn discard<S: Stream>(&mut self, stream: &S) -> Reading {
        let free = &mut self.bytes[self.filled..];
        if free.is_empty() {
            return Reading::More;
        }
        match stream.recv(free) {
            Ok(0) => Reading::Ended(EndReason::Closed, false),
            Ok(count) if count == free.len() => Reading::More,
            Ok(_) => Reading::Drained,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Reading::Drained,
            Err(_) => Reading::Ended(EndReason::TransportFailed, false),
        }
    }
}

/// Where the packets of a connection go while it is read.
pub(crate) struct Sink<'a> {
    pub(crate) core: &'a Engine,
    pub(crate) dispatcher: &'a mut Dispatcher,
    /// Packets for the connection itself.
    pub(crate) replies: &'a mut Vec<u8>,
    pub(crate) now_ms: u64,
}

impl Sink<'_> {
    /// Puts the replies so far into the connection's outbox. Nothing follows them if they are the `last`.
    pub(crate) fn reply(&mut self, outbox: &Arc<Outbox>, last: bool) {
        if last {
            outbox.push_final(self.replies);
        } else if !self.replies.is_empty() {
            outbox.push([self.replies.as_slice()].into_iter(), self.replies.len(), 0);
        } else {
            return;
        }
        self.replies.clear();
        self.dispatcher.batch().mark_for_flush(outbox);
    }
}

/// Bytes of one connection that were received and not yet handled.
#[derive(Debug, Default)]
pub(crate) struct Input {
    held: Vec<u8>,
    /// The length of the packet `held` begins with, if that is all there is in it and its length is known.
    expected: Option<usize>,
    /// `held` has whole packets in it, left there because a receiver had no room.
    unhandled: bool,
    /// What the budget was charged for `held`.
    charged: usize,
}

impl Input {
    /// The length of the long packet that is being assembled.
    fn long_packet(&self) -> Option<usize> {
        self.expected.filter(|&len| len > LONG_PACKET_BYTES)
    }

    /// Charges the budget for what is held now.
    pub(crate) fn settle(&mut self, budget: &Budget) {
        if self.held.len() > self.charged {
            budget.charge(self.held.len() - self.charged);
        } else if self.held.len() < self.charged {
            budget.release(self.charged - self.held.len());
        }
        self.charged = self.held.len();
    }

    /// Forgets what is held.
    pub(crate) fn clear(&mut self, budget: &Budget) {
        self.held = Vec::new();
        self.expected = None;
        self.unhandled = false;
        self.settle(budget);
    }

    /// How much was received and not handled.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// Gives back the buffer if nothing is in it.
    pub(crate) fn shrink(&mut self) {
        if self.held.is_empty() {
            self.held = Vec::new();
        }
    }
}

/// What became of the packet at the front of some bytes.
enum Step {
    /// It was handled; it had this many bytes.
    Next(usize),
    /// Its end has not come yet.
    Incomplete,
    /// It is a message, and here is no room for it.
    Blocked(Arc<Capacity>),
    /// It was a CONNECT of this many bytes, and took the session from that connection.
    TookOver(usize, ConnectionId),
    Ended(EndReason, bool),
}

impl<S: Stream> Peer<S> {
    /// Reads once and handles what came.
    pub(crate) fn read(&mut self, scratch: &mut Scratch, sink: &mut Sink<'_>) -> Reading {
        if !self.connection.outbox.capacity().has_reply_room() {
            return self.paused(PauseCause::Replies, sink.now_ms);
        }
        if let Some(until_ms) = self.pace.as_mut().and_then(|pace| pace.owes_until(sink.now_ms)) {
            return self.paused(PauseCause::Pace { until_ms }, sink.now_ms);
        }
        let reading = match self.input.long_packet() {
            Some(len) => self.read_long(len, scratch, sink),
            None => self.read_many(scratch, sink),
        };
        self.input.settle(&sink.core.budget);
        reading
    }

    /// Reads into the scratch buffer.
    fn read_many(&mut self, scratch: &mut Scratch, sink: &mut Sink<'_>) -> Reading {
        let held = self.input.held.len();
        if !scratch.has_room_for(held + scratch.share_bytes) {
            sink.dispatcher.batch().push_all(&scratch.bytes);
            scratch.clear();
        }
        let start = scratch.filled;
        let mut end = start + held;
        let mut more = true;
        if !std::mem::take(&mut self.input.unhandled) {
            let recv_end = end + scratch.share_bytes;
            match receive(&*self.stream, &mut scratch.bytes[end..recv_end]) {
                Ok((count, maybe)) => (end, more) = (end + count, maybe),
                Err(reading) => return reading,
            }
        }
        scratch.bytes[start..start + held].copy_from_slice(&self.input.held);
        self.input.held.clear();
        self.input.expected = None;

        let admitted = self.pace.as_ref().map_or(end, |pace| start + pace.admits(&scratch.bytes[start..end]));
        let mut rest = start;
        let stopped = loop {
            match handle_packet(&mut self.link, sink, &scratch.bytes[rest..admitted], Some(rest)) {
                Step::Next(used) => rest += used,
                Step::TookOver(used, old) => {
                    rest += used;
                    break Step::TookOver(used, old);
                }
                stopped => break stopped,
            }
            if sink.dispatcher.needs_flush() {
                break Step::Next(0);
            }
        };
        scratch.filled = rest;
        self.input.held.extend_from_slice(&scratch.bytes[rest..end]);
        if let Some(pace) = &mut self.pace {
            pace.spend(&scratch.bytes[start..rest]);
        }
        match stopped {
            Step::Next(_) => {
                // It goes on when the worker has delivered the batch, which is heavy.
                self.input.unhandled = true;
                Reading::More
            }
            Step::Incomplete if admitted < end => {
                // The next read finds that it has to wait.
                self.input.unhandled = true;
                Reading::More
            }
            Step::Incomplete => {
                let known = packet_len(&self.input.held, sink.core.limits.packet_bytes_max);
                self.input.expected = known.ok().flatten();
                if let (Some(pace), Some(_)) = (&mut self.pace, self.input.long_packet()) {
                    pace.spend_part(self.input.held.len());
                }
                if more { Reading::More } else { Reading::Drained }
            }
            Step::Blocked(room) => {
                self.input.unhandled = true;
                self.paused(PauseCause::Room(room), sink.now_ms)
            }
            Step::TookOver(_, old) => {
                self.input.unhandled = true;
                self.paused(PauseCause::TakenOver(old), sink.now_ms)
            }
            Step::Ended(reason, told) => Reading::Ended(reason, told),
        }
    }

    /// Reads the rest of a long packet, and not a byte more.
    fn read_long(&mut self, len: usize, scratch: &mut Scratch, sink: &mut Sink<'_>) -> Reading {
        let have = self.input.held.len();
        if have < len {
            if sink.core.budget.is_scarce() {
                let end = self.link.end(EndReason::BuffersExhausted, sink.replies);
                return Reading::Ended(end.reason, end.has_disconnect_packet);
            }
            let want = (len - have).min(scratch.recv_bytes);
            let held = &mut self.input.held;
            if held.capacity() < have + want {
                held.reserve_exact((have * 2).clamp(have + want, len) - have);
            }
            held.resize(have + want, 0);
            let received = receive(&*self.stream, &mut held[have..]);
            held.truncate(have + received.as_ref().map_or(0, |(count, _)| *count));
            let (count, more) = match received {
                Ok(received) => received,
                Err(reading) => return reading,
            };
            self.link.excuse_silence(sink.now_ms);
            if let Some(pace) = &mut self.pace {
                pace.spend_part(count);
            }
            if have + count < len {
                return if more { Reading::More } else { Reading::Drained };
            }
        }
        self.handle_long(sink)
    }

    fn handle_long(&mut self, sink: &mut Sink<'_>) -> Reading {
        let packet = std::mem::take(&mut self.input.held);
        match handle_packet(&mut self.link, sink, &packet, None) {
            Step::Next(used) => {
                debug_assert_eq!(used, packet.len(), "a long packet is read to its end and no further");
                self.input.expected = None;
                if let Some(pace) = &mut self.pace {
                    pace.spend_whole(&packet);
                }
                Reading::More
            }
            Step::Incomplete => unreachable!("as many bytes were read as the packet announced"),
            Step::Blocked(room) => {
                self.input.held = packet;
                self.paused(PauseCause::Room(room), sink.now_ms)
            }
            Step::TookOver(_, old) => {
                self.input.expected = None;
                self.paused(PauseCause::TakenOver(old), sink.now_ms)
            }
            Step::Ended(reason, told) => Reading::Ended(reason, told),
        }
    }

    fn paused(&mut self, cause: PauseCause, now_ms: u64) -> Reading {
        self.pause = Some(Pause { cause, since_ms: now_ms });
        Reading::Paused
    }
}

/// Receives once: how many bytes, and whether there may be more.
fn receive<S: Stream>(stream: &S, buffer: &mut [u8]) -> Result<(usize, bool), Reading> {
    match stream.recv(buffer) {
        Ok(0) => Err(Reading::Ended(EndReason::Closed, false)),
        Ok(count) => Ok((count, count == buffer.len())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Reading::Drained),
        Err(_) => Err(Reading::Ended(EndReason::TransportFailed, false)),
    }
}

/// Handles the packet at the front of `bytes`, which lie at `in_scratch` if they lie in the scratch buffer.
#[inline]
fn handle_packet(link: &mut EngineConnection, sink: &mut Sink<'_>, bytes: &[u8], in_scratch: Option<usize>) -> Step {
    let ended = |end: End| Step::Ended(end.reason, end.has_disconnect_packet);
    let (packet, len) = match decode(bytes, link.version(), sink.core.limits.packet_bytes_max) {
        Ok(Some(decoded)) => decoded,
        Ok(None) => return Step::Incomplete,
        Err(error) => return ended(link.refuse_bytes(error, bytes, sink.replies)),
    };
    let raw = Raw { bytes: &bytes[..len], in_scratch };
    match link.handle(packet, raw, sink.dispatcher, sink.now_ms, sink.replies) {
        Ok(Next::Continue | Next::Connected { taken_over: None }) => Step::Next(len),
        Ok(Next::Connected { taken_over: Some(old) }) => Step::TookOver(len, old),
        Ok(Next::Blocked(room)) => Step::Blocked(room),
        Err(end) => ended(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_are_held_back_the_less_is_read_at_once() {
        for (recv_bytes, few, many) in
            [(1 << 20, 1 << 20, READ_BYTES_MIN), (256 << 10, 256 << 10, READ_BYTES_MIN), (16 << 10, 16 << 10, 16 << 10)]
        {
            let mut scratch = Scratch::new(recv_bytes);
            for (held_back, share_bytes) in [(0, recv_bytes), (20, few), (10_000, many), (0, recv_bytes)] {
                scratch.share_among(held_back);
                assert_eq!(scratch.share_bytes, share_bytes, "{held_back} of {recv_bytes} B");
            }
        }
        let mut scratch = Scratch::new(1 << 20);
        scratch.share_among(99);
        assert_eq!(scratch.share_bytes, HELD_BYTES / 100);
    }
}
