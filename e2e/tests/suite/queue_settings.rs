//! Topic queues with settings of their own: bound to topics, limited, with a policy for a full queue, and with
//! another queue for dead letters.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{PINGREQ, Publish, kind};

use crate::config::ConfigFile;

const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
const QUOTA_EXCEEDED: u8 = 0x97;

/// A broker with this configuration; None if the broker is not Wisp.
fn configured(name: &str, text: &str) -> Option<Broker> {
    if cannot(Ability::Wisp) {
        return None;
    }
    let file = ConfigFile::new(name, text);
    Some(Broker::start_with(&["--config", file.path()]))
}

fn texts(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[test]
fn a_queue_bound_to_topics_gets_their_messages() {
    let text = "[[queue]]\nname = \"orders\"\nfilter = \"orders/#\"\n";
    let Some(broker) = configured("bound", text) else { return };
    for version in Version::ALL {
        for qos in 0..3 {
            let mut publisher = Client::clean(&broker, version, "publisher");
            let mut subscriber = Client::clean(&broker, version, "subscriber");
            subscriber.subscribe("orders/+", 2);
            for text in texts(0..20) {
                publisher.publish(&Publish::new("orders/new", &text).qos(qos));
            }
            publisher.publish(&Publish::new("$queue/orders", "straight").qos(qos));
            publisher.publish(&Publish::new("other", "elsewhere").qos(qos));
            assert_eq!(subscriber.receive_texts(20), texts(0..20), "{version:?}: ordinary subscribers get it as well");
            let mut receiver = Client::clean(&broker, version, "receiver");
            receiver.subscribe("$queue/orders", 2);
            for text in texts(0..20) {
                let message = receiver.receive();
                let found = (&*message.topic, message.text(), message.qos);
                assert_eq!(found, ("orders/new", &*text, qos), "{version:?}");
            }
            let message = receiver.receive();
            assert_eq!((&*message.topic, message.text()), ("$queue/orders", "straight"), "{version:?}");
            receiver.nothing_came();
            receiver.disconnect();
            subscriber.nothing_came();
        }
    }
}

#[test]
fn a_queue_bound_to_a_topic_counts_as_a_subscriber() {
    let text = "[[queue]]\nname = \"orders\"\nfilter = \"orders/#\"\n";
    let Some(broker) = configured("counts", text) else { return };
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    for qos in [1, 2] {
        assert_eq!(publisher.publish(&Publish::new("orders/new", "").qos(qos)), 0);
        assert_eq!(publisher.publish(&Publish::new("other", "").qos(qos)), NO_MATCHING_SUBSCRIBERS);
    }
}

#[test]
fn a_full_queue_refuses_messages_of_mqtt_5_clients() {
    let text = "[[queue]]\nname = \"small\"\nmessages-max = 3\n";
    let Some(broker) = configured("refuse", text) else { return };
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut publish =
        |number: usize, qos: u8| publisher.publish_code(&Publish::new("$queue/small", &number.to_string()).qos(qos));
    assert_eq!([publish(0, 1), publish(1, 2), publish(2, 1)], [0; 3]);
    assert_eq!([publish(3, 1), publish(3, 2)], [QUOTA_EXCEEDED; 2]);
    let mut receiver = Client::clean(&broker, Version::V5, "receiver");
    receiver.subscribe("$queue/small", 2);
    let on_loan = [receiver.next_message(), receiver.next_message(), receiver.next_message()];
    assert_eq!(on_loan.each_ref().map(|message| message.text().to_owned()).to_vec(), texts(0..3));
    // Messages on loan still count.
    assert_eq!(publish(3, 1), QUOTA_EXCEEDED);
    on_loan.iter().for_each(|message| receiver.acknowledge(message));
    // The answer arrives when the acknowledgements have been read.
    receiver.ping();
    assert_eq!([publish(3, 1), publish(4, 2), publish(5, 1)], [0; 3]);
    assert_eq!(publish(6, 1), QUOTA_EXCEEDED);
    assert_eq!(receiver.receive_texts(3), texts(3..6));
    receiver.nothing_came();
}

#[test]
fn a_full_queue_holds_back_clients_that_it_cannot_refuse() {
    let text = "[[queue]]\nname = \"small\"\nmessages-max = 3\n";
    let Some(broker) = configured("hold", text) else { return };
    for version in [Version::V31, Version::V311] {
        let mut publisher = Client::clean(&broker, version, "publisher");
        let ids: Vec<u16> = (0..10)
            .map(|number| publisher.send_publish(&Publish::new("$queue/small", &number.to_string()).qos(1)))
            .collect();
        for packet_id in &ids[..3] {
            publisher.await_code(kind::PUBACK, *packet_id);
        }
        publisher.send(PINGREQ);
        let mut receiver = Client::clean(&broker, version, "receiver");
        receiver.subscribe("$queue/small", 1);
        assert_eq!(receiver.receive_texts(10), texts(0..10), "{version:?}: all of them, in order");
        for packet_id in &ids[3..] {
            publisher.await_code(kind::PUBACK, *packet_id);
        }
        publisher.await_packet("PINGRESP", |packet| packet.kind() == kind::PINGRESP);
        receiver.nothing_came();
        receiver.disconnect();
    }
}

#[test]
fn a_full_queue_drops_the_oldest_or_the_newest_where_its_policy_says_so() {
    let text = "[[queue]]\nname = \"oldest\"\nmessages-max = 3\npolicy = \"drop-oldest\"\n\
                [[queue]]\nname = \"newest\"\nmessages-max = 3\npolicy = \"drop-newest\"\n";
    let Some(broker) = configured("drop", text) else { return };
    for version in Version::ALL {
        for qos in 0..3 {
            for (topic, left) in [("$queue/oldest", 7..10), ("$queue/newest", 0..3)] {
                let mut publisher = Client::clean(&broker, version, "publisher");
                for number in 0..10 {
                    publisher.publish(&Publish::new(topic, &number.to_string()).qos(qos));
                }
                publisher.ping();
                let mut receiver = Client::clean(&broker, version, "receiver");
                receiver.subscribe(topic, 2);
                assert_eq!(receiver.receive_texts(3), texts(left), "{version:?} {topic} at QoS {qos}");
                receiver.nothing_came();
                receiver.disconnect();
            }
        }
    }
}

#[test]
fn a_message_that_no_receiver_acknowledges_goes_to_the_dead_letter_queue() {
    let text = "[[queue]]\nname = \"poison\"\ndeliveries-max = 2\ndead-letter = \"poison-dead\"\n";
    let Some(broker) = configured("dead", text) else { return };
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        publisher.publish(&Publish::new("$queue/poison", "poison").qos(1));
        for duplicate in [false, true] {
            let mut victim = Client::clean(&broker, version, "victim");
            victim.subscribe("$queue/poison", 1);
            let message = victim.next_message();
            assert_eq!((message.text(), message.duplicate), ("poison", duplicate), "{version:?}");
            victim.disconnect();
        }
        publisher.publish(&Publish::new("$queue/poison", "food").qos(1));
        let mut receiver = Client::clean(&broker, version, "receiver");
        receiver.subscribe("$queue/poison", 1);
        assert_eq!(receiver.receive().text(), "food", "{version:?}");
        receiver.nothing_came();
        let mut undertaker = Client::clean(&broker, version, "undertaker");
        undertaker.subscribe("$queue/poison-dead", 1);
        assert_eq!(undertaker.receive().text(), "poison", "{version:?}");
        undertaker.nothing_came();
        [receiver, undertaker].into_iter().for_each(|client| drop(client.disconnect()));
    }
}

#[test]
fn configured_queues_are_there_whatever_the_limit_on_queues_is() {
    let text = "[[queue]]\nname = \"stays\"\n[[queue]]\nname = \"stays/too\"\n[limits]\ntopic-queues-max = 0\n";
    let Some(broker) = configured("limit", text) else { return };
    let mut client = Client::clean(&broker, Version::V5, "client");
    for name in ["$queue/stays", "$queue/stays/too"] {
        assert_eq!(client.publish(&Publish::new(name, name).qos(1)), 0);
        client.subscribe(name, 1);
        assert_eq!(client.receive().text(), name);
    }
    assert_eq!(client.publish_code(&Publish::new("$queue/made", "").qos(1)), QUOTA_EXCEEDED);
}
