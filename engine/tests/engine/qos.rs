//! QoS 1 and 2, both ways, in one connection and across several.

use wisp_engine::{EndReason, Limits};
use wisp_wire::{Property, ReasonCode};

use crate::events::Event;
use crate::packets::{
    QOS_0, QOS_1, QOS_2, STAYS, again, message, message_with, numbered, puback, pubcomp, pubrec, pubrel,
    receive_maximum, refusal, subscribe_at,
};
use crate::support::{V3, V5, World, connect};

#[test]
fn a_message_goes_at_the_lower_of_the_two_qos() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    for granted in [QOS_0, QOS_1, QOS_2] {
        let mut receiver = world.receiver(&format!("{granted:?}"), granted, &["t"], &[]);
        for published in [QOS_0, QOS_1, QOS_2] {
            world.feed(&mut sender, &message(published, 1, "t", "x"));
            world.feed(&mut sender, &pubrel(1));
            let qos: Vec<_> = receiver.publishes().iter().map(|message| message.qos).collect();
            assert_eq!(qos, [granted.min(published)], "{granted:?} {published:?}");
        }
    }
}

#[test]
fn each_acknowledgement_follows_from_the_received_packet() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let success = ReasonCode::Success;
    world.feed(&mut sender, &message(QOS_1, 1, "unmatched", ""));
    world.feed(&mut sender, &message(QOS_2, 2, "unmatched", ""));
    let unmatched = ReasonCode::NoMatchingSubscribers;
    assert_eq!(sender.events(), [Event::PubAck(1, unmatched), Event::PubRec(2, unmatched)]);
    let _receiver = world.receiver("r", QOS_0, &["t"], &[]);
    world.feed(&mut sender, &message(QOS_1, 1, "t", ""));
    world.feed(&mut sender, &message(QOS_2, 3, "t", ""));
    assert_eq!(sender.events(), [Event::PubAck(1, success), Event::PubRec(3, success)]);
    world.feed(&mut sender, &[pubrel(3), pubrel(3), pubrel(2)].concat());
    assert_eq!(sender.events(), [3, 3, 2].map(|id| Event::PubComp(id, success)), "repeated, it is complete as well");
    let mut old = world.connected(V3, "old");
    world.feed(&mut old, &[pubrel(9), pubrec(8)].concat());
    assert_eq!(old.events(), [Event::PubComp(9, success), Event::PubRel(8, success)]);
}

#[test]
fn payloads_that_break_their_format_indicator_are_refused_and_their_identifiers_free() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_2, &["t"], &[]);
    let mut packet = message_with(QOS_2, 1, "t", "x", false, &[Property::PayloadFormatIndicator(true)]);
    let good = packet.clone();
    *packet.last_mut().unwrap() = 0xff;
    world.feed(&mut sender, &packet);
    assert_eq!(sender.events(), [Event::PubRec(1, ReasonCode::PayloadFormatInvalid)]);
    world.feed(&mut sender, &good);
    assert_eq!(sender.events(), [Event::PubRec(1, ReasonCode::Success)]);
    assert_eq!(receiver.payloads(), ["x"]);
}

#[test]
fn a_repeated_publish_is_new_at_qos_1_and_known_at_qos_2() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_2, &["t"], &[]);
    for (qos, times) in [(QOS_1, 2), (QOS_2, 1)] {
        let packet = message(qos, 5, "t", "x");
        world.feed(&mut sender, &packet);
        world.feed(&mut sender, &again(packet));
        assert_eq!(sender.events().len(), 2);
        let heard = receiver.heard();
        assert_eq!(heard.len(), times);
        assert!(heard.iter().all(|(_, dup, _)| !dup), "DUP does not depend on the sender's DUP [MQTT-3.3.1-3]");
    }
}

