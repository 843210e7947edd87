//! Step 6 of the path of a message, for connections: packets that wait for one socket.
//!
//! In: packets in the receiver's wire format, a batch at a time, from any worker. Out: one run of bytes, taken by the
//! thread that flushes the receiver's connection. Before it are [`crate::delivery::batch`] for messages at QoS 0 and
//! [`crate::state::session`] for the others; after it is the broker's output.
//!
//! ```text
//!  workers --push--> [ incoming bytes | lock ] --take--> the flusher's chunk --send--> socket
//!                    '------------- depth: counted until it was sent -------------'
//! ```
//!
//! The depth counts a byte from the push until the peer's socket has taken it, so the limit holds for the outbox and
//! the output together.

use std::sync::{Arc, OnceLock};

use wisp_wire::ProtocolVersion;

use crate::base::budget::Budget;
use crate::base::capacity::{Capacity, CapacityLimits};
use crate::base::slot::Slot;
use crate::base::sync::{AtomicBool, Mutex, Ordering, rank};
use crate::delivery::aliases::AssignedAliases;

/// The two encodings of a PUBLISH: one for MQTT 3.1 and 3.1.1, one for MQTT 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFormat {
    /// MQTT 3.1 and 3.1.1: no properties.
    V3,
    /// MQTT 5.
    V5,
}

impl From<ProtocolVersion> for WireFormat {
    fn from(version: ProtocolVersion) -> Self {
        if version.is_v5() { Self::V5 } else { Self::V3 }
    }
}

impl WireFormat {
    /// A version with this encoding.
    pub fn version(self) -> ProtocolVersion {
        match self {
            Self::V3 => ProtocolVersion::Mqtt311,
            Self::V5 => ProtocolVersion::Mqtt5,
        }
    }
}

/// Names one connection for ever: the slot is reused, the generation is not. The engine only stores it, so that a
/// worker that pushes to an outbox can find the connection to flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Index into the broker's table of connections.
    pub slot: u32,
    /// Counts the uses of the slot.
    pub generation: u32,
}

/// Bytes taken out of an outbox in one piece, with the number of messages in them.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Whole packets, in order.
    pub bytes: Vec<u8>,
    /// How many of the packets count as messages.
    pub messages: usize,
}

/// The packets a receiver accepts, as its CONNECT announced.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverInfo {
    /// How its PUBLISH packets are written.
    pub format: WireFormat,
    /// The longest packet the client accepts (Maximum Packet Size, MQTT 5 section 3.1.2.11.4).
    pub packet_bytes_max: u32,
    /// How many topic aliases the server may assign (Topic Alias Maximum, MQTT 5 section 3.1.2.11.5).
    pub topic_aliases_max: u16,
    /// Whether it has set the number of messages that it wants unacknowledged (Receive Maximum, MQTT 5 section
    /// 3.1.2.11.3).
    pub sets_window: bool,
}

/// The packets that wait for one connection. Shared by all workers.
#[derive(Debug)]
pub struct Outbox {
    connection: ConnectionId,
    /// The worker that owns the connection.
    worker: u16,
    /// The connection has given up its session, and its last messages are delivered.
    released: AtomicBool,
    /// The worker has the connection on its list of outboxes to refill, or is told to put it there.
    needs_refill: AtomicBool,
    /// Unset until the client's CONNECT.
    receiver: OnceLock<ReceiverInfo>,
    slot: Slot,
    capacity: Arc<Capacity>,
    incoming: Mutex<Incoming, { rank::OUTBOX }>,
}

// There is one for each connection. A larger one is to be a choice.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Outbox>() <= 104);

#[derive(Debug, Default)]
struct Incoming {
    chunk: Chunk,
    /// The packets are not taken until the store has committed the state that they report.
    is_held: bool,
    /// Only if the client accepts aliases.
    aliases: Option<Box<AssignedAliases>>,
}

