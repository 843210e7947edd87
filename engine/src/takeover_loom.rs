//! Every interleaving of a takeover with concurrent messages, and of a queue with its receiver's acknowledgements, on
//! small cases: `RUSTFLAGS="--cfg loom" cargo test -p wisp-engine --lib loom`.

use std::sync::Arc;

use loom::thread;
use wisp_wire::{
    Connect, Packet, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, Subscribe, SubscriptionOptions,
    Subscriptions, TopicFilter, TopicName, decode,
};

use crate::base::limits::Limits;
use crate::connection::Received;
use crate::connection::disconnect::EndReason;
use crate::delivery::addressed::Delivery;
use crate::delivery::loan::Queued;
use crate::delivery::message::Message;
use crate::delivery::outbox::{Chunk, ConnectionId, Outbox};
use crate::event::{Event, Mail, Origin};
use crate::ops::dispatch::Dispatcher;
use crate::state::shared::Shared;
use crate::worker::Worker;

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

/// A connection with its own worker.
struct TestConnection {
    worker: Worker,
    outbox: Arc<Outbox>,
    has_ended: bool,
}

impl TestConnection {
    fn new(shared: &Arc<Shared>, slot: u32) -> Self {
        let outbox = shared.new_outbox(ConnectionId { slot, generation: 1 }, slot as usize);
        let mut worker = Worker::new(Arc::clone(shared), slot as usize, 64);
        worker.handle_mail(0, Mail::Accept(Arc::clone(&outbox), Origin { peer: None, listener: 0 }));
        let mut party = Self { worker, outbox, has_ended: false };
        party.turn(&[], Received::WouldBlock);
        party
    }

    /// Handles one packet and everything that follows from it. False if it ended the connection.
    fn read(&mut self, bytes: &[u8]) -> bool {
        self.worker.handle_readable(self.outbox.connection());
        // After a takeover the first turn only ends the pause.
        let received = Received::Bytes { count: bytes.len(), more: false };
        while !self.has_ended && !self.turn(bytes, received) {}
        !self.has_ended
    }

    /// One turn, which answers every read with `received`. False if the worker asked for no read.
    fn turn(&mut self, bytes: &[u8], received: Received) -> bool {
        // The timeout ends the turn before.
        self.worker.handle_timeout(0);
        let mut was_read = false;
        while let Some(read) = self.worker.poll_read(0) {
            was_read = true;
            read.buffer[..bytes.len()].copy_from_slice(bytes);
            self.worker.handle_bytes(0, received);
        }
        self.worker.poll_transmit(0, |staged| staged.push());
        while let Some(event) = self.worker.poll_event() {
            self.has_ended |= matches!(event, Event::Refused { .. } | Event::Disconnected { .. });
        }
        was_read
    }

    fn close(&mut self) {
        self.worker.handle_readable(self.outbox.connection());
        self.turn(&[], Received::Closed);
    }

    /// Another connection has taken the session over.
    fn end(&mut self) {
        self.worker.handle_mail(0, Mail::End(self.outbox.connection(), EndReason::TakenOver));
        self.turn(&[], Received::WouldBlock);
    }

    /// The types of the packets that went to the client.
    fn sent(&self) -> Vec<u8> {
        let mut chunk = Chunk::default();
        self.outbox.take(&mut chunk);
        let (mut rest, mut types) = (&chunk.bytes[..], Vec::new());
        while let Some((_, len)) = decode(rest, V5, u32::MAX).unwrap() {
            types.push(rest[0] >> 4);
            rest = &rest[len..];
        }
        self.outbox.sent(chunk.bytes.len(), chunk.messages);
        types
    }
}

const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const DISCONNECT: u8 = 14;

fn count(types: &[u8], wanted: u8) -> usize {
    types.iter().filter(|found| **found == wanted).count()
}

fn connected(shared: &Arc<Shared>, slot: u32) -> TestConnection {
    let mut worker = TestConnection::new(shared, slot);
    assert!(worker.read(&connect(false)));
    worker
}

