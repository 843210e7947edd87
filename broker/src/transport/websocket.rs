//! WebSocket on one connection: MQTT's bytes in binary frames, over a plain socket or over TLS.
//!
//! The frames that the client sends are decoded where they were received. A send is one frame, however the socket divides it:
//! the rest of a header is kept, and the caller presents the rest of the payload again with the next send.

mod frames;
mod handshake;

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;

use wisp_engine::sync::{Mutex, rank};
use wisp_engine::{OtherProtocol, Received};
use wisp_net::Stream;

use self::frames::{Frames, append_close, append_data_header};
use self::handshake::Handshake;
pub use self::handshake::WebSocketSettings;
use super::lower::Lower;
use super::turn::Turn;

/// Most bytes of a frame that are copied behind its header, to send both at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Receives in a row that yield nothing for the engine. A client could ping for ever.
const FRUITLESS_RECEIVES_MAX: usize = 4;

/// The code of a close frame without a fault.
const CLOSE_NORMAL: u16 = 1000;

thread_local! {
    static PIECE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// WebSocket over a socket or TLS.
#[derive(Debug)]
pub(crate) struct WebSocket<S> {
    below: Lower<S>,
    settings: Arc<WebSocketSettings>,
    state: Mutex<State, { rank::TRANSPORT }>,
}

#[derive(Debug, Default)]
struct State {
    /// The request, until it has ended.
    request: Vec<u8>,
    is_open: bool,
    frames: Frames,
    /// The first bytes to send: the rest of an answer, of control frames, or of a header.
    pending: Vec<u8>,
    /// Bytes of the caller that still belong to the frame that was begun.
    frame_left: usize,
    /// Control frames that wait for the end of the frame.
    replies: Vec<u8>,
    has_closed: bool,
    end: Option<Received>,
}

impl<S: Stream> WebSocket<S> {
    pub(crate) fn new(below: Lower<S>, settings: &Arc<WebSocketSettings>) -> Self {
        Self { below, settings: Arc::clone(settings), state: Mutex::default() }
    }

    pub(crate) fn stream(&self) -> &S {
        self.below.stream()
    }

    pub(crate) fn receive(&self, buffer: &mut [u8], turn: &mut Turn) -> Received {
        let mut state = self.state.lock();
        for _ in 0..FRUITLESS_RECEIVES_MAX {
            if let Some(end) = state.end {
                return end;
            }
            let (count, more) = match self.below.receive(buffer, turn) {
                Received::Bytes { count, more } => (count, more),
                nothing => return nothing,
            };
            let filled = if state.is_open {
                state.decode(&mut buffer[..count])
            } else {
                state.open(&mut buffer[..count], &self.settings)
            };
            if !state.is_open {
                turn.note.get_or_insert_default().held_bytes = state.request.len();
            } else if let Some(note) = &mut turn.note {
                note.held_bytes = 0;
            }
            // An error shows at the next receive.
            let _ = state.send_control(&self.below);
            if filled > 0 {
                return Received::Bytes { count: filled, more: more || state.end.is_some() };
            }
            if !more && state.end.is_none() {
                return Received::WouldBlock;
            }
        }
        turn.again = true;
        Received::WouldBlock
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.state.lock().send(&self.below, bytes)
    }

    /// The socket is writable again. Sends the rest of control frames, of which the caller knows nothing.
    pub(crate) fn writable(&self) {
        let mut state = self.state.lock();
        self.below.writable();
        let _ = state.send_control(&self.below);
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            self.close();
        }
        self.below.shutdown(how)
    }

    /// Tells the peer that nothing follows, if the socket takes it.
    pub(crate) fn end(&self) {
        self.close();
        self.below.end();
    }

    fn close(&self) {
        let mut state = self.state.lock();
        if state.is_open && !state.has_closed {
            state.has_closed = true;
            append_close(CLOSE_NORMAL, &mut state.replies);
            let _ = state.send_control(&self.below);
        }
    }
}

