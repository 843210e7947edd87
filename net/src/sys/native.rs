//! The native host: the operating system's sockets, with mio's epoll or kqueue for readiness.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mio::Interest;
use mio::unix::SourceFd;
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2, TERM_SIGNALS};
use socket2::{Domain, Protocol, Socket, Type};

use super::activation;
use super::hangup::{Hangup, Hangups};
use crate::{Capabilities, Event, Host, Listener, Poller, Registrar, Signal, Stream, Token};

/// Connections the system holds for a listener until they are accepted.
const BACKLOG_CONNECTIONS_MAX: i32 = 1024;
/// Events that one wait takes from the system; the others stay there for the next wait.
const EVENTS_PER_WAIT_MAX: usize = 1024;
/// Signals that end a process which does not handle them, although they are no request to terminate.
const OTHER_SIGNALS: [(i32, &str); 3] = [(SIGHUP, "SIGHUP"), (SIGUSR1, "SIGUSR1"), (SIGUSR2, "SIGUSR2")];
/// The waker's own token, which callers may not use.
const WAKE_TOKEN: mio::Token = mio::Token(usize::MAX);

/// The operating system's sockets.
#[derive(Clone, Copy, Default, Debug)]
pub struct SysHost;

impl Host for SysHost {
    type Listener = SysListener;
    type Stream = SysStream;
    type Poller = SysPoller;

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            threads: true,
            wake: true,
            file_sync: true,
            nodelay: true,
            peer_address: true,
            connect: true,
            listen: true,
            signals: true,
            recv_bytes: 256 * 1024,
            poll_tick: None,
        }
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<SysListener> {
        if let Some(socket) = activation::claim(addr) {
            return SysListener::new(socket);
        }
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted broker must not wait until its predecessor's connections have left TIME_WAIT. A
        // port with a listener is refused all the same.
        socket.set_reuse_address(true)?;
        if addr.is_ipv6() && addr.ip().is_unspecified() {
            // All addresses of both families, whatever the system's default is.
            socket.set_only_v6(false)?;
        }
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG_CONNECTIONS_MAX)?;
        SysListener::new(socket)
    }

    fn inherit_listeners(&self) -> io::Result<()> {
        activation::take()
    }

    fn unclaimed_listeners(&self) -> Vec<SocketAddr> {
        activation::unclaimed()
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<SysStream> {
        mio::net::TcpStream::connect(addr).map(|stream| SysStream::new(stream.into()))
    }

    fn on_signal(&self, handler: Box<dyn Fn(Signal) + Send>) -> io::Result<()> {
        let numbers = TERM_SIGNALS.iter().chain(OTHER_SIGNALS.iter().map(|(number, _)| number));
        let mut signals = signal_hook::iterator::Signals::new(numbers)?;
        let wait = move || signals.forever().for_each(|number| handler(signal_of(number)));
        std::thread::Builder::new().name("wisp-signals".into()).spawn(wait).map(|_| ())
    }

    fn raise_descriptor_limit(&self, count: u64) -> Option<u64> {
        let (soft, _) = rlimit::Resource::NOFILE.get().ok()?;
        if soft >= count {
            return Some(soft);
        }
        Some(rlimit::increase_nofile_limit(count).unwrap_or(soft))
    }

    fn share_heap(&self) {
        super::malloc::share_heap();
    }

    fn release_memory(&self) {
        super::malloc::trim();
    }

    fn memory_bytes(&self) -> Option<u64> {
        // Only Linux has this file.
        resident_bytes(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn poller(&self) -> io::Result<SysPoller> {
        let poll = mio::Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKE_TOKEN)?;
        let registry = poll.registry().try_clone()?;
        let shared = Shared { registry, waker, hangups: Hangups::default() };
        Ok(SysPoller {
            poll,
            events: mio::Events::with_capacity(EVENTS_PER_WAIT_MAX),
            registrar: SysRegistrar(Arc::new(shared)),
        })
    }
}

/// The row `VmRSS` of proc_pid_status(5).
fn resident_bytes(status: &str) -> Option<u64> {
    let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = row.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib * 1024)
}

fn signal_of(number: i32) -> Signal {
    let other = OTHER_SIGNALS.iter().find(|(other, _)| *other == number);
    other.map_or(Signal::Terminate, |(_, name)| Signal::Other(name))
}

/// A listening socket.
#[derive(Debug)]
pub struct SysListener {
    socket: mio::net::TcpListener,
    /// A copy of its descriptor, only for [`Listener::shed`].
    reserve: RefCell<Option<OwnedFd>>,
}

impl SysListener {
    fn new(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let reserve = RefCell::new(socket.as_fd().try_clone_to_owned().ok());
        Ok(Self { socket: mio::net::TcpListener::from_std(socket.into()), reserve })
    }
}

impl Listener for SysListener {
    type Stream = SysStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn accept(&self) -> io::Result<(SysStream, Option<SocketAddr>)> {
        let (stream, peer) = retry_interrupted(|| self.socket.accept())?;
        Ok((SysStream::new(stream.into()), Some(peer)))
    }

