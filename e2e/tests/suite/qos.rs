//! The exchanges of QoS 1 and 2, in both directions, with clients that use them in unusual ways.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Message, Publish, kind};
use wisp_e2e::properties::property::RECEIVE_MAXIMUM;

/// Packet Identifier not found.
const NOT_FOUND: u8 = 0x92;
const UNSPECIFIED_ERROR: u8 = 0x80;

#[test]
fn the_qos_of_delivery_is_the_lower_of_publication_and_subscription() {
    let broker = Broker::start();
    for sender_version in Version::ALL {
        let mut publisher = Client::clean(&broker, sender_version, "publisher");
        for receiver_version in Version::ALL {
            let mut subscriber = Client::clean(&broker, receiver_version, "subscriber");
            for granted in 0..3 {
                subscriber.subscribe("every/pair", granted);
                for published in 0..3 {
                    let text = format!("{published} for {granted}");
                    publisher.publish(&Publish::new("every/pair", &text).qos(published));
                    let message = subscriber.receive();
                    let found = (message.qos, message.text(), message.duplicate, message.retain);
                    let expected = (granted.min(published), &*text, false, false);
                    assert_eq!(found, expected, "{sender_version:?} to {receiver_version:?}");
                }
            }
            subscriber.nothing_came();
            subscriber.disconnect();
        }
        publisher.disconnect();
    }
}

#[test]
fn a_packet_id_may_be_used_again_as_soon_as_its_exchange_is_over() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut subscriber = Client::clean(&broker, version, "subscriber");
        subscriber.subscribe("same/id", 2);
        let mut publisher = Client::clean(&broker, version, "publisher");
        for number in 0..30 {
            let qos = 1 + number % 2;
            let text = number.to_string();
            publisher.send(&Publish::new("same/id", &text).qos(qos).encode(version, 9));
            if qos == 1 {
                publisher.await_code(kind::PUBACK, 9);
            } else {
                publisher.await_code(kind::PUBREC, 9);
                publisher.answer(kind::PUBREL, 9);
                publisher.await_code(kind::PUBCOMP, 9);
            }
            assert_eq!(subscriber.receive().text(), text, "{version:?}");
        }
        subscriber.nothing_came();
    }
}

#[test]
fn every_packet_id_is_accepted_and_the_two_directions_do_not_mix_them_up() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = Client::clean(&broker, version, "both");
        client.subscribe("to/myself", 2);
        // Unacknowledged, so that the broker's ids are in use while the client uses the same ids.
        for qos in [1, 2] {
            client.publish(&Publish::new("to/myself", "under way").qos(qos));
        }
        let waiting = [client.next_message(), client.next_message()];
        let ids = waiting.iter().map(|message| message.packet_id).chain([1, 0x7FFF, 0x8000, 0xFFFF]);
        for packet_id in ids.collect::<Vec<u16>>() {
            client.send(&Publish::new("to/myself", "same id").qos(1).encode(version, packet_id));
            assert!(client.await_code(kind::PUBACK, packet_id) < 0x80, "{version:?}: id {packet_id}");
            let message = client.receive();
            assert_eq!(message.text(), "same id", "{version:?}: id {packet_id}");
            assert!(waiting.iter().all(|other| other.packet_id != message.packet_id), "{version:?}: {message:?}");
        }
        waiting.iter().for_each(|message| client.acknowledge(message));
        client.nothing_came();
    }
}

#[test]
fn a_qos_2_message_sent_again_before_its_release_is_delivered_once() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut subscriber = Client::clean(&broker, version, "subscriber");
        subscriber.subscribe("once", 2);
        let mut publisher = Client::clean(&broker, version, "publisher");
        let publish = Publish::new("once", "exactly").qos(2);
        publisher.send(&publish.encode(version, 3));
        publisher.send(&publish.duplicate().encode(version, 3));
        for _ in 0..2 {
            assert_eq!(publisher.await_code(kind::PUBREC, 3), 0, "{version:?}");
        }
        publisher.answer(kind::PUBREL, 3);
        assert_eq!(publisher.await_code(kind::PUBCOMP, 3), 0, "{version:?}");
        publisher.publish(&Publish::new("once", "end").qos(2));
        assert_eq!(subscriber.receive_texts(2), ["exactly", "end"], "{version:?}");
    }
}

