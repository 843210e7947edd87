//! Statements of the standards that no other test shows; see docs/conformance.md.

use std::thread::sleep;
use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, PINGREQ, Publish, Received, Will, field, kind, packet, subscribe};
use wisp_e2e::properties::Properties;
use wisp_e2e::properties::property::{
    AUTHENTICATION_METHOD, MAXIMUM_PACKET_SIZE, MESSAGE_EXPIRY_INTERVAL, PAYLOAD_FORMAT_INDICATOR, REASON_STRING,
    RECEIVE_MAXIMUM, TOPIC_ALIAS,
};
use wisp_e2e::raw::RawClient;
use wisp_e2e::wait::TIMEOUT;

const UNSPECIFIED_ERROR: u8 = 0x80;
const TOPIC_ALIAS_INVALID: u8 = 0x94;
const PAYLOAD_FORMAT_INVALID: u8 = 0x99;

/// Longer than a message expiry interval of one second, however a broker rounds it.
const PAST_EXPIRY: Duration = Duration::from_millis(2500);

#[test]
fn client_ids_of_1_to_23_letters_and_digits_are_taken() {
    let broker = Broker::start();
    for version in Version::ALL {
        let ids = ["0", "Z", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZKLMNOPQ"];
        let mut clients = ids.map(|id| Client::clean(&broker, version, id));
        clients.iter_mut().for_each(Client::ping);
    }
}

#[test]
fn packets_behind_a_refused_connect_are_ignored() {
    let broker = Broker::start();
    let mut observer = Client::clean(&broker, Version::V5, "observer");
    observer.subscribe("behind/#", 1);
    let mut unknown_method = Connect::new(Version::V5, "refused");
    unknown_method.properties = Properties::NONE.data(AUTHENTICATION_METHOD, "unknown");
    let kept_without_id = Connect { clean_start: false, ..Connect::new(Version::V311, "") };
    for connect in [unknown_method, kept_without_id] {
        let version = connect.version;
        let bytes = [
            connect.encode(),
            subscribe(version, 1, &[("behind/#", 1)]),
            Publish::new("behind/retained", "text").retained().encode(version, 0),
            Publish::new("behind/acknowledged", "text").qos(1).encode(version, 2),
            PINGREQ.to_vec(),
        ];
        let mut client = RawClient::open(broker.addr(), version);
        drop(client.try_send(&bytes.concat()));
        let answers = client.read_to_close();
        assert_eq!(answers.iter().map(Received::kind).collect::<Vec<u8>>(), [kind::CONNACK], "{version:?}");
        assert_ne!(answers[0].conn_ack(version).code, 0, "{version:?}");

        observer.publish(&Publish::new("behind/nothing", "").qos(1));
        assert_eq!(observer.receive().topic, "behind/nothing", "{version:?}");
    }
    let mut later = Client::clean(&broker, Version::V5, "later");
    later.subscribe("behind/#", 1);
    later.publish(&Publish::new("behind/nothing", "").qos(1));
    assert_eq!(later.receive().topic, "behind/nothing", "nothing is retained");
}

#[test]
fn a_malformed_connect_of_mqtt_3_1_1_is_not_answered() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let connect = |flags: u8, fields: &[&[u8]]| {
        let fields = fields.iter().flat_map(|content| field(content)).collect::<Vec<u8>>();
        packet(0x10, &[&field(b"MQTT"), &[4, flags, 0, 0][..], &fields].concat())
    };
    let cases = [
        ("the reserved flag", connect(0x03, &[b"id"])),
        ("will QoS 3", connect(0x1E, &[b"id", b"topic", b"text"])),
        ("will QoS without a will", connect(0x0A, &[b"id"])),
        ("will retain without a will", connect(0x22, &[b"id"])),
        ("no will topic", connect(0x06, &[b"id"])),
        ("no will message", connect(0x06, &[b"id", b"topic"])),
        ("an ill-formed will topic", connect(0x06, &[b"id", b"a\xFFb", b"text"])),
        ("an ill-formed client id", connect(0x02, &[b"i\xFFd"])),
        ("U+0000 in the client id", connect(0x02, &[b"i\0d"])),
        ("an ill-formed user name", connect(0x82, &[b"id", b"\xED\xA0\x80"])),
        ("no user name", connect(0x82, &[b"id"])),
        ("no password", connect(0xC2, &[b"id", b"user"])),
        ("a password without a user name", connect(0x42, &[b"id", b"secret"])),
        ("a user name without its flag", connect(0x02, &[b"id", b"user"])),
    ];
    for (rule, bytes) in cases {
        let mut client = RawClient::open(broker.addr(), Version::V311);
        drop(client.try_send(&bytes));
        assert_eq!(client.read_to_close(), [], "{rule}");
    }
}

