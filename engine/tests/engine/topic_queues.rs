//! Topic queues: `$queue/NAME` keeps messages until one of its receivers has acknowledged them.

use wisp_engine::{EndReason, FullPolicy, Limits, Options, QueueSettings};
use wisp_wire::{ReasonCode, SubscriptionOptions};

use crate::events::Event;
use crate::packets::{
    QOS_0, QOS_1, QOS_2, STAYS, message, message_with, numbered, puback, pubrec, receive_maximum, subscribe_at,
};
use crate::support::{Peer, V3, World, subscribe_with};

const QUEUE: &[&str] = &["$queue/q"];

fn with_queue(change: impl FnOnce(&mut QueueSettings)) -> World {
    let mut queue = QueueSettings::new("q", &Limits::DEFAULT);
    change(&mut queue);
    World::with_options(Limits::DEFAULT, Options { queues: vec![queue], ..Options::default() })
}

#[test]
fn the_fullest_queues_and_sessions_are_told_and_the_configured_queues() {
    let mut world = with_queue(|_| {});
    let mut receiver = world.receiver("away", QOS_1, &["t"], &[]);
    world.close(&mut receiver, EndReason::Closed);
    let queues = |world: &World, most| -> Vec<(String, u64)> {
        let queues = world.shared.fullest_queues(most);
        queues.into_iter().map(|queue| (queue.name, queue.depth.messages)).collect()
    };
    assert_eq!(queues(&world, 10), []);
    let mut sender = world.sender();
    for (id, topic) in [(1, "$queue/a"), (2, "$queue/b"), (3, "$queue/b"), (4, "t")] {
        world.feed(&mut sender, &message(QOS_1, id, topic, "x"));
    }
    world.close(&mut sender, EndReason::Closed);
    assert_eq!(queues(&world, 10), [("$queue/b".to_owned(), 2), ("$queue/a".to_owned(), 1)]);
    assert_eq!(queues(&world, 1).len(), 1);
    let configured = world.shared.configured_queues();
    assert_eq!(
        configured.iter().map(|queue| (&*queue.name, queue.depth.messages)).collect::<Vec<_>>(),
        [("$queue/q", 0)]
    );
    let sessions = world.shared.fullest_sessions(10);
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert_eq!((&*sessions[0].client_id, sessions[0].is_connected), ("away", false));
    assert_eq!((sessions[0].unacknowledged.messages, sessions[0].unsent.messages), (1, 0));
}

#[test]
fn messages_of_any_qos_wait_for_the_first_receiver() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    for (id, qos) in [(1, QOS_0), (2, QOS_1), (3, QOS_2)] {
        world.feed(&mut sender, &message(qos, id, "$queue/q", &id.to_string()));
    }
    let success = ReasonCode::Success;
    assert_eq!(sender.events(), [Event::PubAck(2, success), Event::PubRec(3, success)], "the queue matched");
    let (mut receiver, _) = world.returns("r", &[]);
    world.feed(&mut receiver, &subscribe_at(QOS_1, QUEUE));
    assert_eq!(receiver.payloads(), ["1", "2", "3"]);
}

#[test]
fn unacknowledged_messages_go_back_to_the_head_in_order_and_come_as_duplicates() {
    for qos in [QOS_1, QOS_2] {
        let mut world = World::new(Limits::DEFAULT);
        let mut sender = world.sender();
        let mut first = world.receiver("first", qos, QUEUE, &[receive_maximum(3)]);
        for id in 1..=5 {
            world.feed(&mut sender, &message(qos, id, "$queue/q", &id.to_string()));
        }
        let ids: Vec<u16> = first.heard().iter().map(|(id, ..)| *id).collect();
        assert_eq!(ids.len(), 3);
        if qos == QOS_1 {
            world.feed(&mut first, &puback(ids[1]));
        } else {
            world.feed(&mut first, &pubrec(ids[1]));
        }
        // Its session stays, but the messages do not wait for it.
        assert_eq!(first.payloads().len(), usize::from(qos == QOS_1), "PUBREC frees no window, PUBACK does");
        world.close(&mut first, EndReason::Closed);
        let mut second = world.receiver("second", qos, QUEUE, &[]);
        let heard: Vec<(bool, String)> = second.heard().into_iter().map(|(_, dup, payload)| (dup, payload)).collect();
        let expected = [(true, "1"), (true, "3"), (qos == QOS_1, "4"), (false, "5")];
        assert_eq!(heard, expected.map(|(dup, payload)| (dup, payload.to_owned())), "{qos:?}");
        let (mut first, _) = world.returns("first", &[]);
        assert_eq!(first.publishes(), [], "they are the other's now");
    }
}

