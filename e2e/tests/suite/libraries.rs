//! Client libraries by other authors use all features of a session: exchanges at every QoS, retained messages,
//! wills, and sessions that outlive their connections.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::peer::{Heard, Options, Peer, Session, mqtt_js, node_is_missing, paho};

use crate::rumqttc_peer::rumqttc;

type Connect = fn(&Options) -> Box<dyn Peer>;

const MESSAGES: usize = 40;

fn clean(broker: &Broker, connect: Connect, version: Version, client_id: &str) -> Session {
    Session::of(connect(&Options::new(broker.addr(), version, client_id)))
}

fn kept(broker: &Broker, connect: Connect, version: Version, client_id: &str) -> Session {
    Session::of(connect(&Options { clean: false, ..Options::new(broker.addr(), version, client_id) }))
}

fn heard(qos: u8, retain: bool, topic: &str, text: &str) -> Heard {
    Heard { qos, retain, topic: topic.to_owned(), text: text.to_owned() }
}

fn exchange_at_every_qos(connect: Connect, versions: &[Version]) {
    let broker = Broker::start();
    for version in versions {
        let mut subscriber = clean(&broker, connect, *version, "subscriber");
        for qos in 0..3 {
            subscriber.subscribe(&format!("exchange/{qos}/+"), qos);
        }
        let mut publisher = clean(&broker, connect, *version, "publisher");
        for number in 0..MESSAGES {
            for qos in 0..3 {
                publisher.start_to_publish(&format!("exchange/{qos}/x"), &format!("{number} \u{1F989}"), qos, false);
            }
        }
        publisher.finish_publishing();
        let messages = subscriber.wait_for_messages(3 * MESSAGES);
        for qos in 0..3 {
            let found: Vec<&Heard> = messages.iter().filter(|message| message.qos == qos).collect();
            let topic = format!("exchange/{qos}/x");
            let expected: Vec<Heard> =
                (0..MESSAGES).map(|number| heard(qos, false, &topic, &format!("{number} \u{1F989}"))).collect();
            assert!(found.into_iter().eq(&expected), "{version:?} QoS {qos}: {messages:?}");
        }
        publisher.disconnect();
        assert_eq!(subscriber.messages().len(), 3 * MESSAGES, "{version:?}");
        subscriber.disconnect();
    }
}

fn retained_messages(connect: Connect, versions: &[Version]) {
    let broker = Broker::start();
    for version in versions {
        let mut publisher = clean(&broker, connect, *version, "publisher");
        let mut early = clean(&broker, connect, *version, "early");
        early.subscribe("kept/#", 2);
        for qos in 0..3 {
            publisher.publish(&format!("kept/{qos}"), "text", qos, true);
        }
        early.wait_for_messages(3);
        let mut late = clean(&broker, connect, *version, "late");
        late.subscribe("kept/#", 2);
        let mut messages = late.wait_for_messages(3);
        messages.sort_by_key(|message| message.qos);
        let topics = ["kept/0", "kept/1", "kept/2"];
        let expected: Vec<Heard> = (0..).zip(topics).map(|(qos, topic)| heard(qos, true, topic, "text")).collect();
        assert_eq!(messages, expected, "{version:?}");
        assert!(early.messages().iter().all(|message| !message.retain), "{version:?}");
        for qos in 0..3 {
            publisher.publish(&format!("kept/{qos}"), "", qos, true);
        }
        early.wait_for_messages(6);
        let mut last = clean(&broker, connect, *version, "last");
        last.subscribe("#", 2);
        publisher.publish("end", "", 2, false);
        assert_eq!(last.wait_for_messages(1), [heard(2, false, "end", "")], "{version:?}: all is cleared");
        [publisher, early, late, last].into_iter().for_each(Session::disconnect);
    }
}

