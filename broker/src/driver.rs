//! The driver of one worker: the loop that connects an engine worker to sockets, mailboxes and the clock.
//!
//! One turn:
//!
//! 1. wait for events, not at all if there is work left over;
//! 2. receive from the connections that the worker names, once from each, and hand it the bytes;
//! 3. send to each receiver that the worker has something for, once ([`crate::output`]).
//!
//! All decisions about the protocol are the worker's: see [`wisp_engine`].

mod timed_turns;

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use foldhash::HashMap;
use tracing::error;
use wisp_engine::{ConnectionId, Event, Mail, Received, Worker};
use wisp_net::{Event as SocketEvent, Host, Poller, Registrar, Stream};

use self::timed_turns::TimedTurns;
use crate::listener::{Acceptor, Backlog, connection_of};
use crate::log::Log;
use crate::mailbox::{NewConnection, WorkerMessage};
use crate::memory::MemoryRelease;
use crate::output::SendHalf;
use crate::quota::Place;
use crate::state::Server;
use crate::transport::{Transport, Turn};

/// The longest wait if work may arise without an event.
const IDLE_TICK_MS: u64 = 250;

/// The most commits in one turn, on a host without threads.
#[cfg(feature = "store")]
const COMMITS_MAX: usize = 3;

/// One worker and its sockets.
pub(crate) struct Driver<H: Host> {
    server: Arc<Server<H>>,
    index: usize,
    poller: H::Poller,
    acceptor: Option<Acceptor<H>>,
    worker: Worker,
    timed_turns: TimedTurns,
    sockets: HashMap<ConnectionId, Socket<H::Stream>>,
    events: Vec<SocketEvent>,
    /// Connections of any worker to which this one had more to send than fits into a turn.
    unflushed: Vec<ConnectionId>,
    /// Connections of any worker with output buffers that this one frees when they are no longer used.
    buffered: Vec<ConnectionId>,
    /// Connections of this worker to shut down for sending when the last packet has been sent.
    lingering: Vec<ConnectionId>,
    memory: MemoryRelease,
    transports: Turn,
    /// Connections of this worker with bytes in their transports that no event announces.
    postponed: Vec<ConnectionId>,
}

/// The owner's part of a socket.
struct Socket<S: Stream> {
    half: Arc<SendHalf<S>>,
    transport: Arc<Transport<S>>,
    /// Its place among the connections of its listener, given up when this is dropped.
    _place: Place,
}

impl<H: Host> Driver<H> {
    pub(crate) fn new(server: Arc<Server<H>>, index: usize, poller: H::Poller, acceptor: Option<Acceptor<H>>) -> Self {
        let worker = Worker::new(Arc::clone(&server.engine), index, server.host.capabilities().recv_bytes);
        Self {
            server,
            index,
            poller,
            acceptor,
            worker,
            timed_turns: TimedTurns::new(index as u32),
            sockets: HashMap::default(),
            events: Vec::new(),
            unflushed: Vec::new(),
            buffered: Vec::new(),
            lingering: Vec::new(),
            memory: MemoryRelease::default(),
            transports: Turn::default(),
            postponed: Vec::new(),
        }
    }

