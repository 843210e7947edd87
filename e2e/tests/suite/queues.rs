//! Topic queues: a message published to $queue/NAME is stored until one receiver of that queue has acknowledged
//! it.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, Publish, kind};
use wisp_e2e::properties::Properties;
use wisp_e2e::properties::property::{CONTENT_TYPE, MESSAGE_EXPIRY_INTERVAL, RECEIVE_MAXIMUM};

const QUEUE: &str = "$queue/orders";

/// A broker with queues; None if it is not Wisp.
fn broker() -> Option<Broker> {
    (!cannot(Ability::Wisp)).then(Broker::start)
}

fn publish_numbers(publisher: &mut Client, qos: u8, numbers: std::ops::Range<usize>) {
    for number in numbers {
        // Stored, with or without receivers: this is success.
        assert_eq!(publisher.publish(&Publish::new(QUEUE, &number.to_string()).qos(qos)), 0);
    }
    publisher.ping();
}

fn texts(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

fn receiver(broker: &Broker, client_id: &str, window: u32) -> Client {
    let connect = Connect::new(Version::V5, client_id).with(RECEIVE_MAXIMUM, window);
    let mut receiver = Client::connect(broker, &connect);
    receiver.subscribe(QUEUE, 2);
    receiver
}

#[test]
fn a_queue_stores_messages_until_a_client_receives_them() {
    let Some(broker) = broker() else { return };
    for version in Version::ALL {
        for qos in 0..3 {
            let mut publisher = Client::clean(&broker, version, "publisher");
            publish_numbers(&mut publisher, qos, 0..50);
            publisher.disconnect();
            let mut receiver = Client::clean(&broker, version, "receiver");
            receiver.subscribe(QUEUE, 2);
            for number in 0..50 {
                let message = receiver.receive();
                assert_eq!((&*message.topic, message.text()), (QUEUE, &*number.to_string()), "{version:?} QoS {qos}");
                assert_eq!((message.qos, message.duplicate, message.retain), (qos, false, false));
            }
            receiver.nothing_came();
            receiver.disconnect();
            let mut receiver = Client::clean(&broker, version, "receiver");
            receiver.subscribe(QUEUE, 2);
            receiver.nothing_came();
            // Messages sent at QoS 0 to a receiver that is disconnecting are lost.
            receiver.disconnect();
        }
    }
}

#[test]
fn the_qos_from_a_queue_is_the_lower_of_publication_and_subscription() {
    let Some(broker) = broker() else { return };
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    for version in Version::ALL {
        for granted in 0..3 {
            let mut receiver = Client::clean(&broker, version, "receiver");
            receiver.subscribe(QUEUE, granted);
            for published in 0..3 {
                publisher.publish(&Publish::new(QUEUE, "text").qos(published));
                assert_eq!(receiver.receive().qos, published.min(granted), "{version:?}");
            }
            receiver.disconnect();
        }
    }
}

#[test]
fn each_message_of_a_queue_goes_to_exactly_one_receiver() {
    let Some(broker) = broker() else { return };
    for version in Version::ALL {
        for qos in 0..3 {
            let mut publisher = Client::clean(&broker, version, "publisher");
            let mut receivers: Vec<Client> = (0..3)
                .map(|number| {
                    let mut receiver = Client::clean(&broker, version, &format!("receiver {number}"));
                    receiver.subscribe(QUEUE, qos);
                    receiver.subscribe(&format!("end/{number}"), qos);
                    receiver
                })
                .collect();
            publish_numbers(&mut publisher, qos, 0..60);
            let mut all = BTreeSet::new();
            let limit = std::time::Instant::now() + wisp_e2e::wait::TIMEOUT;
            while all.len() < 60 {
                assert!(std::time::Instant::now() < limit, "{version:?} QoS {qos}: only {all:?} came");
                for receiver in &mut receivers {
                    while let Some(message) = receiver.next_message_within(Duration::from_millis(20)) {
                        receiver.acknowledge(&message);
                        assert!(all.insert(message.text().to_owned()), "{version:?} QoS {qos}: twice: {message:?}");
                    }
                }
            }
            receivers.iter_mut().for_each(Client::nothing_came);
            receivers.into_iter().for_each(|receiver| drop(receiver.disconnect()));
        }
    }
}

#[test]
fn a_queue_is_separate_from_other_topics_and_queues() {
    let Some(broker) = broker() else { return };
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut others = ["#", "orders", "+/orders", "$queue/other"].map(|filter| {
        let mut client = Client::clean(&broker, Version::V5, &format!("on {filter}"));
        client.subscribe(filter, 1);
        client
    });
    let mut receiver = receiver(&broker, "receiver", 10);
    publish_numbers(&mut publisher, 1, 0..1);
    assert_eq!(receiver.receive_texts(1), ["0"]);
    others.iter_mut().for_each(Client::nothing_came);
    publisher.publish(&Publish::new("orders", "plain").qos(1));
    for other in &mut others[..2] {
        assert_eq!(other.receive().text(), "plain");
    }
    receiver.nothing_came();
}

#[test]
fn unacknowledged_messages_come_back_to_the_head_of_the_queue_with_dup() {
    let Some(broker) = broker() else { return };
    for qos in [1, 2] {
        for version in Version::ALL {
            for says_goodbye in [false, true] {
                let mut publisher = Client::clean(&broker, version, "publisher");
                let mut first = Client::clean(&broker, version, "first");
                first.subscribe(QUEUE, 2);
                publish_numbers(&mut publisher, qos, 0..3);
                let taken = [first.next_message(), first.next_message(), first.next_message()];
                assert!(taken.iter().all(|message| !message.duplicate));
                first.acknowledge(&taken[1]);
                first.ping();
                if says_goodbye {
                    first.disconnect();
                } else {
                    first.die();
                }
                publish_numbers(&mut publisher, qos, 3..5);
                let mut second = Client::clean(&broker, version, "second");
                second.subscribe(QUEUE, 2);
                for text in ["0", "2", "3", "4"] {
                    let message = second.receive();
                    assert_eq!((message.text(), message.qos), (text, qos), "{version:?}, in order: {says_goodbye}");
                    // The broker may still send later messages to a receiver that has just died.
                    if says_goodbye || message.text() < "3" {
                        assert_eq!(message.duplicate, message.text() < "3", "{version:?}: {message:?}");
                    }
                }
                second.nothing_came();
                second.disconnect();
            }
        }
    }
}

#[test]
fn messages_of_a_receiver_whose_session_is_kept_come_back_too() {
    let Some(broker) = broker() else { return };
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut away = Client::kept(&broker, Version::V5, "away");
    away.subscribe(QUEUE, 1);
    publish_numbers(&mut publisher, 1, 0..5);
    for _ in 0..5 {
        away.next_message();
    }
    away.die();
    let mut other = receiver(&broker, "other", 100);
    for text in texts(0..5) {
        let message = other.receive();
        assert_eq!((message.text(), message.duplicate), (&*text, true));
    }
    // After its return it is still a receiver, but only for new messages.
    let mut back = Client::kept(&broker, Version::V5, "away");
    assert_eq!(back.session_present(), Some(true));
    back.nothing_came();
    other.disconnect();
    publish_numbers(&mut publisher, 1, 5..7);
    assert_eq!(back.receive_texts(2), texts(5..7));
}

#[test]
fn a_receiver_that_is_taken_over_gives_its_messages_back() {
    let Some(broker) = broker() else { return };
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut old = receiver(&broker, "the one", 100);
    publish_numbers(&mut publisher, 1, 0..5);
    for _ in 0..5 {
        old.next_message();
    }
    let mut new = receiver(&broker, "the one", 100);
    for text in texts(0..5) {
        let message = new.receive();
        assert_eq!((message.text(), message.duplicate), (&*text, true));
    }
    new.nothing_came();
}

#[test]
fn a_slow_receiver_does_not_hold_up_the_rest() {
    let Some(broker) = broker() else { return };
    for qos in [1, 2] {
        let mut publisher = Client::clean(&broker, Version::V5, "publisher");
        let mut slow = receiver(&broker, "slow", 1);
        publish_numbers(&mut publisher, qos, 0..1);
        let held = slow.next_message();
        let mut quick = receiver(&broker, "quick", 1);
        publish_numbers(&mut publisher, qos, 1..60);
        assert_eq!(quick.receive_texts(59), texts(1..60), "QoS {qos}");
        slow.nothing_came();
        slow.acknowledge(&held);
        publish_numbers(&mut publisher, qos, 60..62);
        let mut come = BTreeSet::new();
        while come.len() < 2 {
            for receiver in [&mut slow, &mut quick] {
                if let Some(message) = receiver.next_message_within(Duration::from_millis(20)) {
                    receiver.acknowledge(&message);
                    come.insert(message.text().to_owned());
                }
            }
        }
        assert_eq!(Vec::from_iter(come), ["60", "61"], "QoS {qos}");
        slow.disconnect();
        quick.disconnect();
    }
}

#[test]
fn messages_stay_in_the_queue_while_a_receivers_window_is_full() {
    let Some(broker) = broker() else { return };
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut first = receiver(&broker, "first", 2);
    publish_numbers(&mut publisher, 1, 0..10);
    let held = [first.next_message(), first.next_message()];
    first.nothing_came();
    let mut second = receiver(&broker, "second", 100);
    assert_eq!(second.receive_texts(8), texts(2..10));
    first.acknowledge(&held[0]);
    first.die();
    let message = second.receive();
    assert_eq!((message.text(), message.duplicate), ("1", true));
    second.nothing_came();
}

#[test]
fn a_receiver_that_unsubscribes_gets_no_more_and_the_queue_keeps_the_rest() {
    let Some(broker) = broker() else { return };
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        let mut receiver = Client::clean(&broker, version, "receiver");
        receiver.subscribe(QUEUE, 1);
        publish_numbers(&mut publisher, 1, 0..1);
        assert_eq!(receiver.receive_texts(1), ["0"], "{version:?}");
        assert_eq!(receiver.unsubscribe(&[QUEUE]), if version.is_v5() { vec![0] } else { vec![] });
        publish_numbers(&mut publisher, 1, 1..5);
        receiver.nothing_came();
        receiver.subscribe(QUEUE, 1);
        assert_eq!(receiver.receive_texts(4), texts(1..5), "{version:?}");
        receiver.nothing_came();
    }
}

