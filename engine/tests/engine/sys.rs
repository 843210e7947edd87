//! The topics of `$SYS`: who gets them, when, and with which values; and that only the broker publishes there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wisp_engine::{
    ConnectRequest, Decision, DeniedUse, EndReason, Event as Output, Limits, METRICS, Mail, Options, Origin, Policy,
    Rights, Shared, SysOptions, Worker,
};
use wisp_wire::{Connect, QoS, ReasonCode, TopicName, Will};

use crate::events::{Event, Message};
use crate::packets::{QOS_0, QOS_1, QOS_2, STAYS, message, message_with, pubrel, subscribe_at};
use crate::support::{Peer, RECV_BYTES, V3, V5, World, connect, encoded, plain, publish, subscribe};

const INTERVAL_MS: u64 = 10_000;

/// The topics of mosquitto 2.1, besides the loads and the state of bridges.
const NAMES: [&str; 29] = [
    "version",
    "uptime",
    "bytes/received",
    "bytes/sent",
    "messages/received",
    "messages/sent",
    "messages/stored",
    "store/messages/count",
    "store/messages/bytes",
    "retained messages/count",
    "subscriptions/count",
    "shared_subscriptions/count",
    "clients/total",
    "clients/connected",
    "clients/active",
    "clients/disconnected",
    "clients/inactive",
    "clients/maximum",
    "clients/expired",
    "publish/messages/received",
    "publish/messages/sent",
    "publish/messages/dropped",
    "publish/bytes/received",
    "publish/bytes/sent",
    "heap/current",
    "heap/maximum",
    "connections/socket/count",
    "packet/out/count",
    "packet/out/bytes",
];

fn options() -> Options {
    Options { sys: SysOptions { interval_s: 10, unix_ms: 1_000_000 }, ..Options::default() }
}

fn world_with(limits: Limits) -> World {
    World::with_options(limits, options())
}

fn world() -> World {
    world_with(Limits::DEFAULT)
}

/// The messages below `$SYS/broker/` since the last call. All have the RETAIN flag, or none.
fn values(peer: &mut Peer, retain: bool) -> BTreeMap<String, String> {
    let value = |message: Message| {
        assert_eq!(message.retain, retain, "{}", message.topic);
        let name = message.topic.strip_prefix("$SYS/broker/").unwrap().to_owned();
        (name, String::from_utf8(message.payload).unwrap())
    };
    peer.publishes().into_iter().map(value).collect()
}

/// The values that a new subscriber gets.
fn retained(world: &mut World) -> BTreeMap<String, String> {
    let mut watcher = world.connected(V5, "watcher");
    world.feed(&mut watcher, &subscribe(V5, &["$SYS/#"]));
    let values = values(&mut watcher, true);
    world.close(&mut watcher, EndReason::Closed);
    values
}

/// The values after the next update.
fn updated(world: &mut World) -> BTreeMap<String, String> {
    world.pass_ms(INTERVAL_MS);
    retained(world)
}

#[test]
fn a_new_subscriber_gets_every_topic_and_then_what_changes() {
    let mut world = world();
    for (granted, id) in [(QOS_0, "0"), (QOS_1, "1"), (QOS_2, "2")] {
        let mut watcher = world.connected(V5, id);
        world.feed(&mut watcher, &subscribe_at(granted, &["$SYS/broker/uptime", "$SYS/broker/version"]));
        let found: Vec<QoS> = watcher.publishes().iter().map(|message| message.qos).collect();
        assert_eq!(found, [granted; 2]);
        world.close(&mut watcher, EndReason::Closed);
    }
    let mut watcher = world.connected(V5, "watcher");
    world.feed(&mut watcher, &subscribe(V5, &["$SYS/#"]));
    let first = values(&mut watcher, true);
    NAMES.iter().for_each(|name| assert!(first.contains_key(*name), "{name}"));
    let of_wisp = first.keys().filter(|name| name.starts_with("wisp/")).count();
    let loads = first.keys().filter(|name| name.starts_with("load/")).count();
    assert_eq!((of_wisp, loads, first.len()), (METRICS.len(), 27, NAMES.len() + 27 + METRICS.len()));
    assert!(first["version"].starts_with("wisp version "), "{}", first["version"]);
    assert_eq!((&first["uptime"][..], &first["load/sockets/1min"][..]), ("0 seconds", "0.00"));
    assert_eq!(first["retained messages/count"], first.len().to_string());

    world.pass_ms(INTERVAL_MS - 1);
    assert_eq!(watcher.publishes(), []);
    world.pass_ms(1);
    let second = values(&mut watcher, false);
    assert_eq!((&second["uptime"][..], &second["clients/total"][..]), ("10 seconds", "1"));
    assert!(!second.contains_key("version") && !second.contains_key("clients/expired"));
    assert!(second.iter().all(|(name, value)| first[name] != *value), "{second:?}");
    let kept = retained(&mut world);
    assert!(first.keys().eq(kept.keys()));
    assert!(second.iter().all(|(name, value)| kept[name] == *value));
}