#[test]
fn a_message_without_acknowledgement_becomes_a_dead_letter() {
    for (dead_letter, expected) in [(Some("dead"), &["1", "2"][..]), (None, &[])] {
        let mut world = with_queue(|queue| {
            queue.deliveries_max = Some(2);
            queue.dead_letter = dead_letter.map(Box::from);
        });
        let mut sender = world.sender();
        world.feed(&mut sender, &numbered("$queue/q", 1, 2));
        for _ in 0..2 {
            let mut receiver = world.receiver("r", QOS_1, QUEUE, &[]);
            assert_eq!(receiver.payloads(), ["1", "2"]);
            world.close(&mut receiver, EndReason::Closed);
        }
        let mut receiver = world.receiver("r", QOS_1, QUEUE, &[]);
        assert_eq!(receiver.payloads(), [""; 0]);
        let (mut heir, _) = world.returns("heir", &[]);
        world.feed(&mut heir, &subscribe_at(QOS_1, &["$queue/dead"]));
        assert_eq!(heir.payloads(), expected);
        assert_eq!(world.stats().stored_bytes > 0, dead_letter.is_some());
    }
}

#[test]
fn a_queue_of_dead_letters_is_bounded() {
    let mut dead = QueueSettings::new("dead", &Limits::DEFAULT);
    dead.messages_max = 3;
    let mut queue = QueueSettings::new("q", &Limits::DEFAULT);
    (queue.deliveries_max, queue.dead_letter) = (Some(1), Some("dead".into()));
    let options = Options { queues: vec![queue, dead], ..Options::default() };
    let mut world = World::with_options(Limits::DEFAULT, options);
    let mut sender = world.sender();
    for _ in 0..5 {
        world.feed(&mut sender, &numbered("$queue/q", 1, 2));
        let mut receiver = world.receiver("r", QOS_1, QUEUE, &[]);
        world.close(&mut receiver, EndReason::Closed);
    }
    assert_eq!(world.stats().messages_dropped, 7);
    let (mut heir, _) = world.returns("heir", &[]);
    world.feed(&mut heir, &subscribe_at(QOS_1, &["$queue/dead"]));
    assert_eq!(heir.payloads().len(), 3);
}

#[test]
fn a_full_queue_does_as_its_policy_says() {
    let cases = [
        (FullPolicy::DropOldest, &["2", "3"][..]),
        (FullPolicy::DropNewest, &["1", "2"][..]),
        (FullPolicy::Refuse, &["1", "2"][..]),
    ];
    for (policy, kept) in cases {
        let mut world = with_queue(|queue| (queue.policy, queue.messages_max) = (policy, 2));
        let (mut sender, mut old) = (world.sender(), world.connected(V3, "old"));
        world.feed(&mut sender, &numbered("$queue/q", 1, 3));
        let code = if policy == FullPolicy::Refuse { ReasonCode::QuotaExceeded } else { ReasonCode::Success };
        assert_eq!(sender.events().pop(), Some(Event::PubAck(3, code)));
        if policy == FullPolicy::Refuse {
            // A sender of MQTT 3 is held back, and no longer than for any other receiver that is stuck.
            let packet = [&[0x32, 13, 0, 8][..], b"$queue/q", &[0, 9, b'9']].concat();
            assert!(world.feed(&mut old, &packet).blocked);
            let at_most_once = message(QOS_0, 0, "$queue/q", "0");
            assert!(world.feed(&mut sender, &at_most_once).blocked);
            world.pass_ms(Limits::DEFAULT.queue_stall_ms_max + 1);
            let refused = EndReason::PublishRefused(ReasonCode::QuotaExceeded);
            assert_eq!((sender.end(), old.end()), (None, Some(refused)));
        }
        assert_eq!(world.stats().messages_dropped, 1, "{policy:?}");
        let (mut receiver, _) = world.returns("r", &[]);
        world.feed(&mut receiver, &subscribe_at(QOS_0, QUEUE));
        assert_eq!(receiver.payloads(), kept, "{policy:?}");
    }
}