#[test]
fn unacknowledged_messages_come_again_in_order_and_released_ones_as_pubrel() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_2, &["t"], &[receive_maximum(4)]);
    for (id, qos) in [(1, QOS_1), (2, QOS_2), (3, QOS_2), (4, QOS_1), (5, QOS_1)] {
        world.feed(&mut sender, &message(qos, id, "t", &id.to_string()));
    }
    assert_eq!(receiver.payloads(), ["1", "2", "3", "4"]);
    world.feed(&mut receiver, &pubrec(3));
    assert_eq!(receiver.events(), [Event::PubRel(3, ReasonCode::Success)]);
    for _ in 0..2 {
        world.close(&mut receiver, EndReason::Closed);
        receiver = world.returns("r", &[STAYS, receive_maximum(4)]).0;
        let events = receiver.events();
        let [Event::Message(one), Event::Message(two), released, Event::Message(four)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(*released, Event::PubRel(3, ReasonCode::Success));
        let duplicate = |id: u16| (id, true, id.to_string());
        let heard = crate::packets::heard(&[one.clone(), two.clone(), four.clone()]);
        assert_eq!(heard, [duplicate(1), duplicate(2), duplicate(4)]);
    }
    // The fifth was never sent, so it has no DUP.
    world.feed(&mut receiver, &pubcomp(3));
    assert_eq!(receiver.heard(), [(5, false, "5".into())]);
}

#[test]
fn the_window_is_respected_and_holds_nothing_else_up() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.inflight_count_max = 3));
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_2, &["t"], &[receive_maximum(2)]);
    world.feed(&mut sender, &numbered("t", 1, 4));
    assert_eq!(receiver.payloads(), ["1", "2"]);
    world.feed(&mut sender, &message(QOS_0, 0, "t", "at once"));
    world.feed(&mut receiver, &[0xc0, 0]);
    assert_eq!(receiver.events().len(), 2, "QoS 0 and PINGRESP");
    // A refused message frees its identifier [MQTT-4.9.0-1].
    world.feed(&mut receiver, &refusal(0x40, 1));
    assert_eq!(receiver.payloads(), ["3"]);
    world.feed(&mut receiver, &[puback(2), puback(3), puback(77)].concat());
    assert_eq!(receiver.payloads(), ["4"]);
    world.feed(&mut receiver, &puback(4));
    for id in 5..=7 {
        world.feed(&mut sender, &message(QOS_2, id, "t", &id.to_string()));
    }
    let two = receiver.heard();
    assert_eq!(two.len(), 2);
    world.feed(&mut receiver, &pubrec(two[0].0));
    assert_eq!(receiver.events().len(), 1, "PUBREC gives nothing back");
    world.feed(&mut receiver, &refusal(0x50, two[1].0));
    assert_eq!(receiver.payloads(), ["7"], "a PUBREC that refuses does");
    world.feed(&mut receiver, &pubcomp(two[0].0));
    assert_eq!(receiver.events(), []);
    // A client that names no maximum has the server's.
    let mut other = world.connected(V3, "other");
    world
        .feed(&mut other, &crate::support::subscribe_with(V3, &["u"], wisp_wire::SubscriptionOptions::new(QOS_1), &[]));
    world.feed(&mut sender, &numbered("u", 1, 5));
    assert_eq!(other.payloads().len(), 3);
}

#[test]
fn more_than_the_receive_maximum_is_refused_message_by_message() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.receive_maximum = 2));
    let (mut sender, _) = world.returns("s", &[STAYS]);
    for id in [1, 2] {
        world.feed(&mut sender, &message(QOS_2, id, "t", ""));
    }
    assert!(world.feed(&mut sender, &again(message(QOS_2, 2, "t", ""))).end.is_none(), "a repetition is no more");
    assert!(world.feed(&mut sender, &numbered("t", 3, 9)).end.is_none(), "an acknowledged message no longer counts");
    sender.events();
    let mut receiver = world.receiver("r", QOS_2, &["t"], &[]);
    world.feed(&mut sender, &[message(QOS_2, 3, "t", "beyond"), message(QOS_2, 4, "t", "beyond")].concat());
    let refused = ReasonCode::QuotaExceeded;
    assert_eq!(sender.events(), [Event::PubRec(3, refused), Event::PubRec(4, refused)]);
    world.feed(&mut sender, &[pubrel(1), message(QOS_2, 3, "t", "again")].concat());
    assert_eq!(sender.events(), [Event::PubComp(1, ReasonCode::Success), Event::PubRec(3, ReasonCode::Success)]);
    assert_eq!(receiver.payloads(), ["again"], "a refused message has no receiver");
    // Before MQTT 5 there are no reason strings.
    let mut old = world.connected(V3, "old");
    for id in 1..=3 {
        assert!(world.feed(&mut old, &[0x34, 5, 0, 1, b't', 0, id]).end.is_none());
    }
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_ends_the_connection() {
    for (qos, wrong) in [(QOS_1, pubrec(1)), (QOS_1, pubcomp(1)), (QOS_2, puback(1)), (QOS_2, pubcomp(1))] {
        let mut world = World::new(Limits::DEFAULT);
        let mut sender = world.sender();
        let mut receiver = world.receiver("r", qos, &["t"], &[]);
        world.feed(&mut sender, &message(qos, 1, "t", ""));
        assert_eq!(world.feed(&mut receiver, &wrong).reason(), Some(EndReason::AcknowledgementMismatch));
    }
}

