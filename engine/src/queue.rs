//! Step 6 of a message's way: what waits for one receiver.
//!
//! In: packets already in the receiver's wire format, a batch at a time, from any worker. Out: one run of bytes, taken
//! by whoever flushes the receiver's connection. Before it stands [`crate::batch`], after it the broker's output.
//!
//! ```text
//!  workers --push--> [ incoming bytes | lock ] --take--> the flusher's chunk --send--> socket
//!                    '------------- depth: counted until it was sent -------------'
//! ```
//!
//! The depth counts a byte from the push until the peer's socket took it, so the limit holds for the queue and the
//! output together. A queue at its limit is *full* from the first refusal until it has drained to half: senders
//! then stop and start a few times a second, not once a message.

use std::sync::{Arc, OnceLock};

use crate::budget::Budget;
use crate::limits::{Limits, QUEUE_BYTES_WHEN_SCARCE};
use crate::slot::Slot;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};

/// A full receiver that takes the eighth part of what waits, within the time allowed for a stall, is not stuck.
const PROGRESS_SHARE: usize = 8;

/// The two encodings a PUBLISH has: that of MQTT 3.1 and 3.1.1, and that of MQTT 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFormat {
    /// MQTT 3.1 and 3.1.1: no properties.
    V3,
    /// MQTT 5.
    V5,
}

/// Names one connection for ever: the slot is reused, the generation is not. It means nothing to the engine, which
/// only keeps it so that whoever pushes to a queue can find the connection to flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Index into the broker's table of connections.
    pub slot: u32,
    /// Counts the uses of the slot.
    pub generation: u32,
}

/// Bytes taken out of a queue in one piece, with the number of packets in them.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Whole packets, in order.
    pub bytes: Vec<u8>,
    /// How many of them count as messages.
    pub messages: usize,
}

/// What a receiver accepts, as its CONNECT said.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverInfo {
    /// How its PUBLISH packets are written.
    pub format: WireFormat,
    /// The longest packet the client accepts (Maximum Packet Size, MQTT 5 section 3.1.2.11.4).
    pub packet_bytes_max: u32,
}

/// Everything that waits for one receiver. Shared by all workers.
#[derive(Debug)]
pub struct Queue {
    connection: ConnectionId,
    /// Unset until the client's CONNECT.
    receiver: OnceLock<ReceiverInfo>,
    slot: Slot,
    budget: Arc<Budget>,
    bytes_max: usize,
    messages_max: usize,
    stall_ms_max: u64,
    /// Bytes pushed and not yet sent. Never below the length of `incoming`.
    depth_bytes: AtomicUsize,
    /// Messages pushed and not yet sent, those of a chunk until its last byte is.
    depth_messages: AtomicUsize,
    /// When a sender was first refused since the queue last had room, plus one; 0 while it has room.
    full_since: AtomicU64,
    /// The depth then. A receiver that takes a good part of it is slow, not stuck, and its clock starts anew.
    full_depth_bytes: AtomicUsize,
    dropped: AtomicU64,
    /// Set under the lock of `incoming`; afterwards nothing enters, though what entered before may still leave.
    closed: AtomicBool,
    incoming: Mutex<Chunk>,
}

impl Queue {
    /// An empty queue for whoever is at the other end of `connection`.
    pub(crate) fn new(connection: ConnectionId, slot: Slot, budget: Arc<Budget>, limits: &Limits) -> Self {
        Self {
            connection,
            receiver: OnceLock::new(),
            slot,
            budget,
            bytes_max: limits.queue_bytes_max,
            messages_max: limits.queue_messages_max,
            stall_ms_max: limits.stall_ms_max,
            depth_bytes: AtomicUsize::new(0),
            depth_messages: AtomicUsize::new(0),
            full_since: AtomicU64::new(0),
            full_depth_bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            incoming: Mutex::new(Chunk::default()),
        }
    }

    /// The connection that empties the queue.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// What the receiver accepts. Before its CONNECT it accepts no messages, only what ends the connection.
    pub fn receiver(&self) -> ReceiverInfo {
        const UNKNOWN: ReceiverInfo = ReceiverInfo { format: WireFormat::V3, packet_bytes_max: 0 };
        self.receiver.get().copied().unwrap_or(UNKNOWN)
    }

    /// Sets what the receiver accepts, once.
    pub fn set_receiver(&self, receiver: ReceiverInfo) {
        let set = self.receiver.set(receiver);
        debug_assert!(set.is_ok(), "a connection has one CONNECT");
    }

