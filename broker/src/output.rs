//! Steps 8 and 9 of the path of a message: the sending half of a connection, which any worker may use.
//!
//! In: packets, staged by the worker that routed them or waiting in the receiver's outbox. Out: bytes in its socket.
//! The worker that routed a message sends it itself, on behalf of the worker that owns the receiver's connection. No
//! thread is woken for it.
//!
//! One lock covers the socket and the bytes to be sent to it, so a late flush never writes to a closed socket's
//! descriptor. The lock is held during a send, which does not block. A worker that finds it taken does not wait: the
//! holder checks the outbox once more after it has released the lock, and so sees everything that was pushed before.
//!
//! ```text
//!           a worker sends                 would block
//!   idle -------------------> busy, sending -----------> busy, full
//!     ^                          |    ^                      |
//!     '------- all sent ---------'    '--- owner: writable --'
//! ```
//!
//! While it is *busy*, workers only push. It becomes busy before the first send. Were the flag set only when the socket
//! proves full, the event for that could arrive before it, and would be ignored.

use std::io;
use std::sync::Arc;

use wisp_engine::sync::{AtomicBool, Mutex, MutexGuard, Ordering, rank};
use wisp_engine::{Chunk, ConnectionId, Outbox, Staged};
use wisp_net::Stream;

use crate::transport::Transport;

/// Staged packets in one piece of at least this length are sent from where they lie. For shorter ones the outbox is
/// cheaper.
const DIRECT_BYTES_MIN: usize = 2 * 1024;

/// Every connection may keep an empty buffer of this size. A larger one is kept for the next chunk until a sweep finds that
/// it was not needed, and only while all connections together are below the limit for kept buffers. A buffer that is freed
/// after each chunk costs a page fault for every few messages, and the buffers of thousands of connections add up to gigabytes.
const KEPT_BYTES: usize = 64 * 1024;

/// A worker that has sent this much to one receiver continues with its other connections. Otherwise it could be
/// occupied for ever by a receiver that takes bytes as fast as other workers push them.
const FLUSH_BYTES_MAX: usize = if cfg!(loom) { 1 } else { 4 * 1024 * 1024 };

/// The part of a connection that all workers share.
#[derive(Debug)]
pub(crate) struct SendHalf<S: Stream> {
    pub(crate) id: ConnectionId,
    pub(crate) outbox: Arc<Outbox>,
    output: Mutex<Output<S>, { rank::OUTPUT }>,
    /// A worker is sending, or the socket was full at the last attempt. Changes only under the lock of `output`.
    busy: AtomicBool,
    /// It is on a worker's list of connections with buffers to free.
    is_listed: AtomicBool,
}

#[derive(Debug)]
struct Output<S: Stream> {
    /// None once the connection is closed.
    transport: Option<Arc<Transport<S>>>,
    /// Bytes taken from the outbox, or left over from a direct send. The first `sent` of them are sent.
    chunk: Chunk,
    sent: usize,
    /// The longest chunk since buffers were last shrunk.
    longest_bytes: usize,
    /// Bytes counted for the two buffers that take turns, here and in the outbox.
    kept_bytes: usize,
}

impl<S: Stream> SendHalf<S> {
    pub(crate) fn new(id: ConnectionId, outbox: Arc<Outbox>, transport: Arc<Transport<S>>) -> Self {
        let output =
            Output { transport: Some(transport), chunk: Chunk::default(), sent: 0, longest_bytes: 0, kept_bytes: 0 };
        Self { id, outbox, output: Mutex::new(output), busy: AtomicBool::new(false), is_listed: AtomicBool::new(false) }
    }

    /// Sends the messages staged for this receiver, or leaves them in the outbox for the worker that is sending. True
    /// if the worker must [`flush`](Self::flush) again later, as with every `bool` here.
    pub(crate) fn deliver(&self, staged: &Staged<'_>) -> bool {
        let direct = staged.contiguous().filter(|bytes| bytes.len() >= DIRECT_BYTES_MIN && !self.is_busy());
        if let Some(bytes) = direct
            && let Some(mut output) = self.output.try_lock()
            && output.takes_direct()
            && self.outbox.bypass(bytes.len(), staged.messages)
        {
            self.busy.store(true, Ordering::Relaxed);
            let room = output.send_direct(bytes, staged.messages, &self.outbox);
            self.release(output, room);
            if self.outbox.is_empty() {
                return false;
            }
        } else {
            staged.push();
        }
        self.flush()
    }

