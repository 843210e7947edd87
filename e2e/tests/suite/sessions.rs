//! Sessions: the state that is kept for a client that is away, and for how long.

use std::thread::sleep;
use std::time::Duration;

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::packet::{Connect, Publish};
use wisp_e2e::properties::Properties;
use wisp_e2e::properties::property::{ASSIGNED_CLIENT_IDENTIFIER, SESSION_EXPIRY_INTERVAL};

/// Longer than the session expiry of one second in these tests, by more than any host's timer is late.
const PAST_EXPIRY: Duration = Duration::from_millis(3500);

const NEVER: u32 = u32::MAX;

/// Session Present in the CONNACK of a resumed session; MQTT 3.1 has no field for it.
fn present(version: Version, is_present: bool) -> Option<bool> {
    (version != Version::V31).then_some(is_present)
}

#[test]
fn a_kept_session_is_present_with_its_subscriptions() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        let mut client = Client::kept(&broker, version, "kept");
        assert_eq!(client.session_present(), present(version, false), "{version:?}: the first time");
        client.subscribe("kept/qos1", 1);
        client.subscribe("kept/qos2/#", 2);
        client.subscribe("not/kept", 1);
        client.unsubscribe(&["not/kept"]);
        assert_eq!(client.disconnect(), []);

        let mut client = Client::kept(&broker, version, "kept");
        assert_eq!(client.session_present(), present(version, true), "{version:?}: the second time");
        publisher.publish(&Publish::new("not/kept", "not subscribed").qos(2));
        publisher.publish(&Publish::new("kept/qos1", "one").qos(2));
        publisher.publish(&Publish::new("kept/qos2/x", "two").qos(2));
        let messages = [client.receive(), client.receive()];
        assert_eq!(
            messages.map(|message| (message.qos, message.text().to_owned())),
            [(1, "one".to_owned()), (2, "two".to_owned())]
        );
        client.nothing_came();
        Client::clean(&broker, version, "kept").disconnect();
    }
}

#[test]
fn a_clean_start_discards_the_session_that_was_kept() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        let mut client = Client::kept(&broker, version, "kept");
        client.subscribe("discarded", 1);
        client.disconnect();
        publisher.publish(&Publish::new("discarded", "queued").qos(1));

        let mut client = Client::clean(&broker, version, "kept");
        assert_eq!(client.session_present(), present(version, false), "{version:?}: after a clean start");
        publisher.publish(&Publish::new("discarded", "unsubscribed").qos(1));
        client.nothing_came();
        client.disconnect();

        let mut client = Client::kept(&broker, version, "kept");
        assert_eq!(client.session_present(), present(version, false), "{version:?}: nothing came back");
        client.nothing_came();
        Client::clean(&broker, version, "kept").disconnect();
    }
}

#[test]
fn a_clean_session_ends_with_its_connection() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = Client::clean(&broker, version, "clean");
        client.subscribe("gone", 1);
        client.disconnect();
        let mut client = Client::kept(&broker, version, "clean");
        assert_eq!(client.session_present(), present(version, false), "{version:?}");
        client.publish(&Publish::new("gone", "nobody subscribes").qos(1));
        client.nothing_came();
        Client::clean(&broker, version, "clean").disconnect();
    }
}

#[test]
fn a_clean_start_of_mqtt_5_may_begin_a_session_that_is_kept() {
    let broker = Broker::start();
    let begin = Connect::kept(Version::V5, "begins", 3600).clean();
    let mut client = Client::connect(&broker, &begin);
    client.subscribe("kept", 1);
    client.disconnect();
    let client = Client::kept(&broker, Version::V5, "begins");
    assert_eq!(client.session_present(), Some(true));
    client.disconnect();
    assert_eq!(Client::connect(&broker, &begin).session_present(), Some(false));
}

