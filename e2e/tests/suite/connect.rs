//! The first packets of a connection: accepted and refused clients, assigned names, and the time limit.

use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::host::{Ability, Host, cannot};
use wisp_e2e::packet::{Connect, DISCONNECT, PINGREQ, kind, packet, publish, subscribe};
use wisp_e2e::raw::{Bystanders, RawClient};

const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;

/// Connects with these fields and returns the client with the return code of its CONNACK.
fn attempt(broker: &Broker, connect: &Connect<'_>) -> (RawClient, u8) {
    let mut client = RawClient::open(broker.addr(), connect.version);
    client.send(&connect.encode());
    let code = client.read_packet().conn_ack(connect.version).code;
    (client, code)
}

#[test]
fn an_empty_client_id_is_replaced_or_refused_as_its_version_says() {
    let broker = Broker::start();
    let mut assigned = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::open(broker.addr(), Version::V5);
        client.send(&Connect::new(Version::V5, "").encode());
        let answer = client.read_packet().conn_ack(Version::V5);
        assert_eq!(answer.code, 0);
        let id = answer.text(ASSIGNED_CLIENT_IDENTIFIER).expect("MQTT 5 clients are told their id").to_owned();
        assigned.push((id, client));
    }
    assert_ne!(assigned[0].0, assigned[1].0, "each gets an id of its own");
    for (id, client) in &mut assigned {
        assert!(!id.is_empty());
        client.ping();
    }

    let clean = Connect::new(Version::V311, "");
    let (mut one, code) = attempt(&broker, &clean);
    assert_eq!(code, 0);
    let (mut other, code) = attempt(&broker, &clean);
    assert_eq!(code, 0);
    one.ping();
    other.ping();

    // Return code 2: identifier rejected. MQTT 3.1 has no empty ids, and a kept session needs an id.
    for refused in [Connect { clean_start: false, ..clean.clone() }, Connect::new(Version::V31, "")] {
        let (mut client, code) = attempt(&broker, &refused);
        assert_eq!(code, 2, "{:?}", refused.version);
        assert_eq!(client.read_to_close(), []);
    }
}

#[test]
fn a_second_connection_with_the_same_client_id_ends_the_first() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let mut bystanders = Bystanders::connect(broker.addr(), "takeover");
    for old_version in Version::ALL {
        for new_version in Version::ALL {
            let mut old = RawClient::connect(broker.addr(), old_version, "the one");
            old.subscribe(&["to/the/one"]);
            let mut new = RawClient::connect(broker.addr(), new_version, "the one");
            old.expect_disconnect(0x8E);
            new.subscribe(&["to/the/one"]);
            new.publish("to/the/one", b"hello");
            assert_eq!(new.read_message("to/the/one"), b"hello", "the new connection works");
            new.send(DISCONNECT);
            assert_eq!(new.read_to_close(), []);
        }
    }
    bystanders.round_trip();
}

#[test]
fn a_disconnecting_client_is_gone_and_its_subscriptions_with_it() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = RawClient::connect(broker.addr(), version, "comes and goes");
        client.subscribe(&["for/it"]);
        client.send(DISCONNECT);
        assert_eq!(client.read_to_close(), []);

        let mut client = RawClient::open(broker.addr(), version);
        client.send(&Connect::new(version, "comes and goes").encode());
        let answer = client.read_packet().conn_ack(version);
        assert_eq!((answer.code, answer.session_present), (0, false), "{version:?}");
        client.publish("for/it", b"nobody subscribes");
        client.ping();
        client.send(DISCONNECT);
        assert_eq!(client.read_to_close(), []);
    }
}

