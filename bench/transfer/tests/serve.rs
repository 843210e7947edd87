//! A transfer with a peer inside the process, whose connection holds few bytes, so that messages come and go in parts.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::thread;

use wisp_net::memory::{MemoryHost, MemoryStream};
use wisp_net::{Host, Listener, Stream};
use wisp_transfer::{Buffer, Report, Settings, serve};

/// The bytes that the peer got back, and the program's report.
type Outcome = (Vec<u8>, io::Result<Report>);

/// Sends these bytes, expects `back` bytes, and returns both sides' results.
fn transfer(pipe_bytes: usize, settings: Settings, bytes: &[u8], back: usize) -> Outcome {
    let host = MemoryHost::with_pipe_bytes(pipe_bytes);
    let listener = host.listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let peer = host.connect(address).unwrap();
    let program = thread::spawn(move || serve(&host, listener, &settings));
    let mut sent = 0;
    while sent < bytes.len() {
        sent += until_ready(|| peer.send(&bytes[sent..]));
    }
    let received = receive(&peer, back);
    drop(peer);
    (received, program.join().unwrap())
}

fn receive(peer: &MemoryStream, count: usize) -> Vec<u8> {
    let mut received = vec![0; count];
    let mut filled = 0;
    while filled < count {
        let len = until_ready(|| peer.recv(&mut received[filled..]));
        assert_ne!(len, 0, "the program closed after {filled} bytes");
        filled += len;
    }
    received
}

fn until_ready(mut attempt: impl FnMut() -> io::Result<usize>) -> usize {
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            done => return done.unwrap(),
        }
    }
}

fn settings(messages: u64, size_bytes: usize, buffer: Buffer) -> Settings {
    let (messages, size_bytes) = (NonZeroU64::new(messages).unwrap(), NonZeroUsize::new(size_bytes).unwrap());
    Settings { messages, size_bytes, buffer }
}

fn bytes(count: usize) -> Buffer {
    Buffer::Bytes(NonZeroUsize::new(count).unwrap())
}

/// Messages that are all different.
fn messages(count: u64, size: usize) -> Vec<u8> {
    (0..count * size as u64).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn the_last_message_comes_back_as_often_as_messages_came() {
    for (pipe_bytes, count, size) in [(7, 20, 5), (64, 50, 64), (64, 30, 100), (4096, 9, 1), (65_536, 300, 1024)] {
        for buffer in [Buffer::Message, bytes(1), bytes(64), bytes(1000), bytes(1 << 20)] {
            let sent = messages(count, size);
            let (back, report) = transfer(pipe_bytes, settings(count, size, buffer), &sent, sent.len());
            let last = &sent[sent.len() - size..];
            assert!(back.chunks(size).all(|message| message == last), "{pipe_bytes} {count} {size} {buffer:?}");
            let Report { receive, send } = report.unwrap();
            assert!(receive.seconds > 0.0 && send.seconds > 0.0);
            assert!(receive.calls > receive.waits && send.calls > send.waits, "{receive:?} {send:?}");
        }
    }
}

#[test]
fn a_call_carries_one_message_or_the_whole_buffer() {
    let sent = messages(64, 16);
    let calls = |buffer| {
        let (_, report) = transfer(4096, settings(64, 16, buffer), &sent, sent.len());
        let Report { receive, send } = report.unwrap();
        // The last call sees the peer close.
        (receive.calls - receive.waits, send.calls - send.waits - 1)
    };
    assert_eq!(calls(Buffer::Message), (64, 64));
    let (received, sent) = calls(bytes(4096));
    assert!(received < 64, "{received} calls although all messages fit into one");
    assert_eq!(sent, 1);
}

#[test]
fn a_peer_that_does_not_keep_to_the_agreement_is_an_error() {
    for (sent, expected) in [(15, ErrorKind::UnexpectedEof), (17, ErrorKind::InvalidData)] {
        let back = if sent < 16 { 0 } else { 16 };
        let (_, report) = transfer(64, settings(4, 4, Buffer::Message), &messages(1, sent), back);
        assert_eq!(report.unwrap_err().kind(), expected);
    }
}

#[test]
fn more_bytes_than_can_be_counted_are_refused() {
    let settings = settings(u64::MAX, 2, Buffer::Message);
    let (_, report) = transfer(64, settings, &[], 0);
    assert_eq!(report.unwrap_err().kind(), ErrorKind::InvalidInput);
}