#[test]
fn a_qos_1_message_sent_again_is_acknowledged_again() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut subscriber = Client::clean(&broker, version, "subscriber");
        subscriber.subscribe("at/least/once", 1);
        let mut publisher = Client::clean(&broker, version, "publisher");
        let publish = Publish::new("at/least/once", "again").qos(1);
        publisher.send(&publish.encode(version, 3));
        assert_eq!(publisher.await_code(kind::PUBACK, 3), 0, "{version:?}");
        publisher.send(&publish.duplicate().encode(version, 3));
        assert_eq!(publisher.await_code(kind::PUBACK, 3), 0, "{version:?}");
        // After its acknowledgement the same id is another message, whatever its DUP flag; and DUP concerns one
        // connection, so it is not forwarded.
        for _ in 0..2 {
            let message = subscriber.receive();
            assert_eq!((message.text(), message.duplicate), ("again", false), "{version:?}");
        }
        subscriber.nothing_came();
    }
}

#[test]
fn acknowledgements_of_unknown_ids_are_answered_or_ignored() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = Client::clean(&broker, version, "confused");
        client.answer(kind::PUBACK, 1000);
        client.answer(kind::PUBCOMP, 1000);
        client.nothing_came();
        client.answer(kind::PUBREL, 1000);
        let code = client.await_code(kind::PUBCOMP, 1000);
        assert_eq!(code, 0, "{version:?}");
        client.nothing_came();
    }
}

#[test]
fn mqtt_5_receivers_are_told_that_a_packet_id_is_unknown_and_senders_that_it_is_free() {
    if cannot(Ability::Codes) {
        return;
    }
    let broker = Broker::start();
    let mut client = Client::clean(&broker, Version::V5, "confused");
    client.answer(kind::PUBREC, 1001);
    assert_eq!(client.await_code(kind::PUBREL, 1001), NOT_FOUND);
    // The message of an unknown id was routed before, or never: neither is an error of this exchange.
    client.answer(kind::PUBREL, 1000);
    assert_eq!(client.await_code(kind::PUBCOMP, 1000), 0);
    let packet_id = client.send_publish(&Publish::new("known", "").qos(2));
    client.await_code(kind::PUBREC, packet_id);
    client.answer(kind::PUBREL, packet_id);
    assert_eq!(client.await_code(kind::PUBCOMP, packet_id), 0);
    client.answer(kind::PUBREL, packet_id);
    assert_eq!(client.await_code(kind::PUBCOMP, packet_id), 0);
    client.nothing_came();
}

#[test]
fn a_receiver_of_mqtt_5_may_refuse_messages() {
    let broker = Broker::start();
    let connect = wisp_e2e::packet::Connect::kept(Version::V5, "picky", 3600).with(RECEIVE_MAXIMUM, 1);
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut client = Client::connect(&broker, &connect);
    client.subscribe("refused", 2);
    for (qos, answer) in [(2, kind::PUBREC), (1, kind::PUBACK)] {
        publisher.publish(&Publish::new("refused", "unwanted").qos(qos));
        publisher.publish(&Publish::new("refused", "wanted").qos(qos));
        let message = client.next_message();
        assert_eq!(message.text(), "unwanted", "QoS {qos}");
        client.answer_with(answer, message.packet_id, UNSPECIFIED_ERROR);
        // This completes the exchange and makes room in a window of one.
        assert_eq!(client.receive().text(), "wanted", "QoS {qos}");
        client.nothing_came();
        client.die();
        client = Client::connect(&broker, &connect);
        client.nothing_came();
    }
}

