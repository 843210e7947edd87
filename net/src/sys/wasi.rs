//! The calls that every WASI host has, from module `wasi_snapshot_preview1`, and a descriptor that
//! closes itself.
//!
//! Each host opens listeners and connections in its own way; receiving, sending and closing are the
//! same calls everywhere. They are imported directly instead of through the C library: its `close`
//! searches the preopened directories, which fails where a listener is preopened instead, and its
//! `recv` hides flags that a host may need.

use std::io;
use std::net::Shutdown;

/// The descriptor flag for non-blocking.
pub(super) const FDFLAGS_NONBLOCK: u16 = 4;

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn fd_close(fd: u32) -> u16;
    fn fd_fdstat_set_flags(fd: u32, flags: u16) -> u16;
    fn sock_recv(
        fd: u32,
        iovecs: *const Iovec,
        iovecs_len: usize,
        flags: u16,
        received: *mut usize,
        flags_out: *mut u16,
    ) -> u16;
    fn sock_send(fd: u32, iovecs: *const Ciovec, iovecs_len: usize, flags: u16, sent: *mut usize) -> u16;
    fn sock_shutdown(fd: u32, how: u8) -> u16;
}

#[repr(C)]
struct Iovec {
    buffer: *mut u8,
    len: usize,
}

#[repr(C)]
pub(super) struct Ciovec {
    buffer: *const u8,
    len: usize,
}

impl Ciovec {
    pub(super) fn new(bytes: &[u8]) -> Ciovec {
        Ciovec { buffer: bytes.as_ptr(), len: bytes.len() }
    }
}

/// Turns a call's error number into a result; the standard library maps it to an `ErrorKind`.
pub(super) fn check(errno: u16) -> io::Result<()> {
    match errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(i32::from(errno))),
    }
}

/// An open descriptor, closed when dropped.
#[derive(Debug)]
pub(super) struct Fd(u32);

impl Fd {
    /// Takes ownership of a descriptor.
    pub(super) fn new(number: u32) -> Fd {
        Fd(number)
    }

    pub(super) fn number(&self) -> u32 {
        self.0
    }

    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        // SAFETY: passes no memory.
        check(unsafe { fd_fdstat_set_flags(self.0, FDFLAGS_NONBLOCK) })
    }

    pub(super) fn recv(&self, buffer: &mut [u8], flags: u16) -> io::Result<usize> {
        recv(self.0, buffer, flags)
    }

    pub(super) fn send(&self, bytes: &[u8], flags: u16) -> io::Result<usize> {
        let iovec = Ciovec::new(bytes);
        let mut len = 0;
        // SAFETY: the one iovec covers bytes that are borrowed for the call, and the result goes to a
        // local.
        check(unsafe { sock_send(self.0, &iovec, 1, flags, &mut len) })?;
        Ok(len)
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => 1,
            Shutdown::Write => 2,
            Shutdown::Both => 3,
        };
        // SAFETY: passes no memory.
        check(unsafe { sock_shutdown(self.0, how) })
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: passes no memory, and the number is ours to close. Nobody can handle an error, and
        // the descriptor is gone in any case.
        let _ = unsafe { fd_close(self.0) };
    }
}

/// Receives from a descriptor that the caller may not own.
pub(super) fn recv(fd: u32, buffer: &mut [u8], flags: u16) -> io::Result<usize> {
    let iovec = Iovec { buffer: buffer.as_mut_ptr(), len: buffer.len() };
    let (mut len, mut flags_out) = (0, 0);
    // SAFETY: the one iovec covers a buffer that is borrowed mutably for the call, and the results go
    // to locals.
    check(unsafe { sock_recv(fd, &iovec, 1, flags, &mut len, &mut flags_out) })?;
    Ok(len)
}
