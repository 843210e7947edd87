//! Topic aliases of MQTT 5: numbers for topic names within one connection, in either direction.

use std::collections::HashMap;

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, Publish};
use wisp_e2e::properties::property::{MAXIMUM_PACKET_SIZE, TOPIC_ALIAS, TOPIC_ALIAS_MAXIMUM};

/// Topic Alias invalid.
const INVALID: u8 = 0x94;
const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

/// A publisher, and the number of aliases that the broker accepts.
fn publisher(broker: &Broker) -> (Client, u32) {
    let client = Client::kept(broker, Version::V5, "publisher");
    let maximum = client.conn_ack().number(TOPIC_ALIAS_MAXIMUM).unwrap_or(0);
    assert!(maximum > 0, "the broker accepts topic aliases");
    (client, maximum)
}

#[test]
fn a_clients_alias_stands_for_the_topic_it_was_last_given() {
    let broker = Broker::start();
    let mut subscribers = Version::ALL.map(|version| {
        let mut subscriber = Client::clean(&broker, version, &format!("subscriber {version:?}"));
        subscriber.subscribe("alias/#", 2);
        subscriber
    });
    let (mut publisher, maximum) = publisher(&broker);
    for qos in 0..3 {
        // Topic, alias, and the topic that is expected to arrive.
        let script = [
            ("alias/one", 1, "alias/one"),
            ("", 1, "alias/one"),
            ("alias/last", maximum, "alias/last"),
            ("", 1, "alias/one"),
            ("", maximum, "alias/last"),
            ("alias/other", 1, "alias/other"),
            ("", 1, "alias/other"),
            ("alias/other", 1, "alias/other"),
            ("", maximum, "alias/last"),
        ];
        for (number, (topic, alias, _)) in script.iter().enumerate() {
            let text = number.to_string();
            publisher.publish(&Publish::new(topic, &text).qos(qos).with(TOPIC_ALIAS, *alias));
        }
        for subscriber in &mut subscribers {
            for (number, (_, _, expected)) in script.iter().enumerate() {
                let message = subscriber.receive();
                let found = (&*message.topic, message.text());
                assert_eq!(found, (*expected, &*number.to_string()), "{:?} QoS {qos}", subscriber.version());
            }
        }
    }
}

#[test]
fn retained_and_queued_messages_have_the_topic_that_the_alias_stood_for() {
    let broker = Broker::start();
    let mut away = Client::kept(&broker, Version::V5, "away");
    away.subscribe("alias/#", 1);
    away.disconnect();
    let (mut publisher, _) = publisher(&broker);
    publisher.publish(&Publish::new("alias/kept", "first").qos(1).retained().with(TOPIC_ALIAS, 1));
    publisher.publish(&Publish::new("", "second").qos(1).retained().with(TOPIC_ALIAS, 1));
    let mut away = Client::kept(&broker, Version::V5, "away");
    for text in ["first", "second"] {
        let message = away.receive();
        assert_eq!((&*message.topic, message.text()), ("alias/kept", text));
    }
    let mut later = Client::clean(&broker, Version::V311, "later");
    later.subscribe("alias/kept", 1);
    assert_eq!(later.receive().text(), "second");
}

#[test]
fn aliases_out_of_range_end_the_connection() {
    let broker = Broker::start();
    let maximum = publisher(&broker).1;
    assert!(maximum < 0xFFFF, "the broker states a maximum that can be exceeded");
    let mut client = Client::clean(&broker, Version::V5, "publisher");
    client.send_publish(&Publish::new("alias", "").with(TOPIC_ALIAS, 0));
    client.expect_disconnect_of(&[INVALID, PROTOCOL_ERROR, MALFORMED]);
    for alias in [maximum + 1, 0xFFFF] {
        let mut client = Client::clean(&broker, Version::V5, "publisher");
        client.send_publish(&Publish::new("alias", "").with(TOPIC_ALIAS, alias));
        client.expect_disconnect(INVALID);
    }
}

#[test]
fn an_alias_without_a_topic_ends_the_connection() {
    let broker = Broker::start();
    let mut client = Client::clean(&broker, Version::V5, "publisher");
    client.send_publish(&Publish::new("", "").with(TOPIC_ALIAS, 1));
    client.expect_disconnect_of(&[PROTOCOL_ERROR, INVALID]);
}