    fn shed(&self, cause: &io::Error) -> io::Result<()> {
        let mut reserve = self.reserve.borrow_mut();
        let out_of_descriptors = matches!(cause.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
        if !out_of_descriptors || reserve.take().is_none() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let shed = retry_interrupted(|| self.socket.accept()).map(drop);
        *reserve = self.socket.as_fd().try_clone_to_owned().ok();
        shed
    }
}

/// A connected or connecting socket.
#[derive(Debug)]
pub struct SysStream {
    socket: TcpStream,
    registration: Option<(SysRegistrar, Arc<Hangup>)>,
}

impl Stream for SysStream {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match retry_interrupted(|| (&self.socket).read(buffer)) {
            Ok(len) => {
                if 0 < len && len < buffer.len() {
                    self.after_short_recv();
                }
                Ok(len)
            }
            Err(error) => Err(self.unless_connecting(error)),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        retry_interrupted(|| (&self.socket).write(bytes)).map_err(|error| self.unless_connecting(error))
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    fn set_nodelay(&self) -> io::Result<()> {
        self.socket.set_nodelay(true)
    }
}

impl SysStream {
    fn new(socket: TcpStream) -> SysStream {
        SysStream { socket, registration: None }
    }

    fn after_short_recv(&self) {
        if let Some((registrar, hangup)) = &self.registration
            && registrar.0.hangups.after_short_recv(hangup)
        {
            registrar.wake();
        }
    }

    /// BSD systems report a connecting socket as "not connected", Linux as would-block.
    #[cold]
    fn unless_connecting(&self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::NotConnected {
            return error;
        }
        match self.socket.take_error() {
            Ok(Some(cause)) => cause,
            Ok(None) if self.socket.peer_addr().is_err() => io::ErrorKind::WouldBlock.into(),
            Ok(None) | Err(_) => error,
        }
    }
}

impl AsFd for SysStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits on the system's readiness queue.
#[derive(Debug)]
pub struct SysPoller {
    poll: mio::Poll,
    events: mio::Events,
    registrar: SysRegistrar,
}

/// The descriptor of the readiness queue, which is readable while a wait would return events. For
/// callers with a wait of their own.
impl AsFd for SysPoller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

impl Poller for SysPoller {
    type Listener = SysListener;
    type Stream = SysStream;
    type Registrar = SysRegistrar;

    fn registrar(&self) -> SysRegistrar {
        self.registrar.clone()
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let hangups = &self.registrar.0.hangups;
        hangups.drain_into(events);
        for event in &self.events {
            if event.token() == WAKE_TOKEN {
                continue;
            }
            let token = Token(event.token().0 as u64);
            let hung_up = event.is_read_closed() || event.is_error();
            if hung_up {
                hangups.report(token);
            }
            events.push(Event {
                token,
                readable: event.is_readable() || hung_up,
                writable: event.is_writable() || event.is_write_closed() || event.is_error(),
            });
        }
        Ok(())
    }
}

/// Registers with one poller.
#[derive(Clone, Debug)]
pub struct SysRegistrar(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    registry: mio::Registry,
    waker: mio::Waker,
    hangups: Hangups,
}

impl SysRegistrar {
    /// Registers by descriptor: removing one of mio's own sources needs exclusive access, while other
    /// threads may still be sending on the stream.
    fn register(&self, source: &impl AsRawFd, token: Token, interest: Interest) -> io::Result<()> {
        let token = usize::try_from(token.0).map(mio::Token).ok();
        let token = token.filter(|token| *token != WAKE_TOKEN).ok_or(io::ErrorKind::InvalidInput)?;
        self.0.registry.register(&mut SourceFd(&source.as_raw_fd()), token, interest)
    }
}

impl Registrar for SysRegistrar {
    type Listener = SysListener;
    type Stream = SysStream;

    fn add_listener(&self, listener: &mut SysListener, token: Token) -> io::Result<()> {
        self.register(&listener.socket, token, Interest::READABLE)
    }

    fn add(&self, stream: &mut SysStream, token: Token) -> io::Result<()> {
        let hangup = self.0.hangups.add(token);
        let both = Interest::READABLE | Interest::WRITABLE;
        match self.register(&stream.socket, token, both) {
            Ok(()) => stream.registration = Some((self.clone(), hangup)),
            Err(error) => {
                self.0.hangups.remove(&hangup);
                return Err(error);
            }
        }
        Ok(())
    }

    fn remove(&self, stream: &SysStream) -> io::Result<()> {
        let (_, hangup) = stream.registration.as_ref().ok_or(io::ErrorKind::NotFound)?;
        self.0.hangups.remove(hangup);
        self.0.registry.deregister(&mut SourceFd(&stream.socket.as_raw_fd()))
    }

    fn wake(&self) -> bool {
        self.0.waker.wake().is_ok()
    }
}

/// Repeats the call while signals interrupt it.
fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
