//! Properties of messages of MQTT 5: forwarded unchanged, or applied.

use std::thread::sleep;
use std::time::Duration;

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Publish, kind};
use wisp_e2e::properties::Properties;
use wisp_e2e::properties::property::{
    CONTENT_TYPE, CORRELATION_DATA, MESSAGE_EXPIRY_INTERVAL, PAYLOAD_FORMAT_INDICATOR, RESPONSE_TOPIC, TOPIC_ALIAS,
};
use wisp_e2e::raw::Incoming;
use wisp_e2e::wait::TIMEOUT;

const PAYLOAD_FORMAT_INVALID: u8 = 0x99;

/// One property of each forwarded kind, not in the order of their identifiers.
fn of_every_kind() -> Properties {
    Properties::NONE
        .user("z", "last letter first")
        .data(CORRELATION_DATA, [0, 1, 254, 255])
        .data(RESPONSE_TOPIC, "answers/here")
        .user("a", "")
        .data(CONTENT_TYPE, "text/plain; charset=utf-8 \u{1F989}")
        .user("z", "last letter again")
        .number(PAYLOAD_FORMAT_INDICATOR, 1)
        .user("", "nameless")
}

fn assert_passed_on(found: &Properties, sent: &Properties, what: &str) {
    assert_eq!(found.users(), sent.users(), "{what}: user properties, in order");
    for property in [CORRELATION_DATA, RESPONSE_TOPIC, CONTENT_TYPE] {
        assert_eq!(found.bytes(property), sent.bytes(property), "{what}: property {property:02X}");
    }
    let indicator = PAYLOAD_FORMAT_INDICATOR;
    assert_eq!(found.get(indicator), sent.get(indicator), "{what}: payload format indicator");
}

#[test]
fn properties_of_a_message_are_passed_on_at_every_qos() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut subscriber = Client::clean(&broker, Version::V5, "subscriber");
    let mut shared = Client::clean(&broker, Version::V5, "shared");
    subscriber.subscribe("rich", 2);
    shared.subscribe("$share/group/rich", 2);
    for qos in 0..3 {
        publisher.publish(&Publish::new("rich", "payload").qos(qos).properties(&of_every_kind()));
        for client in [&mut subscriber, &mut shared] {
            let message = client.receive();
            assert_eq!((message.text(), message.qos), ("payload", qos));
            assert_passed_on(&message.properties, &of_every_kind(), &format!("QoS {qos}"));
        }
    }
}

#[test]
fn properties_of_a_message_are_kept_while_it_waits_and_when_it_comes_again() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut client = Client::kept(&broker, Version::V5, "away");
    client.subscribe("rich", 2);
    client.disconnect();
    for qos in [1, 2] {
        publisher.publish(&Publish::new("rich", "payload").qos(qos).properties(&of_every_kind()));
    }
    for time in ["waiting", "again"] {
        let mut client = Client::kept(&broker, Version::V5, "away");
        for _ in 0..2 {
            let message = client.next_message();
            assert_eq!(message.duplicate, time == "again");
            assert_passed_on(&message.properties, &of_every_kind(), time);
        }
        client.die();
    }
}

#[test]
fn messages_between_versions_gain_and_lose_properties() {
    let broker = Broker::start();
    let mut new = Client::clean(&broker, Version::V5, "new");
    new.subscribe("mixed", 2);
    for old_version in [Version::V31, Version::V311] {
        let mut old = Client::clean(&broker, old_version, "old");
        old.subscribe("mixed", 2);
        for qos in 0..3 {
            new.publish(&Publish::new("mixed", "from new").qos(qos).properties(&of_every_kind()));
            assert_eq!(old.receive().text(), "from new", "{old_version:?} QoS {qos}");
            assert_eq!(new.receive().text(), "from new", "{old_version:?} QoS {qos}");
            old.publish(&Publish::new("mixed", "from old").qos(qos));
            assert_eq!(old.receive().text(), "from old", "{old_version:?} QoS {qos}");
            let message = new.receive();
            assert_eq!(message.text(), "from old", "{old_version:?} QoS {qos}");
            assert_eq!(message.properties.without(TOPIC_ALIAS), Properties::NONE, "{old_version:?} QoS {qos}");
        }
        old.disconnect();
    }
}

#[test]
fn a_message_that_waited_past_its_expiry_is_dropped_and_others_carry_the_remaining_seconds() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    for version in [Version::V5, Version::V311] {
        let mut client = Client::kept(&broker, version, &format!("away {version:?}"));
        client.subscribe("expiry/+", 2);
        client.disconnect();
    }
    for qos in [1, 2] {
        for (topic, interval) in [("expiry/short", Some(1)), ("expiry/long", Some(1000)), ("expiry/none", None)] {
            let mut publish = Publish::new(topic, "text").qos(qos);
            publish.properties = interval
                .into_iter()
                .fold(Properties::NONE, |none, interval| none.number(MESSAGE_EXPIRY_INTERVAL, interval));
            publisher.publish(&publish);
        }
    }
    sleep(Duration::from_millis(3500));
    for version in [Version::V5, Version::V311] {
        let mut client = Client::kept(&broker, version, &format!("away {version:?}"));
        let mut come: Vec<_> = (0..4).map(|_| client.receive()).collect();
        come.sort_by_key(|message| (message.qos, message.topic.clone()));
        let topics: Vec<&str> = come.iter().map(|message| &*message.topic).collect();
        assert_eq!(topics, ["expiry/long", "expiry/none", "expiry/long", "expiry/none"], "{version:?}");
        client.nothing_came();
        if version.is_v5() {
            for message in come {
                match message.properties.get(MESSAGE_EXPIRY_INTERVAL) {
                    Some(left) => assert!((900..=998).contains(&left), "{message:?}: {left} seconds are left"),
                    None => assert_eq!(message.topic, "expiry/none"),
                }
            }
        }
    }
}

