//! The loop of one worker: it owns a poller and the connections dealt to it.
//!
//! One turn:
//!
//! 1. wait for events, not at all if there is work left over;
//! 2. read every connection that is ready, once, and route what came ([`crate::input`]);
//! 3. deliver to each receiver touched, once ([`crate::output`]).
//!
//! Reading everything before delivering anything is what makes batches: with a hundred senders and a hundred receivers a
//! delivery after every read would carry one message.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use tracing::{debug, error, info, warn};
use wisp_engine::{ConnectionId, DISCONNECT_STALL_MS, Dispatcher, EndReason, Fault, Replaying};
use wisp_net::{Event, Host, Poller, Registrar};

use crate::acceptor::{Acceptor, Backlog, connection_of};
use crate::input::{Scratch, Sink};
use crate::pace::Pace;
use crate::peer::{Invited, Pause, PauseCause, Peer, Reading};
use crate::shared::{Letter, Shared};

/// How often a worker looks for timeouts and idle buffers.
const SWEEP_MS: u64 = 250;

/// How long a peer that was told why has to close its side before the connection is closed under it.
const FAREWELL_MS: u64 = 1_000;

/// How soon a worker looks again whether a receiver has room for the senders it holds back.
const PAUSE_TICK: Duration = Duration::from_millis(1);

/// One worker.
pub(crate) struct Worker<H: Host> {
    shared: Arc<Shared<H>>,
    index: usize,
    poller: H::Poller,
    acceptor: Option<Acceptor<H>>,
    peers: HashMap<ConnectionId, Peer<H::Stream>>,
    events: Vec<Event>,
    /// Connections that may have more to read than was read.
    ready: Vec<ConnectionId>,
    /// Connections that are not read, in the order in which they wait.
    paused: Vec<ConnectionId>,
    /// Those of them that were asked back when others had already taken the room, and are the next.
    turned_away: Vec<ConnectionId>,
    /// Connections, of whichever worker, for which this one has more to send than it did in its last turn.
    unflushed: Vec<ConnectionId>,
    /// Connections with retained messages to come, and whether one of them has room for more.
    replaying: Vec<ConnectionId>,
    replays_have_room: bool,
    scratch: Scratch,
    dispatcher: Dispatcher,
    replies: Vec<u8>,
    next_sweep_ms: u64,
}

impl<H: Host> Worker<H> {
    pub(crate) fn new(shared: Arc<Shared<H>>, index: usize, poller: H::Poller, acceptor: Option<Acceptor<H>>) -> Self {
        let scratch = Scratch::new(shared.host.capabilities().recv_bytes);
        Self {
            shared,
            index,
            poller,
            acceptor,
            peers: HashMap::default(),
            events: Vec::new(),
            ready: Vec::new(),
            paused: Vec::new(),
            turned_away: Vec::new(),
            unflushed: Vec::new(),
            replaying: Vec::new(),
            replays_have_room: false,
            scratch,
            dispatcher: Dispatcher::default(),
            replies: Vec::new(),
            next_sweep_ms: 0,
        }
    }

    /// Turns until the broker stops.
    pub(crate) fn run(mut self) {
        while !self.shared.is_stopping() {
            if let Err(error) = self.turn() {
                error!(%error, "the host can no longer wait for sockets; the broker stops");
                self.shared.stop();
            }
        }
        self.end_all();
    }

