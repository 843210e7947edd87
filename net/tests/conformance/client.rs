//! The client of the echo server: connections that send a known pattern and compare the echo with it.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::LazyLock;

use wisp_net::{Event, Host, Poller, Registrar, Stream, Token};

use crate::server::TIMEOUT;

/// The pattern repeats after a prime number of bytes, so that no power of two hides a shift.
const PATTERN_BYTES: usize = 1_000_003;
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Reads and writes of one connection before the next connection has its turn.
const STEPS_PER_TURN_MAX: usize = 8;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut pattern: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(PATTERN_BYTES)
    .collect();
    pattern.extend_from_within(..CHUNK_BYTES_MAX);
    pattern
});

/// One connection to the echo server.
pub(crate) struct Exchange<S> {
    pub(crate) stream: S,
    /// The offset in the pattern at which this connection starts, so that connections differ.
    shift: usize,
    /// The offset in the pattern of the bytes it receives.
    receive_shift: usize,
    pub(crate) sent: usize,
    pub(crate) received: usize,
    /// The number of bytes to send.
    pub(crate) total: usize,
    /// Whether to half-close the connection after the last byte.
    pub(crate) half_close: bool,
    /// Whether to leave received bytes unread.
    pub(crate) deaf: bool,
    pub(crate) ended: bool,
}

/// How a turn ended.
enum Turn {
    /// Both directions are blocked, so an event follows.
    Wait,
    /// Stopped to be fair to the others.
    Again,
}

/// Connections, and the poller they are registered with.
pub(crate) struct Client<H: Host> {
    host: H,
    poller: H::Poller,
    pub(crate) exchanges: Vec<Exchange<H::Stream>>,
    unfinished: Vec<usize>,
}

impl<H: Host> Client<H> {
    pub(crate) fn new(host: &H) -> Client<H> {
        let poller = host.poller().expect("a poller");
        Client { host: host.clone(), poller, exchanges: Vec::new(), unfinished: Vec::new() }
    }

    /// Opens one more connection and returns its index.
    pub(crate) fn connect(&mut self, addr: SocketAddr, total: usize) -> usize {
        let index = self.exchanges.len();
        let shift = index * 7919 % PATTERN_BYTES;
        let mut stream = self.host.connect(addr).expect("the server listens");
        self.poller.registrar().add(&mut stream, Token(index as u64)).expect("registers");
        self.exchanges.push(Exchange {
            stream,
            shift,
            receive_shift: shift,
            sent: 0,
            received: 0,
            total,
            half_close: false,
            deaf: false,
            ended: false,
        });
        index
    }

    /// Makes each pair of connections expect each other's bytes instead of its own.
    pub(crate) fn pair_up(&mut self) {
        for pair in self.exchanges.chunks_exact_mut(2) {
            (pair[0].receive_shift, pair[1].receive_shift) = (pair[1].shift, pair[0].shift);
        }
    }

    /// Removes the last connection from the poller.
    pub(crate) fn take(&mut self) -> H::Stream {
        let exchange = self.exchanges.pop().expect("there is one");
        self.unfinished.retain(|index| *index < self.exchanges.len());
        self.poller.registrar().remove(&exchange.stream).expect("was registered");
        exchange.stream
    }

    /// Drives the connections until `done`.
    pub(crate) fn run_until(&mut self, mut done: impl FnMut(&[Exchange<H::Stream>]) -> bool) {
        while !done(&self.exchanges) {
            let progress = self.step(TIMEOUT);
            assert!(progress, "nothing happened for {TIMEOUT:?}: {}", self.describe());
        }
    }

    /// Drives the connections until nothing happens for the given time.
    pub(crate) fn run_until_quiet(&mut self, quiet: std::time::Duration) {
        while self.step(quiet) {}
    }

    /// Serves a connection without an event; call it after changing the connection.
    pub(crate) fn resume(&mut self, index: usize) {
        self.unfinished.push(index);
    }

    fn step(&mut self, timeout_max: std::time::Duration) -> bool {
        let mut events: Vec<Event> = Vec::new();
        let timeout = if self.unfinished.is_empty() { timeout_max } else { std::time::Duration::ZERO };
        self.poller.wait(&mut events, Some(timeout)).expect("waits");
        let mut todo = std::mem::take(&mut self.unfinished);
        todo.extend(events.iter().filter_map(|event| usize::try_from(event.token.0).ok()));
        let something = !todo.is_empty();
        let mut scratch = vec![0; CHUNK_BYTES_MAX];
        for index in todo {
            // The event is older than the removal of its connection.
            let Some(exchange) = self.exchanges.get_mut(index) else {
                continue;
            };
            if let Turn::Again = exchange.turn(&mut scratch) {
                self.unfinished.push(index);
            }
        }
        something
    }

    fn describe(&self) -> String {
        let exchanges = self
            .exchanges
            .iter()
            .map(|exchange| format!("sent {} received {} of {}", exchange.sent, exchange.received, exchange.total));
        exchanges.collect::<Vec<_>>().join(", ")
    }
}

impl<S: Stream> Exchange<S> {
    pub(crate) fn finished(&self) -> bool {
        self.received == self.total && (self.ended || !self.half_close)
    }

    fn turn(&mut self, scratch: &mut [u8]) -> Turn {
        let (mut may_send, mut may_recv) = (true, true);
        for _ in 0..STEPS_PER_TURN_MAX {
            may_send = may_send && self.send();
            may_recv = may_recv && self.recv(scratch);
            if !may_send && !may_recv {
                return Turn::Wait;
            }
        }
        Turn::Again
    }

    /// Whether the socket may accept more bytes.
    fn send(&mut self) -> bool {
        if self.sent == self.total {
            return false;
        }
        let len = CHUNK_BYTES_MAX.min(self.total - self.sent);
        let chunk = &PATTERN[(self.shift + self.sent) % PATTERN_BYTES..][..len];
        let sent = match self.stream.send(chunk) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            result => result.expect("the server takes everything"),
        };
        self.sent += sent;
        if self.sent == self.total && self.half_close {
            self.stream.shutdown(Shutdown::Write).expect("shuts down");
        }
        sent == len
    }

    /// Whether there may be more bytes to read.
    fn recv(&mut self, scratch: &mut [u8]) -> bool {
        if self.deaf || self.ended {
            return false;
        }
        let len = match self.stream.recv(scratch) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            result => result.expect("the server does not fail"),
        };
        if len == 0 {
            assert!(self.half_close, "the stream ended after {} of {}", self.received, self.total);
            self.ended = true;
            return false;
        }
        assert!(self.received + len <= self.total, "more came than was sent");
        let expected = &PATTERN[(self.receive_shift + self.received) % PATTERN_BYTES..][..len];
        assert!(scratch[..len] == *expected, "what came back differs after {} bytes", self.received);
        self.received += len;
        len == scratch.len()
    }
}
