//! Every state of a session times every packet: what is answered, and how the session ends.

use wisp_engine::{EndReason, Limits, TopicTooLarge};
use wisp_wire::{PacketType, Property, ProtocolVersion, QoS, ReasonCode};

use crate::support::{ALL, Peer, V3, V5, World, connect, encoded, one_of_each, plain, publish, publish_with};

/// DISCONNECT with a reason code, which only MQTT 5 sends to clients.
fn farewell(version: ProtocolVersion, code: u8) -> Vec<u8> {
    if version.is_v5() { vec![0xe0, 1, code] } else { Vec::new() }
}

fn assert_ends(world: &mut World, peer: &mut Peer, bytes: &[u8], reason: EndReason, replies: &[u8]) {
    let outcome = world.feed(peer, bytes);
    assert_eq!((outcome.reason(), outcome.replies.as_slice()), (Some(reason), replies), "{bytes:02x?}");
    assert_eq!(outcome.end.map(|end| end.told), Some(!replies.is_empty()), "{bytes:02x?}");
}

#[test]
fn nothing_but_connect_opens_a_session() {
    // Until CONNECT has said otherwise packets are read as those of 3.1.1.
    for packet in one_of_each(V3).into_iter().skip(1) {
        let mut world = World::new(Limits::DEFAULT);
        let mut peer = world.accept();
        assert_ends(&mut world, &mut peer, &packet, EndReason::NotConnect, &[]);
    }
}

#[test]
fn each_version_has_its_connack() {
    for version in ALL {
        let mut world = World::new(Limits::DEFAULT);
        let mut peer = world.accept();
        let outcome = world.feed(&mut peer, &connect(version, "c"));
        let expected: &[u8] = match version.is_v5() {
            false => &[0x20, 2, 0, 0],
            // Maximum QoS 0, no retain, no subscription identifiers, no shared subscriptions, 16 MiB.
            true => &[0x20, 16, 0, 0, 13, 0x24, 0, 0x25, 0, 0x29, 0, 0x2a, 0, 0x27, 1, 0, 0, 0],
        };
        assert_eq!(outcome.replies, expected, "{version:?}");
        assert_eq!((peer.session.version(), peer.session.client_id()), (version, Some("c")));
    }
}

#[test]
fn a_connected_session_answers_or_ends_as_its_version_has_it() {
    for version in ALL {
        for packet in one_of_each(version) {
            let mut world = World::new(Limits::DEFAULT);
            let mut peer = world.connected(version, "c");
            let answered: Option<&[u8]> = match packet[0] >> 4 {
                3 => Some(&[]),
                8 if version.is_v5() => Some(&[0x90, 4, 0, 1, 0, 0]),
                8 => Some(&[0x90, 3, 0, 1, 0]),
                10 if version.is_v5() => Some(&[0xb0, 4, 0, 1, 0, 0x11]),
                10 => Some(&[0xb0, 2, 0, 1]),
                12 => Some(&[0xd0, 0]),
                _ => None,
            };
            if let Some(replies) = answered {
                let outcome = world.feed(&mut peer, &packet);
                assert_eq!(
                    (outcome.reason(), outcome.replies.as_slice()),
                    (None, replies),
                    "{version:?} {packet:02x?}"
                );
                continue;
            }
            let (reason, code) = match packet[0] >> 4 {
                1 => (EndReason::SecondConnect, Some(0x82)),
                2 => (EndReason::Unexpected(PacketType::ConnAck), Some(0x82)),
                4 => (EndReason::Unexpected(PacketType::PubAck), Some(0x82)),
                5 => (EndReason::Unexpected(PacketType::PubRec), Some(0x82)),
                6 => (EndReason::Unexpected(PacketType::PubRel), Some(0x82)),
                7 => (EndReason::Unexpected(PacketType::PubComp), Some(0x82)),
                9 => (EndReason::Unexpected(PacketType::SubAck), Some(0x82)),
                11 => (EndReason::Unexpected(PacketType::UnsubAck), Some(0x82)),
                13 => (EndReason::Unexpected(PacketType::PingResp), Some(0x82)),
                14 => (EndReason::Disconnected(ReasonCode::Success), None),
                _ => (EndReason::Unexpected(PacketType::Auth), Some(0x82)),
            };
            let replies = code.map_or_else(Vec::new, |code| farewell(version, code));
            assert_ends(&mut world, &mut peer, &packet, reason, &replies);
        }
    }
}

