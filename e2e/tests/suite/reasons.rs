//! The details that MQTT 5 adds to an answer: codes in acknowledgements, and the client's choice of how many it
//! gets.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, Publish, kind, packet};
use wisp_e2e::properties::Properties;
use wisp_e2e::properties::property::{
    AUTHENTICATION_DATA, AUTHENTICATION_METHOD, MAXIMUM_QOS, REASON_STRING, RECEIVE_MAXIMUM,
    REQUEST_PROBLEM_INFORMATION, REQUEST_RESPONSE_INFORMATION, RESPONSE_INFORMATION, RETAIN_AVAILABLE,
    SHARED_SUBSCRIPTION_AVAILABLE, SUBSCRIPTION_IDENTIFIERS_AVAILABLE, TOPIC_ALIAS_MAXIMUM, USER_PROPERTY,
    WILDCARD_SUBSCRIPTION_AVAILABLE,
};

const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
const PROTOCOL_ERROR: u8 = 0x82;
const SHUTTING_DOWN: u8 = 0x8B;
const BAD_AUTHENTICATION_METHOD: u8 = 0x8C;

#[test]
fn connack_restricts_no_feature_of_mqtt_5() {
    let broker = Broker::start();
    let client = Client::clean(&broker, Version::V5, "curious");
    let answer = client.conn_ack();
    // 2 is not a legal value of the property, and for the others absence means 1.
    assert_eq!(answer.number(MAXIMUM_QOS), None);
    for property in [
        RETAIN_AVAILABLE,
        WILDCARD_SUBSCRIPTION_AVAILABLE,
        SUBSCRIPTION_IDENTIFIERS_AVAILABLE,
        SHARED_SUBSCRIPTION_AVAILABLE,
    ] {
        assert_ne!(answer.number(property), Some(0), "property {property:02X}");
    }
    assert!(answer.number(TOPIC_ALIAS_MAXIMUM).is_some_and(|maximum| maximum > 0));
    assert_ne!(answer.number(RECEIVE_MAXIMUM), Some(0));
}

#[test]
fn a_publisher_is_told_in_puback_whether_anybody_subscribes() {
    a_publisher_is_told_whether_anybody_subscribes(1);
}

#[test]
fn a_publisher_is_told_in_pubrec_whether_anybody_subscribes() {
    if cannot(Ability::Wisp) {
        // mosquitto looks for subscribers later, when the message is released.
        return;
    }
    a_publisher_is_told_whether_anybody_subscribes(2);
}

fn a_publisher_is_told_whether_anybody_subscribes(qos: u8) {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let publish = Publish::new("anybody", "").qos(qos);
    for version in Version::ALL {
        assert_eq!(publisher.publish(&publish), NO_MATCHING_SUBSCRIBERS, "before");
        let mut subscriber = Client::clean(&broker, version, "subscriber");
        subscriber.subscribe("somebody", 0);
        assert_eq!(publisher.publish(&publish), NO_MATCHING_SUBSCRIBERS, "another subscription");
        subscriber.subscribe("+", 0);
        assert_eq!(publisher.publish(&publish), 0, "{version:?} subscribes");
        subscriber.receive();
        subscriber.disconnect();
        assert_eq!(publisher.publish(&publish), NO_MATCHING_SUBSCRIBERS, "after");

        let mut away = Client::kept(&broker, version, "away");
        away.subscribe("anybody", 2);
        away.disconnect();
        assert_eq!(publisher.publish(&publish), 0, "a session that is away subscribes");
        Client::clean(&broker, version, "away").disconnect();
    }
}

#[test]
fn no_reasons_are_sent_to_a_client_that_does_not_ask_for_them() {
    let broker = Broker::start();
    let connect = Connect::new(Version::V5, "laconic").with(REQUEST_PROBLEM_INFORMATION, 0);
    let mut client = Client::connect(&broker, &connect);
    let silent = |properties: &Properties| !properties.has(REASON_STRING) && !properties.has(USER_PROPERTY);
    for qos in [1, 2] {
        let packet_id = client.send_publish(&Publish::new("nobody/subscribes", "").qos(qos));
        let answer = client.await_acknowledgement(if qos == 1 { kind::PUBACK } else { kind::PUBREC }, packet_id);
        assert!(matches!(answer.code, 0 | NO_MATCHING_SUBSCRIBERS), "{answer:?}");
        assert!(silent(&answer.properties), "{answer:?}");
    }
    client.answer(kind::PUBREL, 999);
    let answer = client.await_acknowledgement(kind::PUBCOMP, 999);
    assert!(silent(&answer.properties), "{answer:?}");
    // The properties of SUBACK and UNSUBACK are empty too.
    client.send(&wisp_e2e::packet::subscribe(Version::V5, 5, &[("a", 1)]));
    assert_eq!(client.await_packet("SUBACK", |packet| packet.kind() == kind::SUBACK).body[..3], [0, 5, 0]);
    client.send(&wisp_e2e::packet::unsubscribe(Version::V5, 6, &["never/subscribed"]));
    assert_eq!(client.await_packet("UNSUBACK", |packet| packet.kind() == kind::UNSUBACK).body[..3], [0, 6, 0]);
}

#[test]
fn response_information_is_not_sent_without_a_request() {
    let broker = Broker::start();
    for asked in [None, Some(0)] {
        let connect = Connect::new(Version::V5, "requester");
        let connect =
            asked.into_iter().fold(connect, |connect, value| connect.with(REQUEST_RESPONSE_INFORMATION, value));
        let client = Client::connect(&broker, &connect);
        assert!(!client.conn_ack().properties.has(RESPONSE_INFORMATION));
    }
    // On request the broker may send it or not.
    Client::connect(&broker, &Connect::new(Version::V5, "requester").with(REQUEST_RESPONSE_INFORMATION, 1)).ping();
}

#[test]
fn enhanced_authentication_is_refused() {
    let broker = Broker::start();
    let mut connect = Connect::new(Version::V5, "authenticates");
    for data in [None, Some([1, 2, 3])] {
        connect.properties = Properties::NONE.data(AUTHENTICATION_METHOD, "SCRAM-SHA-256");
        if let Some(data) = data {
            connect.properties = connect.properties.data(AUTHENTICATION_DATA, data);
        }
        let mut client = Client::attempt(&broker, &connect);
        assert_eq!(client.conn_ack().code, BAD_AUTHENTICATION_METHOD);
        assert!(!client.conn_ack().session_present);
        assert_eq!(client.read_to_close(), []);
    }
}

#[test]
fn auth_in_a_connection_without_a_method_ends_it() {
    let broker = Broker::start();
    let mut client = Client::clean(&broker, Version::V5, "authenticates late");
    // Re-authenticate, with a method.
    let method = Properties::NONE.data(AUTHENTICATION_METHOD, "SCRAM-SHA-256");
    client.send(&packet(0xF0, &[&[0x19][..], &wisp_e2e::packet::properties(Version::V5, &method.content())].concat()));
    client.expect_disconnect_of(&[PROTOCOL_ERROR, BAD_AUTHENTICATION_METHOD]);
}

#[test]
fn a_stopped_broker_sends_disconnect_to_its_clients() {
    if cannot(Ability::Signals) {
        return;
    }
    let mut broker = Broker::start();
    let mut clients = Version::ALL.map(|version| Client::kept(&broker, version, &format!("client {version:?}")));
    clients.iter_mut().for_each(Client::ping);
    broker.signal("TERM");
    for client in &mut clients {
        client.expect_disconnect(SHUTTING_DOWN);
    }
    assert!(broker.finish().status.success());
}
