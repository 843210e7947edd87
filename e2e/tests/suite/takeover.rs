//! A second connection with the same client id takes the session over from the first.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::packet::{Message, Publish, kind};

/// Session taken over, sent to a client of MQTT 5; in earlier versions the connection only closes.
const TAKEN_OVER: u8 = 0x8E;

/// The versions of the old and the new connection.
const PAIRS: [(Version, Version); 4] = [
    (Version::V311, Version::V311),
    (Version::V5, Version::V5),
    (Version::V311, Version::V5),
    (Version::V5, Version::V311),
];

#[test]
fn the_new_connection_gets_the_whole_session_and_the_old_one_a_disconnect() {
    let broker = Broker::start();
    for (old_version, new_version) in PAIRS {
        let mut publisher = Client::clean(&broker, Version::V5, "publisher");
        let mut old = Client::kept(&broker, old_version, "the one");
        old.subscribe("qos/+", 2);
        for number in 0..6 {
            publisher.publish(&Publish::new("qos/1", &number.to_string()).qos(1));
            publisher.publish(&Publish::new("qos/2", &number.to_string()).qos(2));
        }
        let sent: Vec<Message> = (0..12).map(|_| old.next_message()).collect();
        let (once, twice): (Vec<&Message>, Vec<&Message>) = sent.iter().partition(|message| message.qos == 1);
        // One message of each QoS is complete, and one at QoS 2 is half complete.
        old.acknowledge(once[0]);
        old.acknowledge(twice[0]);
        old.answer(kind::PUBREC, twice[1].packet_id);
        old.await_code(kind::PUBREL, twice[1].packet_id);
        old.ping();

        let mut new = Client::kept(&broker, new_version, "the one");
        assert_eq!(new.session_present(), Some(true), "from {old_version:?} to {new_version:?}");
        old.expect_disconnect(TAKEN_OVER);
        let again: Vec<Message> = (0..9).map(|_| new.next_message()).collect();
        assert!(again.iter().all(|message| message.duplicate), "from {old_version:?} to {new_version:?}: {again:?}");
        for (qos, expected) in [(1, &once[1..]), (2, &twice[2..])] {
            let found = again.iter().filter(|message| message.qos == qos);
            let found: Vec<_> = found.map(|message| (message.packet_id, message.text())).collect();
            let expected: Vec<_> = expected.iter().map(|message| (message.packet_id, message.text())).collect();
            assert_eq!(found, expected, "QoS {qos} from {old_version:?} to {new_version:?}");
        }
        assert_eq!(new.await_code(kind::PUBREL, twice[1].packet_id), 0);
        new.answer(kind::PUBCOMP, twice[1].packet_id);
        again.iter().for_each(|message| new.acknowledge(message));
        publisher.publish(&Publish::new("qos/2", "after").qos(2));
        assert_eq!(new.receive().text(), "after", "the subscription has moved too");
        Client::clean(&broker, new_version, "the one").disconnect();
    }
}

#[test]
fn a_clean_start_ends_the_old_connection_and_drops_its_session() {
    let broker = Broker::start();
    for (old_version, new_version) in PAIRS {
        let mut publisher = Client::clean(&broker, Version::V5, "publisher");
        let mut old = Client::kept(&broker, old_version, "the one");
        old.subscribe("dropped", 1);
        publisher.publish(&Publish::new("dropped", "unacknowledged").qos(1));
        old.next_message();
        let mut new = Client::clean(&broker, new_version, "the one");
        assert_eq!(new.session_present(), Some(false), "from {old_version:?} to {new_version:?}");
        old.expect_disconnect(TAKEN_OVER);
        publisher.publish(&Publish::new("dropped", "not subscribed").qos(1));
        new.nothing_came();
        new.subscribe("dropped", 1);
        publisher.publish(&Publish::new("dropped", "subscribed").qos(1));
        assert_eq!(new.receive().text(), "subscribed");
        new.disconnect();
        let client = Client::kept(&broker, new_version, "the one");
        assert_eq!(client.session_present(), Some(false));
        Client::clean(&broker, new_version, "the one").disconnect();
    }
}

#[test]
fn an_incoming_qos_2_message_may_be_completed_in_the_connection_that_took_over() {
    let broker = Broker::start();
    for (old_version, new_version) in PAIRS {
        let mut subscriber = Client::clean(&broker, Version::V5, "subscriber");
        subscriber.subscribe("exactly/once", 2);
        let mut old = Client::kept(&broker, old_version, "the one");
        let publish = Publish::new("exactly/once", "text").qos(2);
        old.send(&publish.encode(old_version, 5));
        old.await_code(kind::PUBREC, 5);
        let mut new = Client::kept(&broker, new_version, "the one");
        new.send(&publish.duplicate().encode(new_version, 5));
        assert_eq!(new.await_code(kind::PUBREC, 5), 0, "from {old_version:?} to {new_version:?}");
        new.answer(kind::PUBREL, 5);
        new.await_code(kind::PUBCOMP, 5);
        new.publish(&Publish::new("exactly/once", "next").qos(2));
        assert_eq!(subscriber.receive_texts(2), ["text", "next"], "from {old_version:?} to {new_version:?}");
        old.expect_disconnect(TAKEN_OVER);
        Client::clean(&broker, new_version, "the one").disconnect();
    }
}

#[test]
fn the_last_messages_of_the_old_connection_are_not_lost() {
    let broker = Broker::start();
    let mut subscriber = Client::clean(&broker, Version::V5, "subscriber");
    subscriber.subscribe("last/words", 1);
    for (old_version, new_version) in PAIRS {
        for round in 0..20 {
            let mut old = Client::kept(&broker, old_version, "the one");
            let text = format!("{round} from {old_version:?} to {new_version:?}");
            // Acknowledged, so the broker must deliver it even if the connection ends.
            old.publish(&Publish::new("last/words", &text).qos(1));
            let new = Client::kept(&broker, new_version, "the one");
            assert_eq!(subscriber.receive().text(), text);
            old.expect_disconnect(TAKEN_OVER);
            new.disconnect();
        }
        Client::clean(&broker, new_version, "the one").disconnect();
    }
}

#[test]
fn a_connection_that_does_not_read_is_taken_over_with_its_waiting_messages() {
    const COUNT: usize = 1000;
    let broker = Broker::start();
    for (old_version, new_version) in PAIRS {
        let mut old = Client::kept(&broker, old_version, "the one");
        old.subscribe("stuck", 1);
        let mut publisher = Client::clean(&broker, Version::V5, "publisher");
        // More bytes than the sockets hold.
        let payload = |number: usize| [&number.to_be_bytes()[..], &[number as u8; 3000]].concat();
        for number in 0..COUNT {
            publisher.publish(&Publish::new("stuck", &payload(number)).qos(1));
        }
        let mut new = Client::kept(&broker, new_version, "the one");
        for number in 0..COUNT {
            let message = new.receive();
            assert!(message.payload == payload(number), "message {number} from {old_version:?} to {new_version:?}");
        }
        new.nothing_came();
        drop(old);
        Client::clean(&broker, new_version, "the one").disconnect();
    }
}
