//! The doors for policy and store: the packets and replies that wait for them, and the effects of their answers.

use std::sync::{Arc, Mutex};

use wisp_engine::{
    ConnectRequest, Decision, EndReason, Limits, Options, PendingDecision, Policy, PublishRequest, StallPolicy, Verdict,
};
use wisp_wire::{
    Connect, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, ReasonCode, SubscriptionOptions, TopicName,
};

use crate::crash::store::{MirrorStore, Objects};
use crate::events::Event;
use crate::support::{
    Peer, V3, V5, World, connect, encoded, plain, publish, publish_retained, subscribe, subscribe_with, unsubscribe,
};

/// A policy that answers when the test does.
#[derive(Debug, Default)]
struct LatePolicy(Mutex<Vec<(String, Arc<PendingDecision>)>>);

impl LatePolicy {
    fn ask(&self, about: &str) -> Decision {
        let pending = Arc::<PendingDecision>::default();
        self.0.lock().unwrap().push((about.to_owned(), Arc::clone(&pending)));
        Decision::Later(pending)
    }

    /// The requests so far.
    fn questions(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(about, _)| about.clone()).collect()
    }

    fn answer_all(&self, verdict: Verdict) {
        self.0.lock().unwrap().iter().for_each(|(_, pending)| pending.answer(verdict.clone()));
    }
}

impl Policy for LatePolicy {
    fn connect(&self, request: &ConnectRequest<'_>) -> Decision {
        if request.client_id.starts_with("known") { Decision::Allow } else { self.ask(request.client_id) }
    }

    fn publish(&self, request: &PublishRequest<'_>) -> Decision {
        if request.topic == "late" { self.ask(request.topic) } else { Decision::Allow }
    }
}

fn with_store(policy: Option<Arc<LatePolicy>>) -> (World, Arc<MirrorStore>) {
    let store = MirrorStore::new(Objects::default());
    let mut options = Options { store: Arc::clone(&store) as _, ..Options::default() };
    if let Some(policy) = policy {
        options.policy = policy;
    }
    (World::with_options(Limits::DEFAULT, options), store)
}

pub(crate) fn publish_at(version: ProtocolVersion, qos: QoS, id: u16, topic: &str) -> Vec<u8> {
    let packet_id = PacketId::new(id);
    let publish = Publish { qos, packet_id, ..Publish::new(TopicName::new(topic).unwrap(), b"x") };
    encoded(|out| publish.encode(version, out))
}

/// CONNECT with a session that is kept.
pub(crate) fn connect_kept(version: ProtocolVersion, id: &str) -> Vec<u8> {
    let keeps = [Property::SessionExpiryInterval(60)];
    let properties = if version.is_v5() { Properties::from_slice(&keeps) } else { Properties::EMPTY };
    encoded(|out| Connect { clean_start: false, properties, ..plain(version, id) }.encode(version, out))
}

pub(crate) fn commit(world: &mut World, store: &MirrorStore) {
    store.commit_all();
    world.pass_ms(1);
}

/// A client with a kept session and a subscription to `t`, and everything is committed.
pub(crate) fn subscriber(world: &mut World, store: &MirrorStore, qos: QoS) -> Peer {
    let mut peer = world.accept();
    world.feed(&mut peer, &connect_kept(V3, "receiver"));
    world.feed(&mut peer, &subscribe_with(V3, &["t"], SubscriptionOptions::new(qos), &[]));
    commit(world, store);
    // SUBSCRIBE was read after CONNECT was committed.
    commit(world, store);
    assert!(matches!(peer.events()[..], [Event::ConnAck { present: false }, Event::SubAck(_)]));
    peer
}

#[test]
fn a_session_and_its_subscription_are_stored_before_they_are_acknowledged() {
    let (mut world, store) = with_store(None);
    let mut peer = world.accept();
    world.feed(&mut peer, &connect_kept(V5, "c"));
    world.pass_ms(1_000);
    assert_eq!(peer.events(), [], "nothing is committed");
    commit(&mut world, &store);
    assert_eq!(peer.events(), [Event::ConnAck { present: false }]);
    world.feed(&mut peer, &subscribe(V5, &["t"]));
    world.pass_ms(1_000);
    assert_eq!(peer.events(), []);
    commit(&mut world, &store);
    assert!(matches!(peer.events()[..], [Event::SubAck(_)]));
    world.feed(&mut peer, &unsubscribe(V5, &["t"]));
    assert_eq!(peer.events(), []);
    commit(&mut world, &store);
    assert!(matches!(peer.events()[..], [Event::UnsubAck(_)]));
}