#[test]
fn messages_are_queued_while_the_client_is_away_and_come_in_order() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = Client::kept(&broker, version, "away");
        client.subscribe("queued/+", 2);
        client.disconnect();

        let mut publisher = Client::clean(&broker, version, "publisher");
        let texts: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        for text in &texts {
            publisher.publish(&Publish::new("queued/1", text).qos(1));
            publisher.publish(&Publish::new("queued/2", text).qos(2));
        }
        let mut client = Client::kept(&broker, version, "away");
        let mut come = [vec![], vec![]];
        for _ in 0..2 * texts.len() {
            let message = client.receive();
            assert!(!message.duplicate, "{version:?}: {message:?} is sent for the first time");
            assert_eq!(message.topic, format!("queued/{}", message.qos), "{version:?}: the QoS of delivery");
            come[usize::from(message.qos) - 1].push(message.text().to_owned());
        }
        assert_eq!(come, [texts.clone(), texts], "{version:?}: all, once and in order");
        client.nothing_came();
        client.disconnect();
        let mut client = Client::kept(&broker, version, "away");
        client.nothing_came();
        Client::clean(&broker, version, "away").disconnect();
    }
}

#[test]
fn messages_published_while_the_client_dies_are_kept_too() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        let mut client = Client::kept(&broker, version, "dies");
        client.subscribe("to/it", 1);
        for round in 0..10 {
            // The broker may not have noticed the end yet, and then sends to a closed connection.
            client.die();
            let text = round.to_string();
            publisher.publish(&Publish::new("to/it", &text).qos(1));
            client = Client::kept(&broker, version, "dies");
            assert_eq!(client.session_present(), present(version, true), "{version:?}");
            assert_eq!(client.receive().text(), text, "{version:?}");
            // The broker has read the acknowledgement before the next connection ends.
            client.nothing_came();
        }
        Client::clean(&broker, version, "dies").disconnect();
    }
}

#[test]
fn a_session_kept_by_one_version_is_resumed_by_another() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    for (old, new) in [(Version::V311, Version::V5), (Version::V5, Version::V311)] {
        let mut client = Client::kept(&broker, old, "changes");
        client.subscribe("both", 1);
        client.disconnect();
        let user = Properties::NONE.user("name", "value");
        publisher.publish(&Publish::new("both", "queued").qos(1).properties(&user));
        let mut client = Client::kept(&broker, new, "changes");
        assert_eq!(client.session_present(), Some(true), "from {old:?} to {new:?}");
        let message = client.receive();
        assert_eq!(message.text(), "queued", "from {old:?} to {new:?}");
        assert_eq!(message.properties.users().len(), usize::from(new.is_v5()), "from {old:?} to {new:?}");
        Client::clean(&broker, new, "changes").disconnect();
    }
}

#[test]
fn a_session_of_mqtt_5_ends_when_its_expiry_interval_has_passed() {
    let broker = Broker::start();
    let leave = |id: &'static str, expiry: Option<u32>| {
        let mut connect = Connect::new(Version::V5, id);
        connect.clean_start = false;
        connect.properties =
            expiry.into_iter().fold(Properties::NONE, |none, expiry| none.number(SESSION_EXPIRY_INTERVAL, expiry));
        let mut client = Client::connect(&broker, &connect);
        client.subscribe("expiring/sessions", 1);
        client.disconnect();
    };
    let cases = [
        ("no interval", None, false),
        ("at once", Some(0), false),
        ("a second", Some(1), false),
        ("an hour", Some(3600), true),
        ("never", Some(NEVER), true),
    ];
    for (id, expiry, _) in cases {
        leave(id, expiry);
    }
    Client::clean(&broker, Version::V5, "publisher").publish(&Publish::new("expiring/sessions", "text").qos(1));
    sleep(PAST_EXPIRY);
    for (id, _, is_present) in cases {
        let mut client = Client::kept(&broker, Version::V5, id);
        assert_eq!(client.session_present(), Some(is_present), "{id}");
        if is_present {
            assert_eq!(client.receive().text(), "text", "{id}");
        }
        client.nothing_came();
    }
}

