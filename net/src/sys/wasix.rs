//! WASIX, as in Wasmer: sockets much like the system's, with an epoll that is always edge-triggered.
//!
//! Every call here is non-blocking: a blocking one would time out after 30 seconds and, worse, replace
//! the only waker of the socket. A call costs nearly the same whatever its size, and each iovec is a
//! call of its own, so bytes are passed in large single pieces.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::hangup::{Hangup, Hangups};
use super::wasi::{Ciovec, FDFLAGS_NONBLOCK, Fd, check};
use crate::{Capabilities, Event, Host, Listener, Poller, Registrar, Stream, Token};

const SOCKET_STREAM: u32 = 1;
const PROTOCOL_TCP: u32 = 6;
const OPTION_REUSE_ADDR: u32 = 2;
const OPTION_NODELAY: u32 = 3;
const STATUS_FAILED: u8 = 3;
const RECV_DONT_WAIT: u16 = 8;
const SEND_DONT_WAIT: u16 = 1;
/// The host ignores this and uses 128.
const BACKLOG_CONNECTIONS_MAX: usize = 1024;
/// Events that one wait takes from the host; the others stay there for the next wait.
const EVENTS_PER_WAIT_MAX: usize = 256;
const WAIT_FOREVER: i64 = -1;
/// WASI's number for "operation in progress".
const ERRNO_INPROGRESS: u16 = 26;
/// WASI's number for "interrupted".
const ERRNO_INTR: u16 = 27;

mod epoll {
    pub(super) const IN: u32 = 1;
    pub(super) const OUT: u32 = 2;
    pub(super) const READ_HANGUP: u32 = 4;
    pub(super) const ERROR: u32 = 16;
    pub(super) const HANGUP: u32 = 32;
    pub(super) const EDGE_TRIGGERED: u32 = 64;
    pub(super) const ADD: u32 = 1;
    pub(super) const DELETE: u32 = 2;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn fd_write(fd: u32, iovecs: *const Ciovec, iovecs_len: usize, written: *mut usize) -> u16;
}

#[link(wasm_import_module = "wasix_32v1")]
unsafe extern "C" {
    fn sock_open(family: u32, kind: u32, protocol: u32, opened: *mut u32) -> u16;
    fn sock_set_opt_flag(fd: u32, option: u32, flag: u32) -> u16;
    fn sock_bind(fd: u32, addr: *const AddrPort) -> u16;
    fn sock_listen(fd: u32, backlog: usize) -> u16;
    fn sock_accept_v2(fd: u32, flags: u16, accepted: *mut u32, peer: *mut AddrPort) -> u16;
    fn sock_connect(fd: u32, addr: *const AddrPort) -> u16;
    fn sock_status(fd: u32, status: *mut u8) -> u16;
    fn sock_addr_local(fd: u32, addr: *mut AddrPort) -> u16;
    fn fd_event(initial: u64, flags: u16, opened: *mut u32) -> u16;
    fn epoll_create(opened: *mut u32) -> u16;
    fn epoll_ctl(epoll: u32, operation: u32, fd: u32, event: *const EpollEvent) -> u16;
    fn epoll_wait(
        epoll: u32,
        events: *mut EpollEvent,
        events_max: usize,
        timeout_ns: i64,
        events_len: *mut usize,
    ) -> u16;
}

