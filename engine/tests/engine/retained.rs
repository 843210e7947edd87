//! Retained messages: their receivers, the time of delivery, and the limits.

use wisp_engine::{EndReason, Limits};
use wisp_wire::{Property, QoS, ReasonCode, RetainHandling, SubscriptionId, SubscriptionOptions};

use crate::events::{Event, Message};
use crate::packets::{QOS_0, QOS_1, QOS_2, STAYS, message_with, puback, subscribe_at};
use crate::support::{Peer, V3, V5, World, subscribe_with};

fn retain(world: &mut World, sender: &mut Peer, qos: QoS, topic: &str, payload: &str) -> Vec<Event> {
    world.feed(sender, &message_with(qos, 1, topic, payload, true, &[]));
    sender.events()
}

#[test]
fn a_new_subscription_gets_retained_messages_and_an_old_one_live_messages() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    retain(&mut world, &mut sender, QOS_2, "a/b", "first");
    retain(&mut world, &mut sender, QOS_0, "$a/b", "hidden");
    for granted in [QOS_0, QOS_1, QOS_2] {
        let (mut receiver, _) = world.returns("r", &[]);
        let id = Property::SubscriptionIdentifier(SubscriptionId::new(9).unwrap());
        world.feed(&mut receiver, &subscribe_with(V5, &["#"], SubscriptionOptions::new(granted), &[id]));
        let [Message { retain: true, dup: false, qos, subscription_ids, topic, .. }] = &receiver.publishes()[..] else {
            panic!("one retained message")
        };
        assert_eq!((*qos, &subscription_ids[..], &topic[..]), (granted, &[9][..], "a/b"));
        retain(&mut world, &mut sender, QOS_0, "other", "x");
        let live = receiver.publishes();
        assert_eq!((live.len(), live[0].retain), (1, false));
        retain(&mut world, &mut sender, QOS_0, "other", "");
        assert_eq!(receiver.payloads(), [""], "it is delivered, and then there is none");
        world.close(&mut receiver, EndReason::Closed);
    }
    assert_eq!(world.stats().retained, 2);
}

#[test]
fn retain_handling_and_retain_as_published_are_respected() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    retain(&mut world, &mut sender, QOS_0, "t", "kept");
    let (mut receiver, _) = world.returns("r", &[]);
    let cases = [
        (RetainHandling::DoNotSend, 0),
        (RetainHandling::SendIfNew, 0),
        (RetainHandling::Send, 1),
        (RetainHandling::Send, 1),
    ];
    for (retain_handling, times) in cases {
        let options = SubscriptionOptions { retain_handling, ..SubscriptionOptions::new(QOS_0) };
        world.feed(&mut receiver, &subscribe_with(V5, &["t"], options, &[]));
        assert_eq!(receiver.publishes().len(), times, "{retain_handling:?}");
    }
    let options = SubscriptionOptions {
        retain_handling: RetainHandling::SendIfNew,
        retain_as_published: true,
        ..SubscriptionOptions::new(QOS_0)
    };
    world.feed(&mut receiver, &subscribe_with(V5, &["u"], options, &[]));
    for retained in [true, false] {
        world.feed(&mut sender, &message_with(QOS_0, 0, "u", "x", retained, &[]));
        assert_eq!(receiver.publishes()[0].retain, retained);
    }
}

#[test]
fn no_local_excludes_the_clients_own_retained_messages() {
    let mut world = World::new(Limits::DEFAULT);
    let (mut sender, mut client) = (world.sender(), world.returns("c", &[STAYS]).0);
    retain(&mut world, &mut sender, QOS_0, "others", "x");
    retain(&mut world, &mut client, QOS_0, "own", "x");
    world.close(&mut client, EndReason::Closed);
    let (mut client, _) = world.returns("c", &[]);
    let no_local = SubscriptionOptions { no_local: true, ..SubscriptionOptions::new(QOS_0) };
    world.feed(&mut client, &subscribe_with(V5, &["+"], no_local, &[]));
    let topics: Vec<String> = client.publishes().into_iter().map(|message| message.topic).collect();
    assert_eq!(topics, ["others"]);
}

/// Reads and acknowledges until no more messages arrive. Returns them, with the highest number in one step.
fn read_in_steps(world: &mut World, receiver: &mut Peer) -> (Vec<String>, usize) {
    let (mut topics, mut most) = (Vec::new(), 0);
    loop {
        most = most.max(receiver.unread_bytes());
        let messages = receiver.publishes();
        let acknowledged: Vec<u8> = messages.iter().filter(|m| m.qos != QOS_0).flat_map(|m| puback(m.id)).collect();
        topics.extend(messages.iter().map(|message| message.topic.clone()));
        let before = topics.len();
        // The worker replays in each turn, with any packets of the client.
        world.feed(receiver, &acknowledged);
        let is_replaying = world.worker.poll_timeout(world.now_ms).is_some_and(|ms| ms <= 1);
        if !is_replaying && receiver.unread_bytes() == 0 {
            assert_eq!(before, topics.len());
            return (topics, most);
        }
    }
}

