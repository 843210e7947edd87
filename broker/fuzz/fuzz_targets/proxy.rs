//! A connection to a listener behind a proxy that may send anything. The header has no I/O, so it is compiled from the broker's file
//! as it is.
//!
//! However the bytes are cut into pieces, the outcome and the bytes behind the header are the same.

#![no_main]

#[path = "../../src/transport/proxy/header.rs"]
mod header;

use header::{Client, Header};

/// The outcome, and how many bytes of it are the header's.
fn receive(bytes: &[u8], most: usize) -> (Result<Option<Client>, &'static str>, usize) {
    let (mut header, mut rest) = (Header::default(), bytes);
    while !rest.is_empty() {
        let missing = header.missing();
        assert!(missing > 0 && header.len() + missing <= 4096);
        let (piece, behind) = rest.split_at(missing.min(most).min(rest.len()));
        rest = behind;
        match header.add(piece) {
            Ok(None) => {}
            outcome => return (outcome, header.len()),
        }
    }
    (Ok(None), header.len())
}

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (most, bytes) = input;
    let (whole, cut) = (receive(bytes, bytes.len().max(1)), receive(bytes, usize::from(most.max(1))));
    assert_eq!(whole.0, cut.0);
    if let Ok(Some(_)) = whole.0 {
        assert_eq!(whole.1, cut.1);
    }
});