#[test]
fn a_session_that_is_in_use_does_not_expire() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker, &Connect::kept(Version::V5, "in use", 1));
    client.subscribe("in/use", 1);
    client.disconnect();
    // After a reconnection in time, the interval starts again at the end of the new connection.
    let mut client = Client::connect(&broker, &Connect::kept(Version::V5, "in use", 3600));
    if client.session_present() == Some(false) {
        // This machine was too slow for the interval of one second.
        client.subscribe("in/use", 1);
    }
    sleep(PAST_EXPIRY);
    client.publish(&Publish::new("in/use", "still here").qos(1));
    assert_eq!(client.receive().text(), "still here");
    client.disconnect();
    assert_eq!(Client::kept(&broker, Version::V5, "in use").session_present(), Some(true));
}

#[test]
fn a_client_of_mqtt_5_may_change_the_session_expiry_at_disconnect() {
    let broker = Broker::start();
    let interval = |seconds| Properties::NONE.number(SESSION_EXPIRY_INTERVAL, seconds);
    let connect = |id: &'static str, seconds| Client::connect(&broker, &Connect::kept(Version::V5, id, seconds));
    assert_eq!(connect("ends", 3600).disconnect_with(0, &interval(0)), []);
    assert_eq!(connect("ends", 3600).session_present(), Some(false), "expiry 0 at DISCONNECT");

    assert_eq!(connect("shorter", 3600).disconnect_with(0, &interval(1)), []);
    assert_eq!(connect("longer", 1).disconnect_with(0, &interval(3600)), []);
    assert_eq!(connect("for good", 1).disconnect_with(0, &interval(NEVER)), []);
    sleep(PAST_EXPIRY);
    assert_eq!(connect("shorter", 3600).session_present(), Some(false));
    assert_eq!(connect("longer", 3600).session_present(), Some(true));
    assert_eq!(connect("for good", 3600).session_present(), Some(true));
}

#[test]
fn a_session_of_expiry_zero_cannot_be_prolonged_at_disconnect() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker, &Connect::kept(Version::V5, "prolongs", 0));
    client.send(&wisp_e2e::packet::disconnect_with(0, &Properties::NONE.number(SESSION_EXPIRY_INTERVAL, 60)));
    client.expect_disconnect(0x82);
    assert_eq!(Client::kept(&broker, Version::V5, "prolongs").session_present(), Some(false));
}

#[test]
fn a_session_under_an_assigned_client_id_can_be_resumed() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker, &Connect::kept(Version::V5, "", 3600));
    let id = client.conn_ack().text(ASSIGNED_CLIENT_IDENTIFIER).expect("an id is assigned").to_owned();
    client.subscribe("to/the/nameless", 1);
    client.publish(&Publish::new("to/the/nameless", "first").qos(1));
    assert_eq!(client.receive().text(), "first");
    client.disconnect();
    let mut client = Client::kept(&broker, Version::V5, &id);
    assert_eq!(client.session_present(), Some(true));
    assert!(!client.conn_ack().properties.has(ASSIGNED_CLIENT_IDENTIFIER), "the client brought its id");
    client.publish(&Publish::new("to/the/nameless", "second").qos(1));
    assert_eq!(client.receive().text(), "second");
}

#[test]
fn a_session_keeps_hundreds_of_subscriptions_with_their_options() {
    const COUNT: usize = 500;
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = Client::kept(&broker, version, "many");
        let filters: Vec<String> = (0..COUNT).map(|number| format!("many/{number}/+")).collect();
        let with_qos: Vec<(&str, u8)> =
            filters.iter().enumerate().map(|(number, filter)| (&**filter, (number % 3) as u8)).collect();
        let granted = client.subscribe_with(&Properties::NONE, &with_qos);
        assert!(granted.iter().eq(with_qos.iter().map(|(_, qos)| qos)), "{version:?}: {granted:?}");
        client.disconnect();
        let mut client = Client::kept(&broker, version, "many");
        let mut publisher = Client::clean(&broker, version, "publisher");
        for number in (0..COUNT).step_by(7) {
            let topic = format!("many/{number}/x");
            publisher.publish(&Publish::new(&topic, "").qos(2));
            let message = client.receive();
            assert_eq!((&*message.topic, usize::from(message.qos)), (&*topic, number % 3), "{version:?}");
        }
        Client::clean(&broker, version, "many").disconnect();
    }
}