    /// A small number that no other live queue has.
    pub fn index(&self) -> usize {
        self.slot.index()
    }

    /// Whether `bytes` more in `messages` messages fit. `now_ms` is noted as the beginning of the stall if not.
    ///
    /// An empty queue has room for anything: a packet longer than the limit must still get through, unless all queues
    /// together are too long. Several workers may be told yes at once, so the depth can pass the limit by what each of
    /// them has staged. A closed queue has room, since nobody is to wait for it.
    pub fn has_room(&self, bytes: usize, messages: usize, now_ms: u64) -> bool {
        let depth_bytes = self.depth_bytes.load(Ordering::Relaxed);
        let depth_messages = self.depth_messages.load(Ordering::Relaxed);
        let scarce = self.budget.is_scarce();
        let bytes_max = self.bytes_max_if(scarce);
        if self.full_since.load(Ordering::Relaxed) != 0 {
            if !self.has_drained(bytes_max) {
                let then = self.full_depth_bytes.load(Ordering::Relaxed);
                if depth_bytes <= then - then / PROGRESS_SHARE {
                    self.mark_full(depth_bytes, now_ms);
                }
                return self.is_closed();
            }
            self.full_since.store(0, Ordering::Relaxed);
        }
        let fits = depth_bytes + bytes <= bytes_max && depth_messages + messages <= self.messages_max;
        let alone = depth_bytes == 0 && messages <= 1 && !scarce;
        if fits || alone || self.is_closed() {
            return true;
        }
        self.mark_full(depth_bytes, now_ms);
        false
    }

    fn mark_full(&self, depth_bytes: usize, now_ms: u64) {
        self.full_depth_bytes.store(depth_bytes, Ordering::Relaxed);
        self.full_since.store(now_ms + 1, Ordering::Relaxed);
    }

    /// The receiver's share, which is smaller while all queues together are too long.
    fn bytes_max_if(&self, scarce: bool) -> usize {
        if scarce { QUEUE_BYTES_WHEN_SCARCE.min(self.bytes_max) } else { self.bytes_max }
    }

    fn bytes_max_now(&self) -> usize {
        self.bytes_max_if(self.budget.is_scarce())
    }

    fn has_drained(&self, bytes_max: usize) -> bool {
        self.depth_bytes() <= bytes_max / 2 && self.depth_messages.load(Ordering::Relaxed) <= self.messages_max / 2
    }

    /// Whether replies to the client itself fit. They have a share of their own beyond the messages', since a receiver
    /// with a full queue must still be answered; it ends when the client sends on without reading.
    pub fn has_reply_room(&self) -> bool {
        const REPLY_BYTES_MAX: usize = 64 * 1024;
        self.depth_bytes() <= self.bytes_max_now() + REPLY_BYTES_MAX
    }

    /// Whether senders have been held back for this receiver longer than the limit allows, without its taking a good part
    /// of what waited, and would be still.
    pub fn is_stuck(&self, now_ms: u64) -> bool {
        let since = self.full_since.load(Ordering::Relaxed);
        since != 0 && now_ms.saturating_sub(since - 1) > self.stall_ms_max && !self.has_drained(self.bytes_max_now())
    }

