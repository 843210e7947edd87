//! Single cases of a restart: wills, expiry, identifiers, limits, and stores with something missing.

use std::sync::Arc;

use wisp_engine::{Key, Limits, Object, Options, QueueSettings, Restoration, Restored, Shared, WaitingState};
use wisp_wire::{
    Connect, PacketId, Properties, Property, Publish, QoS, ReasonCode, SubscriptionOptions, TopicName, Will,
};

use super::START_MS;
use super::store::{MirrorStore, Objects};
use crate::events::Event;
use crate::support::{Peer, V5, World, encoded, plain, publish_retained, subscribe_with};

/// A broker, its store, and the wall clock when it started.
pub(super) struct Life {
    pub(super) world: World,
    pub(super) store: Arc<MirrorStore>,
    start_ms: u64,
    pub(super) restoration: Restoration,
    queues: Vec<QueueSettings>,
}

impl Life {
    fn new(start_ms: u64, objects: &Objects, limits: Limits, queues: Vec<QueueSettings>) -> Self {
        let store = MirrorStore::new(objects.clone());
        let options = Options {
            store: Arc::clone(&store) as _,
            unix_ms_at_start: start_ms,
            queues: queues.clone(),
            ..Options::default()
        };
        let (world, restoration) = World::restored(limits, options, objects.restored());
        Self { world, store, start_ms, restoration, queues }
    }

    pub(super) fn first() -> Self {
        Self::with_queues(Vec::new())
    }

    pub(super) fn with_queues(queues: Vec<QueueSettings>) -> Self {
        Self::new(START_MS, &Objects::default(), Limits::DEFAULT, queues)
    }

    /// The broker crashes after so many of the changes that are not committed, and another one starts at once.
    pub(super) fn crash(self, calls: usize) -> Self {
        Self::new(self.start_ms + self.world.now_ms, &self.store.crash(calls).0, Limits::DEFAULT, self.queues)
    }

    /// Everything is committed, the broker crashes, and another one starts so much later.
    pub(super) fn restart_with(self, later_ms: u64, limits: Limits) -> Self {
        self.store.commit_all();
        Self::new(self.start_ms + self.world.now_ms + later_ms, &self.store.crash(0).0, limits, self.queues)
    }

    pub(super) fn restart(self, later_ms: u64) -> Self {
        self.restart_with(later_ms, Limits::DEFAULT)
    }

    pub(super) fn commit(&mut self) {
        for _ in 0..3 {
            self.store.commit_all();
            self.world.pass_ms(1);
        }
    }

    pub(super) fn connect(&mut self, id: &str, expiry_s: u32, will: Option<(Will<'_>, u32)>) -> (Peer, bool) {
        let properties = [Property::SessionExpiryInterval(expiry_s)];
        let delay = will.as_ref().map(|(_, delay_s)| Property::WillDelayInterval(*delay_s));
        let delay: Vec<Property<'_>> = delay.into_iter().collect();
        let will = will.map(|(will, _)| Will { properties: Properties::from_slice(&delay), ..will });
        let connect =
            Connect { clean_start: false, properties: Properties::from_slice(&properties), will, ..plain(V5, id) };
        let mut peer = self.world.accept();
        self.world.feed(&mut peer, &encoded(|out| connect.encode(V5, out)));
        self.commit();
        let Some(Event::ConnAck { present }) = peer.next_event() else { panic!("no CONNACK") };
        (peer, present)
    }

    pub(super) fn subscribe(&mut self, peer: &mut Peer, filter: &str, qos: QoS) {
        let packet = subscribe_with(V5, &[filter], SubscriptionOptions::new(qos), &[]);
        self.world.feed(peer, &packet);
        self.commit();
        assert!(peer.events().iter().any(|event| matches!(event, Event::SubAck(_))));
    }

    pub(super) fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS, properties: &[Property<'_>]) {
        let mut sender = self.world.connected(V5, "sender");
        let packet_id = PacketId::new(1).filter(|_| qos != QoS::AtMostOnce);
        let properties = Properties::from_slice(properties);
        let publish = Publish { qos, packet_id, properties, ..Publish::new(TopicName::new(topic).unwrap(), payload) };
        self.world.feed(&mut sender, &encoded(|out| publish.encode(V5, out)));
        self.commit();
        self.world.feed(&mut sender, &[0xe0, 0]);
    }
}

pub(super) fn payloads(peer: &mut Peer) -> Vec<String> {
    peer.publishes().into_iter().map(|message| String::from_utf8(message.payload).unwrap()).collect()
}

fn will(payload: &[u8]) -> Will<'_> {
    let topic = TopicName::new("will").unwrap();
    Will { topic, payload, qos: QoS::AtLeastOnce, retain: false, properties: Properties::EMPTY }
}

