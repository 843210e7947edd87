//! Every interleaving of a session's change of hands with what goes on meanwhile, and of a queue with its receiver's
//! acknowledgements, on small cases:
//! `RUSTFLAGS="--cfg loom" cargo test -p wisp-engine --lib loom`.

use std::sync::Arc;

use loom::thread;
use wisp_wire::{
    Connect, Packet, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, Subscribe, SubscriptionOptions,
    Subscriptions, TopicFilter, TopicName, decode,
};

use crate::base::limits::Limits;
use crate::connection::{Connection, EndReason, Next, Raw};
use crate::delivery::outbox::{Chunk, ConnectionId};
use crate::ops::dispatch::Dispatcher;
use crate::state::shared::Shared;

const V5: ProtocolVersion = ProtocolVersion::Mqtt5;

/// All interleavings: there are some hundreds.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = None;
    builder.check(test);
}

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(V5, &mut out).unwrap();
    out
}

fn connect(clean_start: bool) -> Vec<u8> {
    encoded(&Packet::Connect(Connect {
        version: V5,
        clean_start,
        keep_alive_s: 0,
        client_id: "c",
        properties: Properties::from_slice(&[Property::SessionExpiryInterval(60)]),
        will: None,
        username: None,
        password: None,
    }))
}

fn publish(qos: QoS) -> Vec<u8> {
    let packet_id = if qos == QoS::AtMostOnce { None } else { PacketId::new(7) };
    encoded(&Packet::Publish(Publish { qos, packet_id, ..Publish::new(TopicName::new("t").unwrap(), b"x") }))
}

fn subscribe() -> Vec<u8> {
    let filters = [(TopicFilter::new("t").unwrap(), SubscriptionOptions::new(QoS::ExactlyOnce))];
    encoded(&Packet::Subscribe(Subscribe {
        packet_id: PacketId::new(1).unwrap(),
        properties: Properties::EMPTY,
        filters: Subscriptions::from_slice(&filters),
    }))
}

/// A connection and the worker that has it.
struct Worker {
    shared: Arc<Shared>,
    connection: Connection,
    dispatcher: Dispatcher,
}

impl Worker {
    fn new(shared: &Arc<Shared>, slot: u32) -> Self {
        let outbox = shared.new_outbox(ConnectionId { slot, generation: 1 });
        Self {
            shared: Arc::clone(shared),
            connection: Connection::new(Arc::clone(shared), outbox, 0),
            dispatcher: Dispatcher::default(),
        }
    }

    /// Reads one packet and delivers what came of it. False if it ended the connection.
    fn read(&mut self, bytes: &[u8]) -> bool {
        let (packet, len) = decode(bytes, self.connection.version(), u32::MAX).unwrap().unwrap();
        let raw = Raw { bytes: &bytes[..len], in_scratch: None };
        let mut replies = Vec::new();
        let next = self.connection.handle(packet, raw, &mut self.dispatcher, 0, &mut replies);
        self.connection.outbox().push([&replies[..]].into_iter(), replies.len(), 0);
        self.deliver();
        assert!(!matches!(next, Ok(Next::Blocked(_))), "there is capacity");
        next.is_ok()
    }

    fn deliver(&mut self) {
        self.dispatcher.flush_staged(&self.shared, 0);
        self.dispatcher.batch().drain(&[], |staged| staged.push());
    }

    fn close(&mut self) {
        self.connection.close(EndReason::Closed, &mut self.dispatcher, 0);
        self.deliver();
    }

    /// The types of the packets that went to the client.
    fn sent(&self) -> Vec<u8> {
        let mut chunk = Chunk::default();
        self.connection.outbox().take(&mut chunk);
        let (mut rest, mut types) = (&chunk.bytes[..], Vec::new());
        while let Some((_, len)) = decode(rest, V5, u32::MAX).unwrap() {
            types.push(rest[0] >> 4);
            rest = &rest[len..];
        }
        self.connection.outbox().sent(chunk.bytes.len(), chunk.messages);
        types
    }
}

const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const DISCONNECT: u8 = 14;

fn count(types: &[u8], wanted: u8) -> usize {
    types.iter().filter(|found| **found == wanted).count()
}

fn connected(shared: &Arc<Shared>, slot: u32) -> Worker {
    let mut worker = Worker::new(shared, slot);
    assert!(worker.read(&connect(false)));
    worker
}

#[test]
fn loom_a_message_during_a_takeover_reaches_the_new_connection_once() {
    model(|| {
        let shared = Arc::new(Shared::new(Limits::DEFAULT, 1));
        let mut old = connected(&shared, 1);
        assert!(old.read(&subscribe()));
        let mut sender = Worker::new(&shared, 2);
        let mut new = Worker::new(&shared, 3);
        let publishing = thread::spawn(move || {
            let message = crate::delivery::message::Message::from_publish(
                &Publish { qos: QoS::AtLeastOnce, ..Publish::new(TopicName::new("t").unwrap(), b"x") },
                TopicName::new("t").unwrap(),
                0,
            );
            let route = sender.shared.router.route(TopicName::new("t").unwrap());
            let session = &route.targets[0].session;
            let delivery = crate::state::session::outgoing::Delivery::new(message, QoS::AtLeastOnce, false, None);
            let shared = Arc::clone(&sender.shared);
            session.deliver(&mut vec![delivery], &mut sender.dispatcher.context(&shared.limits, 0));
        });
        assert!(new.read(&connect(false)));
        publishing.join().unwrap();
        let (old, new) = (old.sent(), new.sent());
        assert_eq!((new[0], count(&new, PUBLISH)), (CONNACK, 1), "{new:?}");
        assert_eq!(old.last(), Some(&DISCONNECT), "nothing follows the final_packet: {old:?}");
        assert_eq!(count(&old, DISCONNECT), 1);
    });
}