#[test]
fn a_message_is_acknowledged_when_it_is_stored_and_delivered_before_unless_it_is_at_qos_2() {
    for (qos, early, code) in [(QoS::AtLeastOnce, 1, ReasonCode::Success), (QoS::ExactlyOnce, 0, ReasonCode::Success)] {
        let (mut world, store) = with_store(None);
        let mut receiver = subscriber(&mut world, &store, qos);
        let mut sender = world.connected(V3, "sender");
        world.feed(&mut sender, &publish_at(V3, qos, 7, "t"));
        world.pass_ms(1_000);
        assert_eq!((sender.events(), receiver.publishes().len()), (vec![], early), "{qos:?}");
        commit(&mut world, &store);
        let acknowledged = if qos == QoS::AtLeastOnce { Event::PubAck(7, code) } else { Event::PubRec(7, code) };
        let messages = receiver.publishes();
        assert_eq!((sender.events(), messages.len()), (vec![acknowledged], 1 - early), "{qos:?}");
        assert!(messages.iter().all(|message| !message.dup));
    }
}

#[test]
fn pubrel_and_pubcomp_wait_for_the_store_also_on_the_next_connection() {
    let (mut world, store) = with_store(None);
    let mut receiver = subscriber(&mut world, &store, QoS::ExactlyOnce);
    let mut sender = world.accept();
    world.feed(&mut sender, &connect_kept(V3, "sender"));
    world.feed(&mut sender, &publish_at(V3, QoS::ExactlyOnce, 7, "t"));
    (0..3).for_each(|_| commit(&mut world, &store));
    assert_eq!(sender.events().len(), 2);
    let id = receiver.publishes()[0].id;
    world.feed(&mut sender, &[0x62, 2, 0, 7]);
    world.feed(&mut receiver, &[0x50, 2, 0, id as u8]);
    world.pass_ms(1_000);
    assert_eq!((sender.events(), receiver.events()), (vec![], vec![]));
    let mut again = world.accept();
    world.feed(&mut again, &connect_kept(V3, "receiver"));
    world.pass_ms(1_000);
    assert_eq!(again.events(), [], "the first connection may have sent PUBREC in vain");
    (0..3).for_each(|_| commit(&mut world, &store));
    assert_eq!(sender.events(), [Event::PubComp(7, ReasonCode::Success)]);
    let expected = [Event::ConnAck { present: true }, Event::PubRel(id, ReasonCode::Success)];
    assert_eq!(again.events(), expected);
}

#[test]
fn nothing_is_stored_for_sessions_that_end_with_their_connection_nor_at_qos_0() {
    let (mut world, store) = with_store(None);
    let mut kept = subscriber(&mut world, &store, QoS::AtLeastOnce);
    let appended = store.appended();
    let mut peer = world.connected(V5, "c");
    world.feed(&mut peer, &subscribe_with(V5, &["u"], SubscriptionOptions::new(QoS::ExactlyOnce), &[]));
    world.feed(&mut peer, &unsubscribe(V5, &["u"]));
    world.feed(&mut peer, &subscribe(V5, &["u"]));
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        world.feed(&mut peer, &publish_at(V5, qos, 1, "u"));
    }
    world.feed(&mut peer, &publish(V5, "t", b"at QoS 0"));
    assert_eq!((store.appended(), kept.publishes().len()), (appended, 1), "{:?}", store.pending_kinds());
    assert_eq!(peer.events().iter().filter(|event| !matches!(event, Event::Message(_))).count(), 5, "no reply waits");
}

