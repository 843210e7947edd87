//! WASI 0.2, as in Wasmtime: the sockets of `wasi:sockets`, called without the C library in between.
//!
//! It has no threads, no TCP_NODELAY, no signals and no way to wake a blocked poll, which a single thread
//! does not need. A socket, its two byte streams and the pollables of both are resources of the host; each
//! must be dropped before the one that it comes from, which the order of the fields here ensures.
//!
//! The host accepts more bytes to send than the system, and passes them on in the background. Dropping the
//! stream waits until they are sent, which is forever if the peer does not read. So pieces are small, and a
//! stream that is dropped meanwhile is kept until the host has sent its bytes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress};
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

use super::armed::{self, READ, WRITE};
use crate::{Capabilities, Event, Host, Listener, Poller, Registrar, Stream, Token};

/// Connections the system holds for a listener until they are accepted.
const BACKLOG_CONNECTIONS_MAX: u64 = 1024;
/// The host receives into a buffer of its own, which it allocates for each call.
const RECV_BYTES_MAX: usize = 64 * 1024;
/// The length of one call in a wait without a limit.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// The most bytes that the host has to send in the background for a stream.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// How long dropped streams may take to send their last bytes after their poller has ended.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// Registrations do not keep a socket open.
type Slot = armed::Slot<Weak<Socket>>;
type Registration = armed::Registration<Weak<Socket>>;
type Inbox = armed::Inbox<Weak<Socket>>;

/// The sockets of WASI 0.2.
#[derive(Clone, Copy, Default, Debug)]
pub struct SysHost;

impl Host for SysHost {
    type Listener = SysListener;
    type Stream = SysStream;
    type Poller = SysPoller;

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            threads: false,
            wake: false,
            file_sync: true,
            nodelay: false,
            peer_address: true,
            connect: true,
            listen: true,
            signals: false,
            recv_bytes: RECV_BYTES_MAX,
            poll_tick: None,
        }
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<SysListener> {
        let socket = open(addr)?;
        socket.start_bind(&instance_network(), to_host(addr)).map_err(error)?;
        finish(&socket, TcpSocket::finish_bind)?;
        socket.set_listen_backlog_size(BACKLOG_CONNECTIONS_MAX).map_err(error)?;
        socket.start_listen().map_err(error)?;
        finish(&socket, TcpSocket::finish_listen)?;
        Ok(SysListener { slot: Slot::new(), socket: Arc::new(Socket::pending(socket)) })
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<SysStream> {
        let socket = open(addr)?;
        socket.start_connect(&instance_network(), to_host(addr)).map_err(error)?;
        let socket = Socket::pending(socket);
        // The host does not begin before it is asked for the result.
        match socket.ends() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(SysStream::new(socket)),
        }
    }

    fn poller(&self) -> io::Result<SysPoller> {
        Ok(SysPoller { shared: Arc::default(), registrations: Vec::new() })
    }
}

fn open(addr: SocketAddr) -> io::Result<TcpSocket> {
    create_tcp_socket(if addr.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 }).map_err(error)
}

/// Waits for the end of an operation on a listener, which the system never delays.
fn finish(socket: &TcpSocket, operation: fn(&TcpSocket) -> Result<(), ErrorCode>) -> io::Result<()> {
    loop {
        match operation(socket) {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            result => return result.map_err(error),
        }
    }
}

/// A socket with its byte streams. The fields are dropped in this order.
#[derive(Debug)]
struct Socket {
    /// Missing for listeners and while a connection is being established.
    ends: OnceLock<Result<Ends, ErrorCode>>,
    /// Of a listener: a connection is pending. Of a connecting socket: the attempt has ended.
    pending: Option<Pollable>,
    socket: TcpSocket,
}

/// Both directions of a connection. The fields are dropped in this order.
#[derive(Debug)]
struct Ends {
    readable: Pollable,
    writable: Pollable,
    input: InputStream,
    output: OutputStream,
}