#[test]
fn filters_that_begin_with_a_wildcard_find_nothing() {
    let mut world = world();
    let mut watcher = world.connected(V5, "watcher");
    world.feed(&mut watcher, &subscribe(V5, &["#", "+/broker/version", "+/#"]));
    world.pass_ms(INTERVAL_MS);
    assert_eq!(watcher.publishes(), []);
    let mut world = World::new(Limits::DEFAULT);
    assert!(updated(&mut world).is_empty(), "without an interval there are no topics");
}

#[test]
fn limits_on_retained_messages_do_not_count_the_brokers_own() {
    for limits in [
        Limits::DEFAULT.with(|limits| limits.retained_count_max = 1),
        Limits::DEFAULT.with(|limits| limits.retained_bytes_max = 400),
        Limits::DEFAULT.with(|limits| limits.retained_count_max = 0),
    ] {
        let mut world = world_with(limits);
        let mut sender = world.connected(V3, "sender");
        for topic in ["a", "b"] {
            let publish = wisp_wire::Publish {
                retain: true,
                ..wisp_wire::Publish::new(TopicName::new(topic).unwrap(), &[0; 150])
            };
            world.feed(&mut sender, &encoded(|out| publish.encode(V3, out)));
        }
        let kept = u64::from(limits.retained_count_max > 0);
        assert_eq!((world.stats().retained, world.stats().retained_refused), (kept, 2 - kept));
        let values = updated(&mut world);
        assert_eq!(values.len(), NAMES.len() + 27 + METRICS.len());
        assert_eq!(values["wisp/retained"], kept.to_string());
    }
}

#[test]
fn nobody_but_the_broker_publishes_there() {
    let mut world = world();
    let version = retained(&mut world)["version"].clone();
    let mut watcher = world.connected(V5, "other watcher");
    world.feed(&mut watcher, &subscribe(V5, &["$SYS/#"]));
    watcher.publishes();
    let mut sender = world.sender();
    for topic in ["$SYS/x", "$SYS", "$SYS/broker/version", "$SYSTEM"] {
        for (qos, expected) in [
            (QOS_0, None),
            (QOS_1, Some(Event::PubAck(7, ReasonCode::NotAuthorized))),
            (QOS_2, Some(Event::PubRec(7, ReasonCode::NotAuthorized))),
        ] {
            for payload in ["x", ""] {
                world.feed(&mut sender, &message_with(qos, 7, topic, payload, true, &[]));
                assert_eq!(sender.next_event(), expected, "{topic} {qos:?}");
            }
        }
    }
    let mut old = world.connected(V3, "old");
    for (first, expected) in
        [(0x33, Event::PubAck(7, ReasonCode::Success)), (0x35, Event::PubRec(7, ReasonCode::Success))]
    {
        let packet = [&[first, 11, 0, 6][..], b"$SYS/x", &[0, 7, b'x']].concat();
        world.feed(&mut old, &packet);
        assert_eq!(old.next_event(), Some(expected));
    }
    world.feed(&mut old, &pubrel(7));
    assert!(matches!(old.next_event(), Some(Event::PubComp(7, _))));
    assert_eq!((watcher.publishes(), old.end(), sender.end()), (vec![], None, None));
    assert_eq!((world.stats().publishes_denied, world.stats().messages_received), (26, 0));
    // A bridge tells its state, and other topics that begin with `$` are free.
    world.feed(&mut sender, &message(QOS_1, 8, "$SYS/broker/connection/b/state", "1"));
    assert_eq!(sender.next_event(), Some(Event::PubAck(8, ReasonCode::Success)));
    assert_eq!(watcher.payloads(), ["1"]);
    world.feed(&mut sender, &message(QOS_1, 9, "$sys/x", "1"));
    assert_eq!(sender.next_event(), Some(Event::PubAck(9, ReasonCode::NoMatchingSubscribers)));
    assert_eq!(updated(&mut world)["version"], version);
}

