//! A client of WebSocket that may send anything: a request, and frames behind it. They have no I/O, so they are compiled from
//! the broker's files as they are.
//!
//! However the bytes are cut into pieces, the answer to the request, the messages and the outcome are the same.

#![no_main]

#[path = "../../src/transport/websocket/frames.rs"]
#[allow(dead_code, reason = "what the broker sends is not fuzzed")]
mod frames;
#[path = "../../src/transport/websocket/handshake.rs"]
#[allow(unreachable_pub, reason = "it is public in the broker")]
mod handshake;

use frames::{Frames, Refusal};
use handshake::{Handshake, WebSocketSettings};

/// Messages, replies without the last refusal's close, and the outcome.
fn decode(bytes: &[u8], pieces: usize) -> (Vec<u8>, Vec<u8>, Result<bool, Refusal>) {
    let (mut frames, mut messages, mut replies) = (Frames::default(), Vec::new(), Vec::new());
    for piece in bytes.chunks(pieces.max(1)) {
        let mut piece = piece.to_vec();
        match frames.decode(&mut piece, &mut replies) {
            Ok(filled) => messages.extend_from_slice(&piece[..filled]),
            Err(refusal) => return (messages, replies, Err(refusal)),
        }
    }
    (messages, replies, Ok(frames.is_closed()))
}

libfuzzer_sys::fuzz_target!(|input: (u8, bool, &[u8])| {
    let (pieces, is_request, bytes) = input;
    if is_request {
        let settings = WebSocketSettings::default();
        let whole = settings.answer(bytes);
        let first = (0..=bytes.len()).map(|end| settings.answer(&bytes[..end])).find(|one| *one != Handshake::Incomplete);
        if let Handshake::Accepted(length, _) = &whole {
            assert!(*length <= bytes.len());
            assert_eq!(first.as_ref(), Some(&whole), "the request ends where it ends");
        }
        return;
    }
    let (whole, cut) = (decode(bytes, bytes.len()), decode(bytes, usize::from(pieces)));
    assert!(whole.0.len() + cut.0.len() <= 2 * bytes.len());
    assert_eq!(whole.2, cut.2);
    if whole.2.is_ok() {
        assert_eq!((whole.0, whole.1), (cut.0, cut.1));
    }
});
