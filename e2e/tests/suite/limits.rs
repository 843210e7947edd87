//! What happens at each limit that has a flag. Those on time are tested where their subject is:
//! --connect-timeout-ms in connect, --keep-alive-s-max in keep_alive, and the --stall flags, with the
//! two --queue limits, in stuck_receiver and bounded_memory.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, DISCONNECT, kind, publish, subscribe};
use wisp_e2e::raw::{Bystanders, Incoming, RawClient};
use wisp_e2e::wait::wait_for;

const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// A broker at whose limit something is to happen; None where the broker is not Wisp.
fn limited(flags: &[&str]) -> Option<Broker> {
    (!cannot(Ability::Wisp)).then(|| Broker::start_with(flags))
}

/// Tries to connect: a client, or the code with which the broker turned it away, if it gave one.
fn try_connect(broker: &Broker, version: Version, client_id: &str) -> Result<RawClient, Option<u8>> {
    let mut client = RawClient::open(broker.addr(), version);
    if client.try_send(&Connect::new(version, client_id).encode()).is_err() {
        return Err(None);
    }
    match client.read() {
        Incoming::Closed => Err(None),
        Incoming::Packet(packet) => match packet.conn_ack(version).code {
            0 => Ok(client),
            code => {
                assert_eq!(client.read_to_close(), [], "a refused client is disconnected");
                Err(Some(code))
            }
        },
    }
}

#[test]
fn connections_past_the_limit_are_refused_until_there_is_room() {
    let Some(broker) = limited(&["--connections-max", "8"]) else {
        return;
    };
    let mut bystanders = Bystanders::connect(broker.addr(), "room");
    let mut clients: Vec<RawClient> =
        (0..6).map(|number| RawClient::connect(broker.addr(), Version::V5, &format!("client {number}"))).collect();
    for version in Version::ALL {
        let Err(code) = try_connect(&broker, version, "one too many") else {
            panic!("{version:?}: a ninth connection is accepted")
        };
        // Server busy, Quota exceeded, Server unavailable, in 3.1.1 3; or closed without a word.
        let fitting: &[u8] = if version.is_v5() { &[0x88, 0x89, 0x97] } else { &[3] };
        assert!(code.is_none_or(|code| fitting.contains(&code)), "{version:?}: refused with {code:02X?}");
    }
    bystanders.round_trip();
    clients.iter_mut().for_each(RawClient::ping);

    clients.pop().expect("there are six").send(DISCONNECT);
    clients.push(wait_for("room for a connection", || try_connect(&broker, Version::V5, "the next").ok()));
    assert!(try_connect(&broker, Version::V5, "one too many").is_err(), "the limit holds again");
    clients.iter_mut().for_each(RawClient::ping);
    bystanders.round_trip();
}

#[test]
fn subscriptions_past_the_limit_are_refused_one_by_one() {
    let Some(broker) = limited(&["--subscriptions-max", "3"]) else {
        return;
    };
    for version in Version::ALL {
        let refusal = if version.is_v5() { 0x97 } else { 0x80 };
        let mut client = RawClient::connect(broker.addr(), version, "subscriber");
        client.subscribe(&["a", "b"]);
        client.send(&subscribe(version, 7, &[("c", 0), ("d", 0), ("e", 0)]));
        if version == Version::V31 {
            // MQTT 3.1 cannot refuse a subscription; the connection may end instead.
            if let Incoming::Packet(packet) = client.read() {
                assert_eq!(packet.acknowledgement(version).0, 7);
            }
            continue;
        }
        let answer = client.read_packet();
        assert_eq!(answer.acknowledgement(version), (7, &[0, refusal, refusal][..]), "{version:?}");
        // The same filter again replaces a subscription, and takes no more room.
        assert_eq!(client.subscribe_code("b", 0), 0, "{version:?}");
        for topic in ["a", "b", "d", "c"] {
            client.publish(topic, b"");
        }
        for topic in ["a", "b", "c"] {
            client.read_message(topic);
        }
        client.unsubscribe(&["a"]);
        assert_eq!(client.subscribe_code("d", 0), 0, "{version:?}: there is room again");
        assert_eq!(client.subscribe_code("e", 0), refusal, "{version:?}");
    }
}

#[test]
fn the_filters_of_all_clients_together_are_bounded() {
    let Some(broker) = limited(&["--subscription-bytes-max", "10000"]) else {
        return;
    };
    let mut greedy = RawClient::connect(broker.addr(), Version::V5, "greedy");
    let mut other = RawClient::connect(broker.addr(), Version::V5, "other");
    let long = "x".repeat(6_000);
    assert_eq!(greedy.subscribe_code(&long, 0), 0);
    assert_eq!(greedy.subscribe_code("b", 0), 0x97);
    assert_eq!(other.subscribe_code("b", 0), 0x97);
    greedy.send(DISCONNECT);
    wait_for("room for a subscription", || (other.subscribe_code("b", 0) == 0).then_some(()));
}

