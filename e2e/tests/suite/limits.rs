//! The behaviour at each limit that has a flag. Limits on time are tested with their subject:
//! --connect-timeout-ms in connect, --keep-alive-s-max in keep_alive, and the --stall flags, with the two
//! --queue limits, in stuck_receiver and bounded_memory. Rate limits are tested here.

use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, DISCONNECT, Publish, Will, kind, publish, subscribe};
use wisp_e2e::properties::property::{
    RECEIVE_MAXIMUM, REQUEST_RESPONSE_INFORMATION, RESPONSE_INFORMATION, RETAIN_AVAILABLE, SESSION_EXPIRY_INTERVAL,
    TOPIC_ALIAS, TOPIC_ALIAS_MAXIMUM,
};
use wisp_e2e::raw::{Bystanders, Incoming, RawClient};
use wisp_e2e::wait::wait_for;

const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// A broker with a low limit; None if the broker is not Wisp.
fn limited(flags: &[&str]) -> Option<Broker> {
    (!cannot(Ability::Wisp)).then(|| Broker::start_with(flags))
}

/// Tries to connect. Returns a client, or the code of the refusal if there is one.
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
        // Server busy, Quota exceeded, Server unavailable, in 3.1.1 3; or closed without an answer.
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
        // The same filter again replaces a subscription, and does not count twice.
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
fn a_client_with_thousands_of_filters_gets_them_all_by_default() {
    let Some(broker) = limited(&[]) else { return };
    let mut client = Client::clean(&broker, Version::V311, "home assistant");
    let filters: Vec<String> = (0..5_000).map(|number| format!("homeassistant/sensor/device_{number}/state")).collect();
    for filters in filters.chunks(500) {
        let wanted: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
        let codes = client.subscribe_with(&Default::default(), &wanted);
        assert!(codes.iter().all(|code| *code == 0), "{codes:?}");
    }
    client.publish(&Publish::new(&filters[4_999], "on"));
    assert_eq!(client.receive().text(), "on");
}

