//! Wills in all their forms: QoS, retained, delayed, with properties; and every way in which a connection can
//! end.

use std::thread::sleep;
use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, Publish, Will, kind, packet};
use wisp_e2e::properties::Properties;
use wisp_e2e::properties::property::{
    CONTENT_TYPE, CORRELATION_DATA, MESSAGE_EXPIRY_INTERVAL, PAYLOAD_FORMAT_INDICATOR, RESPONSE_TOPIC,
    SESSION_EXPIRY_INTERVAL, WILL_DELAY_INTERVAL,
};

const DISCONNECT_WITH_WILL: u8 = 0x04;
const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

/// A client that subscribes to the wills of others.
fn heir(broker: &Broker, version: Version) -> Client {
    let mut heir = Client::clean(broker, version, "heir");
    heir.subscribe("wills/#", 2);
    heir
}

/// Asserts that the heir received no will: another client's message arrives first.
fn no_will_came(broker: &Broker, heir: &mut Client) {
    let mut other = Client::clean(broker, heir.version(), "somebody else");
    other.publish(&Publish::new("wills/none", "").qos(2));
    assert_eq!(heir.receive().topic, "wills/none", "{:?}: no will is expected", heir.version());
}

/// A client with a session expiry interval and a will delay, both in seconds.
fn with_delay<'a>(client_id: &'a str, session_s: u32, delay_s: u32) -> Connect<'a> {
    let will = Will::new("wills/delayed", client_id).qos(1).with(WILL_DELAY_INTERVAL, delay_s);
    Connect::kept(Version::V5, client_id, session_s).will(will)
}

#[test]
fn a_will_has_the_lower_qos_of_its_own_and_of_the_subscription() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut heirs = [0, 1, 2].map(|granted| {
            let mut heir = Client::clean(&broker, version, &format!("heir {granted}"));
            heir.subscribe("wills/qos", granted);
            heir
        });
        for qos in 0..3 {
            let will = Will::new("wills/qos", "gone").qos(qos);
            Client::connect(&broker, &Connect::new(version, "mortal").will(will)).die();
            for (granted, heir) in (0..).zip(&mut heirs) {
                let message = heir.receive();
                assert_eq!((message.qos, message.text(), message.retain), (qos.min(granted), "gone", false));
            }
        }
    }
}

#[test]
fn a_retained_will_is_there_for_later_subscribers() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut heir = heir(&broker, version);
        let topic = format!("wills/retained/{version:?}");
        let will = Will::new(&topic, "kept").qos(1).retained();
        Client::connect(&broker, &Connect::new(version, "mortal").will(will)).die();
        let message = heir.receive();
        assert_eq!((message.text(), message.retain), ("kept", false), "{version:?}");
        let mut later = Client::clean(&broker, version, "later");
        later.subscribe(&topic, 2);
        let message = later.receive();
        assert_eq!((message.text(), message.retain, message.qos), ("kept", true, 1), "{version:?}");
        // An empty retained will clears the retained message.
        let will = Will::new(&topic, "").retained();
        Client::connect(&broker, &Connect::new(version, "mortal").will(will)).die();
        assert_eq!(later.receive().text(), "", "{version:?}");
        later.subscribe(&topic, 2);
        later.nothing_came();
    }
}

#[test]
fn a_will_is_published_after_a_protocol_error_of_its_client() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut heir = heir(&broker, version);
        let connect = Connect::new(version, "mortal").will(Will::new("wills/error", "gone").qos(1));
        let mut mortal = Client::connect(&broker, &connect);
        // UNSUBSCRIBE with the flags of another packet type.
        mortal.send(&packet(0xA0, &[0, 1, 0, 0, 1, b'a']));
        mortal.expect_disconnect_of(&[MALFORMED, PROTOCOL_ERROR]);
        assert_eq!(heir.receive().topic, "wills/error", "{version:?}");
    }
}

#[test]
fn a_will_is_published_when_the_keep_alive_runs_out() {
    let broker = Broker::start();
    let mut heir = heir(&broker, Version::V5);
    let start = Instant::now();
    let silent = Version::ALL.map(|version| {
        let id = format!("silent {version:?}");
        let will = Will::new("wills/silent", "gone").qos(1);
        let connect = Connect { keep_alive_s: 1, ..Connect::new(version, &id).will(will) };
        Client::connect(&broker, &connect)
    });
    for _ in &silent {
        assert_eq!(heir.receive().topic, "wills/silent");
        assert!(start.elapsed() >= Duration::from_secs(1), "after {:?}", start.elapsed());
    }
}