    /// Turns until the broker stops.
    ///
    /// # Errors
    /// If the host can no longer wait for sockets. Then the broker stops.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut outcome = Ok(());
        let mut now_ms = self.server.now_ms();
        while !self.server.is_stopping() {
            let timeout = self.timeout(now_ms);
            if let Err(error) = self.wait(timeout) {
                error!(%error, "the host can no longer wait for sockets; the broker stops");
                self.server.stop();
                outcome = Err(error);
                break;
            }
            now_ms = self.timed_turn();
        }
        self.stop(self.server.now_ms());
        outcome
    }

    /// One turn, for the events of the last wait. Returns the time of its beginning. Only some turns are measured, since that takes
    /// another look at the clock, a slow call on some hosts.
    fn timed_turn(&mut self) -> u64 {
        let begun = self.server.now();
        let now_ms = begun.as_millis() as u64;
        if !self.timed_turns.is_timed() {
            self.turn(now_ms);
            return now_ms;
        }
        let before = self.worker.messages_received();
        self.turn(now_ms);
        let messages = self.worker.messages_received() - before;
        self.worker.note_turn(self.server.now().saturating_sub(begun), messages, TimedTurns::ONE_IN);
        now_ms
    }

    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        #[cfg(feature = "in-process")]
        {
            let doorbell = &self.server.in_process.doorbells[self.index];
            let timeout = if doorbell.begin_wait() { timeout } else { Some(Duration::ZERO) };
            self.poller.wait(&mut self.events, timeout)?;
            doorbell.end_wait(&mut self.events);
            Ok(())
        }
        #[cfg(not(feature = "in-process"))]
        self.poller.wait(&mut self.events, timeout)
    }

    /// Adds an event that the poller did not have.
    #[cfg(test)]
    pub(crate) fn add_event(&mut self, event: SocketEvent) {
        self.events.push(event);
    }

    /// One turn, at the time `now_ms`, for the events of the last wait.
    pub(crate) fn turn(&mut self, now_ms: u64) {
        self.drain_mailbox(now_ms);
        self.transports.begin();
        for id in std::mem::take(&mut self.postponed) {
            self.worker.handle_readable(id);
        }
        let events = std::mem::take(&mut self.events);
        events.iter().for_each(|event| self.dispatch(event, now_ms));
        self.events = events;
        if self.backlog() == Backlog::MayHaveMore {
            self.accept(now_ms);
        }
        let connections = &self.server.connections;
        self.unflushed.retain(|id| connections.get(*id).is_some_and(|half| half.flush()));
        loop {
            self.receive(now_ms);
            if !self.transmit(now_ms) {
                break;
            }
        }
        if self.worker.handle_timeout(now_ms) {
            self.transmit(now_ms);
            self.sweep(now_ms);
            self.accept(now_ms);
        }
        #[cfg(feature = "store")]
        if let Some(durable) = self.server.durable.clone() {
            // On a host without threads the replies that a commit releases go out at once. Sending them may append
            // further changes.
            let mut rounds = COMMITS_MAX;
            while rounds > 0 && durable.end_turn() {
                rounds -= 1;
                self.transmit(now_ms);
            }
        }
    }

    /// How long to wait for events after a turn that began at `turn_ms`.
    fn timeout(&self, turn_ms: u64) -> Option<Duration> {
        let backlog = self.backlog();
        if !self.unflushed.is_empty() || !self.postponed.is_empty() || backlog == Backlog::MayHaveMore {
            return Some(Duration::ZERO);
        }
        #[cfg(feature = "store")]
        if self.server.durable.as_ref().is_some_and(|durable| durable.is_due()) {
            return Some(Duration::ZERO);
        }
        let capabilities = self.server.host.capabilities();
        // The first worker expires the state of other workers' connections and gives memory back, and no event wakes it
        // for that.
        let may_idle = self.index != 0 || (self.server.connections.count() == 0 && !self.memory.is_pending());
        let timeout = match self.worker.poll_timeout(turn_ms) {
            // The turn took a part of it. The clock is read only if that matters: on some hosts it is a slow call.
            Some(ms @ 2..IDLE_TICK_MS) => {
                let turn_took_ms = self.server.now_ms().saturating_sub(turn_ms);
                Some(Duration::from_millis(ms.saturating_sub(turn_took_ms)))
            }
            Some(ms) => Some(Duration::from_millis(ms)),
            None if may_idle && capabilities.wake && backlog == Backlog::Empty => None,
            None => Some(Duration::from_millis(IDLE_TICK_MS)),
        };
        match (timeout, capabilities.poll_tick) {
            (Some(timeout), Some(tick)) => Some(timeout.min(tick)),
            (timeout, tick) => timeout.or(tick),
        }
    }

    fn backlog(&self) -> Backlog {
        self.acceptor.as_ref().map_or(Backlog::Empty, Acceptor::backlog)
    }

    fn accept(&mut self, now_ms: u64) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.accept_some(&self.server);
            self.drain_mailbox(now_ms);
        }
    }

    fn drain_mailbox(&mut self, now_ms: u64) {
        for message in self.server.mailboxes[self.index].take() {
            match message {
                WorkerMessage::NewConnection(NewConnection { half, transport, origin, place }) => {
                    Log::accepted(origin, self.index);
                    let outbox = Arc::clone(&half.outbox);
                    self.sockets.insert(half.id, Socket { half, transport, _place: place });
                    self.worker.handle_mail(now_ms, Mail::Accept(outbox, origin));
                }
                WorkerMessage::Mail(mail) => self.worker.handle_mail(now_ms, mail),
            }
        }
    }

    fn dispatch(&mut self, event: &SocketEvent, now_ms: u64) {
        let Some(id) = connection_of(event.token) else {
            self.accept(now_ms);
            return;
        };
        if event.readable && !self.worker.handle_readable(id) {
            // The acceptor has registered it after the mailbox was drained, or it is closed by now.
            self.drain_mailbox(now_ms);
            self.worker.handle_readable(id);
        }
        if event.writable
            && let Some(socket) = self.sockets.get(&id)
        {
            socket.transport.writable();
            if socket.transport.answers_itself() {
                self.worker.handle_readable(id);
            }
            if socket.half.writable() {
                self.unflushed.push(id);
            }
        }
    }

    /// Receives from connections until all were read in this turn, or the worker must transmit first.
    fn receive(&mut self, now_ms: u64) {
        while let Some(read) = self.worker.poll_read(now_ms) {
            let id = read.connection;
            let Some(socket) = self.sockets.get(&id) else {
                self.worker.handle_bytes(now_ms, Received::Failed);
                continue;
            };
            let received = socket.transport.receive(read.buffer, &mut self.transports);
            if let Some(note) = self.transports.note.take() {
                self.worker.handle_transport(id, note);
            }
            if std::mem::take(&mut self.transports.again) {
                self.postponed.push(id);
            }
            #[cfg(feature = "admin")]
            for order in self.transports.orders.drain(..) {
                self.worker.handle_mail(now_ms, Mail::Order(order.asked_by(id)));
            }
            self.worker.handle_bytes(now_ms, received);
        }
    }

    /// Sends the messages that the worker has staged for all receivers. True if connections are still to be read in
    /// this turn.
    fn transmit(&mut self, now_ms: u64) -> bool {
        let Self { server, unflushed, buffered, .. } = self;
        let connections = &server.connections;
        let more = self.worker.poll_transmit(now_ms, |staged| {
            let Some(half) = connections.get(staged.outbox.connection()) else { return };
            if half.deliver(&staged) {
                unflushed.push(half.id);
            }
            if half.begin_listing() {
                buffered.push(half.id);
            }
        });
        while let Some(event) = self.worker.poll_event() {
            self.handle(event, now_ms);
        }
        more
    }

    fn handle(&mut self, event: Event, now_ms: u64) {
        match event {
            Event::Mail(worker, mail) => {
                // A worker that has ended has no connections left.
                self.server.mailboxes[worker].send(WorkerMessage::Mail(mail));
            }
            Event::Lingering(id) => {
                if let Some(socket) = self.sockets.get(&id) {
                    if socket.half.flush() || socket.shut_down_if_flushed() {
                        self.unflushed.push(id);
                    }
                    self.lingering.push(id);
                }
            }
            Event::Closed(id) => self.close(id),
            event if self.server.is_of_admin(&event) => {}
            event => {
                self.server.log.event(&event, now_ms);
                if let Some(observer) = &self.server.observer {
                    observer.observe(&event);
                }
            }
        }
    }

    /// Frees empty buffers, which would add up over all connections, and writes the counts for the log.
    fn sweep(&mut self, now_ms: u64) {
        if self.index == 0 {
            self.server.log.flush(now_ms);
            self.memory.check(&self.server, now_ms);
            self.server.watch.poll();
        }
        let Self { server, sockets, unflushed, buffered, lingering, .. } = self;
        lingering.retain(|id| {
            let Some(socket) = sockets.get(id) else { return false };
            if socket.shut_down_if_flushed() {
                unflushed.push(*id);
            }
            true
        });
        buffered.retain(|id| {
            let Some(half) = server.connections.get(*id) else { return false };
            let stays = half.shrink();
            if half.flush_for_others() {
                unflushed.push(*id);
            }
            stays
        });
    }

    fn close(&mut self, id: ConnectionId) {
        let Some(socket) = self.sockets.remove(&id) else { return };
        socket.transport.end();
        // The host may have removed a broken socket from the poller already.
        if let Some(stream) = socket.transport.stream() {
            let _ = self.server.mailboxes[self.index].registrar.remove(stream);
        }
        socket.half.close();
        self.server.connections.remove(id);
    }

    /// Sends every client the reason, and closes all sockets.
    fn stop(&mut self, now_ms: u64) {
        if self.index == 0
            && let Some(unsaved) = self.server.engine.unsaved()
        {
            Log::stopping(&unsaved);
        }
        self.drain_mailbox(now_ms);
        self.worker.handle_mail(now_ms, Mail::Stop);
        self.transmit(now_ms);
        let ids: Vec<ConnectionId> = self.sockets.keys().copied().collect();
        ids.into_iter().for_each(|id| self.close(id));
    }
}

/// When a worker panics the broker stops, since its clients would wait for ever. The connections are still there: sockets are
/// closed with the broker, and a client in the process has to be told.
impl<H: Host> Drop for Driver<H> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.server.stop();
        }
        self.sockets.values().for_each(|socket| socket.transport.end());
        for message in self.server.mailboxes[self.index].close() {
            if let WorkerMessage::NewConnection(connection) = message {
                connection.transport.end();
            }
        }
    }
}

impl<S: Stream> Socket<S> {
    /// Shuts the sending direction down if the last packet is in the socket. True as with every `bool` of [`SendHalf`].
    fn shut_down_if_flushed(&self) -> bool {
        self.half.is_flushed() && self.half.shutdown(Shutdown::Write)
    }
}
