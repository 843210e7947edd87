//! The layer on the socket: the bytes as they are, or TLS.

use std::io;
use std::net::Shutdown;

use wisp_engine::Received;
use wisp_net::Stream;

#[cfg(feature = "tls")]
use super::tls::TlsStream;
use super::turn::Turn;

/// The lower layer of one connection.
#[derive(Debug)]
pub(crate) enum Lower<S> {
    /// The socket's bytes as they are.
    Plain(S),
    /// TLS.
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<S>>),
}

impl<S: Stream> Lower<S> {
    #[cfg(feature = "tls")]
    pub(super) fn tls(stream: S, tls: &crate::tls::Tls, has_web_socket: bool) -> io::Result<Self> {
        let stream = TlsStream::new(stream, tls.config(has_web_socket), tls.name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(stream)))
    }

    pub(super) fn stream(&self) -> &S {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.stream(),
        }
    }

    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "a plain socket needs no turn"))]
    pub(super) fn receive(&self, buffer: &mut [u8], turn: &mut Turn) -> Received {
        let received = match self {
            Self::Plain(stream) => stream.recv(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => return tls.receive(buffer, turn),
        };
        match received {
            Ok(0) => Received::Closed,
            // The host's buffer had less than the request, so it is empty now.
            Ok(count) => Received::Bytes { count, more: count == buffer.len() },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::WouldBlock,
            Err(_) => Received::Failed,
        }
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.send(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.send(bytes),
        }
    }

    pub(super) fn writable(&self) {
        match self {
            Self::Plain(_) => {}
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.writable(),
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown(how),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.shutdown(how),
        }
    }

    pub(super) fn end(&self) {
        match self {
            Self::Plain(_) => {}
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.close_notify(),
        }
    }
}
