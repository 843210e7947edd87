//! Sessions that outlive their connections: their contents, their lifetime, and their next owner.

use wisp_engine::{EndReason, Limits, SessionsPolicy};
use wisp_wire::{Connect, Properties, Property, ProtocolVersion, ReasonCode, TopicName, Will};

use crate::events::Event;
use crate::packets::{
    DISCONNECT, QOS_0, QOS_1, QOS_2, STAYS, again, message, numbered, puback, pubrel, receive_maximum, subscribe_at,
};
use crate::support::{ALL, V3, V5, World, encoded, plain, publish};

#[test]
fn a_session_keeps_subscriptions_and_messages_above_qos_0() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_2, &["t"], &[]);
    world.feed(&mut receiver, &DISCONNECT);
    world.close(&mut receiver, EndReason::Disconnected(ReasonCode::Success));
    for (id, qos) in [(1, QOS_0), (2, QOS_1), (3, QOS_2)] {
        world.feed(&mut sender, &message(qos, id, "t", &id.to_string()));
    }
    let (mut receiver, present) = world.returns("r", &[STAYS]);
    assert!(present);
    assert_eq!(receiver.heard(), [(1, false, "2".into()), (2, false, "3".into())]);
    world.feed(&mut sender, &publish(V5, "t", b"live"));
    assert_eq!(receiver.payloads(), ["live"]);
}

#[test]
fn a_session_lasts_as_long_as_its_version_specifies() {
    let limits = Limits::DEFAULT.with(|limits| limits.session_expiry_s_max = 50);
    // Clean start, session expiry interval in CONNECT and in DISCONNECT, and the session's lifetime after it.
    let cases = [
        (false, None, None, 0),
        (true, Some(7), None, 7),
        (false, Some(7), None, 7),
        (false, Some(u32::MAX), None, 50),
        (false, Some(7), Some(0), 0),
        (false, Some(7), Some(9), 9),
        (false, Some(7), Some(u32::MAX), 50),
    ];
    for (clean_start, asked, changed, stays_s) in cases {
        let mut world = World::new(limits);
        let properties: Vec<Property<'_>> = asked.map(Property::SessionExpiryInterval).into_iter().collect();
        let properties = wisp_wire::Properties::from_slice(&properties);
        let mut peer = world.accept();
        let asked = Connect { clean_start, properties, ..plain(V5, "c") };
        world.feed(&mut peer, &encoded(|out| asked.encode(V5, out)));
        let mut goodbye = vec![0xe0, 0];
        if let Some(seconds) = changed {
            goodbye = [&[0xe0, 7, 0, 5, 0x11][..], &u32::to_be_bytes(seconds)].concat();
        }
        let reason = world.feed(&mut peer, &goodbye).reason().unwrap();
        world.close(&mut peer, reason);
        if stays_s > 0 {
            world.pass_ms(stays_s * 1000 - 1);
            assert_eq!(world.stats().sessions, 1, "{asked:?} {changed:?}");
            world.pass_ms(1);
        }
        world.assert_empty();
    }
    for (clean_start, stays_s) in [(true, 0), (false, 50)] {
        let mut world = World::new(limits);
        let mut peer = world.accept();
        let asked = Connect { clean_start, ..plain(V3, "c") };
        world.feed(&mut peer, &encoded(|out| asked.encode(V3, out)));
        world.close(&mut peer, EndReason::Closed);
        assert_eq!(world.stats().sessions, u64::from(!clean_start));
        world.pass_ms(stays_s * 1000);
        world.assert_empty();
    }
}

#[test]
fn a_session_is_handed_on_across_versions() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut first = world.receiver("r", QOS_1, &["t"], &[]);
    world.feed(&mut sender, &numbered("t", 1, 2));
    assert_eq!(first.heard().len(), 2);
    world.feed(&mut first, &puback(1));
    // A client of 3.1.1 takes the session over, and gets the unacknowledged messages.
    let mut second = world.accept();
    let taking = Connect { clean_start: false, ..plain(V3, "r") };
    world.feed(&mut second, &encoded(|out| taking.encode(V3, out)));
    assert_eq!(first.events(), [Event::Disconnect(ReasonCode::SessionTakenOver)]);
    world.close(&mut first, EndReason::TakenOver);
    assert_eq!(second.next_event(), Some(Event::ConnAck { present: true }));
    assert_eq!(second.heard(), [(2, true, "2".into())]);
    world.feed(&mut second, &puback(2));
    let (mut third, present) = world.returns("r", &[]);
    assert!(present);
    assert_eq!((second.events(), third.events()), (vec![], vec![]));
}