#[test]
fn loom_a_message_during_a_takeover_reaches_the_new_connection_once() {
    model(|| {
        let shared = Arc::new(Shared::new(Limits::DEFAULT, 1));
        let mut old = connected(&shared, 1);
        assert!(old.read(&subscribe()));
        let mut new = TestConnection::new(&shared, 3);
        let sending = Arc::clone(&shared);
        let publishing = thread::spawn(move || {
            let topic = TopicName::new("t").unwrap();
            let publish = Publish { qos: QoS::AtLeastOnce, ..Publish::new(topic, b"x") };
            let session = sending.registry.shard("c").get("c").unwrap();
            let delivery = Delivery::new(Message::from_publish(&publish, topic, 0), QoS::AtLeastOnce, false, None);
            let mut dispatcher = Dispatcher::default();
            session.deliver(&mut vec![delivery], &mut dispatcher.context(&sending, 0));
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
        let mut new = TestConnection::new(&shared, 2);
        let closing = thread::spawn(move || old.close());
        assert!(new.read(&connect(false)));
        closing.join().unwrap();
        assert_eq!(shared.registry.count(), 1);
        assert!(new.read(&subscribe()));
        let connection = shared.registry.shard("c").get("c").unwrap().outbox().map(|outbox| outbox.connection());
        assert_eq!(connection, Some(new.outbox.connection()), "the session is the new connection's");
        new.close();
        assert_eq!(shared.registry.count(), 1, "it is kept");
    });
}

#[test]
fn loom_a_message_sent_on_both_connections_is_delivered_once() {
    model(|| {
        let shared = Arc::new(Shared::new(Limits::DEFAULT, 1));
        let mut old = connected(&shared, 1);
        assert!(old.read(&subscribe()));
        let mut new = TestConnection::new(&shared, 2);
        let first = thread::spawn(move || {
            old.read(&publish(QoS::ExactlyOnce));
            old
        });
        assert!(new.read(&connect(false)));
        let mut old = first.join().unwrap();
        old.end();
        assert!(new.read(&publish(QoS::ExactlyOnce)));
        let delivered = count(&new.sent(), PUBLISH);
        assert_eq!(delivered, 1, "once to the subscriber, on the new connection");
    });
}

#[test]
fn loom_two_concurrent_takeovers_leave_one_connection() {
    model(|| {
        let shared = Arc::new(Shared::new(Limits::DEFAULT, 1));
        let old = connected(&shared, 1);
        let (mut first, mut second) = (TestConnection::new(&shared, 2), TestConnection::new(&shared, 3));
        let racing = thread::spawn(move || {
            assert!(first.read(&connect(true)));
            first
        });
        assert!(second.read(&connect(false)));
        let first = racing.join().unwrap();
        let ended = [&old, &first, &second].map(|worker| count(&worker.sent(), DISCONNECT));
        assert_eq!(ended[0], 1);
        assert_eq!(ended.iter().sum::<usize>(), 2, "one of the three is still connected");
        assert_eq!(shared.registry.count(), 1);
    });
}

#[test]
fn loom_a_queue_delivers_a_message_that_races_with_an_acknowledgement() {
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
        let push = |shared: &Shared| {
            let topic = TopicName::new("$queue/q").unwrap();
            let publish = Publish { qos: QoS::AtLeastOnce, ..Publish::new(topic, b"x") };
            let queued = Queued::new(Message::from_publish(&publish, topic, 0));
            let (queue, mut dispatcher) = (shared.queues.get("$queue/q").unwrap(), Dispatcher::default());
            queue.push(&mut vec![queued], &mut dispatcher.context(shared, 0));
            dispatcher.flush_staged(shared, 0);
            dispatcher.drain(&[], |staged| staged.push());
        };
        push(&shared);
        assert_eq!(count(&receiver.sent(), PUBLISH), 1, "the window is full now");
        let sending = Arc::clone(&shared);
        let pushing = thread::spawn(move || push(&sending));
        assert!(receiver.read(&encoded(&Packet::PubAck(wisp_wire::PubAck::new(PacketId::new(1).unwrap())))));
        pushing.join().unwrap();
        assert_eq!(count(&receiver.sent(), PUBLISH), 1, "there is room for the second, and a worker has to see it");
    });
}
