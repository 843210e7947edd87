//! WASI preview 1, as in Wasmtime with wasi-threads: the process inherits its listeners.
//!
//! It cannot open listeners or connections, learn the peer's address, set TCP_NODELAY, or wake a
//! blocked poll. The host receives through a zeroed buffer of at most 64 KiB, and copies all bytes that
//! it is given to send.

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use super::oneoff::{SysListener, SysPoller, SysRegistrar, SysStream};

use super::poll::Answer;
use super::wasi::{self, FDFLAGS_NONBLOCK, Fd};
use crate::{Capabilities, Host};

/// The most bytes of one send: the host copies all of them even if the socket takes a part.
pub(super) const SEND_BYTES_MAX: usize = 256 * 1024;
/// How long a wait may miss registrations and arming by other threads.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// The first descriptor after the standard streams: the first listener, if any is inherited.
const FIRST_LISTENER: u32 = 3;
const FILETYPE_DIRECTORY: u8 = 3;
const FILETYPE_SOCKET_STREAM: u8 = 6;

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn fd_fdstat_get(fd: u32, stat: *mut Fdstat) -> u16;
    fn fd_prestat_get(fd: u32, prestat: *mut Prestat) -> u16;
    fn fd_prestat_dir_name(fd: u32, name: *mut u8, len: usize) -> u16;
    fn sock_accept(fd: u32, flags: u16, accepted: *mut u32) -> u16;
}

unsafe extern "C" {
    /// Of the C library: from now on names that begin with this one are opened below this descriptor.
    fn __wasilibc_register_preopened_fd(fd: c_int, name: *const c_char) -> c_int;
}

#[derive(Default)]
#[repr(C)]
struct Prestat {
    kind: u8,
    name_len: usize,
}

#[derive(Default)]
#[repr(C)]
struct Fdstat {
    filetype: u8,
    flags: u16,
    rights: u64,
    rights_inheriting: u64,
}

/// The sockets of a WASI preview 1 host.
#[derive(Clone, Copy, Default, Debug)]
pub struct SysHost;

impl Host for SysHost {
    type Listener = SysListener;
    type Stream = SysStream;
    type Poller = SysPoller;

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            threads: true,
            wake: false,
            file_sync: true,
            nodelay: false,
            peer_address: false,
            connect: false,
            listen: false,
            signals: false,
            recv_bytes: 64 * 1024,
            poll_tick: Some(TICK),
        }
    }

    fn listen(&self, _: SocketAddr) -> io::Result<SysListener> {
        static NEXT: AtomicU32 = AtomicU32::new(FIRST_LISTENER);
        let number = NEXT.load(Ordering::Relaxed);
        let mut stat = Fdstat::default();
        // SAFETY: the result goes to a local of the call's layout, of which any content is valid.
        let errno = unsafe { fd_fdstat_get(number, &mut stat) };
        if errno != 0 || stat.filetype != FILETYPE_SOCKET_STREAM {
            let message = "the runtime was told of no further address to listen on";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        NEXT.store(number + 1, Ordering::Relaxed);
        let fd = Fd::new(number);
        // For listeners that another process has opened. The call fails as soon as there are threads,
        // but listeners opened by the runtime itself are non-blocking already.
        let _ = fd.set_nonblocking();
        Ok(SysListener::new(fd))
    }

    fn find_folders(&self) {
        // The C library looks for them from the first descriptor on, and ends at the first listener.
        for number in FIRST_LISTENER.. {
            let mut stat = Fdstat::default();
            // SAFETY: the result goes to a local of the call's layout, of which any content is valid.
            if unsafe { fd_fdstat_get(number, &mut stat) } != 0 {
                return;
            }
            if stat.filetype != FILETYPE_DIRECTORY {
                continue;
            }
            let mut prestat = Prestat::default();
            // SAFETY: as above.
            if unsafe { fd_prestat_get(number, &mut prestat) } != 0 {
                continue;
            }
            let mut name = vec![0; prestat.name_len];
            // SAFETY: the name goes to a buffer of its length.
            let found = unsafe { fd_prestat_dir_name(number, name.as_mut_ptr(), name.len()) };
            if let (0, Ok(name)) = (found, CString::new(name)) {
                // SAFETY: the C library copies the text, which ends with a zero byte. It fails for want of memory alone,
                // and then the folder is not found.
                let _ = unsafe { __wasilibc_register_preopened_fd(number as c_int, name.as_ptr()) };
            }
        }
    }

    fn connect(&self, _: SocketAddr) -> io::Result<SysStream> {
        let message = "this runtime cannot open connections";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }

    fn poller(&self) -> io::Result<SysPoller> {
        Ok(SysPoller::new())
    }
}

pub(super) fn local_addr(_: &Fd) -> io::Result<SocketAddr> {
    let message = "this runtime does not tell the address it listens on";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

pub(super) fn accept(listener: &Fd) -> io::Result<(Fd, Option<SocketAddr>)> {
    let mut accepted = 0;
    // SAFETY: the result goes to a local.
    wasi::check(unsafe { sock_accept(listener.number(), FDFLAGS_NONBLOCK, &mut accepted) })?;
    Ok((Fd::new(accepted), None))
}

/// Whether an answer may be false. As soon as one descriptor is ready, this host reports all
/// descriptors of the call as ready; only further details make an answer certain.
pub(super) fn may_be_false(answer: &Answer) -> bool {
    match answer.kind {
        // The host reports one byte for descriptors without any.
        Answer::READ => answer.is_plain() && answer.bytes <= 1,
        Answer::WRITE => answer.is_plain(),
        _ => false,
    }
}
