//! SUBSCRIBE and UNSUBSCRIBE: grants, refusals, and their effect on deliveries.

use wisp_engine::Limits;
use wisp_wire::{QoS, SubscriptionOptions};

use crate::support::{V3, V5, V31, World, connect, publish, subscribe, subscribe_with, unsubscribe};

#[test]
fn a_bridge_gets_none_of_its_own_messages_and_retain_as_it_was_published() {
    for (version, level) in [(V31, 0x83), (V3, 0x84)] {
        let mut world = World::new(Limits::DEFAULT);
        let mut bytes = connect(version, "bridge");
        // Behind the protocol name.
        let at = 4 + usize::from(bytes[3]);
        bytes[at] = level;
        let mut bridge = world.accept();
        assert!(world.feed(&mut bridge, &bytes).end.is_none());
        world.feed(&mut bridge, &subscribe(version, &["#"]));
        bridge.take();
        let mut sender = world.connected(V5, "sender");
        let retained = crate::packets::message_with(crate::packets::QOS_0, 0, "t", "other", true, &[]);
        world.feed(&mut bridge, &publish(version, "t", b"own"));
        world.feed(&mut sender, &retained);
        let heard: Vec<_> = bridge.publishes().into_iter().map(|message| (message.payload, message.retain)).collect();
        assert_eq!(heard, [(b"other".to_vec(), true)]);
    }
}

#[test]
fn requested_subscriptions_are_granted() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::new(Limits::DEFAULT);
        let mut peer = world.connected(V3, "c");
        let packet = subscribe_with(V3, &["a", "b"], SubscriptionOptions::new(qos), &[]);
        assert_eq!(world.feed(&mut peer, &packet).replies, [0x90, 4, 0, 1, qos as u8, qos as u8]);
    }
}

#[test]
fn each_filter_beyond_a_limit_is_refused_by_itself() {
    let limits = Limits::DEFAULT.with(|limits| {
        limits.subscriptions_count_max = 2;
        limits.topic_levels_max = 3;
        limits.topic_bytes_max = 20;
    });
    let filters =
        ["a/b/c/d", "$queue/+", "a", "a", "b", "c", "012345678901234567890", "$share/g/$queue/n", "$share/g/t"];
    // 3.1.1 has one code for every refusal.
    let cases = [(V3, [0x80; 2]), (V5, [0x8f, 0x97])];
    for (version, [invalid, quota]) in cases {
        let mut world = World::new(limits);
        let mut peer = world.connected(version, "c");
        let codes: Vec<u8> = filters
            .iter()
            .map(|filter| *world.feed(&mut peer, &subscribe(version, &[filter])).replies.last().unwrap())
            .collect();
        assert_eq!(codes, [invalid, invalid, 0, 0, 0, quota, invalid, invalid, quota], "{version:?}");
        // Capacity for one again.
        world.feed(&mut peer, &unsubscribe(version, &["a"]));
        assert_eq!(world.feed(&mut peer, &subscribe(version, &["c"])).replies.last(), Some(&0));
    }
}

#[test]
fn the_filters_of_all_clients_together_are_bounded() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.subscription_bytes_max = 10_000));
    let (mut greedy, mut other) = (world.connected(V5, "greedy"), world.connected(V3, "other"));
    let long = "x".repeat(5_000);
    assert_eq!(world.feed(&mut greedy, &subscribe(V5, &["a", &long, "b"])).replies[5..], [0, 0, 0x97]);
    assert_eq!(world.feed(&mut other, &subscribe(V3, &["b"])).replies.last(), Some(&0x80));
    world.feed(&mut greedy, &unsubscribe(V5, &[&long]));
    assert_eq!(world.feed(&mut other, &subscribe(V3, &["b"])).replies.last(), Some(&0));
}

#[test]
fn one_packet_cannot_keep_the_router_busy_with_the_same_filter() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.subscriptions_count_max = 3));
    let mut peer = world.connected(V5, "c");
    let outcome = world.feed(&mut peer, &subscribe(V5, &["a"; 5]));
    assert_eq!(outcome.replies[5..], [0, 0, 0, 0x97, 0x97]);
}

#[test]
fn unsubscribing_without_a_subscription_has_its_own_code() {
    let mut world = World::new(Limits::DEFAULT);
    let mut other = world.connected(V3, "other");
    world.feed(&mut other, &subscribe(V3, &["a"]));
    let mut peer = world.connected(V5, "c");
    let outcome = world.feed(&mut peer, &unsubscribe(V5, &["a", "b", &"/".repeat(60_000)]));
    assert_eq!(outcome.replies, [0xb0, 6, 0, 1, 0, 0x11, 0x11, 0x11]);
    world.feed(&mut peer, &publish(V5, "a", b"x"));
    assert_eq!(other.messages(), [("a".to_owned(), b"x".to_vec())]);
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it_even_if_its_queue_is_full() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.queue_messages_max = 1));
    let (mut peer, mut other) = (world.connected(V5, "c"), world.connected(V5, "o"));
    let no_local = SubscriptionOptions { no_local: true, ..SubscriptionOptions::new(QoS::AtMostOnce) };
    world.feed(&mut peer, &subscribe_with(V5, &["t"], no_local, &[]));
    world.feed(&mut peer, &publish(V5, "t", b"own"));
    world.feed(&mut other, &publish(V5, "t", b"other's"));
    // The queue is full now. The other client has to wait, and the client itself does not.
    assert!(world.feed(&mut other, &publish(V5, "t", b"other's again")).blocked);
    assert!(!world.feed(&mut peer, &publish(V5, "t", b"own again")).blocked);
    assert_eq!(peer.messages(), [("t".to_owned(), b"other's".to_vec())]);
}
