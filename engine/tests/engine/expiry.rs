//! Message Expiry Interval: an expired message is delivered from no queue, and receivers get the rest of the interval.

use wisp_engine::{EndReason, Limits};
use wisp_wire::{Property, QoS};

use crate::packets::{QOS_0, QOS_1, QOS_2, STAYS, message_with, puback, receive_maximum, subscribe_at};
use crate::support::World;

fn expiring(qos: QoS, topic: &str, payload: &str, seconds: u32) -> Vec<u8> {
    message_with(qos, 1, topic, payload, false, &[Property::MessageExpiryInterval(seconds)])
}

#[test]
fn messages_for_a_client_that_is_away_expire_or_carry_the_remaining_interval() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["t"], &[]);
    world.close(&mut receiver, EndReason::Closed);
    for (payload, seconds) in [("2", 2), ("3", 3), ("10", 10)] {
        world.feed(&mut sender, &expiring(QOS_1, "t", payload, seconds));
    }
    world.pass_ms(2_500);
    let (mut receiver, _) = world.returns("r", &[STAYS]);
    let left: Vec<_> = receiver.publishes().into_iter().map(|m| (m.payload, m.expiry_s)).collect();
    assert_eq!(left, [(b"3".to_vec(), Some(1)), (b"10".to_vec(), Some(8))]);
}

#[test]
fn a_message_has_some_time_left_or_is_not_sent() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["t"], &[]);
    world.close(&mut receiver, EndReason::Closed);
    for seconds in [1, 2] {
        world.feed(&mut sender, &expiring(QOS_1, "t", "x", seconds));
    }
    world.pass_ms(1_000);
    let (mut receiver, _) = world.returns("r", &[STAYS]);
    let left: Vec<_> = receiver.publishes().into_iter().map(|message| message.expiry_s).collect();
    assert_eq!(left, [Some(1)]);
}

#[test]
fn pending_messages_expire_but_sent_ones_do_not() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_2, &["t"], &[receive_maximum(1)]);
    for (qos, payload) in [(QOS_1, "sent"), (QOS_1, "waits"), (QOS_0, "at once")] {
        world.feed(&mut sender, &expiring(qos, "t", payload, 1));
    }
    assert_eq!(receiver.payloads(), ["sent", "at once"]);
    world.close(&mut receiver, EndReason::Closed);
    world.pass_ms(5_000);
    let (mut receiver, _) = world.returns("r", &[STAYS, receive_maximum(1)]);
    let again = receiver.publishes();
    assert_eq!((again.len(), again[0].dup, &again[0].payload[..]), (1, true, &b"sent"[..]));
    world.feed(&mut receiver, &puback(again[0].id));
    assert_eq!(receiver.publishes(), []);
    world.close(&mut receiver, EndReason::Closed);
    world.close(&mut sender, EndReason::Closed);
    world.pass_ms(100_000);
    world.assert_empty();
}

#[test]
fn retained_messages_expire_and_free_their_bytes() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    for (topic, seconds) in [("a", 2), ("b", 5)] {
        let interval = [Property::MessageExpiryInterval(seconds)];
        world.feed(&mut sender, &message_with(QOS_0, 0, topic, "x", true, &interval));
    }
    world.pass_ms(2_500);
    assert_eq!(world.stats().retained, 1);
    let (mut receiver, _) = world.returns("r", &[]);
    world.feed(&mut receiver, &subscribe_at(QOS_0, &["+"]));
    let left: Vec<_> = receiver.publishes().into_iter().map(|m| (m.topic, m.expiry_s)).collect();
    assert_eq!(left, [("b".to_owned(), Some(3))]);
    world.pass_ms(3_000);
    world.close(&mut receiver, EndReason::Closed);
    world.close(&mut sender, EndReason::Closed);
    world.assert_empty();
}

#[test]
fn messages_in_queues_and_groups_expire_without_traffic() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut member = world.receiver("r", QOS_1, &["$share/g/t"], &[]);
    world.close(&mut member, EndReason::Closed);
    for topic in ["$queue/q", "t"] {
        world.feed(&mut sender, &expiring(QOS_1, topic, "x", 2));
    }
    assert!(world.stats().stored_bytes > 0);
    world.pass_ms(3_000);
    assert_eq!(world.stats().stored_bytes, 0);
}

#[test]
fn a_message_that_came_back_to_its_queue_expires_there() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["$queue/q"], &[]);
    world.feed(&mut sender, &expiring(QOS_1, "$queue/q", "x", 4));
    assert_eq!(receiver.payloads(), ["x"]);
    world.pass_ms(2_000);
    world.close(&mut receiver, EndReason::Closed);
    assert!(world.stats().stored_bytes > 0);
    world.pass_ms(3_000);
    assert_eq!(world.stats().stored_bytes, 0);
}