#[test]
fn packet_identifiers_go_round_and_none_is_0() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["t"], &[]);
    for number in 0..70_000_u32 {
        world.feed(&mut sender, &message(QOS_1, 1, "t", "x"));
        let heard = receiver.heard();
        let [(id, false, _)] = heard[..] else { panic!("one message each, not {heard:?}") };
        assert_eq!(u32::from(id), number % 65_535 + 1);
        world.feed(&mut receiver, &puback(id));
        sender.take();
    }
}

#[test]
fn messages_longer_than_the_client_accepts_are_dropped() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let small = Property::MaximumPacketSize(40.try_into().unwrap());
    let mut receiver = world.receiver("r", QOS_2, &["t", "$share/g/s", "$queue/q"], &[small, receive_maximum(1)]);
    let long = "x".repeat(40);
    for topic in ["t", "s", "$queue/q"] {
        for (id, qos) in [(1, QOS_0), (2, QOS_1), (3, QOS_2)] {
            let outcome = world.feed(&mut sender, &message(qos, id, topic, &long));
            assert!(outcome.end.is_none() && !outcome.blocked);
        }
        world.feed(&mut sender, &pubrel(3));
        world.feed(&mut sender, &message(QOS_1, 4, topic, "short"));
        let heard = receiver.heard();
        assert_eq!(heard.len(), 1, "{topic}");
        world.feed(&mut receiver, &puback(heard[0].0));
    }
    world.close(&mut receiver, EndReason::Closed);
    world.pass_ms(100_000);
    world.close(&mut sender, EndReason::Closed);
    world.assert_empty();
}

#[test]
fn messages_longer_than_the_client_accepts_now_are_not_sent_again() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["t"], &[]);
    world.feed(&mut sender, &message(QOS_1, 1, "t", &"x".repeat(40)));
    world.feed(&mut sender, &message(QOS_1, 2, "t", "short"));
    world.close(&mut receiver, EndReason::Closed);
    let small = Property::MaximumPacketSize(40.try_into().unwrap());
    let (mut receiver, _) = world.returns("r", &[STAYS, small]);
    assert_eq!(receiver.heard(), [(2, true, "short".into())]);
}

#[test]
fn reason_strings_are_omitted_where_they_do_not_fit_or_are_not_requested() {
    let quota =
        |events: Vec<Event>| events.iter().any(|event| matches!(event, Event::PubAck(_, code) if code.is_error()));
    let small = Property::MaximumPacketSize(60.try_into().unwrap());
    for (property, words) in
        [(None, true), (Some(Property::RequestProblemInformation(false)), false), (Some(small), false)]
    {
        let mut world = World::new(Limits::DEFAULT.with(|limits| limits.topic_levels_max = 2));
        let (mut sender, _) = world.returns("s", property.as_slice());
        let replies = world.feed(&mut sender, &message(QOS_1, 1, "a/b/c", "")).replies;
        assert!(quota(sender.events()));
        assert_eq!(replies.len() > 5, words, "{property:?}");
        let end = world.feed(&mut sender, &connect(V5, "again")).replies;
        assert!(end.len() <= 60 || property != Some(small));
    }
}

