//! Listeners with WebSocket: clients by other authors, with and without TLS, and frames and requests that are right or wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, PINGREQ};
use wisp_e2e::peer::{mqtt_js, node_is_missing, paho};
use wisp_e2e::wait::TIMEOUT;

use crate::config::ConfigFile;
use crate::tls::{exchange, read_to_end, secured};

/// A broker with a listener for WebSocket that has these lines beside its address.
pub(crate) fn web(name: &str, lines: &str) -> (Broker, SocketAddr, ConfigFile) {
    let addr = free_addr();
    let text = format!("[[listener]]\naddress = \"{addr}\"\nprotocol = \"websocket\"\n{lines}\n");
    let file = ConfigFile::new(name, &text);
    (Broker::start_with(&["--config", file.path()]), addr, file)
}

#[test]
fn paho_exchanges_messages_over_web_socket() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (_broker, addr, _file) = web("ws-paho", "");
    exchange(paho, addr, &[("WISP_E2E_SCHEME", "ws")]);
}

#[test]
fn mqtt_js_exchanges_messages_over_web_socket_with_and_without_tls() {
    if cannot(Ability::Wisp) || node_is_missing() {
        return;
    }
    let (_broker, addr, _file) = web("ws-mqtt-js", "");
    exchange(mqtt_js, addr, &[("WISP_E2E_SCHEME", "ws")]);
    let secured = secured("wss-mqtt-js", &[], |_| "protocol = \"websocket\"".to_owned());
    exchange(mqtt_js, secured.addr, &[("WISP_E2E_SCHEME", "wss"), ("WISP_E2E_CA", &secured.authority.file())]);
}

/// The example of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

const MQTT: &str = "Sec-WebSocket-Protocol: mqtt\r\n";

/// A client that frames bytes itself.
struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Raw {
    fn open(addr: SocketAddr, request: &[u8]) -> Raw {
        let mut stream = TcpStream::connect(addr).expect("the broker accepts connections");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a time limit can be set");
        stream.write_all(request).expect("the broker reads");
        Raw { stream, received: Vec::new() }
    }

    /// A client whose request was accepted.
    fn accepted(addr: SocketAddr) -> Raw {
        let mut raw = Raw::open(addr, request("/mqtt", MQTT).as_bytes());
        let answer = raw.answer();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n")), "{answer}");
        assert!(answer.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{answer}");
        raw
    }

    fn fill(&mut self) {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer).expect("the broker answers");
        assert!(count > 0, "the broker closed the connection after {:02x?}", self.received);
        self.received.extend_from_slice(&buffer[..count]);
    }

    /// The head of the answer to the request.
    fn answer(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                return String::from_utf8(self.received.drain(..end + 4).collect()).expect("an answer in ASCII");
            }
            self.fill();
        }
    }

    /// Sends a frame; `first` has the FIN bit and the opcode.
    fn send(&mut self, first: u8, payload: &[u8]) {
        self.stream.write_all(&frame(first, payload)).expect("the broker reads");
    }

    /// The next frame: its first byte and its payload.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let [first, length, ..] = self.received[..] {
                assert!(length < 126, "a short frame without a mask");
                let end = 2 + usize::from(length);
                if self.received.len() >= end {
                    let payload = self.received[2..end].to_vec();
                    self.received.drain(..end);
                    return (first, payload);
                }
            }
            self.fill();
        }
    }

    /// The codes of the close frames up to the end of the connection.
    fn close_codes(mut self) -> Vec<u16> {
        let rest = read_to_end(&mut self.stream);
        self.received.extend(rest);
        let mut codes = Vec::new();
        while !self.received.is_empty() {
            let (first, payload) = self.frame();
            if first == CLOSE {
                codes.push(u16::from_be_bytes([payload[0], payload[1]]));
            }
        }
        codes
    }
}

const BINARY: u8 = 0x82;
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0xfe, 0, 0x77];
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | short as u8),
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];

#[test]
fn packets_may_span_frames_and_frames_may_hold_several() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (_broker, addr, _file) = web("ws-frames", "");
    let mut client = Raw::accepted(addr);
    let connect = Connect::new(Version::V311, "framed").encode();
    // One message in fragments, with a ping between.
    client.send(0x02, &connect[..3]);
    client.send(PING, b"still there?");
    client.send(0x00, &connect[3..9]);
    client.send(0x80, &connect[9..]);
    assert_eq!(client.frame(), (PONG, b"still there?".to_vec()));
    assert_eq!(client.frame(), (BINARY, CONNACK.to_vec()));
    client.send(BINARY, &[PINGREQ, PINGREQ, &PINGREQ[..1]].concat());
    client.send(PONG, b"unasked");
    client.send(BINARY, &PINGREQ[1..]);
    let mut answers = Vec::new();
    while answers.len() < 3 * PINGRESP.len() {
        let (first, payload) = client.frame();
        assert_eq!(first, BINARY);
        answers.extend(payload);
    }
    assert_eq!(answers, PINGRESP.repeat(3));
    client.send(CLOSE, &1001_u16.to_be_bytes());
    assert_eq!(client.close_codes(), [1001]);
}

