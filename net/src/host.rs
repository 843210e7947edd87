//! The traits that every host implements, and the description of its capabilities.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

#[cfg(target_arch = "wasm32")]
const WASM_PAGE_BYTES: u64 = 64 * 1024;

/// A host of sockets: the source of listeners, streams and pollers.
///
/// It is a value instead of only a type, so that the in-memory host can carry its network.
pub trait Host: Clone + Send + Sync + 'static {
    /// The listeners of this host.
    type Listener: Listener<Stream = Self::Stream>;
    /// The streams of this host.
    type Stream: Stream;
    /// The pollers of this host.
    type Poller: Poller<Listener = Self::Listener, Stream = Self::Stream>;

    /// The capabilities of this host.
    fn capabilities(&self) -> Capabilities;

    /// Takes the listeners that a service manager has opened for the process (systemd's socket activation: `LISTEN_FDS`).
    /// [`Self::listen`] returns each of them for its own address, port 0 aside. Comes before threads are started. For the program to
    /// decide, not for a library in it. Hosts without service managers have none.
    ///
    /// # Errors
    /// `InvalidInput` if a descriptor is no listening TCP socket, else the host's own.
    fn inherit_listeners(&self) -> io::Result<()> {
        Ok(())
    }

    /// The addresses of the listeners of [`Self::inherit_listeners`] that [`Self::listen`] was not asked for.
    fn unclaimed_listeners(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    /// Opens a listener on `addr`; port 0 picks a free one. A host with inherited listeners
    /// ([`Capabilities::listen`] is false) returns the next of them and ignores `addr`.
    ///
    /// # Errors
    /// The host's own, with its kind kept: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`;
    /// `Unsupported` when no inherited listener is left.
    fn listen(&self, addr: SocketAddr) -> io::Result<Self::Listener>;

    /// Starts a connection and returns a non-blocking stream that is connected or still connecting.
    /// While it connects, `recv` and `send` return `WouldBlock`; after an event one of them returns the
    /// failure.
    ///
    /// # Errors
    /// `Unsupported` where [`Capabilities::connect`] is false, else the host's own.
    fn connect(&self, addr: SocketAddr) -> io::Result<Self::Stream>;

    /// The number of threads that can run at a time; 1 if the host does not say.
    fn parallelism(&self) -> NonZeroUsize {
        std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    /// Calls `handler`, on a thread of its own, on each [`Signal`]. From then on none of them ends the
    /// process by itself.
    ///
    /// # Errors
    /// `Unsupported` where [`Capabilities::signals`] is false, else the host's own.
    fn on_signal(&self, handler: Box<dyn Fn(Signal) + Send>) -> io::Result<()> {
        drop(handler);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Raises the limit on open descriptors to `count`, or as far as the process may. Returns the limit in force; `None`
    /// where the host does not tell it.
    fn raise_descriptor_limit(&self, count: u64) -> Option<u64> {
        let _ = count;
        None
    }

    /// Gives memory that is free back to the system, where the allocator keeps it and the host can take it. May take
    /// milliseconds.
    fn release_memory(&self) {}

    /// The memory of the process: the pages that are in memory, or in WebAssembly the size of the module's memory. `None` where the
    /// host does not tell it.
    fn memory_bytes(&self) -> Option<u64> {
        #[cfg(target_arch = "wasm32")]
        return Some(core::arch::wasm32::memory_size::<0>() as u64 * WASM_PAGE_BYTES);
        #[cfg(not(target_arch = "wasm32"))]
        None
    }

    /// Has all threads allocate from one heap, where the C library would give each its own. Then memory that one thread
    /// has freed serves the others, and a broker takes less. Comes before threads are started. For the program to
    /// decide, not for a library in it.
    fn share_heap(&self) {}

    /// Finds the folders that the process was granted, where the standard library does not by itself. Comes before the
    /// first file is opened.
    fn find_folders(&self) {}

    /// Makes a poller with nothing registered.
    ///
    /// # Errors
    /// The host's own, when it has no more descriptors.
    fn poller(&self) -> io::Result<Self::Poller>;
}

/// A signal to the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM, SIGINT or SIGQUIT: the process is asked to terminate.
    Terminate,
    /// SIGHUP, SIGUSR1 or SIGUSR2, by its name.
    Other(&'static str),
}

/// Accepts streams, without blocking.
pub trait Listener: Send + 'static {
    /// The type of an accepted stream.
    type Stream;

    /// The address of the listener, with the actual port.
    ///
    /// # Errors
    /// `Unsupported` where the host does not report it.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Accepts the next pending connection, already non-blocking, with its peer's address where
    /// [`Capabilities::peer_address`] is true.
    ///
    /// # Errors
    /// `WouldBlock` when no connection is pending. Other errors concern one connection that could not
    /// be accepted, or a limit on descriptors; the listener stays usable.
    fn accept(&self) -> io::Result<(Self::Stream, Option<SocketAddr>)>;

    /// After [`accept`](Self::accept) has failed for want of a descriptor: accepts the next pending connection with one
    /// that is kept in reserve, and closes it. So its client does not wait in vain.
    ///
    /// # Errors
    /// `WouldBlock` when no connection is pending; `Unsupported` where there is no reserve, or `cause` is another one.
    fn shed(&self, cause: &io::Error) -> io::Result<()> {
        let _ = cause;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// One connection. No method blocks, and any thread may send while another receives.
pub trait Stream: Send + Sync + 'static {
    /// Receives into `buffer`, which must not be empty. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when no bytes have arrived yet; `ConnectionReset` and others end the stream.
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends a prefix of `bytes`, which must not be empty, and returns its length.
    ///
    /// # Errors
    /// `WouldBlock` when the send buffer is full; `ConnectionReset`, `BrokenPipe` and others end the
    /// stream.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Closes one or both directions. The peer reads the sent bytes, then the end of the stream.
    ///
    /// # Errors
    /// The host's own, such as `NotConnected`.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;

    /// Sends small packets immediately. Succeeds without effect where [`Capabilities::nodelay`] is
    /// false.
    ///
    /// # Errors
    /// The host's own.
    fn set_nodelay(&self) -> io::Result<()>;
}

/// Waits for events of registered listeners and streams. One thread owns it; others use its
/// [`Registrar`].
pub trait Poller: Send + 'static {
    /// The listeners that can be registered.
    type Listener;
    /// The streams that can be registered.
    type Stream;
    /// The handle for registering.
    type Registrar: Registrar<Listener = Self::Listener, Stream = Self::Stream>;

    /// A handle that any thread may use to register with this poller.
    fn registrar(&self) -> Self::Registrar;

    /// Clears `events` and fills it with the events of ready streams and listeners, waiting at most
    /// `timeout` (`None`: no limit). May return early and without events: after a wake, or after an
    /// interruption.
    ///
    /// # Errors
    /// The host's own; an interruption is not an error.
    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()>;
}

/// Registers with one poller, from any thread: an acceptor registers a stream directly with the poller
/// of its future worker.
pub trait Registrar: Clone + Send + Sync + 'static {
    /// The listeners that can be registered.
    type Listener;
    /// The streams that can be registered.
    type Stream;

    /// Reports `token` as readable when connections are pending. Accept until `WouldBlock`. Dropping
    /// the listener ends the registration.
    ///
    /// # Errors
    /// The host's own, and `InvalidInput` for a token that does not fit the host's.
    fn add_listener(&self, listener: &mut Self::Listener, token: Token) -> io::Result<()>;

    /// Reports `token` when the stream becomes readable or writable. A stream is registered with one
    /// poller at most.
    ///
    /// # Errors
    /// The host's own, and `InvalidInput` for a token that does not fit the host's.
    fn add(&self, stream: &mut Self::Stream, token: Token) -> io::Result<()>;

    /// Ends the registration; call it before dropping the stream. The caller ignores events that an
    /// earlier `wait` already returned.
    ///
    /// # Errors
    /// The host's own, such as `NotFound` for a stream that is not registered.
    fn remove(&self, stream: &Self::Stream) -> io::Result<()>;

    /// Ends a blocked `wait`, or the next one. False where the host cannot do this
    /// ([`Capabilities::wake`]).
    fn wake(&self) -> bool;
}

