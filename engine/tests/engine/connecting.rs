//! CONNECT: identifiers, keep-alive, CONNACK properties, takeover.

use wisp_engine::{ConnectionId, EndReason, Limits};
use wisp_wire::{Connect, Packet, Properties, Property, ProtocolVersion, ReasonCode, decode};

use crate::support::{ALL, Outcome, Peer, V3, V5, V31, World, connect, encoded, plain, publish, subscribe};

/// Connects, and includes the CONNACK in the replies.
fn ask(world: &mut World, connect: &Connect<'_>) -> (Peer, Outcome) {
    let mut peer = world.accept();
    let mut outcome = world.feed(&mut peer, &encoded(|out| connect.encode(connect.version, out)));
    outcome.replies = peer.take();
    (peer, outcome)
}

fn announced(outcome: &Outcome, wanted: impl Fn(&Property<'_>) -> bool) -> bool {
    match decode(&outcome.replies, V5, 1 << 20).unwrap().unwrap().0 {
        Packet::ConnAck(acknowledgement) => acknowledgement.properties.iter().any(|property| wanted(&property)),
        other => panic!("{other:?} instead of CONNACK"),
    }
}

#[test]
fn an_empty_identifier_is_refused_or_replaced_as_the_version_has_it() {
    // Version, clean session or start, and the return code if it is refused.
    let cases = [(V31, true, Some(2)), (V31, false, Some(2)), (V3, false, Some(2)), (V3, true, None)];
    for (version, clean_start, refused) in cases {
        let mut world = World::new(Limits::DEFAULT);
        // The codec would not write it.
        let mut packet = encoded(|out| Connect { clean_start, ..plain(version, "x") }.encode(version, out));
        let last = packet.len() - 2;
        packet[last] = 0;
        packet[1] -= 1;
        packet.pop();
        let mut peer = world.accept();
        let outcome = world.feed(&mut peer, &packet);
        assert_eq!(outcome.end.is_some(), refused.is_some());
        assert_eq!(peer.take(), [0x20, 2, 0, refused.unwrap_or(0)], "{version:?} {clean_start}");
        assert_eq!(peer.client_id().is_some(), refused.is_none());
    }
    let mut world = World::new(Limits::DEFAULT);
    let (first, outcome) = ask(&mut world, &plain(V5, ""));
    let id = first.client_id().unwrap();
    assert!(announced(&outcome, |property| *property == Property::AssignedClientIdentifier(&id)));
    let (second, _) = ask(&mut world, &plain(V5, ""));
    assert_ne!(second.client_id(), Some(id));
}

#[test]
fn identifiers_beyond_the_limit_are_refused() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.client_id_bytes_max = 23));
    let (just, long) = ("x".repeat(23), "x".repeat(24));
    for version in ALL {
        assert!(ask(&mut world, &plain(version, &just)).1.end.is_none());
        let (_, outcome) = ask(&mut world, &plain(version, &long));
        assert_eq!(outcome.reason(), Some(EndReason::ConnectRefused(ReasonCode::ClientIdentifierNotValid)));
        assert_eq!(outcome.replies[3], if version.is_v5() { 0x85 } else { 2 });
    }
}

/// The end of a client with this keep-alive that is silent for `silence_ms` after its CONNECT.
fn end_after(limits: Limits, version: ProtocolVersion, keep_alive_s: u16, silence_ms: u64) -> Option<EndReason> {
    let mut world = World::new(limits);
    world.now_ms = 5_000;
    let (peer, _) = ask(&mut world, &Connect { keep_alive_s, ..plain(version, "c") });
    world.pass_ms(silence_ms);
    peer.end()
}

#[test]
fn silence_is_tolerated_for_one_and_a_half_times_the_keep_alive() {
    for version in ALL {
        assert_eq!(end_after(Limits::DEFAULT, version, 2, 3_000), None);
        assert_eq!(end_after(Limits::DEFAULT, version, 2, 3_001), Some(EndReason::KeepAliveTimeout));
        for (silence_ms, end) in [(3_000, None), (3_001, Some(EndReason::KeepAliveTimeout))] {
            let mut world = World::new(Limits::DEFAULT);
            let (mut peer, _) = ask(&mut world, &Connect { keep_alive_s: 2, ..plain(version, "c") });
            world.pass_ms(3_000);
            world.feed(&mut peer, &[0xc0, 0]);
            world.pass_ms(silence_ms);
            assert_eq!(peer.end(), end);
        }
    }
}

#[test]
fn no_keep_alive_means_any_silence() {
    assert_eq!(end_after(Limits::DEFAULT, V3, 0, 1 << 50), None);
}

