//! The rights that a policy gives clients: at PUBLISH, for wills, at delivery, and after a change.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use wisp_engine::{ConnectRequest, Decision, EndReason, Limits, Options, Policy, Rights};
use wisp_wire::{Connect, Properties, Property, ReasonCode};

use crate::events::Event;
use crate::packets::{DISCONNECT, QOS_0, QOS_1, QOS_2, STAYS, message, message_with, puback, subscribe_at};
use crate::support::{Peer, V3, V5, World, encoded, plain, publish, unsubscribe};

/// The rights of users: `USER may read TOPIC`, or write.
#[derive(Debug, Default)]
struct Table {
    rights: Mutex<BTreeSet<(String, Use, String)>>,
    gone: Mutex<BTreeSet<String>>,
    version: AtomicU64,
    asked: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Read,
    Write,
}

#[derive(Debug)]
struct UserRights(String, Arc<Table>);

/// The policy: a client has the rights of its user.
#[derive(Debug)]
struct ByUser(Arc<Table>);

impl Table {
    fn give(&self, user: &str, use_: Use, topics: &[&str]) {
        let rights = topics.iter().map(|topic| (user.to_owned(), use_, (*topic).to_owned()));
        self.rights.lock().unwrap().extend(rights);
    }

    fn take(&self, user: &str, use_: Use, topic: &str) {
        self.rights.lock().unwrap().remove(&(user.to_owned(), use_, topic.to_owned()));
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    fn dismiss(&self, user: &str) {
        self.gone.lock().unwrap().insert(user.to_owned());
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    fn has(&self, user: &str, use_: Use, topic: &str) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.rights.lock().unwrap().contains(&(user.to_owned(), use_, topic.to_owned()))
    }
}

impl Rights for UserRights {
    fn restricts_messages(&self) -> bool {
        true
    }

    fn may_publish(&self, topic: &str) -> bool {
        self.1.has(&self.0, Use::Write, topic)
    }

    fn may_receive(&self, topic: &str) -> bool {
        self.1.has(&self.0, Use::Read, topic)
    }

    fn may_stay(&self) -> bool {
        !self.1.gone.lock().unwrap().contains(&self.0)
    }

    fn user(&self) -> Option<&str> {
        Some(&self.0)
    }
}

impl Policy for ByUser {
    fn connect(&self, request: &ConnectRequest<'_>) -> Decision {
        let user = request.username.unwrap_or("nobody").to_owned();
        Decision::AllowAs(Arc::new(UserRights(user, Arc::clone(&self.0))))
    }

    fn restricts_messages(&self) -> bool {
        false
    }

    fn grants_rights(&self) -> bool {
        true
    }

