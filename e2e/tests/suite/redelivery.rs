//! Messages that were unacknowledged when a connection ended are sent again on the next one: in both
//! directions, with the same packet ids, in the original order.

use std::thread::sleep;
use std::time::Duration;

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::packet::{Connect, Message, Publish, kind};
use wisp_e2e::properties::property::RECEIVE_MAXIMUM;

/// Publishes numbers from 0 to a topic.
fn publish_numbers(publisher: &mut Client, topic: &str, qos: u8, count: usize) {
    for number in 0..count {
        publisher.publish(&Publish::new(topic, &number.to_string()).qos(qos));
    }
}

/// Packet ids and texts.
fn identities(messages: &[Message]) -> Vec<(u16, &str)> {
    messages.iter().map(|message| (message.packet_id, message.text())).collect()
}

/// A kept session that subscribes at QoS 2 and has read five unacknowledged messages of this QoS.
fn five_unacknowledged(broker: &Broker, version: Version, qos: u8) -> (Client, Client, Vec<Message>) {
    let mut publisher = Client::clean(broker, version, "publisher");
    let mut client = Client::kept(broker, version, "forgetful");
    client.subscribe("again", 2);
    publish_numbers(&mut publisher, "again", qos, 5);
    let sent: Vec<Message> = (0..5).map(|_| client.next_message()).collect();
    assert!(sent.iter().all(|message| !message.duplicate && message.qos == qos), "{version:?}: {sent:?}");
    (publisher, client, sent)
}

#[test]
fn unacknowledged_qos_1_messages_come_again_with_dup_and_the_same_ids_in_order() {
    let broker = Broker::start();
    for version in Version::ALL {
        let (mut publisher, mut client, mut sent) = five_unacknowledged(&broker, version, 1);
        client.acknowledge(&sent.remove(1));
        client.ping();
        client.die();
        // The second connection acknowledges nothing, so the third gets the same messages again.
        for _ in 0..2 {
            client = Client::kept(&broker, version, "forgetful");
            let again: Vec<Message> = sent.iter().map(|_| client.next_message()).collect();
            assert_eq!(identities(&again), identities(&sent), "{version:?}");
            assert!(again.iter().all(|message| message.duplicate && message.qos == 1), "{version:?}: {again:?}");
            client.nothing_came();
            if let Some(message) = sent.pop() {
                client.acknowledge(&message);
                client.ping();
            }
            client.die();
        }
        client = Client::kept(&broker, version, "forgetful");
        for message in &sent {
            assert_eq!(client.receive().text(), message.text(), "{version:?}");
        }
        publisher.publish(&Publish::new("again", "new").qos(1));
        let message = client.receive();
        assert_eq!((message.text(), message.duplicate), ("new", false), "{version:?}");
        client.disconnect();
        client = Client::kept(&broker, version, "forgetful");
        client.nothing_came();
        Client::clean(&broker, version, "forgetful").disconnect();
    }
}

#[test]
fn qos_2_exchanges_go_on_where_they_were_with_publish_or_pubrel() {
    let broker = Broker::start();
    for version in Version::ALL {
        let (mut publisher, mut client, sent) = five_unacknowledged(&broker, version, 2);
        // The first is complete, the second and third are released but not complete, the others not received.
        client.acknowledge(&sent[0]);
        for message in &sent[1..3] {
            client.answer(kind::PUBREC, message.packet_id);
            client.await_code(kind::PUBREL, message.packet_id);
        }
        client.ping();
        client.die();
        client = Client::kept(&broker, version, "forgetful");
        let again = [client.next_message(), client.next_message()];
        assert_eq!(identities(&again), identities(&sent[3..]), "{version:?}");
        assert!(again.iter().all(|message| message.duplicate && message.qos == 2), "{version:?}: {again:?}");
        for message in &sent[1..3] {
            assert_eq!(client.await_code(kind::PUBREL, message.packet_id), 0, "{version:?}");
            client.answer(kind::PUBCOMP, message.packet_id);
        }
        again.iter().for_each(|message| client.acknowledge(message));
        client.nothing_came();

        publisher.publish(&Publish::new("again", "new").qos(2));
        assert_eq!(client.receive().text(), "new", "{version:?}");
        client.ping();
        client.die();
        client = Client::kept(&broker, version, "forgetful");
        client.nothing_came();
        Client::clean(&broker, version, "forgetful").disconnect();
    }
}

