//! One direction of a connection of the in-memory host: a bounded queue of bytes, with an
//! edge-triggered event at each end.

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;

use super::lock;
use super::poller::{Direction, Edge, Target};

pub(super) struct Pipe(Mutex<State>);

struct State {
    bytes: VecDeque<u8>,
    bytes_max: usize,
    /// The writer has closed: the reader gets the remaining bytes, then the end.
    ended: bool,
    reader: ReaderState,
    reader_edge: Edge,
    writer_edge: Edge,
}

/// The state of the reading end.
#[derive(PartialEq, Eq)]
enum ReaderState {
    Reads,
    /// The reader was shut down: it sees the end, and written bytes vanish, as in TCP.
    Ignores,
    /// The reader was dropped: the writer gets a reset.
    Gone,
    /// The connection was reset.
    Reset,
}

impl Pipe {
    pub(super) fn new(bytes_max: usize) -> Pipe {
        Pipe(Mutex::new(State {
            bytes: VecDeque::new(),
            bytes_max,
            ended: false,
            reader: ReaderState::Reads,
            reader_edge: Edge::new(Direction::Read),
            writer_edge: Edge::new(Direction::Write),
        }))
    }

    pub(super) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = lock(&self.0);
        match state.reader {
            ReaderState::Reads => {}
            ReaderState::Ignores => return Ok(0),
            ReaderState::Gone | ReaderState::Reset => {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        let len = state.read_into(buffer);
        if len < buffer.len() {
            state.reader_edge.arm();
            if len > 0 && state.ended {
                state.reader_edge.fire();
            }
        }
        if len > 0 {
            state.writer_edge.fire();
        } else if !state.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(len)
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = lock(&self.0);
        if matches!(state.reader, ReaderState::Gone | ReaderState::Reset) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if state.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if state.reader == ReaderState::Ignores {
            return Ok(bytes.len());
        }
        let len = bytes.len().min(state.room());
        state.bytes.extend(&bytes[..len]);
        if len < bytes.len() {
            state.writer_edge.arm();
        }
        if len > 0 {
            state.reader_edge.fire();
        } else if !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(len)
    }

    pub(super) fn stop_writing(&self) {
        let mut state = lock(&self.0);
        state.ended = true;
        state.reader_edge.fire();
    }

    /// The writer is dropped, its registration with it.
    pub(super) fn drop_writer(&self) {
        self.unwatch_writer();
        self.stop_writing();
    }

    pub(super) fn stop_reading(&self) {
        let mut state = lock(&self.0);
        if state.reader == ReaderState::Reads {
            state.reader = ReaderState::Ignores;
            state.bytes = VecDeque::new();
            state.writer_edge.fire();
        }
    }

    /// The reader is dropped, its registration with it.
    pub(super) fn drop_reader(&self) {
        self.unwatch_reader();
        let mut state = lock(&self.0);
        if state.reader != ReaderState::Reset {
            state.reader = ReaderState::Gone;
        }
        state.bytes = VecDeque::new();
        state.writer_edge.fire_always();
    }

    pub(super) fn reset(&self) {
        let mut state = lock(&self.0);
        state.reader = ReaderState::Reset;
        state.bytes = VecDeque::new();
        state.reader_edge.fire_always();
        state.writer_edge.fire_always();
    }

    pub(super) fn watch_reader(&self, target: Target) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.reader_edge.watch(target)?;
        if !state.bytes.is_empty() || state.ended || state.reader != ReaderState::Reads {
            state.reader_edge.fire();
        }
        Ok(())
    }

    pub(super) fn watch_writer(&self, target: Target) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.writer_edge.watch(target)?;
        if state.room() > 0 || state.ended || state.reader != ReaderState::Reads {
            state.writer_edge.fire();
        }
        Ok(())
    }

    pub(super) fn unwatch_reader(&self) -> Option<Target> {
        lock(&self.0).reader_edge.unwatch()
    }

    pub(super) fn unwatch_writer(&self) -> Option<Target> {
        lock(&self.0).writer_edge.unwatch()
    }
}

impl State {
    fn room(&self) -> usize {
        self.bytes_max - self.bytes.len()
    }

    fn read_into(&mut self, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(self.bytes.len());
        let (front, back) = self.bytes.as_slices();
        let front = &front[..len.min(front.len())];
        buffer[..front.len()].copy_from_slice(front);
        buffer[front.len()..len].copy_from_slice(&back[..len - front.len()]);
        self.bytes.drain(..len);
        len
    }
}
