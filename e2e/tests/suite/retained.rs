//! Retained messages: new subscribers get the last message of each topic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::packet::{Message, Publish};
use wisp_e2e::properties::Properties;
use wisp_e2e::properties::property::{CONTENT_TYPE, MESSAGE_EXPIRY_INTERVAL};
use wisp_e2e::wait::SetAtTheEnd;

/// Bit 3 of the subscription options.
const RETAIN_AS_PUBLISHED: u8 = 0x08;
/// Bits 4 and 5: send retained messages only if the subscription is new, or never.
const IF_NEW: u8 = 0x10;
const NEVER: u8 = 0x20;

/// Subscribes at QoS 2 and returns the retained messages, ordered by topic. A message behind them shows that
/// there are no more.
fn retained(broker: &Broker, version: Version, filters: &[&str]) -> Vec<Message> {
    let mut client = Client::clean(broker, version, "retained reader");
    let with_options: Vec<(&str, u8)> = filters.iter().map(|filter| (*filter, 2)).collect();
    client.subscribe("end/of/retained", 2);
    client.subscribe_with(&Properties::NONE, &with_options);
    client.publish(&Publish::new("end/of/retained", "").qos(2));
    let mut messages = Vec::new();
    loop {
        let message = client.receive();
        if message.topic == "end/of/retained" {
            break;
        }
        messages.push(message);
    }
    client.disconnect();
    messages.sort_by(|one, other| one.topic.cmp(&other.topic));
    messages
}

/// Topics and texts.
fn contents(messages: &[Message]) -> Vec<(&str, &str)> {
    messages.iter().map(|message| (&*message.topic, message.text())).collect()
}

#[test]
fn the_last_retained_message_of_a_topic_goes_to_new_subscribers() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        publisher.publish(&Publish::new("news", "first").qos(1).retained());
        publisher.publish(&Publish::new("news", "second").qos(1).retained());
        publisher.publish(&Publish::new("news", "not kept").qos(1));
        let messages = retained(&broker, version, &["news"]);
        assert_eq!(contents(&messages), [("news", "second")], "{version:?}");
        assert!(messages[0].retain && !messages[0].duplicate, "{version:?}: {messages:?}");
    }
}

#[test]
fn retained_messages_outlive_the_session_of_their_publisher() {
    let broker = Broker::start();
    for (publisher_version, reader_version) in [(Version::V311, Version::V5), (Version::V5, Version::V311)] {
        for qos in 0..3 {
            let mut publisher = Client::clean(&broker, publisher_version, "publisher");
            let text = format!("{qos} from {publisher_version:?}");
            publisher.publish(&Publish::new("legacy", &text).qos(qos).retained());
            publisher.disconnect();
            let messages = retained(&broker, reader_version, &["legacy"]);
            assert_eq!(contents(&messages), [("legacy", &*text)]);
            assert_eq!(messages[0].qos, qos, "retained messages keep their QoS");
        }
    }
}

#[test]
fn an_empty_retained_message_clears_its_topic() {
    let broker = Broker::start();
    for version in Version::ALL {
        for qos in 0..3 {
            let mut publisher = Client::clean(&broker, version, "publisher");
            let mut subscriber = Client::clean(&broker, version, "subscriber");
            publisher.publish(&Publish::new("cleared", "text").qos(qos).retained());
            publisher.ping();
            assert_eq!(retained(&broker, version, &["cleared"]).len(), 1, "{version:?}");
            subscriber.subscribe("cleared", qos);
            assert_eq!(subscriber.receive().text(), "text", "{version:?}");
            publisher.publish(&Publish::new("cleared", "").qos(qos).retained());
            // For existing subscribers it is a message like any other.
            let message = subscriber.receive();
            assert_eq!((message.text(), message.retain), ("", false), "{version:?}");
            assert_eq!(retained(&broker, version, &["cleared"]), [], "{version:?}");
        }
    }
}

#[test]
fn messages_to_existing_subscriptions_are_not_marked_as_retained() {
    let broker = Broker::start();
    for version in Version::ALL {
        let topic = format!("live/{version:?}");
        let mut subscriber = Client::clean(&broker, version, "subscriber");
        subscriber.subscribe(&topic, 1);
        let mut publisher = Client::clean(&broker, version, "publisher");
        publisher.publish(&Publish::new(&topic, "live").qos(1).retained());
        let message = subscriber.receive();
        assert_eq!((message.text(), message.retain), ("live", false), "{version:?}");
    }
}

