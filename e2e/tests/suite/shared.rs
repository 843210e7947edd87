//! Shared subscriptions: each message goes to one member of a group. MQTT 5 defines them; brokers offer them to
//! clients of earlier versions too.

use std::collections::BTreeSet;

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Message, Publish, kind};
use wisp_e2e::properties::Properties;
use wisp_e2e::properties::property::{RECEIVE_MAXIMUM, SHARED_SUBSCRIPTION_AVAILABLE, SUBSCRIPTION_IDENTIFIER};
use wisp_e2e::wait::wait_until;

const FILTER: &str = "$share/group/work/+";

fn members(broker: &Broker, version: Version, count: usize, qos: u8) -> Vec<Client> {
    (0..count)
        .map(|number| {
            let mut member = Client::clean(broker, version, &format!("member {number}"));
            member.subscribe(FILTER, qos);
            member
        })
        .collect()
}

fn publish_numbers(publisher: &mut Client, qos: u8, numbers: std::ops::Range<usize>) {
    for number in numbers {
        publisher.publish(&Publish::new("work/x", &number.to_string()).qos(qos));
    }
    publisher.ping();
}

/// The messages that a client received before a marker message on its own topic.
fn come(broker: &Broker, client: &mut Client, qos: u8) -> Vec<Message> {
    let mut publisher = Client::clean(broker, Version::V5, "marker");
    client.subscribe("mark", qos);
    publisher.publish(&Publish::new("mark", "").qos(qos));
    let mut messages = Vec::new();
    loop {
        let message = client.receive();
        if message.topic == "mark" {
            client.unsubscribe(&["mark"]);
            return messages;
        }
        messages.push(message);
    }
}

fn numbers(messages: &[Message]) -> Vec<usize> {
    messages.iter().map(|message| message.text().parse().expect("a number")).collect()
}

#[test]
fn each_message_goes_to_one_member_and_every_member_gets_some() {
    const COUNT: usize = 60;
    let broker = Broker::start();
    for version in Version::ALL {
        for qos in 0..3 {
            let mut publisher = Client::clean(&broker, version, "publisher");
            let mut members = members(&broker, version, 3, qos);
            let mut outsider = Client::clean(&broker, version, "outsider");
            outsider.subscribe("work/+", qos);
            publish_numbers(&mut publisher, qos, 0..COUNT);
            let mut all = Vec::new();
            for member in &mut members {
                let messages = come(&broker, member, qos);
                assert!(messages.iter().all(|message| message.qos == qos && message.topic == "work/x"));
                let numbers = numbers(&messages);
                assert!(numbers.is_sorted(), "{version:?} QoS {qos}: out of order: {numbers:?}");
                assert!(!numbers.is_empty(), "{version:?} QoS {qos}: a member got nothing");
                all.extend(numbers);
            }
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..COUNT), "{version:?} QoS {qos}: {all:?}");
            let outside = numbers(&come(&broker, &mut outsider, qos));
            assert!(outside.into_iter().eq(0..COUNT), "{version:?} QoS {qos}: a subscription that is not shared");
        }
    }
}

#[test]
fn groups_and_plain_subscriptions_do_not_take_messages_from_each_other() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        let mut clients = ["$share/one/work/+", "$share/two/work/+", "$share/one/work/#", "work/x"].map(|filter| {
            let mut client = Client::clean(&broker, version, &format!("on {filter}"));
            client.subscribe(filter, 1);
            client
        });
        publish_numbers(&mut publisher, 1, 0..10);
        for client in &mut clients {
            assert_eq!(numbers(&come(&broker, client, 1)), Vec::from_iter(0..10), "{version:?}");
        }
    }
}

#[test]
fn versions_may_be_mixed_in_a_group() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut members = Version::ALL.map(|version| {
        let mut member = Client::clean(&broker, version, &format!("member {version:?}"));
        member.subscribe(FILTER, 1);
        member
    });
    publish_numbers(&mut publisher, 1, 0..30);
    let mut all = Vec::new();
    for member in &mut members {
        let come = numbers(&come(&broker, member, 1));
        assert!(!come.is_empty(), "{:?} got nothing", member.version());
        all.extend(come);
    }
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..30), "{all:?}");
}

#[test]
fn a_member_that_unsubscribes_or_leaves_gets_no_more() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        let mut members = members(&broker, version, 3, 1);
        let gone = members.pop().expect("there are three");
        gone.disconnect();
        let mut unsubscribed = members.pop().expect("there are two");
        unsubscribed.unsubscribe(&[FILTER]);
        publish_numbers(&mut publisher, 1, 0..10);
        assert_eq!(numbers(&come(&broker, &mut members[0], 1)), Vec::from_iter(0..10), "{version:?}");
        unsubscribed.nothing_came();
    }
}

#[test]
fn unacknowledged_qos_1_messages_go_to_another_member_when_their_session_ends() {
    if cannot(Ability::Wisp) {
        // mosquitto drops the messages with the session.
        return;
    }
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        let mut members = members(&broker, version, 2, 1);
        publish_numbers(&mut publisher, 1, 0..10);
        // One member receives a message and dies without acknowledging it.
        let mut mortal = members.pop().expect("there are two");
        let first = mortal.next_message();
        mortal.die();
        let mut found = BTreeSet::new();
        while found.len() < 10 {
            let message = members[0].receive();
            assert!(found.insert(message.text().to_owned()), "{version:?}: twice: {message:?}");
        }
        assert!(found.contains(first.text()), "{version:?}: {found:?}");
        members[0].nothing_came();
    }
}