#[test]
fn a_request_may_come_byte_by_byte_and_with_frames_behind_it() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (_broker, addr, _file) = web("ws-bytes", "");
    let connect = Connect::new(Version::V311, "eager").encode();
    let whole = [request("/", MQTT).as_bytes(), &frame(BINARY, &connect), &frame(BINARY, PINGREQ)].concat();
    let mut eager = Raw::open(addr, &whole);
    assert!(eager.answer().starts_with("HTTP/1.1 101 "));
    assert_eq!(eager.frame().0, BINARY);
    let mut slow = Raw::open(addr, &whole[..1]);
    slow.stream.set_nodelay(true).expect("a socket of TCP");
    for byte in &whole[1..] {
        slow.stream.write_all(&[*byte]).expect("the broker reads");
    }
    assert!(slow.answer().starts_with("HTTP/1.1 101 "));
    assert_eq!(slow.frame(), (BINARY, CONNACK.to_vec()));
    assert_eq!(slow.frame(), (BINARY, PINGRESP.to_vec()));
    // The broker closes with a code.
    slow.send(BINARY, b"\xe0\0");
    assert_eq!(slow.close_codes(), [1000]);
}

#[test]
fn wrong_frames_are_refused_with_their_code() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (broker, addr, _file) = web("ws-wrong", "");
    let mut unmasked = vec![BINARY, 2];
    unmasked.extend(PINGREQ);
    let cases: [(&[u8], u16, &str); 7] = [
        (&frame(TEXT, b"hello"), 1003, "text frame"),
        (&unmasked, 1002, "not masked"),
        (&frame(0xc2, PINGREQ), 1002, "uses an extension"),
        (&frame(0x83, PINGREQ), 1002, "unknown kind"),
        (&frame(0x80, PINGREQ), 1002, "does not continue"),
        (&frame(0x09, b"part"), 1002, "too long or fragmented"),
        (&frame(CLOSE, &[3, 237]), 1002, "impossible code"),
    ];
    for (bytes, code, reason) in cases {
        let mut client = Raw::accepted(addr);
        client.stream.write_all(bytes).expect("the broker reads");
        assert_eq!(client.close_codes(), [code], "{reason}");
        broker.wait_log(reason);
    }
}

#[test]
fn wrong_requests_are_refused_with_their_status() {
    if cannot(Ability::Wisp) {
        return;
    }
    let lines = "websocket.path = [\"/mqtt\", \"/ws\"]\nwebsocket.origin = \"https://example.org\"";
    let (broker, addr, _file) = web("ws-requests", lines);
    let upgrade = request("/mqtt", MQTT);
    let long = format!("X-Long: {}\r\n", "x".repeat(9_000));
    let cases = [
        (request("/other", MQTT), "404", "another path"),
        (request("/mqtt", ""), "400", "subprotocol mqtt"),
        (request("/mqtt", "Sec-WebSocket-Protocol: graphql-ws\r\n"), "400", "subprotocol mqtt"),
        (request("/mqtt", &format!("Origin: https://example.com\r\n{MQTT}")), "403", "origin that is not allowed"),
        (request("/mqtt", &format!("{MQTT}{long}")), "431", "longer than allowed"),
        (upgrade.replace("GET", "POST"), "405", "not a GET"),
        (upgrade.replace("Version: 13", "Version: 8"), "426", "not 13"),
        (upgrade.replace("Upgrade: websocket\r\n", ""), "426", "without an upgrade"),
        (upgrade.replace(KEY, "short"), "400", "no host or key"),
        ("hello there\r\n\r\n".to_owned(), "400", "no HTTP request"),
    ];
    for (request, status, reason) in cases {
        let mut client = Raw::open(addr, request.as_bytes());
        let answer = client.answer();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{reason}: {answer}");
        broker.wait_log(&reason.to_lowercase());
    }
    for more in [MQTT.to_owned(), "Origin: https://example.org\r\nSec-WebSocket-Protocol: mqttv3.1\r\n".to_owned()] {
        let mut client = Raw::open(addr, request("/ws?token=1", &more).as_bytes());
        let answer = client.answer();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{more}: {answer}");
    }
}

#[test]
fn clients_of_another_protocol_are_named_once() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (broker, addr, _file) = web("ws-protocols", "");
    let cases: [(&[u8], &str); 2] = [
        (&Connect::new(Version::V311, "plain").encode(), "MQTT without WebSocket"),
        (b"\x16\x03\x01\x00\x10\x01", "sent TLS"),
    ];
    for (bytes, name) in cases {
        for _ in 0..3 {
            assert_eq!(read_to_end(&mut Raw::open(addr, bytes).stream), b"");
        }
        broker.wait_log(&name.to_lowercase());
        let lines = broker.log().iter().filter(|line| line.contains(name)).count();
        assert_eq!(lines, 1, "{:?}", broker.log());
    }
    // And the other way round, on a listener of MQTT.
    for _ in 0..3 {
        let mut client = Raw::open(broker.addr(), request("/mqtt", MQTT).as_bytes());
        assert_eq!(read_to_end(&mut client.stream), b"");
    }
    broker.wait_log("a websocket upgrade");
    let lines = broker.log().iter().filter(|line| line.contains("a WebSocket upgrade")).count();
    assert_eq!(lines, 1, "{:?}", broker.log());
}
