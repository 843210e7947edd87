//! A store that takes no more: messages to keep wait, and are refused after a time. Acknowledgements behind them are handled meanwhile.

use std::sync::Arc;

use wisp_engine::{EndReason, Limits, Options};
use wisp_wire::{ProtocolVersion, QoS, ReasonCode, SubscriptionOptions};

use crate::crash::store::{MirrorStore, Objects};
use crate::doors::{commit, connect_kept, publish_at, subscriber};
use crate::events::Event;
use crate::support::{Peer, RECV_BYTES, V3, V5, World, publish_retained, subscribe_with};

const STALL_MS: u64 = 100;
const PINGREQ: [u8; 2] = [0xc0, 0];

fn world() -> (World, Arc<MirrorStore>) {
    let store = MirrorStore::new(Objects::default());
    let options = Options { store: Arc::clone(&store) as _, ..Options::default() };
    (World::with_options(Limits::DEFAULT.with(|limits| limits.queue_stall_ms_max = STALL_MS), options), store)
}

fn refused_at(qos: QoS, id: u16) -> Event {
    let code = ReasonCode::QuotaExceeded;
    if qos == QoS::AtLeastOnce { Event::PubAck(id, code) } else { Event::PubRec(id, code) }
}

#[test]
fn messages_that_have_waited_too_long_for_the_store_are_refused() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (mut world, store) = world();
        let _receiver = subscriber(&mut world, &store, QoS::ExactlyOnce);
        store.set_full(true);
        let [mut old, mut new] = [V3, V5].map(|version| world.connected(version, &format!("{version:?}")));
        world.feed(&mut old, &publish_at(V3, qos, 1, "t"));
        world.feed(&mut new, &[publish_at(V5, qos, 1, "t"), publish_at(V5, qos, 2, "t")].concat());
        world.pass_ms(STALL_MS);
        assert_eq!((old.events(), new.events(), world.worker.paused()), (vec![], vec![], 2), "{qos:?}");
        world.pass_ms(1);
        assert_eq!(old.end(), Some(EndReason::PublishRefused(ReasonCode::QuotaExceeded)), "{qos:?}");
        assert_eq!((old.events(), new.events()), (vec![], vec![refused_at(qos, 1), refused_at(qos, 2)]), "{qos:?}");
        // Nobody waits for an acknowledgement.
        world.feed(&mut new, &publish_retained("r", b"x"));
        let stats = world.stats();
        assert_eq!((stats.retained, stats.messages_dropped, stats.store_refusals), (0, 1, 4), "{qos:?}");
        world.feed(&mut new, &publish_at(V5, qos, 3, "u"));
        assert_eq!(new.events().len(), 1, "it is not stored");
        store.set_full(false);
        // The next time begins anew, whether or not a message has come meanwhile.
        world.pass_ms(250);
        store.set_full(true);
        world.feed(&mut new, &publish_at(V5, qos, 4, "t"));
        world.pass_ms(STALL_MS);
        assert_eq!((new.events(), world.worker.paused()), (vec![], 1), "{qos:?}");
        store.set_full(false);
        world.pass_ms(1);
        commit(&mut world, &store);
        assert_eq!(new.events().len(), 1, "{qos:?}");
        assert_eq!(world.stats().store_refusals, 4, "{qos:?}");
    }
}

/// A client with a kept session that has a message at QoS 1 and one at QoS 2, and their identifiers. Its next message waits for the store.
fn receiver_and_sender(version: ProtocolVersion, world: &mut World, store: &MirrorStore) -> (Peer, [u16; 2]) {
    let mut peer = world.accept();
    world.feed(&mut peer, &connect_kept(version, "client"));
    commit(world, store);
    world.feed(&mut peer, &subscribe_with(version, &["t"], SubscriptionOptions::new(QoS::ExactlyOnce), &[]));
    let mut other = world.connected(V5, "other");
    world.feed(&mut other, &publish_at(V5, QoS::AtLeastOnce, 1, "t"));
    world.feed(&mut other, &publish_at(V5, QoS::ExactlyOnce, 2, "t"));
    world.feed(&mut other, &[0x62, 2, 0, 2]);
    (0..3).for_each(|_| commit(world, store));
    let ids: Vec<u16> = peer.publishes().iter().map(|message| message.id).collect();
    store.set_full(true);
    (peer, ids.try_into().unwrap())
}

