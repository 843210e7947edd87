//! Windows: the number of unacknowledged messages at QoS 1 and 2, limited by each side's Receive Maximum.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, Publish, kind};
use wisp_e2e::properties::property::RECEIVE_MAXIMUM;

const QUOTA_EXCEEDED: u8 = 0x97;

fn with_window(client_id: &str, window: u32) -> Connect<'_> {
    Connect::kept(Version::V5, client_id, 3600).with(RECEIVE_MAXIMUM, window)
}

fn publish_numbers(publisher: &mut Client, topic: &str, qos: u8, count: usize) {
    for number in 0..count {
        publisher.publish(&Publish::new(topic, &number.to_string()).qos(qos));
    }
}

#[test]
fn no_more_qos_1_messages_are_under_way_than_the_receiver_allows() {
    if cannot(Ability::Windows) {
        return;
    }
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    let mut client = Client::connect(&broker, &with_window("three", 3));
    client.subscribe("window", 1);
    publish_numbers(&mut publisher, "window", 1, 10);
    let mut under_way: Vec<_> = (0..3).map(|_| client.next_message()).collect();
    for number in 3..10 {
        client.nothing_came();
        // Not the oldest message each time.
        let message = under_way.remove(number % under_way.len());
        client.acknowledge(&message);
        under_way.push(client.next_message());
        assert_eq!(under_way[2].text(), number.to_string());
        let mut ids: Vec<u16> = under_way.iter().map(|message| message.packet_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 3, "ids in use at the same time differ: {under_way:?}");
    }
    under_way.iter().for_each(|message| client.acknowledge(message));
    client.nothing_came();
}

#[test]
fn a_qos_2_message_that_is_not_complete_makes_no_room() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    let mut client = Client::connect(&broker, &with_window("two", 2));
    client.subscribe("window", 2);
    publish_numbers(&mut publisher, "window", 2, 4);
    let first = [client.next_message(), client.next_message()];
    client.nothing_came();
    for message in &first {
        client.answer(kind::PUBREC, message.packet_id);
        client.await_code(kind::PUBREL, message.packet_id);
        client.nothing_came();
    }
    for message in &first {
        client.answer(kind::PUBCOMP, message.packet_id);
    }
    assert_eq!(client.receive_texts(2), ["2", "3"]);
    client.nothing_came();
}

#[test]
fn a_qos_2_message_that_is_complete_makes_room_for_one_other() {
    if cannot(Ability::Windows) {
        return;
    }
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V311, "publisher");
    let mut client = Client::connect(&broker, &with_window("two", 2));
    client.subscribe("window", 2);
    publish_numbers(&mut publisher, "window", 2, 6);
    let mut under_way = vec![client.next_message(), client.next_message()];
    for number in 2..6 {
        client.nothing_came();
        let message = under_way.remove(number % 2);
        client.acknowledge(&message);
        under_way.push(client.next_message());
        assert_eq!(under_way[1].text(), number.to_string());
    }
    under_way.iter().for_each(|message| client.acknowledge(message));
    client.nothing_came();
}

#[test]
fn qos_0_messages_pass_a_full_window() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut client = Client::connect(&broker, &with_window("one", 1));
    client.subscribe("window/+", 1);
    publish_numbers(&mut publisher, "window/1", 1, 3);
    let under_way = client.next_message();
    publish_numbers(&mut publisher, "window/0", 0, 3);
    for number in 0..3 {
        let message = client.next_message();
        assert_eq!((&*message.topic, message.text()), ("window/0", &*number.to_string()));
    }
    client.nothing_came();
    client.acknowledge(&under_way);
    assert_eq!(client.receive_texts(2), ["1", "2"]);
}

#[test]
fn answers_to_the_client_pass_a_full_window() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker, &with_window("one", 1));
    client.subscribe("window", 2);
    for qos in [1, 2, 2] {
        client.publish(&Publish::new("window", &qos.to_string()).qos(qos));
    }
    client.subscribe("another", 1);
    client.unsubscribe(&["another"]);
    assert_eq!(client.receive_texts(3), ["1", "2", "2"]);
}