#[test]
fn a_connection_that_lost_its_session_changes_nothing_in_it() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut witness = world.receiver("w", QOS_1, &["late"], &[]);
    let mut old = world.receiver("r", QOS_1, &["t"], &[]);
    world.feed(&mut sender, &numbered("t", 1, 1));
    let (mut new, _) = world.returns("r", &[STAYS]);
    assert_eq!(new.heard(), [(1, true, "1".into())]);
    for packet in [puback(1), message(QOS_2, 9, "late", "x"), pubrel(9)] {
        assert_eq!(world.feed(&mut old, &packet).reason(), Some(EndReason::TakenOver), "{packet:02x?}");
    }
    world.close(&mut old, EndReason::TakenOver);
    assert_eq!(witness.payloads(), [""; 0]);
    // It is still unacknowledged, and still subscribed.
    world.close(&mut new, EndReason::Closed);
    let (mut new, _) = world.returns("r", &[STAYS]);
    assert_eq!(new.heard(), [(1, true, "1".into())]);
}

#[test]
fn a_smaller_window_holds_for_messages_sent_again() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["t"], &[]);
    world.feed(&mut sender, &numbered("t", 1, 5));
    assert_eq!(receiver.heard().len(), 5);
    world.close(&mut receiver, EndReason::Closed);
    world.feed(&mut sender, &numbered("t", 6, 6));
    let (mut receiver, _) = world.returns("r", &[STAYS, receive_maximum(2)]);
    let duplicate = |id: u16| (id, true, id.to_string());
    assert_eq!(receiver.heard(), [duplicate(1), duplicate(2)]);
    world.feed(&mut receiver, &[puback(2), puback(1)].concat());
    assert_eq!(receiver.heard(), [duplicate(3), duplicate(4)]);
    world.feed(&mut receiver, &puback(3));
    assert_eq!(receiver.heard(), [duplicate(5)]);
    world.feed(&mut receiver, &puback(4));
    assert_eq!(receiver.heard(), [(6, false, "6".into())]);
}

#[test]
fn identifiers_received_at_qos_2_are_known_on_the_next_connection() {
    for takes_over in [false, true] {
        let mut world = World::new(Limits::DEFAULT);
        let mut receiver = world.receiver("r", QOS_2, &["t"], &[]);
        let (mut sender, _) = world.returns("s", &[STAYS]);
        let packet = message(QOS_2, 7, "t", "once");
        world.feed(&mut sender, &packet);
        if !takes_over {
            world.close(&mut sender, EndReason::Closed);
        }
        let (mut sender, present) = world.returns("s", &[STAYS]);
        assert!(present);
        world.feed(&mut sender, &again(packet.clone()));
        assert_eq!(sender.events(), [Event::PubRec(7, ReasonCode::Success)]);
        world.feed(&mut sender, &pubrel(7));
        assert_eq!(sender.events(), [Event::PubComp(7, ReasonCode::Success)]);
        assert_eq!(receiver.payloads(), ["once"]);
        // The identifier is free.
        world.feed(&mut sender, &packet);
        assert_eq!(receiver.payloads(), ["once"]);
    }
}

#[test]
fn a_client_that_is_away_gets_messages_up_to_its_limit_and_holds_no_sender_back() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.queue_messages_max = 3));
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["t"], &[]);
    world.close(&mut receiver, EndReason::Closed);
    let expiring = [Property::MessageExpiryInterval(1)];
    world.feed(&mut sender, &crate::packets::message_with(QOS_1, 1, "t", "short-lived", false, &expiring));
    world.feed(&mut sender, &numbered("t", 2, 3));
    world.pass_ms(2_000);
    // The expired messages leave capacity for one. The ones after it are dropped and counted.
    assert!(!world.feed(&mut sender, &numbered("t", 4, 6)).blocked);
    assert_eq!(world.stats().messages_dropped, 2);
    let (mut receiver, _) = world.returns("r", &[]);
    assert_eq!(receiver.payloads(), ["2", "3", "4"]);
}

#[test]
fn a_sender_does_not_wait_for_a_client_that_went_away_with_a_full_session() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.queue_messages_max = 2));
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["t"], &[]);
    (1..=2).for_each(|number| assert!(!world.feed(&mut sender, &numbered("t", number, number)).blocked));
    assert!(world.feed(&mut sender, &numbered("t", 3, 3)).blocked);
    world.close(&mut receiver, EndReason::Closed);
    assert_eq!(world.worker.paused(), 0, "the sender is not held back any more");
    assert_eq!(sender.events().len(), 3, "its last message is acknowledged");
}

/// A CONNECT with a session that outlives its connection.
fn connect_to_stay(version: ProtocolVersion, id: &str) -> Vec<u8> {
    let properties = [STAYS];
    let connect = Connect { clean_start: false, properties: Properties::from_slice(&properties), ..plain(version, id) };
    encoded(|out| connect.encode(version, out))
}

fn at_most_two_sessions(policy: SessionsPolicy) -> World {
    World::new(Limits::DEFAULT.with(|limits| (limits.sessions_count_max, limits.sessions_policy) = (2, policy)))
}

