//! Topic queues and groups at a restart: order, counts, dead letters, and the packet identifiers of loans.

use std::collections::BTreeMap;

use wisp_engine::{EndReason, FullPolicy, Key, Limits, Object, Options, QueueSettings, Restored};
use wisp_wire::{Property, QoS, ReasonCode, SubscriptionOptions};

use super::lives::{Life, payloads};
use crate::events::Event;
use crate::packets::{QOS_0, QOS_1, QOS_2, puback, pubrec};
use crate::support::{Peer, V5, World, connect, subscribe_with};

const QUEUE: &str = "$queue/q";
const GROUP: &str = "$share/g/jobs";

/// The kinds of messages and of messages in queues.
const MESSAGE: u8 = 3;
const QUEUED: u8 = 7;

fn messages(peer: &mut Peer) -> Vec<(u16, bool, String)> {
    let text = |payload| String::from_utf8(payload).unwrap();
    peer.publishes().into_iter().map(|message| (message.id, message.dup, text(message.payload))).collect()
}

/// A client whose session ends with its connection.
fn passing(life: &mut Life, id: &str, filter: &str, qos: QoS) -> Peer {
    let (mut peer, _) = life.connect(id, 0, None);
    let packet = subscribe_with(V5, &[filter], SubscriptionOptions::new(qos), &[]);
    life.world.feed(&mut peer, &packet);
    peer
}

fn dying(deliveries_max: u16) -> Vec<QueueSettings> {
    let mut queue = QueueSettings::new("q", &Limits::DEFAULT);
    (queue.deliveries_max, queue.dead_letter) = (Some(deliveries_max), Some("dead".into()));
    vec![queue]
}

#[test]
fn a_queue_keeps_messages_of_any_qos_in_order_and_says_which_were_sent_before() {
    let mut life = Life::first();
    for (payload, qos) in [(b"a", QOS_1), (b"b", QOS_2), (b"c", QOS_1), (b"d", QOS_0), (b"e", QOS_2)] {
        life.publish(QUEUE, payload, qos, &[]);
    }
    life.publish(QUEUE, b"f", QOS_1, &[Property::MessageExpiryInterval(10)]);
    let mut consumer = passing(&mut life, "consumer", QUEUE, QOS_2);
    life.commit();
    let sent = messages(&mut consumer);
    assert_eq!(sent.len(), 6, "at QoS 0 too");
    life.world.feed(&mut consumer, &[puback(sent[0].0), pubrec(sent[1].0)].concat());
    let mut life = life.restart(20_000);
    assert_eq!(life.restoration.messages, 3, "two are acknowledged, and one was sent at QoS 0");
    life.publish(QUEUE, b"g", QOS_1, &[]);
    let mut consumer = passing(&mut life, "consumer", QUEUE, QOS_2);
    life.commit();
    let heard: Vec<(bool, String)> = messages(&mut consumer).into_iter().map(|(_, dup, text)| (dup, text)).collect();
    let expected = [(true, "c"), (true, "e"), (false, "g")];
    assert_eq!(heard, expected.map(|(dup, text)| (dup, text.to_owned())), "f has expired");
}

#[test]
fn an_acknowledgement_waits_until_the_message_is_in_the_queue() {
    for qos in [QOS_1, QOS_2] {
        let mut life = Life::first();
        let mut sender = life.world.connected(V5, "sender");
        life.world.feed(&mut sender, &crate::packets::message(qos, 1, QUEUE, "x"));
        life.world.pass_ms(1);
        assert_eq!(sender.events(), []);
        life.commit();
        assert!(matches!(sender.events()[..], [Event::PubAck(1, _) | Event::PubRec(1, _)]));
    }
}

