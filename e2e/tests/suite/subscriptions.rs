//! The options of subscriptions, and the codes of SUBACK and UNSUBACK.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Message, Publish, kind, subscribe};
use wisp_e2e::properties::Properties;
use wisp_e2e::properties::property::SUBSCRIPTION_IDENTIFIER;
use wisp_e2e::raw::Incoming;
use wisp_e2e::wait::TIMEOUT;

const NO_LOCAL: u8 = 0x04;
const TOPIC_FILTER_INVALID: u8 = 0x8F;
const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
const PROTOCOL_ERROR: u8 = 0x82;
const MALFORMED: u8 = 0x81;

fn identifier(id: u32) -> Properties {
    Properties::NONE.number(SUBSCRIPTION_IDENTIFIER, id)
}

/// The messages before one on the topic "end".
fn until_end(client: &mut Client) -> Vec<Message> {
    client.publish(&Publish::new("end", "").qos(2));
    let mut messages = Vec::new();
    loop {
        let message = client.receive();
        if message.topic == "end" {
            return messages;
        }
        messages.push(message);
    }
}

#[test]
fn each_filter_of_a_subscribe_packet_has_a_code_of_its_own() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = Client::clean(&broker, version, "subscriber");
        let codes = client.subscribe_with(&Properties::NONE, &[("a", 2), ("b", 0), ("c/#", 1), ("d/+/e", 2)]);
        assert_eq!(codes, [2, 0, 1, 2], "{version:?}");
        for (topic, qos) in [("a", 2), ("b", 0), ("c/x", 1), ("d/x/e", 2)] {
            client.publish(&Publish::new(topic, "text").qos(2));
            let message = client.receive();
            assert_eq!((&*message.topic, message.qos), (topic, qos), "{version:?}");
        }
    }
}

#[test]
fn shared_filters_without_a_proper_group_or_filter_are_refused() {
    if cannot(Ability::Wisp) {
        // mosquitto grants some of them.
        return;
    }
    let broker = Broker::start();
    for filter in ["$share/group", "$share//a", "$share/g+/a", "$share/g#/a", "$share/g/", "$share/g/a/#/b"] {
        for version in [Version::V311, Version::V5] {
            let mut client = Client::clean(&broker, version, "subscriber");
            client.send(&subscribe(version, 7, &[(filter, 1)]));
            // The filter alone is refused, or the connection ends.
            match client.read_within(TIMEOUT).expect("an answer, or the end") {
                Incoming::Closed => assert!(!version.is_v5(), "{filter}: without an answer"),
                Incoming::Packet(packet) if packet.kind() == kind::SUBACK => {
                    let refusal = if version.is_v5() { TOPIC_FILTER_INVALID } else { 0x80 };
                    assert_eq!(packet.acknowledgement(version), (7, &[refusal][..]), "{version:?} {filter}");
                }
                Incoming::Packet(packet) => {
                    let code = packet.disconnect_code();
                    assert!(matches!(code, TOPIC_FILTER_INVALID | PROTOCOL_ERROR | MALFORMED), "{filter}: {code:02X}");
                }
            }
        }
    }
}

#[test]
fn unsuback_says_which_subscriptions_there_were() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = Client::clean(&broker, version, "subscriber");
        client.subscribe_with(&Properties::NONE, &[("a/b", 1), ("a/+", 1), ("$share/group/a/b", 1)]);
        let codes = client.unsubscribe(&["a/+", "a/#", "a/b/c", "$share/other/a/b", "$share/group/a/b", "a/+"]);
        let none = NO_SUBSCRIPTION_EXISTED;
        let expected = if version.is_v5() { vec![0, none, none, none, 0, none] } else { vec![] };
        assert_eq!(codes, expected, "{version:?}");
        client.publish(&Publish::new("a/c", "unsubscribed").qos(1));
        client.publish(&Publish::new("a/b", "subscribed").qos(1));
        assert_eq!(client.receive().text(), "subscribed", "{version:?}");
        client.nothing_came();
    }
}

#[test]
fn subscribing_again_replaces_the_subscription_and_its_options() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = Client::clean(&broker, version, "subscriber");
        for qos in [0, 2, 1, 0] {
            client.subscribe("again", qos);
            client.publish(&Publish::new("again", "text").qos(2));
            assert_eq!(client.receive().qos, qos, "{version:?}");
            client.nothing_came();
        }
    }
    let mut client = Client::clean(&broker, Version::V5, "subscriber");
    client.subscribe("end", 2);
    let mut message_with = |properties: &Properties, options: u8| {
        assert_eq!(client.subscribe_with(properties, &[("again", options)]), [options & 3]);
        client.publish(&Publish::new("again", "text").qos(2));
        until_end(&mut client).pop().map(|message| (message.qos, message.properties.subscription_ids()))
    };
    assert_eq!(message_with(&identifier(7), 1), Some((1, vec![7])));
    assert_eq!(message_with(&identifier(8), 2), Some((2, vec![8])));
    assert_eq!(message_with(&Properties::NONE, 2), Some((2, vec![])));
    assert_eq!(message_with(&Properties::NONE, 0), Some((0, vec![])));
}