impl Outbox {
    /// An empty outbox for `connection`, which `worker` owns.
    pub(crate) fn new((connection, worker): (ConnectionId, usize), slot: Slot, limits: &Arc<CapacityLimits>) -> Self {
        Self {
            connection,
            worker: worker as u16,
            released: AtomicBool::new(false),
            needs_refill: AtomicBool::new(false),
            receiver: OnceLock::new(),
            slot,
            capacity: Arc::new(Capacity::new(Arc::clone(limits))),
            incoming: Mutex::default(),
        }
    }

    /// Notes that its session has more to send when it has drained. False if that is noted already.
    pub(crate) fn begin_refill(&self) -> bool {
        !self.needs_refill.swap(true, Ordering::Relaxed)
    }

    /// The session is asked to send more.
    pub(crate) fn end_refill(&self) {
        self.needs_refill.store(false, Ordering::Relaxed);
    }

    /// The connection that owns the outbox.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The worker that owns the connection.
    pub(crate) fn worker(&self) -> usize {
        usize::from(self.worker)
    }

    /// Notes that the connection has given up its session and its last messages are delivered.
    pub(crate) fn release(&self) {
        self.released.store(true, Ordering::Release);
    }

    /// Whether a connection that took the session over may be read.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    fn budget(&self) -> &Budget {
        self.capacity.budget()
    }

    /// The depth and its limits.
    pub fn capacity(&self) -> &Arc<Capacity> {
        &self.capacity
    }

    /// The packets the receiver accepts. Before its CONNECT it accepts no messages, only the packet that ends the
    /// connection.
    pub fn receiver(&self) -> ReceiverInfo {
        const UNKNOWN: ReceiverInfo =
            ReceiverInfo { format: WireFormat::V3, packet_bytes_max: 0, topic_aliases_max: 0, sets_window: false };
        self.receiver.get().copied().unwrap_or(UNKNOWN)
    }

    /// Sets the packets the receiver accepts, once.
    pub fn set_receiver(&self, receiver: ReceiverInfo) {
        if receiver.topic_aliases_max > 0 {
            let aliases = AssignedAliases::new(receiver.topic_aliases_max, receiver.packet_bytes_max);
            self.incoming.lock().aliases = Some(Box::new(aliases));
        }
        let set = self.receiver.set(receiver);
        debug_assert!(set.is_ok(), "a connection has one CONNECT");
    }

    /// An index that no other live outbox has.
    pub fn index(&self) -> usize {
        self.slot.index()
    }

    /// Appends `pieces`, which are whole packets or runs of them, with `messages` messages. A closed outbox ignores
    /// them, since its receiver is gone.
    ///
    /// The caller has asked the capacity for space. The messages are still dropped and counted if all buffers together
    /// pass the tolerance, as one message for very many receivers can cause. Packets without messages always enter.
    pub fn push<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>, bytes: usize, messages: usize) {
        let mut incoming = self.incoming.lock();
        if self.is_closed() {
            return;
        }
        if messages > 0 && !self.budget().tolerates(bytes) {
            self.capacity.count_dropped(messages as u64);
            self.budget().count_overflowed(messages);
            return;
        }
        self.append(&mut incoming, pieces, bytes, messages);
    }

    /// Appends packets of a session, and empties `packets`. The session's window bounds them and they must not be lost,
    /// so they always enter, unless the connection is gone.
    pub(crate) fn push_windowed(&self, packets: &mut Vec<u8>, messages: usize) {
        let mut incoming = self.incoming.lock();
        let alone = incoming.chunk.bytes.is_empty() && incoming.aliases.is_none();
        if self.is_closed() {
            packets.clear();
        } else if alone {
            // The buffers are swapped; nothing is copied.
            self.capacity.add(packets.len(), messages);
            std::mem::swap(&mut incoming.chunk.bytes, packets);
            incoming.chunk.messages += messages;
        } else {
            self.append(&mut incoming, [packets.as_slice()].into_iter(), packets.len(), messages);
            packets.clear();
        }
    }

    fn append<'a>(
        &self,
        incoming: &mut Incoming,
        pieces: impl Iterator<Item = &'a [u8]>,
        bytes: usize,
        messages: usize,
    ) {
        let Incoming { chunk, aliases, .. } = incoming;
        let before = chunk.bytes.len();
        chunk.bytes.reserve(bytes);
        for piece in pieces {
            match aliases {
                Some(aliases) if messages > 0 => aliases.rewrite(piece, &mut chunk.bytes),
                _ => chunk.bytes.extend_from_slice(piece),
            }
        }
        chunk.messages += messages;
        self.capacity.add(chunk.bytes.len() - before, messages);
    }

    /// Appends the receiver's last packet. Nothing enters afterwards; waiting packets can still be taken.
    pub fn push_final(&self, packet: &[u8]) {
        let mut incoming = self.incoming.lock();
        if !self.is_closed() {
            self.capacity.add(packet.len(), 0);
            incoming.chunk.bytes.extend_from_slice(packet);
            self.capacity.close();
        }
    }

    /// Counts packets that were or will be sent to the socket without entering the outbox. False, and nothing is
    /// counted, if the outbox is closed, if packets wait in it, which have to be sent first, if topic aliases have to
    /// be written into the packets, or if the budget has no space for the rest that the socket does not take.
    pub fn bypass(&self, bytes: usize, messages: usize) -> bool {
        let incoming = self.incoming.lock();
        let waits = incoming.is_held || !incoming.chunk.bytes.is_empty();
        let blocked = self.is_closed() || waits || incoming.aliases.is_some();
        if blocked || !self.budget().tolerates(bytes) {
            return false;
        }
        self.capacity.add(bytes, messages);
        true
    }

    /// Takes all waiting packets into `chunk`, which must be empty; its buffer is reused for the outbox. False if no
    /// packets wait.
    pub fn take(&self, chunk: &mut Chunk) -> bool {
        debug_assert!(chunk.bytes.is_empty() && chunk.messages == 0, "the bytes taken before must be sent first");
        let mut incoming = self.incoming.lock();
        if incoming.chunk.bytes.is_empty() || incoming.is_held {
            return false;
        }
        std::mem::swap(&mut incoming.chunk, chunk);
        true
    }

    /// Whether no packets wait to be taken.
    pub fn is_empty(&self) -> bool {
        let incoming = self.incoming.lock();
        incoming.chunk.bytes.is_empty() || incoming.is_held
    }

    /// Keeps all packets, of which the first follows, until [`Outbox::end_hold`].
    pub(crate) fn hold(&self) {
        self.incoming.lock().is_held = true;
    }

    /// Packets may be taken from now on.
    pub(crate) fn end_hold(&self) {
        self.incoming.lock().is_held = false;
    }

    /// Notes that the peer's socket took `bytes`, which completed `messages`.
    pub fn sent(&self, bytes: usize, messages: usize) {
        self.capacity.remove(bytes, messages);
    }

    /// Counts the bytes of one send for the statistics.
    pub fn count_sent(&self, bytes: usize) {
        self.budget().count_sent(bytes);
    }

    /// Bytes pushed and not yet sent.
    pub fn depth_bytes(&self) -> usize {
        self.capacity.depth_bytes()
    }

    /// Counts `bytes` of empty buffers as kept for reuse. False if all connections together have reached the limit for
    /// kept buffers; then the caller must free the buffer.
    pub fn try_keep(&self, bytes: usize) -> bool {
        self.budget().try_keep(bytes)
    }

    /// Counts `bytes` of buffers as no longer kept.
    pub fn unkeep(&self, bytes: usize) {
        self.budget().unkeep(bytes);
    }

    /// Frees the memory of an empty outbox's buffer beyond `bytes`. True if it has no memory left.
    pub fn shrink_to(&self, bytes: usize) -> bool {
        let mut incoming = self.incoming.lock();
        if incoming.chunk.bytes.is_empty() {
            incoming.chunk.bytes.shrink_to(bytes);
        }
        incoming.chunk.bytes.capacity() == 0
    }

    /// Closes the outbox: waiting packets are dropped and nothing enters any more. The thread that has taken bytes and
    /// not sent them counts them with [`Outbox::sent`].
    pub fn close(&self) {
        let mut incoming = self.incoming.lock();
        self.capacity.close();
        let waiting = std::mem::take(&mut incoming.chunk);
        self.sent(waiting.bytes.len(), waiting.messages);
    }

    /// Whether the receiver is gone. Changes under the lock of the waiting packets: the ones that entered before may
    /// still be sent.
    pub fn is_closed(&self) -> bool {
        self.capacity.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::capacity::Admission;
    use crate::base::limits::Limits;
    use crate::base::slot::Slots;

    fn outbox(limits: &Limits) -> Outbox {
        let connection = ConnectionId { slot: 1, generation: 1 };
        let budget = Arc::new(Budget::new(limits.buffered_bytes_max));
        let limits = Arc::new(CapacityLimits::of_receivers(limits, &budget));
        Outbox::new((connection, 0), Arc::new(Slots::default()).take(), &limits)
    }

    fn push(outbox: &Outbox, bytes: &[u8]) {
        outbox.push([bytes].into_iter(), bytes.len(), 1);
    }

    fn small() -> Limits {
        Limits { queue_bytes_max: 100, queue_messages_max: 4, stall_ms_max: Some(50), ..Limits::DEFAULT }
    }

    #[test]
    fn pushed_packets_are_taken_in_order() {
        let outbox = outbox(&small());
        push(&outbox, b"one");
        push(&outbox, b"two");
        let mut chunk = Chunk::default();
        assert!(outbox.take(&mut chunk));
        assert_eq!((chunk.bytes.as_slice(), chunk.messages), (&b"onetwo"[..], 2));
        assert!(outbox.is_empty());
    }

    #[test]
    fn closing_returns_every_byte_to_the_budget() {
        let outbox = outbox(&small());
        push(&outbox, &[0; 30]);
        let mut chunk = Chunk::default();
        outbox.take(&mut chunk);
        push(&outbox, &[0; 20]);
        outbox.sent(30, 1);
        outbox.close();
        push(&outbox, b"too late");
        assert_eq!((outbox.depth_bytes(), outbox.budget().used_bytes()), (0, 0));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_receiver_that_is_gone_holds_no_sender_back() {
        let outbox = outbox(&small());
        push(&outbox, &[0; 100]);
        assert_eq!(outbox.capacity.admit(1, 1, true, 0), Admission::Wait);
        outbox.push_final(b"the end");
        assert_eq!(outbox.capacity.admit(1, 1, true, 1), Admission::Admitted);
    }

    #[test]
    fn nothing_follows_the_last_packet() {
        let outbox = outbox(&small());
        push(&outbox, b"message ");
        outbox.push_final(b"the end");
        push(&outbox, b"late");
        assert!(!outbox.bypass(1, 1));
        let mut chunk = Chunk::default();
        assert!(outbox.take(&mut chunk));
        assert_eq!((chunk.bytes.as_slice(), chunk.messages), (&b"message the end"[..], 1));
        outbox.sent(chunk.bytes.len(), 1);
        outbox.push_final(b"again");
        assert!(outbox.is_empty());
        assert_eq!(outbox.budget().used_bytes(), 0);
    }

    #[test]
    fn all_outboxes_together_stay_below_twice_the_allowance() {
        let outbox = outbox(&Limits { buffered_bytes_max: 100, ..Limits::DEFAULT });
        push(&outbox, &[0; 90]);
        push(&outbox, &[0; 60]);
        push(&outbox, &[0; 1]);
        assert!(!outbox.bypass(1, 1));
        assert_eq!((outbox.depth_bytes(), outbox.capacity.take_dropped()), (150, 1));
        assert_eq!(outbox.budget().overflowed_messages(), 1);
        outbox.push([&b"PINGRESP"[..]].into_iter(), 8, 0);
        assert_eq!(outbox.depth_bytes(), 158, "replies are not messages");
    }

    #[test]
    fn packets_may_bypass_only_an_empty_queue() {
        let outbox = outbox(&small());
        assert!(outbox.bypass(10, 1));
        outbox.sent(10, 1);
        push(&outbox, b"first");
        assert!(!outbox.bypass(10, 1));
    }
}