/// A client that is away for good, and gets everything.
fn witness(life: &mut Life) {
    let (mut peer, _) = life.connect("witness", 1_000_000, None);
    life.subscribe(&mut peer, "#", QoS::ExactlyOnce);
    life.world.feed(&mut peer, &[0xe0, 0]);
    life.commit();
}

#[test]
fn wills_are_published_after_their_delay_which_goes_on_while_the_broker_is_down() {
    // The delay, how long the broker is down, how long it runs then, and whether the will is published.
    for (delay_s, down_ms, up_ms, is_due) in
        [(0, 0, 0, true), (60, 0, 59_000, false), (60, 0, 60_001, true), (60, 60_000, 59_000, false)]
    {
        let mut life = Life::first();
        witness(&mut life);
        let _connected = life.connect("c", 1_000, Some((will(b"gone"), delay_s)));
        let mut life = life.restart(down_ms);
        life.world.pass_ms(up_ms);
        let (mut peer, _) = life.connect("witness", 1_000_000, None);
        let expected = if is_due { vec!["gone".to_owned()] } else { vec![] };
        assert_eq!(payloads(&mut peer), expected, "after {delay_s} s, of {down_ms} and {up_ms} ms");
    }
    // The client has left before the broker ended, so its delay has begun before.
    for (down_ms, is_due) in [(30_000, false), (60_000, true)] {
        let mut life = Life::first();
        witness(&mut life);
        let (mut peer, _) = life.connect("c", 1_000, Some((will(b"gone"), 60)));
        life.world.feed(&mut peer, &[0xe0, 1, 4]);
        let mut life = life.restart(down_ms);
        let (mut peer, _) = life.connect("witness", 1_000_000, None);
        assert_eq!(payloads(&mut peer).len(), usize::from(is_due), "{down_ms} ms later");
    }
}

#[test]
fn a_will_is_published_once_and_not_after_a_normal_disconnect() {
    let mut life = Life::first();
    witness(&mut life);
    let (mut normal, _) = life.connect("normal", 1_000, Some((will(b"normal"), 0)));
    life.world.feed(&mut normal, &[0xe0, 0]);
    let (mut other, _) = life.connect("other", 1_000, Some((will(b"other"), 0)));
    life.world.feed(&mut other, &[0xe0, 1, 4]);
    let mut life = life.restart(0).restart(0);
    let (mut peer, _) = life.connect("witness", 1_000_000, None);
    assert_eq!(payloads(&mut peer), ["other"]);
}

#[test]
fn sessions_expire_while_the_broker_is_down() {
    for (down_ms, present) in [(59_000, true), (60_000, false)] {
        let mut life = Life::first();
        let (mut peer, _) = life.connect("c", 60, None);
        life.subscribe(&mut peer, "t", QoS::AtLeastOnce);
        life.world.feed(&mut peer, &[0xe0, 0]);
        let mut life = life.restart(down_ms);
        assert_eq!((life.connect("c", 60, None).1, life.world.stats().sessions), (present, 1), "{down_ms} ms");
    }
    // A connected client is away from the start on.
    let mut life = Life::first();
    let _connected = life.connect("c", 60, None);
    let mut life = life.restart(100_000);
    life.world.pass_ms(59_000);
    let mut life = life.restart(0);
    life.world.pass_ms(1_001);
    assert_eq!(life.world.stats().sessions, 0, "it does not begin again with each start");
    assert_eq!(life.store.crash(life.store.pending()).0.kinds().len(), 0);
}

#[test]
fn message_expiry_goes_on_while_the_broker_is_down() {
    let mut life = Life::first();
    witness(&mut life);
    life.publish("t", b"short", QoS::AtLeastOnce, &[Property::MessageExpiryInterval(10)]);
    life.publish("t", b"long", QoS::AtLeastOnce, &[Property::MessageExpiryInterval(100)]);
    let mut life = life.restart(50_000);
    let (mut peer, _) = life.connect("witness", 1_000_000, None);
    let messages = peer.publishes();
    let found: Vec<_> = messages.iter().map(|message| (message.payload.clone(), message.expiry_s)).collect();
    assert_eq!(found, [(b"long".to_vec(), Some(50))]);
}