#[test]
fn aliases_end_with_their_connection_and_belong_to_one_client() {
    let broker = Broker::start();
    let (mut one, _) = publisher(&broker);
    one.publish(&Publish::new("alias/one", "").qos(1).with(TOPIC_ALIAS, 1));
    let mut other = Client::clean(&broker, Version::V5, "other");
    other.send_publish(&Publish::new("", "").with(TOPIC_ALIAS, 1));
    other.expect_disconnect_of(&[PROTOCOL_ERROR, INVALID]);
    one.publish(&Publish::new("", "").qos(1).with(TOPIC_ALIAS, 1));
    one.disconnect();
    let (mut one, _) = publisher(&broker);
    assert_eq!(one.session_present(), Some(true));
    one.send_publish(&Publish::new("", "").with(TOPIC_ALIAS, 1));
    one.expect_disconnect_of(&[PROTOCOL_ERROR, INVALID]);
}

fn with_aliases(client_id: &str, maximum: u32) -> Connect<'_> {
    Connect::kept(Version::V5, client_id, 3600).with(TOPIC_ALIAS_MAXIMUM, maximum)
}

#[test]
fn the_brokers_aliases_are_within_the_clients_maximum_and_resolve() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    for maximum in [0, 1, 3, 0xFFFF] {
        let mut client = Client::connect(&broker, &with_aliases("subscriber", maximum).clean());
        client.subscribe("alias/+", 2);
        for number in 0..60 {
            let topic = format!("alias/{}", number * 7 % 10);
            publisher.publish(&Publish::new(&topic, &topic).qos((number % 3) as u8));
            let message = client.receive();
            assert_eq!((message.text(), &*message.topic), (&*topic, &*topic), "maximum {maximum}");
            let alias = message.properties.get(TOPIC_ALIAS);
            assert!(alias.is_none_or(|alias| (1..=maximum).contains(&alias)), "maximum {maximum}: {message:?}");
        }
        client.disconnect();
    }
    let mut client = Client::clean(&broker, Version::V5, "subscriber");
    client.subscribe("alias/+", 1);
    for _ in 0..2 {
        publisher.publish(&Publish::new("alias/1", "").qos(1));
        assert!(!client.receive().properties.has(TOPIC_ALIAS), "the client did not allow any");
    }
}

#[test]
fn the_second_message_on_a_topic_comes_under_an_alias() {
    if cannot(Ability::Wisp) {
        // A broker need not use aliases, and mosquitto does not.
        return;
    }
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    for qos in 0..3 {
        let mut client = Client::connect(&broker, &with_aliases("subscriber", 10).clean());
        client.subscribe("alias/+", 2);
        let mut aliases = HashMap::new();
        for round in 0..3 {
            for topic in ["alias/a", "alias/b", "alias/c"] {
                publisher.publish(&Publish::new(topic, topic).qos(qos));
                let message = client.receive();
                assert_eq!((message.text(), &*message.topic), (topic, topic));
                let alias = message.properties.get(TOPIC_ALIAS).expect("there is room for all three topics");
                assert_eq!(message.topic_left_out, round > 0, "QoS {qos}, {topic}, round {round}");
                assert_eq!(*aliases.entry(topic).or_insert(alias), alias, "QoS {qos}, {topic}, round {round}");
            }
        }
        client.disconnect();
    }
}

#[test]
fn messages_sent_again_have_their_topics_in_the_new_connection() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    let mut client = Client::connect(&broker, &with_aliases("subscriber", 2));
    client.subscribe("alias/+", 2);
    let texts = ["a", "b", "c", "a", "b", "c"];
    for text in texts {
        publisher.publish(&Publish::new(&format!("alias/{text}"), text).qos(1));
    }
    let sent: Vec<_> = (0..texts.len()).map(|_| client.next_message()).collect();
    client.die();
    // Once with other aliases, once without any.
    for maximum in [1, 0] {
        let mut client = Client::connect(&broker, &with_aliases("subscriber", maximum));
        for (text, sent) in texts.iter().zip(&sent) {
            let message = client.next_message();
            assert_eq!((&*message.topic, message.text()), (&*format!("alias/{text}"), *text));
            assert_eq!((message.packet_id, message.duplicate), (sent.packet_id, true));
            let alias = message.properties.get(TOPIC_ALIAS);
            assert!(alias.is_none_or(|alias| (1..=maximum).contains(&alias)), "{message:?}");
        }
        client.die();
    }
}

#[test]
fn a_message_that_was_too_large_to_be_sent_gives_no_alias_its_topic() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    let connect = with_aliases("subscriber", 5).with(MAXIMUM_PACKET_SIZE, 100);
    let mut client = Client::connect(&broker, &connect);
    client.subscribe("alias/+", 2);
    for qos in 0..3 {
        let topic = format!("alias/{qos}");
        publisher.publish(&Publish::new(&topic, &[b'x'; 200]).qos(qos));
        for round in 0..2 {
            publisher.publish(&Publish::new(&topic, &topic).qos(qos));
            let message = client.receive();
            assert_eq!((&*message.topic, message.text()), (&*topic, &*topic));
            assert_eq!(message.topic_left_out, round > 0);
        }
    }
}