#[test]
fn a_session_gets_one_copy_for_its_subscriptions_and_one_for_each_group() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["t", "$share/g/t", "$share/h/t"], &[]);
    world.feed(&mut receiver, &subscribe_at(QOS_1, &["+"]));
    receiver.take();
    world.feed(&mut sender, &numbered("t", 1, 1));
    assert_eq!(receiver.payloads(), ["1"; 3], "one for its plain subscriptions and one for each group");
}

#[test]
fn a_worker_without_connections_waits_until_it_has_freed_its_memory() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.connected(V5, "r");
    world.feed(&mut receiver, &subscribe_at(QOS_1, &["t"]));
    receiver.take();
    world.feed(&mut sender, &message(QOS_1, 1, "t", "x"));
    let id = receiver.publishes()[0].id;
    world.feed(&mut receiver, &puback(id));
    world.close(&mut sender, EndReason::Closed);
    world.close(&mut receiver, EndReason::Closed);
    let closed_ms = world.now_ms;
    while let Some(ms) = world.worker.poll_timeout(world.now_ms) {
        world.pass_ms(ms);
        assert!(world.now_ms <= closed_ms + 5_000, "nothing is left to wait for");
    }
    assert!(world.now_ms > closed_ms, "the memory of the message was kept for another one");
}

#[test]
fn a_client_that_leaves_a_message_unacknowledged_gets_all_others() {
    for (qos, forget) in [(QOS_1, 3), (QOS_2, 3), (QOS_1, 1)] {
        let mut world = World::new(Limits::DEFAULT);
        let mut sender = world.sender();
        let mut receiver = world.receiver("r", qos, &["t"], &[receive_maximum(10)]);
        let mut forgotten = Vec::new();
        for number in 1..=300 {
            world.feed(&mut sender, &message(qos, number, "t", &number.to_string()));
            world.feed(&mut sender, &pubrel(number));
            let heard = receiver.heard();
            assert_eq!(heard.len(), 1, "message {number} after {} that are not acknowledged", forgotten.len());
            let (id, _, payload) = &heard[0];
            if number % 100 == forget {
                forgotten.push((*id, true, payload.clone()));
            } else if qos == QOS_1 {
                world.feed(&mut receiver, &puback(*id));
            } else {
                world.feed(&mut receiver, &[pubrec(*id), pubcomp(*id)].concat());
            }
        }
        world.close(&mut receiver, EndReason::Closed);
        let (mut receiver, _) = world.returns("r", &[STAYS]);
        assert_eq!(receiver.heard(), forgotten, "in their order");
    }
}

#[test]
fn a_client_that_comes_back_is_sent_as_much_as_it_reads() {
    const MESSAGES: usize = 300;
    let payload = "x".repeat(3_000);
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["t"], &[]);
    world.close(&mut receiver, EndReason::Closed);
    for id in 1..=MESSAGES as u16 {
        world.feed(&mut sender, &message(QOS_1, id, "t", &payload));
    }
    // Twice: all are unacknowledged when it comes back for the second time.
    for _ in 0..2 {
        let (mut receiver, _) = world.returns("r", &[STAYS]);
        let (mut received, mut refills, mut most) = (receiver.publishes().len(), 0, 0);
        assert!(received < 30, "the first bytes are few");
        let (begun_ms, mut refilled_ms, mut longest_ms) = (world.now_ms, world.now_ms, 0);
        while received < MESSAGES {
            world.pass_ms(10);
            if receiver.unread_bytes() > 0 {
                longest_ms = longest_ms.max(world.now_ms - refilled_ms);
                (refilled_ms, refills) = (world.now_ms, refills + 1);
            }
            most = most.max(receiver.unread_bytes());
            received += receiver.publishes().len();
            assert!(world.now_ms - begun_ms < 10_000, "it has read {received}, and acknowledges nothing");
        }
        assert_eq!(received, MESSAGES);
        assert!(refills >= 10 && most < 70_000, "{refills} refills of up to {most} bytes");
        assert!((300..=340).contains(&longest_ms), "it waits longer and longer, and not for ever: {longest_ms} ms");
        assert_eq!(world.worker.poll_timeout(world.now_ms), Some(250), "there is no more to send");
        world.close(&mut receiver, EndReason::Closed);
    }
}
