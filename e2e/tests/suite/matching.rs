//! Wildcards, $-topics and unsubscribing, with each client library in each version.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use wisp_e2e::broker::Broker;
use wisp_e2e::mosquitto::{self, Message};
use wisp_e2e::raw::RawClient;
use wisp_e2e::wait::wait_until;
use wisp_e2e::{Version, paho};

/// A filter, and the members of [`TOPICS`] that it matches.
const FILTERS: [(&str, &[&str]); 10] = [
    ("#", &["sport", "sport/", "sport/tennis", "sport/tennis/ann", "/sport", "weather/o slo/°C", "/"]),
    ("+", &["sport"]),
    ("+/+", &["sport/", "sport/tennis", "/sport", "/"]),
    ("/+", &["/sport", "/"]),
    ("sport/#", &["sport", "sport/", "sport/tennis", "sport/tennis/ann"]),
    ("sport/+", &["sport/", "sport/tennis"]),
    ("sport/+/ann", &["sport/tennis/ann"]),
    ("+/tennis/#", &["sport/tennis", "sport/tennis/ann"]),
    ("weather/o slo/°C", &["weather/o slo/°C"]),
    ("$test/#", &["$test/sport"]),
];

/// The first topic does not match filters that begin with a wildcard. The last one matches "#", so its arrival
/// shows that all others have been routed.
const TOPICS: [&str; 8] =
    ["$test/sport", "sport", "sport/", "sport/tennis", "sport/tennis/ann", "/sport", "weather/o slo/°C", "/"];

#[test]
fn wildcards_match_as_the_standard_says_for_raw_clients() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = RawClient::connect(broker.addr(), version, "publisher");
        let mut subscribers = FILTERS.map(|(filter, _)| {
            let mut client = RawClient::connect(broker.addr(), version, &format!("on {filter}"));
            client.subscribe(&[filter, "$end"]);
            client
        });
        for topic in TOPICS {
            publisher.publish(topic, topic.as_bytes());
        }
        publisher.publish("$end", b"");
        for ((filter, expected), subscriber) in FILTERS.iter().zip(&mut subscribers) {
            let mut found = BTreeSet::new();
            loop {
                let packet = subscriber.read_packet();
                let (topic, payload) = packet.publish(version);
                if topic == "$end" {
                    break;
                }
                assert_eq!(topic.as_bytes(), payload, "{version:?} {filter}: a message keeps its payload");
                assert!(found.insert(topic.to_owned()), "{version:?} {filter}: {topic} came twice");
            }
            assert_eq!(found, set(expected), "{version:?}: the topics that {filter} matches");
        }
    }
}

#[test]
fn wildcards_match_as_the_standard_says_for_mosquitto_v31() {
    mosquitto_matching(Version::V31);
}

#[test]
fn wildcards_match_as_the_standard_says_for_mosquitto_v311() {
    mosquitto_matching(Version::V311);
}

#[test]
fn wildcards_match_as_the_standard_says_for_mosquitto_v5() {
    mosquitto_matching(Version::V5);
}

fn mosquitto_matching(version: Version) {
    let broker = Broker::start();
    let addr = broker.addr();
    let subscribers = FILTERS.map(|(filter, _)| mosquitto::Subscriber::start(addr, version, &[filter]));
    for topic in TOPICS {
        mosquitto::publish(addr, version, topic, topic.as_bytes());
    }
    // Publishers on separate connections may overtake each other. Together these two subscribers get every
    // topic, and a message that reached one was routed to all.
    let [everything, .., dollar] = &subscribers;
    everything.wait_for_messages(TOPICS.len() - 1);
    dollar.wait_for_messages(1);
    for ((filter, expected), subscriber) in FILTERS.iter().zip(&subscribers) {
        subscriber.settle();
        assert_eq!(subscriber.messages().len(), expected.len(), "{version:?}: how often {filter} matches");
        assert_eq!(
            BTreeSet::from_iter(subscriber.topics()),
            set(expected),
            "{version:?}: the topics that {filter} matches"
        );
    }
}

#[test]
fn wildcards_match_as_the_standard_says_for_paho_v311() {
    paho_matching(Version::V311);
}

#[test]
fn wildcards_match_as_the_standard_says_for_paho_v5() {
    paho_matching(Version::V5);
}

fn paho_matching(version: Version) {
    let broker = Broker::start();
    let addr = broker.addr();
    // Python starts slowly, so a few filters of different kinds suffice here.
    let cases = [FILTERS[0], FILTERS[2], FILTERS[4], FILTERS[9]];
    let subscribers = cases.map(|(filter, _)| paho::Subscriber::start(addr, version, &[filter, "end/paho"]));
    let mut publisher = RawClient::connect(addr, version, "publisher");
    for topic in TOPICS {
        publisher.publish(topic, b"");
    }
    publisher.publish("end/paho", b"");
    for ((filter, expected), subscriber) in cases.iter().zip(&subscribers) {
        let end = "end/paho";
        wait_until("the last message", || subscriber.messages().iter().any(|message| message.topic == end));
        let mut topics: BTreeSet<_> = subscriber.messages().into_iter().map(|message| message.topic).collect();
        topics.remove(end);
        assert_eq!(topics, set(expected), "{version:?}: the topics that {filter} matches");
    }
}