#[test]
fn a_new_connection_brings_its_own_window() {
    let broker = Broker::start();
    for qos in [1, 2] {
        let mut publisher = Client::clean(&broker, Version::V5, "publisher");
        let mut client = Client::connect(&broker, &with_window("shrinks", 5));
        client.subscribe("window", 2);
        publish_numbers(&mut publisher, "window", qos, 8);
        for _ in 0..5 {
            client.next_message();
        }
        client.die();
        let mut client = Client::connect(&broker, &with_window("shrinks", 2));
        for number in 0..8 {
            let message = client.receive();
            assert_eq!((message.text(), message.duplicate), (&*number.to_string(), number < 5), "QoS {qos}");
        }
        client.nothing_came();
        Client::clean(&broker, Version::V5, "shrinks").disconnect();
    }
}

#[test]
fn order_is_kept_through_small_windows() {
    const COUNT: usize = 300;
    let broker = Broker::start();
    for window in [1, 2, 7] {
        for qos in [1, 2] {
            let mut client = Client::connect(&broker, &with_window("ordered", window).clean());
            client.subscribe("ordered", qos);
            let mut publisher = Client::clean(&broker, Version::V311, "publisher");
            publish_numbers(&mut publisher, "ordered", qos, COUNT);
            let expected: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
            assert_eq!(client.receive_texts(COUNT), expected, "QoS {qos} in a window of {window}");
            client.disconnect();
        }
    }
}

#[test]
fn messages_beyond_the_brokers_window_are_refused_one_by_one() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let mut subscriber = Client::clean(&broker, Version::V5, "subscriber");
    subscriber.subscribe("window", 0);
    let mut client = Client::clean(&broker, Version::V5, "too many");
    let window = client.conn_ack().number(RECEIVE_MAXIMUM).unwrap_or(0xFFFF);
    assert!(window < 0xFFFF, "the broker states a window that can be exceeded");
    // Messages at QoS 2 stay in the window until their sender releases them.
    let ids: Vec<u16> = (0..window + 50).map(|_| client.send_publish(&Publish::new("window", "").qos(2))).collect();
    let codes: Vec<u8> = ids.iter().map(|packet_id| client.await_code(kind::PUBREC, *packet_id)).collect();
    let (accepted, refused) = codes.split_at(window as usize);
    assert!(
        accepted.iter().all(|code| *code == 0) && refused.iter().all(|code| *code == QUOTA_EXCEEDED),
        "{codes:02X?}"
    );
    // A refused message is complete, and its id is free.
    client.answer(kind::PUBREL, ids[0]);
    client.await_code(kind::PUBCOMP, ids[0]);
    client.send(&Publish::new("window", "").qos(2).encode(Version::V5, ids[window as usize]));
    assert_eq!(client.await_code(kind::PUBREC, ids[window as usize]), 0);
    (0..=window).for_each(|_| _ = subscriber.receive());
    subscriber.nothing_came();
}

#[test]
fn a_sender_may_fill_the_brokers_window_again_and_again() {
    let broker = Broker::start();
    let mut subscriber = Client::clean(&broker, Version::V5, "subscriber");
    subscriber.subscribe("window", 0);
    let mut client = Client::clean(&broker, Version::V5, "just enough");
    let window = client.conn_ack().number(RECEIVE_MAXIMUM).unwrap_or(0xFFFF).min(100);
    for _ in 0..3 {
        let ids: Vec<u16> = (0..window).map(|_| client.send_publish(&Publish::new("window", "").qos(2))).collect();
        for packet_id in &ids {
            assert_eq!(client.await_code(kind::PUBREC, *packet_id), 0);
        }
        for packet_id in &ids {
            client.answer(kind::PUBREL, *packet_id);
            assert_eq!(client.await_code(kind::PUBCOMP, *packet_id), 0);
        }
        for _ in 0..window {
            subscriber.receive();
        }
    }
    subscriber.nothing_came();
}
