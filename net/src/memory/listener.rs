//! Listeners of the in-memory host: a bounded queue of streams to accept.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::poller::{Direction, Edge, Target};
use super::{MemoryStream, Network, lock};
use crate::Listener;

/// Pending connections of one listener; further ones are refused.
const BACKLOG_CONNECTIONS_MAX: usize = 1024;

/// A listener of the in-memory host.
pub struct MemoryListener {
    network: Arc<Mutex<Network>>,
    addr: SocketAddr,
    backlog: Arc<Backlog>,
}

impl MemoryListener {
    pub(super) fn new(network: Arc<Mutex<Network>>, addr: SocketAddr, backlog: Arc<Backlog>) -> MemoryListener {
        MemoryListener { network, addr, backlog }
    }

    pub(super) fn watch(&self, target: Target) -> io::Result<()> {
        let mut queue = lock(&self.backlog.0);
        queue.edge.watch(target)?;
        if !queue.streams.is_empty() {
            queue.edge.fire();
        }
        Ok(())
    }
}

impl Listener for MemoryListener {
    type Stream = MemoryStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn accept(&self) -> io::Result<(MemoryStream, Option<SocketAddr>)> {
        let mut queue = lock(&self.backlog.0);
        let Some((stream, peer)) = queue.streams.pop_front() else {
            queue.edge.arm();
            return Err(io::ErrorKind::WouldBlock.into());
        };
        Ok((stream, Some(peer)))
    }
}

impl Drop for MemoryListener {
    /// Frees the port and resets the pending connections.
    fn drop(&mut self) {
        lock(&self.network).listeners.remove(&self.addr);
        let mut queue = lock(&self.backlog.0);
        if let Some(target) = queue.edge.unwatch() {
            target.forget();
        }
        queue.streams.drain(..).for_each(|(stream, _)| stream.reset());
    }
}

/// The pending streams of one listener.
pub(super) struct Backlog(Mutex<Queue>);

struct Queue {
    streams: VecDeque<(MemoryStream, SocketAddr)>,
    edge: Edge,
}

impl Default for Backlog {
    fn default() -> Backlog {
        Backlog(Mutex::new(Queue { streams: VecDeque::new(), edge: Edge::new(Direction::Read) }))
    }
}

impl Backlog {
    pub(super) fn push(&self, stream: MemoryStream, peer: SocketAddr) -> io::Result<()> {
        let mut queue = lock(&self.0);
        if queue.streams.len() >= BACKLOG_CONNECTIONS_MAX {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        queue.streams.push_back((stream, peer));
        queue.edge.fire();
        Ok(())
    }
}