#[test]
fn packets_may_arrive_in_pieces_or_all_at_once() {
    let broker = Broker::start();
    for version in Version::ALL {
        let script = [
            Connect::new(version, "piecemeal").encode(),
            subscribe(version, 1, &[("pieces/#", 0)]),
            publish(version, "pieces/1", &[1; 300]),
            publish(version, "pieces/2", b""),
            PINGREQ.to_vec(),
        ]
        .concat();
        // A client may send more packets before it receives CONNACK.
        for piece in [1, 7, script.len()] {
            let mut client = RawClient::open(broker.addr(), version);
            script.chunks(piece).for_each(|bytes| client.send(bytes));
            assert_eq!(client.read_packet().conn_ack(version).code, 0);
            // Answers and messages may arrive in any order.
            let mut kinds = [(); 4].map(|()| client.read_packet().kind());
            kinds.sort_unstable();
            let expected = [kind::PUBLISH, kind::PUBLISH, kind::SUBACK, kind::PINGRESP];
            assert_eq!(kinds, expected, "{version:?} in pieces of {piece}");
        }
    }
}

#[test]
fn a_connection_without_connect_is_closed_in_time() {
    if cannot(Ability::Wisp) {
        return;
    }
    let limit = Duration::from_millis(700);
    let broker = Broker::start_with(&["--connect-timeout-ms", "700"]);
    let mut bystanders = Bystanders::connect(broker.addr(), "silence");
    let start = Instant::now();
    let mut silent = RawClient::open(broker.addr(), Version::V311);
    let mut slow = RawClient::open(broker.addr(), Version::V5);
    let connect = Connect::new(Version::V5, "never finishes").encode();
    slow.send(&connect[..connect.len() - 1]);
    for client in [&mut silent, &mut slow] {
        assert_eq!(client.read_to_close(), []);
        assert!(start.elapsed() >= limit.mul_f32(0.9), "dropped after {:?}", start.elapsed());
    }
    // Clients that sent CONNECT stay connected, even if they were silent meanwhile.
    bystanders.round_trip();
}

#[test]
fn the_first_packet_must_be_connect_and_the_second_must_not() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let mut bystanders = Bystanders::connect(broker.addr(), "order");
    let early = [
        PINGREQ.to_vec(),
        DISCONNECT.to_vec(),
        publish(Version::V311, "a", b"b"),
        subscribe(Version::V5, 1, &[("a", 0)]),
        packet(0x20, &[0, 0]),
    ];
    for bytes in early {
        let mut client = RawClient::open(broker.addr(), Version::V311);
        client.send(&bytes);
        assert_eq!(client.read_to_close(), [], "after {bytes:?}");
        bystanders.round_trip();
    }
    for version in Version::ALL {
        let mut client = RawClient::connect(broker.addr(), version, "twice");
        client.send(&Connect::new(version, "twice").encode());
        client.expect_disconnect(0x82);
        bystanders.round_trip();
    }
}

#[test]
fn a_client_of_another_protocol_is_named_in_the_log() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let upgrade = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let cases: [(&[u8], &str); 3] = [
        (b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03", "a tls hello"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "an http request"),
        (upgrade.as_bytes(), "a websocket upgrade"),
    ];
    for (bytes, name) in cases {
        let mut client = RawClient::open(broker.addr(), Version::V311);
        client.send(bytes);
        assert_eq!(client.read_to_close(), [], "{name} is not answered in MQTT");
        broker.wait_log(&format!("the client sent {name}, not mqtt"));
    }
}

#[test]
fn unknown_protocols_are_refused() {
    let broker = Broker::start();
    let mut bystanders = Bystanders::connect(broker.addr(), "protocols");
    let known = Connect::new(Version::V311, "stranger").encode();
    let with_level = |level: u8| {
        let mut bytes = known.clone();
        bytes[8] = level;
        bytes
    };
    let mut http = RawClient::open(broker.addr(), Version::V311);
    http.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(http.read_to_close(), []);
    for level in [0, 2, 3, 6, 0x83, 255] {
        let mut client = RawClient::open(broker.addr(), Version::V311);
        client.send(&with_level(level));
        // Unsupported protocol version, in the form of MQTT 3.1.1 or of MQTT 5.
        let expected: &[u8] = if matches!(level, 6 | 255) { &[0, 0x84, 0] } else { &[0, 1] };
        for answer in client.read_to_close() {
            assert_eq!(answer.kind(), kind::CONNACK, "level {level}");
            let fits = answer.body == expected || Host::current().lacks(Ability::Wisp).is_some();
            assert!(fits, "level {level}: {answer:?}");
        }
        bystanders.round_trip();
    }
}
