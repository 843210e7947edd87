//! Every state of a session times every packet: the reply, and how the session ends.

use wisp_engine::{EndReason, Limits, OtherProtocol};
use wisp_wire::{Disconnect, Packet, PacketType, Properties, Property, ProtocolVersion, ReasonCode, decode};

use crate::support::{ALL, Peer, V3, V5, V31, World, connect, encoded, one_of_each, plain, publish, publish_with};

/// DISCONNECT with a reason code and a reason string, which only MQTT 5 sends to clients.
fn final_packet(version: ProtocolVersion, reason: EndReason) -> Vec<u8> {
    let Some(code) = reason.code().filter(|_| version.is_v5()) else { return Vec::new() };
    let text = reason.to_string();
    let words = [Property::ReasonString(&text)];
    let final_packet = Disconnect { code, properties: Properties::from_slice(&words) };
    encoded(|out| final_packet.encode(version, out))
}

fn assert_ends(world: &mut World, peer: &mut Peer, bytes: &[u8], reason: EndReason, code: Option<u8>) {
    let outcome = world.feed(peer, bytes);
    let expected = if code.is_some() { final_packet(peer.version(), reason) } else { Vec::new() };
    assert_eq!((outcome.reason(), &outcome.replies), (Some(reason), &expected), "{bytes:02x?}");
    assert_eq!(outcome.end.map(|end| end.has_disconnect_packet), Some(!expected.is_empty()), "{bytes:02x?}");
    assert!(expected.is_empty() || reason.code().map(|code| code as u8) == code, "{bytes:02x?}");
}

#[test]
fn nothing_but_connect_opens_a_session() {
    // Before CONNECT, packets are decoded as MQTT 3.1.1.
    for packet in one_of_each(V3).into_iter().skip(1) {
        let mut world = World::new(Limits::DEFAULT);
        let mut peer = world.accept();
        assert_ends(&mut world, &mut peer, &packet, EndReason::NotConnect, None);
    }
}

#[test]
fn each_version_has_its_connack() {
    for version in ALL {
        let mut world = World::new(Limits::DEFAULT);
        let mut peer = world.accept();
        assert!(world.feed(&mut peer, &connect(version, "c")).end.is_none());
        let expected: &[u8] = match version.is_v5() {
            false => &[0x20, 2, 0, 0],
            // Receive Maximum 1024, Maximum Packet Size 16 MiB, Topic Alias Maximum 64; the rest is there by default.
            true => &[0x20, 14, 0, 0, 11, 0x21, 4, 0, 0x27, 1, 0, 0, 0, 0x22, 0, 64],
        };
        assert_eq!(peer.take(), expected, "{version:?}");
        assert_eq!((peer.version(), peer.client_id()), (version, Some("c".to_owned())));
    }
}

#[test]
fn a_connected_session_answers_or_ends_as_its_version_has_it() {
    for version in ALL {
        for packet in one_of_each(version) {
            let mut world = World::new(Limits::DEFAULT);
            let mut peer = world.connected(version, "c");
            let answered: Option<&[u8]> = match packet[0] >> 4 {
                // Acknowledgements of unknown identifiers: the next step of the exchange. PUBREL has the code 0x92 where
                // the version has codes.
                3 | 4 | 7 => Some(&[]),
                5 if version.is_v5() => Some(&[0x62, 3, 0, 1, 0x92]),
                5 => Some(&[0x62, 2, 0, 1]),
                6 => Some(&[0x70, 2, 0, 1]),
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
                9 => (EndReason::Unexpected(PacketType::SubAck), Some(0x82)),
                11 => (EndReason::Unexpected(PacketType::UnsubAck), Some(0x82)),
                13 => (EndReason::Unexpected(PacketType::PingResp), Some(0x82)),
                14 => (EndReason::Disconnected(ReasonCode::Success), None),
                _ => (EndReason::Unexpected(PacketType::Auth), Some(0x82)),
            };
            assert_ends(&mut world, &mut peer, &packet, reason, code);
        }
    }
}

#[test]
fn an_ended_session_does_nothing() {
    for version in ALL {
        for packet in one_of_each(V3) {
            let mut world = World::new(Limits::DEFAULT);
            let mut peer = world.connected(version, "c");
            world.close(&mut peer, EndReason::Closed);
            world.close(&mut peer, EndReason::Closed);
            assert_ends(&mut world, &mut peer, &packet, EndReason::Closed, None);
            assert_eq!(peer.client_id(), None);
        }
    }
}

#[test]
fn an_illegal_publish_ends_the_connection() {
    let property = |property| publish_with("t", &[property]);
    let cases = [
        (property(Property::TopicAlias(65.try_into().unwrap())), EndReason::TopicAlias, 0x94),
        // An alias instead of the name: above the maximum, and unknown.
        (vec![0x30, 6, 0, 0, 3, 0x23, 0, 65], EndReason::TopicAlias, 0x94),
        (vec![0x30, 6, 0, 0, 3, 0x23, 0, 64], EndReason::TopicMissing, 0x82),
        (vec![0x30, 6, 0, 1, b't', 2, 0x0b, 1], EndReason::SubscriptionIdentifierFromClient, 0x82),
        // QoS 0 has no acknowledgement that could carry the refusal.
        (vec![0x30, 7, 0, 1, b't', 2, 1, 1, 0xff], EndReason::PublishRefused(ReasonCode::PayloadFormatInvalid), 0x99),
    ];
    for (packet, reason, code) in cases {
        let mut world = World::new(Limits::DEFAULT);
        let mut peer = world.connected(V5, "c");
        assert_ends(&mut world, &mut peer, &packet, reason, Some(code));
    }
}