#[test]
fn a_message_delivered_at_once_keeps_its_expiry_interval() {
    let broker = Broker::start();
    let mut client = Client::clean(&broker, Version::V5, "both");
    client.subscribe("expiry", 2);
    for qos in 0..3 {
        client.publish(&Publish::new("expiry", "text").qos(qos).with(MESSAGE_EXPIRY_INTERVAL, 1000));
        let left = client.receive().properties.get(MESSAGE_EXPIRY_INTERVAL).expect("the interval is forwarded");
        assert!((900..=1000).contains(&left), "QoS {qos}: {left} seconds are left");
    }
}

#[test]
fn expired_messages_make_room_for_those_behind_them() {
    if cannot(Ability::Wisp) {
        // mosquitto gets stuck here.
        return;
    }
    let broker = Broker::start();
    let connect = wisp_e2e::packet::Connect::kept(Version::V5, "small window", 3600)
        .with(wisp_e2e::properties::property::RECEIVE_MAXIMUM, 1);
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut client = Client::connect(&broker, &connect);
    client.subscribe("expiry", 1);
    publisher.publish(&Publish::new("expiry", "under way").qos(1).with(MESSAGE_EXPIRY_INTERVAL, 1));
    for _ in 0..5 {
        publisher.publish(&Publish::new("expiry", "expires").qos(1).with(MESSAGE_EXPIRY_INTERVAL, 1));
    }
    publisher.publish(&Publish::new("expiry", "stays").qos(1));
    let under_way = client.next_message();
    assert_eq!(under_way.text(), "under way");
    sleep(Duration::from_millis(3500));
    client.acknowledge(&under_way);
    assert_eq!(client.receive().text(), "stays");
    client.nothing_came();
}

#[test]
fn a_payload_that_is_not_the_text_it_claims_to_be_is_refused() {
    if cannot(Ability::Wisp) {
        // The standard lets the broker decide whether to check.
        return;
    }
    let broker = Broker::start();
    let mut subscriber = Client::clean(&broker, Version::V5, "subscriber");
    subscriber.subscribe("text", 2);
    for wrong in [&b"\xFF"[..], b"cut short \xE2\x82", b"surrogate \xED\xA0\x80"] {
        for qos in 0..3 {
            let mut publisher = Client::clean(&broker, Version::V5, "publisher");
            let publish = Publish::new("text", wrong).qos(qos).with(PAYLOAD_FORMAT_INDICATOR, 1);
            let packet_id = publisher.send_publish(&publish);
            // In the acknowledgement, or by ending the connection.
            match publisher.read_within(TIMEOUT).expect("a refusal") {
                Incoming::Packet(packet) if packet.kind() == kind::DISCONNECT => {
                    assert_eq!(packet.disconnect_code(), PAYLOAD_FORMAT_INVALID, "QoS {qos}");
                }
                Incoming::Packet(packet) => {
                    let answer = packet.publish_acknowledgement(Version::V5);
                    assert_eq!((answer.packet_id, answer.code), (packet_id, PAYLOAD_FORMAT_INVALID), "QoS {qos}");
                    // The exchange is complete, and the connection continues.
                    publisher.send_publish(&Publish::new("text", "right").qos(0).with(PAYLOAD_FORMAT_INDICATOR, 1));
                    assert_eq!(subscriber.receive().text(), "right");
                    publisher.nothing_came();
                }
                Incoming::Closed => panic!("QoS {qos}: closed without an answer"),
            }
        }
    }
    // Without the indicator, or with 0 in it, payloads are bytes.
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    publisher.publish(&Publish::new("text", b"\xFF").qos(1));
    publisher.publish(&Publish::new("text", b"\xFF").qos(1).with(PAYLOAD_FORMAT_INDICATOR, 0));
    publisher.publish(&Publish::new("text", "h\u{F6}rt, h\u{F6}rt \u{1F989}").qos(1).with(PAYLOAD_FORMAT_INDICATOR, 1));
    assert_eq!([(); 3].map(|()| subscriber.receive().payload.len()), [1, 1, 17]);
    subscriber.nothing_came();
}

#[test]
fn user_properties_by_the_hundred_keep_their_order() {
    let broker = Broker::start();
    let mut client = Client::clean(&broker, Version::V5, "both");
    client.subscribe("many", 1);
    let names: Vec<String> = (0..300).map(|number| format!("name {}", number % 7)).collect();
    let values: Vec<String> = (0..300).map(|number| format!("value {number}")).collect();
    let properties = names.iter().zip(&values).fold(Properties::NONE, |list, (name, value)| list.user(name, value));
    client.publish(&Publish::new("many", "text").qos(1).properties(&properties));
    assert_eq!(client.receive().properties.users(), properties.users());
}
