//! The PROXY header of one connection, which comes before the bytes of its transport.

mod header;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;

use wisp_engine::sync::{AtomicBool, Mutex, Ordering, rank};
use wisp_engine::{Received, TransportNote};
use wisp_net::Stream;

use self::header::{Client, Header};
use super::turn::Turn;

/// Most bytes of a header received at once.
const PIECE_BYTES: usize = 512;

/// The header of a connection, until it is complete.
#[derive(Debug)]
pub(super) struct ProxyGate {
    /// The address that the socket has.
    proxy: Option<SocketAddr>,
    header: Mutex<Header, { rank::LEAF }>,
    is_open: AtomicBool,
}

impl ProxyGate {
    pub(super) fn new(proxy: Option<SocketAddr>) -> Self {
        Self { proxy, header: Mutex::default(), is_open: AtomicBool::new(false) }
    }

    /// Whether the header is complete, so that the bytes that follow belong to the transport.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Receives the rest of the header; yields no byte for the engine.
    pub(super) fn receive<S: Stream>(&self, stream: &S, turn: &mut Turn) -> Received {
        let mut header = self.header.lock();
        let mut note = TransportNote::default();
        let received = match receive_header(&mut header, stream) {
            Ok(client) => {
                *header = Header::default();
                self.is_open.store(true, Ordering::Relaxed);
                // The bytes behind it may have caused their event already.
                turn.again = true;
                note.peer = client.or(self.proxy);
                Received::WouldBlock
            }
            Err(Received::WouldBlock) => Received::WouldBlock,
            Err(end) => {
                // The log names the party at fault.
                note.peer = self.proxy;
                end
            }
        };
        note.held_bytes = header.len();
        turn.note = Some(note);
        received
    }
}

/// Receives the rest of a header.
///
/// # Errors
/// The receive that yielded nothing.
fn receive_header<S: Stream>(header: &mut Header, stream: &S) -> Result<Client, Received> {
    let mut piece = [0; PIECE_BYTES];
    loop {
        let want = header.missing().min(PIECE_BYTES);
        match stream.recv(&mut piece[..want]) {
            Ok(0) => return Err(Received::Closed),
            Ok(count) => match header.add(&piece[..count]) {
                Ok(Some(client)) => return Ok(client),
                Ok(None) => {}
                Err(reason) => return Err(Received::Rejected(reason)),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Received::WouldBlock),
            Err(_) => return Err(Received::Failed),
        }
    }
}
