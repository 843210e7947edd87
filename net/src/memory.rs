//! A network inside the process, for tests: a host without an operating system.
//!
//! It implements the contract of the crate documentation literally and gives no event beyond it, so
//! code that relies on a more generous host fails here first. Buffers are bounded and small, no kernel
//! schedules the sockets, and ports are assigned in order.

mod listener;
mod pipe;
mod poller;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use listener::MemoryListener;
pub use poller::{MemoryPoller, MemoryRegistrar};

use crate::{Capabilities, Host, Stream};
use listener::Backlog;
use pipe::Pipe;

/// The first port assigned for port 0.
const EPHEMERAL_PORT_MIN: u16 = 49152;
/// The default capacity of one direction of a stream; see [`MemoryHost::with_pipe_bytes`].
const PIPE_BYTES_DEFAULT: usize = 64 * 1024;

/// A network; clones share it.
#[derive(Clone)]
pub struct MemoryHost {
    network: Arc<Mutex<Network>>,
    pipe_bytes_max: usize,
}

struct Network {
    listeners: BTreeMap<SocketAddr, Arc<Backlog>>,
    /// Where the next search for a free port starts, so that ports are not reused immediately.
    port_next: u16,
}

impl MemoryHost {
    /// An empty network.
    #[must_use]
    pub fn new() -> MemoryHost {
        MemoryHost::with_pipe_bytes(PIPE_BYTES_DEFAULT)
    }

    /// An empty network whose streams hold at most `pipe_bytes_max` bytes in each direction.
    ///
    /// # Panics
    /// If `pipe_bytes_max` is 0, since no byte could ever be sent.
    #[must_use]
    pub fn with_pipe_bytes(pipe_bytes_max: usize) -> MemoryHost {
        assert!(pipe_bytes_max > 0, "a pipe must hold something");
        let network = Network { listeners: BTreeMap::new(), port_next: EPHEMERAL_PORT_MIN };
        MemoryHost { network: Arc::new(Mutex::new(network)), pipe_bytes_max }
    }
}

impl Default for MemoryHost {
    fn default() -> MemoryHost {
        MemoryHost::new()
    }
}

impl Host for MemoryHost {
    type Listener = MemoryListener;
    type Stream = MemoryStream;
    type Poller = MemoryPoller;

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            threads: true,
            wake: true,
            file_sync: true,
            nodelay: true,
            peer_address: true,
            connect: true,
            listen: true,
            signals: false,
            recv_bytes: 64 * 1024,
            poll_tick: None,
        }
    }

    fn listen(&self, mut addr: SocketAddr) -> io::Result<MemoryListener> {
        let mut network = lock(&self.network);
        if addr.port() == 0 {
            addr.set_port(network.port_free(addr.ip())?);
        }
        if network.listeners.contains_key(&addr) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let backlog = Arc::new(Backlog::default());
        network.listeners.insert(addr, Arc::clone(&backlog));
        Ok(MemoryListener::new(Arc::clone(&self.network), addr, backlog))
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<MemoryStream> {
        let mut network = lock(&self.network);
        let backlog = network.backlog(addr).ok_or(io::ErrorKind::ConnectionRefused)?;
        let peer = SocketAddr::new(addr.ip(), network.port_take());
        let (ours, theirs) = MemoryStream::pair(self.pipe_bytes_max);
        backlog.push(theirs, peer)?;
        Ok(ours)
    }

    fn poller(&self) -> io::Result<MemoryPoller> {
        Ok(MemoryPoller::new())
    }
}

impl Network {
    /// The listener on `addr`, or on all addresses of its family.
    fn backlog(&self, addr: SocketAddr) -> Option<Arc<Backlog>> {
        let any: IpAddr = match addr {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let found = self.listeners.get(&addr);
        found.or_else(|| self.listeners.get(&SocketAddr::new(any, addr.port()))).cloned()
    }

    fn port_free(&mut self, ip: IpAddr) -> io::Result<u16> {
        for _ in EPHEMERAL_PORT_MIN..=u16::MAX {
            let port = self.port_take();
            if !self.listeners.contains_key(&SocketAddr::new(ip, port)) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn port_take(&mut self) -> u16 {
        let port = self.port_next;
        self.port_next = port.checked_add(1).unwrap_or(EPHEMERAL_PORT_MIN);
        port
    }
}

/// One end of a connection: it reads one pipe and writes another.
pub struct MemoryStream {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
}

impl MemoryStream {
    /// The two ends of a connection without a listener.
    #[must_use]
    pub fn pair(pipe_bytes_max: usize) -> (MemoryStream, MemoryStream) {
        let there = Arc::new(Pipe::new(pipe_bytes_max));
        let back = Arc::new(Pipe::new(pipe_bytes_max));
        let ours = MemoryStream { incoming: Arc::clone(&back), outgoing: Arc::clone(&there) };
        (ours, MemoryStream { incoming: there, outgoing: back })
    }

    /// Resets the connection: bytes in transit are lost, and the next calls at both ends fail with
    /// `ConnectionReset`.
    pub fn reset(self) {
        self.incoming.reset();
        self.outgoing.reset();
    }
}

impl Stream for MemoryStream {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.incoming.recv(buffer)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.send(bytes)
    }

    fn shutdown(&self, how: std::net::Shutdown) -> io::Result<()> {
        use std::net::Shutdown;
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            self.incoming.stop_reading();
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            self.outgoing.stop_writing();
        }
        Ok(())
    }

    fn set_nodelay(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.incoming.drop_reader();
        self.outgoing.drop_writer();
    }
}

/// A test that panics with a lock held has failed already; its other threads may continue.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
