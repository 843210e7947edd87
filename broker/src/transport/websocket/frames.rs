//! Frames of WebSocket (RFC 6455, section 5): the bytes of its binary messages out of a peer's bytes, where they lie.
//!
//! MQTT's packets may span frames, and frames may hold several, so all payloads are one stream of bytes. They are unmasked
//! and moved together to the front of the buffer:
//!
//! ```text
//! received  [ header | payload | header | ping | header | payl ]
//! left      [ payload | payl ]                                      and a pong among the replies
//! ```

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The longest payload of a control frame.
const CONTROL_BYTES_MAX: u64 = 125;

/// The longest header: two bytes, a length of eight and a mask of four.
const HEADER_BYTES_MAX: usize = 14;

/// Most bytes of replies that wait. A peer that pings and reads nothing gets no more pongs.
const REPLY_BYTES_MAX: usize = 4 * 1024;

/// Reads the frames of a client.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The beginning of a header.
    header: Vec<u8>,
    frame: Option<Frame>,
    /// The received part of the payload of a control frame.
    control: Vec<u8>,
    /// A message has begun, and its last frame has not come.
    is_fragmented: bool,
    /// The peer has sent its close frame.
    is_closed: bool,
}

/// A frame whose payload is being read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: Kind,
    left: u64,
    /// Turned so that the next byte takes the first byte of it.
    mask: [u8; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Ping,
    Pong,
    Close,
}

/// Why a client's frames are refused, for the log, and the code for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

impl Refusal {
    fn protocol(reason: &'static str) -> Self {
        Self { code: CloseCode::Protocol.into(), reason }
    }
}

impl Frames {
    /// Decodes `bytes`: returns how many bytes of messages are at the front of it now. Pongs and the answer to a close frame
    /// are added to `replies`.
    pub(super) fn decode(&mut self, bytes: &mut [u8], replies: &mut Vec<u8>) -> Result<usize, Refusal> {
        let (mut at, mut filled) = (0, 0);
        while at < bytes.len() && !self.is_closed {
            let Some(frame) = &mut self.frame else {
                at += self.read_header(&bytes[at..])?;
                self.finish_frame(replies)?;
                continue;
            };
            let count = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len() - at);
            let payload = &mut bytes[at..at + count];
            unmask(payload, frame.mask);
            frame.mask.rotate_left(count % 4);
            frame.left -= count as u64;
            if frame.kind == Kind::Data {
                bytes.copy_within(at..at + count, filled);
                filled += count;
            } else {
                self.control.extend_from_slice(payload);
            }
            at += count;
            self.finish_frame(replies)?;
        }
        Ok(filled)
    }

    /// Whether the peer has closed, and was answered.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes the header, or a part of it, from `bytes`, and returns how many of them it took.
    fn read_header(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let held = self.header.len();
        let more = bytes.len().min(HEADER_BYTES_MAX - held);
        let parsed = if held == 0 {
            parse(bytes)?
        } else {
            self.header.extend_from_slice(&bytes[..more]);
            parse(&self.header)?
        };
        let Some((header, length, used)) = parsed else {
            if held == 0 {
                self.header.extend_from_slice(bytes);
            }
            return Ok(more);
        };
        self.header = Vec::new();
        self.frame = Some(self.check(&header, length)?);
        Ok(used - held)
    }

    fn check(&mut self, header: &FrameHeader, length: u64) -> Result<Frame, Refusal> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Refusal::protocol("the client's WebSocket frame uses an extension"));
        }
        let Some(mask) = header.mask else {
            return Err(Refusal::protocol("the client's WebSocket frame is not masked"));
        };
        if length > i64::MAX as u64 {
            return Err(Refusal::protocol("the client's WebSocket frame has an impossible length"));
        }
        let kind = match header.opcode {
            OpCode::Data(Data::Continue) if self.is_fragmented => Kind::Data,
            OpCode::Data(Data::Binary) if !self.is_fragmented => Kind::Data,
            OpCode::Data(Data::Text) if !self.is_fragmented => {
                let code = CloseCode::Unsupported.into();
                return Err(Refusal { code, reason: "the client sent a text frame, and MQTT needs binary ones" });
            }
            OpCode::Data(_) => {
                return Err(Refusal::protocol("the client's WebSocket frame does not continue its message"));
            }
            OpCode::Control(control) => {
                if length > CONTROL_BYTES_MAX || !header.is_final {
                    return Err(Refusal::protocol("the client's WebSocket control frame is too long or fragmented"));
                }
                match control {
                    Control::Ping => Kind::Ping,
                    Control::Pong => Kind::Pong,
                    _ => Kind::Close,
                }
            }
        };
        if kind == Kind::Data {
            self.is_fragmented = !header.is_final;
        }
        Ok(Frame { kind, left: length, mask })
    }

    /// Acts on a frame whose payload is complete.
    fn finish_frame(&mut self, replies: &mut Vec<u8>) -> Result<(), Refusal> {
        let Some(frame) = self.frame.take_if(|frame| frame.left == 0) else { return Ok(()) };
        let control = std::mem::take(&mut self.control);
        match frame.kind {
            Kind::Data | Kind::Pong => {}
            Kind::Ping if replies.len() > REPLY_BYTES_MAX => {}
            Kind::Ping => append(OpCode::Control(Control::Pong), &control, replies),
            Kind::Close => {
                if !is_close_payload(&control) {
                    return Err(Refusal::protocol("the client's WebSocket close frame has an impossible code"));
                }
                append(OpCode::Control(Control::Close), &control[..control.len().min(2)], replies);
                self.is_closed = true;
            }
        }
        Ok(())
    }
}

