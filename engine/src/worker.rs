//! One worker: its connections, the order in which they are read, and the messages staged for all receivers.
//!
//! The worker has no sockets, no thread and no clock. Its driver passes it bytes, events and the time, and executes its
//! outputs; the contract is in the documentation of the crate.
//!
//! Many ready connections are read before anything is transmitted, which makes batches. With a hundred senders and a
//! hundred receivers a transmission after every read would carry one message.

mod close;
mod deadlines;
mod orders;
mod read_order;
mod replies;
mod resume;
mod shed;
mod sweep;
mod times;

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::HashMap;

use self::deadlines::Deadlines;
use self::read_order::ReadOrder;
use self::replies::{Outcome, Replies};
use crate::connection::context::Context;
use crate::connection::disconnect::EndReason;
use crate::connection::framing::Scratch;
use crate::connection::pause::{Pause, PauseCause};
use crate::connection::protocol::Replaying;
use crate::connection::{Connection, Phase, Plan, Reading, Received, Target, TransportNote};
use crate::delivery::batch::Staged;
use crate::delivery::outbox::ConnectionId;
use crate::event::{Event, Mail};
use crate::ops::dispatch::Dispatcher;
use crate::ops::sys::Sys;
use crate::order::PendingOrder;
use crate::state::shared::Shared;
use crate::state::timers::NEVER;

/// How often a worker checks timeouts and idle buffers.
const SWEEP_MS: u64 = 250;

/// How soon a worker checks again whether a client has read so much that its session can send more. One that acknowledges
/// does not wait for it.
const REFILL_TICK_MS: u64 = 10;

/// How soon a worker checks again whether a pause can end.
const PAUSE_TICK_MS: u64 = 1;

/// The protocol engine of one worker thread.
#[derive(Debug)]
pub struct Worker {
    /// Boxed, since half of a table's places can be empty.
    connections: HashMap<ConnectionId, Box<Connection>>,
    /// Connections that may have bytes.
    ready: ReadOrder,
    /// The turn has begun to read.
    is_reading: bool,
    /// The read that [`Worker::poll_read`] returned, until its bytes are handled.
    reading: Option<(ConnectionId, Target)>,
    /// Connections that are not read, in the order in which they were paused.
    paused: Vec<ConnectionId>,
    /// Connections that were resumed, found the receiver full again, and go first next time.
    retry_first: Vec<ConnectionId>,
    /// Connections with a replay.
    replaying: Vec<ConnectionId>,
    /// At least one replay can deliver more at once.
    replays_can_continue: bool,
    /// Connections whose CONNECT is awaited, the oldest first, and some that are connected by now.
    newcomers: VecDeque<ConnectionId>,
    /// Connections whose outboxes are filled while their sessions have more to send.
    refilling: Vec<ConnectionId>,
    next_refill_ms: u64,
    /// Connections that have ended and still have a session.
    closing: Vec<Closing>,
    /// Actions of the operator that are under way, in the order in which they came.
    orders: Vec<PendingOrder>,
    /// Connections that linger, and until when.
    lingering: Vec<(u64, ConnectionId)>,
    /// The staged messages must be transmitted before the next read.
    transmit_due: bool,
    scratch: Scratch,
    outputs: Outputs,
    deadlines: Deadlines,
    /// Connections with an input buffer.
    buffered: Vec<ConnectionId>,
    next_sweep_ms: u64,
    /// The policy's version when the rights of connections were last asked.
    policy_version: u64,
    /// The number of queues with dropped messages that were reported.
    reported_drops: u64,
    /// The topics of `$SYS`, on the first worker.
    sys: Option<Box<Sys>>,
}

/// The outputs of a turn, and the state that produces them.
#[derive(Debug)]
struct Outputs {
    shared: Arc<Shared>,
    index: usize,
    dispatcher: Dispatcher,
    replies: Replies,
    events: VecDeque<Event>,
}

