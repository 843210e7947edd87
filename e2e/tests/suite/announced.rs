//! What MQTT 5 lets the two sides tell each other beforehand: what this version of the broker does not
//! offer is announced in CONNACK, and using it all the same ends the connection with the code for it.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, kind, properties, publish, publish_with, subscribe};
use wisp_e2e::raw::{Bystanders, Incoming, RawClient};

const MAXIMUM_QOS: u8 = 0x24;
const RETAIN_AVAILABLE: u8 = 0x25;
const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
const SHARED_SUBSCRIPTIONS_AVAILABLE: u8 = 0x2A;

#[test]
fn connack_tells_mqtt_5_clients_what_is_not_offered() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let mut client = RawClient::open(broker.addr(), Version::V5);
    client.send(&Connect::new(Version::V5, "curious").encode());
    let answer = client.read_packet().conn_ack(Version::V5);
    assert_eq!(answer.code, 0);
    assert_eq!(answer.number(MAXIMUM_QOS), Some(0));
    assert_eq!(answer.number(RETAIN_AVAILABLE), Some(0));
    assert_eq!(answer.number(TOPIC_ALIAS_MAXIMUM).unwrap_or(0), 0);
    if answer.number(SHARED_SUBSCRIPTIONS_AVAILABLE) == Some(0) {
        client.send(&subscribe(Version::V5, 9, &[("$share/group/filter", 0)]));
        // Shared Subscriptions not supported, for the filter or for the connection.
        let answer = client.read_packet();
        match answer.kind() {
            kind::SUBACK => assert_eq!(answer.acknowledgement(Version::V5), (9, &[0x9E][..])),
            _ => assert_eq!(answer.disconnect_code(), 0x9E),
        }
    }
}

#[test]
fn qos_retain_and_topic_alias_are_refused_with_their_codes() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let mut bystanders = Bystanders::connect(broker.addr(), "not-offered");
    let refused = [
        ("QoS 1", publish_with(Version::V5, 0b0010, b"a", Some(1), &[], b"x"), 0x9B),
        ("QoS 2", publish_with(Version::V5, 0b0100, b"a", Some(1), &[], b"x"), 0x9B),
        ("retain", publish_with(Version::V5, 0b0001, b"a", None, &[], b"x"), 0x9A),
        ("a topic alias", publish_with(Version::V5, 0, b"a", None, &[0x23, 0, 1], b"x"), 0x94),
        ("topic alias 0", publish_with(Version::V5, 0, b"a", None, &[0x23, 0, 0], b"x"), 0x94),
    ];
    for (what, bytes, code) in refused {
        let mut client = RawClient::connect(broker.addr(), Version::V5, what);
        client.send(&bytes);
        client.expect_disconnect(code);
        bystanders.round_trip();
    }
}

#[test]
fn qos_0_is_granted_to_whoever_asks_for_more() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = RawClient::connect(broker.addr(), version, "asks for more");
        for (filter, qos) in [("at/least/once", 1), ("exactly/once", 2)] {
            assert_eq!(client.subscribe_code(filter, qos), 0, "{version:?}: granted for QoS {qos}");
            client.publish(filter, b"once");
            assert_eq!(client.read_message(filter), b"once");
        }
    }
}

#[test]
fn qos_1_before_mqtt_5_is_acknowledged_or_ends_the_connection() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let mut bystanders = Bystanders::connect(broker.addr(), "v311");
    // These versions have no way to tell a client beforehand. It must not be left waiting.
    for version in [Version::V31, Version::V311] {
        let mut client = RawClient::connect(broker.addr(), version, "QoS 1");
        client.send(&publish_with(version, 0b0010, b"a", Some(0x1234), &[], b"x"));
        match client.read() {
            Incoming::Closed => {}
            Incoming::Packet(answer) => {
                assert_eq!((answer.kind(), &answer.body[..]), (kind::PUBACK, &[0x12, 0x34][..]));
            }
        }
        bystanders.round_trip();
    }
}

#[test]
fn a_client_gets_no_packet_longer_than_it_accepts() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let mut modest = RawClient::open(broker.addr(), Version::V5);
    // Maximum Packet Size 100.
    modest.send(&Connect::new(Version::V5, "modest").with(0x27, 100).encode());
    assert_eq!(modest.read_packet().conn_ack(Version::V5).code, 0);
    modest.subscribe(&["size"]);
    let mut other = RawClient::connect(broker.addr(), Version::V5, "other");
    other.subscribe(&["size"]);
    let overhead = publish(Version::V5, "size", b"").len();
    for bytes in [50, 101, 1000, 100] {
        other.publish("size", &vec![7; bytes - overhead]);
        assert_eq!(other.read_message("size").len(), bytes - overhead);
    }
    for bytes in [50, 100] {
        assert_eq!(modest.read_message("size").len(), bytes - overhead, "longer ones are left out");
    }
}

#[test]
fn user_properties_and_no_local_do_what_mqtt_5_says() {
    let broker = Broker::start();
    let mut receiver = RawClient::connect(broker.addr(), Version::V5, "receiver");
    let mut old_receiver = RawClient::connect(broker.addr(), Version::V311, "old receiver");
    let mut sender = RawClient::connect(broker.addr(), Version::V5, "sender");
    receiver.subscribe(&["properties"]);
    old_receiver.subscribe(&["properties"]);
    // Bit 2: no local, the sender's own messages do not come back.
    assert_eq!(sender.subscribe_code("properties", 0b100), 0);

    // Payload format, content type, response topic, correlation data, and the same user property twice.
    let content = [
        &[0x01, 1, 0x03, 0, 4][..],
        b"text",
        &[0x08, 0, 5],
        b"reply",
        &[0x09, 0, 2, 0, 255],
        &[0x26, 0, 1, b'k', 0, 1, b'1', 0x26, 0, 1, b'k', 0, 1, b'2'],
    ]
    .concat();
    sender.send(&publish_with(Version::V5, 0, b"properties", None, &content, b"payload"));
    let packet = receiver.read_packet();
    assert_eq!(packet.publish(Version::V5), ("properties", &b"payload"[..]));
    let passed_on = [&[0, 10][..], b"properties", &properties(Version::V5, &content), b"payload"].concat();
    assert_eq!(packet.body, passed_on, "properties are passed on as they are and in order");
    assert_eq!(old_receiver.read_message("properties"), b"payload", "older versions have no properties");
    sender.ping();
}