/// Sends five messages to a client, unacknowledged.
fn five_messages(broker: &Broker, client: &mut Client, qos: u8) -> Vec<Message> {
    let mut publisher = Client::clean(broker, client.version(), "publisher");
    for number in 0..5 {
        publisher.publish(&Publish::new("five", &number.to_string()).qos(qos));
    }
    (0..5).map(|_| client.next_message()).collect()
}

#[test]
fn acknowledgements_may_come_in_any_order() {
    let broker = Broker::start();
    for version in Version::ALL {
        for qos in [1, 2] {
            let mut client = Client::kept(&broker, version, "backwards");
            client.subscribe("five", qos);
            let messages = five_messages(&broker, &mut client, qos);
            if qos == 1 {
                messages.iter().rev().for_each(|message| client.answer(kind::PUBACK, message.packet_id));
            } else {
                messages.iter().rev().for_each(|message| client.answer(kind::PUBREC, message.packet_id));
                for message in [2, 0, 1, 4, 3].map(|number: usize| &messages[number]) {
                    client.await_code(kind::PUBREL, message.packet_id);
                    client.answer(kind::PUBCOMP, message.packet_id);
                }
            }
            client.nothing_came();
            client.die();
            client = Client::kept(&broker, version, "backwards");
            client.nothing_came();
            five_messages(&broker, &mut client, qos).iter().for_each(|message| client.acknowledge(message));
            client.nothing_came();
            Client::clean(&broker, version, "backwards").disconnect();
        }
    }
}

#[test]
fn pubrec_sent_again_is_answered_again() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = Client::clean(&broker, version, "repeats itself");
        client.subscribe("repeated", 2);
        client.publish(&Publish::new("repeated", "text").qos(2));
        let message = client.next_message();
        for _ in 0..2 {
            client.answer(kind::PUBREC, message.packet_id);
            assert_eq!(client.await_code(kind::PUBREL, message.packet_id), 0, "{version:?}");
        }
        client.answer(kind::PUBCOMP, message.packet_id);
        client.nothing_came();
    }
}

#[test]
fn pipelined_messages_are_all_acknowledged_and_delivered_in_order() {
    const COUNT: usize = 500;
    let broker = Broker::start();
    for version in Version::ALL {
        let mut subscriber = Client::clean(&broker, version, "subscriber");
        subscriber.subscribe("pipe/+", 2);
        let mut publisher = Client::clean(&broker, version, "publisher");
        let window = publisher.conn_ack().number(RECEIVE_MAXIMUM).unwrap_or(20).min(20) as usize;
        let mut expected = [vec![], vec![]];
        for start in (0..COUNT).step_by(window) {
            // A whole window in one write; each QoS has a topic of its own.
            let mut bytes = Vec::new();
            let mut ids = Vec::new();
            for number in start..(start + window).min(COUNT) {
                let qos = 1 + (number % 2) as u8;
                ids.push((qos, publisher.new_packet_id()));
                let topic = format!("pipe/{qos}");
                let text = number.to_string();
                bytes.extend(Publish::new(&topic, &text).qos(qos).encode(version, ids[ids.len() - 1].1));
                expected[usize::from(qos) - 1].push(text);
            }
            publisher.send(&bytes);
            for (qos, packet_id) in ids {
                if qos == 1 {
                    publisher.await_code(kind::PUBACK, packet_id);
                } else {
                    publisher.await_code(kind::PUBREC, packet_id);
                    publisher.answer(kind::PUBREL, packet_id);
                    publisher.await_code(kind::PUBCOMP, packet_id);
                }
            }
        }
        let mut come = [vec![], vec![]];
        for _ in 0..COUNT {
            let message = subscriber.receive();
            come[usize::from(message.qos) - 1].push(message.text().to_owned());
        }
        assert_eq!(come, expected, "{version:?}");
        subscriber.nothing_came();
    }
}