#[test]
fn the_operators_keep_alive_binds_clients_of_mqtt_5() {
    let limits = Limits::DEFAULT.with(|limits| limits.keep_alive_s_max = 10);
    for (wish, granted) in [(0, Some(10)), (20, Some(10)), (10, None), (5, None)] {
        let mut world = World::new(limits);
        let (_, outcome) = ask(&mut world, &Connect { keep_alive_s: wish, ..plain(V5, "c") });
        let is_announced = announced(&outcome, |property| matches!(property, Property::ServerKeepAlive(_)));
        assert_eq!(is_announced, granted.is_some(), "{wish}");
        assert!(granted.is_none_or(|s| announced(&outcome, |property| *property == Property::ServerKeepAlive(s))));
        let silence_ms = u64::from(granted.unwrap_or(wish)) * 1_500;
        assert_eq!(end_after(limits, V5, wish, silence_ms), None);
        assert_eq!(end_after(limits, V5, wish, silence_ms + 1), Some(EndReason::KeepAliveTimeout));
    }
    assert_eq!(end_after(limits, V3, 20, 30_000), None, "earlier versions keep their own keep-alive");
}

#[test]
fn connect_must_arrive_in_time() {
    for (wait_ms, end) in [(999, None), (1_000, Some(EndReason::ConnectTimeout))] {
        let mut world = World::new(Limits::DEFAULT.with(|limits| limits.connect_timeout_ms = 1_000));
        let peer = world.accept();
        world.pass_ms(wait_ms);
        assert_eq!(peer.end(), end);
    }
}

#[test]
fn a_longer_session_expiry_than_allowed_is_lowered_in_connack() {
    for (wish, granted) in [(59, None), (60, None), (61, Some(60)), (u32::MAX, Some(60))] {
        let mut world = World::new(Limits::DEFAULT.with(|limits| limits.session_expiry_s_max = 60));
        let wished = [Property::SessionExpiryInterval(wish)];
        let (_, outcome) = ask(&mut world, &Connect { properties: Properties::from_slice(&wished), ..plain(V5, "c") });
        let is_announced = announced(&outcome, |property| matches!(property, Property::SessionExpiryInterval(_)));
        assert_eq!(is_announced, granted.is_some(), "{wish}");
        assert!(
            granted.is_none_or(|s| announced(&outcome, |property| *property == Property::SessionExpiryInterval(s)))
        );
    }
}

#[test]
fn authentication_that_is_not_offered_is_refused() {
    let mut world = World::new(Limits::DEFAULT);
    let properties = [Property::AuthenticationMethod("any")];
    let (_, outcome) = ask(&mut world, &Connect { properties: Properties::from_slice(&properties), ..plain(V5, "c") });
    assert_eq!(outcome.reason(), Some(EndReason::ConnectRefused(ReasonCode::BadAuthenticationMethod)));
    assert_eq!(outcome.replies, [0x20, 3, 0, 0x8c, 0]);
}

fn suback(version: ProtocolVersion) -> &'static [u8] {
    if version.is_v5() { &[0x90, 4, 0, 1, 0, 0] } else { &[0x90, 3, 0, 1, 0] }
}

fn id_of(peer: &Peer) -> ConnectionId {
    peer.id()
}

#[test]
fn the_newest_connection_has_the_identifier_and_closing_the_old_one_changes_nothing() {
    let versions: [(ProtocolVersion, ProtocolVersion); 3] = [(V3, V3), (V3, V5), (V5, V31)];
    for (old_version, new_version) in versions {
        let mut world = World::new(Limits::DEFAULT);
        let mut old = world.connected(old_version, "c");
        world.feed(&mut old, &subscribe(old_version, &["t"]));
        let mut new = world.accept();
        let outcome = world.feed(&mut new, &connect(new_version, "c"));
        assert_eq!(outcome.taken_over, Some(id_of(&old)));
        let final_packet: &[u8] = if old_version.is_v5() { &[0xe0, 1, 0x8e] } else { &[] };
        assert_eq!(old.take(), [suback(old_version), final_packet].concat());
        world.close(&mut old, EndReason::TakenOver);

        new.take();
        world.feed(&mut new, &publish(new_version, "t", b"x"));
        assert_eq!((old.take(), new.take()), (vec![], vec![]), "the old session's subscriptions are gone");
        let mut third = world.accept();
        assert_eq!(world.feed(&mut third, &connect(V3, "c")).taken_over, Some(id_of(&new)));
        world.close(&mut new, EndReason::TakenOver);
        world.close(&mut third, EndReason::Closed);
        let mut fourth = world.accept();
        assert_eq!(
            world.feed(&mut fourth, &connect(V3, "c")).taken_over,
            None,
            "the last connection has given the session up"
        );
    }
}