#[test]
fn packets_past_the_limit_end_the_connection_and_those_at_it_pass() {
    let Some(broker) = limited(&["--packet-bytes-max", "2000"]) else {
        return;
    };
    let mut bystanders = Bystanders::connect(broker.addr(), "packets");
    for version in Version::ALL {
        let mut client = RawClient::open(broker.addr(), version);
        client.send(&Connect::new(version, "large").encode());
        let answer = client.read_packet().conn_ack(version);
        assert_eq!(answer.code, 0);
        assert_eq!(answer.number(MAXIMUM_PACKET_SIZE), version.is_v5().then_some(2000));

        client.subscribe(&["size"]);
        let overhead = publish(version, "size", &[0; 1000]).len() - 1000;
        let largest = vec![7; 2000 - overhead];
        client.publish("size", &largest);
        assert_eq!(client.read_message("size"), largest);
        let too_large = publish(version, "size", &[7; 2001][overhead..]);
        assert_eq!(too_large.len(), 2001);
        client.send(&too_large);
        client.expect_disconnect(0x95);

        let mut claims = RawClient::connect(broker.addr(), version, "claims to be large");
        claims.send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
        claims.expect_disconnect(0x95);
        bystanders.round_trip();
    }
}

#[test]
fn a_connect_packet_past_the_limit_is_turned_away() {
    let Some(broker) = limited(&["--packet-bytes-max", "100"]) else {
        return;
    };
    for version in Version::ALL {
        let refused = try_connect(&broker, version, &"x".repeat(101)).err();
        let code = refused.unwrap_or_else(|| panic!("{version:?}: too large a CONNECT is accepted"));
        assert!(matches!(code, None | Some(0x95)), "{version:?}: refused with {code:02X?}");
        RawClient::connect(broker.addr(), version, "fits").ping();
    }
}

#[test]
fn topics_with_too_many_levels_are_refused() {
    let Some(broker) = limited(&["--topic-levels-max", "4"]) else {
        return;
    };
    topics_past_a_limit_are_refused(&broker, "1/2/3/4", "1/2/3/4/5", "+/+/+/+/#");
}

#[test]
fn topics_with_too_many_bytes_are_refused() {
    let Some(broker) = limited(&["--topic-bytes-max", "12"]) else {
        return;
    };
    topics_past_a_limit_are_refused(&broker, "exactly/12/b", "more/than/12b", "filter/of/13+");
}

fn topics_past_a_limit_are_refused(broker: &Broker, largest: &str, too_large: &str, filter: &str) {
    let mut witness = RawClient::connect(broker.addr(), Version::V311, "witness");
    witness.subscribe(&["#"]);
    for version in Version::ALL {
        let mut client = RawClient::connect(broker.addr(), version, "client");
        client.subscribe(&[largest]);
        client.publish(largest, b"fits");
        assert_eq!(client.read_message(largest), b"fits");
        assert_eq!(witness.read_message(largest), b"fits");
        client.send(&publish(version, too_large, b"does not fit"));
        client.expect_disconnect(0x90);

        for filter in [too_large, filter] {
            let mut client = RawClient::connect(broker.addr(), version, "subscriber");
            client.send(&subscribe(version, 5, &[(filter, 0)]));
            // A refusal of the filter alone, or the end of the connection.
            let words = client.read();
            let Incoming::Packet(packet) = words else {
                assert!(!version.is_v5(), "{filter}: closed without a code");
                continue;
            };
            if packet.kind() == kind::SUBACK {
                let refusal = if version.is_v5() { 0x8F } else { 0x80 };
                assert_eq!(packet.acknowledgement(version), (5, &[refusal][..]), "{version:?} {filter}");
            } else {
                assert_eq!(packet.disconnect_code(), 0x8F, "{version:?} {filter}");
            }
        }
    }
    let mut end = RawClient::connect(broker.addr(), Version::V5, "end");
    end.publish("end", b"");
    assert_eq!(witness.read_message("end"), b"", "nothing that was too large came through before");
}

#[test]
fn client_ids_past_the_limit_are_refused() {
    // The standards oblige a broker to accept 23 bytes, so the limit cannot be lower.
    let Some(broker) = limited(&["--client-id-bytes-max", "23"]) else { return };
    let longest = "an identifier of 23 by.";
    for version in Version::ALL {
        let refused = try_connect(&broker, version, &format!("{longest}.")).err();
        // Client Identifier not valid, or in older versions identifier rejected.
        assert_eq!(refused, Some(Some(if version.is_v5() { 0x85 } else { 2 })), "{version:?}");
        RawClient::connect(broker.addr(), version, longest).ping();
    }
    // Ids that the broker makes up are not bound by a limit on those of clients.
    assert!(try_connect(&broker, Version::V5, "").is_ok());
}
