//! The socket of one connection, with its transport and the poller that waits for it. It knows bytes only.
//!
//! Every wait has a timeout, given by the caller.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wisp_net::{Event, Host, Poller, Registrar, Stream, Token};

use crate::error::Error;
use crate::options::ConnectOptions;
use crate::transport::{ByteStream, Read, TlsSession, TransportStream};

/// A non-blocking stream with its poller.
pub(crate) struct Socket<H: Host> {
    stream: Registered<H>,
    poller: H::Poller,
    events: Vec<Event>,
    /// Whether a `recv` or a `send` is worth an attempt. A failed attempt clears the flag and an event sets it, as
    /// the edge-triggered contract of the poller asks.
    readable: bool,
    writable: bool,
}

/// The outcome of one attempt to receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Received {
    Bytes(usize),
    Nothing,
    End,
}

impl<H: Host> Socket<H> {
    /// Starts a connection. It may still be connecting; then the first attempts to send and receive show the outcome.
    pub(crate) fn open(host: &H, address: SocketAddr, options: &ConnectOptions) -> Result<Self, Error> {
        let unreachable = |error: io::Error| Error::Connect { address, cause: error.into() };
        let poller = host.poller().map_err(unreachable)?;
        let stream = host.connect(address).map_err(unreachable)?;
        let mut stream = options.transport.start(stream, options.version)?;
        let registrar = poller.registrar();
        registrar.add(stream.socket_mut(), Token(0)).map_err(unreachable)?;
        let stream = Registered { stream: Some(stream), registrar };
        Ok(Self { stream, poller, events: Vec::new(), readable: true, writable: true })
    }

    /// Completes the handshakes of the transport. Returns false when the deadline has passed before.
    pub(crate) fn shake_hands(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        while !self.stream.get_mut().open()? {
            let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if timeout == Some(Duration::ZERO) {
                return Ok(false);
            }
            self.poller.wait(&mut self.events, timeout)?;
        }
        Ok(true)
    }

    /// The facts of TLS, if the transport has it.
    pub(crate) fn tls_session(&self) -> Option<TlsSession> {
        self.stream.get().tls_session()
    }

    /// Sends small packets at once, where the host can.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        self.stream.get().socket().set_nodelay()
    }

    /// Sends as many of the bytes as the socket accepts now, and returns their number.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.writable || (bytes.is_empty() && self.unsent_bytes() == 0) {
            return Ok(0);
        }
        let stream = self.stream.get_mut();
        match stream.write(bytes) {
            Ok(sent) => {
                self.writable = sent == bytes.len() && stream.unsent_bytes() == 0;
                Ok(sent)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Bytes that `send` has taken over and the host's socket has not.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.stream.get().unsent_bytes()
    }

    /// Receives once, if the socket may have something.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        if self.readable { self.receive_now(buffer) } else { Ok(Received::Nothing) }
    }

    /// Receives once, with or without an event before.
    pub(crate) fn receive_now(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        match self.stream.get_mut().read(buffer) {
            Ok(Read { bytes: 0, .. }) => Ok(Received::End),
            Ok(Read { bytes, more }) => {
                self.readable = more;
                Ok(Received::Bytes(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Received::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for the socket, at most for the timeout (`None`: without a limit).
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.poller.wait(&mut self.events, timeout)?;
        for event in &self.events {
            self.readable |= event.readable;
            self.writable |= event.writable;
        }
        Ok(())
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.readable
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn finish_sending(&mut self) {
        self.stream.get_mut().finish_writing();
    }

    /// Returns the stream, no longer registered.
    pub(crate) fn into_stream(self) -> TransportStream<H::Stream> {
        self.stream.into_inner()
    }
}

/// A registered stream. It leaves its poller before it is dropped, as the hosts require.
struct Registered<H: Host> {
    /// Absent only after `into_inner`, which consumes the value.
    stream: Option<TransportStream<H::Stream>>,
    registrar: <H::Poller as Poller>::Registrar,
}

impl<H: Host> Registered<H> {
    fn get(&self) -> &TransportStream<H::Stream> {
        self.stream.as_ref().expect("present until into_inner consumes the value")
    }

    fn get_mut(&mut self) -> &mut TransportStream<H::Stream> {
        self.stream.as_mut().expect("present until into_inner consumes the value")
    }

    fn into_inner(mut self) -> TransportStream<H::Stream> {
        let stream = self.stream.take().expect("present until into_inner consumes the value");
        let _ = self.registrar.remove(stream.socket());
        stream
    }
}

impl<H: Host> Drop for Registered<H> {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            // A failure means that the stream is not registered any more.
            let _ = self.registrar.remove(stream.socket());
        }
    }
}