#[test]
fn a_will_is_published_when_another_connection_takes_over() {
    if cannot(Ability::Wisp) {
        // mosquitto does so in some cases only.
        return;
    }
    let broker = Broker::start();
    for version in Version::ALL {
        let mut heir = heir(&broker, version);
        let connect = Connect::new(version, "the one").will(Will::new("wills/taken", "over").qos(1));
        let _old = Client::connect(&broker, &connect);
        let new = Client::clean(&broker, version, "the one");
        assert_eq!(heir.receive().topic, "wills/taken", "{version:?}");
        new.disconnect();
        no_will_came(&broker, &mut heir);
    }
}

#[test]
fn a_normal_disconnect_discards_the_will() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut heir = heir(&broker, version);
        let connect = Connect::kept(version, "polite", 3600).will(Will::new("wills/polite", "gone").qos(1));
        Client::connect(&broker, &connect).disconnect();
        // The will is not kept with the session either.
        Client::kept(&broker, version, "polite").die();
        no_will_came(&broker, &mut heir);
        Client::clean(&broker, version, "polite").disconnect();
        no_will_came(&broker, &mut heir);
    }
}

#[test]
fn a_client_of_mqtt_5_may_disconnect_with_its_will_published() {
    let broker = Broker::start();
    let mut heir = heir(&broker, Version::V5);
    let connect = Connect::new(Version::V5, "with will").will(Will::new("wills/chosen", "gone").qos(1));
    Client::connect(&broker, &connect).disconnect_with(DISCONNECT_WITH_WILL, &Properties::NONE);
    assert_eq!(heir.receive().topic, "wills/chosen");
    Client::connect(&broker, &connect).disconnect_with(0, &Properties::NONE);
    no_will_came(&broker, &mut heir);
}

#[test]
fn every_disconnect_code_but_0_leaves_the_will_in_force() {
    if cannot(Ability::Wisp) {
        // mosquitto publishes after code 4 only.
        return;
    }
    let broker = Broker::start();
    let mut heir = heir(&broker, Version::V5);
    let connect = Connect::new(Version::V5, "with will").will(Will::new("wills/error", "gone").qos(1));
    for code in [0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] {
        Client::connect(&broker, &connect).disconnect_with(code, &Properties::NONE);
        assert_eq!(heir.receive().topic, "wills/error", "code {code:02X}");
    }
}

#[test]
fn a_will_brings_its_properties() {
    let broker = Broker::start();
    let mut heir = heir(&broker, Version::V5);
    let mut will = Will::new("wills/rich", "gone").qos(1);
    let properties = Properties::NONE
        .number(PAYLOAD_FORMAT_INDICATOR, 1)
        .data(CONTENT_TYPE, "text/plain")
        .data(RESPONSE_TOPIC, "wills/answers")
        .data(CORRELATION_DATA, [0, 255])
        .number(MESSAGE_EXPIRY_INTERVAL, 1000)
        .user("b", "2")
        .user("a", "1")
        .user("b", "2");
    will.properties = properties.clone().number(WILL_DELAY_INTERVAL, 0);
    Client::connect(&broker, &Connect::new(Version::V5, "rich").will(will)).die();
    let found = heir.receive().properties;
    assert_eq!(found.users(), properties.users());
    for property in [PAYLOAD_FORMAT_INDICATOR, MESSAGE_EXPIRY_INTERVAL] {
        assert_eq!(found.get(property), properties.get(property), "property {property:02X}");
    }
    for property in [CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION_DATA] {
        assert_eq!(found.bytes(property), properties.bytes(property), "property {property:02X}");
    }
    assert!(!found.has(WILL_DELAY_INTERVAL), "{found:?}");
}