#[test]
fn ill_formed_strings_in_a_connect_of_mqtt_5_are_refused() {
    let broker = Broker::start();
    let ill_formed = field(b"a\xFFb");
    let (id, text) = (field(b"id"), field(b"text"));
    // The will's property length precedes its topic.
    let cases = [
        ("client id", 0x02, ill_formed.clone()),
        ("will topic", 0x06, [&id[..], &[0], &ill_formed, &text].concat()),
        ("user name", 0x82, [&id[..], &ill_formed].concat()),
    ];
    for (name, flags, payload) in cases {
        let mut client = RawClient::open(broker.addr(), Version::V5);
        let bytes = packet(0x10, &[&field(b"MQTT"), &[5, flags, 0, 0, 0][..], &payload].concat());
        drop(client.try_send(&bytes));
        // The broker may send a reason or only close the connection.
        for answer in client.read_to_close() {
            assert_eq!(answer.kind(), kind::CONNACK, "{name}");
            assert!(answer.conn_ack(Version::V5).code >= 0x80, "{name}: {answer:02X?}");
        }
    }
}

#[test]
fn a_will_that_is_not_retained_leaves_the_retained_message_alone() {
    let broker = Broker::start();
    for version in Version::ALL {
        for kept in ["", "kept before"] {
            let mut heir = Client::clean(&broker, version, "heir");
            heir.publish(&Publish::new("wills/passing", kept).qos(1).retained());
            heir.subscribe("wills/+", 1);
            if !kept.is_empty() {
                assert_eq!(heir.receive().text(), kept, "{version:?}");
            }
            let will = Will::new("wills/passing", "gone").qos(1);
            Client::connect(&broker, &Connect::new(version, "mortal").will(will)).die();
            let message = heir.receive();
            assert_eq!((message.text(), message.retain), ("gone", false), "{version:?}");

            let mut later = Client::clean(&broker, version, "later");
            later.subscribe("wills/+", 1);
            heir.publish(&Publish::new("wills/end", "end").qos(1));
            let texts = later.receive_texts(if kept.is_empty() { 1 } else { 2 });
            assert_eq!(texts[..texts.len() - 1], [kept][..texts.len() - 1], "{version:?}");
            assert_eq!(texts[texts.len() - 1], "end", "{version:?}");
        }
    }
}

#[test]
fn no_message_is_lost_while_its_subscription_is_replaced() {
    const COUNT: usize = 300;
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        let mut subscriber = Client::clean(&broker, version, "subscriber");
        subscriber.subscribe("busy", 1);
        for number in 0..COUNT {
            publisher.send(&Publish::new("busy", &number.to_string()).qos(1).encode(version, 1 + number as u16));
            let packet_id = 1000 + number as u16;
            subscriber.send(&subscribe(version, packet_id, &[("busy", 1 + (number % 2) as u8)]));
        }
        let expected: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
        assert_eq!(subscriber.receive_texts(COUNT), expected, "{version:?}");
    }
}