#[test]
fn clients_whose_packets_change_nothing_that_is_stored_do_not_wait_for_the_store() {
    let (mut world, store) = with_store(None);
    let mut kept = subscriber(&mut world, &store, QoS::AtLeastOnce);
    let mut sender = world.connected(V3, "sender");
    world.feed(&mut sender, &publish_at(V3, QoS::AtLeastOnce, 1, "t"));
    world.feed(&mut kept, &unsubscribe(V3, &["t"]));
    for version in [V3, V5] {
        let mut other = world.connected(version, "memory only");
        world.feed(&mut other, &subscribe_with(version, &["u"], SubscriptionOptions::new(QoS::AtLeastOnce), &[]));
        world.feed(&mut other, &publish_at(version, QoS::AtLeastOnce, 7, "u"));
        world.feed(&mut other, &[0xc0, 0]);
        let events = other.events();
        assert!(
            matches!(
                events[..],
                [Event::SubAck(_), Event::PubAck(7, ReasonCode::Success), Event::Message(_), Event::PingResp]
            ),
            "{events:?}"
        );
        // A second CONNECT ends the connection, also at once.
        world.feed(&mut other, &connect(version, "memory only"));
        assert_eq!(other.end(), Some(EndReason::SecondConnect));
    }
    assert_eq!((sender.events(), kept.publishes().len()), (vec![], 1));
    assert_eq!(kept.events(), []);
    commit(&mut world, &store);
    assert_eq!(sender.events(), [Event::PubAck(1, ReasonCode::Success)]);
    assert!(matches!(kept.events()[..], [Event::UnsubAck(_)]));
}

#[test]
fn replies_that_wait_for_the_store_hold_all_later_ones_of_their_connection() {
    let (mut world, store) = with_store(None);
    let _kept = subscriber(&mut world, &store, QoS::AtLeastOnce);
    let stored = publish_at(V3, QoS::AtLeastOnce, 1, "t");
    let (passing, ping) = (publish_at(V3, QoS::AtLeastOnce, 2, "u"), [0xc0, 0]);
    let acknowledged = |id| Event::PubAck(id, ReasonCode::Success);
    let mut together = world.connected(V3, "together");
    world.feed(&mut together, &[&stored[..], &passing, &ping].concat());
    let mut apart = world.connected(V3, "apart");
    [&stored[..], &passing, &ping].iter().for_each(|packet| _ = world.feed(&mut apart, packet));
    let mut ended = world.connected(V5, "ended");
    world.feed(&mut ended, &publish_at(V5, QoS::AtLeastOnce, 1, "t"));
    world.close(&mut ended, EndReason::RightsRevoked);
    assert_eq!([&mut together, &mut apart, &mut ended].map(|peer| peer.events().len()), [0; 3]);
    // The last packets are read when the first are committed, and change nothing.
    commit(&mut world, &store);
    for peer in [&mut together, &mut apart] {
        assert_eq!(peer.events(), [acknowledged(1), acknowledged(2), Event::PingResp]);
    }
    assert_eq!(ended.events(), [acknowledged(1), Event::Disconnect(ReasonCode::NotAuthorized)]);
}

#[test]
fn the_removal_of_a_retained_message_is_acknowledged_when_it_is_stored_whoever_has_removed_it() {
    let (mut world, store) = with_store(None);
    let mut first = world.connected(V5, "first");
    world.feed(&mut first, &publish_retained("r", b"x"));
    commit(&mut world, &store);
    // At QoS 0: nothing waits for it.
    world.feed(&mut first, &publish_retained("r", b""));
    let mut second = world.connected(V3, "second");
    let removal = Publish {
        qos: QoS::AtLeastOnce,
        packet_id: PacketId::new(1),
        retain: true,
        ..Publish::new(TopicName::new("r").unwrap(), b"")
    };
    world.feed(&mut second, &encoded(|out| removal.encode(V3, out)));
    world.pass_ms(1_000);
    assert_eq!(second.events(), [], "a crash could bring the message back");
    commit(&mut world, &store);
    assert_eq!(second.events(), [Event::PubAck(1, ReasonCode::Success)]);
}

#[test]
fn a_connection_whose_changes_are_lost_ends_without_its_replies() {
    for version in [V3, V5] {
        let (mut world, store) = with_store(None);
        let mut peer = world.accept();
        world.feed(&mut peer, &connect_kept(version, "c"));
        commit(&mut world, &store);
        assert_eq!(peer.events(), [Event::ConnAck { present: false }]);
        world.feed(&mut peer, &subscribe(version, &["t"]));
        store.fail();
        world.pass_ms(1);
        let expected =
            if version.is_v5() { vec![Event::Disconnect(ReasonCode::ImplementationSpecificError)] } else { vec![] };
        assert_eq!((peer.events(), peer.end()), (expected, Some(EndReason::StoreFailed)));
        let mut other = world.accept();
        world.feed(&mut other, &connect_kept(version, "d"));
        world.pass_ms(1);
        assert_eq!((other.events(), other.end()), (vec![], Some(EndReason::StoreFailed)));
    }
}