/// At each point of its way to the queue of dead letters a message is in one of the two queues, once.
#[test]
fn a_dead_letter_moves_at_once_and_its_deliveries_are_counted_across_crashes() {
    // Each delivery ends with the broker, or with its connection.
    for restarts in [true, false] {
        for calls in 0.. {
            let mut life = Life::with_queues(dying(2));
            life.publish(QUEUE, b"bad", QOS_1, &[]);
            for _ in 0..2 {
                let mut consumer = passing(&mut life, "consumer", QUEUE, QOS_1);
                assert_eq!(payloads(&mut consumer), ["bad"]);
                if restarts {
                    life = life.restart(0);
                } else {
                    life.world.close(&mut consumer, EndReason::Closed);
                }
            }
            let pending = life.store.pending();
            assert!(pending > 0, "the move at least");
            let mut life = life.crash(calls);
            let objects = life.store.crash(0).0;
            assert_eq!((objects.of_kind(QUEUED).len(), objects.of_kind(MESSAGE).len()), (1, 1), "after {calls} calls");
            let mut last = passing(&mut life, "last", QUEUE, QOS_1);
            let mut heir = passing(&mut life, "heir", "$queue/dead", QOS_1);
            life.commit();
            let (at_last, at_heir) = (payloads(&mut last), payloads(&mut heir));
            assert_eq!(at_last.len() + at_heir.len(), 1, "after {calls} calls");
            if calls == pending {
                assert_eq!(at_heir, ["bad"]);
                break;
            }
        }
    }
}

#[test]
fn an_identifier_at_qos_2_stays_in_use_when_its_message_returns_to_the_queue() {
    // The broker ends, or the connection first.
    for closes in [false, true] {
        let mut life = Life::first();
        let (mut consumer, _) = life.connect("c", 1_000, None);
        life.subscribe(&mut consumer, QUEUE, QOS_2);
        life.publish(QUEUE, b"1", QOS_2, &[]);
        life.publish(QUEUE, b"2", QOS_2, &[]);
        assert_eq!(messages(&mut consumer), [(1, false, "1".into()), (2, false, "2".into())]);
        if closes {
            life.world.close(&mut consumer, EndReason::Closed);
        }
        let mut life = life.restart(0).restart(0);
        let (mut consumer, _) = life.connect("c", 1_000, None);
        life.commit();
        let events = consumer.events();
        let released =
            events.iter().filter_map(|event| if let Event::PubRel(id, _) = event { Some(*id) } else { None });
        assert_eq!(released.collect::<Vec<_>>(), [1, 2]);
        let again =
            events.iter().filter_map(|event| if let Event::Message(message) = event { Some(message) } else { None });
        let again: Vec<_> = again.map(|message| (message.id, message.dup, message.payload.clone())).collect();
        assert_eq!(again, [(3, true, b"1".to_vec()), (4, true, b"2".to_vec())]);
        for id in [3, 4] {
            life.world.feed(&mut consumer, &pubrec(id));
        }
        life.commit();
        assert_eq!(life.store.crash(0).0.of_kind(QUEUED).len(), 0);
    }
}

#[test]
fn an_identifier_at_qos_2_stays_in_use_when_another_client_has_taken_its_message() {
    let mut life = Life::first();
    let (mut consumer, _) = life.connect("c", 1_000, None);
    life.subscribe(&mut consumer, QUEUE, QOS_2);
    life.publish(QUEUE, b"1", QOS_2, &[]);
    assert_eq!(messages(&mut consumer), [(1, false, "1".into())]);
    life.world.close(&mut consumer, EndReason::Closed);
    let mut other = passing(&mut life, "other", QUEUE, QOS_1);
    life.commit();
    assert_eq!(messages(&mut other), [(1, true, "1".into())]);
    life.world.feed(&mut other, &puback(1));
    let mut life = life.restart(0);
    let (mut consumer, _) = life.connect("c", 1_000, None);
    assert_eq!(consumer.events(), [Event::PubRel(1, ReasonCode::Success)]);
}

