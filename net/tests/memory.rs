//! The in-memory host implements the contract literally: no event beyond the promised ones.

use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use wisp_net::memory::{MemoryHost, MemoryPoller, MemoryStream};
use wisp_net::{Event, Host, Listener, Poller, Registrar, Stream, Token};

const TOKEN: Token = Token(7);

/// The two ends of a connection. The second is registered, and its first event, "writable", has been
/// taken.
fn registered(pipe_bytes: usize) -> (MemoryStream, MemoryStream, MemoryPoller) {
    let (ours, mut theirs) = MemoryStream::pair(pipe_bytes);
    let mut poller = MemoryHost::new().poller().expect("a poller");
    poller.registrar().add(&mut theirs, TOKEN).expect("registers");
    assert_eq!(events(&mut poller), [event(false, true)]);
    (ours, theirs, poller)
}

fn event(readable: bool, writable: bool) -> Event {
    Event { token: TOKEN, readable, writable }
}

fn events(poller: &mut MemoryPoller) -> Vec<Event> {
    let mut events = Vec::new();
    poller.wait(&mut events, Some(Duration::ZERO)).expect("waits");
    events
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.map(drop).expect_err("fails").kind()
}

#[test]
fn readable_is_reported_once_until_a_short_recv() {
    let (ours, theirs, mut poller) = registered(100);
    ours.send(b"abcd").unwrap();
    assert_eq!(events(&mut poller), [event(true, false)]);
    ours.send(b"ef").unwrap();
    assert_eq!(events(&mut poller), [], "the first event is not handled yet");
    assert_eq!(theirs.recv(&mut [0; 6]).unwrap(), 6);
    ours.send(b"gh").unwrap();
    assert_eq!(events(&mut poller), [], "a filled buffer does not mean that nothing is left");
    assert_eq!(theirs.recv(&mut [0; 6]).unwrap(), 2);
    ours.send(b"i").unwrap();
    assert_eq!(events(&mut poller), [event(true, false)]);
}

#[test]
fn writable_is_reported_once_until_a_short_send() {
    let (ours, theirs, mut poller) = registered(4);
    assert_eq!(theirs.send(b"ab").unwrap(), 2);
    ours.recv(&mut [0; 4]).unwrap();
    assert_eq!(events(&mut poller), [], "nothing was refused yet");
    assert_eq!(theirs.send(b"abcdef").unwrap(), 4);
    assert_eq!(events(&mut poller), []);
    ours.recv(&mut [0; 1]).unwrap();
    assert_eq!(events(&mut poller), [event(false, true)]);
    ours.recv(&mut [0; 1]).unwrap();
    assert_eq!(events(&mut poller), [], "the first event is not handled yet");
}

#[test]
fn end_is_reported_after_the_last_bytes() {
    let (ours, theirs, mut poller) = registered(100);
    ours.send(b"abcd").unwrap();
    drop(ours);
    assert!(events(&mut poller).contains(&event(true, false)));
    assert_eq!(theirs.recv(&mut [0; 100]).unwrap(), 4);
    assert_eq!(events(&mut poller), [event(true, false)], "a short recv is followed by an event for the end");
    assert_eq!(theirs.recv(&mut [0; 100]).unwrap(), 0);
    assert_eq!(kind(theirs.send(b"x")), ErrorKind::ConnectionReset);
}

#[test]
fn shutdown_ends_one_direction() {
    let (ours, theirs, _poller) = registered(100);
    ours.shutdown(Shutdown::Write).unwrap();
    assert_eq!(kind(ours.send(b"x")), ErrorKind::BrokenPipe);
    assert_eq!(theirs.recv(&mut [0; 4]).unwrap(), 0);
    assert_eq!(theirs.send(b"still").unwrap(), 5);
    ours.shutdown(Shutdown::Read).unwrap();
    assert_eq!(ours.recv(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn reset_is_reported_both_ways_and_drops_pending_bytes() {
    let (ours, theirs, mut poller) = registered(100);
    ours.send(b"abcd").unwrap();
    ours.reset();
    let events = events(&mut poller);
    assert!(events.iter().any(|event| event.readable) && events.iter().any(|event| event.writable));
    assert_eq!(kind(theirs.recv(&mut [0; 4])), ErrorKind::ConnectionReset);
    assert_eq!(kind(theirs.send(b"x")), ErrorKind::ConnectionReset);
}

#[test]
fn removed_stream_gives_no_event_and_can_be_added_again() {
    let (ours, mut theirs, mut poller) = registered(100);
    ours.send(b"abcd").unwrap();
    poller.registrar().remove(&theirs).unwrap();
    assert_eq!(events(&mut poller), [], "pending events are dropped");
    assert_eq!(kind(poller.registrar().remove(&theirs)), ErrorKind::NotFound);
    poller.registrar().add(&mut theirs, TOKEN).unwrap();
    assert_eq!(kind(poller.registrar().add(&mut theirs, TOKEN)), ErrorKind::AlreadyExists);
    assert!(events(&mut poller).contains(&event(true, false)));
}

#[test]
fn listener_on_all_addresses_is_reached_and_frees_its_port() {
    let host = MemoryHost::new();
    let listener = host.listen("0.0.0.0:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let waiting = host.connect(addr).unwrap();
    drop(listener);
    assert_eq!(kind(waiting.recv(&mut [0; 4])), ErrorKind::ConnectionReset);
    assert_eq!(kind(host.connect(addr)), ErrorKind::ConnectionRefused);
    host.listen(addr).unwrap();
}

#[test]
fn connections_beyond_the_backlog_are_refused() {
    let host = MemoryHost::with_pipe_bytes(1);
    let listener = host.listen("127.0.0.1:1883".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let waiting: Vec<_> = std::iter::from_fn(|| host.connect(addr).ok()).collect();
    assert_eq!(waiting.len(), 1024);
    listener.accept().unwrap();
    host.connect(addr).unwrap();
}