#[test]
fn unsubscribing_ends_the_flow_and_leaves_other_filters_alone() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = RawClient::connect(broker.addr(), version, "publisher");
        let mut subscriber = RawClient::connect(broker.addr(), version, "subscriber");
        subscriber.subscribe(&["gone/+", "kept/#"]);
        publisher.publish("gone/1", b"before");
        assert_eq!(subscriber.read_message("gone/1"), b"before");
        let codes = subscriber.unsubscribe(&["gone/+", "never/subscribed"]);
        // Success, and No subscription existed; UNSUBACK has codes only in MQTT 5.
        assert_eq!(codes, if version.is_v5() { vec![0, 0x11] } else { vec![] }, "{version:?}");
        publisher.publish("gone/1", b"after");
        publisher.publish("kept/1", b"after");
        assert_eq!(subscriber.read_message("kept/1"), b"after", "{version:?}: gone/1 must not come first");
    }
}

#[test]
fn subscriptions_take_effect_at_once_for_topics_in_use() {
    let broker = Broker::start();
    // Several of each, so that they are distributed over the broker's threads.
    let mut publishers =
        [1, 2, 3].map(|number| RawClient::connect(broker.addr(), Version::V5, &format!("publisher {number}")));
    let mut subscribers =
        [1, 2, 3].map(|number| RawClient::connect(broker.addr(), Version::V311, &format!("subscriber {number}")));
    for round in 0..60_usize {
        let filter = ["in/use", "in/+", "#"][round % 3];
        let subscriber = &mut subscribers[round / 3 % 3];
        subscriber.subscribe(&[filter]);
        for publisher in &mut publishers {
            let payload = round.to_be_bytes();
            publisher.publish("in/use", &payload);
            assert_eq!(subscriber.read_message("in/use"), payload, "the first message after SUBACK");
        }
        subscriber.unsubscribe(&[filter]);
        for publisher in &mut publishers {
            publisher.publish("in/use", b"too late");
            // The answer arrives after all earlier messages have been routed.
            publisher.ping();
        }
        subscriber.ping();
    }
}

#[test]
fn mosquitto_sub_unsubscribes() {
    let broker = Broker::start();
    for version in Version::ALL {
        // It subscribes, and immediately unsubscribes from the filter of -U.
        let subscriber =
            mosquitto::Subscriber::start_with_arguments(broker.addr(), version, &["gone", "kept"], &["-U", "gone"]);
        let mut publisher = RawClient::connect(broker.addr(), version, "publisher");
        let mut round = 0;
        wait_until("a round in which only kept comes through", || {
            round += 1;
            publisher.publish("gone", format!("{round}").as_bytes());
            publisher.publish("kept", format!("{round}").as_bytes());
            subscriber.settle();
            let messages = subscriber.messages();
            let came = |topic| messages.contains(&Message::new(topic, &format!("{round}")));
            came("kept") && !came("gone")
        });
    }
}

#[test]
fn paho_unsubscribes() {
    let broker = Broker::start();
    for version in [Version::V311, Version::V5] {
        let mut subscriber = paho::Subscriber::start(broker.addr(), version, &["gone/#", "kept"]);
        let mut publisher = RawClient::connect(broker.addr(), version, "publisher");
        publisher.publish("gone/1", b"before");
        subscriber.wait_for_messages(1);
        subscriber.unsubscribe("gone/#");
        publisher.publish("gone/1", b"after");
        publisher.publish("kept", b"after");
        let messages = subscriber.wait_for_messages(2);
        assert_eq!(messages, [Message::new("gone/1", "before"), Message::new("kept", "after")], "{version:?}");
    }
}

#[test]
fn a_publisher_gets_its_own_messages_and_overlapping_filters_agree_on_the_payload() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = RawClient::connect(broker.addr(), version, "both");
        client.subscribe(&["a/b", "a/+", "#", "$end"]);
        client.publish("a/b", b"message");
        client.publish("$end", b"");
        // A message that matches several filters may arrive once, or once for each of them.
        let mut copies = 0;
        loop {
            let packet = client.read_packet();
            let (topic, payload) = packet.publish(version);
            if topic == "$end" {
                break;
            }
            assert_eq!((topic, payload), ("a/b", &b"message"[..]));
            copies += 1;
        }
        assert!((1..=3).contains(&copies), "{version:?}: {copies} copies of one message");
    }
}

#[test]
fn all_clients_and_versions_talk_to_each_other() {
    let broker = Broker::start();
    let addr: SocketAddr = broker.addr();
    let mosquitto = Version::ALL.map(|version| mosquitto::Subscriber::start(addr, version, &["room"]));
    let paho = [Version::V311, Version::V5].map(|version| paho::Subscriber::start(addr, version, &["room"]));
    let mut expected = Vec::new();
    for version in Version::ALL {
        let text = format!("mosquitto {version:?}");
        mosquitto::publish(addr, version, "room", text.as_bytes());
        expected.push(Message::new("room", &text));
    }
    for version in [Version::V311, Version::V5] {
        let text = format!("paho {version:?}");
        paho::publish(addr, version, "room", text.as_bytes());
        expected.push(Message::new("room", &text));
    }
    expected.sort();
    let sorted = |mut messages: Vec<Message>| {
        messages.sort();
        messages
    };
    for subscriber in &mosquitto {
        assert_eq!(sorted(subscriber.wait_for_messages(expected.len())), expected);
    }
    for subscriber in &paho {
        assert_eq!(sorted(subscriber.wait_for_messages(expected.len())), expected);
    }
}

fn set(topics: &[&str]) -> BTreeSet<String> {
    topics.iter().map(|topic| (*topic).to_owned()).collect()
}