/// The header, the length of the payload, and the length of the header; None if it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(FrameHeader, u64, usize)>, Refusal> {
    let mut cursor = Cursor::new(bytes);
    match FrameHeader::parse(&mut cursor) {
        Ok(parsed) => Ok(parsed.map(|(header, length)| (header, length, cursor.position() as usize))),
        Err(_) => Err(Refusal::protocol("the client's WebSocket frame is of an unknown kind")),
    }
}

/// A close frame has no payload, or a code that may be sent and a text (sections 5.5.1, 7.4).
fn is_close_payload(payload: &[u8]) -> bool {
    match payload {
        [] => true,
        [high, low, text @ ..] => {
            CloseCode::from(u16::from_be_bytes([*high, *low])).is_allowed() && std::str::from_utf8(text).is_ok()
        }
        _ => false,
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        let mut value = [0; 8];
        value.copy_from_slice(word);
        word.copy_from_slice(&(u64::from_ne_bytes(value) ^ wide).to_ne_bytes());
    }
    words.into_remainder().iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

/// Adds a frame of the server, which is not masked.
fn append(opcode: OpCode, payload: &[u8], to: &mut Vec<u8>) {
    append_header(opcode, payload.len() as u64, to);
    to.extend_from_slice(payload);
}

fn append_header(opcode: OpCode, length: u64, to: &mut Vec<u8>) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    header.format(length, to).expect("a vector takes all that is written");
}

/// Adds the header of a frame with `length` bytes of MQTT.
pub(super) fn append_data_header(length: usize, to: &mut Vec<u8>) {
    append_header(OpCode::Data(Data::Binary), length as u64, to);
}

/// Adds a close frame.
pub(super) fn append_close(code: u16, to: &mut Vec<u8>) {
    append(OpCode::Control(Control::Close), &code.to_be_bytes(), to);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A frame of a client.
    fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
        let opcode = OpCode::from(first & 0x0f);
        let header = FrameHeader { is_final: first & 0x80 != 0, opcode, mask: Some(mask), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        header.format(payload.len() as u64, &mut bytes).unwrap();
        let mut masked = payload.to_vec();
        unmask(&mut masked, mask);
        bytes.extend(masked);
        bytes
    }

    /// The messages and replies that come of `bytes`, cut at these places.
    fn decode(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<u8>, Result<bool, Refusal>) {
        let (mut frames, mut messages, mut replies) = (Frames::default(), Vec::new(), Vec::new());
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        for pair in places.windows(2) {
            let mut piece = bytes[pair[0]..pair[1]].to_vec();
            match frames.decode(&mut piece, &mut replies) {
                Ok(filled) => messages.extend_from_slice(&piece[..filled]),
                Err(refusal) => return (messages, replies, Err(refusal)),
            }
        }
        (messages, replies, Ok(frames.is_closed()))
    }

    /// A message in fragments, with pings and pongs between.
    fn message() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        let length = prop_oneof![Just(0), 1..130_usize, 65_530..65_540_usize];
        let fragment = (length.prop_flat_map(|length| vec(any::<u8>(), length)), vec(any::<u8>(), 0..4), any::<bool>());
        vec(fragment, 1..4).prop_map(|fragments| {
            let last = fragments.len() - 1;
            let frame = |(index, (payload, control, is_ping)): (usize, (Vec<u8>, Vec<u8>, bool))| {
                let opcode = if index == 0 { 2 } else { 0 };
                let fin = if index == last { 0x80 } else { 0 };
                [(if is_ping { 0x89 } else { 0x8a }, control), (opcode | fin, payload)]
            };
            fragments.into_iter().enumerate().flat_map(frame).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_give_the_same_bytes_however_they_are_cut(
            messages in vec(message(), 1..4),
            mask in any::<[u8; 4]>(),
            cuts in vec(any::<usize>(), 0..40),
        ) {
            let frames: Vec<(u8, Vec<u8>)> = messages.into_iter().flatten().collect();
            let bytes: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(*first, payload, mask)).collect();
            let payloads = |is_data: bool| frames.iter().filter(move |(first, _)| (first & 0x08 == 0) == is_data);
            let expected: Vec<u8> = payloads(true).flat_map(|(_, payload)| payload.clone()).collect();
            let mut pongs = Vec::new();
            for (_, payload) in payloads(false).filter(|(first, _)| *first == 0x89) {
                append(OpCode::Control(Control::Pong), payload, &mut pongs);
            }
            prop_assert_eq!(decode(&bytes, &cuts), (expected, pongs, Ok(false)));
        }

        #[test]
        fn any_bytes_end_the_same_however_they_are_cut(
            bytes in vec(any::<u8>(), 0..300),
            cuts in vec(any::<usize>(), 0..40),
        ) {
            let (whole, cut) = (decode(&bytes, &[]), decode(&bytes, &cuts));
            // Messages before a refusal in the same piece are not passed on.
            if whole.2.is_ok() {
                prop_assert_eq!(whole, cut);
            } else {
                prop_assert_eq!(whole.2, cut.2);
            }
        }
    }

    #[test]
    fn nothing_is_read_after_a_close_frame() {
        let mask = [1, 2, 3, 4];
        let close = frame(0x88, &[3, 232, b'b', b'y', b'e'], mask);
        let bytes = [frame(0x82, b"before", mask), close, frame(0x82, b"after", mask)].concat();
        assert_eq!(decode(&bytes, &[]), (b"before".to_vec(), vec![0x88, 2, 3, 232], Ok(true)));
    }

    #[test]
    fn a_client_that_pings_and_does_not_read_gets_no_more_pongs() {
        let ping = frame(0x89, &[7; 125], [0; 4]);
        let (_, replies, _) = decode(&ping.repeat(1_000), &[]);
        assert!(replies.len() <= REPLY_BYTES_MAX + 127, "{}", replies.len());
    }
}