#[test]
fn messages_on_loan_count_in_the_queue() {
    let mut world = with_queue(|queue| queue.messages_max = 2);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, QUEUE, &[]);
    world.feed(&mut sender, &numbered("$queue/q", 1, 3));
    assert_eq!(receiver.payloads(), ["1", "2"]);
    assert_eq!(sender.events().pop(), Some(Event::PubAck(3, ReasonCode::QuotaExceeded)));
    world.feed(&mut receiver, &[puback(1), puback(2)].concat());
    world.feed(&mut sender, &numbered("$queue/q", 3, 3));
    assert_eq!(receiver.payloads(), ["3"]);
}

#[test]
fn bytes_are_bounded_as_well_as_messages() {
    let mut world = with_queue(|queue| queue.bytes_max = 1_100);
    let mut sender = world.sender();
    let long = "x".repeat(600);
    for (id, code) in [(1, ReasonCode::Success), (2, ReasonCode::QuotaExceeded)] {
        world.feed(&mut sender, &message(QOS_1, id, "$queue/q", &long));
        assert_eq!(sender.events(), [Event::PubAck(id, code)]);
    }
}

#[test]
fn a_queue_with_a_filter_also_gets_matching_messages() {
    let mut world = with_queue(|queue| queue.filter = Some("orders/#".into()));
    let mut sender = world.sender();
    let mut other = world.receiver("other", QOS_1, &["orders/+"], &[]);
    world.feed(&mut sender, &message(QOS_1, 1, "orders/1", "bound"));
    world.feed(&mut sender, &message(QOS_1, 2, "$queue/q", "direct"));
    let (mut receiver, _) = world.returns("r", &[]);
    world.feed(&mut receiver, &subscribe_at(QOS_1, QUEUE));
    let topics: Vec<String> = receiver.publishes().into_iter().map(|message| message.topic).collect();
    assert_eq!(topics, ["orders/1", "$queue/q"]);
    assert_eq!(other.payloads(), ["bound"]);
}

#[test]
fn unused_queues_disappear() {
    let limits = Limits::DEFAULT.with(|limits| limits.topic_queues_count_max = 2);
    let mut world = World::new(limits);
    let mut sender = world.sender();
    let refused = |world: &mut World, sender: &mut crate::support::Peer, queue: &str| {
        world.feed(sender, &message(QOS_1, 1, queue, "x"));
        sender.events() == [Event::PubAck(1, ReasonCode::QuotaExceeded)]
    };
    assert!(!refused(&mut world, &mut sender, "$queue/one"));
    assert!(!refused(&mut world, &mut sender, "$queue/two"));
    assert!(refused(&mut world, &mut sender, "$queue/three"));
    let (mut receiver, _) = world.returns("r", &[]);
    let code = world.feed(&mut receiver, &subscribe_at(QOS_1, &["$share/g/t"])).replies.pop();
    assert_eq!(code, Some(0x97), "groups count as well");
    world.feed(&mut receiver, &subscribe_at(QOS_0, &["$queue/one"]));
    world.pass_ms(61_000);
    assert!(refused(&mut world, &mut sender, "$queue/three"), "one has a receiver, the other a message");
    world.close(&mut receiver, EndReason::Closed);
    world.pass_ms(59_000);
    assert!(refused(&mut world, &mut sender, "$queue/three"), "it was used a moment ago");
    world.pass_ms(2_000);
    assert!(!refused(&mut world, &mut sender, "$queue/three"));
    assert!(refused(&mut world, &mut sender, "$queue/four"));
}