#[test]
fn the_filters_of_one_client_are_bounded_in_bytes() {
    let Some(broker) = limited(&["--client-subscription-bytes-max", "10000"]) else { return };
    let mut greedy = RawClient::connect(broker.addr(), Version::V5, "greedy");
    let mut other = RawClient::connect(broker.addr(), Version::V5, "other");
    let long = "x".repeat(4_800);
    assert_eq!(greedy.subscribe_code(&long, 0), 0);
    assert_eq!(greedy.subscribe_code("b", 0), 0x97);
    assert_eq!(other.subscribe_code("b", 0), 0);
    greedy.unsubscribe(&[&long]);
    assert_eq!(greedy.subscribe_code("b", 0), 0);
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
fn packets_past_the_limit_end_the_connection_and_packets_at_it_pass() {
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
fn a_connect_packet_past_the_limit_is_refused() {
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
fn a_long_connect_is_refused_before_it_is_received_and_a_long_will_is_not() {
    let Some(broker) = limited(&["--connect-bytes-max", "1000"]) else { return };
    let (long, will) = ("x".repeat(60_000), "y".repeat(65_535));
    for version in Version::ALL {
        let mut client = RawClient::open(broker.addr(), version);
        let connect = Connect::new(version, &long).encode();
        // The length is known from the first bytes.
        client.send(&connect[..20]);
        let answers = client.read_to_close();
        let codes: Vec<u8> = answers.iter().map(|answer| answer.conn_ack(version).code).collect();
        assert_eq!(codes, if version.is_v5() { vec![0x95] } else { vec![] }, "{version:?}");
        broker.wait_log("connect-bytes-max");

        let mut client = RawClient::open(broker.addr(), version);
        client.send(&Connect::new(version, "mortal").will(Will::new(&long, &will)).encode());
        assert_eq!(client.read_packet().conn_ack(version).code, 0, "{version:?}");
        // With a will the length is known when the whole packet is there.
        let mut client = RawClient::open(broker.addr(), version);
        client.send(&Connect::new(version, &"x".repeat(1_000)).will(Will::new("gone", "x")).encode());
        let refused = match client.read() {
            Incoming::Closed => None,
            Incoming::Packet(packet) => Some(packet.conn_ack(version).code),
        };
        assert_eq!(refused, version.is_v5().then_some(0x95), "{version:?}");
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
            // The filter alone is refused, or the connection ends.
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
    assert_eq!(witness.read_message("end"), b"", "no message past the limit arrived before");
}

#[test]
fn client_ids_past_the_limit_are_refused() {
    // The standards require a broker to accept 23 bytes, so the limit cannot be lower.
    let Some(broker) = limited(&["--client-id-bytes-max", "23"]) else { return };
    let longest = "an identifier of 23 by.";
    for version in Version::ALL {
        let refused = try_connect(&broker, version, &format!("{longest}.")).err();
        // Client Identifier not valid, or in older versions identifier rejected.
        assert_eq!(refused, Some(Some(if version.is_v5() { 0x85 } else { 2 })), "{version:?}");
        RawClient::connect(broker.addr(), version, longest).ping();
    }
    // The limit does not apply to ids that the broker assigns.
    assert!(try_connect(&broker, Version::V5, "").is_ok());
}

#[test]
fn the_session_that_was_away_longest_gives_way_to_a_new_one() {
    let Some(broker) = limited(&["--sessions-max", "2"]) else { return };
    for id in ["first", "second"] {
        let mut client = Client::kept(&broker, Version::V5, id);
        client.subscribe("topic", 1);
        client.disconnect();
        // Two sessions that end in the same millisecond may go in any order.
        std::thread::sleep(Duration::from_millis(10));
    }
    Client::clean(&broker, Version::V311, "ends with its connection").disconnect();
    Client::kept(&broker, Version::V311, "third").disconnect();
    let line = broker.wait_log("limit reached: sessions-max");
    assert!(line.contains("first"), "{line}");
    assert_eq!(Client::kept(&broker, Version::V5, "second").session_present(), Some(true));
    // The broker looks for another session to end once a second.
    wait_for("room for a session", || {
        let client = Client::attempt(&broker, &Connect::kept(Version::V5, "first", 3600));
        (client.conn_ack().code == 0).then(|| assert_eq!(client.session_present(), Some(false)))
    });
}

#[test]
fn requests_past_a_limit_are_reduced_to_it_and_announced() {
    let flags = ["--session-expiry-s-max", "77", "--receive-maximum", "5", "--topic-alias-max", "3"];
    let Some(broker) = limited(&flags) else { return };
    let client = Client::connect(&broker, &Connect::kept(Version::V5, "client", 78));
    let told = |property| client.conn_ack().number(property);
    assert_eq!(told(SESSION_EXPIRY_INTERVAL), Some(77));
    assert_eq!((told(RECEIVE_MAXIMUM), told(TOPIC_ALIAS_MAXIMUM)), (Some(5), Some(3)));
    let modest = Client::connect(&broker, &Connect::kept(Version::V5, "modest", 76));
    assert!(matches!(modest.conn_ack().number(SESSION_EXPIRY_INTERVAL), None | Some(76)));
}

#[test]
fn without_any_expiry_no_session_is_kept() {
    let Some(broker) = limited(&["--session-expiry-s-max", "0"]) else { return };
    for version in Version::ALL {
        Client::kept(&broker, version, "client").disconnect();
        let again = Client::kept(&broker, version, "client");
        assert!(again.session_present() != Some(true), "{version:?}");
        again.disconnect();
    }
}

#[test]
fn more_messages_at_qos_2_than_allowed_are_refused_and_higher_aliases_end_the_connection() {
    let Some(broker) = limited(&["--receive-maximum", "2", "--topic-alias-max", "3"]) else { return };
    let message = Publish::new("topic", "text").qos(2);
    let mut client = Client::clean(&broker, Version::V5, "client");
    for _ in 0..2 {
        let packet_id = client.send_publish(&message);
        client.await_acknowledgement(kind::PUBREC, packet_id);
    }
    assert_eq!(client.publish_code(&message), 0x97);
    let mut client = Client::clean(&broker, Version::V5, "client");
    assert!(client.publish_code(&Publish::new("topic", "text").qos(1).with(TOPIC_ALIAS, 3)) < 0x80);
    client.send_publish(&Publish::new("topic", "text").with(TOPIC_ALIAS, 4));
    client.expect_disconnect(0x94);
}

#[test]
fn no_more_messages_than_allowed_are_on_their_way_to_a_client() {
    let Some(broker) = limited(&["--inflight-max", "2"]) else { return };
    for version in Version::ALL {
        let mut receiver = Client::clean(&broker, version, "receiver");
        receiver.subscribe("topic", 1);
        let mut sender = Client::clean(&broker, version, "sender");
        for number in 0..4 {
            sender.publish(&Publish::new("topic", &number.to_string()).qos(1));
        }
        let [first, second] = [receiver.next_message(), receiver.next_message()];
        receiver.nothing_came();
        [first, second].iter().for_each(|message| receiver.acknowledge(message));
        assert_eq!(receiver.receive_texts(2), ["2", "3"], "{version:?}");
    }
}

#[test]
fn retained_messages_past_a_limit_are_refused_and_their_topics_cleared() {
    for flags in [["--retained-max", "1"], ["--retained-bytes-max", "300"]] {
        let Some(broker) = limited(&flags) else { return };
        let retained = |topic, qos| Publish::new(topic, &[b'x'; 100]).qos(qos).retained();
        let mut sender = Client::clean(&broker, Version::V5, "sender");
        assert!(sender.publish_code(&retained("first", 1)) < 0x80);
        for qos in [1, 2] {
            assert_eq!(sender.publish_code(&retained("second", qos)), 0x97, "{flags:?}");
        }
        // Messages that cannot be refused are delivered all the same.
        let mut witness = Client::clean(&broker, Version::V5, "witness");
        witness.subscribe("second", 1);
        let mut older = Client::clean(&broker, Version::V311, "older");
        older.publish(&retained("second", 1));
        assert_eq!(witness.receive().payload.len(), 100);
        let mut later = Client::clean(&broker, Version::V5, "later");
        later.subscribe("#", 1);
        assert_eq!(later.receive().topic, "first");
        later.nothing_came();
        // An existing retained message may be replaced.
        assert!(sender.publish_code(&retained("first", 1)) < 0x80, "{flags:?}");
    }
}

#[test]
fn a_broker_that_retains_nothing_says_so_and_refuses_what_asks_for_it() {
    for flags in [["--retained-max", "0"], ["--retained-bytes-max", "0"]] {
        let Some(broker) = limited(&flags) else { return };
        let will = || Will::new("gone", "x").retained();
        let refused = Client::attempt(&broker, &Connect::new(Version::V5, "mortal").will(will()));
        assert_eq!(refused.conn_ack().code, 0x9A, "{flags:?}: Retain not supported");
        let mut receiver = Client::clean(&broker, Version::V5, "receiver");
        assert_eq!(receiver.conn_ack().number(RETAIN_AVAILABLE), Some(0), "{flags:?}");
        receiver.subscribe("#", 0);
        for qos in 0..=2 {
            let mut sender = Client::clean(&broker, Version::V5, "sender");
            sender.send_publish(&Publish::new("state", "x").qos(qos).retained());
            sender.expect_disconnect(0x9A);
        }
        receiver.nothing_came();
        // Earlier versions cannot be told: their messages are delivered and not retained.
        let mut older = Client::connect(&broker, &Connect::new(Version::V311, "older").will(will()));
        older.publish(&Publish::new("state", "y").qos(1).retained());
        assert_eq!(receiver.receive().text(), "y");
        older.die();
        assert_eq!(receiver.receive().topic, "gone");
        let mut late = Client::clean(&broker, Version::V5, "late");
        late.subscribe("#", 0);
        late.nothing_came();
    }
}

#[test]
fn queues_and_groups_past_the_limit_are_refused() {
    let Some(broker) = limited(&["--topic-queues-max", "2"]) else { return };
    for version in Version::ALL {
        let mut client = Client::clean(&broker, version, "client");
        client.subscribe("$queue/jobs", 1);
        client.subscribe("$share/group/topic", 1);
        if version != Version::V31 {
            let refusal = if version.is_v5() { 0x97 } else { 0x80 };
            let codes = client.subscribe_with(&Default::default(), &[("$queue/more", 1), ("$share/other/topic", 1)]);
            assert_eq!(codes, [refusal; 2], "{version:?}");
        }
        client.publish(&Publish::new("$queue/jobs", "job").qos(1));
        assert_eq!(client.receive().text(), "job");
        client.disconnect();
    }
    let mut client = Client::clean(&broker, Version::V5, "client");
    client.subscribe("$share/group/topic", 1);
    assert_eq!(client.publish_code(&Publish::new("$queue/more", "job").qos(1)), 0x97);
    client.publish(&Publish::new("$queue/more", "dropped"));
    client.ping();
}

#[test]
fn a_client_that_is_too_fast_is_slowed_down_and_loses_nothing() {
    for flags in [["--messages-per-s-max", "100"], ["--bytes-per-s-max", "10000"]] {
        let Some(broker) = limited(&flags) else { return };
        let mut bystanders = Bystanders::connect(broker.addr(), "pace");
        let mut receiver = Client::clean(&broker, Version::V5, "receiver");
        receiver.subscribe("fast", 0);
        let mut sender = Client::clean(&broker, Version::V311, "sender");
        let begun = Instant::now();
        // 100 bytes each: one second's allowance passes immediately, and the rest takes a second and a half.
        let payload = |number: usize| format!("{number:092}");
        (0..250).for_each(|number| _ = sender.send_publish(&Publish::new("fast", &payload(number))));
        bystanders.round_trip();
        (0..250).for_each(|number| assert_eq!(receiver.receive().text(), payload(number), "{flags:?}"));
        assert!(begun.elapsed() > Duration::from_millis(1_200), "{flags:?}: {:?}", begun.elapsed());
        sender.ping();
    }
}

#[test]
fn the_configured_response_information_is_sent_on_request() {
    let Some(broker) = limited(&["--response-information", "answers/"]) else { return };
    let asking = Connect::new(Version::V5, "asking").with(REQUEST_RESPONSE_INFORMATION, 1);
    let asking = Client::connect(&broker, &asking);
    assert_eq!(asking.conn_ack().text(RESPONSE_INFORMATION), Some("answers/"));
    let silent = Client::clean(&broker, Version::V5, "silent");
    assert_eq!(silent.conn_ack().text(RESPONSE_INFORMATION), None);
}
