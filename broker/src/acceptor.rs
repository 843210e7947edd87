//! Accepts connections and deals them out to the workers in turn. Belongs to the first worker.
//!
//! A stream is registered with the poller of the worker that is to own it, and the worker is left a letter. The letter is
//! put in the box before the worker can see the first event, so no worker has to be woken.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tracing::{debug, warn};
use wisp_engine::{Connection as EngineConnection, ConnectionId};
use wisp_net::{Host, Listener, Registrar, Stream, Token};

use crate::output::Connection;
use crate::peer::Peer;
use crate::shared::{Letter, RegistrarOf, Shared};

/// The generation in the token of a listener, which no connection has.
const LISTENER_GENERATION: u32 = 0;

/// Most connections accepted from one listener in a row, so that a flood of them does not keep the worker from the
/// connections it has.
const ACCEPTED_IN_A_ROW_MAX: usize = 256;

pub(crate) struct Acceptor<H: Host> {
    listeners: Vec<H::Listener>,
    next_worker: usize,
    refusing: bool,
    backlog: Backlog,
}

/// What is known of the connections that wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Backlog {
    /// The next one comes with an event.
    Empty,
    /// The host could not accept one; it may be able to later, and will not say so.
    Failing,
    /// Not all were accepted yet.
    MayHaveMore,
}

impl<H: Host> Acceptor<H> {
    /// Registers the listeners with the first worker's poller.
    pub(crate) fn new(mut listeners: Vec<H::Listener>, registrar: &RegistrarOf<H>) -> io::Result<Self> {
        for (slot, listener) in listeners.iter_mut().enumerate() {
            let id = ConnectionId { slot: slot as u32, generation: LISTENER_GENERATION };
            registrar.add_listener(listener, token(id))?;
        }
        Ok(Self { listeners, next_worker: 0, refusing: false, backlog: Backlog::Empty })
    }

    /// What waits, as far as the last look told.
    pub(crate) fn backlog(&self) -> Backlog {
        self.backlog
    }

    /// Accepts what waits, within bounds.
    pub(crate) fn accept_some(&mut self, shared: &Shared<H>, now_ms: u64) {
        let backlogs = (0..self.listeners.len()).map(|index| self.accept_from(index, shared, now_ms));
        self.backlog = backlogs.max().unwrap_or(Backlog::Empty);
    }

    fn accept_from(&mut self, index: usize, shared: &Shared<H>, now_ms: u64) -> Backlog {
        for _ in 0..ACCEPTED_IN_A_ROW_MAX {
            match self.listeners[index].accept() {
                Ok((stream, peer_addr)) => self.accepted(shared, stream, peer_addr, now_ms),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Backlog::Empty,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Such as too many open files: tried again at the worker's next look around.
                    warn!(%error, "the host cannot accept a connection");
                    return Backlog::Failing;
                }
            }
        }
        Backlog::MayHaveMore
    }

    fn accepted(&mut self, shared: &Shared<H>, stream: H::Stream, peer_addr: Option<SocketAddr>, now_ms: u64) {
        let full = shared.connections.count() >= u64::from(shared.core.limits.connections_count_max);
        if full {
            if !self.refusing {
                warn!(
                    connections = shared.connections.count(),
                    "new connections are closed at once: there are as many as allowed (connections-max)"
                );
            }
            self.refusing = true;
            return;
        }
        self.refusing = false;
        let worker = self.next_worker;
        self.next_worker = (worker + 1) % shared.posts.len();
        if let Err(error) = deal(shared, worker, stream, peer_addr, now_ms) {
            warn!(%error, "the host cannot watch a new connection; it is closed");
        }
    }
}

fn deal<H: Host>(
    shared: &Shared<H>,
    worker: usize,
    mut stream: H::Stream,
    peer_addr: Option<SocketAddr>,
    now_ms: u64,
) -> io::Result<()> {
    if let Err(error) = stream.set_nodelay() {
        debug!(%error, "small packets may be delayed on this connection");
    }
    let post = &shared.posts[worker];
    let id = shared.connections.reserve();
    let dealt = post.send_with(|| {
        post.registrar.add(&mut stream, token(id))?;
        let stream = Arc::new(stream);
        let outbox = shared.core.new_outbox(id);
        let link = EngineConnection::new(Arc::clone(&shared.core), Arc::clone(&outbox), now_ms);
        let connection = Arc::new(Connection::new(id, worker, outbox, Arc::clone(&stream)));
        shared.connections.insert(Arc::clone(&connection));
        Ok(Letter::Adopt(Box::new(Peer::new(connection, stream, link, peer_addr))))
    });
    dealt.inspect_err(|_| shared.connections.remove(id))
}

/// A connection's token in its worker's poller.
pub(crate) fn token(id: ConnectionId) -> Token {
    Token(u64::from(id.generation) << 32 | u64::from(id.slot))
}

/// The connection a token stands for; None for a listener.
pub(crate) fn connection_of(token: Token) -> Option<ConnectionId> {
    let id = ConnectionId { slot: token.0 as u32, generation: (token.0 >> 32) as u32 };
    (id.generation != LISTENER_GENERATION).then_some(id)
}
