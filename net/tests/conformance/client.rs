//! The other side of the echo: connections that send a known pattern and compare what comes back.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::LazyLock;

use wisp_net::{Event, Host, Poller, Registrar, Stream, Token};

use crate::server::PATIENCE;

/// The pattern repeats after a prime number of bytes, so that no power of two hides a shift.
const PATTERN_BYTES: usize = 1_000_003;
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Reads and writes of one connection before the others have their turn.
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
pub(crate) struct Talk<S> {
    pub(crate) stream: S,
    /// Where in the pattern this connection begins, so that connections differ.
    shift: usize,
    /// Where in the pattern what it receives begins.
    shift_heard: usize,
    pub(crate) sent: usize,
    pub(crate) received: usize,
    /// How much to send in all.
    pub(crate) total: usize,
    /// Whether to say by a half-close that all is sent.
    pub(crate) half_close: bool,
    /// Whether to leave unread what comes back.
    pub(crate) deaf: bool,
    pub(crate) ended: bool,
}

/// How a turn ended.
enum Turn {
    /// Blocked both ways, so an event comes.
    Wait,
    /// Stopped to be fair.
    GoOn,
}

/// Connections and the poller they are registered with.
pub(crate) struct Client<H: Host> {
    host: H,
    poller: H::Poller,
    pub(crate) talks: Vec<Talk<H::Stream>>,
    unfinished: Vec<usize>,
}

impl<H: Host> Client<H> {
    pub(crate) fn new(host: &H) -> Client<H> {
        let poller = host.poller().expect("a poller");
        Client { host: host.clone(), poller, talks: Vec::new(), unfinished: Vec::new() }
    }

    /// Connects once more and gives the connection's index.
    pub(crate) fn connect(&mut self, addr: SocketAddr, total: usize) -> usize {
        let index = self.talks.len();
        let shift = index * 7919 % PATTERN_BYTES;
        let mut stream = self.host.connect(addr).expect("the server listens");
        self.poller.registrar().add(&mut stream, Token(index as u64)).expect("registers");
        self.talks.push(Talk {
            stream,
            shift,
            shift_heard: shift,
            sent: 0,
            received: 0,
            total,
            half_close: false,
            deaf: false,
            ended: false,
        });
        index
    }

    /// Lets each two connections hear each other instead of themselves.
    pub(crate) fn pair_up(&mut self) {
        for pair in self.talks.chunks_exact_mut(2) {
            (pair[0].shift_heard, pair[1].shift_heard) = (pair[1].shift, pair[0].shift);
        }
    }

    /// Takes the last connection away from the poller.
    pub(crate) fn take(&mut self) -> H::Stream {
        let talk = self.talks.pop().expect("there is one");
        self.unfinished.retain(|index| *index < self.talks.len());
        self.poller.registrar().remove(&talk.stream).expect("was registered");
        talk.stream
    }

    /// Lets the connections talk until `done`.
    pub(crate) fn run_until(&mut self, mut done: impl FnMut(&[Talk<H::Stream>]) -> bool) {
        while !done(&self.talks) {
            let progress = self.step(PATIENCE);
            assert!(progress, "nothing happened for {PATIENCE:?}: {}", self.describe());
        }
    }

    /// Lets the connections talk until nothing happens for the given time.
    pub(crate) fn run_until_quiet(&mut self, quiet: std::time::Duration) {
        while self.step(quiet) {}
    }

    /// Lets a deaf connection hear and a finished one go on: to be called after changing a talk.
    pub(crate) fn nudge(&mut self, index: usize) {
        self.unfinished.push(index);
    }

    fn step(&mut self, patience: std::time::Duration) -> bool {
        let mut events: Vec<Event> = Vec::new();
        let timeout = if self.unfinished.is_empty() { patience } else { std::time::Duration::ZERO };
        self.poller.wait(&mut events, Some(timeout)).expect("waits");
        let mut todo = std::mem::take(&mut self.unfinished);
        todo.extend(events.iter().filter_map(|event| usize::try_from(event.token.0).ok()));
        let something = !todo.is_empty();
        let mut scratch = vec![0; CHUNK_BYTES_MAX];
        for index in todo {
            // An event that was given out before its connection was taken away names nobody.
            let Some(talk) = self.talks.get_mut(index) else {
                continue;
            };
            if let Turn::GoOn = talk.turn(&mut scratch) {
                self.unfinished.push(index);
            }
        }
        something
    }

    fn describe(&self) -> String {
        let talks =
            self.talks.iter().map(|talk| format!("sent {} received {} of {}", talk.sent, talk.received, talk.total));
        talks.collect::<Vec<_>>().join(", ")
    }
}

impl<S: Stream> Talk<S> {
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
        Turn::GoOn
    }

    /// Whether there may be room for more.
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

    /// Whether there may be more to read.
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
        let expected = &PATTERN[(self.shift_heard + self.received) % PATTERN_BYTES..][..len];
        assert!(scratch[..len] == *expected, "what came back differs after {} bytes", self.received);
        self.received += len;
        len == scratch.len()
    }
}
