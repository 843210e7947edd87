//! The native host: the operating system's sockets, with mio's epoll or kqueue for readiness.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use mio::Interest;
use mio::unix::SourceFd;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Capabilities, Event, Host, Listener, Poller, Registrar, Stream, Token};

/// Connections the system holds for a listener until they are accepted.
const BACKLOG_CONNECTIONS_MAX: i32 = 1024;
/// Events taken from the system by one wait; more stay there for the next.
const EVENTS_PER_WAIT_MAX: usize = 1024;
/// The waker's own registration, which no caller may use.
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
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        // A broker that is started again must not wait until the connections of the one before have
        // left TIME_WAIT; a port that somebody listens on is refused all the same.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG_CONNECTIONS_MAX)?;
        Ok(SysListener(mio::net::TcpListener::from_std(socket.into())))
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<SysStream> {
        mio::net::TcpStream::connect(addr).map(|stream| SysStream(stream.into()))
    }

    fn poller(&self) -> io::Result<SysPoller> {
        let poll = mio::Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKE_TOKEN)?;
        let registrar = Shared {
            registry: poll.registry().try_clone()?,
            waker,
        };
        Ok(SysPoller {
            poll,
            events: mio::Events::with_capacity(EVENTS_PER_WAIT_MAX),
            registrar: SysRegistrar(Arc::new(registrar)),
        })
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct SysListener(mio::net::TcpListener);

impl Listener for SysListener {
    type Stream = SysStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn accept(&self) -> io::Result<(SysStream, Option<SocketAddr>)> {
        let (stream, peer) = retry_interrupted(|| self.0.accept())?;
        Ok((SysStream(stream.into()), Some(peer)))
    }
}

/// A connected or connecting socket.
#[derive(Debug)]
pub struct SysStream(TcpStream);

impl Stream for SysStream {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retry_interrupted(|| (&self.0).read(buffer)).map_err(|error| self.unless_connecting(error))
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        retry_interrupted(|| (&self.0).write(bytes)).map_err(|error| self.unless_connecting(error))
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }

    fn set_nodelay(&self) -> io::Result<()> {
        self.0.set_nodelay(true)
    }
}

impl SysStream {
    /// BSD systems call a socket that still connects "not connected", where Linux says would-block.
    #[cold]
    fn unless_connecting(&self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::NotConnected {
            return error;
        }
        match self.0.take_error() {
            Ok(Some(cause)) => cause,
            Ok(None) if self.0.peer_addr().is_err() => io::ErrorKind::WouldBlock.into(),
            Ok(None) | Err(_) => error,
        }
    }
}

impl AsFd for SysStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits on the system's readiness queue.
#[derive(Debug)]
pub struct SysPoller {
    poll: mio::Poll,
    events: mio::Events,
    registrar: SysRegistrar,
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
        let of_callers = self
            .events
            .iter()
            .filter(|event| event.token() != WAKE_TOKEN);
        events.extend(of_callers.map(|event| Event {
            token: Token(event.token().0 as u64),
            readable: event.is_readable() || event.is_read_closed() || event.is_error(),
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
        }));
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
}

impl SysRegistrar {
    /// By descriptor, because mio's own sources have to be held exclusively to be removed, when other
    /// threads may still send on the stream.
    fn register(&self, source: &impl AsRawFd, token: Token, interest: Interest) -> io::Result<()> {
        let token = usize::try_from(token.0).map(mio::Token).ok();
        let token = token
            .filter(|token| *token != WAKE_TOKEN)
            .ok_or(io::ErrorKind::InvalidInput)?;
        self.0
            .registry
            .register(&mut SourceFd(&source.as_raw_fd()), token, interest)
    }
}

impl Registrar for SysRegistrar {
    type Listener = SysListener;
    type Stream = SysStream;

    fn add_listener(&self, listener: &mut SysListener, token: Token) -> io::Result<()> {
        self.register(&listener.0, token, Interest::READABLE)
    }

    fn add(&self, stream: &mut SysStream, token: Token) -> io::Result<()> {
        self.register(&stream.0, token, Interest::READABLE | Interest::WRITABLE)
    }

    fn remove(&self, stream: &SysStream) -> io::Result<()> {
        self.0
            .registry
            .deregister(&mut SourceFd(&stream.0.as_raw_fd()))
    }

    fn wake(&self) -> bool {
        self.0.waker.wake().is_ok()
    }
}

/// Does what a signal interrupted once more.
fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
