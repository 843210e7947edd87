//! The doors for policy and store: the packets and replies that wait for them, and the effects of their answers.

use std::sync::{Arc, Mutex, PoisonError};

use wisp_engine::{
    CommitState, ConnectRequest, Decision, EndReason, Limits, Options, PendingDecision, Policy, PublishRequest, Record,
    StallPolicy, Store, Ticket, Verdict,
};
use wisp_wire::{Connect, PacketId, Publish, QoS, ReasonCode, TopicName};

use crate::events::Event;
use crate::support::{V3, V5, World, connect, encoded, plain, publish, subscribe, unsubscribe};

/// A store that decides nothing by itself.
#[derive(Debug, Default)]
struct HeldStore(Mutex<Groups>);

#[derive(Debug, Default)]
struct Groups {
    collecting: Vec<String>,
    /// The records of each group, and its state.
    groups: Vec<(Vec<String>, CommitState)>,
}

impl HeldStore {
    fn with<T>(&self, change: impl FnOnce(&mut Groups) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Decides about every group that has records, and about the others as committed.
    fn decide(&self, state: CommitState) {
        self.with(|groups| {
            for (records, decided) in &mut groups.groups {
                if *decided == CommitState::Pending {
                    *decided = if records.is_empty() { CommitState::Committed } else { state };
                }
            }
        });
    }

    fn committed(&self) -> Vec<String> {
        self.with(|groups| {
            let committed = groups.groups.iter().filter(|(_, state)| *state == CommitState::Committed);
            committed.flat_map(|(records, _)| records.clone()).collect()
        })
    }
}

impl Store for HeldStore {
    fn append(&self, _: usize, record: &Record<'_>) {
        let text = match record {
            Record::Published { packet_id, .. } => format!("published {}", packet_id.get()),
            Record::Released { packet_id, .. } => format!("released {}", packet_id.get()),
            Record::Subscribed { filter, .. } => format!("subscribed {filter}"),
            Record::Unsubscribed { filter, .. } => format!("unsubscribed {filter}"),
            other => panic!("{other:?}"),
        };
        self.with(|groups| groups.collecting.push(text));
    }

    fn commit(&self, _: usize) -> Ticket {
        self.with(|groups| {
            let records = std::mem::take(&mut groups.collecting);
            groups.groups.push((records, CommitState::Pending));
            Ticket(groups.groups.len() as u64 - 1)
        })
    }