#[test]
fn messages_that_were_never_sent_follow_those_that_are_sent_again() {
    let broker = Broker::start();
    let connect = Connect::kept(Version::V5, "small window", 3600).with(RECEIVE_MAXIMUM, 2);
    for qos in [1, 2] {
        let mut publisher = Client::clean(&broker, Version::V5, "publisher");
        let mut client = Client::connect(&broker, &connect);
        client.subscribe("window", 2);
        publish_numbers(&mut publisher, "window", qos, 5);
        let sent = [client.next_message(), client.next_message()];
        client.nothing_came();
        client.die();
        publisher.publish(&Publish::new("window", "5").qos(qos));

        client = Client::connect(&broker, &connect);
        let again = [client.next_message(), client.next_message()];
        assert_eq!(identities(&again), identities(&sent), "QoS {qos}");
        assert!(again.iter().all(|message| message.duplicate), "QoS {qos}: {again:?}");
        client.nothing_came();
        again.iter().for_each(|message| client.acknowledge(message));
        for number in 2..6 {
            let message = client.receive();
            assert_eq!((message.text(), message.duplicate), (&*number.to_string(), false), "QoS {qos}");
        }
        Client::clean(&broker, Version::V5, "small window").disconnect();
    }
}

#[test]
fn a_qos_2_message_sent_again_in_the_next_connection_is_delivered_once() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut subscriber = Client::clean(&broker, version, "subscriber");
        subscriber.subscribe("exactly/once", 2);
        for text in ["received", "not known to be received"] {
            let publish = Publish::new("exactly/once", text).qos(2);
            let mut publisher = Client::kept(&broker, version, "publisher");
            publisher.send(&publish.encode(version, 77));
            if text == "received" {
                assert_eq!(publisher.await_code(kind::PUBREC, 77), 0, "{version:?}");
            } else {
                publisher.ping();
            }
            publisher.die();

            let mut publisher = Client::kept(&broker, version, "publisher");
            publisher.send(&publish.duplicate().encode(version, 77));
            assert_eq!(publisher.await_code(kind::PUBREC, 77), 0, "{version:?}");
            publisher.answer(kind::PUBREL, 77);
            publisher.await_code(kind::PUBCOMP, 77);
            // The id is free again: a message with it is another message.
            publisher.send(&Publish::new("exactly/once", "next").qos(2).encode(version, 77));
            publisher.await_code(kind::PUBREC, 77);
            publisher.answer(kind::PUBREL, 77);
            publisher.await_code(kind::PUBCOMP, 77);
            assert_eq!(subscriber.receive_texts(2), [text, "next"], "{version:?}");
        }
        subscriber.nothing_came();
        Client::clean(&broker, version, "publisher").disconnect();
    }
}

#[test]
fn a_qos_2_message_received_before_the_end_is_released_after_it() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut subscriber = Client::clean(&broker, version, "subscriber");
        subscriber.subscribe("exactly/once", 2);
        let mut publisher = Client::kept(&broker, version, "publisher");
        let packet_id = publisher.send_publish(&Publish::new("exactly/once", "received").qos(2));
        assert_eq!(publisher.await_code(kind::PUBREC, packet_id), 0, "{version:?}");
        publisher.die();
        let mut publisher = Client::kept(&broker, version, "publisher");
        // Twice, as if the first answer had been lost.
        for _ in 0..2 {
            publisher.answer(kind::PUBREL, packet_id);
            publisher.await_code(kind::PUBCOMP, packet_id);
        }
        publisher.publish(&Publish::new("exactly/once", "next").qos(2));
        assert_eq!(subscriber.receive_texts(2), ["received", "next"], "{version:?}");
        Client::clean(&broker, version, "publisher").disconnect();
    }
}