#[test]
fn properties_reach_clients_of_mqtt_5_alone() {
    let mut world = World::new(Limits::DEFAULT);
    let (mut sender, mut old, mut new) = (world.connected(V5, "s"), world.connected(V3, "o"), world.connected(V5, "n"));
    world.feed(&mut old, &crate::support::subscribe(V3, &["t"]));
    world.feed(&mut new, &crate::support::subscribe(V5, &["t"]));
    old.take();
    new.take();
    let properties = [
        Property::UserProperty(("key", "value")),
        Property::ContentType("text"),
        Property::ResponseTopic(wisp_wire::TopicName::new("answers").unwrap()),
    ];
    let packet = publish_with("t", &properties);
    world.feed(&mut sender, &packet);
    assert_eq!(old.take(), publish(V3, "t", b"x"));
    assert_eq!(new.take(), packet);
}

#[test]
fn topics_beyond_the_limits_end_the_connection_at_qos_0() {
    let limits = Limits::DEFAULT.with(|limits| {
        limits.topic_levels_max = 2;
        limits.topic_bytes_max = 10;
    });
    for version in ALL {
        for topic in ["a/b/c", "12345678901"] {
            let mut world = World::new(limits);
            let mut peer = world.connected(version, "c");
            let reason = EndReason::PublishRefused(ReasonCode::TopicNameInvalid);
            assert_ends(&mut world, &mut peer, &publish(version, topic, b""), reason, Some(0x90));
        }
    }
}

#[test]
fn a_session_cannot_be_prolonged_at_its_end() {
    let raise = [0xe0, 7, 0, 5, 0x11, 0, 0, 0, 1];
    let mut world = World::new(Limits::DEFAULT);
    let mut peer = world.connected(V5, "c");
    assert_ends(&mut world, &mut peer, &raise, EndReason::SessionExpiryRaised, Some(0x82));

    let mut peer = world.accept();
    let properties = [Property::SessionExpiryInterval(1)];
    let asked = wisp_wire::Connect { properties: wisp_wire::Properties::from_slice(&properties), ..plain(V5, "d") };
    world.feed(&mut peer, &encoded(|out| asked.encode(V5, out)));
    assert_ends(&mut world, &mut peer, &raise, EndReason::Disconnected(ReasonCode::Success), None);
}

#[test]
fn malformed_bytes_are_answered_where_the_standard_has_an_answer() {
    let mut world = World::new(Limits::DEFAULT);
    for version in ALL {
        let mut peer = world.connected(version, "c");
        let outcome = world.feed(&mut peer, &[0xc1, 0]);
        let reason = outcome.reason().unwrap();
        assert!(matches!(reason, EndReason::Malformed(_)));
        assert_eq!(reason.code(), Some(ReasonCode::MalformedPacket));
        assert_eq!(outcome.replies, final_packet(version, reason));
    }
    // A first packet that is not MQTT gets no answer; an unknown version gets one.
    let mut peer = world.accept();
    let outcome = world.feed(&mut peer, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(
        (outcome.reason(), &outcome.replies[..]),
        (Some(EndReason::OtherProtocol(OtherProtocol::Http)), &[][..])
    );
    let (old, new): (&[u8], &[u8]) = (&[0x20, 2, 0, 1], &[0x20, 3, 0, 0x84, 0]);
    // Bridges set the highest bit of the level.
    for (level, refusal) in [(2, old), (3, old), (6, new), (0x7f, new), (0x83, old), (0x85, new), (255, new)] {
        let mut future = connect(V5, "c");
        future[8] = level;
        let mut peer = world.accept();
        let outcome = world.feed(&mut peer, &future);
        assert_eq!(outcome.replies, refusal, "level {level}");
        assert!(outcome.end.unwrap().has_disconnect_packet);
    }
}

#[test]
fn only_a_malformed_packet_is_called_malformed() {
    use wisp_wire::DecodeError;
    for error in DecodeError::ALL {
        let text = EndReason::Malformed(*error).to_string();
        let code = error.reason_code();
        assert_eq!(text.contains("malformed packet"), code == ReasonCode::MalformedPacket, "{text}");
        assert_eq!(text.contains("protocol error"), code == ReasonCode::ProtocolError, "{text}");
    }
}

#[test]
fn the_flags_of_a_connect_of_mqtt_3_1_are_ignored() {
    let mut world = World::new(Limits::DEFAULT);
    for version in ALL {
        let mut flagged = connect(version, "c");
        flagged[0] |= 0x0b;
        let mut peer = world.accept();
        let outcome = world.feed(&mut peer, &flagged);
        let refused = outcome.reason().map(|reason| matches!(reason, EndReason::Malformed(_)));
        assert_eq!(refused, (version != V31).then_some(true), "{version:?}");
    }
}

#[test]
fn a_second_connect_of_an_unknown_version_ends_the_session_with_a_code_disconnect_may_carry() {
    let mut world = World::new(Limits::DEFAULT);
    let mut peer = world.connected(V5, "c");
    let mut future = connect(V5, "c");
    future[8] = 6;
    let outcome = world.feed(&mut peer, &future);
    assert_eq!(disconnect_code(&outcome.replies), ReasonCode::ProtocolError);
}

fn disconnect_code(replies: &[u8]) -> ReasonCode {
    match decode(replies, V5, 1000).unwrap() {
        Some((Packet::Disconnect(disconnect), len)) if len == replies.len() => disconnect.code,
        other => panic!("{other:?} instead of DISCONNECT"),
    }
}