/// The caller's name for a registration, repeated in its events. Callers that reuse slots include a
/// generation, so that a late event for a slot's previous owner names nobody.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Token(pub u64);

/// A hint that a call may succeed now. Spurious events are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// The token of the registration.
    pub token: Token,
    /// A `recv` or `accept` is worth trying. Hang-ups and errors set this too; the call returns them.
    pub readable: bool,
    /// A `send` is worth trying. Hang-ups and errors set this too; the call returns them.
    pub writable: bool,
}

/// A host's capabilities as data, for code that depends on one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// `std::thread::spawn` works.
    pub threads: bool,
    /// [`Registrar::wake`] ends a blocked wait.
    pub wake: bool,
    /// A sync of a file reaches the disk.
    pub file_sync: bool,
    /// [`Stream::set_nodelay`] has an effect.
    pub nodelay: bool,
    /// [`Listener::accept`] returns the peer's address.
    pub peer_address: bool,
    /// [`Host::connect`] works.
    pub connect: bool,
    /// [`Host::listen`] opens the given address; if false, the process inherits its listeners.
    pub listen: bool,
    /// Signals can ask the process to terminate.
    pub signals: bool,
    /// The buffer size at which `recv` costs least for each byte.
    pub recv_bytes: usize,
    /// The longest wait that still notices other threads' registrations and sends soon enough. `None`:
    /// a wait notices them immediately.
    pub poll_tick: Option<Duration>,
}