#[test]
fn overlapping_subscriptions_deliver_at_the_highest_qos_of_them() {
    if cannot(Ability::Wisp) {
        // mosquitto delivers at the QoS of the subscription that it finds first.
        return;
    }
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let mut client = Client::clean(&broker, version, "subscriber");
            client.subscribe("end", 1);
            for (filter, qos) in ["over/lap", "over/+", "over/#"].into_iter().zip(order) {
                client.subscribe(filter, qos);
            }
            publisher.publish(&Publish::new("over/lap", "text").qos(2));
            publisher.publish(&Publish::new("end", "").qos(1));
            let mut found = Vec::new();
            loop {
                let message = client.receive();
                if message.topic == "end" {
                    break;
                }
                found.push(message.qos);
            }
            assert_eq!(found.iter().max(), Some(&2), "{version:?}: QoS {found:?} for subscriptions at {order:?}");
        }
    }
}

#[test]
fn members_of_a_group_get_messages_at_the_qos_granted_to_each() {
    const COUNT: usize = 60;
    let broker = Broker::start();
    for version in Version::ALL {
        for published in [1, 2] {
            let mut publisher = Client::clean(&broker, version, "publisher");
            let mut members = [0, 1, 2].map(|granted| {
                let mut member = Client::clean(&broker, version, &format!("member {granted}"));
                member.subscribe("$share/group/work", granted);
                (granted, member, 0)
            });
            for number in 0..COUNT {
                publisher.publish(&Publish::new("work", &number.to_string()).qos(published));
            }
            let start = Instant::now();
            while members.iter().map(|(.., count)| count).sum::<usize>() < COUNT {
                assert!(start.elapsed() < TIMEOUT, "{version:?}: not all messages come");
                for (granted, member, count) in &mut members {
                    while let Some(message) = member.next_message_within(Duration::from_millis(50)) {
                        assert_eq!(message.qos, published.min(*granted), "{version:?}: {message:?}");
                        member.acknowledge(&message);
                        *count += 1;
                    }
                }
            }
            assert!(members.iter().all(|(.., count)| *count > 0), "{version:?}: a member got nothing");
        }
    }
}

#[test]
fn a_message_that_a_member_refuses_goes_to_no_other() {
    let broker = Broker::start();
    for (qos, answer) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        let mut publisher = Client::clean(&broker, Version::V5, "publisher");
        let picky = Connect::new(Version::V5, "picky").with(RECEIVE_MAXIMUM, 1);
        let mut picky = Client::connect(&broker, &picky);
        picky.subscribe("$share/group/work", 2);
        publisher.publish(&Publish::new("work", "unwanted").qos(qos));
        let message = picky.next_message();
        let mut other = Client::clean(&broker, Version::V5, "other");
        other.subscribe("$share/group/work", 2);
        picky.answer_with(answer, message.packet_id, UNSPECIFIED_ERROR);
        picky.ping();
        other.nothing_came();
        picky.unsubscribe(&["$share/group/work"]);
        picky.disconnect();
        publisher.publish(&Publish::new("work", "wanted").qos(qos));
        assert_eq!(other.receive().text(), "wanted", "QoS {qos}");
        other.nothing_came();
        // The next round's message is for the other client only.
        other.disconnect();
    }
}

#[test]
fn a_qos_2_message_that_was_sent_is_sent_again_though_it_has_expired() {
    if cannot(Ability::Wisp) {
        // mosquitto drops the message.
        return;
    }
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut client = Client::kept(&broker, Version::V5, "late");
    client.subscribe("expiry", 2);
    publisher.publish(&Publish::new("expiry", "sent in time").qos(2).with(MESSAGE_EXPIRY_INTERVAL, 1));
    let sent = client.next_message();
    client.die();
    sleep(PAST_EXPIRY);
    let mut client = Client::kept(&broker, Version::V5, "late");
    let again = client.receive();
    assert_eq!((again.text(), again.packet_id, again.duplicate), (sent.text(), sent.packet_id, true));
    client.nothing_came();
}