    /// Appends `pieces`, which are whole packets or runs of them, holding `messages` messages. A closed queue ignores
    /// them: its receiver is gone. The caller asked [`Queue::has_room`] for messages, and yet they are dropped and
    /// counted if all buffers together pass what is tolerated, as one message for very many receivers can make them.
    /// Acknowledgements, which hold no messages, enter always.
    pub fn push<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>, bytes: usize, messages: usize) {
        let mut incoming = self.incoming.lock();
        if self.is_closed() {
            return;
        }
        if messages > 0 && !self.budget.tolerates(bytes) {
            self.count_dropped(messages as u64);
            self.budget.count_overflowed(messages);
            return;
        }
        self.add_depth(bytes, messages);
        incoming.bytes.reserve(bytes);
        for piece in pieces {
            incoming.bytes.extend_from_slice(piece);
        }
        incoming.messages += messages;
    }

    /// Appends the last packet the receiver is to get. Nothing enters afterwards; what waits can still be taken.
    pub fn finish(&self, packet: &[u8]) {
        let mut incoming = self.incoming.lock();
        if !self.is_closed() {
            self.add_depth(packet.len(), 0);
            incoming.bytes.extend_from_slice(packet);
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    /// Counts packets that went, or are about to go, to the socket without lying in the queue first. False if the
    /// queue is closed, packets wait in it, which must go out before, or there would be no place for what the socket
    /// does not take: then nothing was counted.
    pub fn bypass(&self, bytes: usize, messages: usize) -> bool {
        let incoming = self.incoming.lock();
        if self.is_closed() || !incoming.bytes.is_empty() || !self.budget.tolerates(bytes) {
            return false;
        }
        self.add_depth(bytes, messages);
        true
    }

    fn add_depth(&self, bytes: usize, messages: usize) {
        self.depth_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.depth_messages.fetch_add(messages, Ordering::Relaxed);
        self.budget.charge(bytes);
    }

    /// Takes all that waits into `chunk`, which must be empty; its buffer is handed over for reuse. False if nothing
    /// waits.
    pub fn take(&self, chunk: &mut Chunk) -> bool {
        debug_assert!(chunk.bytes.is_empty() && chunk.messages == 0, "what was taken before must be sent first");
        let mut incoming = self.incoming.lock();
        if incoming.bytes.is_empty() {
            return false;
        }
        std::mem::swap(&mut *incoming, chunk);
        true
    }

    /// Whether nothing waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.incoming.lock().bytes.is_empty()
    }

    /// Notes that the peer's socket took `bytes`, with which `messages` were complete.
    pub fn sent(&self, bytes: usize, messages: usize) {
        self.depth_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.depth_messages.fetch_sub(messages, Ordering::Relaxed);
        self.budget.release(bytes);
    }

    /// Counts messages that were not delivered to this receiver.
    pub fn count_dropped(&self, messages: u64) {
        self.dropped.fetch_add(messages, Ordering::Relaxed);
    }

    /// Messages not delivered to this receiver since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    /// Bytes pushed and not yet sent.
    pub fn depth_bytes(&self) -> usize {
        self.depth_bytes.load(Ordering::Relaxed)
    }

    /// Gives back what the buffer of an empty queue has beyond `bytes`.
    pub fn shrink_to(&self, bytes: usize) {
        let mut incoming = self.incoming.lock();
        if incoming.bytes.is_empty() {
            incoming.bytes.shrink_to(bytes);
        }
    }

    /// Ends the queue: what waits is let go, and nothing enters any more. What was taken and not sent is for the taker
    /// to count with [`Queue::sent`].
    pub fn close(&self) {
        let mut incoming = self.incoming.lock();
        self.closed.store(true, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *incoming);
        self.sent(waiting.bytes.len(), waiting.messages);
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Slots;

    fn queue(limits: &Limits) -> Queue {
        let connection = ConnectionId { slot: 1, generation: 1 };
        let budget = Arc::new(Budget::new(limits.buffered_bytes_max));
        Queue::new(connection, Arc::new(Slots::default()).take(), budget, limits)
    }

    fn push(queue: &Queue, bytes: &[u8]) {
        queue.push([bytes].into_iter(), bytes.len(), 1);
    }

    fn small() -> Limits {
        Limits { queue_bytes_max: 100, queue_messages_max: 4, stall_ms_max: 50, ..Limits::DEFAULT }
    }

    #[test]
    fn what_is_pushed_is_taken_in_order() {
        let queue = queue(&small());
        push(&queue, b"one");
        push(&queue, b"two");
        let mut chunk = Chunk::default();
        assert!(queue.take(&mut chunk));
        assert_eq!((chunk.bytes.as_slice(), chunk.messages), (&b"onetwo"[..], 2));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_full_queue_has_room_again_at_half() {
        let queue = queue(&small());
        push(&queue, &[0; 60]);
        assert!(!queue.has_room(50, 1, 1_000));
        assert!(!queue.has_room(1, 1, 1_001), "refused until it drained to half");
        let mut chunk = Chunk::default();
        queue.take(&mut chunk);
        queue.sent(9, 0);
        assert!(!queue.has_room(1, 1, 1_002));
        queue.sent(1, 0);
        assert!(queue.has_room(50, 1, 1_003));
    }

    #[test]
    fn messages_are_bounded_as_well_as_bytes() {
        let queue = queue(&small());
        (0..4).for_each(|_| push(&queue, b"x"));
        assert!(!queue.has_room(1, 1, 0));
    }

    #[test]
    fn an_empty_queue_takes_a_packet_beyond_its_limit() {
        let queue = queue(&small());
        assert!(queue.has_room(10_000, 1, 0));
    }

    #[test]
    fn a_receiver_is_stuck_only_after_the_stall_limit() {
        let queue = queue(&small());
        push(&queue, &[0; 100]);
        assert!(!queue.has_room(1, 1, 1_000));
        assert!(!queue.is_stuck(1_050));
        assert!(queue.is_stuck(1_051));
        queue.sent(60, 1);
        assert!(queue.has_room(1, 1, 2_000));
        assert!(!queue.is_stuck(9_999));
    }

    #[test]
    fn a_receiver_that_gets_on_is_slow_and_not_stuck() {
        let queue = queue(&small());
        push(&queue, &[0; 100]);
        assert!(!queue.has_room(1, 1, 1_000));
        queue.sent(13, 0);
        assert!(!queue.has_room(1, 1, 1_040), "it has not drained to half");
        assert!(!queue.is_stuck(1_090));
        queue.sent(1, 0);
        assert!(!queue.has_room(1, 1, 1_080), "a byte now and then does not count");
        assert!(queue.is_stuck(1_091));
    }

    #[test]
    fn closing_returns_every_byte_to_the_budget() {
        let queue = queue(&small());
        push(&queue, &[0; 30]);
        let mut chunk = Chunk::default();
        queue.take(&mut chunk);
        push(&queue, &[0; 20]);
        queue.sent(30, 1);
        queue.close();
        push(&queue, b"too late");
        assert_eq!((queue.depth_bytes(), queue.budget.used_bytes()), (0, 0));
        assert!(queue.is_empty());
    }

    #[test]
    fn scarcity_shrinks_every_share() {
        let limits = Limits { buffered_bytes_max: QUEUE_BYTES_WHEN_SCARCE, ..Limits::DEFAULT };
        let queue = queue(&limits);
        push(&queue, &[0; QUEUE_BYTES_WHEN_SCARCE]);
        assert!(!queue.has_room(1, 1, 0));
    }

    #[test]
    fn a_receiver_that_has_drained_is_not_stuck_though_nobody_asked_for_room_since() {
        let queue = queue(&small());
        push(&queue, &[0; 100]);
        assert!(!queue.has_room(1, 1, 0));
        queue.sent(100, 1);
        assert!(!queue.is_stuck(60_000));
    }

    #[test]
    fn nobody_waits_for_a_receiver_that_is_gone() {
        let queue = queue(&small());
        push(&queue, &[0; 100]);
        assert!(!queue.has_room(1, 1, 0));
        queue.finish(b"the end");
        assert!(queue.has_room(1, 1, 1));
    }

    #[test]
    fn nothing_follows_the_last_packet() {
        let queue = queue(&small());
        push(&queue, b"message ");
        queue.finish(b"the end");
        push(&queue, b"late");
        assert!(!queue.bypass(1, 1));
        let mut chunk = Chunk::default();
        assert!(queue.take(&mut chunk));
        assert_eq!((chunk.bytes.as_slice(), chunk.messages), (&b"message the end"[..], 1));
        queue.sent(chunk.bytes.len(), 1);
        queue.finish(b"again");
        assert!(queue.is_empty());
        assert_eq!(queue.budget.used_bytes(), 0);
    }

    #[test]
    fn all_queues_together_stop_short_of_twice_the_allowance() {
        let queue = queue(&Limits { buffered_bytes_max: 100, ..Limits::DEFAULT });
        push(&queue, &[0; 90]);
        push(&queue, &[0; 60]);
        push(&queue, &[0; 1]);
        assert!(!queue.bypass(1, 1));
        assert_eq!((queue.depth_bytes(), queue.take_dropped()), (150, 1));
        assert_eq!(queue.budget.overflowed_messages(), 1);
        queue.push([&b"PINGRESP"[..]].into_iter(), 8, 0);
        assert_eq!(queue.depth_bytes(), 158, "replies are not messages");
    }

    #[test]
    fn scarcity_keeps_long_packets_out_of_empty_queues() {
        let limits = Limits { buffered_bytes_max: 1_000, ..Limits::DEFAULT };
        let queue = queue(&limits);
        assert!(queue.has_room(QUEUE_BYTES_WHEN_SCARCE + 1, 1, 0));
        queue.budget.charge(1_000);
        assert!(!queue.has_room(QUEUE_BYTES_WHEN_SCARCE + 1, 1, 0));
        assert!(queue.has_room(QUEUE_BYTES_WHEN_SCARCE, 1, 0));
    }

    #[test]
    fn packets_may_bypass_only_an_empty_queue() {
        let queue = queue(&small());
        assert!(queue.bypass(10, 1));
        queue.sent(10, 1);
        push(&queue, b"first");
        assert!(!queue.bypass(10, 1));
    }
}
