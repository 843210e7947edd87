//! The interface of a layer, which the socket itself has too.

use std::io;
use std::net::Shutdown;

use wisp_net::Stream;

use crate::transport::tls_options::TlsSession;

/// Bytes to and from a peer, over a non-blocking socket.
///
/// The poller's contract for sockets holds for the layers above them: after an event the caller reads until there is
/// nothing more, and writes until `write` accepts less than it was given.
pub trait ByteStream {
    /// Reads once.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there, and the next event tells when to try again.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Read>;

    /// Accepts as many of the bytes as the socket has room for, and returns their number. Sends accepted bytes of before
    /// first, so a call without bytes is of use too.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is accepted, and the next event tells when to try again.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Accepted bytes, in the form of this layer, that the socket has not taken. While there are some, `write` has to be
    /// called whenever the socket is writable.
    fn unsent_bytes(&self) -> usize;
}

/// The outcome of one read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Read {
    /// The number of bytes at the beginning of the buffer; 0 if the peer has ended the stream.
    pub bytes: usize,
    /// Whether another read may give more without an event before it.
    pub more: bool,
}

/// The parts of a layer that only connecting and closing need.
pub(crate) trait Layer: ByteStream {
    type Socket: Stream;

    fn socket(&self) -> &Self::Socket;

    fn socket_mut(&mut self) -> &mut Self::Socket;

    /// Goes on with the handshakes of this layer and the layers below. Returns whether they are complete.
    fn open(&mut self) -> io::Result<bool>;

    /// Tells the peer that nothing more will be sent.
    fn finish_writing(&mut self);

    /// The facts of TLS, if a layer is TLS and its handshake is complete.
    fn tls_session(&self) -> Option<TlsSession>;
}

impl<S: Stream> ByteStream for S {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        let bytes = self.recv(buffer)?;
        Ok(Read { bytes, more: bytes == buffer.len() })
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes)
    }

    #[inline]
    fn unsent_bytes(&self) -> usize {
        0
    }
}

impl<S: Stream> Layer for S {
    type Socket = S;

    fn socket(&self) -> &S {
        self
    }

    fn socket_mut(&mut self) -> &mut S {
        self
    }

    fn open(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn finish_writing(&mut self) {
        // A failure means that the connection has ended already.
        let _ = self.shutdown(Shutdown::Write);
    }

    fn tls_session(&self) -> Option<TlsSession> {
        None
    }
}

/// Bytes for the layer below that it has not accepted yet.
#[cfg(any(feature = "tls", feature = "websocket"))]
#[derive(Default)]
pub(super) struct Pending {
    pub(super) bytes: Vec<u8>,
    sent: usize,
}

#[cfg(any(feature = "tls", feature = "websocket"))]
impl Pending {
    /// An empty buffer keeps at most this much memory.
    const KEPT_BYTES_MAX: usize = 256 * 1024;

    pub(super) fn unsent(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Writes as much as the layer below accepts. Returns whether that is everything.
    pub(super) fn flush(&mut self, below: &mut impl ByteStream) -> io::Result<bool> {
        while self.sent < self.bytes.len() {
            match below.write(&self.bytes[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.bytes.shrink_to(Self::KEPT_BYTES_MAX);
        self.sent = 0;
        Ok(true)
    }
}