#[test]
fn the_exchange_of_a_qos_2_message_goes_on_after_its_expiry() {
    let broker = Broker::start();
    let mut client = Client::kept(&broker, Version::V5, "away");
    client.subscribe("expiry", 2);
    client.disconnect();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let publish = Publish::new("expiry", "expires").qos(2).with(MESSAGE_EXPIRY_INTERVAL, 1);
    let packet_id = publisher.send_publish(&publish);
    assert_eq!(publisher.await_code(kind::PUBREC, packet_id), 0);
    sleep(PAST_EXPIRY);
    publisher.answer(kind::PUBREL, packet_id);
    assert_eq!(publisher.await_code(kind::PUBCOMP, packet_id), 0);
    let mut client = Client::kept(&broker, Version::V5, "away");
    client.nothing_came();
}

#[test]
fn a_packet_id_is_free_when_its_qos_2_message_was_refused() {
    if cannot(Ability::Wisp) {
        // A broker need not check payloads.
        return;
    }
    let broker = Broker::start();
    let mut subscriber = Client::clean(&broker, Version::V5, "subscriber");
    subscriber.subscribe("text", 2);
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let wrong = Publish::new("text", b"\xFF").qos(2).with(PAYLOAD_FORMAT_INDICATOR, 1);
    publisher.send(&wrong.encode(Version::V5, 7));
    assert_eq!(publisher.await_code(kind::PUBREC, 7), PAYLOAD_FORMAT_INVALID);
    publisher.send(&Publish::new("text", "right").qos(2).encode(Version::V5, 7));
    assert_eq!(publisher.await_code(kind::PUBREC, 7), 0);
    publisher.answer(kind::PUBREL, 7);
    assert_eq!(publisher.await_code(kind::PUBCOMP, 7), 0);
    assert_eq!(subscriber.receive().text(), "right");
    subscriber.nothing_came();
}

#[test]
fn pubrel_packets_come_in_the_order_of_the_pubrec_packets() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = Client::clean(&broker, version, "disorderly");
        client.subscribe("order", 2);
        for number in 0..5 {
            client.publish(&Publish::new("order", &number.to_string()).qos(2));
        }
        let ids: Vec<u16> = (0..5).map(|_| client.next_message().packet_id).collect();
        let order = [2, 0, 1, 4, 3].map(|number: usize| ids[number]);
        order.iter().for_each(|id| client.answer(kind::PUBREC, *id));
        let released = order.map(|_| {
            let pubrel = client.await_packet("a PUBREL", |packet| packet.kind() == kind::PUBREL);
            pubrel.publish_acknowledgement(version).packet_id
        });
        assert_eq!(released, order, "{version:?}");
    }
}

#[test]
fn reasons_are_left_out_where_the_packet_would_be_too_long() {
    if cannot(Ability::Wisp) {
        // A broker need not give reasons.
        return;
    }
    let broker = Broker::start();
    for (limit, gives_reasons) in [(None, true), (Some(30), false)] {
        let connect = || {
            let connect = Connect::new(Version::V5, "limited");
            let connect = limit.into_iter().fold(connect, |connect, limit| connect.with(MAXIMUM_PACKET_SIZE, limit));
            Client::connect(&broker, &connect)
        };
        let mut client = connect();
        for (qos, answer) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
            let wrong = Publish::new("text", b"\xFF").qos(qos).with(PAYLOAD_FORMAT_INDICATOR, 1);
            let packet_id = client.send_publish(&wrong);
            let answer = client.await_acknowledgement(answer, packet_id);
            let found = (answer.code, answer.properties.has(REASON_STRING));
            assert_eq!(found, (PAYLOAD_FORMAT_INVALID, gives_reasons), "QoS {qos}, limit {limit:?}");
        }
        let mut client = connect();
        client.send_publish(&Publish::new("", "").with(TOPIC_ALIAS, 0xFFFF));
        let packets = client.read_to_close();
        let [last] = &packets[..] else { panic!("one DISCONNECT instead of {packets:02X?}") };
        let (code, properties) = last.disconnect();
        assert_eq!((code, properties.has(REASON_STRING)), (TOPIC_ALIAS_INVALID, gives_reasons), "limit {limit:?}");
    }
}