/// The sockets of WASIX.
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
            // It answers that it has, and does nothing.
            file_sync: false,
            nodelay: true,
            peer_address: true,
            connect: true,
            listen: true,
            signals: false,
            recv_bytes: 1024 * 1024,
            poll_tick: None,
        }
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<SysListener> {
        let fd = open(addr)?;
        let addr = AddrPort::new(addr);
        // SAFETY: the address is a local of the call's layout; the other calls pass no memory.
        unsafe {
            check(sock_set_opt_flag(fd.number(), OPTION_REUSE_ADDR, 1))?;
            check(sock_bind(fd.number(), &addr))?;
            check(sock_listen(fd.number(), BACKLOG_CONNECTIONS_MAX))?;
        }
        fd.set_nonblocking()?;
        Ok(SysListener { registration: None, fd })
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<SysStream> {
        let fd = open(addr)?;
        fd.set_nonblocking()?;
        // SAFETY: the address is a temporary of the call's layout that lives through the call.
        match unsafe { sock_connect(fd.number(), &AddrPort::new(addr)) } {
            ERRNO_INPROGRESS => {}
            errno => check(errno)?,
        }
        // The host checks the socket before it reports that the connection is in progress. That check
        // consumes an error that `recv` or `send` would have returned.
        let mut status = 0;
        // SAFETY: the result goes to a local.
        check(unsafe { sock_status(fd.number(), &mut status) })?;
        if status == STATUS_FAILED {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(SysStream { registration: None, fd })
    }

    fn poller(&self) -> io::Result<SysPoller> {
        let (mut epoll, mut alarm) = (0, 0);
        // SAFETY: the result goes to a local.
        check(unsafe { epoll_create(&mut epoll) })?;
        let epoll = Fd::new(epoll);
        // SAFETY: the result goes to a local.
        check(unsafe { fd_event(0, 0, &mut alarm) })?;
        let shared = Shared { epoll, alarm: Fd::new(alarm), hangups: Hangups::default() };
        let event = EpollEvent { is_alarm: 1, ..EpollEvent::new(epoll::IN, Token(0)) };
        shared.control(epoll::ADD, &shared.alarm, &event)?;
        let events = vec![EpollEvent::new(0, Token(0)); EVENTS_PER_WAIT_MAX];
        Ok(SysPoller { registrar: SysRegistrar(Arc::new(shared)), events })
    }
}

fn open(addr: SocketAddr) -> io::Result<Fd> {
    let family = AddrPort::new(addr).family;
    let mut opened = 0;
    // SAFETY: the result goes to a local.
    check(unsafe { sock_open(u32::from(family), SOCKET_STREAM, PROTOCOL_TCP, &mut opened) })?;
    Ok(Fd::new(opened))
}

/// A listening socket.
#[derive(Debug)]
pub struct SysListener {
    registration: Option<SysRegistrar>,
    fd: Fd,
}

impl Listener for SysListener {
    type Stream = SysStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let mut addr = AddrPort::default();
        // SAFETY: the result goes to a local of the call's layout, of which any content is valid.
        check(unsafe { sock_addr_local(self.fd.number(), &mut addr) })?;
        addr.get().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn accept(&self) -> io::Result<(SysStream, Option<SocketAddr>)> {
        let (mut accepted, mut peer) = (0, AddrPort::default());
        // SAFETY: the results go to locals of the call's layout, of which any content is valid.
        check(unsafe { sock_accept_v2(self.fd.number(), FDFLAGS_NONBLOCK, &mut accepted, &mut peer) })?;
        let stream = SysStream { registration: None, fd: Fd::new(accepted) };
        Ok((stream, peer.get()))
    }
}

impl Drop for SysListener {
    fn drop(&mut self) {
        if let Some(registrar) = &self.registration {
            // The epoll set must not keep the number, or the next socket with this number could not be
            // added. An error means that the set does not have it.
            let _ = registrar.0.delete(&self.fd);
        }
    }
}

/// A connected or connecting socket.
#[derive(Debug)]
pub struct SysStream {
    registration: Option<(SysRegistrar, Arc<Hangup>)>,
    fd: Fd,
}

impl Stream for SysStream {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.fd.recv(buffer, RECV_DONT_WAIT)?;
        if 0 < len
            && len < buffer.len()
            && let Some((registrar, hangup)) = &self.registration
            && registrar.0.hangups.after_short_recv(hangup)
        {
            registrar.wake();
        }
        Ok(len)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.fd.send(bytes, SEND_DONT_WAIT)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.fd.shutdown(how)
    }

    fn set_nodelay(&self) -> io::Result<()> {
        // SAFETY: passes no memory.
        check(unsafe { sock_set_opt_flag(self.fd.number(), OPTION_NODELAY, 1) })
    }
}

/// Waits on an epoll set of the host.
pub struct SysPoller {
    registrar: SysRegistrar,
    events: Vec<EpollEvent>,
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
        let shared = &self.registrar.0;
        let timeout_ns =
            timeout.map_or(WAIT_FOREVER, |timeout| i64::try_from(timeout.as_nanos()).unwrap_or(WAIT_FOREVER));
        let mut len = 0;
        // SAFETY: the host writes at most as many events as the vector has, in the call's layout, of
        // which any content is valid; their number goes to a local.
        let errno = unsafe {
            epoll_wait(shared.epoll.number(), self.events.as_mut_ptr(), self.events.len(), timeout_ns, &mut len)
        };
        match errno {
            ERRNO_INTR => return Ok(()),
            errno => check(errno)?,
        }
        shared.hangups.drain_into(events);
        for event in self.events.iter().take(len).filter(|event| event.is_alarm == 0) {
            let token = Token(event.token);
            let hung_up = event.bits & (epoll::READ_HANGUP | epoll::HANGUP | epoll::ERROR) != 0;
            if hung_up {
                shared.hangups.report(token);
            }
            events.push(Event {
                token,
                readable: event.bits & epoll::IN != 0 || hung_up,
                writable: event.bits & epoll::OUT != 0 || hung_up,
            });
        }
        Ok(())
    }
}