/// [MQTT-4.8.2-5]
#[test]
fn a_message_at_qos_2_that_a_member_of_a_group_has_begun_to_receive_ends_with_its_session() {
    for (qos, expected) in [(QOS_1, &["x"][..]), (QOS_2, &[])] {
        let mut life = Life::first();
        let (mut away, _) = life.connect("away", 1_000, None);
        life.subscribe(&mut away, GROUP, QOS_2);
        life.world.close(&mut away, EndReason::Closed);
        let mut member = passing(&mut life, "member", GROUP, QOS_2);
        life.publish("jobs", b"x", qos, &[]);
        assert_eq!(payloads(&mut member), ["x"]);
        let mut life = life.restart(0);
        let (mut away, _) = life.connect("away", 1_000, None);
        life.commit();
        assert_eq!(payloads(&mut away), expected, "{qos:?}");
    }
}

#[test]
fn a_message_at_qos_2_is_lent_to_a_kept_session_when_the_loan_is_committed() {
    for (filter, topic) in [(QUEUE, QUEUE), (GROUP, "jobs")] {
        let mut life = Life::first();
        let (mut consumer, _) = life.connect("c", 1_000, None);
        life.subscribe(&mut consumer, filter, QOS_2);
        let mut sender = life.world.connected(V5, "sender");
        for number in 1..=3 {
            life.world.feed(&mut sender, &crate::packets::message(QOS_2, number, topic, &number.to_string()));
        }
        life.world.pass_ms(1);
        assert_eq!(messages(&mut consumer), []);
        life.commit();
        let expected = [1, 2, 3].map(|number: u16| (number, false, number.to_string()));
        assert_eq!(messages(&mut consumer), expected, "{filter}");
    }
}

#[test]
fn a_member_of_a_group_gets_its_messages_again_with_their_identifiers() {
    let mut life = Life::first();
    let (mut member, _) = life.connect("member", 1_000, None);
    let options = SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::new(QOS_2) };
    let id = Property::SubscriptionIdentifier(wisp_wire::SubscriptionId::new(7).unwrap());
    life.world.feed(&mut member, &subscribe_with(V5, &[GROUP], options, &[id]));
    life.commit();
    for (payload, qos) in [(b"done", QOS_1), (b"one\0", QOS_1), (b"two\0", QOS_2)] {
        life.publish("jobs", payload, qos, &[]);
    }
    assert_eq!(messages(&mut member).len(), 3);
    life.world.feed(&mut member, &puback(1));
    let mut life = life.restart(0);
    assert_eq!((life.restoration.messages, life.restoration.objects_dropped), (2, 0));
    life.publish("jobs", b"new", QOS_1, &[]);
    // Another member does not get what the first one has.
    let mut other = passing(&mut life, "other", GROUP, QOS_2);
    life.commit();
    assert_eq!(payloads(&mut other), ["new"]);
    let (mut member, _) = life.connect("member", 1_000, None);
    let again = member.publishes();
    let ids: Vec<_> = again.iter().map(|again| (again.id, again.dup, again.subscription_ids.clone())).collect();
    assert_eq!(ids, [(2, true, vec![7]), (3, true, vec![7])]);
    life.world.feed(&mut member, &[puback(2), pubrec(3)].concat());
    life.commit();
    let objects = life.store.crash(0).0;
    assert_eq!((objects.of_kind(QUEUED).len(), objects.of_kind(MESSAGE).len()), (1, 1), "only the other's");
}

#[test]
fn messages_wait_for_the_members_of_a_group_that_are_away() {
    let mut life = Life::first();
    for id in ["one", "two"] {
        let (mut member, _) = life.connect(id, 1_000, None);
        life.subscribe(&mut member, GROUP, QOS_1);
        life.world.close(&mut member, EndReason::Closed);
    }
    for payload in [b"1", b"2", b"3"] {
        life.publish("jobs", payload, QOS_1, &[]);
    }
    let mut life = life.restart(0);
    let (mut two, _) = life.connect("two", 1_000, None);
    assert_eq!(payloads(&mut two), ["1", "2", "3"]);
    // They return when the session ends, and the group ends with its last member, and its messages with it.
    for (id, left) in [("two", 3), ("one", 0)] {
        let mut peer = life.world.accept();
        life.world.feed(&mut peer, &connect(V5, id));
        life.commit();
        assert_eq!(life.store.crash(0).0.of_kind(MESSAGE).len(), left);
    }
}