#[test]
fn wildcards_do_not_reach_into_queues() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["#", "+/q"], &[]);
    world.feed(&mut sender, &numbered("$queue/q", 1, 1));
    assert_eq!(receiver.publishes(), []);
    for filter in ["$queue/#", "$queue/+", "$queue/", "$share/g/$queue/q"] {
        assert_eq!(world.feed(&mut receiver, &subscribe_at(QOS_1, &[filter])).replies.pop(), Some(0x8f), "{filter}");
    }
}

#[test]
fn a_receiver_at_qos_0_takes_as_much_as_it_reads() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.queue_messages_max = 4));
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_0, QUEUE, &[]);
    let mut numbers = Vec::new();
    for number in 1..=20 {
        // The queue itself is full, not only its receiver. The sender gets the refusal and retries.
        while world.feed(&mut sender, &numbered("$queue/q", number, number)).replies[..] != [0x40, 2, 0, number as u8] {
            numbers.extend(receiver.payloads());
            world.run();
        }
    }
    numbers.extend(receiver.payloads());
    world.run();
    numbers.extend(receiver.payloads());
    world.run();
    numbers.extend(receiver.payloads());
    assert_eq!(numbers, (1..=20).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_takeover_keeps_the_loans_of_a_queue() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut old = world.receiver("r", QOS_1, QUEUE, &[]);
    world.feed(&mut sender, &message_with(QOS_1, 1, "$queue/q", "1", false, &[]));
    let id = old.heard()[0].0;
    let (mut new, _) = world.returns("r", &[STAYS]);
    world.close(&mut old, EndReason::TakenOver);
    assert_eq!(new.heard(), [(id, true, "1".into())]);
    world.feed(&mut new, &puback(id));
    assert_eq!(world.stats().stored_bytes, 0);
}

#[test]
fn a_client_that_lost_its_loans_is_not_held_back_by_them() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["t", "$queue/q"], &[]);
    world.feed(&mut sender, &numbered("t", 1, 1));
    let id = receiver.heard()[0].0;
    world.feed(&mut sender, &numbered("$queue/q", 2, 5));
    world.close(&mut receiver, EndReason::Closed);
    let mut other = world.receiver("other", QOS_1, QUEUE, &[]);
    assert_eq!(other.payloads(), ["2", "3", "4", "5"]);
    let (mut receiver, _) = world.returns("r", &[STAYS, receive_maximum(1)]);
    assert_eq!(receiver.heard(), [(id, true, "1".into())]);
    world.feed(&mut receiver, &puback(id));
    world.feed(&mut sender, &numbered("t", 6, 6));
    assert_eq!(receiver.payloads(), ["6"]);
}

/// A worker of MQTT 3 has no Receive Maximum.
#[test]
fn a_slow_worker_leaves_the_messages_to_a_quick_one() {
    let mut world = World::new(Limits::DEFAULT);
    let mut workers = ["slow", "quick"].map(|id| {
        let mut worker = world.connected(V3, id);
        world.feed(&mut worker, &subscribe_with(V3, QUEUE, SubscriptionOptions::new(QOS_1), &[]));
        worker.take();
        worker
    });
    let mut sender = world.sender();
    world.feed(&mut sender, &numbered("$queue/q", 1, 100));
    let mut done = 0;
    for _ in 0..100 {
        for message in workers[1].publishes() {
            done += 1;
            world.feed(&mut workers[1], &puback(message.id));
        }
        world.pass_ms(1);
    }
    assert_eq!((workers[0].publishes().len(), done), (8, 92));
}

#[test]
fn a_worker_gets_as_many_messages_as_it_has_asked_for() {
    for (properties, expected) in [(&[receive_maximum(50)][..], [50, 50]), (&[], [8, 16])] {
        let mut world = World::new(Limits::DEFAULT);
        let mut worker = world.receiver("r", QOS_1, QUEUE, properties);
        let mut sender = world.sender();
        world.feed(&mut sender, &numbered("$queue/q", 1, 100));
        for count in expected {
            let messages = worker.publishes();
            assert_eq!(messages.len(), count);
            world.feed(&mut worker, &messages.iter().flat_map(|message| puback(message.id)).collect::<Vec<_>>());
        }
    }
}