    fn state(&self, ticket: Ticket) -> CommitState {
        self.with(|groups| groups.groups[ticket.0 as usize].1)
    }
}

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

fn with_store(policy: Option<Arc<LatePolicy>>) -> (World, Arc<HeldStore>) {
    let store = Arc::<HeldStore>::default();
    let mut options = Options { store: Arc::clone(&store) as _, ..Options::default() };
    if let Some(policy) = policy {
        options.policy = policy;
    }
    (World::with_options(Limits::DEFAULT, options), store)
}

fn publish_at(qos: QoS, id: u16, topic: &str, dup: bool) -> Vec<u8> {
    let packet_id = PacketId::new(id);
    let publish = Publish { qos, packet_id, dup, ..Publish::new(TopicName::new(topic).unwrap(), b"x") };
    encoded(|out| publish.encode(V3, out))
}

/// CONNECT of MQTT 3.1.1 with a session that is kept.
fn connect_kept() -> Vec<u8> {
    encoded(|out| Connect { clean_start: false, ..plain(V3, "known") }.encode(V3, out))
}

#[test]
fn a_reply_waits_for_the_store_and_a_message_does_not() {
    let (mut world, store) = with_store(None);
    let mut receiver = world.connected(V3, "receiver");
    world.feed(&mut receiver, &subscribe(V3, &["t"]));
    assert_eq!(receiver.events(), []);
    store.decide(CommitState::Committed);
    world.pass_ms(1);
    assert!(matches!(receiver.events()[..], [Event::SubAck(_)]));
    let mut sender = world.connected(V3, "sender");
    world.feed(&mut sender, &publish_at(QoS::AtLeastOnce, 7, "t", false));
    world.pass_ms(1_000);
    assert_eq!((sender.events(), receiver.publishes().len()), (vec![], 1));
    store.decide(CommitState::Committed);
    world.pass_ms(1);
    assert_eq!(sender.events(), [Event::PubAck(7, ReasonCode::Success)]);
}

#[test]
fn a_connection_whose_records_are_lost_ends_without_its_replies() {
    for (packet, version) in [(publish_at(QoS::AtLeastOnce, 7, "t", false), V3), (subscribe(V5, &["t"]), V5)] {
        let (mut world, store) = with_store(None);
        let mut peer = world.connected(version, "c");
        world.feed(&mut peer, &packet);
        store.decide(CommitState::Failed);
        world.pass_ms(1);
        let expected =
            if version.is_v5() { vec![Event::Disconnect(ReasonCode::ImplementationSpecificError)] } else { vec![] };
        store.decide(CommitState::Committed);
        world.pass_ms(1);
        assert_eq!((peer.events(), peer.end()), (expected, Some(EndReason::StoreFailed)));
    }
}

#[test]
fn a_packet_repeated_after_a_lost_record_is_recorded_before_its_reply() {
    let exactly_once = |dup| publish_at(QoS::ExactlyOnce, 7, "t", dup);
    let release = vec![0x62, 2, 0, 7];
    let cases = [
        ("published 7", exactly_once(false), exactly_once(true)),
        ("released 7", release.clone(), release),
        ("unsubscribed t", unsubscribe(V3, &["t"]), unsubscribe(V3, &["t"])),
    ];
    for (record, first, second) in cases {
        let (mut world, store) = with_store(None);
        let mut old = world.accept();
        world.feed(&mut old, &connect_kept());
        world.feed(&mut old, &subscribe(V3, &["t"]));
        store.decide(CommitState::Committed);
        world.pass_ms(1);
        world.feed(&mut old, &first);
        store.decide(CommitState::Failed);
        world.pass_ms(1);
        assert_eq!(old.end(), Some(EndReason::StoreFailed), "{record}");
        assert!(!store.committed().iter().any(|committed| committed == record));

        let mut new = world.accept();
        world.feed(&mut new, &connect_kept());
        store.decide(CommitState::Committed);
        world.pass_ms(1);
        new.take();
        world.feed(&mut new, &second);
        assert_eq!(new.events(), [], "{record}");
        store.decide(CommitState::Committed);
        world.pass_ms(1);
        assert_eq!(new.events().len(), 1, "{record} is acknowledged");
        assert!(store.committed().iter().any(|committed| committed == record), "{record} is kept");
    }
}

#[test]
fn replies_that_failed_are_not_followed_by_later_ones() {
    let policy = Arc::<LatePolicy>::default();
    let (mut world, store) = with_store(Some(Arc::clone(&policy)));
    let mut peer = world.connected(V3, "known");
    // The second message waits for the policy, when the reply to the first is held already.
    let packets = ["t", "late"].iter().zip(1..).map(|(topic, id)| publish_at(QoS::AtLeastOnce, id, topic, false));
    world.feed(&mut peer, &packets.collect::<Vec<_>>().concat());
    policy.answer_all(Verdict::Allow);
    world.pass_ms(1);
    store.with(|groups| {
        for (records, state) in &mut groups.groups {
            let is_first = records.iter().any(|record| record == "published 1");
            *state = if is_first { CommitState::Failed } else { CommitState::Committed };
        }
    });
    world.pass_ms(1);
    store.decide(CommitState::Committed);
    world.pass_ms(1);
    assert_eq!((peer.events(), peer.end()), (vec![], Some(EndReason::StoreFailed)));
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
