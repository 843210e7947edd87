//! The traits every host implements, and what a host says about itself.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

/// A host of sockets: where listeners, streams and pollers come from.
///
/// A value rather than a type alone, so that the in-memory host can carry its network.
pub trait Host: Clone + Send + Sync + 'static {
    /// The listeners of this host.
    type Listener: Listener<Stream = Self::Stream>;
    /// The streams of this host.
    type Stream: Stream;
    /// The pollers of this host.
    type Poller: Poller<Listener = Self::Listener, Stream = Self::Stream>;

    /// What this host can do.
    fn capabilities(&self) -> Capabilities;

    /// Opens a listener on `addr`; port 0 picks a free one. A host whose listeners are handed in
    /// ([`Capabilities::listen`] is false) gives the next one it was handed, whatever `addr` says.
    ///
    /// # Errors
    /// The host's own, with its kind kept: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`;
    /// `Unsupported` when no further listener was handed in.
    fn listen(&self, addr: SocketAddr) -> io::Result<Self::Listener>;

    /// Starts a connection and gives a non-blocking stream, connected or still connecting. While it
    /// connects, `recv` and `send` say `WouldBlock`; a failure shows at one of them, after an event.
    ///
    /// # Errors
    /// `Unsupported` where [`Capabilities::connect`] is false, else the host's own.
    fn connect(&self, addr: SocketAddr) -> io::Result<Self::Stream>;

    /// How many threads run at a time, as far as the host tells; at least 1.
    fn parallelism(&self) -> NonZeroUsize {
        std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    /// Calls `handler`, on a thread of its own, each time the process is told to end (SIGTERM or SIGINT).
    ///
    /// # Errors
    /// `Unsupported` where [`Capabilities::signals`] is false, else the host's own.
    fn on_termination(&self, handler: Box<dyn Fn() + Send>) -> io::Result<()> {
        drop(handler);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes a poller with nothing registered.
    ///
    /// # Errors
    /// The host's own, when it has no more descriptors.
    fn poller(&self) -> io::Result<Self::Poller>;
}

/// Accepts streams, without blocking.
pub trait Listener: Send + 'static {
    /// What is accepted.
    type Stream;

    /// The address that is listened on, with the port that was picked.
    ///
    /// # Errors
    /// `Unsupported` where the host does not tell.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Takes the next waiting connection, already non-blocking, with its peer's address where
    /// [`Capabilities::peer_address`] is true.
    ///
    /// # Errors
    /// `WouldBlock` when none waits. Others concern the one connection that could not be accepted
    /// or a limit on descriptors; the listener stays usable.
    fn accept(&self) -> io::Result<(Self::Stream, Option<SocketAddr>)>;
}

/// One connection. Nothing here blocks, and any thread may send while another receives.
pub trait Stream: Send + Sync + 'static {
    /// Receives into `buffer`, which must not be empty. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there yet; `ConnectionReset` and others end the stream.
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends a prefix of `bytes`, which must not be empty, and says how long it was.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; `ConnectionReset`, `BrokenPipe` and others end the stream.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Ends one or both directions; the peer sees the end of the stream after what was sent.
    ///
    /// # Errors
    /// The host's own, such as `NotConnected`.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;

    /// Sends small packets at once. Succeeds without effect where [`Capabilities::nodelay`] is false.
    ///
    /// # Errors
    /// The host's own.
    fn set_nodelay(&self) -> io::Result<()>;
}

/// Waits for what is registered with it. One thread owns it; others reach it by its [`Registrar`].
pub trait Poller: Send + 'static {
    /// What can be registered to accept.
    type Listener;
    /// What can be registered to receive and send.
    type Stream;
    /// The handle for registering.
    type Registrar: Registrar<Listener = Self::Listener, Stream = Self::Stream>;

    /// A handle that any thread may use to register with this poller.
    fn registrar(&self) -> Self::Registrar;

    /// Clears `events`, then fills it with what is ready, waiting at most `timeout` (`None`: without
    /// a limit). May return early and without events: after a wake, or when the host was interrupted.
    ///
    /// # Errors
    /// The host's own; being interrupted is not an error.
    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()>;
}

/// Registers with one poller, from any thread: an acceptor puts a stream straight into the poller of
/// the worker that shall own it.
pub trait Registrar: Clone + Send + Sync + 'static {
    /// What can be registered to accept.
    type Listener;
    /// What can be registered to receive and send.
    type Stream;

    /// Reports `token` as readable when connections wait. Accept until `WouldBlock`. Dropping the
    /// listener ends the registration.
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

    /// Ends the registration; to be called before the stream is dropped. Events that an earlier
    /// `wait` already gave out are the caller's to ignore.
    ///
    /// # Errors
    /// The host's own, such as `NotFound` for a stream that is not registered.
    fn remove(&self, stream: &Self::Stream) -> io::Result<()>;

    /// Ends a blocked `wait`, or the next one. False where the host cannot ([`Capabilities::wake`]).
    fn wake(&self) -> bool;
}

/// What a registration is called in the events about it. Callers that reuse slots put a generation
/// into it, so that a late event for the earlier owner is ignored by construction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Token(pub u64);

/// Something may be possible now. Spurious events are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Whose event it is.
    pub token: Token,
    /// A `recv` or `accept` is worth trying. Also set by a hang-up or an error: the call tells.
    pub readable: bool,
    /// A `send` is worth trying. Also set by a hang-up or an error: the call tells.
    pub writable: bool,
}

/// What a host can do, as data, for the code that needs it to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// `std::thread::spawn` works.
    pub threads: bool,
    /// [`Registrar::wake`] ends a blocked wait.
    pub wake: bool,
    /// [`Stream::set_nodelay`] has an effect.
    pub nodelay: bool,
    /// [`Listener::accept`] tells the peer's address.
    pub peer_address: bool,
    /// [`Host::connect`] works.
    pub connect: bool,
    /// [`Host::listen`] opens the address it is given; if false, listeners are handed in.
    pub listen: bool,
    /// The process can be told by signals to end.
    pub signals: bool,
    /// The size of buffer with which one `recv` costs least a byte.
    pub recv_bytes: usize,
    /// The longest wait that still notices registrations and sends of other threads in good time.
    /// `None`: they are noticed at once.
    pub poll_tick: Option<Duration>,
}
