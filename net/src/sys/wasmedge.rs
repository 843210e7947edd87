//! WasmEdge: its own calls to open sockets, and `poll_oneoff`.
//!
//! It has no threads, no TCP_NODELAY and no way to wake a blocked poll, which a single thread does not
//! need. The crate wasmedge_wasi_socket opens the sockets; received and sent bytes move directly to and
//! from the guest's memory.

use std::io;
use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::time::Duration;

use wasmedge_wasi_socket::socket::{AddressFamily, Socket, SocketOptLevel, SocketOptName, SocketType};

pub use super::oneoff::{SysListener, SysPoller, SysRegistrar, SysStream};

use super::poll::Answer;
use super::wasi::{Fd, check};
use crate::{Capabilities, Host};

/// The host takes as many bytes as fit straight from guest memory, so smaller pieces gain nothing.
pub(super) const SEND_BYTES_MAX: usize = usize::MAX;
/// There is only one thread, so no state changes during a wait.
pub(super) const TICK: Duration = Duration::MAX;

/// Connections the system holds for a listener until they are accepted.
const BACKLOG_CONNECTIONS_MAX: i32 = 1024;
/// WASI's number for "operation in progress".
const ERRNO_INPROGRESS: i32 = 26;

/// The sockets of WasmEdge.
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
            recv_bytes: 256 * 1024,
            poll_tick: None,
        }
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<SysListener> {
        let socket = Socket::new(AddressFamily::from(&addr), SocketType::Stream)?;
        socket.setsockopt(SocketOptLevel::SolSocket, SocketOptName::SoReuseaddr, 1_i32)?;
        socket.bind(&addr)?;
        socket.listen(BACKLOG_CONNECTIONS_MAX)?;
        let fd = take(socket);
        fd.set_nonblocking()?;
        Ok(SysListener::new(fd))
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<SysStream> {
        let socket = Socket::new(AddressFamily::from(&addr), SocketType::Stream)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&addr) {
            Err(error) if error.raw_os_error() != Some(ERRNO_INPROGRESS) => Err(error),
            _ => Ok(SysStream::new(take(socket))),
        }
    }

    fn poller(&self) -> io::Result<SysPoller> {
        Ok(SysPoller::new())
    }
}

pub(super) fn local_addr(listener: &Fd) -> io::Result<SocketAddr> {
    address(listener.number(), sock_getlocaladdr)
}

pub(super) fn accept(listener: &Fd) -> io::Result<(Fd, Option<SocketAddr>)> {
    // The crate accepts without flags and makes the new socket non-blocking afterwards. This host needs
    // that: it applies flags of the accept call to the listener.
    let stream = take(lend(listener, |listener| listener.accept(true))?);
    // A peer that has gone already has no address.
    let peer = address(stream.number(), sock_getpeeraddr).ok();
    Ok((stream, peer))
}

// The crate has these too, but passes the host a buffer that the compiler may assume to stay zero.
#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn sock_getlocaladdr(fd: u32, buffer: *mut AddressBuffer, family: *mut u32, port: *mut u32) -> u32;
    fn sock_getpeeraddr(fd: u32, buffer: *mut AddressBuffer, family: *mut u32, port: *mut u32) -> u32;
}

#[repr(C)]
struct AddressBuffer {
    octets: *mut u8,
    len: usize,
}

type AddressCall = unsafe extern "C" fn(u32, *mut AddressBuffer, *mut u32, *mut u32) -> u32;

/// Returns one of the two addresses of a socket. The host expects 16 bytes for both families, calls the
/// families 4 and 6, and fills the first four bytes for IPv4.
fn address(fd: u32, ask: AddressCall) -> io::Result<SocketAddr> {
    let mut octets = [0_u8; 16];
    let mut buffer = AddressBuffer { octets: octets.as_mut_ptr(), len: octets.len() };
    let (mut family, mut port) = (0, 0);
    // SAFETY: all three pointers are to live variables of the types that the host writes, and the
    // buffer states its length.
    let errno = unsafe { ask(fd, &raw mut buffer, &raw mut family, &raw mut port) };
    check(errno as u16)?;
    let port = u16::try_from(port).map_err(|_| io::ErrorKind::InvalidData)?;
    match family {
        4 => {
            let [a, b, c, d, ..] = octets;
            Ok(SocketAddr::from(([a, b, c, d], port)))
        }
        6 => Ok(SocketAddr::from((octets, port))),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// This host's answers are right.
pub(super) fn may_be_false(_: &Answer) -> bool {
    false
}

/// Takes a socket out of the crate, which would shut it down before closing it.
fn take(socket: Socket) -> Fd {
    Fd::new(socket.into_raw_fd().cast_unsigned())
}

/// Passes a socket to the crate for one call without giving it away.
fn lend<T>(fd: &Fd, look: impl FnOnce(&Socket) -> T) -> T {
    use std::mem::ManuallyDrop;
    use std::os::fd::FromRawFd;
    // SAFETY: the descriptor is open while `fd` is borrowed, and the socket is never dropped, so that
    // it is not closed here.
    let socket = ManuallyDrop::new(unsafe { Socket::from_raw_fd(fd.number().cast_signed()) });
    look(&socket)
}
