//! Headers as haproxy and others send them, in pieces of every size.

use std::net::Shutdown;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

const V4: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x12\x67\x07\x5b";
/// With a note of three bytes behind the addresses.
const V6: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x27\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\
    \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x67\x07\x5b\x04\0\0";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

const HEADERS: [(&[u8], Option<&str>); 7] = [
    (b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 1883\r\n", Some("192.0.2.7:4711")),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 1883\r\n", Some("[2001:db8::7]:4711")),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (V4, Some("192.0.2.7:4711")),
    (V6, Some("[2001:db8::7]:4711")),
    (LOCAL, None),
];

const PROXY: &str = "203.0.113.5:50000";

/// A socket with these pieces in it: each receive gets a part of one at most.
#[derive(Debug)]
struct Pieces(Mutex<Vec<Vec<u8>>>);

impl Pieces {
    fn of(bytes: &[u8], length: usize) -> Self {
        Self(Mutex::new(bytes.chunks(length).rev().map(<[u8]>::to_vec).collect()))
    }
}

impl Stream for Pieces {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pieces = self.0.lock().unwrap();
        let Some(mut piece) = pieces.pop() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        piece.drain(..count);
        if !piece.is_empty() {
            pieces.push(piece);
        }
        Ok(count)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        Ok(())
    }

    fn set_nodelay(&self) -> io::Result<()> {
        Ok(())
    }
}

/// All bytes behind the header, the address, and the end.
fn receive(bytes: &[u8], length: usize) -> (Vec<u8>, Option<SocketAddr>, Received) {
    let (gate, stream) = (ProxyGate::new(PROXY.parse().ok()), Pieces::of(bytes, length));
    let mut turn = Turn::default();
    let received = gate.receive(&stream, &mut turn);
    let note = turn.note.expect("each receive has news");
    assert_eq!(turn.again, gate.is_open(), "the bytes behind a header are read next");
    assert!(note.held_bytes <= if gate.is_open() { 0 } else { bytes.len() }, "{note:?}");
    let mut rest = Vec::new();
    let mut piece = [0; 64];
    while gate.is_open()
        && let Ok(count) = stream.recv(&mut piece)
    {
        rest.extend_from_slice(&piece[..count]);
    }
    (rest, note.peer, received)
}

#[test]
fn a_header_is_read_in_pieces_of_every_length_and_nothing_behind_it() {
    for (header, address) in HEADERS {
        for rest in
            [&b""[..], b"\x10", b"\r\n\r\n\0PROXY and more than one piece of a buffer, which has sixty-four bytes"]
        {
            let bytes = [header, rest].concat();
            let expected = address.unwrap_or(PROXY).parse().ok();
            for length in 1..=bytes.len() {
                assert_eq!(receive(&bytes, length), (rest.to_vec(), expected, Received::WouldBlock), "{header:?}");
            }
        }
        // All of it but the last byte.
        let part = &header[..header.len() - 1];
        assert_eq!(receive(part, 7), (Vec::new(), None, Received::WouldBlock), "{header:?}");
    }
}

#[test]
fn anything_else_is_refused_as_soon_as_it_shows_with_the_address_of_the_socket() {
    let long = [&LOCAL[..14], &[0xff, 0xff]].concat();
    let endless = [&b"PROXY UNKNOWN "[..], &[b'f'; 200]].concat();
    let missing = "does not begin with a PROXY header";
    let cases: [(&[u8], &str); 10] = [
        (b"\x10", missing),
        (b"GET / HTTP/1.1\r\n", missing),
        (b"\x16\x03\x01", missing),
        (b"PROXY\n", missing),
        (b"\r\n\r\n\0\r\nQUIT\r", missing),
        (b"PROXY TCP4 here there 1 2\r\n", "malformed"),
        (b"PROXY UNKNOWN\nmore bytes", "malformed"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\xc0\0\x02\x07", "malformed"),
        (&long, "longer than allowed"),
        (&endless, "malformed"),
    ];
    for (bytes, reason) in cases {
        for length in 1..=bytes.len() {
            let (found, peer, end) = receive(bytes, length);
            assert!(found.is_empty() && peer == PROXY.parse().ok(), "{bytes:?}");
            assert!(matches!(end, Received::Rejected(text) if text.contains(reason)), "{bytes:?}: {end:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_give_the_same_in_pieces_of_any_length(
        start in prop::sample::select(HEADERS.map(|(header, _)| header).to_vec()),
        keep in 0_usize..60,
        more in prop::collection::vec(any::<u8>(), 0..80),
        length in 1_usize..20,
    ) {
        let bytes = [&start[..keep.min(start.len())], &more].concat();
        prop_assert_eq!(receive(&bytes, bytes.len().max(1)), receive(&bytes, length));
    }
}