#[test]
fn a_will_to_sys_is_dropped_when_it_is_due() {
    let mut world = world();
    let mut watcher = world.connected(V5, "watcher");
    world.feed(&mut watcher, &subscribe(V5, &["$SYS/x"]));
    watcher.events();
    let topic = TopicName::new("$SYS/x").unwrap();
    let will = Will { qos: QOS_1, retain: true, topic, properties: wisp_wire::Properties::EMPTY, payload: b"gone" };
    let connect = Connect { will: Some(will), ..plain(V5, "dying") };
    let mut dying = world.accept();
    assert!(world.feed(&mut dying, &encoded(|out| connect.encode(V5, out))).end.is_none(), "CONNECT is accepted");
    world.close(&mut dying, EndReason::TransportFailed);
    assert_eq!((watcher.publishes(), world.stats().publishes_denied, world.stats().retained), (vec![], 1, 0));
    // The client may connect again.
    world.connected(V5, "dying");
}

#[test]
fn denied_messages_are_reported_apart_from_those_without_a_right() {
    let shared = Arc::new(Shared::new(Limits::DEFAULT, 1));
    let mut worker = Worker::new(Arc::clone(&shared), 0, RECV_BYTES);
    let outbox = shared.new_outbox(wisp_engine::ConnectionId { slot: 0, generation: 1 }, 0);
    worker.handle_mail(0, Mail::Accept(outbox, Origin { peer: None, listener: 0 }));
    let bytes = [connect(V3, "c"), publish(V3, "$SYS/x", b"1"), publish(V3, "$SYS/y", b"1")].concat();
    while let Some(read) = worker.poll_read(0) {
        read.buffer[..bytes.len()].copy_from_slice(&bytes);
        worker.handle_bytes(0, wisp_engine::Received::Bytes { count: bytes.len(), more: false });
    }
    worker.poll_transmit(0, |staged| staged.push());
    worker.handle_timeout(0);
    let denials: Vec<_> = std::iter::from_fn(|| worker.poll_event())
        .filter_map(|event| if let Output::Denied(denial) = event { Some(denial) } else { None })
        .collect();
    let [denial] = &denials[..] else { panic!("{denials:?}") };
    assert_eq!((denial.denied, &*denial.topic, denial.count), (DeniedUse::Reserved, "$SYS/x", 2));
}

#[test]
fn counters_count_bytes_packets_and_payloads() {
    let mut world = world();
    let mut receiver = world.connected(V3, "receiver");
    let mut sender = world.connected(V5, "sender");
    let mut bytes = connect(V3, "receiver").len() + connect(V5, "sender").len();
    let mut feed = |world: &mut World, peer: &mut Peer, packet: &[u8]| {
        bytes += packet.len();
        world.feed(peer, packet);
    };
    feed(&mut world, &mut receiver, &subscribe(V3, &["t", "$share/g/u"]));
    feed(&mut world, &mut sender, &message(QOS_0, 0, "t", "12345"));
    feed(&mut world, &mut sender, &message(QOS_1, 1, "t", "123"));
    feed(&mut world, &mut sender, &message(QOS_1, 2, "u", "1"));
    feed(&mut world, &mut sender, &[0xc0, 0]);
    feed(&mut world, &mut sender, &[0xe0, 0]);
    receiver.read();
    let stats = world.stats();
    assert_eq!((stats.bytes_received, stats.packets_received, stats.connects_received), (bytes as u64, 8, 2));
    assert_eq!((stats.messages_received, stats.payload_bytes_received), (3, 9));
    assert_eq!((stats.publishes_sent, stats.payload_bytes_sent), (3, 9));
    // Two CONNACK, SUBACK, two PUBACK, PINGRESP, three PUBLISH.
    assert_eq!((stats.packets_sent, stats.connections_accepted), (9, 2));
    assert_eq!((stats.subscriptions, stats.shared_subscriptions), (1, 1));
    assert_eq!((stats.sessions, stats.sessions_connected, stats.sessions_highest), (1, 1, 2));
    world.close(&mut receiver, EndReason::Closed);
    let stats = world.stats();
    assert_eq!((stats.subscriptions, stats.shared_subscriptions, stats.subscription_bytes), (0, 0, 0));
    assert_eq!((stats.sessions, stats.sessions_connected, stats.sessions_highest), (0, 0, 2));
}

#[test]
fn sessions_and_messages_that_wait_are_counted() {
    let mut world = world();
    let own = retained(&mut world).len();
    let mut away = world.receiver("away", QOS_1, &["t"], &[]);
    world.close(&mut away, EndReason::Closed);
    let mut sender = world.sender();
    for id in 1..=3 {
        world.feed(&mut sender, &message(QOS_1, id, "t", "x"));
    }
    world.feed(&mut sender, &message(QOS_1, 4, "$queue/q", "x"));
    // The sessions are counted in parts.
    (0..20).for_each(|_| world.pass_ms(250));
    let values = updated(&mut world);
    assert_eq!(values["messages/stored"], (own + 4).to_string());
    assert_eq!(values["store/messages/count"], values["messages/stored"]);
    let clients = ["total", "connected", "active", "disconnected", "inactive", "maximum", "expired"];
    let found = clients.map(|name| values[&format!("clients/{name}")].as_str());
    assert_eq!(found, ["2", "1", "1", "1", "1", "2", "0"]);
    world.pass_ms(100_000);
    let values = updated(&mut world);
    let found = clients.map(|name| values[&format!("clients/{name}")].as_str());
    // With the client that looked in between.
    assert_eq!(found, ["1", "1", "1", "0", "0", "3", "1"]);
}