#[test]
fn retain_as_published_keeps_the_flag_of_the_sender() {
    let broker = Broker::start();
    let mut subscriber = Client::clean(&broker, Version::V5, "subscriber");
    subscriber.subscribe_with(&Properties::NONE, &[("live/+", 1 | RETAIN_AS_PUBLISHED), ("end", 1)]);
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    publisher.publish(&Publish::new("live/kept", "").qos(1));
    publisher.publish(&Publish::new("live/kept", "text").qos(1).retained());
    publisher.publish(&Publish::new("live/kept", "text").qos(1));
    publisher.publish(&Publish::new("live/kept", "").qos(1).retained());
    assert_eq!([(); 4].map(|()| subscriber.receive().retain), [false, true, false, true]);
}

#[test]
fn wildcards_match_retained_messages_and_the_lower_qos_applies() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    let topics = ["/", "house", "house/", "house/hall", "house/hall/lamp", "street/hall"];
    for (number, topic) in topics.iter().enumerate() {
        publisher.publish(&Publish::new(topic, topic).qos((number % 3) as u8).retained());
    }
    publisher.ping();
    let cases: [(&str, &[&str]); 9] = [
        ("#", &topics),
        ("+", &["house"]),
        ("house/#", &["house", "house/", "house/hall", "house/hall/lamp"]),
        ("house/+", &["house/", "house/hall"]),
        ("+/hall", &["house/hall", "street/hall"]),
        ("+/hall/#", &["house/hall", "house/hall/lamp", "street/hall"]),
        ("+/+", &["/", "house/", "house/hall", "street/hall"]),
        ("/+", &["/"]),
        ("hous", &[]),
    ];
    for version in Version::ALL {
        for (filter, expected) in cases {
            let messages = retained(&broker, version, &[filter]);
            let found: Vec<&str> = messages.iter().map(|message| &*message.topic).collect();
            assert_eq!(found, expected, "{version:?}: retained messages that {filter} matches");
            for message in &messages {
                assert_eq!(message.text(), message.topic, "{version:?} {filter}");
                assert!(message.retain, "{version:?} {filter}: {message:?}");
                let position = topics.iter().position(|topic| *topic == message.topic).expect("one of them");
                assert_eq!(usize::from(message.qos), position % 3, "{version:?} {filter}: {message:?}");
            }
        }
        for granted in 0..3 {
            let mut client = Client::clean(&broker, version, "lower QoS");
            client.subscribe("house/#", granted);
            let mut found: Vec<(String, u8)> =
                (0..4).map(|_| client.receive()).map(|message| (message.topic, message.qos)).collect();
            found.sort();
            let qos: Vec<u8> = found.iter().map(|(_, qos)| *qos).collect();
            assert_eq!(qos, [1, 2, 0, 1].map(|qos: u8| qos.min(granted)), "{version:?}: granted {granted}");
        }
    }
}

#[test]
fn retained_dollar_topics_are_not_matched_by_leading_wildcards() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    publisher.publish(&Publish::new("$test/kept", "dollar").qos(1).retained());
    publisher.publish(&Publish::new("test/kept", "plain").qos(1).retained());
    for version in Version::ALL {
        for filter in ["#", "+/kept", "+/#"] {
            let messages = retained(&broker, version, &[filter]);
            assert_eq!(contents(&messages), [("test/kept", "plain")], "{version:?} {filter}");
        }
        for filter in ["$test/kept", "$test/#", "$test/+"] {
            let messages = retained(&broker, version, &[filter]);
            assert_eq!(contents(&messages), [("$test/kept", "dollar")], "{version:?} {filter}");
        }
    }
}

#[test]
fn every_subscription_gets_retained_messages_again_before_mqtt_5() {
    let broker = Broker::start();
    Client::clean(&broker, Version::V311, "publisher").publish(&Publish::new("kept", "text").qos(1).retained());
    for version in [Version::V31, Version::V311] {
        let mut client = Client::clean(&broker, version, "subscriber");
        for _ in 0..3 {
            client.subscribe("kept", 1);
            let message = client.receive();
            assert_eq!((message.text(), message.retain), ("text", true), "{version:?}");
        }
        client.nothing_came();
    }
}

