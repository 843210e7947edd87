//! Wills: when they are published, and with which properties.

use wisp_engine::{EndReason, Limits};
use wisp_wire::{
    Connect, Packet, Properties, Property, ProtocolVersion, Publish, QoS, ReasonCode, TopicName, Will, decode,
};

use crate::support::{ALL, Peer, V3, V5, World, encoded, plain, publish, subscribe};

const DELAY: Property<'static> = Property::WillDelayInterval(60);
const TYPE: Property<'static> = Property::ContentType("text/plain");

fn connect_with_will(version: ProtocolVersion, topic: &str, payload: &[u8]) -> Vec<u8> {
    let properties: &[Property<'_>] = if version.is_v5() { &[DELAY, TYPE] } else { &[] };
    let will = Will {
        topic: TopicName::new(topic).unwrap(),
        payload,
        qos: QoS::AtMostOnce,
        retain: false,
        properties: Properties::from_slice(properties),
    };
    encoded(|out| Connect { will: Some(will), ..plain(version, "mortal") }.encode(version, out))
}

fn mortal_and_heir(world: &mut World, version: ProtocolVersion) -> (Peer, Peer) {
    let mut heir = world.connected(V3, "heir");
    world.feed(&mut heir, &subscribe(V3, &["will/#"]));
    let mut mortal = world.accept();
    assert!(world.feed(&mut mortal, &connect_with_will(version, "will/of", b"all to you")).end.is_none());
    heir.take();
    (mortal, heir)
}

#[test]
fn every_end_but_a_normal_disconnect_publishes_the_will() {
    let cases = [
        (EndReason::Closed, true),
        (EndReason::TransportFailed, true),
        (EndReason::KeepAliveTimeout, true),
        (EndReason::TakenOver, true),
        (EndReason::SecondConnect, true),
        (EndReason::Stuck, true),
        (EndReason::Disconnected(ReasonCode::DisconnectWithWill), true),
        (EndReason::Disconnected(ReasonCode::UnspecifiedError), true),
        (EndReason::Disconnected(ReasonCode::NORMAL_DISCONNECTION), false),
        (EndReason::ShuttingDown, false),
    ];
    for version in ALL {
        for (reason, published) in cases {
            let mut world = World::new(Limits::DEFAULT);
            let (mut mortal, mut heir) = mortal_and_heir(&mut world, version);
            world.close(&mut mortal, reason);
            let expected = if published { vec![("will/of".to_owned(), b"all to you".to_vec())] } else { Vec::new() };
            assert_eq!(heir.messages(), expected, "{version:?} {reason:?}");
            world.close(&mut heir, EndReason::Closed);
            world.assert_empty();
        }
    }
}

#[test]
fn a_will_keeps_its_properties_but_the_delay() {
    let mut world = World::new(Limits::DEFAULT);
    let (mut mortal, _) = mortal_and_heir(&mut world, V5);
    let mut heir = world.connected(V5, "heir of version 5");
    world.feed(&mut heir, &subscribe(V5, &["will/of"]));
    heir.take();
    world.close(&mut mortal, EndReason::Closed);
    heir.read();
    let Some((Packet::Publish(publish), _)) = decode(&heir.received, V5, 1000).unwrap() else { panic!("no message") };
    assert_eq!(publish.properties.iter().collect::<Vec<_>>(), [TYPE]);
}

#[test]
fn a_will_counts_as_waiting_until_it_is_gone() {
    let mut world = World::new(Limits::DEFAULT);
    let mut mortal = world.accept();
    world.feed(&mut mortal, &connect_with_will(V3, "will/of", &[0; 5_000]));
    mortal.read();
    assert!(world.stats().stored_bytes > 5_000);
    world.close(&mut mortal, EndReason::Closed);
    world.assert_empty();
}

#[test]
fn a_will_beyond_the_limits_is_refused_at_connect() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.topic_levels_max = 2));
    let mut mortal = world.accept();
    let outcome = world.feed(&mut mortal, &connect_with_will(V5, "one/two/three", b""));
    assert_eq!(outcome.replies, [0x20, 3, 0, 0x90, 0]);

    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.stored_bytes_max = 1 << 14));
    let mut first = world.accept();
    assert!(world.feed(&mut first, &connect_with_will(V5, "t", &[0; 20_000])).end.is_none());
    let mut second = world.accept();
    assert_eq!(world.feed(&mut second, &connect_with_will(V5, "t", b"")).replies, [0x20, 3, 0, 0x97, 0]);
}