#[test]
fn a_subscriber_to_everything_gets_all_retained_messages_as_fast_as_it_reads() {
    const TOPICS: usize = 3_000;
    let limits = Limits::DEFAULT.with(|limits| {
        limits.queue_bytes_max = 8 * 1024;
        limits.queue_messages_max = 50;
    });
    for qos in [QOS_0, QOS_1] {
        let mut world = World::new(limits);
        let mut sender = world.sender();
        for number in 0..TOPICS {
            retain(
                &mut world,
                &mut sender,
                QOS_1,
                &format!("t/{number:05}"),
                "about a hundred bytes".repeat(5).as_str(),
            );
        }
        let (mut receiver, _) = world.returns("r", &[]);
        world.feed(&mut receiver, &subscribe_at(qos, &["#"]));
        let (topics, most) = read_in_steps(&mut world, &mut receiver);
        assert_eq!(topics.len(), TOPICS, "{qos:?}");
        assert!(topics.is_sorted());
        assert!(most < 3 * limits.queue_bytes_max, "{most} bytes at a time");
        world.close(&mut receiver, EndReason::Closed);
    }
}

#[test]
fn an_unfinished_replay_continues_on_the_next_connection_and_survives_another_subscribe() {
    // A replay takes half of a queue.
    let limits = Limits::DEFAULT.with(|limits| limits.queue_messages_max = 4);
    let mut world = World::new(limits);
    let mut sender = world.sender();
    for topic in ["t/1", "t/2", "t/3", "t/4", "t/5"] {
        retain(&mut world, &mut sender, QOS_1, topic, "x");
    }
    let (mut receiver, _) = world.returns("r", &[STAYS]);
    world.feed(&mut receiver, &subscribe_at(QOS_1, &["t/+"]));
    assert_eq!(receiver.publishes().len(), 2);
    let again = SubscriptionOptions { retain_handling: RetainHandling::SendIfNew, ..SubscriptionOptions::new(QOS_1) };
    world.feed(&mut receiver, &subscribe_with(V5, &["t/+"], again, &[]));
    world.close(&mut receiver, EndReason::Closed);
    let (mut receiver, _) = world.returns("r", &[STAYS]);
    let (mut topics, _) = read_in_steps(&mut world, &mut receiver);
    topics.dedup();
    assert_eq!(topics, ["t/1", "t/2", "t/3", "t/4", "t/5"]);
}

#[test]
fn a_full_retained_store_refuses_senders_of_mqtt_5_and_removes_outdated_messages() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.retained_count_max = 1));
    let (mut sender, mut old) = (world.sender(), world.connected(V3, "old"));
    let mut receiver = world.receiver("r", QOS_0, &["#"], &[]);
    assert_eq!(retain(&mut world, &mut sender, QOS_1, "a", "1"), [Event::PubAck(1, ReasonCode::Success)]);
    assert_eq!(retain(&mut world, &mut sender, QOS_1, "b", "1"), [Event::PubAck(1, ReasonCode::QuotaExceeded)]);
    assert_eq!(retain(&mut world, &mut sender, QOS_2, "b", "1"), [Event::PubRec(1, ReasonCode::QuotaExceeded)]);
    assert_eq!(receiver.payloads(), ["1"], "a refused message has no receiver");
    retain(&mut world, &mut sender, QOS_0, "b", "2");
    // QoS 1 of 3.1.1, where a message cannot be refused.
    world.feed(&mut old, &[0x33, 6, 0, 1, b'b', 0, 1, b'3']);
    assert_eq!(old.events(), [Event::PubAck(1, ReasonCode::Success)]);
    assert_eq!(receiver.payloads(), ["2", "3"]);
    assert_eq!((world.stats().retained, world.stats().retained_refused), (1, 2));
    retain(&mut world, &mut sender, QOS_1, "a", "in its place");
    retain(&mut world, &mut sender, QOS_1, "a", "");
    assert_eq!(retain(&mut world, &mut sender, QOS_1, "b", "4"), [Event::PubAck(1, ReasonCode::Success)]);

    let bytes = 300;
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.retained_bytes_max = bytes));
    let mut sender = world.sender();
    retain(&mut world, &mut sender, QOS_0, "t", "small");
    retain(&mut world, &mut sender, QOS_0, "t", &"x".repeat(bytes));
    // Delivered but not retained. The earlier retained message is then outdated and removed [MQTT-3.3.1-5].
    let mut late = world.receiver("late", QOS_0, &["t"], &[]);
    assert_eq!(late.payloads(), [""; 0]);
}

#[test]
fn shared_subscriptions_and_topic_queues_get_no_retained_messages() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    retain(&mut world, &mut sender, QOS_1, "t", "x");
    retain(&mut world, &mut sender, QOS_1, "$queue/q", "for one");
    assert_eq!(world.stats().retained, 1, "a message in a queue is not kept beside it");
    let (mut receiver, _) = world.returns("r", &[]);
    world.feed(&mut receiver, &subscribe_at(QOS_1, &["$share/g/t"]));
    assert_eq!(receiver.publishes(), []);
    world.feed(&mut receiver, &subscribe_at(QOS_1, &["$queue/q"]));
    assert_eq!(receiver.payloads(), ["for one"]);
}

#[test]
fn a_will_is_retained_like_any_message() {
    use wisp_wire::{Connect, Properties, TopicName, Will};
    let mut world = World::new(Limits::DEFAULT);
    let will = Will {
        topic: TopicName::new("will").unwrap(),
        payload: b"mine",
        qos: QOS_1,
        retain: true,
        properties: Properties::EMPTY,
    };
    let connect = Connect { will: Some(will), ..crate::support::plain(V3, "mortal") };
    let mut mortal = world.accept();
    world.feed(&mut mortal, &crate::support::encoded(|out| connect.encode(V3, out)));
    world.close(&mut mortal, EndReason::Closed);
    let (mut heir, _) = world.returns("heir", &[]);
    world.feed(&mut heir, &subscribe_at(QOS_2, &["will"]));
    let messages = heir.publishes();
    assert_eq!((messages.len(), messages[0].qos, messages[0].retain), (1, QOS_1, true));
}
