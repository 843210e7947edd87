//! Shared subscriptions: each message goes to one member, and to another one if that member goes.

use wisp_engine::{EndReason, Limits};
use wisp_wire::{QoS, ReasonCode};

use crate::packets::{
    DISCONNECT, QOS_0, QOS_1, QOS_2, STAYS, message, numbered, puback, pubrec, pubrel, receive_maximum, refusal,
    subscribe_at,
};
use crate::support::{Peer, V5, World, unsubscribe};

fn member(world: &mut World, id: &str, qos: QoS, window: u16) -> Peer {
    world.receiver(id, qos, &["$share/g/t"], &[receive_maximum(window)])
}

#[test]
fn members_take_turns_and_one_whose_window_is_full_is_passed_over() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let (mut one, mut two) = (member(&mut world, "one", QOS_1, 1), member(&mut world, "two", QOS_1, 9));
    for number in 1..=6 {
        world.feed(&mut sender, &numbered("t", number, number));
    }
    let (first, rest) = (one.payloads(), two.payloads());
    assert_eq!((first.len(), rest.len()), (1, 5));
    assert!(rest.is_sorted());
}

#[test]
fn no_member_gets_more_than_its_own_qos() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut members = [QOS_0, QOS_1, QOS_2].map(|qos| (qos, member(&mut world, &format!("{qos:?}"), qos, 99)));
    for id in 1..=9 {
        world.feed(&mut sender, &message(QOS_2, id, "t", "x"));
    }
    let mut count = 0;
    for (qos, member) in &mut members {
        let messages = member.publishes();
        assert!(messages.iter().all(|message| message.qos == *qos));
        count += messages.len();
    }
    assert_eq!(count, 9);
}

#[test]
fn unacknowledged_messages_of_a_session_that_ends_go_on_at_qos_1_and_not_at_qos_2() {
    for (qos, expected) in [(QOS_1, &["1", "2", "3", "4"][..]), (QOS_2, &["3", "4"][..])] {
        for clean in [false, true] {
            let mut world = World::new(Limits::DEFAULT);
            let mut sender = world.sender();
            let mut leaving = member(&mut world, "leaving", qos, 2);
            for id in 1..=4 {
                world.feed(&mut sender, &message(qos, id, "t", &id.to_string()));
            }
            assert_eq!(leaving.payloads(), ["1", "2"]);
            let mut staying = member(&mut world, "staying", qos, 9);
            assert_eq!(staying.payloads(), ["3", "4"]);
            if clean {
                world.connected(V5, "leaving");
            }
            world.close(&mut leaving, EndReason::Closed);
            world.pass_ms(100_000);
            let heard = staying.heard();
            assert!(heard.iter().all(|(_, dup, _)| !dup), "for this client it is the first time");
            let mut all: Vec<String> = heard.into_iter().map(|(_, _, payload)| payload).collect();
            all.extend(["3".to_owned(), "4".to_owned()]);
            all.sort();
            assert_eq!(all, expected, "{qos:?} {clean}");
        }
    }
}

#[test]
fn messages_sent_to_a_member_wait_for_it_while_it_is_away() {
    for qos in [QOS_1, QOS_2] {
        let mut world = World::new(Limits::DEFAULT);
        let mut sender = world.sender();
        let mut leaving = member(&mut world, "leaving", qos, 1);
        world.feed(&mut sender, &message(qos, 1, "t", "1"));
        assert_eq!(leaving.payloads(), ["1"]);
        world.close(&mut leaving, EndReason::Closed);
        let mut staying = member(&mut world, "staying", qos, 9);
        world.feed(&mut sender, &message(qos, 2, "t", "2"));
        assert_eq!(staying.payloads(), ["2"]);
        let (mut leaving, _) = world.returns("leaving", &[STAYS]);
        assert_eq!(leaving.heard(), [(1, true, "1".into())]);
    }
}

#[test]
fn a_group_of_members_that_are_away_keeps_its_messages_for_the_first_to_come() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    for id in ["one", "two"] {
        let mut member = member(&mut world, id, QOS_1, 9);
        world.feed(&mut member, &DISCONNECT);
        world.close(&mut member, EndReason::Disconnected(ReasonCode::Success));
    }
    world.feed(&mut sender, &numbered("t", 1, 3));
    let (mut two, _) = world.returns("two", &[]);
    assert_eq!(two.payloads(), ["1", "2", "3"]);
}

#[test]
fn a_message_that_a_member_refuses_goes_to_no_other_member() {
    for (qos, refusal) in [(QOS_1, refusal(0x40, 1)), (QOS_2, refusal(0x50, 1))] {
        let mut world = World::new(Limits::DEFAULT);
        let mut sender = world.sender();
        let mut one = member(&mut world, "one", qos, 1);
        world.feed(&mut sender, &message(qos, 1, "t", "1"));
        let mut two = member(&mut world, "two", qos, 9);
        world.feed(&mut one, &refusal);
        world.close(&mut one, EndReason::Closed);
        world.pass_ms(100_000);
        assert_eq!(two.payloads(), [""; 0]);
    }
}

#[test]
fn the_last_member_takes_the_messages_of_the_group_with_it() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut member = member(&mut world, "m", QOS_1, 1);
    world.feed(&mut sender, &numbered("t", 1, 5));
    assert_eq!(member.payloads(), ["1"]);
    world.feed(&mut member, &unsubscribe(V5, &["$share/g/t"]));
    member.take();
    // The exchange in progress is completed, and nothing follows.
    world.feed(&mut member, &puback(1));
    world.feed(&mut sender, &numbered("t", 6, 6));
    assert_eq!(member.payloads(), [""; 0]);
    assert_eq!(world.stats().stored_bytes, 0);
}

#[test]
fn a_client_that_unsubscribes_keeps_its_loans_until_it_is_gone() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut leaving = member(&mut world, "leaving", QOS_1, 1);
    world.feed(&mut sender, &numbered("t", 1, 1));
    let mut staying = member(&mut world, "staying", QOS_1, 9);
    world.feed(&mut leaving, &unsubscribe(V5, &["$share/g/t"]));
    assert_eq!(staying.payloads(), [""; 0]);
    world.close(&mut leaving, EndReason::Closed);
    world.pass_ms(100_000);
    assert_eq!(staying.payloads(), ["1"]);
}

#[test]
fn a_released_message_at_qos_2_is_the_members_own() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut one = member(&mut world, "one", QOS_2, 1);
    world.feed(&mut sender, &message(QOS_2, 1, "t", "1"));
    world.feed(&mut sender, &pubrel(1));
    world.feed(&mut one, &pubrec(1));
    assert_eq!(world.stats().stored_bytes, 0);
    world.close(&mut one, EndReason::Closed);
    let mut two = member(&mut world, "two", QOS_2, 9);
    world.pass_ms(100_000);
    assert_eq!(two.payloads(), [""; 0]);
}

#[test]
fn no_local_is_a_protocol_error_for_a_group() {
    let mut world = World::new(Limits::DEFAULT);
    let mut peer = world.connected(V5, "c");
    let mut packet = subscribe_at(QOS_0, &["a", "$share/g/t"]);
    // No codec that keeps to the standard would write it.
    *packet.last_mut().unwrap() |= 4;
    let outcome = world.feed(&mut peer, &packet);
    assert_eq!(outcome.reason().and_then(EndReason::code), Some(ReasonCode::ProtocolError));
}