#[test]
fn a_client_that_does_not_read_holds_no_update_back() {
    let limits = Limits::DEFAULT.with(|limits| limits.queue_messages_max = 8);
    let mut world = world_with(limits);
    let mut lazy = world.connected(V5, "lazy");
    world.feed(&mut lazy, &subscribe(V5, &["t", "$SYS/broker/uptime"]));
    let mut reader = world.connected(V5, "reader");
    world.feed(&mut reader, &subscribe(V5, &["$SYS/broker/uptime"]));
    lazy.events();
    reader.events();
    let mut sender = world.sender();
    for _ in 0..8 {
        world.feed(&mut sender, &message(QOS_0, 0, "t", "x"));
    }
    let dropped = world.stats().messages_dropped;
    world.pass_ms(INTERVAL_MS);
    assert_eq!(reader.payloads(), ["10 seconds"]);
    assert_eq!(world.stats().messages_dropped, dropped + 1);
    assert_eq!((lazy.payloads().len(), lazy.end()), (8, None));
    world.pass_ms(INTERVAL_MS);
    assert_eq!(lazy.payloads(), ["20 seconds"]);
}

/// Users may read the topics that begin with their name.
#[derive(Debug)]
struct ByName;

#[derive(Debug)]
struct Prefix(String);

impl Policy for ByName {
    fn connect(&self, request: &ConnectRequest<'_>) -> Decision {
        Decision::AllowAs(Arc::new(Prefix(request.username.unwrap_or("none").to_owned())))
    }

    fn restricts_messages(&self) -> bool {
        false
    }

    fn grants_rights(&self) -> bool {
        true
    }
}

impl Rights for Prefix {
    fn restricts_messages(&self) -> bool {
        true
    }

    fn may_publish(&self, _: &str) -> bool {
        true
    }

    fn may_receive(&self, topic: &str) -> bool {
        topic.starts_with(&self.0)
    }

    fn may_stay(&self) -> bool {
        true
    }

    fn user(&self) -> Option<&str> {
        None
    }
}

#[test]
fn rights_decide_who_reads_sys() {
    let mut world = World::with_options(Limits::DEFAULT, Options { policy: Arc::new(ByName), ..options() });
    for (user, count) in [("$SYS/broker/up", 1), ("$SYS/broker/", 3), ("other", 0)] {
        let connect = Connect { username: Some(user), ..plain(V5, user) };
        let mut peer = world.accept();
        world.feed(&mut peer, &encoded(|out| connect.encode(V5, out)));
        world.feed(&mut peer, &subscribe(V5, &["$SYS/broker/+", "$SYS/broker/clients/expired"]));
        let first = values(&mut peer, true).len();
        world.pass_ms(INTERVAL_MS);
        let live = values(&mut peer, false).len();
        assert_eq!((first, live), (count, usize::from(count > 0)), "{user}");
    }
}

#[test]
fn a_session_that_is_away_gets_the_updates_it_missed() {
    let mut world = world();
    let mut away = world.receiver("away", QOS_1, &["$SYS/broker/uptime"], &[]);
    away.publishes();
    world.close(&mut away, EndReason::Closed);
    world.pass_ms(INTERVAL_MS);
    world.pass_ms(INTERVAL_MS);
    let (mut back, present) = world.returns("away", &[STAYS]);
    assert!(present);
    // The first one was not acknowledged.
    assert_eq!(back.payloads(), ["0 seconds", "10 seconds", "20 seconds"]);
}

#[test]
fn a_measured_turn_counts_for_its_messages_and_stands_for_other_turns() {
    let shared = Arc::new(Shared::new(Limits::DEFAULT, 1));
    let mut worker = Worker::new(Arc::clone(&shared), 0, RECV_BYTES);
    worker.note_turn(Duration::from_micros(60), 3, 16);
    worker.note_turn(Duration::from_micros(600), 0, 16);
    worker.poll_transmit(0, |_| {});
    let (stats, message) = (shared.stats(), shared.histograms().message);
    assert_eq!((stats.workers, stats.worker_busy_us), (1, 16 * 660));
    assert_eq!((message.buckets[1], message.buckets.iter().sum::<u64>(), message.sum_us), (3, 3, 180));
}
