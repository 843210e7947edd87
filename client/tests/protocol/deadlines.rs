//! Deadlines: CONNACK, pings, and the end of a silent broker.

use std::time::{Duration, Instant};

use wisp_client::protocol::{Event, Protocol};
use wisp_client::{Error, Fault, PublishOptions};
use wisp_wire::{Packet, Property};

use crate::support::{SECOND, Sent, V5, V311, connected, encoded, options, receive, sent};

const TICK: Duration = Duration::from_nanos(1);

#[test]
fn connack_is_awaited_until_its_deadline_and_not_longer() {
    let start = Instant::now();
    let deadline = start + 7 * SECOND;
    let mut protocol = Protocol::new(&options(V311), start).unwrap();
    assert_eq!(protocol.poll_timeout(), Some(deadline));
    sent(&mut protocol, V311, start);
    let refused = protocol.publish("t", b"", PublishOptions::default()).unwrap_err();
    assert_eq!(refused.fault(), Fault::Caller, "{refused}");

    protocol.handle_timeout(deadline - TICK);
    assert!(protocol.check_open().is_ok());
    receive(&mut protocol, &[0x20, 2, 0]);
    assert_eq!(protocol.poll_event(deadline - TICK), None);
    protocol.handle_timeout(deadline);
    assert!(matches!(protocol.check_open(), Err(Error::Timeout { waited, .. }) if waited == 7 * SECOND));
    assert_eq!((protocol.poll_timeout(), protocol.poll_transmit()), (None, &[][..]));

    // The rest of CONNACK is too late.
    receive(&mut protocol, &[0]);
    assert_eq!(protocol.poll_event(deadline), None);
}

#[test]
fn a_ping_is_due_half_an_interval_after_the_last_sent_byte() {
    let start = Instant::now();
    let mut protocol = connected(&options(V311), &[], start);
    let at = |seconds: u32| start + seconds * SECOND;
    assert_eq!(protocol.poll_timeout(), Some(at(5)));

    protocol.publish("t", b"", PublishOptions::default()).unwrap();
    assert_eq!(protocol.poll_timeout(), Some(at(5)), "a queued byte is not sent yet");
    assert_eq!(sent(&mut protocol, V311, at(2)).len(), 1);
    assert_eq!(protocol.poll_timeout(), Some(at(7)));
    protocol.handle_timeout(at(7) - TICK);
    assert_eq!(sent(&mut protocol, V311, at(7) - TICK), []);

    protocol.handle_timeout(at(7));
    assert_eq!(sent(&mut protocol, V311, at(7)), [Sent::Ping]);
    receive(&mut protocol, &encoded(V311, &Packet::PingResp));
    assert_eq!(protocol.poll_event(at(9)), None);
    assert_eq!(protocol.poll_timeout(), Some(at(12)));
}

#[test]
fn a_broker_that_does_not_answer_a_ping_is_given_up_at_the_deadline() {
    let start = Instant::now();
    let mut protocol = connected(&options(V5), &[Property::ServerKeepAlive(4)], start);
    assert_eq!((protocol.keep_alive_s(), protocol.poll_timeout()), (4, Some(start + 2 * SECOND)));
    protocol.handle_timeout(start + 2 * SECOND);
    assert_eq!(sent(&mut protocol, V5, start + 2 * SECOND), [Sent::Ping]);

    // Other packets of the client do not answer for the broker.
    protocol.publish("t", b"", PublishOptions::default()).unwrap();
    sent(&mut protocol, V5, start + 4 * SECOND);
    let deadline = start + 5 * SECOND;
    assert_eq!(protocol.poll_timeout(), Some(deadline));
    protocol.handle_timeout(deadline - TICK);
    assert!(protocol.check_open().is_ok());
    protocol.handle_timeout(deadline);
    assert!(matches!(protocol.check_open(), Err(Error::Silent { waited }) if waited == 3 * SECOND));
    assert!(matches!(protocol.publish("t", b"", PublishOptions::default()), Err(Error::Silent { .. })));
    assert_eq!((protocol.poll_timeout(), protocol.poll_transmit()), (None, &[][..]));
}

#[test]
fn without_a_keep_alive_there_is_no_deadline() {
    let start = Instant::now();
    let mut options = options(V311);
    options.keep_alive_s = 0;
    let mut protocol = connected(&options, &[], start);
    assert_eq!(protocol.poll_timeout(), None);
    protocol.handle_timeout(start + 1_000_000 * SECOND);
    assert!(protocol.check_open().is_ok() && protocol.poll_transmit().is_empty());
}

#[test]
fn timeouts_beyond_the_clock_never_pass() {
    let start = Instant::now();
    let mut options = options(V311);
    (options.connect_timeout, options.answer_timeout) = (Duration::MAX, Duration::MAX);
    assert_eq!(Protocol::new(&options, start).unwrap().poll_timeout(), None);
    let mut protocol = connected(&options, &[], start);
    protocol.handle_timeout(start + 5 * SECOND);
    assert_eq!(sent(&mut protocol, V311, start + 5 * SECOND), [Sent::Ping]);
    assert_eq!(protocol.poll_timeout(), None);
    protocol.handle_timeout(start + 1_000_000 * SECOND);
    assert!(protocol.check_open().is_ok());
    receive(&mut protocol, &encoded(V311, &Packet::PingResp));
    assert_ne!(protocol.poll_event(start), Some(Event::Connected));
    assert_eq!(protocol.poll_timeout(), Some(start + 10 * SECOND));
}