#[test]
fn senders_of_stored_messages_wait_while_the_store_is_full_and_others_do_not() {
    let (mut world, store) = with_store(None);
    let mut receiver = subscriber(&mut world, &store, QoS::AtLeastOnce);
    let mut other = world.connected(V3, "other");
    world.feed(&mut other, &subscribe(V3, &["u"]));
    store.set_full(true);
    let mut sender = world.connected(V3, "sender");
    world.feed(&mut sender, &[publish(V3, "t", b"x"), publish(V3, "u", b"x")].concat());
    let packet = publish_at(V3, QoS::AtLeastOnce, 1, "t");
    assert!(world.feed(&mut sender, &[packet.clone(), packet].concat()).blocked);
    assert_eq!((receiver.publishes().len(), other.publishes().len()), (1, 1), "only the ones at QoS 0");
    let mut retaining = world.connected(V5, "retaining");
    assert!(world.feed(&mut retaining, &publish_retained("r", b"x")).blocked);
    store.set_full(false);
    world.pass_ms(1);
    assert_eq!((receiver.publishes().len(), world.worker.paused()), (2, 1), "the sender waits for the store's commit");
    commit(&mut world, &store);
    assert_eq!((sender.events().len(), world.worker.paused(), world.stats().retained), (2, 0, 1));
}

fn with_policy(limits: Limits) -> (World, Arc<LatePolicy>) {
    let policy = Arc::<LatePolicy>::default();
    let options = Options { policy: Arc::clone(&policy) as _, ..Options::default() };
    (World::with_options(limits, options), policy)
}

#[test]
fn the_policy_is_asked_about_the_client_identifier_that_is_assigned() {
    let (mut world, policy) = with_policy(Limits::DEFAULT);
    let mut peer = world.accept();
    world.feed(&mut peer, &connect(V5, ""));
    assert_eq!(peer.client_id(), None);
    policy.answer_all(Verdict::Allow);
    world.pass_ms(1);
    assert_eq!(policy.questions(), [peer.client_id().unwrap()]);
}

#[test]
fn a_client_without_an_answer_of_the_policy_is_disconnected_in_time() {
    for (waited_ms, end) in [(1_000, None), (1_001, Some(EndReason::PolicyTimeout))] {
        let (mut world, _policy) = with_policy(Limits::DEFAULT.with(|limits| limits.connect_timeout_ms = 1_000));
        let mut connecting = world.accept();
        world.feed(&mut connecting, &connect(V3, "unknown"));
        let mut sending = world.connected(V3, "known");
        world.feed(&mut sending, &publish(V3, "late", b"x"));
        world.pass_ms(waited_ms);
        assert_eq!((connecting.end(), sending.end()), (end, end), "after {waited_ms} ms");
    }
}

#[test]
fn the_policy_is_asked_once_about_a_message_that_then_waits_for_a_full_receiver() {
    let limits = Limits::DEFAULT.with(|limits| {
        limits.queue_messages_max = 2;
        limits.stall_policy = StallPolicy::Disconnect;
    });
    let (mut world, policy) = with_policy(limits);
    let mut receiver = world.connected(V3, "known receiver");
    world.feed(&mut receiver, &subscribe(V3, &["#"]));
    receiver.read();
    let mut sender = world.connected(V3, "known sender");
    world.feed(&mut sender, &[publish(V3, "t", b"1"), publish(V3, "t", b"2"), publish(V3, "late", b"3")].concat());
    policy.answer_all(Verdict::Allow);
    world.pass_ms(100);
    assert_eq!(world.worker.paused(), 1, "the receiver is full");
    receiver.read();
    world.pass_ms(1);
    assert_eq!((world.worker.paused(), policy.questions()), (0, vec!["late".to_owned()]));
    assert_eq!(receiver.messages().len(), 3);
}
