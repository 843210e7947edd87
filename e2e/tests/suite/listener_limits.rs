//! Limits that a listener has of its own.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, Publish};
use wisp_e2e::raw::RawClient;

use crate::config::ConfigFile;
use crate::tls::read_to_end;

/// Properties of CONNACK: Maximum Packet Size, Server Keep Alive, Topic Alias Maximum.
const PACKET_SIZE: u8 = 0x27;
const KEEP_ALIVE: u8 = 0x13;
const ALIASES: u8 = 0x22;

/// A broker with a listener that has these lines, and a plain one.
fn limited(name: &str, lines: &str) -> (Broker, SocketAddr, ConfigFile) {
    let addr = free_addr();
    let file = ConfigFile::new(name, &format!("[[listener]]\naddress = \"{addr}\"\n{lines}\n"));
    (Broker::start_with(&["--config", file.path()]), addr, file)
}

#[test]
fn clients_are_told_the_limits_of_their_listener() {
    if cannot(Ability::Wisp) {
        return;
    }
    let lines = "packet-bytes-max = 2000\nkeep-alive-s-max = 77\ntopic-alias-max = 3";
    let (broker, addr, _file) = limited("own-told", lines);
    for (addr, told) in [(addr, (Some(2000), Some(77), Some(3))), (broker.addr(), (Some(16 << 20), None, Some(64)))] {
        let mut client = RawClient::open(addr, Version::V5);
        client.send(&Connect { keep_alive_s: 600, ..Connect::new(Version::V5, "told") }.encode());
        let packet = client.read_packet();
        let answer = packet.conn_ack(Version::V5);
        assert_eq!(answer.code, 0);
        assert_eq!((answer.number(PACKET_SIZE), answer.number(KEEP_ALIVE), answer.number(ALIASES)), told);
    }
}

#[test]
fn a_packet_that_is_too_long_for_its_listener_is_refused_and_fine_on_another() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (broker, addr, _file) = limited("own-packet", "packet-bytes-max = 2000");
    let payload = "x".repeat(3000);
    let publish = Publish::new("t", &payload).qos(1).encode(Version::V5, 7);
    let mut client = RawClient::connect(broker.addr(), Version::V5, "free");
    client.send(&publish);
    assert!(client.read_packet().publish_acknowledgement(Version::V5).code < 0x80);
    let mut client = RawClient::connect(addr, Version::V5, "bounded");
    client.send(&publish);
    client.expect_disconnect(0x95);
    // Also where the packet comes in parts.
    let mut client = RawClient::connect(addr, Version::V5, "bounded");
    client.send(&publish[..10]);
    client.expect_disconnect(0x95);
}

#[test]
fn a_client_is_read_as_fast_as_its_listener_allows() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (broker, addr, _file) = limited("own-rate", "messages-per-s-max = 20");
    let took = |addr| {
        let mut client = RawClient::connect(addr, Version::V311, "sender");
        let begun = Instant::now();
        (0..60).for_each(|_| client.publish("t", b"x"));
        client.ping();
        begun.elapsed()
    };
    let limited = took(addr);
    assert!(
        limited >= Duration::from_millis(1_900),
        "a second's messages at once, then 40 in two seconds: {limited:?}"
    );
    assert!(took(broker.addr()) < limited);
}

#[test]
fn a_listener_has_a_time_for_connect_of_its_own() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (broker, addr, _file) = limited("own-timeout", "connect-timeout-ms = 200");
    let other = TcpStream::connect(broker.addr()).expect("the broker accepts connections");
    let mut stream = TcpStream::connect(addr).expect("the broker accepts connections");
    assert_eq!(read_to_end(&mut stream), b"");
    broker.wait_log("connection ended");
    other.set_nonblocking(true).expect("the mode can be set");
    assert!(
        other.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
        "it is still open"
    );
}