    fn turn(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        let mut events = std::mem::take(&mut self.events);
        self.poller.wait(&mut events, timeout)?;
        let now_ms = self.shared.now_ms();
        self.open_letters(now_ms);
        for event in &events {
            self.dispatch(event, now_ms);
        }
        self.events = events;
        if self.acceptor.as_ref().is_some_and(|acceptor| acceptor.backlog() == Backlog::MayHaveMore) {
            self.accept(now_ms);
        }
        self.resume(now_ms);
        let connections = &self.shared.connections;
        self.unflushed.retain(|id| connections.get(*id).is_some_and(|connection| connection.flush()));
        for id in std::mem::take(&mut self.ready) {
            self.read(id, now_ms);
        }
        self.replay(now_ms);
        self.dispatcher.retry_waiting(&self.shared.core, now_ms);
        self.deliver(now_ms);
        if now_ms >= self.next_sweep_ms {
            self.sweep(now_ms);
            self.deliver(now_ms);
        }
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        let backlog = self.acceptor.as_ref().map_or(Backlog::Empty, Acceptor::backlog);
        let left_over = !self.ready.is_empty() || !self.unflushed.is_empty() || self.replays_have_room;
        if left_over || backlog == Backlog::MayHaveMore {
            return Some(Duration::ZERO);
        }
        let capabilities = self.shared.host.capabilities();
        // What another worker's connections leave behind is for the first worker to look after, and nobody wakes it.
        let timeless = self.index != 0 || self.shared.connections.count() == 0 && self.shared.core.has_no_timers();
        let idle = self.peers.is_empty() && capabilities.wake && backlog == Backlog::Empty && timeless;
        let mut timeout = (!idle).then_some(Duration::from_millis(SWEEP_MS));
        if !self.replaying.is_empty() || self.dispatcher.is_waiting() {
            timeout = Some(PAUSE_TICK);
        } else if self.held_back() > 0 {
            timeout = Some(self.until_a_pause_may_end().min(Duration::from_millis(SWEEP_MS)));
        }
        match (timeout, capabilities.poll_tick) {
            (Some(timeout), Some(tick)) => Some(timeout.min(tick)),
            (timeout, tick) => timeout.or(tick),
        }
    }

    /// How many connections are not read.
    fn held_back(&self) -> usize {
        self.paused.len() + self.turned_away.len()
    }

    /// Who is paced is known to wait until a certain time; for all else that is waited for, there is a tick.
    fn until_a_pause_may_end(&self) -> Duration {
        let now_ms = self.shared.now_ms();
        let held_back = self.paused.iter().chain(&self.turned_away);
        let pauses = held_back.filter_map(|id| self.peers.get(id)?.pause.as_ref());
        let times = pauses.map(|pause| match pause.cause {
            PauseCause::Pace { until_ms } => Duration::from_millis(until_ms.saturating_sub(now_ms)),
            _ => PAUSE_TICK,
        });
        times.min().unwrap_or_default().max(PAUSE_TICK)
    }

    fn dispatch(&mut self, event: &Event, now_ms: u64) {
        let Some(id) = connection_of(event.token) else {
            self.accept(now_ms);
            return;
        };
        if !self.peers.contains_key(&id) {
            // Registered by the acceptor after the letters were opened, or closed in the meantime.
            self.open_letters(now_ms);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            if event.writable && peer.connection.writable() {
                self.unflushed.push(id);
            }
            if event.readable {
                list(&mut self.ready, peer);
            }
        }
    }

    fn open_letters(&mut self, now_ms: u64) {
        for letter in self.shared.posts[self.index].take() {
            match letter {
                Letter::Adopt(mut peer) => {
                    debug!(peer = peer.peer_addr.map(display), worker = self.index, "connection accepted");
                    list(&mut self.ready, &mut peer);
                    peer.pace = Pace::new(&self.shared.core.limits, now_ms);
                    self.peers.insert(peer.connection.id, *peer);
                }
                Letter::End(id, reason) => self.end(id, reason, now_ms),
            }
        }
    }

    /// Goes on with the connections that wait no longer, before those that did not wait.
    fn resume(&mut self, now_ms: u64) {
        if self.held_back() == 0 {
            return;
        }
        let mut invited = Invited::default();
        let running = std::mem::take(&mut self.ready);
        let waiting = std::mem::take(&mut self.turned_away).into_iter().chain(std::mem::take(&mut self.paused));
        for id in waiting {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let Some(pause) = &peer.pause else { continue };
            let waits = match &pause.cause {
                PauseCause::Room(room) => {
                    let held_bytes = peer.input.held_bytes();
                    let mut may_come =
                        || room.can_admit() && invited.fits(Arc::as_ptr(room), room.free_bytes(), held_bytes);
                    !room.is_stuck(now_ms) && !may_come()
                }
                PauseCause::Replies => !peer.connection.outbox.capacity().has_reply_room(),
                PauseCause::TakenOver(_) => peer.waits_for_another(&self.shared.connections),
                PauseCause::Pace { until_ms } => now_ms < *until_ms,
            };
            let stalled = now_ms.saturating_sub(pause.since_ms) > self.shared.core.limits.reply_stall_ms_max;
            if waits && stalled && matches!(pause.cause, PauseCause::Replies) {
                self.end(id, EndReason::Stuck, now_ms);
            } else if waits {
                self.paused.push(id);
            } else {
                if matches!(pause.cause, PauseCause::TakenOver(_)) {
                    peer.link.finish_takeover(&mut self.dispatcher);
                }
                peer.pause = None;
                if let Some(reason) = peer.deferred_end.take() {
                    self.end(id, reason, now_ms);
                    continue;
                }
                peer.link.excuse_silence(now_ms);
                list(&mut self.ready, peer);
            }
        }
        self.ready.extend(running);
    }