    fn version(&self) -> u64 {
        self.0.version.load(Ordering::Relaxed)
    }
}

/// A broker in which the publisher may write to all topics of the tests.
fn world() -> (World, Arc<Table>) {
    let table = Arc::<Table>::default();
    table.give("publisher", Use::Write, &["a", "b", "c", "$queue/jobs", "$queue/other"]);
    let options = Options { policy: Arc::new(ByUser(Arc::clone(&table))), ..Options::default() };
    (World::with_options(Limits::DEFAULT, options), table)
}

/// A client of `user` whose session is kept.
fn client(world: &mut World, id: &str, user: &str) -> Peer {
    let properties = [STAYS];
    let connect = Connect {
        username: Some(user),
        clean_start: false,
        properties: Properties::from_slice(&properties),
        ..plain(V5, id)
    };
    let mut peer = world.accept();
    let outcome = world.feed(&mut peer, &encoded(|out| connect.encode(V5, out)));
    assert!(outcome.end.is_none(), "{outcome:?}");
    peer.skip_connack();
    peer
}

fn subscriber(world: &mut World, id: &str, user: &str, filters: &[&str]) -> Peer {
    let mut peer = client(world, id, user);
    world.feed(&mut peer, &subscribe_at(QOS_1, filters));
    assert!(matches!(peer.next_event(), Some(Event::SubAck(_))), "SUBSCRIBE is granted");
    peer
}

fn send(world: &mut World, sender: &mut Peer, topics: &[&str]) {
    for topic in topics {
        world.feed(sender, &message(QOS_0, 0, topic, topic));
        world.feed(sender, &message(QOS_1, 1, topic, &format!("{topic}1")));
    }
}

#[test]
fn a_publish_without_the_right_is_acknowledged_with_the_code_and_dropped() {
    let (mut world, table) = world();
    table.give("joe", Use::Write, &["a"]);
    table.give("reader", Use::Read, &["a", "b"]);
    let mut reader = subscriber(&mut world, "reader", "reader", &["#"]);
    let mut joe = client(&mut world, "joe", "joe");
    for (qos, topic, expected) in [
        (QOS_0, "b", None),
        (QOS_1, "b", Some(Event::PubAck(7, ReasonCode::NotAuthorized))),
        (QOS_2, "b", Some(Event::PubRec(7, ReasonCode::NotAuthorized))),
        (QOS_1, "a", Some(Event::PubAck(7, ReasonCode::Success))),
    ] {
        world.feed(&mut joe, &message(qos, 7, topic, topic));
        assert_eq!(joe.next_event(), expected, "{qos:?}");
    }
    world.feed(&mut joe, &message_with(QOS_1, 9, "b", "kept", true, &[]));
    assert_eq!((reader.payloads(), world.stats().retained), (vec!["a".to_owned()], 0));
    assert_eq!((world.stats().publishes_denied, joe.end()), (4, None));
}

#[test]
fn before_mqtt_5_a_denied_message_is_acknowledged_as_if_it_were_taken() {
    let (mut world, _table) = world();
    let mut joe = world.connected(V3, "joe");
    world.feed(&mut joe, &publish(V3, "b", b"0"));
    let mut packet = vec![0x34, 6, 0, 1, b'b', 0, 7, b'2'];
    world.feed(&mut joe, &packet);
    assert!(matches!(joe.next_event(), Some(Event::PubRec(7, _))));
    packet = vec![0x62, 2, 0, 7];
    world.feed(&mut joe, &packet);
    assert!(matches!(joe.next_event(), Some(Event::PubComp(7, _))));
    assert_eq!((world.stats().publishes_denied, joe.end()), (2, None));
}

#[test]
fn a_right_is_asked_once_for_a_topic() {
    let (mut world, table) = world();
    table.give("reader", Use::Read, &["a"]);
    let mut reader = subscriber(&mut world, "reader", "reader", &["a"]);
    let mut sender = client(&mut world, "publisher", "publisher");
    for _ in 0..100 {
        send(&mut world, &mut sender, &["a"]);
        for id in reader.publishes().iter().map(|message| message.id).filter(|id| *id > 0) {
            world.feed(&mut reader, &puback(id));
        }
    }
    assert!(table.asked.load(Ordering::Relaxed) <= 4, "{:?}", table.asked);
}

#[test]
fn a_subscription_delivers_only_the_topics_that_its_client_may_read() {
    let (mut world, table) = world();
    table.give("joe", Use::Read, &["a", "c"]);
    let mut joe = subscriber(&mut world, "joe", "joe", &["#"]);
    let mut sender = client(&mut world, "publisher", "publisher");
    send(&mut world, &mut sender, &["a", "b", "c"]);
    assert_eq!(joe.payloads(), ["a", "a1", "c", "c1"]);
    assert_eq!(world.stats().deliveries_denied, 2);
}

#[test]
fn retained_messages_are_replayed_as_far_as_the_client_may_read_them() {
    let (mut world, table) = world();
    table.give("joe", Use::Read, &["b"]);
    let mut sender = client(&mut world, "publisher", "publisher");
    for (qos, topic) in [(QOS_1, "a"), (QOS_0, "b"), (QOS_1, "c")] {
        world.feed(&mut sender, &message_with(qos, 1, topic, topic, true, &[]));
    }
    let mut joe = client(&mut world, "joe", "joe");
    world.feed(&mut joe, &subscribe_at(QOS_1, &["#"]));
    world.pass_ms(10);
    assert_eq!((joe.payloads(), world.stats().deliveries_denied), (vec!["b".to_owned()], 2));
}

#[test]
fn a_will_that_its_client_may_not_publish_is_dropped_when_it_is_due() {
    for (topic, delivered) in [("a", true), ("b", false)] {
        let (mut world, table) = world();
        table.give("joe", Use::Write, &["a"]);
        table.give("reader", Use::Read, &["a", "b"]);
        let mut reader = subscriber(&mut world, "reader", "reader", &["#"]);
        let will = wisp_wire::Will {
            topic: wisp_wire::TopicName::new(topic).unwrap(),
            payload: b"gone",
            qos: QOS_1,
            retain: true,
            properties: Properties::EMPTY,
        };
        let connect = Connect { username: Some("joe"), will: Some(will), ..plain(V5, "joe") };
        let mut joe = world.accept();
        world.feed(&mut joe, &encoded(|out| connect.encode(V5, out)));
        assert!(matches!(joe.next_event(), Some(Event::ConnAck { .. })), "CONNECT is accepted");
        world.close(&mut joe, EndReason::TransportFailed);
        world.pass_ms(10);
        assert_eq!(reader.payloads().len(), usize::from(delivered));
        assert_eq!((world.stats().retained, world.stats().publishes_denied), (delivered.into(), (!delivered).into()));
    }
}

#[test]
fn a_group_passes_over_a_member_that_may_not_read_a_topic() {
    let (mut world, table) = world();
    table.give("one", Use::Read, &["a"]);
    table.give("two", Use::Read, &["a", "b"]);
    let group = ["$share/g/#"];
    let (mut one, mut two) =
        (subscriber(&mut world, "one", "one", &group), subscriber(&mut world, "two", "two", &group));
    let mut sender = client(&mut world, "publisher", "publisher");
    for number in 1..=6 {
        world.feed(&mut sender, &message(QOS_1, number, "b", &number.to_string()));
    }
    // Nobody may read it.
    world.feed(&mut sender, &message(QOS_1, 7, "c", "7"));
    assert_eq!((one.payloads(), two.payloads().len()), (vec![], 6));
    assert_eq!((world.stats().deliveries_denied, world.stats().messages_dropped), (1, 0));
}

#[test]
fn messages_that_a_member_passes_over_wait_for_others_and_hold_nothing_up() {
    let (mut world, table) = world();
    table.give("one", Use::Read, &["a"]);
    table.give("two", Use::Read, &["b"]);
    let group = ["$share/g/#"];
    let (mut one, two) = (subscriber(&mut world, "one", "one", &group), subscriber(&mut world, "two", "two", &group));
    let mut sender = client(&mut world, "publisher", "publisher");
    world.hang_up(&two);
    for (number, topic) in ["b", "a", "b", "a", "b"].iter().enumerate() {
        world.feed(&mut sender, &message(QOS_1, number as u16 + 1, topic, &number.to_string()));
    }
    assert_eq!(one.payloads(), ["1", "3"]);
    let mut two = client(&mut world, "two", "two");
    world.pass_ms(10);
    assert_eq!(two.payloads(), ["0", "2", "4"], "in their order");
}

#[test]
fn a_topic_queue_is_subject_to_the_right_to_it() {
    let (mut world, table) = world();
    table.give("worker", Use::Read, &["$queue/jobs"]);
    table.give("thief", Use::Read, &["a", "b"]);
    let mut thief = subscriber(&mut world, "thief", "thief", &["$queue/jobs"]);
    let mut sender = client(&mut world, "publisher", "publisher");
    world.feed(&mut sender, &message(QOS_1, 1, "$queue/jobs", "1"));
    let mut worker = subscriber(&mut world, "worker", "worker", &["$queue/jobs"]);
    world.feed(&mut sender, &message(QOS_1, 2, "$queue/jobs", "2"));
    assert_eq!((thief.payloads(), worker.payloads()), (vec![], vec!["1".to_owned(), "2".to_owned()]));
    world.feed(&mut thief, &message(QOS_1, 3, "$queue/jobs", "3"));
    assert_eq!(thief.next_event(), Some(Event::PubAck(3, ReasonCode::NotAuthorized)));
}

#[test]
fn a_session_has_the_rights_of_the_user_that_takes_it() {
    let (mut world, table) = world();
    table.give("joe", Use::Read, &["a", "b"]);
    table.give("ann", Use::Read, &["b", "c"]);
    let mut joe = subscriber(&mut world, "own", "joe", &["#"]);
    let mut sender = client(&mut world, "publisher", "publisher");
    // Sent to joe and not acknowledged.
    send(&mut world, &mut sender, &["a", "b"]);
    assert_eq!(joe.payloads(), ["a", "a1", "b", "b1"]);
    let mut ann = client(&mut world, "own", "ann");
    assert_eq!(joe.end(), Some(EndReason::TakenOver));
    assert_eq!(ann.payloads(), ["b1"], "sent again, without the one that is joe's");
    send(&mut world, &mut sender, &["a", "c"]);
    assert_eq!(ann.payloads(), ["c", "c1"]);
    world.hang_up(&ann);
    // Stored with ann's rights, and delivered with joe's.
    send(&mut world, &mut sender, &["a", "b", "c"]);
    let mut joe = client(&mut world, "own", "joe");
    assert_eq!(joe.payloads(), ["b1", "b1"]);
}

#[test]
fn rights_that_are_taken_stop_at_once_and_the_connection_stays() {
    let (mut world, table) = world();
    table.give("joe", Use::Read, &["a", "b"]);
    table.give("joe", Use::Write, &["c"]);
    table.give("group", Use::Read, &["b"]);
    let mut joe = client(&mut world, "joe", "joe");
    world.feed(&mut joe, &subscribe_at(QOS_1, &["#"]));
    joe.take();
    let mut member = subscriber(&mut world, "member", "group", &["$share/g/b"]);
    let mut sender = client(&mut world, "publisher", "publisher");
    send(&mut world, &mut sender, &["a", "b"]);
    assert_eq!(joe.payloads(), ["a", "a1", "b", "b1"]);
    assert_eq!(member.payloads(), ["b", "b1"]);
    world.feed(&mut joe, &message(QOS_1, 1, "c", "x"));
    assert!(!matches!(joe.next_event(), Some(Event::PubAck(1, ReasonCode::NotAuthorized))));
    table.take("joe", Use::Read, "a");
    table.take("joe", Use::Write, "c");
    table.take("group", Use::Read, "b");
    world.pass_ms(300);
    send(&mut world, &mut sender, &["a", "b"]);
    assert_eq!((joe.payloads(), member.payloads()), (vec!["b".to_owned(), "b1".to_owned()], vec![]));
    world.feed(&mut joe, &message(QOS_1, 2, "c", "x"));
    assert_eq!((joe.next_event(), joe.end()), (Some(Event::PubAck(2, ReasonCode::NotAuthorized)), None));
}

#[test]
fn messages_that_wait_are_not_delivered_after_the_right_to_them_is_taken() {
    for is_away in [false, true] {
        let (mut world, table) = world();
        table.give("joe", Use::Read, &["a", "b"]);
        let properties = [STAYS, Property::ReceiveMaximum(1.try_into().unwrap())];
        let properties = Properties::from_slice(&properties);
        let connect = || Connect { username: Some("joe"), clean_start: false, properties, ..plain(V5, "joe") };
        let mut joe = world.accept();
        world.feed(&mut joe, &encoded(|out| connect().encode(V5, out)));
        world.feed(&mut joe, &subscribe_at(QOS_1, &["#"]));
        joe.take();
        let mut sender = client(&mut world, "publisher", "publisher");
        if is_away {
            world.hang_up(&joe);
        }
        for (id, topic) in [(1, "b"), (2, "a"), (3, "b")] {
            world.feed(&mut sender, &message(QOS_1, id, topic, &id.to_string()));
        }
        table.take("joe", Use::Read, "a");
        world.pass_ms(300);
        if is_away {
            joe = world.accept();
            world.feed(&mut joe, &encoded(|out| connect().encode(V5, out)));
            joe.skip_connack();
        }
        let mut heard = Vec::new();
        while let [(id, _, payload)] = &joe.heard()[..] {
            heard.push(payload.clone());
            let id = *id;
            world.feed(&mut joe, &puback(id));
        }
        assert_eq!(heard, ["1", "3"], "away: {is_away}");
    }
}

#[test]
fn a_client_that_may_not_stay_is_told_and_its_will_is_published() {
    let (mut world, table) = world();
    table.give("joe", Use::Write, &["a"]);
    table.give("reader", Use::Read, &["a"]);
    let mut reader = subscriber(&mut world, "reader", "reader", &["a"]);
    let will = wisp_wire::Will {
        topic: wisp_wire::TopicName::new("a").unwrap(),
        payload: b"gone",
        qos: QOS_0,
        retain: false,
        properties: Properties::EMPTY,
    };
    let connect = Connect { username: Some("joe"), will: Some(will), ..plain(V5, "joe") };
    let mut joe = world.accept();
    world.feed(&mut joe, &encoded(|out| connect.encode(V5, out)));
    joe.take();
    table.dismiss("joe");
    world.pass_ms(300);
    assert_eq!(joe.events(), [Event::Disconnect(ReasonCode::NotAuthorized)]);
    assert_eq!((joe.end(), reader.payloads()), (Some(EndReason::RightsRevoked), vec!["gone".to_owned()]));
    // A user that is gone is not let in either, whatever the policy answered before.
    let mut joe = world.accept();
    let outcome = world.feed(&mut joe, &encoded(|out| Connect { will: None, ..connect }.encode(V5, out)));
    assert_eq!(outcome.reason(), Some(EndReason::ConnectRefused(ReasonCode::NotAuthorized)));
    assert_eq!(world.stats().connects_denied, 1);
}

#[test]
fn a_group_whose_only_reader_leaves_takes_no_more_messages_of_the_topic() {
    let (mut world, table) = world();
    table.give("two", Use::Read, &["b"]);
    let group = ["$share/g/b"];
    let (_one, mut two) = (subscriber(&mut world, "one", "one", &group), subscriber(&mut world, "two", "two", &group));
    let mut sender = client(&mut world, "publisher", "publisher");
    world.feed(&mut sender, &message(QOS_1, 1, "b", "1"));
    assert_eq!(two.payloads(), ["1"]);
    world.feed(&mut two, &puback(1));
    world.feed(&mut two, &unsubscribe(V5, &group));
    world.feed(&mut two, &DISCONNECT);
    world.feed(&mut sender, &message(QOS_1, 2, "b", "2"));
    assert_eq!((world.stats().deliveries_denied, world.stats().stored_bytes), (1, 0));
}