#[test]
fn a_message_goes_on_where_it_was_with_its_identifier() {
    let mut life = Life::first();
    let (mut peer, _) = life.connect("c", 1_000, None);
    life.subscribe(&mut peer, "t", QoS::ExactlyOnce);
    for payload in [&b"done"[..], b"released", b"sent", b"acknowledged"] {
        let qos = if payload == b"acknowledged" { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        life.publish("t", payload, qos, &[]);
    }
    let ids: Vec<u8> = peer.publishes().iter().map(|message| message.id as u8).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    for packet in [[0x50, 2, 0, 1], [0x50, 2, 0, 2], [0x70, 2, 0, 1], [0x40, 2, 0, 4]] {
        life.world.feed(&mut peer, &packet);
        life.commit();
    }
    let mut life = life.restart(0);
    life.publish("t", b"new", QoS::ExactlyOnce, &[]);
    let (mut peer, present) = life.connect("c", 1_000, None);
    let mut events = peer.events();
    let ids = |event: &Event| match event {
        Event::PubRel(id, ReasonCode::Success) => ("PUBREL", *id, false),
        Event::Message(message) => ("PUBLISH", message.id, message.dup),
        other => panic!("{other:?}"),
    };
    assert_eq!((present, events.len()), (true, 3));
    assert_eq!(
        events.drain(..).map(|event| ids(&event)).collect::<Vec<_>>(),
        [("PUBREL", 2, false), ("PUBLISH", 3, true), ("PUBLISH", 4, false)]
    );
    assert_eq!((life.restoration.messages, life.restoration.objects_dropped), (1, 0));
}

#[test]
fn limits_that_are_lower_now_keep_everything_and_are_named() {
    let mut life = Life::first();
    for number in 0..3 {
        drop(life.connect(&format!("c{number}"), 1_000, None));
        let mut retaining = life.world.connected(V5, "retaining");
        life.world.feed(&mut retaining, &publish_retained(&format!("r/{number}"), b"x"));
    }
    let limits = Limits::DEFAULT.with(|limits| (limits.sessions_count_max, limits.retained_count_max) = (2, 1));
    let life = life.restart_with(0, limits);
    assert_eq!((life.restoration.sessions, life.restoration.retained), (3, 3));
    assert_eq!(life.restoration.above_limits, [("sessions-max", 3), ("retained-max", 3)]);
    assert_eq!((life.world.stats().sessions, life.world.stats().retained), (3, 3));
}

fn object(number: u64, object: &Object<'_>) -> Restored {
    let (key, mut body) = (key(number), Vec::new());
    object.encode_head(&mut body);
    body.extend(object.tail());
    Restored { key, kind: object.kind(), body }
}

fn key(number: u64) -> Key {
    Key::new(number).unwrap()
}

fn session(client_id: &str) -> Object<'_> {
    Object::Session { client_id, expiry_s: 60, away_since_ms: Some(START_MS), user: None, will: None }
}

#[test]
fn objects_without_their_session_or_message_are_dropped_and_counted() {
    let store = MirrorStore::new(Objects::default());
    let options = || Options { store: Arc::clone(&store) as _, unix_ms_at_start: START_MS, ..Options::default() };
    let waiting = |session, message| Object::Waiting {
        session: key(session),
        message: Some(key(message)),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: (&[][..]).into(),
        state: WaitingState::Pending,
    };
    let filter = |session| Object::Subscription {
        session: key(session),
        filter: "t",
        options: SubscriptionOptions::new(QoS::AtLeastOnce),
        id: None,
    };
    let message = wisp_engine::MessageObject {
        topic: "t",
        properties: &[],
        payload: b"x",
        qos: QoS::AtLeastOnce,
        retain: false,
        expires_ms: None,
    };
    let block = 1 << 16;
    let objects = [
        object(block, &session("c")),
        object(2 * block, &filter(block)),
        object(2 * block + 1, &filter(9 * block)),
        object(2 * block + 2, &Object::Message(message)),
        object(2 * block + 3, &waiting(block, 2 * block + 2)),
        object(2 * block + 4, &waiting(9 * block, 2 * block + 2)),
        object(2 * block + 5, &waiting(block, 3)),
        object(2 * block + 6, &Object::Message(message)),
        object(2 * block + 7, &Object::Incoming { session: key(2 * block), packet_id: PacketId::new(7).unwrap() }),
    ];
    let (world, restoration) = World::restored(Limits::DEFAULT, options(), objects);
    let Restoration { sessions, subscriptions, messages, objects_dropped, .. } = restoration;
    assert_eq!((sessions, subscriptions, messages, objects_dropped), (1, 1, 1, 5));
    assert_eq!((world.stats().objects_dropped, store.pending_kinds()), (5, vec!["delete".to_owned(); 5]));

    // The later session of a client is the one that counts.
    let objects = [
        object(block, &session("c")),
        object(3 * block, &filter(block)),
        object(2 * block, &session("c")),
        object(3 * block + 1, &filter(2 * block)),
    ];
    let (mut world, restoration) = World::restored(Limits::DEFAULT, options(), objects);
    assert_eq!((restoration.sessions, restoration.objects_dropped, world.stats().subscriptions), (1, 2, 1));
    world.pass_ms(60_000);
    world.assert_empty();
}

#[test]
fn an_object_that_cannot_be_read_is_named() {
    let mut shared = Shared::new(Limits::DEFAULT, 1);
    let objects = [object(7, &session("c")), Restored { key: key(8), kind: 200, body: vec![1] }];
    let error = shared.restore(objects).unwrap_err();
    assert_eq!(error.to_string(), "the stored object 8 of kind 200 is of a kind that this version does not know");
}
