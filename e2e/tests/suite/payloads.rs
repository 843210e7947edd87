//! Payloads of every size, and a thousand topics, through real clients.

use wisp_e2e::broker::Broker;
use wisp_e2e::mosquitto::{self, Message};
use wisp_e2e::raw::RawClient;
use wisp_e2e::{Version, paho};

/// A large payload, about 1 MB; one byte past a power of two, where buffers end.
const LARGE_BYTES: usize = (1 << 20) + 1;

/// Bytes that contain every value and do not repeat with a power of two.
fn large_payload() -> Vec<u8> {
    (0..LARGE_BYTES).map(|position| (position % 251) as u8 ^ (position >> 12) as u8).collect()
}

#[test]
fn mosquitto_carries_large_and_empty_payloads() {
    let broker = Broker::start();
    let large = large_payload();
    for version in Version::ALL {
        let subscriber = mosquitto::Subscriber::start(broker.addr(), version, &["payload/#"]);
        for (count, payload) in [&large[..], b"", b"\0", b"text"].into_iter().enumerate() {
            mosquitto::publish(broker.addr(), version, "payload/mosquitto", payload);
            let messages = subscriber.wait_for_messages(count + 1);
            assert!(messages[count].payload == payload, "{version:?}: {} bytes changed on their way", payload.len());
        }
    }
}

#[test]
fn paho_carries_large_and_empty_payloads() {
    let broker = Broker::start();
    let large = large_payload();
    for version in [Version::V311, Version::V5] {
        let subscriber = paho::Subscriber::start(broker.addr(), version, &["payload/+"]);
        for (count, payload) in [&large[..], b"", b"text"].into_iter().enumerate() {
            paho::publish(broker.addr(), version, "payload/paho", payload);
            let messages = subscriber.wait_for_messages(count + 1);
            assert!(messages[count].payload == payload, "{version:?}: {} bytes changed on their way", payload.len());
        }
    }
}

#[test]
fn payloads_of_every_size_around_the_length_boundaries_arrive_unchanged() {
    let broker = Broker::start();
    let large = large_payload();
    // The remaining length has one byte more from 128, 16,384 and 2,097,152 on; the others are buffer sizes.
    let around = [1, 128, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20];
    let sizes: Vec<usize> = around.iter().flat_map(|size| size - 1..size + 1).chain(110..130).collect();
    for version in Version::ALL {
        let mut publisher = RawClient::connect(broker.addr(), version, "publisher");
        let mut subscriber = RawClient::connect(broker.addr(), version, "subscriber");
        subscriber.subscribe(&["size"]);
        for size in &sizes {
            publisher.publish("size", &large[..*size]);
            assert!(subscriber.read_message("size") == large[..*size], "{version:?}: {size} bytes");
        }
    }
}

/// One below the default of --subscriptions-max, because the harness subscribes to a topic of its own.
const TOPICS: usize = 999;

#[test]
fn a_thousand_topics_reach_their_subscribers() {
    let broker = Broker::start();
    let filters: Vec<String> = (0..TOPICS).map(|number| format!("many/{number}/x")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    for version in [Version::V311, Version::V5] {
        let each = mosquitto::Subscriber::start(broker.addr(), version, &filters);
        let each_at_paho = paho::Subscriber::start(broker.addr(), version, &filters);
        let wildcard = mosquitto::Subscriber::start(broker.addr(), version, &["many/+/x"]);
        paho::publish_to_many(broker.addr(), version, "many/{}/x", TOPICS + 1, b"one of many");

        let all: Vec<Message> =
            (0..=TOPICS).map(|number| Message::new(&format!("many/{number}/x"), "one of many")).collect();
        assert_eq!(wildcard.wait_for_messages(TOPICS + 1), all, "{version:?}: one filter for all, in order");
        assert_eq!(each.wait_for_messages(TOPICS), all[..TOPICS], "{version:?}: a filter for each");
        assert_eq!(each_at_paho.wait_for_messages(TOPICS), all[..TOPICS], "{version:?}: a filter for each");
    }
}