#[test]
fn a_message_that_its_receiver_refuses_leaves_the_queue() {
    let Some(broker) = broker() else { return };
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    for (qos, answer) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        let mut first = receiver(&broker, "first", 1);
        publish_numbers(&mut publisher, qos, 0..2);
        let message = first.next_message();
        first.answer_with(answer, message.packet_id, 0x80);
        assert_eq!(first.receive().text(), "1", "QoS {qos}");
        first.nothing_came();
        first.disconnect();
        let mut second = receiver(&broker, "second", 1);
        second.nothing_came();
        second.disconnect();
    }
}

#[test]
fn messages_in_a_queue_keep_their_properties_and_expire() {
    let Some(broker) = broker() else { return };
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let properties = Properties::NONE.data(CONTENT_TYPE, "text/plain").user("b", "1").user("a", "2");
    publisher.publish(&Publish::new(QUEUE, "short").qos(1).with(MESSAGE_EXPIRY_INTERVAL, 1));
    publisher.publish(&Publish::new(QUEUE, "long").qos(1).with(MESSAGE_EXPIRY_INTERVAL, 1000));
    publisher.publish(&Publish::new(QUEUE, "rich").qos(1).properties(&properties));
    sleep(Duration::from_millis(3500));
    let mut receiver = receiver(&broker, "receiver", 10);
    let message = receiver.receive();
    assert_eq!(message.text(), "long");
    let left = message.properties.get(MESSAGE_EXPIRY_INTERVAL).expect("the interval is forwarded");
    assert!((900..=998).contains(&left), "{left} seconds are left");
    let message = receiver.receive();
    assert_eq!((message.text(), message.properties.text(CONTENT_TYPE)), ("rich", Some("text/plain")));
    assert_eq!(message.properties.users(), properties.users());
    receiver.nothing_came();
}

#[test]
fn versions_may_be_mixed_at_a_queue() {
    let Some(broker) = broker() else { return };
    for from in Version::ALL {
        let mut publisher = Client::clean(&broker, from, "publisher");
        for to in Version::ALL {
            publish_numbers(&mut publisher, 2, 0..3);
            let mut receiver = Client::clean(&broker, to, "receiver");
            receiver.subscribe(QUEUE, 2);
            assert_eq!(receiver.receive_texts(3), texts(0..3), "from {from:?} to {to:?}");
            receiver.nothing_came();
            receiver.disconnect();
        }
    }
}
