//! A transport that changes bytes and timing. The bytes are masked, so that none can bypass it. A receive returns few
//! bytes, which says nothing about the number left; a send takes few; and both are sometimes delayed although the
//! socket is ready.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use wisp_engine::Received;
use wisp_net::{Event, Stream, Token};

use super::{Rng, lock};

/// The mask that is combined with every byte on the wire.
pub(super) const MASK: u8 = 0xa5;

/// The shared state of a run's transports: how they behave, and the events they owe.
#[derive(Debug)]
pub(crate) struct Network(Mutex<State>);

#[derive(Debug)]
struct State {
    rng: Rng,
    turn: u64,
    /// Most bytes handed out or taken at once.
    piece_bytes_max: u64,
    /// When an event is due.
    owed: Vec<(u64, Event)>,
}

impl Network {
    pub(super) fn new(rng: Rng, piece_bytes_max: u64) -> Self {
        Self(Mutex::new(State { rng, turn: 0, piece_bytes_max, owed: Vec::new() }))
    }

    /// The events that are due in this turn.
    pub(super) fn due(&self, turn: u64) -> Vec<Event> {
        let mut state = lock(&self.0);
        state.turn = turn;
        let (due, owed) = state.owed.drain(..).partition(|(when, _)| *when <= turn);
        state.owed = owed;
        let due: Vec<(u64, Event)> = due;
        due.into_iter().map(|(_, event)| event).collect()
    }
}

impl State {
    fn piece(&mut self, available: usize) -> usize {
        (1 + self.rng.below(self.piece_bytes_max) as usize).min(available)
    }

    fn owe(&mut self, event: Event) {
        let due = self.turn + 1 + self.rng.below(4);
        self.owed.push((due, event));
    }
}

/// The transport of one connection.
#[derive(Debug)]
pub(crate) struct Splitting<S> {
    stream: S,
    token: Token,
    network: Arc<Network>,
    held: Mutex<Held>,
}

/// Bytes received from the socket and not yet passed on.
#[derive(Debug, Default)]
struct Held {
    bytes: VecDeque<u8>,
    /// The socket has been read empty. An event announces more bytes.
    is_drained: bool,
    end: Option<Received>,
}

impl<S: Stream> Splitting<S> {
    pub(crate) fn new(stream: S, token: Token, network: &Arc<Network>) -> Self {
        Self { stream, token, network: Arc::clone(network), held: Mutex::default() }
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Received {
        let (mut network, mut held) = (lock(&self.network.0), lock(&self.held));
        if network.rng.one_in(6) {
            network.owe(Event { token: self.token, readable: true, writable: false });
            return Received::WouldBlock;
        }
        self.fill(&mut held);
        let count = network.piece(held.bytes.len().min(buffer.len()));
        if count == 0 {
            return held.end.unwrap_or(Received::WouldBlock);
        }
        buffer.iter_mut().zip(held.bytes.drain(..count)).for_each(|(to, byte)| *to = byte ^ MASK);
        Received::Bytes { count, more: !held.bytes.is_empty() || !held.is_drained || held.end.is_some() }
    }

    /// Receives once from the socket.
    fn fill(&self, held: &mut Held) {
        let mut buffer = [0; 256];
        match self.stream.recv(&mut buffer) {
            Ok(0) => held.end = Some(Received::Closed),
            Ok(count) => {
                held.bytes.extend(&buffer[..count]);
                held.is_drained = count < buffer.len();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => held.is_drained = true,
            Err(_) => held.end = Some(Received::Failed),
        }
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut network = lock(&self.network.0);
        let writable = Event { token: self.token, readable: false, writable: true };
        if network.rng.one_in(6) {
            network.owe(writable);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let piece = network.piece(bytes.len());
        let masked: Vec<u8> = bytes[..piece].iter().map(|byte| byte ^ MASK).collect();
        let sent = self.stream.send(&masked)?;
        if sent == piece && piece < bytes.len() {
            // The socket is writable, so it causes no event.
            network.owe(writable);
        }
        Ok(sent)
    }
}