#[test]
fn a_delayed_will_is_published_after_its_delay() {
    let broker = Broker::start();
    let mut heir = heir(&broker, Version::V5);
    let start = Instant::now();
    Client::connect(&broker, &with_delay("patient", 3600, 2)).die();
    let message = heir.receive();
    assert_eq!((&*message.topic, message.text()), ("wills/delayed", "patient"));
    // mosquitto counts whole seconds of the clock, so it may be up to one second early.
    assert!(start.elapsed() >= Duration::from_millis(900), "after {:?}", start.elapsed());
    assert_eq!(Client::kept(&broker, Version::V5, "patient").session_present(), Some(true));
}

#[test]
fn a_delayed_will_is_cancelled_by_a_client_that_returns() {
    let broker = Broker::start();
    let mut heir = heir(&broker, Version::V5);
    for round in 0..3 {
        let mut mortal = Client::connect(&broker, &with_delay("returns", 3600, 2));
        assert_eq!(mortal.session_present(), Some(round > 0));
        mortal.ping();
        mortal.die();
    }
    let back = Client::kept(&broker, Version::V5, "returns");
    sleep(Duration::from_millis(4500));
    no_will_came(&broker, &mut heir);
    // It no longer has a will.
    back.die();
    no_will_came(&broker, &mut heir);
}

#[test]
fn a_delayed_will_is_published_at_once_when_the_session_ends_with_the_connection() {
    if cannot(Ability::Wisp) {
        // mosquitto waits.
        return;
    }
    let broker = Broker::start();
    let mut heir = heir(&broker, Version::V5);
    Client::connect(&broker, &with_delay("no session", 0, 3600)).die();
    assert_eq!(heir.receive().text(), "no session");
}

#[test]
fn a_delayed_will_is_published_when_its_session_expires_before() {
    let broker = Broker::start();
    let mut heir = heir(&broker, Version::V5);
    Client::connect(&broker, &with_delay("short session", 1, 3600)).die();
    assert_eq!(heir.receive().text(), "short session");
}

#[test]
fn a_delayed_will_is_published_when_its_session_is_given_up_at_disconnect() {
    if cannot(Ability::Wisp) {
        // mosquitto drops it.
        return;
    }
    let broker = Broker::start();
    let mut heir = heir(&broker, Version::V5);
    let session_end = Properties::NONE.number(SESSION_EXPIRY_INTERVAL, 0);
    Client::connect(&broker, &with_delay("gives up", 3600, 3600)).disconnect_with(DISCONNECT_WITH_WILL, &session_end);
    assert_eq!(heir.receive().text(), "gives up");
}

#[test]
fn a_delayed_will_is_published_when_a_clean_start_ends_its_session() {
    if cannot(Ability::Wisp) {
        // mosquitto drops it.
        return;
    }
    let broker = Broker::start();
    let mut heir = heir(&broker, Version::V5);
    Client::connect(&broker, &with_delay("begins anew", 3600, 3600)).die();
    let _new = Client::clean(&broker, Version::V5, "begins anew");
    assert_eq!(heir.receive().text(), "begins anew");
    no_will_came(&broker, &mut heir);
}

#[test]
fn a_will_reaches_sessions_that_are_away_and_shared_subscribers() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut away = Client::kept(&broker, version, "away");
        away.subscribe("wills/for/all", 2);
        away.disconnect();
        let mut shared = Client::clean(&broker, version, "shared");
        shared.subscribe("$share/heirs/wills/for/all", 2);
        let will = Will::new("wills/for/all", "gone").qos(2);
        Client::connect(&broker, &Connect::new(version, "mortal").will(will)).die();
        assert_eq!(shared.receive().text(), "gone", "{version:?}");
        let mut away = Client::kept(&broker, version, "away");
        let message = away.receive();
        assert_eq!((message.text(), message.qos), ("gone", 2), "{version:?}");
        Client::clean(&broker, version, "away").disconnect();
    }
}

#[test]
fn the_will_of_a_refused_connection_is_never_published() {
    let broker = Broker::start();
    let mut heir = heir(&broker, Version::V5);
    // MQTT 3.1.1 does not allow a kept session without a client id.
    let connect = Connect::kept(Version::V311, "", 0).will(Will::new("wills/refused", "gone"));
    let mut refused = Client::attempt(&broker, &connect);
    assert_eq!(refused.conn_ack().code, 2);
    assert!(refused.read_to_close().iter().all(|packet| packet.kind() != kind::PUBLISH));
    no_will_came(&broker, &mut heir);
}
