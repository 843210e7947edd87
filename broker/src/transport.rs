//! The door between a socket and the engine: the peer's bytes to MQTT's bytes, and back.
//!
//! Today there is one transport, which changes nothing. TLS and WebSocket fit here: a receive says by itself whether more may come,
//! since a short read of the socket says nothing about a decrypted record; and only a [transparent](Transport::is_transparent)
//! transport sends packets from where they lie.

use std::io;
use std::net::Shutdown;

use wisp_engine::Received;
use wisp_net::{Stream, Token};

#[cfg(test)]
use crate::simulation::transport::{Network, Splitting};

/// The transport for the connections of a listener.
#[derive(Clone, Debug)]
pub(crate) enum TransportKind {
    /// MQTT over TCP.
    Plain,
    /// Splits and delays bytes.
    #[cfg(test)]
    Splitting(std::sync::Arc<Network>),
}

/// The bytes of one connection. Any thread may send while its owner receives.
#[derive(Debug)]
pub(crate) enum Transport<S> {
    /// MQTT over TCP.
    Plain(S),
    /// Splits and delays bytes.
    #[cfg(test)]
    Splitting(Splitting<S>),
}

impl<S: Stream> Transport<S> {
    /// A transport over a socket that was just accepted and is registered under `token`.
    #[cfg_attr(not(test), expect(unused_variables, reason = "the transport in tests asks for events"))]
    pub(crate) fn new(kind: &TransportKind, stream: S, token: Token) -> Self {
        match kind {
            TransportKind::Plain => Self::Plain(stream),
            #[cfg(test)]
            TransportKind::Splitting(network) => Self::Splitting(Splitting::new(stream, token, network)),
        }
    }

    /// The socket below the transport.
    pub(crate) fn stream(&self) -> &S {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(test)]
            Self::Splitting(splitting) => splitting.stream(),
        }
    }

    /// Receives once into `buffer`, which must not be empty.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Received {
        let received = match self {
            Self::Plain(stream) => stream.recv(buffer),
            #[cfg(test)]
            Self::Splitting(splitting) => return splitting.receive(buffer),
        };
        match received {
            Ok(0) => Received::Closed,
            // The host's buffer had less than the request, so it is empty now.
            Ok(count) => Received::Bytes { count, more: count == buffer.len() },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::WouldBlock,
            Err(_) => Received::Failed,
        }
    }

    /// Sends a prefix of `bytes` and returns its length. It is shorter than `bytes` only if the socket is full; an
    /// event announces when it is writable.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full: an event announces when it is writable. Others end the connection.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.send(bytes),
            #[cfg(test)]
            Self::Splitting(splitting) => splitting.send(bytes),
        }
    }

    /// Shuts down one or both directions after the bytes sent so far.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream().shutdown(how)
    }

    /// Whether the socket carries the bytes as they are, so that packets may be sent from where they lie.
    pub(crate) fn is_transparent(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            #[cfg(test)]
            Self::Splitting(_) => false,
        }
    }
}