    /// Delivers retained messages to new subscriptions.
    fn replay(&mut self, now_ms: u64) {
        self.replays_have_room = false;
        for id in std::mem::take(&mut self.replaying) {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            match peer.link.replay(&mut self.dispatcher, now_ms) {
                Replaying::Done => peer.replaying = false,
                more => {
                    self.replays_have_room |= more == Replaying::More;
                    self.replaying.push(id);
                }
            }
        }
    }

    fn read(&mut self, id: ConnectionId, now_ms: u64) {
        let held_back = self.held_back();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.listed = false;
        if peer.pause.is_some() {
            // It is listed again when the pause ends.
            return;
        }
        if peer.farewell_until_ms.is_some() {
            self.read_farewell(id);
            return;
        }
        self.scratch.share_among(held_back);
        let held_bytes = peer.input.held_bytes();
        let mut sink =
            Sink { core: &self.shared.core, dispatcher: &mut self.dispatcher, replies: &mut self.replies, now_ms };
        let reading = peer.read(&mut self.scratch, &mut sink);
        sink.reply(&peer.connection.outbox, matches!(reading, Reading::Ended(..)));
        peer.link.resume_sending(&mut self.dispatcher, now_ms);
        if peer.link.is_replaying() && !peer.replaying {
            peer.replaying = true;
            self.replaying.push(id);
        }
        let taken_over = match peer.pause {
            Some(Pause { cause: PauseCause::TakenOver(old), .. }) => Some(old),
            _ => None,
        };
        match reading {
            Reading::Drained => {}
            Reading::More => list(&mut self.ready, peer),
            Reading::Paused if held_bytes > 0 && peer.input.held_bytes() == held_bytes => self.turned_away.push(id),
            Reading::Paused => self.paused.push(id),
            Reading::Ended(reason, told) => self.ended(id, reason, told, now_ms),
        }
        if let Some(old) = taken_over {
            self.end_elsewhere(old, EndReason::TakenOver);
        }
        if self.dispatcher.needs_flush() {
            self.deliver(now_ms);
        }
    }

    /// Throws away what a peer sends that has been told of its end.
    fn read_farewell(&mut self, id: ConnectionId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match self.scratch.discard(&*peer.stream) {
            Reading::More => list(&mut self.ready, peer),
            Reading::Ended(..) => self.close(id),
            Reading::Drained | Reading::Paused => {}
        }
    }

    /// Sends everything staged and flushes every receiver touched.
    fn deliver(&mut self, now_ms: u64) {
        let shared = &self.shared;
        let unflushed = &mut self.unflushed;
        self.dispatcher.flush_staged(&shared.core, now_ms);
        self.dispatcher.batch().drain(self.scratch.bytes(), |staged| {
            let Some(connection) = shared.connections.get(staged.outbox.connection()) else { return };
            if connection.deliver(&staged) {
                unflushed.push(connection.id);
            }
        });
        self.scratch.clear();
        self.dispatcher.flush_counters(&shared.core);
        for id in self.dispatcher.take_stuck() {
            self.end_elsewhere(id, EndReason::Stuck);
        }
    }

    /// Ends a connection whichever worker owns it.
    fn end_elsewhere(&mut self, id: ConnectionId, reason: EndReason) {
        if let Some(connection) = self.shared.connections.get(id) {
            self.shared.posts[connection.worker].send(Letter::End(id, reason));
        }
    }

    /// Ends a session for a reason of the server's, and tells the peer.
    fn end(&mut self, id: ConnectionId, reason: EndReason, now_ms: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.farewell_until_ms.is_some() {
            return;
        }
        if reason != EndReason::ShuttingDown && peer.waits_for_another(&self.shared.connections) {
            // Whoever takes over waits for this connection, and so has to wait for the one before it as well.
            peer.deferred_end.get_or_insert(reason);
            return;
        }
        let mut farewell = Vec::new();
        let end = peer.link.end(reason, &mut farewell);
        peer.connection.outbox.push_final(&farewell);
        self.ended(id, end.reason, end.has_disconnect_packet, now_ms);
    }