#[test]
fn an_ended_session_does_nothing() {
    for version in ALL {
        for packet in one_of_each(V3) {
            let mut world = World::new(Limits::DEFAULT);
            let mut peer = world.connected(version, "c");
            peer.session.close();
            peer.session.close();
            assert_ends(&mut world, &mut peer, &packet, EndReason::Closed, &[]);
            assert_eq!((peer.session.client_id(), peer.session.overdue(u64::MAX)), (None, None));
        }
    }
}

#[test]
fn publishing_what_connack_ruled_out_ends_the_session() {
    let property = |property| publish_with("t", &[property]);
    let cases = [
        (vec![0x32, 6, 0, 1, b't', 0, 1, 0], EndReason::QoSNotSupported, 0x9b),
        (vec![0x34, 6, 0, 1, b't', 0, 1, 0], EndReason::QoSNotSupported, 0x9b),
        (vec![0x31, 4, 0, 1, b't', 0], EndReason::RetainNotSupported, 0x9a),
        (property(Property::TopicAlias(1.try_into().unwrap())), EndReason::TopicAlias, 0x94),
        // An alias instead of the name.
        (vec![0x30, 6, 0, 0, 3, 0x23, 0, 1], EndReason::TopicAlias, 0x94),
        (vec![0x30, 6, 0, 1, b't', 2, 0x0b, 1], EndReason::SubscriptionIdentifierFromClient, 0x82),
    ];
    for (packet, reason, code) in cases {
        let mut world = World::new(Limits::DEFAULT);
        let mut peer = world.connected(V5, "c");
        assert_ends(&mut world, &mut peer, &packet, reason, &[0xe0, 1, code]);
    }
    for (packet, reason) in [
        (vec![0x32, 5, 0, 1, b't', 0, 1], EndReason::QoSNotSupported),
        (vec![0x34, 5, 0, 1, b't', 0, 1], EndReason::QoSNotSupported),
    ] {
        let mut world = World::new(Limits::DEFAULT);
        let mut peer = world.connected(V3, "c");
        assert_ends(&mut world, &mut peer, &packet, reason, &[]);
    }
}

#[test]
fn retain_of_3_1_1_is_delivered_and_cleared() {
    let mut world = World::new(Limits::DEFAULT);
    let (mut sender, mut old, mut new) = (world.connected(V3, "s"), world.connected(V3, "o"), world.connected(V5, "n"));
    world.feed(&mut old, &crate::support::subscribe(V3, &["t"]));
    world.feed(&mut new, &crate::support::subscribe(V5, &["t"]));
    world.feed(&mut sender, &[0x31, 4, 0, 1, b't', b'x']);
    for receiver in [&mut old, &mut new] {
        assert_eq!(receiver.messages(), [("t".to_owned(), b"x".to_vec())]);
    }
}

#[test]
fn properties_reach_clients_of_mqtt_5_alone() {
    let mut world = World::new(Limits::DEFAULT);
    let (mut sender, mut old, mut new) = (world.connected(V5, "s"), world.connected(V3, "o"), world.connected(V5, "n"));
    world.feed(&mut old, &crate::support::subscribe(V3, &["t"]));
    world.feed(&mut new, &crate::support::subscribe(V5, &["t"]));
    let properties = [
        Property::UserProperty(("key", "value")),
        Property::ContentType("text"),
        Property::ResponseTopic(wisp_wire::TopicName::new("answers").unwrap()),
    ];
    let packet = publish_with("t", &properties);
    world.feed(&mut sender, &packet);
    old.read();
    new.read();
    assert_eq!(old.received, publish(V3, "t", b"x"));
    assert_eq!(new.received, packet);
}