#[test]
fn sessions_that_are_kept_are_bounded_and_others_are_not_counted() {
    let mut world = at_most_two_sessions(SessionsPolicy::Refuse);
    let mut away = world.receiver("away", QOS_1, &["t"], &[]);
    world.close(&mut away, EndReason::Closed);
    let _here = world.returns("here", &[STAYS]);
    for version in ALL {
        let mut peer = world.accept();
        let outcome = world.feed(&mut peer, &connect_to_stay(version, "third"));
        assert_eq!(outcome.reason(), Some(EndReason::TooManySessions), "{version:?}");
        assert_eq!(outcome.replies[3], if version.is_v5() { 0x97 } else { 3 });
        world.connected(version, "clean");
    }
    assert!(world.returns("away", &[]).1, "a client with a session may return");
    world.connected(V3, "away");
    assert_eq!(world.stats().sessions_kept, 1, "its session ends with the connection now");
    world.returns("third", &[STAYS]);
}

#[test]
fn sessions_give_way_that_hold_nothing_and_then_the_longest_away() {
    for policy in [SessionsPolicy::Evict, SessionsPolicy::Refuse] {
        let mut world = at_most_two_sessions(policy);
        let mut first = world.receiver("first", QOS_1, &["t"], &[]);
        let (mut idle, _) = world.returns("idle", &[STAYS]);
        world.close(&mut first, EndReason::Closed);
        world.pass_ms(10);
        world.close(&mut idle, EndReason::Closed);
        let mut second = world.receiver("second", QOS_1, &["t"], &[]);
        world.pass_ms(1_000);
        world.close(&mut second, EndReason::Closed);
        world.pass_ms(1_000);
        let mut third = world.accept();
        let outcome = world.feed(&mut third, &connect_to_stay(V5, "third"));
        let refused = policy == SessionsPolicy::Refuse;
        assert_eq!(outcome.reason(), refused.then_some(EndReason::TooManySessions));
        let present = |world: &mut World, id: &str| {
            let (mut peer, present) = world.returns(id, &[]);
            world.close(&mut peer, EndReason::Closed);
            present
        };
        assert!(!present(&mut world, "idle"), "it has held nothing");
        assert_eq!(present(&mut world, "first"), refused, "it was away longest");
        assert!(present(&mut world, "second"));
    }
}

#[test]
fn no_session_of_a_connected_client_gives_way() {
    let mut world = at_most_two_sessions(SessionsPolicy::Evict);
    let _clients = [world.returns("first", &[STAYS]), world.returns("second", &[STAYS])];
    for _ in 0..3 {
        let mut peer = world.accept();
        let outcome = world.feed(&mut peer, &connect_to_stay(V5, "third"));
        assert_eq!(outcome.reason(), Some(EndReason::TooManySessions));
        world.pass_ms(1_000);
    }
    assert_eq!(world.stats().sessions_kept, 2);
}

#[test]
fn a_session_that_gives_way_leaves_nothing_and_its_will_is_published() {
    let mut world = at_most_two_sessions(SessionsPolicy::Evict);
    let mut heir = world.connected(V5, "heir");
    world.feed(&mut heir, &subscribe_at(QOS_0, &["will"]));
    heir.take();
    let will_properties = [Property::WillDelayInterval(60)];
    let will = Will {
        topic: TopicName::new("will").unwrap(),
        payload: b"gone",
        qos: QOS_0,
        retain: false,
        properties: Properties::from_slice(&will_properties),
    };
    let properties = [STAYS];
    let connect = Connect { will: Some(will), properties: Properties::from_slice(&properties), ..plain(V5, "first") };
    let mut first = world.accept();
    world.feed(&mut first, &encoded(|out| connect.encode(V5, out)));
    world.feed(&mut first, &subscribe_at(QOS_1, &["t", "$queue/q", "$share/g/t"]));
    world.close(&mut first, EndReason::Closed);
    let mut sender = world.sender();
    world.feed(&mut sender, &numbered("t", 1, 3));
    let (mut second, mut third) = (world.returns("second", &[STAYS]).0, world.returns("third", &[STAYS]).0);
    assert_eq!(heir.payloads(), ["gone"]);
    for peer in [&mut second, &mut third] {
        assert!(world.feed(peer, &[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]).end.is_some());
    }
    world.close(&mut heir, EndReason::Closed);
    world.close(&mut sender, EndReason::Closed);
    world.pass_ms(2_000);
    world.assert_empty();
}

#[test]
fn clean_start_leaves_nothing_of_the_old_session() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut old = world.receiver("r", QOS_1, &["t", "$share/g/t", "$queue/q"], &[]);
    world.feed(&mut sender, &numbered("t", 1, 3));
    world.feed(&mut sender, &numbered("$queue/q", 4, 5));
    old.take();
    let mut new = world.connected(V5, "r");
    world.close(&mut old, EndReason::TakenOver);
    world.feed(&mut sender, &numbered("t", 6, 6));
    assert_eq!(new.events(), []);
    world.feed(&mut new, &subscribe_at(QOS_0, &["$queue/q"]));
    assert_eq!(new.payloads(), ["4", "5"], "the loans of a topic queue are there again");
    world.close(&mut new, EndReason::Closed);
    world.close(&mut sender, EndReason::Closed);
    world.assert_empty();
}