/// Registers with one poller.
#[derive(Clone, Debug)]
pub struct SysRegistrar(Arc<Shared>);

impl Registrar for SysRegistrar {
    type Listener = SysListener;
    type Stream = SysStream;

    fn add_listener(&self, listener: &mut SysListener, token: Token) -> io::Result<()> {
        let event = EpollEvent::new(epoll::IN | epoll::EDGE_TRIGGERED, token);
        self.0.control(epoll::ADD, &listener.fd, &event)?;
        listener.registration = Some(self.clone());
        Ok(())
    }

    fn add(&self, stream: &mut SysStream, token: Token) -> io::Result<()> {
        let bits = epoll::IN | epoll::OUT | epoll::READ_HANGUP | epoll::EDGE_TRIGGERED;
        let hangup = self.0.hangups.add(token);
        if let Err(error) = self.0.control(epoll::ADD, &stream.fd, &EpollEvent::new(bits, token)) {
            self.0.hangups.remove(&hangup);
            return Err(error);
        }
        stream.registration = Some((self.clone(), hangup));
        Ok(())
    }

    fn remove(&self, stream: &SysStream) -> io::Result<()> {
        let (_, hangup) = stream.registration.as_ref().ok_or(io::ErrorKind::NotFound)?;
        self.0.hangups.remove(hangup);
        self.0.delete(&stream.fd)
    }

    fn wake(&self) -> bool {
        let one = 1_u64.to_le_bytes();
        let mut written = 0;
        // SAFETY: the one iovec covers a local, and the result goes to another.
        unsafe { fd_write(self.0.alarm.number(), &Ciovec::new(&one), 1, &mut written) == 0 }
    }
}

/// The state that a poller shares with its registrars.
#[derive(Debug)]
struct Shared {
    epoll: Fd,
    /// A counter of the host that becomes readable when it is written to. It is never read: each write
    /// is an edge.
    alarm: Fd,
    hangups: Hangups,
}

impl Shared {
    fn control(&self, operation: u32, fd: &Fd, event: &EpollEvent) -> io::Result<()> {
        // SAFETY: the event is of the call's layout and is borrowed for the call.
        check(unsafe { epoll_ctl(self.epoll.number(), operation, fd.number(), event) })
    }

    fn delete(&self, fd: &Fd) -> io::Result<()> {
        self.control(epoll::DELETE, fd, &EpollEvent::new(0, Token(0)))
    }
}

/// An event of the host's epoll. The host returns the caller's part, from `pointer` on, unchanged.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct EpollEvent {
    bits: u32,
    unused: u32,
    pointer: u32,
    fd: u32,
    /// 1 for the poller's own alarm; 0 for a caller's registration.
    is_alarm: u32,
    token: u64,
}

impl EpollEvent {
    fn new(bits: u32, token: Token) -> EpollEvent {
        EpollEvent { bits, unused: 0, pointer: 0, fd: 0, is_alarm: 0, token: token.0 }
    }
}

/// An address in the host's layout, with the size of its largest variant.
#[repr(C, align(4))]
struct AddrPort {
    family: u8,
    unused: u8,
    /// Little-endian as an argument, big-endian as a result.
    port: [u8; 2],
    ip: [u8; 108],
}

const _: () = assert!(size_of::<EpollEvent>() == 32 && size_of::<AddrPort>() == 112);

impl Default for AddrPort {
    fn default() -> AddrPort {
        AddrPort { family: 0, unused: 0, port: [0; 2], ip: [0; 108] }
    }
}

impl AddrPort {
    const INET4: u8 = 1;
    const INET6: u8 = 2;

    fn new(addr: SocketAddr) -> AddrPort {
        let mut result = AddrPort { port: addr.port().to_le_bytes(), ..AddrPort::default() };
        match addr.ip() {
            IpAddr::V4(ip) => {
                result.family = AddrPort::INET4;
                result.ip[..4].copy_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                result.family = AddrPort::INET6;
                result.ip[..16].copy_from_slice(&ip.octets());
            }
        }
        result
    }

    fn get(&self) -> Option<SocketAddr> {
        let ip: IpAddr = match self.family {
            AddrPort::INET4 => <[u8; 4]>::try_from(&self.ip[..4]).ok()?.into(),
            AddrPort::INET6 => <[u8; 16]>::try_from(&self.ip[..16]).ok()?.into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(self.port)))
    }
}
