//! WebSocket (RFC 6455) between the bytes of MQTT and the layer below, as MQTT uses it: binary frames, whose borders mean
//! nothing.
//!
//! The payloads of received frames are moved together where they lie. Frames of this client are masked, as the
//! specification demands, in the buffer that they are sent from.

mod upgrade;

use std::io::{self, Cursor};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use wisp_wire::ProtocolVersion;

use crate::error::{Error, Fault};
use crate::transport::layer::{ByteStream, Layer, Pending, Read};
use crate::transport::tls_options::TlsSession;
pub(super) use upgrade::Request;
use upgrade::Upgrade;

/// The longest payload of a frame that this client sends.
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// The longest payload of a control frame, in both directions.
const CONTROL_BYTES_MAX: u64 = 125;
/// The space for the answer to the request.
const ANSWER_BYTES: usize = 4096;

/// One WebSocket connection.
pub(super) struct WebSocket<L> {
    below: L,
    /// The handshake, until it is complete.
    upgrade: Option<Upgrade>,
    /// Bytes that came with the answer to the request.
    early: Vec<u8>,
    /// The beginning of a header.
    header: Vec<u8>,
    frame: Option<Frame>,
    /// The payload of a control frame.
    control: Vec<u8>,
    /// Whether the next data frame continues a message.
    is_fragmented: bool,
    /// Whether the peer has closed.
    is_ended: bool,
    /// Whether this side has sent its closing frame.
    is_closed: bool,
    output: Pending,
    random: fastrand::Rng,
}

/// The frame that is being received.
struct Frame {
    opcode: OpCode,
    /// Bytes of the payload that have not arrived.
    left: u64,
}

impl<L: Layer> WebSocket<L> {
    pub(super) fn start(below: L, request: &Request, version: ProtocolVersion) -> Self {
        let upgrade = Upgrade::new(request, version);
        let mut output = Pending::default();
        output.bytes.extend_from_slice(upgrade.request().as_bytes());
        Self { upgrade: Some(upgrade), output, ..Self::opened(below) }
    }
}

impl<L> WebSocket<L> {
    /// The state after the upgrade.
    fn opened(below: L) -> Self {
        Self {
            below,
            upgrade: None,
            early: Vec::new(),
            header: Vec::new(),
            frame: None,
            control: Vec::new(),
            is_fragmented: false,
            is_ended: false,
            is_closed: false,
            output: Pending::default(),
            random: fastrand::Rng::new(),
        }
    }

    /// Moves the payload of the data frames in `bytes` to their beginning, and returns its length.
    fn unframe(&mut self, bytes: &mut [u8]) -> Result<usize, Error> {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() && !self.is_ended {
            let Some(frame) = &mut self.frame else {
                at += self.take_header(&bytes[at..])?;
                continue;
            };
            let arrived = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len() - at);
            frame.left -= arrived as u64;
            if matches!(frame.opcode, OpCode::Data(_)) {
                bytes.copy_within(at..at + arrived, kept);
                kept += arrived;
            } else {
                self.control.extend_from_slice(&bytes[at..at + arrived]);
            }
            at += arrived;
            self.finish_frame()?;
        }
        Ok(kept)
    }

    /// Takes the bytes of a header and returns their number.
    fn take_header(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let begun = self.header.len();
        // A header has 10 bytes at most: a server does not mask.
        self.header.extend_from_slice(&bytes[..bytes.len().min(10 - begun)]);
        let mut cursor = Cursor::new(&self.header);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|error| violation(&error.to_string()))?;
        let Some((header, length)) = parsed else {
            return if self.header.len() < 10 {
                Ok(self.header.len() - begun)
            } else {
                Err(violation("it masked a frame, which a server must not"))
            };
        };
        // The header of before was incomplete, so this one ends in the new bytes.
        let used = cursor.position() as usize - begun;
        self.header.clear();
        self.begin_frame(&header, length)?;
        Ok(used)
    }

    fn begin_frame(&mut self, header: &FrameHeader, length: u64) -> Result<(), Error> {
        if header.mask.is_some() {
            return Err(violation("it masked a frame, which a server must not"));
        }
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(violation("it set reserved bits of a frame"));
        }
        match header.opcode {
            OpCode::Data(Data::Text) => return Err(violation("it sent a text frame, and MQTT is binary")),
            OpCode::Data(Data::Continue) if !self.is_fragmented => {
                return Err(violation("it continued a message that it had not begun"));
            }
            OpCode::Data(Data::Binary) if self.is_fragmented => {
                return Err(violation("it began a message within a message"));
            }
            OpCode::Data(_) => self.is_fragmented = !header.is_final,
            OpCode::Control(_) if length > CONTROL_BYTES_MAX || !header.is_final => {
                return Err(violation("it sent a control frame that is too long or in parts"));
            }
            OpCode::Control(_) => {}
        }
        self.frame = Some(Frame { opcode: header.opcode, left: length });
        self.finish_frame()
    }

    /// Handles the frame if all of it has arrived.
    fn finish_frame(&mut self) -> Result<(), Error> {
        let Some(Frame { opcode, left: 0 }) = self.frame else { return Ok(()) };
        self.frame = None;
        let payload = std::mem::take(&mut self.control);
        match opcode {
            OpCode::Control(Control::Ping) => self.queue(OpCode::Control(Control::Pong), &payload),
            OpCode::Control(Control::Close) => {
                self.is_ended = true;
                self.queue_close(&payload[..payload.len().min(2)]);
                return close_reason(&payload).map_or(Ok(()), Err);
            }
            _ => {}
        }
        Ok(())
    }

    /// Queues a frame.
    fn queue(&mut self, opcode: OpCode, payload: &[u8]) {
        if self.is_closed {
            return;
        }
        let mask = self.random.u32(..).to_ne_bytes();
        let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
        let output = &mut self.output.bytes;
        header.format(payload.len() as u64, output).expect("a vector accepts every byte");
        let begin = output.len();
        output.extend_from_slice(payload);
        apply_mask(&mut output[begin..], mask);
    }

    fn queue_close(&mut self, code: &[u8]) {
        self.queue(OpCode::Control(Control::Close), code);
        self.is_closed = true;
    }
}