#[test]
fn subscribing_again_replaces_the_option_no_local() {
    if cannot(Ability::Wisp) {
        // mosquitto keeps the option of the first subscription.
        return;
    }
    let broker = Broker::start();
    let mut client = Client::clean(&broker, Version::V5, "subscriber");
    client.subscribe("end", 2);
    for (options, comes) in [(2, 1), (2 | NO_LOCAL, 0), (1, 1), (NO_LOCAL, 0)] {
        client.subscribe_with(&Properties::NONE, &[("again", options)]);
        client.publish(&Publish::new("again", "text").qos(2));
        assert_eq!(until_end(&mut client).len(), comes, "options {options:02X}");
    }
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it() {
    let broker = Broker::start();
    let mut client = Client::clean(&broker, Version::V5, "both");
    let mut other = Client::clean(&broker, Version::V5, "other");
    client.subscribe_with(&Properties::NONE, &[("room", 2 | NO_LOCAL), ("end", 2)]);
    other.subscribe("room", 2);
    for qos in 0..3 {
        client.publish(&Publish::new("room", "mine").qos(qos));
        assert_eq!(other.receive().text(), "mine");
        other.publish(&Publish::new("room", "the other's").qos(qos));
        assert_eq!(other.receive().text(), "the other's");
        assert_eq!(client.receive().text(), "the other's", "QoS {qos}");
        assert_eq!(until_end(&mut client), [], "QoS {qos}");
    }
}

#[test]
fn no_local_is_kept_with_the_session_and_goes_by_client_id() {
    let broker = Broker::start();
    let mut client = Client::kept(&broker, Version::V5, "both");
    client.subscribe_with(&Properties::NONE, &[("room", 2 | NO_LOCAL), ("end", 2)]);
    client.disconnect();
    let mut client = Client::kept(&broker, Version::V5, "both");
    client.publish(&Publish::new("room", "mine").qos(2));
    assert_eq!(until_end(&mut client), []);
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    if cannot(Ability::Wisp) {
        // mosquitto grants it.
        return;
    }
    let broker = Broker::start();
    let mut client = Client::clean(&broker, Version::V5, "wrong");
    client.send(&subscribe(Version::V5, 1, &[("$share/group/room", 1 | NO_LOCAL)]));
    client.expect_disconnect(PROTOCOL_ERROR);
}

#[test]
fn messages_bring_the_identifier_of_their_subscription() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    let mut client = Client::clean(&broker, Version::V5, "subscriber");
    // The longest identifier has four bytes.
    for (id, filter) in [(1, "one"), (127, "two"), (128, "three"), (268_435_455, "four")] {
        client.subscribe_with(&identifier(id), &[(filter, 1)]);
        for qos in [0, 1] {
            publisher.publish(&Publish::new(filter, "text").qos(qos));
            assert_eq!(client.receive().properties.subscription_ids(), [id], "{filter} at QoS {qos}");
        }
    }
    client.subscribe("none", 1);
    publisher.publish(&Publish::new("none", "text").qos(1));
    assert!(client.receive().properties.subscription_ids().is_empty());
}

#[test]
fn overlapping_subscriptions_bring_all_identifiers_and_the_highest_qos() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut client = Client::clean(&broker, Version::V5, "subscriber");
    client.subscribe_with(&identifier(10), &[("a/b", 0)]);
    client.subscribe_with(&identifier(20), &[("a/+", 2), ("c", 1)]);
    client.subscribe_with(&identifier(30), &[("#", 1)]);
    for (topic, qos, ids) in [("a/b", 2, vec![10, 20, 30]), ("a/c", 2, vec![20, 30]), ("c", 1, vec![20, 30])] {
        publisher.publish(&Publish::new(topic, "text").qos(2));
        let mut messages = Vec::new();
        // The broker may send one copy with all identifiers, or one copy for each subscription.
        loop {
            let message = client.receive();
            messages.push(message);
            let mut found: Vec<u32> =
                messages.iter().flat_map(|message| message.properties.subscription_ids()).collect();
            found.sort_unstable();
            if found.len() >= ids.len() {
                assert_eq!(found, ids, "{topic}");
                break;
            }
        }
        assert_eq!(messages.iter().map(|message| message.qos).max(), Some(qos), "{topic}");
    }
    client.nothing_came();
}

#[test]
fn queued_messages_bring_the_identifiers_of_their_subscriptions() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut client = Client::kept(&broker, Version::V5, "away");
    client.subscribe_with(&identifier(5), &[("queued", 1)]);
    client.disconnect();
    publisher.publish(&Publish::new("queued", "text").qos(1));
    let mut client = Client::kept(&broker, Version::V5, "away");
    assert_eq!(client.receive().properties.subscription_ids(), [5], "of a queued message");
    publisher.publish(&Publish::new("queued", "text").qos(1));
    assert_eq!(client.receive().properties.subscription_ids(), [5], "the identifier is kept with the session");
}

#[test]
fn retained_messages_bring_the_identifier_of_their_subscription() {
    let broker = Broker::start();
    let mut client = Client::clean(&broker, Version::V5, "subscriber");
    client.publish(&Publish::new("kept", "text").qos(1).retained());
    client.subscribe_with(&identifier(11), &[("kept", 1)]);
    let message = client.receive();
    assert_eq!((message.retain, message.properties.subscription_ids()), (true, vec![11]));
}