impl Outputs {
    fn context(&mut self, now_ms: u64) -> Context<'_> {
        Context {
            shared: &self.shared,
            dispatcher: &mut self.dispatcher,
            replies: self.replies.buffer(),
            events: &mut self.events,
            worker: self.index,
            now_ms,
        }
    }
}

/// A connection that has ended but still has its session.
#[derive(Debug)]
struct Closing {
    id: ConnectionId,
    reason: EndReason,
    /// A packet with the reason is among its replies.
    has_disconnect_packet: bool,
}

/// A request to the driver to receive.
#[derive(Debug)]
pub struct Read<'a> {
    /// The connection.
    pub connection: ConnectionId,
    /// The buffer for its bytes. Not empty.
    pub buffer: &'a mut [u8],
}

impl Worker {
    /// Worker number `index` among the workers of `shared`. `recv_bytes` is the size of a receive that is cheapest on
    /// the host.
    pub fn new(shared: Arc<Shared>, index: usize, recv_bytes: usize) -> Self {
        let policy_version = shared.policy.version();
        let sys = Sys::new(shared.sys).filter(|_| index == 0);
        let dispatcher = Dispatcher::new(&shared, index);
        let mut worker = Self {
            connections: HashMap::default(),
            ready: ReadOrder::default(),
            is_reading: false,
            reading: None,
            paused: Vec::new(),
            retry_first: Vec::new(),
            replaying: Vec::new(),
            replays_can_continue: false,
            newcomers: VecDeque::new(),
            refilling: Vec::new(),
            next_refill_ms: 0,
            closing: Vec::new(),
            orders: Vec::new(),
            lingering: Vec::new(),
            transmit_due: false,
            scratch: Scratch::new(recv_bytes),
            outputs: Outputs { shared, index, dispatcher, replies: Replies::default(), events: VecDeque::new() },
            deadlines: Deadlines::default(),
            buffered: Vec::new(),
            next_sweep_ms: 0,
            policy_version,
            reported_drops: 0,
            sys: sys.map(Box::new),
        };
        worker.publish_sys(0);
        worker
    }

    /// Handles a message from another worker or the acceptor.
    pub fn handle_mail(&mut self, now_ms: u64, mail: Mail) {
        match mail {
            Mail::Accept(outbox, origin) => {
                let id = outbox.connection();
                self.outputs.dispatcher.counts().connections_accepted += 1;
                let shared = &self.outputs.shared;
                let limits = shared.live_limits_of(origin.listener);
                let share = shared.unauthenticated.enter(origin.peer, &limits);
                let is_admitted = share.is_ok();
                let mut connection = Connection::new(outbox, origin, share.ok(), &limits, now_ms);
                self.deadlines.file(&mut connection, now_ms + limits.connect_timeout_ms);
                self.connections.insert(id, Box::new(connection));
                if is_admitted {
                    self.handle_readable(id);
                    self.add_newcomer(id);
                } else {
                    self.end(id, EndReason::TooManyUnauthenticatedOfAddress);
                }
            }
            Mail::End(id, reason) => self.end(id, reason),
            Mail::Order(order) => self.take_order(order, now_ms),
            Mail::Refill(id) => self.refilling.push(id),
            Mail::Stop => self.stop(),
        }
    }

    /// Notes that a connection may have bytes. False if this worker does not own it.
    pub fn handle_readable(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        self.ready.push(connection);
        true
    }