impl Ends {
    fn new((input, output): (InputStream, OutputStream)) -> Ends {
        Ends { readable: input.subscribe(), writable: output.subscribe(), input, output }
    }
}

impl Socket {
    fn pending(socket: TcpSocket) -> Socket {
        Socket { ends: OnceLock::new(), pending: Some(socket.subscribe()), socket }
    }

    fn connected(socket: TcpSocket, input: InputStream, output: OutputStream) -> Socket {
        Socket { ends: Ok(Ends::new((input, output))).into(), pending: None, socket }
    }

    /// The directions of the connection; would-block while it is being established.
    fn ends(&self) -> io::Result<&Ends> {
        if self.ends.get().is_none() {
            let result = self.socket.finish_connect();
            if matches!(result, Err(ErrorCode::WouldBlock)) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.ends.get_or_init(|| result.map(Ends::new));
        }
        match self.ends.get() {
            Some(Ok(ends)) => Ok(ends),
            Some(Err(code)) => Err(error(*code)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(RECV_BYTES_MAX);
        match self.ends()?.input.read(len as u64) {
            Ok(bytes) if bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            Ok(bytes) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            Err(StreamError::Closed) => Ok(0),
            Err(StreamError::LastOperationFailed(_)) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let output = &self.ends()?.output;
        let mut sent = 0;
        while sent < bytes.len() {
            let permitted = match output.check_write() {
                Ok(permitted) => usize::try_from(permitted).unwrap_or(usize::MAX).min(SEND_BYTES_MAX),
                // The next call returns the error.
                Err(_) if sent > 0 => break,
                Err(failure) => return Err(send_error(&failure)),
            };
            if permitted == 0 {
                break;
            }
            let piece = &bytes[sent..][..permitted.min(bytes.len() - sent)];
            match output.write(piece) {
                Ok(()) => sent += piece.len(),
                Err(_) if sent > 0 => break,
                Err(failure) => return Err(send_error(&failure)),
            }
        }
        if sent == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }

    /// Whether the host may still have bytes to send.
    fn is_sending(&self) -> bool {
        matches!(self.ends.get(), Some(Ok(ends)) if !ends.writable.ready())
    }

    /// Calls `ask` with each pollable for the `armed` directions, and its direction.
    fn for_each_pollable<'a>(&'a self, armed: u8, mut ask: impl FnMut(&'a Pollable, u8)) {
        match (self.ends.get(), &self.pending) {
            (Some(Ok(ends)), _) => {
                for (direction, pollable) in [(READ, &ends.readable), (WRITE, &ends.writable)] {
                    if armed & direction != 0 {
                        ask(pollable, direction);
                    }
                }
            }
            (None, Some(pollable)) if armed != 0 => ask(pollable, armed),
            _ => {}
        }
    }

    /// The directions to report when the pollable of `asked` is ready: of a connection that has just been
    /// established only the one for sending, as there is nothing to receive yet.
    fn ready(&self, asked: u8) -> u8 {
        let was_connecting = asked & WRITE != 0 && self.ends.get().is_none();
        if was_connecting && self.ends().is_ok() { WRITE } else { asked }
    }
}

fn send_error(failure: &StreamError) -> io::Error {
    match failure {
        StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
        StreamError::LastOperationFailed(_) => io::ErrorKind::ConnectionReset.into(),
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct SysListener {
    slot: Slot,
    socket: Arc<Socket>,
}

impl Listener for SysListener {
    type Stream = SysStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.socket.local_address().map(from_host).map_err(error)
    }

    fn accept(&self) -> io::Result<(SysStream, Option<SocketAddr>)> {
        // Armed after any failure, so that one failed connection does not delay the next.
        let (socket, input, output) =
            self.socket.socket.accept().inspect_err(|_| self.slot.arm(READ)).map_err(error)?;
        // A peer that has gone already has no address.
        let peer = socket.remote_address().ok().map(from_host);
        Ok((SysStream::new(Socket::connected(socket, input, output)), peer))
    }
}

/// A connected or connecting socket.
#[derive(Debug)]
pub struct SysStream {
    slot: Slot,
    registrar: Option<SysRegistrar>,
    socket: Arc<Socket>,
}

impl SysStream {
    fn new(socket: Socket) -> SysStream {
        SysStream { slot: Slot::new(), registrar: None, socket: Arc::new(socket) }
    }
}

impl Stream for SysStream {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.socket.recv(buffer);
        match &result {
            Ok(len) if *len == 0 || *len == buffer.len() => {}
            Ok(_) => self.slot.arm(READ),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.slot.arm(READ),
            Err(_) => {}
        }
        result
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.socket.send(bytes);
        match &result {
            Ok(len) if *len == bytes.len() => {}
            Ok(_) => self.slot.arm(WRITE),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.slot.arm(WRITE),
            Err(_) => {}
        }
        result
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => ShutdownType::Receive,
            Shutdown::Write => ShutdownType::Send,
            Shutdown::Both => ShutdownType::Both,
        };
        self.socket.socket.shutdown(how).map_err(error)
    }

    fn set_nodelay(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SysStream {
    fn drop(&mut self) {
        if let Some(registrar) = &self.registrar
            && self.socket.is_sending()
        {
            registrar.0.lingering().push(Arc::clone(&self.socket));
        }
    }
}

/// Registers with one poller.
#[derive(Clone, Debug)]
pub struct SysRegistrar(Arc<Shared>);

/// The state that a poller shares with its streams.
#[derive(Default, Debug)]
struct Shared {
    inbox: Inbox,
    /// Dropped streams for which the host is still sending.
    lingering: Mutex<Vec<Arc<Socket>>>,
}

impl Shared {
    fn lingering(&self) -> MutexGuard<'_, Vec<Arc<Socket>>> {
        self.lingering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    /// Gives dropped streams time to send their last bytes, as the program may end now.
    fn drop(&mut self) {
        let start = Instant::now();
        let mut lingering = std::mem::take(&mut *self.lingering());
        loop {
            lingering.retain(|socket| socket.is_sending());
            let left = LINGER_MAX.saturating_sub(start.elapsed());
            if lingering.is_empty() || left.is_zero() {
                break;
            }
            let clock = after(left);
            let mut pollables = vec![&clock];
            lingering.iter().for_each(|socket| socket.for_each_pollable(WRITE, |pollable, _| pollables.push(pollable)));
            poll(&pollables);
        }
        // Dropping them would wait for their peers.
        lingering.into_iter().for_each(std::mem::forget);
    }
}

fn after(wait: Duration) -> Pollable {
    subscribe_duration(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
}

impl Registrar for SysRegistrar {
    type Listener = SysListener;
    type Stream = SysStream;

    fn add_listener(&self, listener: &mut SysListener, token: Token) -> io::Result<()> {
        self.0.inbox.register(&mut listener.slot, Arc::downgrade(&listener.socket), token, READ)
    }

    fn add(&self, stream: &mut SysStream, token: Token) -> io::Result<()> {
        self.0.inbox.register(&mut stream.slot, Arc::downgrade(&stream.socket), token, READ | WRITE)?;
        stream.registrar = Some(self.clone());
        Ok(())
    }

    fn remove(&self, stream: &SysStream) -> io::Result<()> {
        stream.slot.end()
    }

    fn wake(&self) -> bool {
        false
    }
}

/// Asks the host about armed directions.
#[derive(Debug)]
pub struct SysPoller {
    shared: Arc<Shared>,
    registrations: Vec<Arc<Registration>>,
}

impl SysPoller {
    /// Waits for an armed direction, the end of a dropped stream's sending, or the end of `wait`.
    fn ask(&mut self, wait: Duration, events: &mut Vec<Event>) {
        self.shared.inbox.update(&mut self.registrations);
        let mut lingering = self.shared.lingering();
        lingering.retain(|socket| socket.is_sending());

        let sockets: Vec<_> = self.registrations.iter().map(|registration| registration.source.upgrade()).collect();
        let clock = after(wait);
        let mut pollables = vec![&clock];
        let mut owners = Vec::new();
        for (socket, registration) in sockets.iter().zip(&self.registrations) {
            if let Some(socket) = socket {
                socket.for_each_pollable(registration.armed(), |pollable, directions| {
                    pollables.push(pollable);
                    owners.push((socket, registration, directions));
                });
            }
        }
        lingering.iter().for_each(|socket| socket.for_each_pollable(WRITE, |pollable, _| pollables.push(pollable)));
        for ready in poll(&pollables) {
            // The first is the clock, and the ones without an owner are dropped streams'.
            let owner = (ready as usize).checked_sub(1).and_then(|place| owners.get(place));
            if let Some((socket, registration, directions)) = owner {
                registration.fire(socket.ready(*directions), events);
            }
        }
    }
}

impl Poller for SysPoller {
    type Listener = SysListener;
    type Stream = SysStream;
    type Registrar = SysRegistrar;

    fn registrar(&self) -> SysRegistrar {
        SysRegistrar(Arc::clone(&self.shared))
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let start = Instant::now();
        loop {
            let left = timeout.map_or(WAIT_MAX, |timeout| timeout.saturating_sub(start.elapsed()).min(WAIT_MAX));
            self.ask(left, events);
            if !events.is_empty() || timeout.is_some_and(|timeout| timeout <= start.elapsed()) {
                return Ok(());
            }
        }
    }
}

fn to_host(addr: SocketAddr) -> IpSocketAddress {
    match addr {
        SocketAddr::V4(addr) => {
            let [a, b, c, d] = addr.ip().octets();
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: addr.port(), address: (a, b, c, d) })
        }
        SocketAddr::V6(addr) => {
            let [a, b, c, d, e, f, g, h] = addr.ip().segments();
            IpSocketAddress::Ipv6(Ipv6SocketAddress {
                port: addr.port(),
                flow_info: addr.flowinfo(),
                address: (a, b, c, d, e, f, g, h),
                scope_id: addr.scope_id(),
            })
        }
    }
}

fn from_host(addr: IpSocketAddress) -> SocketAddr {
    match addr {
        IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) }) => {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
        }
        IpSocketAddress::Ipv6(addr) => {
            let (a, b, c, d, e, f, g, h) = addr.address;
            let ip = Ipv6Addr::new(a, b, c, d, e, f, g, h);
            SocketAddrV6::new(ip, addr.port, addr.flow_info, addr.scope_id).into()
        }
    }
}

fn error(code: ErrorCode) -> io::Error {
    use io::ErrorKind;
    let kind = match code {
        ErrorCode::WouldBlock => return ErrorKind::WouldBlock.into(),
        ErrorCode::AccessDenied => ErrorKind::PermissionDenied,
        ErrorCode::NotSupported => ErrorKind::Unsupported,
        ErrorCode::InvalidArgument => ErrorKind::InvalidInput,
        ErrorCode::OutOfMemory => ErrorKind::OutOfMemory,
        ErrorCode::Timeout => ErrorKind::TimedOut,
        ErrorCode::AddressNotBindable => ErrorKind::AddrNotAvailable,
        ErrorCode::AddressInUse => ErrorKind::AddrInUse,
        ErrorCode::RemoteUnreachable => ErrorKind::HostUnreachable,
        ErrorCode::ConnectionRefused => ErrorKind::ConnectionRefused,
        ErrorCode::ConnectionReset => ErrorKind::ConnectionReset,
        ErrorCode::ConnectionAborted => ErrorKind::ConnectionAborted,
        ErrorCode::InvalidState | ErrorCode::NotInProgress => ErrorKind::NotConnected,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, code.message())
}