/// Combines a payload with its mask.
fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask, mask].concat().try_into().expect("twice four bytes are eight"));
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        let masked = u64::from_ne_bytes((&*word).try_into().expect("a chunk has eight bytes")) ^ wide;
        word.copy_from_slice(&masked.to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// The error that a closing frame with this payload tells of. A normal end, or one without a code, is none.
fn close_reason(payload: &[u8]) -> Option<Error> {
    let (code, reason) = payload.split_first_chunk::<2>()?;
    let code = u16::from_be_bytes(*code);
    if matches!(code, 1000 | 1001) {
        return None;
    }
    let reason = String::from_utf8_lossy(reason);
    let text = if reason.is_empty() {
        format!("the broker closed the WebSocket connection with code {code}")
    } else {
        // The broker wrote this text: its control characters must not reach a terminal.
        format!("the broker closed the WebSocket connection with code {code} ({})", reason.escape_debug())
    };
    Some(Error::WebSocket { fault: Fault::Broker, text })
}

fn violation(rule: &str) -> Error {
    Error::WebSocket { fault: Fault::Broker, text: format!("the broker violated WebSocket: {rule}") }
}

impl<L: Layer> ByteStream for WebSocket<L> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        loop {
            if self.is_ended {
                return Ok(Read { bytes: 0, more: false });
            }
            let Read { bytes, more } = if self.early.is_empty() {
                self.below.read(buffer)?
            } else {
                let bytes = self.early.len().min(buffer.len());
                buffer[..bytes].copy_from_slice(&self.early[..bytes]);
                self.early.drain(..bytes);
                Read { bytes, more: true }
            };
            if bytes == 0 {
                return Ok(Read { bytes: 0, more: false });
            }
            let unframed = self.unframe(&mut buffer[..bytes]);
            // An answer to a control frame. If the socket is full or broken, the next write tells.
            let _ = self.output.flush(&mut self.below);
            let bytes = unframed.map_err(io::Error::other)?;
            if bytes > 0 {
                return Ok(Read { bytes, more: more || self.is_ended });
            }
            if !more && !self.is_ended {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.output.flush(&mut self.below)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if bytes.is_empty() {
            // The layer below may have bytes of its own.
            return self.below.write(bytes);
        }
        if self.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut accepted = 0;
        for piece in bytes.chunks(FRAME_BYTES_MAX) {
            self.queue(OpCode::Data(Data::Binary), piece);
            accepted += piece.len();
            if !self.output.flush(&mut self.below)? {
                break;
            }
        }
        Ok(accepted)
    }

    fn unsent_bytes(&self) -> usize {
        self.output.unsent() + self.below.unsent_bytes()
    }
}

impl<L: Layer> Layer for WebSocket<L> {
    type Socket = L::Socket;

    fn socket(&self) -> &L::Socket {
        self.below.socket()
    }

    fn socket_mut(&mut self) -> &mut L::Socket {
        self.below.socket_mut()
    }

    fn open(&mut self) -> io::Result<bool> {
        if !self.below.open()? {
            return Ok(false);
        }
        while let Some(upgrade) = &mut self.upgrade {
            if !self.output.flush(&mut self.below)? {
                return Ok(false);
            }
            let mut answer = [0; ANSWER_BYTES];
            let bytes = match self.below.read(&mut answer) {
                Ok(Read { bytes, .. }) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // A reset is how many programs refuse bytes of another protocol.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(error),
            };
            if bytes == 0 {
                return Err(io::Error::other(upgrade.ended()));
            }
            if let Some(early) = upgrade.take(&answer[..bytes]).map_err(io::Error::other)? {
                self.early = early;
                self.upgrade = None;
            }
        }
        Ok(true)
    }

    fn finish_writing(&mut self) {
        if !self.is_closed {
            self.queue_close(&1000u16.to_be_bytes());
        }
        // A failure means that the connection has ended already.
        let _ = self.output.flush(&mut self.below);
        self.below.finish_writing();
    }

    fn tls_session(&self) -> Option<TlsSession> {
        self.below.tls_session()
    }
}

#[cfg(test)]
mod tests;