/// The broker keeps its messages for a consumer of MQTT 3, which cannot set a window.
fn consumer_of_3(world: &mut World, id: &str, filter: &str) -> Peer {
    let mut peer = world.connected(V3, id);
    world.feed(&mut peer, &subscribe_with(V3, &[filter], SubscriptionOptions::new(QOS_1), &[]));
    peer
}

/// The identifiers of the messages that it has received since the last call.
fn ids(peer: &mut Peer) -> Vec<u16> {
    peer.publishes().iter().map(|message| message.id).collect()
}

const GROUP: &str = "$share/g/jobs";

#[test]
fn a_sole_consumer_that_acknowledges_in_batches_gets_on() {
    for (filter, topic, together) in [("$queue/q", "$queue/q", 100), (GROUP, "jobs", 100), ("$queue/q", "$queue/q", 1)]
    {
        let mut world = World::new(Limits::DEFAULT);
        let mut consumer = consumer_of_3(&mut world, "consumer", filter);
        let mut sender = world.sender();
        world.feed(&mut sender, &numbered(topic, 1, 1_000));
        let (mut unacknowledged, mut done, begun_ms) = (Vec::new(), 0, world.now_ms);
        while done < 1_000 {
            unacknowledged.extend(ids(&mut consumer));
            if unacknowledged.len() >= 100 {
                let batch: Vec<u8> = unacknowledged.drain(..100).flat_map(puback).collect();
                done += 100;
                batch.chunks(4 * together).for_each(|acknowledgements| {
                    world.feed(&mut consumer, acknowledgements);
                });
            }
            world.pass_ms(10);
            assert!(world.now_ms - begun_ms < 10_000, "{filter}: only {done} after ten seconds");
        }
        assert_eq!(world.stats().stored_bytes, 0);
    }
}

#[test]
fn a_slow_consumer_does_not_hoard_however_long_it_is_alone() {
    let mut world = World::new(Limits::DEFAULT);
    let mut slow = consumer_of_3(&mut world, "slow", "$queue/q");
    let mut sender = world.sender();
    world.feed(&mut sender, &numbered("$queue/q", 1, 100));
    let (mut taken, mut done) = (Vec::new(), 0);
    for _ in 0..40 {
        world.pass_ms(500);
        taken.extend(ids(&mut slow));
        world.feed(&mut slow, &puback(taken[done]));
        done += 1;
    }
    taken.extend(ids(&mut slow));
    assert!(taken.len() - done <= 8, "it holds {} jobs", taken.len() - done);
    let mut quick = consumer_of_3(&mut world, "quick", "$queue/q");
    for _ in 0..100 {
        let acknowledgements: Vec<u8> = ids(&mut quick).into_iter().flat_map(puback).collect();
        world.feed(&mut quick, &acknowledgements);
        world.pass_ms(10);
    }
    assert_eq!(world.stats().messages_dropped, 0);
    assert_eq!(ids(&mut slow), [0; 0], "the quick one takes the rest");
}

#[test]
fn the_bound_of_a_consumer_stays_while_another_one_takes_the_messages() {
    let mut world = World::new(Limits::DEFAULT);
    let mut stuck = consumer_of_3(&mut world, "stuck", "$queue/q");
    let mut sender = world.sender();
    world.feed(&mut sender, &numbered("$queue/q", 1, 100));
    world.pass_ms(1_001);
    assert_eq!(ids(&mut stuck).len(), 16, "nobody else takes them");
    let mut other = consumer_of_3(&mut world, "other", "$queue/q");
    let (mut taken, mut done) = (Vec::new(), 0);
    // One job each half second: messages wait all the time.
    for _ in 0..60 {
        taken.extend(ids(&mut other));
        world.feed(&mut other, &puback(taken[done]));
        done += 1;
        world.pass_ms(500);
    }
    assert_eq!(ids(&mut stuck), [0; 0], "all others go to the other consumer");
    assert!(taken.len() - done <= 8);
}