    /// Sends waiting bytes until the socket is full.
    pub(crate) fn flush(&self) -> bool {
        while !self.is_busy() {
            let Some(output) = self.output.try_lock() else { return false };
            let drained = self.drain(output);
            if drained == Drained::Enough || self.outbox.is_empty() {
                return drained == Drained::Enough;
            }
        }
        false
    }

    /// Handles the event that the socket is writable again.
    pub(crate) fn writable(&self) -> bool {
        if !self.is_busy() {
            return false;
        }
        // Must block: the current holder may have found the socket full before this event, and will not retry.
        self.drain(self.output.lock()) == Drained::Enough || self.flush()
    }

    fn drain(&self, mut output: MutexGuard<'_, Output<S>>) -> Drained {
        self.busy.store(true, Ordering::Relaxed);
        let drained = output.drain(&self.outbox);
        self.release(output, drained != Drained::SocketFull);
        drained
    }

    fn release(&self, output: MutexGuard<'_, Output<S>>, room: bool) {
        if room {
            self.busy.store(false, Ordering::Relaxed);
        }
        drop(output);
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Whether everything pushed so far is in the socket.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outbox.depth_bytes() == 0
    }

    /// Shuts down the sending direction after the bytes sent so far, or both directions.
    pub(crate) fn shutdown(&self, how: std::net::Shutdown) -> bool {
        if let Some(transport) = &self.output.lock().transport {
            // The peer may have closed already, which needs no shutdown.
            let _ = transport.shutdown(how);
        }
        self.flush_for_others()
    }

    /// Drops the socket and all bytes for it. Nothing is sent afterwards.
    pub(crate) fn close(&self) {
        let mut output = self.output.lock();
        output.transport = None;
        output.abandon(&self.outbox);
        self.outbox.close();
    }

    /// Whether the caller must list the connection for [`SendHalf::shrink`]: it has been used and is on no worker's list.
    pub(crate) fn begin_listing(&self) -> bool {
        !self.is_listed.load(Ordering::Relaxed) && !self.is_listed.swap(true, Ordering::Relaxed)
    }

    /// Shrinks empty buffers that are larger than the traffic since the last call needed. True if the connection stays on
    /// the caller's list. Otherwise it has no buffers left, or another worker has listed it meanwhile.
    pub(crate) fn shrink(&self) -> bool {
        // A worker that sends from now on lists it again.
        self.is_listed.store(false, Ordering::Relaxed);
        let is_free = self.output.try_lock().is_some_and(|mut output| {
            if !output.chunk.bytes.is_empty() {
                return false;
            }
            let longest_bytes = std::mem::take(&mut output.longest_bytes);
            output.chunk.bytes.shrink_to(2 * longest_bytes);
            let outbox_is_free = self.outbox.shrink_to(2 * longest_bytes);
            output.keep_at_most(4 * longest_bytes, &self.outbox);
            outbox_is_free && output.chunk.bytes.capacity() == 0
        });
        !is_free && self.begin_listing()
    }

    /// Called after holding the lock for another purpose than sending: a worker that wanted to send may have found it
    /// taken and skipped its send.
    pub(crate) fn flush_for_others(&self) -> bool {
        !self.outbox.is_empty() && self.flush()
    }
}

/// The reason why a drain has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    /// No bytes are left.
    Empty,
    /// The socket is full. An event will announce that it is writable.
    SocketFull,
    /// The limit for one turn is reached.
    Enough,
}

impl<S: Stream> Output<S> {
    /// Whether packets may be sent from where they lie.
    fn takes_direct(&self) -> bool {
        self.chunk.bytes.is_empty() && self.transport.as_ref().is_some_and(|transport| transport.is_transparent())
    }

    /// Sends bytes that are not in the outbox, and stores the rest that the socket does not take. True if it took all.
    fn send_direct(&mut self, bytes: &[u8], messages: usize, outbox: &Outbox) -> bool {
        let sent = self.send(bytes, outbox);
        let all = sent == bytes.len();
        if !all {
            self.chunk.bytes.extend_from_slice(&bytes[sent..]);
            self.chunk.messages = messages;
        }
        outbox.sent(sent, if all { messages } else { 0 });
        all
    }