#[test]
fn nothing_is_sent_again_while_the_connection_lasts() {
    let broker = Broker::start();
    let mut clients: Vec<Client> = Version::ALL
        .map(|version| [1, 2].map(|qos| five_unacknowledged_of(&broker, version, qos)))
        .into_iter()
        .flatten()
        .collect();
    sleep(Duration::from_secs(2));
    clients.iter_mut().for_each(Client::nothing_came);
}

fn five_unacknowledged_of(broker: &Broker, version: Version, qos: u8) -> Client {
    let mut publisher = Client::clean(broker, version, "publisher");
    let mut client = Client::clean(broker, version, &format!("silent {version:?} {qos}"));
    let topic = format!("silent/{version:?}/{qos}");
    client.subscribe(&topic, qos);
    publish_numbers(&mut publisher, &topic, qos, 5);
    for _ in 0..5 {
        client.next_message();
    }
    client
}

#[test]
fn a_session_without_its_filters_still_completes_its_exchanges() {
    let broker = Broker::start();
    for version in Version::ALL {
        for qos in [1, 2] {
            let (mut publisher, mut client, sent) = five_unacknowledged(&broker, version, qos);
            client.unsubscribe(&["again"]);
            client.die();
            client = Client::kept(&broker, version, "forgetful");
            publisher.publish(&Publish::new("again", "not subscribed").qos(qos));
            let again: Vec<Message> = (0..5).map(|_| client.receive()).collect();
            assert_eq!(identities(&again), identities(&sent), "{version:?} QoS {qos}");
            client.nothing_came();
            Client::clean(&broker, version, "forgetful").disconnect();
        }
    }
}

#[test]
fn large_messages_come_again_unchanged() {
    // One byte past a power of two, where buffers end.
    const LARGE_BYTES: usize = (1 << 20) + 1;
    let large: Vec<u8> = (0..LARGE_BYTES).map(|position| (position % 251) as u8 ^ (position >> 12) as u8).collect();
    let broker = Broker::start();
    for version in Version::ALL {
        for qos in [1, 2] {
            let mut publisher = Client::clean(&broker, version, "publisher");
            let mut client = Client::kept(&broker, version, "forgetful");
            client.subscribe("large", qos);
            publisher.publish(&Publish::new("large", &large).qos(qos));
            publisher.publish(&Publish::new("large", "small").qos(qos));
            for duplicate in [false, true] {
                let message = client.next_message();
                assert!(message.payload == large, "{version:?} QoS {qos}: {} bytes", message.payload.len());
                assert_eq!(message.duplicate, duplicate, "{version:?} QoS {qos}");
                assert_eq!(client.next_message().text(), "small", "{version:?} QoS {qos}");
                client.die();
                client = Client::kept(&broker, version, "forgetful");
            }
            Client::clean(&broker, version, "forgetful").disconnect();
        }
    }
}

#[test]
fn an_incomplete_message_is_not_delivered() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut subscriber = Client::clean(&broker, version, "subscriber");
        subscriber.subscribe("half", 2);
        for qos in 0..3 {
            let bytes = Publish::new("half", "cut short").qos(qos).encode(version, 4);
            for length in [1, 2, 5, bytes.len() - 1] {
                let mut publisher = Client::kept(&broker, version, "publisher");
                publisher.send(&bytes[..length]);
                publisher.die();
            }
            // The id was never used.
            let mut publisher = Client::kept(&broker, version, "publisher");
            publisher.send(&Publish::new("half", "whole").qos(2).encode(version, 4));
            assert_eq!(publisher.await_code(kind::PUBREC, 4), 0, "{version:?}");
            publisher.answer(kind::PUBREL, 4);
            publisher.await_code(kind::PUBCOMP, 4);
            assert_eq!(subscriber.receive().text(), "whole", "{version:?}");
        }
        subscriber.nothing_came();
        Client::clean(&broker, version, "publisher").disconnect();
    }
}