/// A retained message about the client's own state.
fn state(payload: &[u8]) -> Vec<u8> {
    let publish = Publish { retain: true, ..Publish::new(TopicName::new("state").unwrap(), payload) };
    encoded(|out| publish.encode(V3, out))
}

/// CONNECT with the retained will that says so.
fn connect_stateful(clean_start: bool) -> Vec<u8> {
    let will = Will {
        topic: TopicName::new("state").unwrap(),
        payload: b"gone",
        qos: QoS::AtMostOnce,
        retain: true,
        properties: Properties::EMPTY,
    };
    encoded(|out| Connect { will: Some(will), clean_start, ..plain(V3, "stateful") }.encode(V3, out))
}

/// The payloads of all messages that came.
fn payloads(peer: &mut Peer) -> Vec<Vec<u8>> {
    peer.publishes().into_iter().map(|message| message.payload).collect()
}

/// Has a client with a will connect again in the way that `again` has it, and send its state with the same bytes.
fn come_back(limits: Limits, clean_start: bool, is_full: bool, again: fn(&mut World, &mut Peer) -> Peer) {
    let mut world = World::new(limits);
    let mut observer = world.connected(V3, "observer");
    world.feed(&mut observer, &subscribe(V3, &["#"]));
    let mut old = world.accept();
    world.feed(&mut old, &[connect_stateful(clean_start), state(b"there")].concat());
    if is_full {
        let mut other = world.connected(V3, "other");
        world.feed(&mut other, &[publish(V3, "t", b"1"), publish(V3, "t", b"2")].concat());
    } else {
        payloads(&mut observer);
    }
    let mut new = again(&mut world, &mut old);
    world.feed(&mut new, &[connect_stateful(clean_start), state(b"back")].concat());
    if is_full {
        assert_eq!((old.end().is_some(), world.worker.paused()), (true, 1), "it waits for its own will");
        world.pass_ms(1_000);
        assert_eq!(payloads(&mut observer), [&b"there"[..], b"1", b"2"]);
    }
    world.pass_ms(2);
    assert_eq!(payloads(&mut observer), [&b"gone"[..], b"back"]);
    assert_eq!(world.worker.paused(), 0);
    let mut late = world.connected(V3, "late");
    world.feed(&mut late, &subscribe(V3, &["state"]));
    assert_eq!(payloads(&mut late), [b"back"], "its state is the last that it has sent");
}

#[test]
fn a_will_comes_before_all_that_its_client_sends_next() {
    let full = Limits::DEFAULT.with(|l| (l.queue_messages_max, l.stall_ms_max) = (3, Some(10_000)));
    for clean_start in [false, true] {
        for (limits, is_full) in [(Limits::DEFAULT, false), (full, true)] {
            // By a takeover.
            come_back(limits, clean_start, is_full, |world, _| world.accept());
            // After the connection has failed.
            come_back(limits, clean_start, is_full, |world, old| {
                world.close(old, EndReason::TransportFailed);
                world.accept()
            });
            // At the same time as the connection fails.
            come_back(limits, clean_start, is_full, |world, old| {
                let new = world.accept();
                world.fail_unnoticed(old);
                new
            });
        }
    }
}

#[test]
fn a_connection_that_waits_for_a_will_is_taken_over_after_it() {
    let full = Limits::DEFAULT.with(|l| (l.queue_messages_max, l.stall_ms_max) = (1, Some(10_000)));
    let mut world = World::new(full);
    let mut observer = world.connected(V3, "observer");
    world.feed(&mut observer, &subscribe(V3, &["state"]));
    observer.take();
    let mut peers: Vec<Peer> = (0..4).map(|_| world.accept()).collect();
    for (number, peer) in (0_u8..).zip(&mut peers) {
        world.feed(peer, &[connect_stateful(false), state(&[number])].concat());
    }
    let mut received = Vec::new();
    for _ in 0..20 {
        received.extend(payloads(&mut observer));
        world.pass_ms(1);
    }
    // The second and the third were taken over before they were read.
    assert_eq!(received, [&[0][..], b"gone", b"gone", b"gone", &[3]]);
    let ends: Vec<bool> = peers.iter().map(|peer| peer.end().is_some()).collect();
    assert_eq!((ends, world.worker.paused()), (vec![true, true, true, false], 0));
}