    /// Sends the chunk, then the contents of the outbox.
    fn drain(&mut self, outbox: &Outbox) -> Drained {
        let mut total = 0;
        loop {
            if self.chunk.bytes.is_empty() {
                if total >= FLUSH_BYTES_MAX {
                    return Drained::Enough;
                }
                if !outbox.take(&mut self.chunk) {
                    return Drained::Empty;
                }
                self.longest_bytes = self.longest_bytes.max(self.chunk.bytes.len());
            }
            let sent = self.send(&self.chunk.bytes[self.sent..], outbox);
            self.sent += sent;
            total += sent;
            if self.sent < self.chunk.bytes.len() {
                outbox.sent(sent, 0);
                return Drained::SocketFull;
            }
            outbox.sent(sent, self.chunk.messages);
            self.reset(outbox);
        }
    }

    /// Sends a prefix of `bytes` and returns its length. If it is not all, an event will announce that the socket is
    /// writable. A broken connection counts as taking everything: its owner gets an event from the host, and until then
    /// no sender is held back for it.
    fn send(&self, bytes: &[u8], outbox: &Outbox) -> usize {
        let Some(transport) = &self.transport else { return bytes.len() };
        match transport.send(bytes) {
            Ok(count) => {
                outbox.count_sent(count);
                count
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => bytes.len(),
        }
    }

    fn reset(&mut self, outbox: &Outbox) {
        self.sent = 0;
        self.chunk.messages = 0;
        self.chunk.bytes.clear();
        let wanted_bytes = 2 * self.chunk.bytes.capacity();
        if wanted_bytes > self.kept_bytes.max(2 * KEPT_BYTES) {
            if outbox.try_keep(wanted_bytes - self.kept_bytes) {
                self.kept_bytes = wanted_bytes;
            } else {
                self.chunk.bytes.shrink_to(KEPT_BYTES);
            }
        }
    }

    fn keep_at_most(&mut self, bytes: usize, outbox: &Outbox) {
        outbox.unkeep(self.kept_bytes.saturating_sub(bytes));
        self.kept_bytes = self.kept_bytes.min(bytes);
    }

    fn abandon(&mut self, outbox: &Outbox) {
        outbox.sent(self.chunk.bytes.len() - self.sent, self.chunk.messages);
        self.chunk = Chunk::default();
        self.sent = 0;
        self.keep_at_most(0, outbox);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::net::Shutdown;
    use std::sync::OnceLock;

    use wisp_engine::{Limits, Shared};

    use super::*;
    use crate::transport::Lower;

    /// A socket that takes everything, while other workers push as fast as it does.
    struct Insatiable(OnceLock<Arc<Outbox>>);

    impl Stream for Insatiable {
        fn recv(&self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn send(&self, bytes: &[u8]) -> io::Result<usize> {
            let more = vec![0; 1 << 20];
            self.0.get().expect("set before anything is sent").push([&more[..]].into_iter(), more.len(), 1);
            Ok(bytes.len())
        }

        fn shutdown(&self, _: Shutdown) -> io::Result<()> {
            Ok(())
        }

        fn set_nodelay(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A socket that takes everything.
    struct Drain;

    impl Stream for Drain {
        fn recv(&self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn send(&self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn shutdown(&self, _: Shutdown) -> io::Result<()> {
            Ok(())
        }

        fn set_nodelay(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn buffers_are_kept_until_a_sweep_finds_them_unused_and_in_sum_within_a_limit() {
        let shared = Shared::new(Limits::DEFAULT.with(|limits| limits.buffered_bytes_max = 64 << 20), 1);
        let connection = |slot| {
            let id = ConnectionId { slot, generation: 1 };
            SendHalf::new(id, shared.new_outbox(id, 0), Arc::new(Transport::Lower(Lower::Plain(Drain))))
        };
        let capacity = |connection: &SendHalf<Drain>| connection.output.lock().chunk.bytes.capacity();
        let waiting = vec![0; 1 << 20];
        let send = |connection: &SendHalf<Drain>| {
            connection.outbox.push([&waiting[..]].into_iter(), waiting.len(), 1);
            connection.flush();
            assert!(connection.is_flushed());
        };
        let connections: Vec<_> = (0..10).map(connection).collect();
        connections.iter().for_each(send);
        let kept = connections.iter().filter(|connection| capacity(connection) >= waiting.len()).count();
        assert_eq!(kept, 8, "a quarter of the allowance, for two buffers each");
        assert!(connections.iter().all(|connection| capacity(connection) >= KEPT_BYTES));
        // The first connection's buffer was used before the first sweep, and not before the second.
        connections.iter().for_each(|connection| {
            connection.shrink();
        });
        assert!(capacity(&connections[0]) >= waiting.len());
        connections.iter().for_each(|connection| {
            connection.shrink();
        });
        assert_eq!(connections.iter().map(capacity).sum::<usize>(), 0);
        // Another connection can keep its buffer again, also after a close.
        send(&connections[9]);
        assert!(capacity(&connections[9]) >= waiting.len());
        connections.iter().for_each(SendHalf::close);
        connections.iter().for_each(|connection| assert_eq!(connection.output.lock().kept_bytes, 0));
        assert_eq!(shared.stats().buffered_bytes, 0);
    }

    #[test]
    fn an_insatiable_receiver_does_not_occupy_its_flusher() {
        let shared = Shared::new(Limits::DEFAULT, 1);
        let id = ConnectionId { slot: 0, generation: 1 };
        let outbox = shared.new_outbox(id, 0);
        let socket = Arc::new(Transport::Lower(Lower::Plain(Insatiable(OnceLock::new()))));
        assert!(socket.stream().unwrap().0.set(Arc::clone(&outbox)).is_ok());
        let connection = SendHalf::new(id, Arc::clone(&outbox), socket);
        outbox.push([&b"first"[..]].into_iter(), 5, 1);
        for _ in 0..3 {
            assert!(connection.flush(), "it has to come back");
        }
        connection.close();
        assert_eq!(shared.stats().buffered_bytes, 0);
    }
}

/// Every interleaving of the protocol, on small cases: `RUSTFLAGS="--cfg loom" cargo test -p wisp-broker --lib loom`.
#[cfg(all(test, loom))]
mod loom_tests {
    use std::net::Shutdown;

    use loom::thread;
    use wisp_engine::testing::{accept_everything, with_staged};
    use wisp_engine::{Limits, Shared};

    use super::*;
    use crate::transport::Lower;

    /// A socket with an edge-triggered event, as the contract of `wisp-net` has it.
    struct Socket(Mutex<State, { rank::LEAF }>);

    #[derive(Default)]
    struct State {
        room: usize,
        armed: bool,
        closed: bool,
        received: Vec<u8>,
    }

    impl Socket {
        /// The peer reads everything from now on. True if the owner gets an event that the socket is writable.
        fn open_up(&self) -> bool {
            let mut state = self.0.lock();
            state.room = usize::MAX;
            std::mem::take(&mut state.armed)
        }
    }

    impl Stream for Socket {
        fn recv(&self, _: &mut [u8]) -> io::Result<usize> {
            unreachable!("the sending half is under test")
        }

        fn send(&self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.lock();
            assert!(!state.closed, "sent to a closed socket");
            let count = bytes.len().min(state.room);
            state.room -= count;
            state.received.extend_from_slice(&bytes[..count]);
            state.armed = count < bytes.len();
            if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
        }

        fn shutdown(&self, _: Shutdown) -> io::Result<()> {
            Ok(())
        }

        fn set_nodelay(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn connection(room: usize) -> (Arc<Shared>, Arc<Transport<Socket>>, Arc<SendHalf<Socket>>) {
        let shared = Arc::new(Shared::new(Limits::DEFAULT, 1));
        let id = ConnectionId { slot: 0, generation: 1 };
        let outbox = shared.new_outbox(id, 0);
        accept_everything(&outbox);
        let socket = Arc::new(Transport::Lower(Lower::Plain(Socket(Mutex::new(State { room, ..State::default() })))));
        let connection = Arc::new(SendHalf::new(id, outbox, Arc::clone(&socket)));
        (shared, socket, connection)
    }

    /// The flushes of a worker's next turns.
    fn come_back(connection: &SendHalf<Socket>, mut unfinished: bool) {
        while unfinished {
            unfinished = connection.flush();
        }
    }

    /// The delivery of a worker that has routed `bytes` to the connection.
    fn deliver(connection: &SendHalf<Socket>, bytes: &[u8]) {
        let mut unfinished = false;
        with_staged(&connection.outbox, bytes, |staged| unfinished = connection.deliver(&staged));
        come_back(connection, unfinished);
    }

    fn spawn_delivery(connection: &Arc<SendHalf<Socket>>, bytes: Vec<u8>) -> thread::JoinHandle<()> {
        let connection = Arc::clone(connection);
        thread::spawn(move || deliver(&connection, &bytes))
    }

    /// Two preemptions at the worst places find the faults of such protocols; all interleavings would take hours.
    fn model(test: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(Some(2));
        builder.check(test);
    }

    /// No bytes are left when the last worker is done and the socket is writable.
    fn everything_arrives(room: usize, lens: [usize; 2]) {
        model(move || {
            let (shared, socket, connection) = connection(room);
            let workers: Vec<_> =
                (0_u8..).zip(lens).map(|(n, len)| spawn_delivery(&connection, vec![n; len])).collect();
            if socket.stream().unwrap().open_up() {
                come_back(&connection, connection.writable());
            }
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            // The event of a send that blocked after the peer began to read. The socket has space, so the event comes
            // at once.
            if socket.stream().unwrap().open_up() {
                come_back(&connection, connection.writable());
            }
            let mut received = std::mem::take(&mut socket.stream().unwrap().0.lock().received);
            let changes = received.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert_eq!(changes, 1, "each worker's bytes arrive in one piece");
            received.sort_unstable();
            assert_eq!(received, [vec![0; lens[0]], vec![1; lens[1]]].concat());
            assert_eq!(shared.stats().buffered_bytes, 0);
        });
    }

    #[test]
    fn loom_queued_messages_of_two_workers_arrive() {
        everything_arrives(0, [1, 1]);
    }

    #[test]
    fn loom_a_socket_that_fills_up_midway_loses_nothing() {
        everything_arrives(1, [2, 2]);
    }

    #[test]
    fn loom_direct_and_queued_messages_arrive() {
        everything_arrives(3, [DIRECT_BYTES_MIN, 2]);
    }

    /// A worker that holds the lock for another purpose than sending makes a sending worker leave, too.
    fn a_message_arrives_despite(other: fn(&SendHalf<Socket>) -> bool) {
        model(move || {
            let (shared, socket, connection) = connection(usize::MAX);
            let worker = spawn_delivery(&connection, vec![7; 2]);
            come_back(&connection, other(&connection));
            worker.join().unwrap();
            assert_eq!(socket.stream().unwrap().0.lock().received, [7; 2]);
            assert_eq!(shared.stats().buffered_bytes, 0);
        });
    }

    #[test]
    fn loom_shrinking_holds_no_message_back() {
        a_message_arrives_despite(|half| {
            half.shrink();
            half.flush_for_others()
        });
    }

    #[test]
    fn loom_shutting_down_holds_no_message_back() {
        a_message_arrives_despite(|connection| connection.shutdown(Shutdown::Read));
    }

    #[test]
    fn loom_the_final_packet_arrives_last() {
        model(|| {
            let (shared, socket, connection) = connection(1);
            let worker = spawn_delivery(&connection, vec![7; 2]);
            connection.outbox.push_final(b"end");
            come_back(&connection, connection.flush());
            if socket.stream().unwrap().open_up() {
                come_back(&connection, connection.writable());
            }
            worker.join().unwrap();
            if socket.stream().unwrap().open_up() {
                come_back(&connection, connection.writable());
            }
            let received = socket.stream().unwrap().0.lock().received.clone();
            assert!(received == b"end" || received == b"\x07\x07end", "{received:?}");
            assert_eq!(shared.stats().buffered_bytes, 0);
        });
    }

    #[test]
    fn loom_nothing_is_sent_to_a_closed_socket() {
        model(|| {
            let (shared, socket, connection) = connection(1);
            let worker = spawn_delivery(&connection, vec![7; 2]);
            connection.close();
            socket.stream().unwrap().0.lock().closed = true;
            worker.join().unwrap();
            assert_eq!(shared.stats().buffered_bytes, 0, "unsent bytes are no longer counted");
        });
    }
}