#[test]
fn topics_beyond_the_limits_end_the_session() {
    let limits = Limits { topic_levels_max: 2, topic_bytes_max: 10, ..Limits::DEFAULT };
    for version in ALL {
        for (topic, reason) in [("a/b/c", TopicTooLarge::Levels), ("12345678901", TopicTooLarge::Bytes)] {
            let mut world = World::new(limits);
            let mut peer = world.connected(version, "c");
            let (packet, farewell) = (publish(version, topic, b""), farewell(version, 0x90));
            assert_ends(&mut world, &mut peer, &packet, EndReason::Topic(reason), &farewell);
        }
    }
}

#[test]
fn a_session_cannot_be_prolonged_at_its_end() {
    let raise = [0xe0, 7, 0, 5, 0x11, 0, 0, 0, 1];
    let mut world = World::new(Limits::DEFAULT);
    let mut peer = world.connected(V5, "c");
    assert_ends(&mut world, &mut peer, &raise, EndReason::SessionExpiryRaised, &[0xe0, 1, 0x82]);

    let mut peer = world.accept();
    let properties = [Property::SessionExpiryInterval(1)];
    let asked = wisp_wire::Connect { properties: wisp_wire::Properties::from_slice(&properties), ..plain(V5, "d") };
    world.feed(&mut peer, &encoded(|out| asked.encode(V5, out)));
    assert_ends(&mut world, &mut peer, &raise, EndReason::Disconnected(ReasonCode::Success), &[]);
}

#[test]
fn malformed_bytes_are_answered_where_the_standard_has_an_answer() {
    let mut world = World::new(Limits::DEFAULT);
    for version in ALL {
        let mut peer = world.connected(version, "c");
        let outcome = world.feed(&mut peer, &[0xc1, 0]);
        assert!(matches!(outcome.reason(), Some(EndReason::Malformed(_))));
        assert_eq!(outcome.replies, farewell(version, 0x81));
    }
    // A first packet that is no MQTT is not answered, a version that is unknown is.
    let mut peer = world.accept();
    assert_eq!(world.feed(&mut peer, b"GET / HTTP/1.1\r\n\r\n").replies, []);
    let mut future = connect(V5, "c");
    future[8] = 6;
    let mut peer = world.accept();
    let outcome = world.feed(&mut peer, &future);
    assert_eq!(outcome.replies, [0x20, 2, 0, 1]);
    assert!(outcome.end.unwrap().told);
}

#[test]
fn a_second_connect_of_an_unknown_version_ends_the_session_with_a_code_disconnect_may_carry() {
    let mut world = World::new(Limits::DEFAULT);
    let mut peer = world.connected(V5, "c");
    let mut future = connect(V5, "c");
    future[8] = 6;
    let outcome = world.feed(&mut peer, &future);
    assert_eq!(outcome.replies, [0xe0, 1, 0x82]);
}

#[test]
fn wills_that_cannot_be_kept_are_refused() {
    for (qos, retain, code) in [(QoS::AtLeastOnce, false, 0x9b), (QoS::AtMostOnce, true, 0x9a)] {
        let will = wisp_wire::Will {
            topic: wisp_wire::TopicName::new("t").unwrap(),
            payload: b"",
            qos,
            retain,
            properties: wisp_wire::Properties::EMPTY,
        };
        let asked = wisp_wire::Connect { will: Some(will), ..plain(V5, "c") };
        let mut world = World::new(Limits::DEFAULT);
        let mut peer = world.accept();
        let outcome = world.feed(&mut peer, &encoded(|out| asked.encode(V5, out)));
        assert_eq!(outcome.replies, [0x20, 3, 0, code, 0]);
    }
}