    /// Notes what the transport of a connection holds and knows, until its CONNECT is accepted. The bytes count for
    /// `unauthenticated-bytes-max`. Comes before [`Worker::handle_bytes`] with the result of the same receive.
    pub fn handle_transport(&mut self, id: ConnectionId, note: TransportNote) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.note_transport(note, &self.outputs.shared.live_limits()).is_err() {
            self.end(id, EndReason::TooManyUnauthenticatedOfAddress);
        }
    }

    /// The next receive of this turn. Each connection is read at most once; resumed connections come before all others, and
    /// the ones that send much come last. `None` when all were read or enough bytes, or when messages must be transmitted
    /// first.
    pub fn poll_read(&mut self, now_ms: u64) -> Option<Read<'_>> {
        debug_assert!(self.reading.is_none(), "the bytes of the last read are handled first");
        if !self.is_reading {
            self.is_reading = true;
            self.publish_sys(now_ms);
            self.resume(now_ms);
            self.refill(now_ms);
            self.ready.begin_turn(self.scratch.recv_bytes);
        }
        let (connection, target) = self.next_read(now_ms)?;
        self.reading = Some((connection, target));
        let buffer = match target {
            Target::Scratch { start, len } => &mut self.scratch.bytes_mut()[start..start + len],
            Target::Discard { start } => &mut self.scratch.bytes_mut()[start..],
            Target::Held { from } | Target::Ahead { from } => {
                &mut self.connections.get_mut(&connection)?.framing.held[from..]
            }
        };
        Some(Read { connection, buffer })
    }

    /// Publishes the values of `$SYS` that have changed, if it is time.
    fn publish_sys(&mut self, now_ms: u64) {
        if let Some(sys) = &mut self.sys
            && sys.is_due(now_ms)
        {
            let Outputs { shared, dispatcher, .. } = &mut self.outputs;
            sys.publish(shared, dispatcher, now_ms);
        }
    }

    fn next_read(&mut self, now_ms: u64) -> Option<(ConnectionId, Target)> {
        while !self.transmit_due {
            let id = self.ready.next(self.outputs.dispatcher.sends_are_small())?;
            let paused = self.paused();
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.is_ready = false;
            if connection.pause.is_some() || connection.phase == Phase::Closing {
                // It becomes ready again when its pause ends, or when it lingers.
                match connection.prepare_ahead(&self.scratch, &self.outputs.shared.budget) {
                    Some(from) => return Some((id, Target::Ahead { from })),
                    None => continue,
                }
            }
            if connection.phase == Phase::Lingering {
                if self.scratch.free_bytes() > 0 {
                    return Some((id, Target::Discard { start: self.scratch.filled }));
                }
                self.ready.push(connection);
                continue;
            }
            self.scratch.share_among(paused);
            let held_bytes = connection.held_bytes();
            match connection.prepare_read(&mut self.scratch, &mut self.outputs.context(now_ms)) {
                Plan::Receive(target) => return Some((id, target)),
                Plan::Handle => {
                    let reading = connection.handle(None, &mut self.scratch, &mut self.outputs.context(now_ms));
                    self.finish_read(id, reading, held_bytes, now_ms);
                }
                Plan::Stop(reading) => self.finish_read(id, reading, held_bytes, now_ms),
            }
        }
        None
    }

    /// Handles the result of the last read.
    pub fn handle_bytes(&mut self, now_ms: u64, received: Received) {
        let Some((id, target)) = self.reading.take() else {
            debug_assert!(false, "a read comes before its bytes");
            return;
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Received::Bytes { count, .. } = received {
            self.ready.note_read(connection, count, now_ms);
            self.outputs.dispatcher.counts().bytes_received += count as u64;
        }
        if let Target::Discard { .. } = target {
            match received {
                Received::Bytes { more: true, .. } => self.ready.push(connection),
                Received::Bytes { .. } | Received::WouldBlock => {}
                Received::Closed | Received::Failed | Received::Rejected(_) => self.close(id),
            }
            return;
        }
        if let Target::Ahead { from } = target {
            let reading = connection.handle_ahead(from, received, &mut self.outputs.context(now_ms));
            self.finish_read(id, reading, from, now_ms);
            return;
        }
        let held_bytes = match target {
            // The buffer was grown for the read.
            Target::Held { from } => from,
            Target::Scratch { .. } | Target::Discard { .. } | Target::Ahead { .. } => connection.held_bytes(),
        };
        let mut context = self.outputs.context(now_ms);
        let reading = connection.handle(Some((target, received)), &mut self.scratch, &mut context);
        self.finish_read(id, reading, held_bytes, now_ms);
    }

    fn finish_read(&mut self, id: ConnectionId, reading: Reading, held_bytes: usize, now_ms: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let has_ended = matches!(reading, Reading::Ended(..));
        let is_newcomer = connection.share.is_some();
        let Outputs { shared, dispatcher, replies, .. } = &mut self.outputs;
        let outbox = connection.protocol.outbox();
        debug_assert_eq!(connection.uncommitted, 0, "a connection is not read while replies to it are held");
        if shared.journal.awaits_commit() {
            connection.uncommitted += u32::from(replies.hold(outbox, has_ended, dispatcher));
        } else {
            replies.push(outbox, has_ended, dispatcher);
        }
        if std::mem::take(&mut connection.has_hold) {
            replies.end_hold_later(outbox);
            connection.uncommitted += 1;
        }
        connection.protocol.resume_sending(&mut self.outputs.context(now_ms));
        if connection.protocol.is_replaying() && !connection.is_replaying {
            connection.is_replaying = true;
            self.replaying.push(id);
        }
        if connection.framing.has_buffer() && !connection.is_buffered {
            connection.is_buffered = true;
            self.buffered.push(id);
        }
        // Packets move it to later times, except that CONNECT may bring a short keep-alive.
        let deadline_ms = connection.protocol.deadline().map_or(NEVER, |(at_ms, _)| at_ms);
        if deadline_ms < connection.filed_ms {
            self.deadlines.file(connection, deadline_ms);
        }
        if let Some(PauseCause::Takeover(old)) = connection.pause.as_ref().map(|pause| &pause.cause) {
            let end = Mail::End(old.connection(), EndReason::TakenOver);
            self.outputs.events.push_back(Event::Mail(old.worker(), end));
        }
        match reading {
            Reading::Drained | Reading::Ahead => {}
            Reading::More => self.ready.push(connection),
            Reading::Paused if held_bytes > 0 && connection.held_bytes() == held_bytes => self.retry_first.push(id),
            Reading::Paused => self.paused.push(id),
            Reading::Ended(reason, has_disconnect_packet) => self.begin_close(id, reason, has_disconnect_packet),
        }
        self.transmit_due |= self.outputs.dispatcher.needs_flush();
        if is_newcomer {
            self.shed_newcomers();
        }
    }

    /// Ends the reads of a turn, or a part of them: calls `transmit` once for each receiver that has something to send.
    /// True if connections of this turn are still to be read.
    pub fn poll_transmit(&mut self, now_ms: u64, mut transmit: impl FnMut(Staged<'_>)) -> bool {
        if !self.ready.has_more() {
            self.replay(now_ms);
            let Outputs { shared, dispatcher, .. } = &mut self.outputs;
            dispatcher.retry_waiting(shared, now_ms);
            self.carry_out_orders(now_ms);
        }
        loop {
            while self.flush_replies(now_ms) {}
            let Outputs { shared, dispatcher, events, index, .. } = &mut self.outputs;
            dispatcher.flush_staged(shared, now_ms);
            dispatcher.drain(self.scratch.bytes(), &mut transmit);
            self.scratch.clear();
            dispatcher.flush_counters();
            dispatcher.finish_wills(shared);
            for (id, worker) in dispatcher.take_stuck() {
                events.push_back(Event::Mail(worker, Mail::End(id, EndReason::Stuck)));
            }
            for (id, worker) in dispatcher.take_refills() {
                if worker == *index {
                    self.refilling.push(id);
                } else {
                    events.push_back(Event::Mail(worker, Mail::Refill(id)));
                }
            }
            self.transmit_due = false;
            // A connection's messages are delivered before its session is detached, and so before the client's next
            // connection is handled, on any worker.
            if !self.close_sessions(now_ms) {
                return self.ready.has_more();
            }
        }
    }

    /// Pushes the replies that are committed. True if a failed commit has ended connections, which adds final replies.
    fn flush_replies(&mut self, now_ms: u64) -> bool {
        let Self { connections, paused, outputs, .. } = self;
        let mut failed = Vec::new();
        let mut report = |id: ConnectionId, outcome: Outcome| {
            let Some(connection) = connections.get_mut(&id) else { return };
            match outcome {
                Outcome::Held if connection.pause.is_none() && connection.phase == Phase::Open => {
                    connection.pause = Some(Box::new(Pause { cause: PauseCause::Commit, since_ms: now_ms }));
                    paused.push(id);
                }
                Outcome::Held => {}
                Outcome::Released => connection.uncommitted -= 1,
                Outcome::Failed => {
                    connection.uncommitted -= 1;
                    failed.push(id);
                }
            }
        };
        let Outputs { shared, index, dispatcher, replies, .. } = outputs;
        replies.flush(*index, shared, dispatcher, &mut report);
        let any_failed = !failed.is_empty();
        failed.into_iter().for_each(|id| self.end(id, EndReason::StoreFailed));
        any_failed
    }

    /// Fills the outboxes of clients that have read.
    fn refill(&mut self, now_ms: u64) {
        if self.refilling.is_empty() || now_ms < self.next_refill_ms {
            return;
        }
        self.next_refill_ms = now_ms + REFILL_TICK_MS;
        let Self { refilling, connections, outputs, .. } = self;
        refilling.retain(|id| {
            let Some(connection) = connections.get_mut(id) else { return false };
            connection.protocol.refill(&mut outputs.context(now_ms))
        });
    }

    /// Delivers retained messages to new subscriptions.
    fn replay(&mut self, now_ms: u64) {
        self.replays_can_continue = false;
        for id in std::mem::take(&mut self.replaying) {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let Outputs { shared, dispatcher, .. } = &mut self.outputs;
            match connection.protocol.replay(shared, dispatcher, now_ms) {
                Replaying::Done => connection.is_replaying = false,
                more => {
                    self.replays_can_continue |= more == Replaying::More;
                    self.replaying.push(id);
                }
            }
        }
    }

    /// The next output. The driver takes all of them after each [`Worker::poll_transmit`].
    pub fn poll_event(&mut self) -> Option<Event> {
        self.outputs.events.pop_front()
    }

    /// How long the driver may wait for events, in milliseconds. `None` if no connection of this worker needs a turn
    /// without an event.
    pub fn poll_timeout(&self, now_ms: u64) -> Option<u64> {
        if !self.ready.is_empty() || self.replays_can_continue {
            return Some(0);
        }
        let waits = !self.replaying.is_empty() || self.outputs.dispatcher.is_waiting();
        if waits || self.outputs.replies.are_held() || !self.orders.is_empty() {
            return Some(PAUSE_TICK_MS);
        }
        if let Some(pause_ms) = self.until_a_pause_may_end(now_ms) {
            return Some(pause_ms.min(SWEEP_MS));
        }
        if !self.refilling.is_empty() {
            return Some(REFILL_TICK_MS);
        }
        // The first worker expires sessions and messages.
        let shared = (self.outputs.index == 0).then_some(&self.outputs.shared);
        let has_no_timers = shared.is_none_or(|shared| shared.has_no_timers());
        if self.connections.is_empty() && has_no_timers && !self.outputs.dispatcher.keeps_memory() {
            return None;
        }
        let next_ms = shared.and_then(|shared| shared.next_timer_ms());
        Some(next_ms.map_or(SWEEP_MS, |next_ms| next_ms.saturating_sub(now_ms).min(SWEEP_MS)))
    }

    /// The number of paused connections.
    pub fn paused(&self) -> usize {
        self.paused.len() + self.retry_first.len()
    }
}