#[test]
fn a_group_without_kept_sessions_writes_nothing() {
    let mut life = Life::first();
    let mut member = passing(&mut life, "member", GROUP, QOS_2);
    life.commit();
    let before = life.store.appended();
    life.publish("jobs", b"x", QOS_1, &[]);
    assert_eq!((payloads(&mut member), life.store.appended()), (vec!["x".to_owned()], before));
}

#[test]
fn what_a_queue_drops_leaves_the_store() {
    for policy in [FullPolicy::DropOldest, FullPolicy::DropNewest] {
        let mut queue = QueueSettings::new("q", &Limits::DEFAULT);
        (queue.policy, queue.messages_max) = (policy, 2);
        let mut life = Life::with_queues(vec![queue]);
        for payload in [b"1", b"2", b"3"] {
            life.publish(QUEUE, payload, QOS_1, &[]);
        }
        let mut life = life.restart(0);
        assert_eq!(life.restoration.messages, 2, "{policy:?}");
        let mut consumer = passing(&mut life, "consumer", QUEUE, QOS_0);
        life.commit();
        let expected = if policy == FullPolicy::DropOldest { ["2", "3"] } else { ["1", "2"] };
        assert_eq!(payloads(&mut consumer), expected);
        life.commit();
        assert_eq!(life.store.crash(0).0.kinds(), BTreeMap::new());
    }
}

#[test]
fn lower_limits_drop_no_queue_and_no_message() {
    let mut life = Life::first();
    for queue in ["$queue/1", "$queue/2", "$queue/3"] {
        life.publish(queue, b"a", QOS_1, &[]);
        life.publish(queue, b"b", QOS_1, &[]);
    }
    let limits = Limits::DEFAULT.with(|limits| (limits.topic_queues_count_max, limits.queue_messages_max) = (1, 1));
    let mut life = life.restart_with(0, limits);
    assert_eq!(life.restoration.messages, 6);
    assert_eq!(life.restoration.above_limits, [("topic-queues-max", 3)]);
    for queue in ["$queue/1", "$queue/2", "$queue/3"] {
        let mut consumer = passing(&mut life, queue, queue, QOS_1);
        life.commit();
        assert_eq!(payloads(&mut consumer), ["a", "b"]);
    }
}

fn object(number: u64, object: &Object<'_>) -> Restored {
    let mut body = Vec::new();
    object.encode_head(&mut body);
    body.extend(object.tail());
    Restored { key: Key::new(number).unwrap(), kind: object.kind(), body }
}

#[test]
fn queued_messages_without_their_message_or_group_are_dropped_and_counted() {
    let queued =
        |queue, message| Object::Queued { queue, message: Key::new(message).unwrap(), deliveries: 0, loan: None };
    let message = wisp_engine::MessageObject {
        topic: "t",
        properties: &[],
        payload: b"x",
        qos: QOS_1,
        retain: false,
        expires_ms: None,
    };
    let objects = [
        object(1, &Object::Message(message)),
        object(2, &queued(QUEUE, 1)),
        object(3, &queued(GROUP, 1)),
        object(4, &queued(QUEUE, 9)),
    ];
    let (world, restoration) = World::restored(Limits::DEFAULT, Options::default(), objects);
    assert_eq!((restoration.messages, restoration.objects_dropped), (1, 2));
    assert_eq!(world.stats().objects_dropped, 2);
    let illegal = object(2, &queued("$queue/+", 1));
    let error = wisp_engine::Shared::new(Limits::DEFAULT, 1).restore([object(1, &Object::Message(message)), illegal]);
    assert_eq!(error.unwrap_err().to_string(), "the stored object 2 of kind 7 has an illegal queue");
}
