//! One connection as bytes: a non-blocking stream, the poller that waits for it, and a buffer each way.
//!
//! ```text
//!   Client --encode--> output --send--> socket
//!   Client <--decode--  input <--recv-- socket
//! ```
//!
//! Nothing here knows MQTT. Every wait has a timeout, given by the caller.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use wisp_net::{Event, Host, Poller, Registrar, Stream, Token};

/// The room one `recv` is given. A larger packet grows the buffer as its bytes arrive.
const RECV_BYTES: usize = 64 * 1024;
/// A buffer that held something larger gives the rest back once it is empty.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// A stream with its poller and buffers.
pub(crate) struct Link<H: Host> {
    stream: Registered<H>,
    poller: H::Poller,
    events: Vec<Event>,
    /// Whether a `recv`, or a `send`, is worth trying: cleared by the attempt that says otherwise, set by
    /// an event, as the edge-triggered contract asks.
    readable: bool,
    writable: bool,
    pub(crate) input: Input,
    pub(crate) output: Output,
}

/// What one attempt to receive gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Received {
    Bytes,
    Nothing,
    End,
}

impl<H: Host> Link<H> {
    /// Starts a connection; it may still be connecting, which the first attempts to send and receive tell.
    pub(crate) fn open(host: &H, address: SocketAddr) -> io::Result<Self> {
        let poller = host.poller()?;
        let stream = Registered::new(host.connect(address)?, poller.registrar())?;
        Ok(Self {
            stream,
            poller,
            events: Vec::new(),
            readable: true,
            writable: true,
            input: Input::default(),
            output: Output::default(),
        })
    }

    /// Sends small packets at once, where the host can.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        self.stream.get().set_nodelay()
    }

    /// Sends what the socket takes of the output; says whether it took anything.
    pub(crate) fn send(&mut self) -> io::Result<bool> {
        let mut moved = false;
        while self.writable && !self.output.is_empty() {
            let bytes = self.output.pending();
            match self.stream.get().send(bytes) {
                Ok(sent) => {
                    self.writable = sent == bytes.len();
                    moved |= sent > 0;
                    self.output.sent(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// Receives once, if the socket may have something.
    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        if self.readable { self.receive_now() } else { Ok(Received::Nothing) }
    }

    /// Receives once, whether or not an event said that it is worth it.
    pub(crate) fn receive_now(&mut self) -> io::Result<Received> {
        let spare = self.input.spare();
        let room = spare.len();
        match self.stream.get().recv(spare) {
            Ok(0) => Ok(Received::End),
            Ok(received) => {
                self.readable = received == room;
                self.input.received(received);
                Ok(Received::Bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Received::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for the socket, at most so long (`None`: without a limit).
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.poller.wait(&mut self.events, timeout)?;
        for event in &self.events {
            self.readable |= event.readable;
            self.writable |= event.writable;
        }
        Ok(())
    }

    /// Whether an attempt in a direction that matters is worth it now.
    pub(crate) fn is_ready(&self, may_read: bool) -> bool {
        (may_read && self.readable) || (self.writable && !self.output.is_empty())
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn finish_sending(&self) {
        // If this fails the connection has ended already, which is what is wanted in the end.
        let _ = self.stream.get().shutdown(Shutdown::Write);
    }

    /// Gives the stream away, no longer registered, with the bytes that were received and not yet decoded.
    pub(crate) fn into_parts(self) -> (H::Stream, Vec<u8>) {
        (self.stream.into_inner(), self.input.filled().to_vec())
    }
}

/// A registered stream; it leaves its poller before it is dropped, as the hosts want it.
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
            // A failure says that the stream was not registered any more, which is what is wanted.
            let _ = self.registrar.remove(stream);
        }
    }
}

/// What was received and not yet decoded: `bytes[start..end]`.
#[derive(Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Room for the next bytes, never empty. Moves what is there to the front when that makes the room,
    /// and doubles when even then there is none, so that memory follows what a peer really sent and not
    /// what a length field promised.
    fn spare(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes.resize(RECV_BYTES, 0);
        }
        if self.start > 0 && self.bytes.len() - self.end < RECV_BYTES / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        &mut self.bytes[self.end..]
    }

    fn received(&mut self, bytes: usize) {
        self.end += bytes;
        debug_assert!(self.end <= self.bytes.len());
    }

    /// Forgets everything.
    pub(crate) fn discard(&mut self) {
        self.consume(self.end - self.start);
    }

    /// Forgets the first bytes, which were decoded.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > KEPT_BYTES_MAX {
                self.bytes = Vec::new();
            }
        }
    }
}

/// What was encoded and not yet sent: `bytes[sent..]`.
#[derive(Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

impl Output {
    /// Where to encode to; only appending is allowed.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        debug_assert!(self.sent <= self.bytes.len());
        if self.sent == self.bytes.len() {
            self.sent = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of numbered bytes, taken in pieces of odd sizes, comes out as it went in.
    #[test]
    fn input_keeps_order_whatever_the_pieces() {
        let mut input = Input::default();
        let (mut given, mut taken) = (0u32, 0u32);
        for round in 0..2000usize {
            let spare = input.spare();
            assert!(!spare.is_empty());
            let piece = spare.len().min(1 + round * 37 % 5000);
            for byte in &mut spare[..piece] {
                *byte = (given % 251) as u8;
                given += 1;
            }
            input.received(piece);
            let take = input.filled().len().min(round * 53 % 6000);
            for byte in &input.filled()[..take] {
                assert_eq!(*byte, (taken % 251) as u8);
                taken += 1;
            }
            input.consume(take);
        }
        assert_eq!(input.filled().len(), (given - taken) as usize);
        assert!(input.bytes.len() <= 4 * RECV_BYTES, "memory follows what waits, not what came");
    }

    #[test]
    fn memory_of_a_large_packet_is_given_back() {
        let mut input = Input::default();
        for _ in 0..7 {
            let room = input.spare().len();
            input.received(room);
        }
        input.consume(input.filled().len());
        assert_eq!(input.bytes.capacity(), 0);

        let mut output = Output::default();
        output.bytes().resize(8 * KEPT_BYTES_MAX, 0);
        output.sent(8 * KEPT_BYTES_MAX);
        assert!(output.bytes.capacity() <= KEPT_BYTES_MAX);
    }
}
