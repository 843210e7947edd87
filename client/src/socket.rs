//! The socket of one connection, with the poller that waits for it. It knows bytes only.
//!
//! Every wait has a timeout, given by the caller.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use wisp_net::{Event, Host, Poller, Registrar, Stream, Token};

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
    pub(crate) fn open(host: &H, address: SocketAddr) -> io::Result<Self> {
        let poller = host.poller()?;
        let stream = Registered::new(host.connect(address)?, poller.registrar())?;
        Ok(Self { stream, poller, events: Vec::new(), readable: true, writable: true })
    }

    /// Sends small packets at once, where the host can.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        self.stream.get().set_nodelay()
    }

    /// Sends as many of the bytes as the socket accepts now, and returns their number.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.writable || bytes.is_empty() {
            return Ok(0);
        }
        match self.stream.get().send(bytes) {
            Ok(sent) => {
                self.writable = sent == bytes.len();
                Ok(sent)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Receives once, if the socket may have something.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        if self.readable { self.receive_now(buffer) } else { Ok(Received::Nothing) }
    }

    /// Receives once, with or without an event before.
    pub(crate) fn receive_now(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        match self.stream.get().recv(buffer) {
            Ok(0) => Ok(Received::End),
            Ok(received) => {
                self.readable = received == buffer.len();
                Ok(Received::Bytes(received))
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
    pub(crate) fn finish_sending(&self) {
        // A failure means that the connection has ended already.
        let _ = self.stream.get().shutdown(Shutdown::Write);
    }

    /// Returns the stream, no longer registered.
    pub(crate) fn into_stream(self) -> H::Stream {
        self.stream.into_inner()
    }
}

/// A registered stream. It leaves its poller before it is dropped, as the hosts require.
struct Registered<H: Host> {
    /// Absent only after `into_inner`, which consumes the value.
    stream: Option<H::Stream>,
    registrar: <H::Poller as Poller>::Registrar,
}

impl<H: Host> Registered<H> {
    fn new(mut stream: H::Stream, registrar: <H::Poller as Poller>::Registrar) -> io::Result<Self> {
        registrar.add(&mut stream, Token(0))?;
        Ok(Self { stream: Some(stream), registrar })
    }

    fn get(&self) -> &H::Stream {
        self.stream.as_ref().expect("present until into_inner consumes the value")
    }

    fn into_inner(mut self) -> H::Stream {
        let stream = self.stream.take().expect("present until into_inner consumes the value");
        let _ = self.registrar.remove(&stream);
        stream
    }
}

impl<H: Host> Drop for Registered<H> {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            // A failure means that the stream is not registered any more.
            let _ = self.registrar.remove(stream);
        }
    }
}