#[test]
fn retain_handling_says_which_subscriptions_get_retained_messages() {
    let broker = Broker::start();
    Client::clean(&broker, Version::V311, "publisher").publish(&Publish::new("kept", "text").qos(1).retained());
    let mut client = Client::clean(&broker, Version::V5, "subscriber");
    let mut comes = |what: &str, options: u8, expected: bool| {
        assert_eq!(client.subscribe_with(&Properties::NONE, &[("kept", options)]), [1], "{what}");
        if expected {
            let message = client.receive();
            assert_eq!((message.text(), message.retain), ("text", true), "{what}");
        }
        client.nothing_came();
        if what == "unsubscribe after" {
            client.unsubscribe(&["kept"]);
        }
    };
    comes("never, new", 1 | NEVER, false);
    comes("if new, existing", 1 | IF_NEW, false);
    comes("always, existing", 1, true);
    comes("never, existing", 1 | NEVER, false);
    comes("unsubscribe after", 1, true);
    comes("if new, new", 1 | IF_NEW, true);
    comes("if new, existing", 1 | IF_NEW, false);
    comes("always, with retain as published", 1 | RETAIN_AS_PUBLISHED, true);
}

#[test]
fn a_resumed_session_does_not_get_retained_messages_again() {
    let broker = Broker::start();
    Client::clean(&broker, Version::V311, "publisher").publish(&Publish::new("kept", "text").qos(1).retained());
    for version in Version::ALL {
        let mut client = Client::kept(&broker, version, "comes back");
        client.subscribe("kept", 1);
        assert_eq!(client.receive().text(), "text", "{version:?}");
        client.disconnect();
        let mut client = Client::kept(&broker, version, "comes back");
        client.nothing_came();
        Client::clean(&broker, version, "comes back").disconnect();
    }
}

#[test]
fn retained_messages_expire_and_say_how_long_they_have_left() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    publisher.publish(&Publish::new("expiry/short", "text").qos(1).retained().with(MESSAGE_EXPIRY_INTERVAL, 1));
    publisher.publish(&Publish::new("expiry/long", "text").qos(1).retained().with(MESSAGE_EXPIRY_INTERVAL, 1000));
    publisher.publish(&Publish::new("expiry/none", "text").qos(1).retained());
    sleep(Duration::from_millis(3500));
    let messages = retained(&broker, Version::V5, &["expiry/#"]);
    assert_eq!(contents(&messages), [("expiry/long", "text"), ("expiry/none", "text")]);
    let left = messages[0].properties.get(MESSAGE_EXPIRY_INTERVAL).expect("the interval is passed on");
    assert!((900..=998).contains(&left), "{left} of 1000 seconds are left after three");
    assert!(!messages[1].properties.has(MESSAGE_EXPIRY_INTERVAL));
    let messages = retained(&broker, Version::V311, &["expiry/#"]);
    assert_eq!(contents(&messages), [("expiry/long", "text"), ("expiry/none", "text")]);
}

#[test]
fn retained_messages_keep_their_properties() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let properties = Properties::NONE.data(CONTENT_TYPE, "text/plain").user("a", "1").user("a", "2").user("", "");
    publisher.publish(&Publish::new("kept", "text").qos(1).retained().properties(&properties));
    let messages = retained(&broker, Version::V5, &["kept"]);
    assert_eq!(messages[0].properties.text(CONTENT_TYPE), Some("text/plain"));
    assert_eq!(messages[0].properties.users(), [("a", "1"), ("a", "2"), ("", "")]);
}

#[test]
fn retained_messages_of_a_thousand_topics_all_come() {
    const COUNT: usize = 1000;
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    for number in 0..COUNT {
        publisher.publish(&Publish::new(&format!("many/{number:04}"), &number.to_string()).retained());
    }
    publisher.ping();
    for version in [Version::V311, Version::V5] {
        let messages = retained(&broker, version, &["many/+"]);
        let numbers: Vec<usize> = messages.iter().map(|message| message.text().parse().expect("a number")).collect();
        assert!(numbers.iter().copied().eq(0..COUNT), "{version:?}: {numbers:?}");
    }
}

#[test]
fn a_subscriber_that_comes_while_messages_are_replaced_misses_none_after_the_first() {
    let broker = Broker::start();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = Client::clean(&broker, Version::V5, "publisher");
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                publisher.publish(&Publish::new("kept", &number.to_string()).qos(1).retained());
                number += 1;
            }
        });
        let _stop_at_the_end = SetAtTheEnd(&stop);
        for round in 0..50 {
            let mut subscriber = Client::clean(&broker, Version::ALL[round % 3], "subscriber");
            subscriber.subscribe("kept", 1);
            let numbers: Vec<u64> = (0..20).map(|_| subscriber.receive().text().parse().expect("a number")).collect();
            // A message may arrive again as a retained one, or after a newer one, since the replay runs while
            // new messages arrive.
            let mut live = numbers.clone();
            live.sort_unstable();
            live.dedup();
            let first = live[0];
            assert!(live.iter().copied().eq(first..first + live.len() as u64), "round {round}: {numbers:?}");
        }
    });
}