#[test]
fn a_qos_2_message_under_way_is_never_given_to_another_member_but_those_behind_it_are() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let window_of_one = wisp_e2e::packet::Connect::new(Version::V5, "mortal").with(RECEIVE_MAXIMUM, 1);
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut mortal = Client::connect(&broker, &window_of_one);
    mortal.subscribe(FILTER, 2);
    publish_numbers(&mut publisher, 2, 0..5);
    assert_eq!(mortal.next_message().text(), "0");
    let mut other = Client::clean(&broker, Version::V5, "other");
    other.subscribe(FILTER, 2);
    mortal.die();
    // The member may have received the message, so it ends with the member's session. The others were never
    // sent.
    assert_eq!(other.receive_texts(4), ["1", "2", "3", "4"]);
    publish_numbers(&mut publisher, 2, 5..6);
    assert_eq!(other.receive().text(), "5");
    other.nothing_came();
}

#[test]
fn acknowledged_messages_go_to_no_other_member() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        let mut members = members(&broker, version, 2, 2);
        publish_numbers(&mut publisher, 2, 0..10);
        let mut one = members.pop().expect("there are two");
        let mut done = numbers(&come(&broker, &mut one, 2));
        one.die();
        done.extend(numbers(&come(&broker, &mut members[0], 2)));
        done.sort_unstable();
        assert!(done.iter().copied().eq(0..10), "{version:?}: {done:?}");
    }
}

#[test]
fn messages_wait_for_a_group_whose_sessions_are_all_away() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        let mut member = Client::kept(&broker, version, "member");
        member.subscribe(FILTER, 1);
        member.disconnect();
        publish_numbers(&mut publisher, 1, 0..10);
        let mut member = Client::kept(&broker, version, "member");
        let texts: Vec<usize> = (0..10).map(|_| member.receive().text().parse().expect("a number")).collect();
        assert_eq!(texts, Vec::from_iter(0..10), "{version:?}");
        member.nothing_came();
        Client::clean(&broker, version, "member").disconnect();
    }
}

#[test]
fn a_member_without_room_does_not_hold_up_the_others() {
    if cannot(Ability::Wisp) {
        // mosquitto takes turns regardless of free capacity.
        return;
    }
    const COUNT: usize = 50;
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let slow = wisp_e2e::packet::Connect::new(Version::V5, "slow").with(RECEIVE_MAXIMUM, 2);
    let mut slow = Client::connect(&broker, &slow);
    slow.subscribe(FILTER, 1);
    let mut quick = Client::clean(&broker, Version::V5, "quick");
    quick.subscribe(FILTER, 1);
    let mut by_quick = 0;
    for number in 0..COUNT {
        publisher.publish(&Publish::new("work/x", &number.to_string()).qos(1));
        quick.ping();
    }
    // All messages but the slow member's window go to the other one.
    while by_quick < COUNT - 2 {
        quick.receive();
        by_quick += 1;
    }
    let held = [slow.next_message(), slow.next_message()];
    assert!(held.iter().all(|message| !message.duplicate));
    slow.nothing_came();
    quick.nothing_came();
}

#[test]
fn shared_subscriptions_get_no_retained_messages() {
    if cannot(Ability::Wisp) {
        // mosquitto sends them.
        return;
    }
    let broker = Broker::start();
    for version in Version::ALL {
        let mut client = Client::clean(&broker, version, "member");
        client.publish(&Publish::new("work/kept", "retained").qos(1).retained());
        client.subscribe(FILTER, 1);
        client.publish(&Publish::new("work/live", "live").qos(1));
        assert_eq!(client.receive().text(), "live", "{version:?}");
        client.nothing_came();
    }
}

#[test]
fn shared_subscriptions_have_identifiers_and_are_announced() {
    let broker = Broker::start();
    let mut client = Client::clean(&broker, Version::V5, "member");
    assert_ne!(client.conn_ack().number(SHARED_SUBSCRIPTION_AVAILABLE), Some(0));
    client.subscribe_with(&Properties::NONE.number(SUBSCRIPTION_IDENTIFIER, 42), &[(FILTER, 1)]);
    client.publish(&Publish::new("work/x", "text").qos(1));
    assert_eq!(client.receive().properties.subscription_ids(), [42]);
}

#[test]
fn a_group_is_empty_when_its_last_member_is_gone() {
    let broker = Broker::start();
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    for version in Version::ALL {
        let mut member = Client::clean(&broker, version, "member");
        member.subscribe(FILTER, 1);
        assert_eq!(publisher.publish(&Publish::new("work/x", "somebody").qos(1)), 0);
        assert_eq!(member.receive().text(), "somebody");
        member.die();
        // No matching subscribers, once the broker has noticed the end.
        wait_until("a group without members", || publisher.publish(&Publish::new("work/x", "").qos(1)) == 0x10);
    }
}

#[test]
fn a_message_half_received_stays_with_the_session_of_its_member() {
    let broker = Broker::start();
    for version in Version::ALL {
        let mut publisher = Client::clean(&broker, version, "publisher");
        let mut member = Client::kept(&broker, version, "member");
        member.subscribe(FILTER, 2);
        publish_numbers(&mut publisher, 2, 0..1);
        let message = member.next_message();
        member.answer(kind::PUBREC, message.packet_id);
        member.await_code(kind::PUBREL, message.packet_id);
        member.die();
        let mut other = Client::clean(&broker, version, "other");
        other.subscribe(FILTER, 2);
        other.nothing_came();
        let mut member = Client::kept(&broker, version, "member");
        member.await_code(kind::PUBREL, message.packet_id);
        member.answer(kind::PUBCOMP, message.packet_id);
        member.nothing_came();
        other.nothing_came();
        Client::clean(&broker, version, "member").disconnect();
    }
}