impl State {
    /// Reads the request. Returns how many bytes of messages behind it are at the front of `bytes`.
    fn open(&mut self, bytes: &mut [u8], settings: &WebSocketSettings) -> usize {
        if self.request.is_empty()
            && let Some(reason) = other_protocol(bytes)
        {
            self.end = Some(Received::Rejected(reason));
            return 0;
        }
        self.request.extend_from_slice(bytes);
        match settings.answer(&self.request) {
            Handshake::Incomplete => 0,
            Handshake::Refused(answer, reason) => {
                self.request = Vec::new();
                self.replies.extend_from_slice(&answer);
                self.end = Some(Received::Rejected(reason));
                0
            }
            Handshake::Accepted(length, answer) => {
                let request = std::mem::take(&mut self.request);
                self.replies.extend_from_slice(&answer);
                self.is_open = true;
                // They came with the last bytes of the request.
                let rest = &request[length..];
                bytes[..rest.len()].copy_from_slice(rest);
                self.decode(&mut bytes[..rest.len()])
            }
        }
    }

    fn decode(&mut self, bytes: &mut [u8]) -> usize {
        match self.frames.decode(bytes, &mut self.replies) {
            Ok(filled) => {
                if self.frames.is_closed() {
                    self.has_closed = true;
                    self.end = Some(Received::Closed);
                }
                filled
            }
            Err(refusal) => {
                self.has_closed = true;
                append_close(refusal.code, &mut self.replies);
                self.end = Some(Received::Rejected(refusal.reason));
                0
            }
        }
    }

    fn send<S: Stream>(&mut self, below: &Lower<S>, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while self.is_open {
            if self.pending.is_empty() && self.frame_left == 0 {
                if !self.replies.is_empty() {
                    self.pending = std::mem::take(&mut self.replies);
                } else if sent == bytes.len() {
                    return Ok(sent);
                } else {
                    self.frame_left = bytes.len() - sent;
                    append_data_header(self.frame_left, &mut self.pending);
                }
            }
            let piece = &bytes[sent..sent + self.frame_left.min(bytes.len() - sent).min(PIECE_BYTES)];
            let presented = self.pending.len() + piece.len();
            let taken = self.present(below, piece)?;
            let of_pending = taken.min(self.pending.len());
            self.pending.drain(..of_pending);
            if self.pending.is_empty() {
                self.pending = Vec::new();
            }
            sent += taken - of_pending;
            self.frame_left -= taken - of_pending;
            if taken < presented {
                break;
            }
        }
        // The socket is full, or nothing may be sent before the answer to the request.
        if sent == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }

    /// Sends the pending bytes and then `piece`. Returns how many bytes of both were taken.
    fn present<S: Stream>(&self, below: &Lower<S>, piece: &[u8]) -> io::Result<usize> {
        let sent = if self.pending.is_empty() {
            below.send(piece)
        } else {
            PIECE.with_borrow_mut(|both| {
                both.clear();
                both.extend_from_slice(&self.pending);
                both.extend_from_slice(piece);
                below.send(both)
            })
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            sent => sent,
        }
    }

    /// Sends the answer to the request and control frames, unless a frame of the caller is not complete.
    fn send_control<S: Stream>(&mut self, below: &Lower<S>) -> io::Result<()> {
        while self.frame_left == 0 {
            if self.pending.is_empty() {
                self.pending = std::mem::take(&mut self.replies);
            }
            if self.pending.is_empty() {
                break;
            }
            let taken = self.present(below, &[])?;
            self.pending.drain(..taken);
            if taken == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// The reason to refuse a client whose first bytes are not HTTP.
fn other_protocol(first: &[u8]) -> Option<&'static str> {
    /// The first byte of MQTT's CONNECT.
    const CONNECT: u8 = 0x10;
    match first.first() {
        Some(&CONNECT) => Some("the client sent MQTT without WebSocket, and the listener has WebSocket: use ws or wss"),
        _ if OtherProtocol::of(first) == Some(OtherProtocol::Tls) => {
            Some("the client sent TLS, and the listener has WebSocket without TLS: use ws")
        }
        _ => None,
    }
}
