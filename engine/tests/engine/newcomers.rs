//! Connections before their CONNECT, and unfinished packets: how much they may hold.

use wisp_engine::{EndReason, Limits};

use crate::support::{Peer, V3, V5, World, connect, publish, subscribe};

/// The fixed header of a packet, with its remaining length.
fn header(first: u8, remaining: usize) -> Vec<u8> {
    let low = |number: usize| (number % 128) as u8 | 0x80;
    vec![first, low(remaining), low(remaining / 128), low(remaining / 128 / 128), (remaining >> 21) as u8]
}

#[test]
fn of_too_many_connections_without_connect_the_oldest_give_way() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.unauthenticated_count_max = 2));
    let _connected = (world.connected(V5, "a"), world.connected(V3, "b"), world.connected(V3, "c"));
    let silent: Vec<_> = (0..5).map(|_| world.accept()).collect();
    let ends: Vec<_> = silent.iter().map(Peer::end).collect();
    let shed = Some(EndReason::TooManyUnauthenticated);
    assert_eq!(ends, [shed, shed, shed, None, None]);
    // A refused CONNECT that lingers is no newcomer any more.
    world.hangs_up = false;
    for _ in 0..5 {
        let mut refused = world.accept();
        let mut future = connect(V5, "c");
        future[8] = 9;
        assert!(world.feed(&mut refused, &future).end.is_some());
    }
    world.connected(V5, "late");
    assert_eq!(silent[4].end(), None, "each gave up its place to the next");
}

#[test]
fn the_bytes_of_unfinished_connects_are_bounded_together() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.unauthenticated_bytes_max = 100_000));
    let part = [&header(0x10, 60_000)[..], &connect(V3, "c")[2..10], &[0; 40_000]].concat();
    let mut slow: Vec<_> = (0..3).map(|_| world.accept()).collect();
    for peer in &mut slow {
        world.feed(peer, &part);
    }
    let ends: Vec<_> = slow.iter().map(Peer::end).collect();
    assert_eq!(ends, [Some(EndReason::UnauthenticatedBytes), None, None]);
    world.connected(V5, "quick");
    assert_eq!(world.stats().buffered_bytes, 2 * part.len() as u64);
}

#[test]
fn senders_of_short_packets_are_not_ended_for_long_ones_that_others_do_not_finish() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.buffered_bytes_max = 8 * 1024 * 1024));
    let mut receiver = world.connected(V3, "receiver");
    world.feed(&mut receiver, &subscribe(V3, &["t"]));
    let mut sender = world.connected(V3, "sender");
    let part = [&header(0x30, 12 * 1024 * 1024)[..], &vec![0; 4 * 1024 * 1024 - 50_000]].concat();
    let mut hoarders: Vec<_> = (0..2).map(|number| world.connected(V3, &format!("hoarder {number}"))).collect();
    for hoarder in &mut hoarders {
        world.feed(hoarder, &part);
    }
    assert!(world.stats().buffered_bytes > 8 * 1024 * 1024 - 200_000, "the next packet uses up the memory");
    let packet = publish(V3, "t", &[7; 200 * 1024]);
    let mut received = 0;
    for number in 0..25 {
        if number < 20 {
            assert_eq!(world.feed(&mut sender, &packet).end, None);
        }
        world.pass_ms(250);
        received += receiver.take().iter().filter(|byte| **byte == 7).count() / (200 * 1024);
    }
    assert_eq!(received, 20);
    let ended = hoarders.iter().filter(|peer| peer.end() == Some(EndReason::BuffersExhausted)).count();
    assert_eq!(ended, 2, "they held the memory");
}

#[test]
fn of_very_many_unfinished_packets_the_longest_ends_until_there_is_memory() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.buffered_bytes_max = 2 * 1024 * 1024));
    let mut sender = world.connected(V3, "sender");
    let part = [&header(0x30, 1024 * 1024)[..], &vec![0; 250 * 1024]].concat();
    let mut hoarders: Vec<_> = (0..16).map(|number| world.connected(V3, &format!("hoarder {number}"))).collect();
    for hoarder in &mut hoarders {
        world.feed(hoarder, &part);
    }
    let packet = publish(V3, "t", &[7; 200 * 1024]);
    let outcome = world.feed(&mut sender, &packet);
    assert!(outcome.end.is_none() && outcome.blocked, "it waits for memory: {outcome:?}");
    (0..40).for_each(|_| world.pass_ms(250));
    assert_eq!((sender.end(), sender.unreceived_bytes()), (None, 0));
    let ended = hoarders.iter().filter(|peer| peer.end().is_some()).count();
    assert!((1..=16).contains(&ended), "{ended}");
}