#[test]
fn loom_an_old_connection_that_closes_takes_nothing_from_the_new_one() {
    model(|| {
        let shared = Arc::new(Shared::new(Limits::DEFAULT, 1));
        let mut old = connected(&shared, 1);
        let mut new = Worker::new(&shared, 2);
        let closing = thread::spawn(move || old.close());
        assert!(new.read(&connect(false)));
        closing.join().unwrap();
        assert_eq!(shared.sessions_count(), 1);
        assert!(new.read(&subscribe()));
        let route = shared.router.route(TopicName::new("t").unwrap());
        let connection = route.targets[0].outbox.as_ref().map(|outbox| outbox.connection());
        assert_eq!(connection, Some(new.connection.outbox().connection()), "the session is the new connection's");
        new.close();
        assert_eq!(shared.sessions_count(), 1, "it is kept");
    });
}

#[test]
fn loom_a_message_sent_on_both_connections_is_taken_once() {
    model(|| {
        let shared = Arc::new(Shared::new(Limits::DEFAULT, 1));
        let mut old = connected(&shared, 1);
        assert!(old.read(&subscribe()));
        let mut new = Worker::new(&shared, 2);
        let first = thread::spawn(move || {
            old.read(&publish(QoS::ExactlyOnce));
            old
        });
        assert!(new.read(&connect(false)));
        assert!(new.read(&publish(QoS::ExactlyOnce)));
        let old = first.join().unwrap();
        let delivered = count(&new.sent(), PUBLISH);
        assert_eq!(delivered, 1, "once to the subscriber, who is on the new connection");
        drop(old);
    });
}

#[test]
fn loom_of_two_connections_that_take_over_one_is_left() {
    model(|| {
        let shared = Arc::new(Shared::new(Limits::DEFAULT, 1));
        let old = connected(&shared, 1);
        let (mut first, mut second) = (Worker::new(&shared, 2), Worker::new(&shared, 3));
        let racing = thread::spawn(move || {
            assert!(first.read(&connect(true)));
            first
        });
        assert!(second.read(&connect(false)));
        let first = racing.join().unwrap();
        let ended = [&old, &first, &second].map(|worker| count(&worker.sent(), DISCONNECT));
        assert_eq!(ended[0], 1);
        assert_eq!(ended.iter().sum::<usize>(), 2, "one of the three is still connected");
        assert_eq!(shared.sessions_count(), 1);
    });
}

#[test]
fn loom_a_message_for_a_queue_is_not_left_lying_when_its_receiver_acknowledges() {
    model(|| {
        let shared = Arc::new(Shared::new(Limits { inflight_count_max: 1, ..Limits::DEFAULT }, 1));
        let mut receiver = connected(&shared, 1);
        let filters = [(TopicFilter::new("$queue/q").unwrap(), SubscriptionOptions::new(QoS::AtLeastOnce))];
        let subscribe = Subscribe {
            packet_id: PacketId::new(1).unwrap(),
            properties: Properties::EMPTY,
            filters: Subscriptions::from_slice(&filters),
        };
        assert!(receiver.read(&encoded(&Packet::Subscribe(subscribe))));
        let queue = shared.queue("$queue/q").unwrap_or_else(|_| unreachable!("it is there"));
        let topic = TopicName::new("$queue/q").unwrap();
        let push = move |worker: &mut Worker| {
            let publish = Publish { qos: QoS::AtLeastOnce, ..Publish::new(topic, b"x") };
            let message = crate::delivery::message::Message::from_publish(&publish, topic, 0);
            let queued = crate::state::topic_queue::Queued { message, deliveries: 0 };
            let shared = Arc::clone(&worker.shared);
            queue.push(&mut vec![queued], &shared, &mut worker.dispatcher, 0);
            worker.deliver();
        };
        let mut sender = Worker::new(&shared, 2);
        push(&mut sender);
        assert_eq!(count(&receiver.sent(), PUBLISH), 1, "the window is full now");
        let pushing = thread::spawn(move || {
            push(&mut sender);
            sender
        });
        assert!(receiver.read(&encoded(&Packet::PubAck(wisp_wire::PubAck::new(PacketId::new(1).unwrap())))));
        receiver.connection.resume_sending(&mut receiver.dispatcher, 0);
        receiver.deliver();
        drop(pushing.join().unwrap());
        assert_eq!(count(&receiver.sent(), PUBLISH), 1, "there is capacity for the second, and somebody has to see it");
    });
}
