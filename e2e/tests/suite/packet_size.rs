//! Maximum Packet Size of a client of MQTT 5: longer packets are not sent, and count as sent.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, Publish};
use wisp_e2e::properties::Properties;
use wisp_e2e::properties::property::{MAXIMUM_PACKET_SIZE, RECEIVE_MAXIMUM};

const BYTES_MAX: usize = 200;

fn modest(client_id: &str) -> Connect<'_> {
    Connect::kept(Version::V5, client_id, 3600).with(MAXIMUM_PACKET_SIZE, BYTES_MAX as u32)
}

/// A payload with which a PUBLISH on this topic has exactly `packet_bytes` bytes for a client of MQTT 5.
fn payload(topic: &str, qos: u8, packet_bytes: usize) -> Vec<u8> {
    let overhead = Publish::new(topic, &[0; 150]).qos(qos).encode(Version::V5, 1).len() - 150;
    vec![b'x'; packet_bytes - overhead]
}

#[test]
fn longer_messages_are_not_sent() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    for qos in 0..3 {
        let mut client = Client::connect(&broker, &modest("modest"));
        client.subscribe("size", 2);
        let sizes = [BYTES_MAX, BYTES_MAX + 10, 150, 1000, BYTES_MAX + 10, 5000, 151, BYTES_MAX];
        for size in sizes {
            publisher.publish(&Publish::new("size", &payload("size", qos, size)).qos(qos));
        }
        for size in sizes.into_iter().filter(|size| *size <= BYTES_MAX) {
            assert_eq!(client.receive().payload.len(), payload("size", qos, size).len(), "QoS {qos}");
        }
        client.nothing_came();
        Client::clean(&broker, Version::V5, "modest").disconnect();
    }
}

#[test]
fn the_limit_is_that_of_the_whole_packet_to_the_byte() {
    if cannot(Ability::Wisp) {
        // mosquitto does not count the fixed header.
        return;
    }
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    for qos in 0..3 {
        let mut client = Client::connect(&broker, &modest("modest").clean());
        client.subscribe("size", 2);
        for size in [BYTES_MAX + 1, BYTES_MAX] {
            publisher.publish(&Publish::new("size", &payload("size", qos, size)).qos(qos));
        }
        assert_eq!(client.receive().payload, payload("size", qos, BYTES_MAX), "QoS {qos}");
        client.nothing_came();
    }
}

#[test]
fn messages_that_are_too_long_take_no_room_in_the_window() {
    if cannot(Ability::Windows) {
        return;
    }
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    for qos in [1, 2] {
        let mut client = Client::connect(&broker, &modest("modest").clean().with(RECEIVE_MAXIMUM, 2));
        client.subscribe("size", 2);
        for _ in 0..5 {
            publisher.publish(&Publish::new("size", &[b'x'; 1000]).qos(qos));
        }
        publisher.publish(&Publish::new("size", "fits").qos(qos));
        assert_eq!(client.receive().text(), "fits", "QoS {qos}");
        client.nothing_came();
    }
}

#[test]
fn longer_queued_messages_are_not_sent_either() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    let mut client = Client::kept(&broker, Version::V5, "modest");
    client.subscribe("size", 2);
    client.disconnect();
    for (qos, size) in [(1, 1000), (1, 150), (2, 1000), (2, 150)] {
        publisher.publish(&Publish::new("size", &payload("size", qos, size)).qos(qos));
    }
    // The limit of the connection that the messages would be sent on applies.
    let mut client = Client::connect(&broker, &modest("modest"));
    for qos in [1, 2] {
        let message = client.receive();
        assert_eq!((message.qos, message.payload.len()), (qos, payload("size", qos, 150).len()));
    }
    client.nothing_came();
    client.disconnect();
    let mut client = Client::kept(&broker, Version::V5, "modest");
    client.nothing_came();
}

#[test]
fn longer_retained_messages_are_not_sent() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    publisher.publish(&Publish::new("size/long", &payload("size/long", 1, 250)).qos(1).retained());
    publisher.publish(&Publish::new("size/short", &payload("size/short", 1, 200)).qos(1).retained());
    let mut client = Client::connect(&broker, &modest("modest"));
    client.subscribe("size/#", 1);
    assert_eq!(client.receive().topic, "size/short");
    client.nothing_came();
}

#[test]
fn properties_count_as_part_of_the_packet() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut client = Client::connect(&broker, &modest("modest"));
    client.subscribe("size", 1);
    let large = Properties::NONE.user("name", &"x".repeat(BYTES_MAX));
    publisher.publish(&Publish::new("size", "large").qos(1).properties(&large));
    publisher.publish(&Publish::new("size", "small").qos(1));
    assert_eq!(client.receive().text(), "small");
    client.nothing_came();
}