fn wills(connect: Connect, versions: &[Version]) {
    let broker = Broker::start();
    for version in versions {
        let mut heir = clean(&broker, connect, *version, "heir");
        heir.subscribe("wills/#", 2);
        for qos in 0..3 {
            let will = Some(("wills/x".to_owned(), format!("gone at {qos}"), qos, qos == 1));
            let options = Options { will, ..Options::new(broker.addr(), *version, "mortal") };
            Session::of(connect(&options)).disconnect();
            // This time without DISCONNECT.
            drop(Session::of(connect(&options)));
            let messages = heir.wait_for_messages(usize::from(qos) + 1);
            let expected: Vec<Heard> =
                (0..=qos).map(|qos| heard(qos, false, "wills/x", &format!("gone at {qos}"))).collect();
            assert_eq!(messages, expected, "{version:?}: one will, of the client that did not disconnect");
        }
        let mut late = clean(&broker, connect, *version, "late");
        late.subscribe("wills/#", 2);
        assert_eq!(late.wait_for_messages(1), [heard(1, true, "wills/x", "gone at 1")], "{version:?}");
        late.publish("wills/x", "", 1, true);
        [heir, late].into_iter().for_each(Session::disconnect);
    }
}

fn sessions_that_are_kept(connect: Connect, versions: &[Version]) {
    let broker = Broker::start();
    for version in versions {
        let mut client = kept(&broker, connect, *version, "kept");
        let tells_present = *version != Version::V31;
        assert!(!tells_present || !client.is_present(), "{version:?}");
        client.subscribe("kept/1", 1);
        client.subscribe("kept/2", 2);
        client.disconnect();
        let mut publisher = clean(&broker, connect, *version, "publisher");
        for number in 0..MESSAGES {
            for qos in [1, 2] {
                publisher.publish(&format!("kept/{qos}"), &number.to_string(), qos, false);
            }
        }
        let client = kept(&broker, connect, *version, "kept");
        assert!(!tells_present || client.is_present(), "{version:?}");
        let messages = client.wait_for_messages(2 * MESSAGES);
        for qos in [1, 2] {
            let numbers =
                messages.iter().filter(|message| message.qos == qos).map(|message| message.text.parse::<usize>());
            assert!(
                numbers.map(|number| number.expect("a number")).eq(0..MESSAGES),
                "{version:?} QoS {qos}: {messages:?}"
            );
        }
        publisher.publish("kept/2", "now", 2, false);
        assert_eq!(client.wait_for_messages(2 * MESSAGES + 1)[2 * MESSAGES].text, "now", "{version:?}");
        publisher.disconnect();
        client.disconnect();
        // A clean session ends the kept one.
        clean(&broker, connect, *version, "kept").disconnect();
        let client = kept(&broker, connect, *version, "kept");
        assert!(!tells_present || !client.is_present(), "{version:?}");
        client.disconnect();
        clean(&broker, connect, *version, "kept").disconnect();
    }
}

const RUMQTTC_VERSIONS: [Version; 2] = [Version::V311, Version::V5];

#[test]
fn paho_exchanges_messages_at_every_qos() {
    exchange_at_every_qos(paho, &Version::ALL);
}

#[test]
fn paho_gets_and_clears_retained_messages() {
    retained_messages(paho, &Version::ALL);
}

#[test]
fn paho_leaves_wills() {
    wills(paho, &Version::ALL);
}

#[test]
fn paho_resumes_its_session() {
    sessions_that_are_kept(paho, &Version::ALL);
}

#[test]
fn rumqttc_exchanges_messages_at_every_qos() {
    exchange_at_every_qos(rumqttc, &RUMQTTC_VERSIONS);
}

#[test]
fn rumqttc_gets_and_clears_retained_messages() {
    retained_messages(rumqttc, &RUMQTTC_VERSIONS);
}

#[test]
fn rumqttc_leaves_wills() {
    wills(rumqttc, &RUMQTTC_VERSIONS);
}

#[test]
fn rumqttc_resumes_its_session() {
    sessions_that_are_kept(rumqttc, &RUMQTTC_VERSIONS);
}

#[test]
fn mqtt_js_exchanges_messages_at_every_qos() {
    if !node_is_missing() {
        exchange_at_every_qos(mqtt_js, &Version::ALL);
    }
}

#[test]
fn mqtt_js_gets_and_clears_retained_messages() {
    if !node_is_missing() {
        retained_messages(mqtt_js, &Version::ALL);
    }
}

#[test]
fn mqtt_js_leaves_wills() {
    if !node_is_missing() {
        wills(mqtt_js, &Version::ALL);
    }
}

#[test]
fn mqtt_js_resumes_its_session() {
    if !node_is_missing() {
        sessions_that_are_kept(mqtt_js, &Version::ALL);
    }
}
