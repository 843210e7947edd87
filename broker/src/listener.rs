//! Accepts connections and distributes them over the workers in turn. Belongs to the first worker.
//!
//! A stream is registered with the poller of the worker that will own it, and the worker gets a message. The message is
//! in the mailbox before the worker can see the first event, so no worker has to be woken.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tracing::{debug, warn};
use wisp_engine::{ConnectionId, Origin};
use wisp_net::{Host, Listener, Registrar, Stream, Token};

use crate::config::ListenerConfig;
use crate::mailbox::{NewConnection, WorkerMessage};
use crate::output::SendHalf;
use crate::quota::{Place, Quota};
use crate::state::{RegistrarOf, Server};
use crate::transport::{Transport, TransportKind};

/// The generation in the token of a listener, which no connection has.
const LISTENER_GENERATION: u32 = 0;

/// Most connections accepted from one listener in a row, so that a flood of new ones does not starve the worker's other
/// connections.
const ACCEPTED_IN_A_ROW_MAX: usize = 256;

pub(crate) struct Acceptor<H: Host> {
    listeners: Vec<Bound<H>>,
    next_worker: usize,
    backlog: Backlog,
}

/// One listener.
pub(crate) struct Bound<H: Host> {
    pub(crate) socket: H::Listener,
    pub(crate) address: SocketAddr,
    pub(crate) transport: TransportKind,
    quota: Quota,
}

impl<H: Host> Bound<H> {
    pub(crate) fn new(socket: H::Listener, address: SocketAddr, config: ListenerConfig, quota: Quota) -> Self {
        Self { socket, address, transport: config.transport, quota }
    }
}

/// The state of the connections that wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Backlog {
    /// An event announces the next one.
    Empty,
    /// The host could not accept one. It may be able to later, without an event.
    Failing,
    /// More may be waiting.
    MayHaveMore,
}

impl<H: Host> Acceptor<H> {
    /// Registers the listeners with the first worker's poller.
    pub(crate) fn new(mut listeners: Vec<Bound<H>>, registrar: &RegistrarOf<H>) -> io::Result<Self> {
        for (slot, listener) in listeners.iter_mut().enumerate() {
            let id = ConnectionId { slot: slot as u32, generation: LISTENER_GENERATION };
            registrar.add_listener(&mut listener.socket, token(id))?;
        }
        Ok(Self { listeners, next_worker: 0, backlog: Backlog::Empty })
    }

    /// The result of the last [`accept_some`](Self::accept_some).
    pub(crate) fn backlog(&self) -> Backlog {
        self.backlog
    }

    /// Accepts waiting connections, up to a limit.
    pub(crate) fn accept_some(&mut self, server: &Server<H>) {
        let backlogs = (0..self.listeners.len()).map(|index| self.accept_from(index, server));
        self.backlog = backlogs.max().unwrap_or(Backlog::Empty);
    }

    fn accept_from(&mut self, index: usize, server: &Server<H>) -> Backlog {
        for _ in 0..ACCEPTED_IN_A_ROW_MAX {
            match self.listeners[index].socket.accept() {
                Ok((stream, peer)) => self.accepted(server, stream, Origin { peer, listener: index as u16 }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Backlog::Empty,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // For example, too many open files.
                    server.log.cannot_accept(&error, server.connections.count(), server.now_ms());
                    match self.listeners[index].socket.shed(&error) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Backlog::Empty,
                        // The worker retries in its next sweep.
                        Err(_) => return Backlog::Failing,
                    }
                }
            }
        }
        Backlog::MayHaveMore
    }

    fn accepted(&mut self, server: &Server<H>, stream: H::Stream, origin: Origin) {
        let listener = &self.listeners[usize::from(origin.listener)];
        if !listener.transport.accepts(origin.peer) {
            server.engine.count_rejected_connection();
            return server.log.no_proxy(listener.address, origin.peer, server.now_ms());
        }
        let place = listener.quota.take();
        let open = server.client_connections();
        let is_admin = listener.transport.is_admin() && place.is_some();
        let is_admitted = is_admin || server.engine.admits_connection(open, place.is_some());
        let Some(place) = place else { return server.log.refusing_on(listener.address, server.now_ms()) };
        if !is_admitted {
            return server.log.refusing(open, server.now_ms());
        }
        let worker = self.next_worker;
        self.next_worker = (worker + 1) % server.mailboxes.len();
        let accepted = Accepted { stream, origin, place };
        if let Err(error) = deal(server, worker, accepted, &listener.transport) {
            warn!(%error, "the host cannot watch a new connection; it is closed");
        }
    }
}

struct Accepted<S> {
    stream: S,
    origin: Origin,
    place: Place,
}

fn deal<H: Host>(
    server: &Server<H>,
    worker: usize,
    accepted: Accepted<H::Stream>,
    kind: &TransportKind,
) -> io::Result<()> {
    let Accepted { mut stream, origin, place } = accepted;
    // Behind a proxy the address of the socket is not the client's.
    let (peer, origin) = (origin.peer, kind.origin(origin));
    if let Err(error) = stream.set_nodelay() {
        debug!(%error, "small packets may be delayed on this connection");
    }
    let mailbox = &server.mailboxes[worker];
    let id = server.connections.reserve();
    let dealt = mailbox.send_with(|| {
        mailbox.registrar.add(&mut stream, token(id))?;
        let transport = Arc::new(Transport::new(kind, stream, peer, token(id))?);
        let half = Arc::new(SendHalf::new(id, server.engine.new_outbox(id, worker), Arc::clone(&transport)));
        server.connections.insert(Arc::clone(&half));
        Ok(WorkerMessage::NewConnection(NewConnection { half, transport, origin, place }))
    });
    dealt.inspect_err(|_| server.connections.remove(id))
}

/// A connection's token in its worker's poller.
pub(crate) fn token(id: ConnectionId) -> Token {
    Token(u64::from(id.generation) << 32 | u64::from(id.slot))
}

/// The connection that a token names; `None` for a listener.
pub(crate) fn connection_of(token: Token) -> Option<ConnectionId> {
    let id = ConnectionId { slot: token.0 as u32, generation: (token.0 >> 32) as u32 };
    (id.generation != LISTENER_GENERATION).then_some(id)
}
