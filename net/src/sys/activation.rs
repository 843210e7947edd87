//! Listeners that a service manager opened and handed to the process: the protocol of systemd's socket activation
//! (`LISTEN_PID` and `LISTEN_FDS`, see `sd_listen_fds(3)`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::FromRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use socket2::{Socket, Type};

/// The listeners that were handed over and that no address has claimed yet.
static HANDED_OVER: Mutex<Handed> = Mutex::new(Handed { taken: false, listeners: Vec::new() });

struct Handed {
    /// The descriptors have an owner.
    taken: bool,
    listeners: Vec<(SocketAddr, Socket)>,
}

fn handed_over() -> MutexGuard<'static, Handed> {
    HANDED_OVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the listeners that the environment names. Only the first call takes any.
pub(super) fn take() -> io::Result<()> {
    let mut handed = handed_over();
    if std::mem::replace(&mut handed.taken, true) {
        return Ok(());
    }
    for descriptor in sd_notify::listen_fds()? {
        // SAFETY: `listen_fds` has found the descriptor to be open. The service manager made it for this process, and by
        // the flag above nothing else owns it.
        let socket = unsafe { Socket::from_raw_fd(descriptor) };
        let is_tcp_listener = socket.r#type().is_ok_and(|kind| kind == Type::STREAM) && is_listening(&socket);
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        let address = address.filter(|_| is_tcp_listener).ok_or_else(|| {
            let message = format!("descriptor {descriptor}, handed over by LISTEN_FDS, is no listening TCP socket");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })?;
        handed.listeners.push((address, socket));
    }
    Ok(())
}

/// The listener for this address, if one was handed over.
pub(super) fn claim(address: SocketAddr) -> Option<Socket> {
    let mut handed = handed_over();
    let place = handed.listeners.iter().position(|(other, _)| *other == address)?;
    Some(handed.listeners.swap_remove(place).1)
}

/// The addresses of the listeners that nothing has claimed.
pub(super) fn unclaimed() -> Vec<SocketAddr> {
    handed_over().listeners.iter().map(|(address, _)| *address).collect()
}

#[cfg(target_os = "linux")]
fn is_listening(socket: &Socket) -> bool {
    socket.is_listener().unwrap_or(false)
}

/// Other systems cannot tell it; accepting will.
#[cfg(not(target_os = "linux"))]
fn is_listening(_: &Socket) -> bool {
    true
}