    fn ended(&mut self, id: ConnectionId, reason: EndReason, told: bool, now_ms: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        log_end(peer, reason);
        peer.pause = None;
        // What it sent goes out before anything that its client does next, wherever that will be.
        self.deliver(now_ms);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.link.close(reason, &mut self.dispatcher, now_ms);
        peer.connection.release_session();
        if peer.connection.flush() {
            self.unflushed.push(id);
        }
        if !told {
            self.close(id);
            return;
        }
        // Closing with unread input would reset the connection, and the reset could overtake the packet that says why.
        peer.farewell_until_ms = Some(now_ms + FAREWELL_MS);
        peer.input.clear(&self.shared.core.budget);
        if peer.connection.is_flushed() && peer.connection.shutdown(Shutdown::Write) {
            self.unflushed.push(id);
        }
        list(&mut self.ready, peer);
    }

    fn close(&mut self, id: ConnectionId) {
        let Some(mut peer) = self.peers.remove(&id) else { return };
        // A socket the host already gave up need not be registered any more.
        let _ = self.shared.posts[self.index].registrar.remove(&*peer.stream);
        peer.input.clear(&self.shared.core.budget);
        peer.connection.close();
        self.shared.connections.remove(id);
    }

    /// Looks for timeouts, and gives back the buffers that are empty: kept with each connection they would add up.
    fn sweep(&mut self, now_ms: u64) {
        self.next_sweep_ms = now_ms + SWEEP_MS;
        let mut overdue = Vec::new();
        let mut farewells = Vec::new();
        let scarce = self.shared.core.budget.is_scarce();
        let limits = &self.shared.core.limits;
        let stall_ms = limits.stall_ms_max.unwrap_or(DISCONNECT_STALL_MS);
        for (id, peer) in &mut self.peers {
            let outbox = &peer.connection.outbox;
            if scarce
                && !outbox.capacity().check_or_mark_full(1, 1, now_ms)
                && outbox.capacity().is_full_longer_than(stall_ms, now_ms)
            {
                // It keeps room from those who read, whatever the policy for its own messages is.
                overdue.push((*id, EndReason::Stuck));
            }
            match peer.farewell_until_ms {
                Some(until_ms) if now_ms >= until_ms => farewells.push(*id),
                Some(_) if peer.connection.is_flushed() && peer.connection.shutdown(Shutdown::Write) => {
                    self.unflushed.push(*id);
                }
                Some(_) => {}
                None if peer.pause.is_some() => {}
                None => overdue.extend(peer.link.overdue(now_ms).map(|reason| (*id, reason))),
            }
            peer.input.shrink();
            if peer.connection.shrink() {
                self.unflushed.push(*id);
            }
            let dropped: u64 = peer.link.capacities().map(|room| room.take_dropped()).sum();
            if dropped > 0 {
                let client = peer.link.client_id();
                warn!(
                    client,
                    peer = peer.peer_addr.map(display),
                    dropped,
                    "messages dropped: the receiver has no room for them"
                );
            }
        }
        overdue.into_iter().for_each(|(id, reason)| self.end(id, reason, now_ms));
        farewells.into_iter().for_each(|id| self.close(id));
        self.dispatcher.evict_stale(&self.shared.core);
        if self.index == 0 {
            self.shared.core.expire(&mut self.dispatcher, now_ms);
        }
        self.accept(now_ms);
    }

    fn accept(&mut self, now_ms: u64) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.accept_some(&self.shared, now_ms);
        }
    }

    fn end_all(&mut self) {
        let now_ms = self.shared.now_ms();
        self.open_letters(now_ms);
        let ids: Vec<ConnectionId> = self.peers.keys().copied().collect();
        for id in ids {
            self.end(id, EndReason::ShuttingDown, now_ms);
            self.close(id);
        }
    }
}

/// Puts a connection on the list of those to read, once.
fn list<S>(ready: &mut Vec<ConnectionId>, peer: &mut Peer<S>) {
    if !peer.listed {
        peer.listed = true;
        ready.push(peer.connection.id);
    }
}

fn log_end<S>(peer: &Peer<S>, reason: EndReason) {
    let (client, addr) = (peer.link.client_id(), peer.peer_addr);
    match reason.fault() {
        Fault::Nobody => info!(client, peer = addr.map(display), "connection ended: {reason}"),
        Fault::Transport | Fault::Limit | Fault::Peer => {
            warn!(client, peer = addr.map(display), fault = ?reason.fault(), "connection ended: {reason}");
        }
    }
}