fn puback(id: u16) -> Vec<u8> {
    vec![0x40, 2, 0, id as u8]
}

fn pubrec(id: u16) -> Vec<u8> {
    vec![0x50, 2, 0, id as u8]
}

#[test]
fn acknowledgements_behind_a_message_that_waits_for_the_store_are_handled() {
    for version in [V3, V5] {
        for is_at_once in [true, false] {
            let (mut world, store) = world();
            let (mut peer, [first, second]) = receiver_and_sender(version, &mut world, &store);
            let message = |id| publish_at(version, QoS::AtLeastOnce, id, "t");
            let packets = [message(7), puback(first), message(8), PINGREQ.to_vec(), pubrec(second), message(9)];
            match is_at_once {
                true => _ = world.feed(&mut peer, &packets.concat()),
                // Also cut in the middle of packets.
                false => packets.concat().chunks(3).for_each(|bytes| {
                    world.feed(&mut peer, bytes);
                    commit(&mut world, &store);
                }),
            }
            commit(&mut world, &store);
            let replies = [Event::PingResp, Event::PubRel(second, ReasonCode::Success)];
            assert_eq!(peer.events(), replies, "{version:?} {is_at_once}");
            world.feed(&mut peer, &[0x70, 2, 0, second as u8]);
            commit(&mut world, &store);
            assert_eq!((world.worker.paused(), world.stats().stored_bytes), (1, 0), "{version:?} {is_at_once}");
            store.set_full(false);
            world.pass_ms(1);
            commit(&mut world, &store);
            let events = peer.events().into_iter().filter(|event| !matches!(event, Event::Message(_)));
            let expected = [7, 8, 9].map(|id| Event::PubAck(id, ReasonCode::Success));
            assert_eq!(events.collect::<Vec<_>>(), expected, "{version:?} {is_at_once}");
        }
    }
}

#[test]
fn packets_of_other_types_wait_behind_a_message_that_waits_for_the_store() {
    let (mut world, store) = world();
    let (mut peer, [first, _]) = receiver_and_sender(V3, &mut world, &store);
    let subscribe = subscribe_with(V3, &["u"], SubscriptionOptions::new(QoS::AtLeastOnce), &[]);
    let appended = store.appended();
    world.feed(&mut peer, &[publish_at(V3, QoS::AtLeastOnce, 7, "t"), subscribe, puback(first)].concat());
    world.feed(&mut peer, &PINGREQ);
    world.hang_up(&peer);
    world.pass_ms(STALL_MS / 2);
    assert_eq!((store.appended(), peer.events(), peer.end()), (appended, vec![], None));
    store.set_full(false);
    (0..3).for_each(|_| commit(&mut world, &store));
    let events = peer.events();
    assert!(
        matches!(events[..], [Event::Message(_), Event::PubAck(7, _), Event::SubAck(_), Event::PingResp]),
        "{events:?}"
    );
    assert_eq!(peer.end(), Some(EndReason::Closed));
}

#[test]
fn a_wrong_acknowledgement_behind_a_message_that_waits_ends_the_connection() {
    let (mut world, store) = world();
    let (mut peer, [first, _]) = receiver_and_sender(V5, &mut world, &store);
    world.feed(&mut peer, &[publish_at(V5, QoS::AtLeastOnce, 7, "t"), pubrec(first)].concat());
    assert_eq!(peer.end(), Some(EndReason::AcknowledgementMismatch));
}

#[test]
fn a_sender_that_waits_for_the_store_is_read_up_to_a_limit() {
    let (mut world, store) = world();
    let (mut peer, _) = receiver_and_sender(V5, &mut world, &store);
    let messages = publish_at(V5, QoS::AtLeastOnce, 7, "t").repeat(RECV_BYTES);
    world.feed(&mut peer, &messages);
    world.pass_ms(STALL_MS / 2);
    let read_bytes = messages.len() - peer.unreceived_bytes();
    assert!((RECV_BYTES..2 * RECV_BYTES).contains(&read_bytes), "{read_bytes} bytes");
    let mut pinging = world.connected(V3, "pinging");
    let stored = publish_at(V3, QoS::AtLeastOnce, 7, "t");
    world.feed(&mut pinging, &[stored, PINGREQ.repeat(1 << 20)].concat());
    assert!(pinging.unreceived_bytes() > 0, "it does not read the answers");
}
