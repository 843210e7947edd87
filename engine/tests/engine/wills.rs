//! Wills: when they are published, and with which properties.

use wisp_engine::{EndReason, Limits};
use wisp_wire::{Connect, Packet, Properties, Property, ProtocolVersion, QoS, ReasonCode, TopicName, Will, decode};

use crate::support::{ALL, Peer, V3, V5, World, encoded, plain, subscribe};

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
    let mut world = World::new(Limits { topic_levels_max: 2, ..Limits::DEFAULT });
    let mut mortal = world.accept();
    let outcome = world.feed(&mut mortal, &connect_with_will(V5, "one/two/three", b""));
    assert_eq!(outcome.replies, [0x20, 3, 0, 0x90, 0]);

    let mut world = World::new(Limits { stored_bytes_max: 100, ..Limits::DEFAULT });
    let mut first = world.accept();
    assert!(world.feed(&mut first, &connect_with_will(V5, "t", &[0; 200])).end.is_none());
    let mut second = world.accept();
    assert_eq!(world.feed(&mut second, &connect_with_will(V5, "t", b"")).replies, [0x20, 3, 0, 0x97, 0]);
}
