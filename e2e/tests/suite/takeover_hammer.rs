//! Hundreds of connections take the same session over from each other while messages go through it. The broker
//! keeps one connection of each burst; the test learns which one when the broker has closed the others. The
//! session's messages form one sequence, whatever the number of connections, and are checked as such.

use std::collections::{BTreeSet, HashMap};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, Host};
use wisp_e2e::packet::{Connect, Message, Publish, Received, acknowledge, kind};
use wisp_e2e::random::Random;
use wisp_e2e::raw::Incoming;
use wisp_e2e::wait::{SetAtTheEnd, TIMEOUT};

/// Connections that request the session at the same moment.
const BURST: usize = 6;
const BURSTS_MAX: usize = 100;
const TIME_MAX: Duration = Duration::from_secs(8);
const MESSAGES_MAX: usize = 3000;

/// Opens connections that all request the same session, and returns the one that the broker keeps.
fn burst(broker: &Broker, client_id: &str, random: &mut Random) -> Client {
    let versions: Vec<Version> =
        (0..BURST).map(|_| if random.percent(50) { Version::V5 } else { Version::V311 }).collect();
    let barrier = Barrier::new(BURST);
    let mut candidates: Vec<(Client, Vec<Received>)> = thread::scope(|scope| {
        let barrier = &barrier;
        let connect = move |version: Version| {
            let connect = Connect::kept(version, client_id, 3600);
            barrier.wait();
            // A connection that is taken over before its CONNACK just ends.
            Client::try_connect(broker, &connect)
        };
        let threads: Vec<_> = versions.into_iter().map(|version| scope.spawn(move || connect(version))).collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().expect("the thread does not panic"))
            .map(|client| (client, Vec::new()))
            .collect()
    });
    let deadline = Instant::now() + TIMEOUT;
    while candidates.len() > 1 {
        assert!(Instant::now() < deadline, "{} connections live under one client id", candidates.len());
        candidates.retain_mut(|(client, packets)| {
            loop {
                match client.read_within(Duration::from_millis(2)) {
                    Some(Incoming::Packet(packet)) => packets.push(packet),
                    Some(Incoming::Closed) => return false,
                    None => return true,
                }
            }
        });
    }
    let (mut client, packets) = candidates.pop().expect("one of them lives");
    assert_ne!(client.session_present(), Some(false), "the session is lost");
    client.put_back(packets);
    client
}

/// A receiver's record of the messages of one session, over all its connections.
#[derive(Default)]
struct Receiver {
    once: BTreeSet<usize>,
    twice: BTreeSet<usize>,
    /// Messages at QoS 2 that were received but not released, by packet id.
    unreleased: HashMap<u16, usize>,
}

/// The last number seen at QoS 1 and at QoS 2 on one connection.
#[derive(Default)]
struct InOrder([Option<usize>; 2]);

impl Receiver {
    /// Checks a packet, and answers it if `answers`.
    fn take(&mut self, client: &mut Client, packet: &Received, order: &mut InOrder, answers: bool) {
        let version = client.version();
        match packet.kind() {
            kind::PUBLISH => self.take_message(client, &packet.message(version), order, answers),
            kind::PUBREL => {
                let packet_id = packet.publish_acknowledgement(version).packet_id;
                self.unreleased.remove(&packet_id);
                if answers {
                    client.try_send(&acknowledge(kind::PUBCOMP, packet_id));
                }
            }
            _ => panic!("not expected: {packet:02X?}"),
        }
    }

    fn take_message(&mut self, client: &mut Client, message: &Message, order: &mut InOrder, answers: bool) {
        let number: usize = message.text().parse().expect("a number");
        let last = &mut order.0[usize::from(message.qos) - 1];
        // If windows are exceeded, some messages overtake others.
        let in_order = last.is_none_or(|last| last < number) || Host::current().lacks(Ability::Windows).is_some();
        assert!(in_order, "after {last:?} comes {message:?}");
        *last = Some(number);
        if message.qos == 1 {
            assert!(self.once.insert(number) || message.duplicate, "{number} again, without DUP");
        } else if let Some(known) = self.unreleased.get(&message.packet_id) {
            assert_eq!(*known, number, "another message under a packet id in use: {message:?}");
        } else {
            assert!(self.twice.insert(number), "{number} at QoS 2 twice: {message:?}");
            self.unreleased.insert(message.packet_id, number);
        }
        if answers {
            let answer = if message.qos == 1 { kind::PUBACK } else { kind::PUBREC };
            client.try_send(&acknowledge(answer, message.packet_id));
        }
    }
}

/// Publishes numbers at one QoS until `stop`; returns how many.
fn publish_numbers(broker: &Broker, version: Version, qos: u8, stop: &AtomicBool) -> usize {
    let mut publisher = Client::clean(broker, version, &format!("publisher {qos}"));
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) && number < MESSAGES_MAX {
        publisher.publish(&Publish::new("hammer", &number.to_string()).qos(qos));
        number += 1;
    }
    number
}

/// Lets the owner of the session handle packets for a moment, answering all or only some of them.
fn work(owner: &mut Client, receiver: &mut Receiver, random: &mut Random) {
    let deadline = Instant::now() + Duration::from_millis(random.below(30));
    let care = random.below(101);
    let mut order = InOrder::default();
    while Instant::now() < deadline {
        match owner.read_within(Duration::from_millis(2)) {
            Some(Incoming::Packet(packet)) => receiver.take(owner, &packet, &mut order, random.percent(care)),
            Some(Incoming::Closed) => panic!("the connection that lived has ended"),
            None => {}
        }
    }
}

#[test]
fn a_session_taken_over_hundreds_of_times_loses_and_doubles_nothing_it_receives() {
    let broker = Broker::start();
    let mut owner = Client::kept(&broker, Version::V5, "the one");
    owner.subscribe("hammer", 2);
    let mut receiver = Receiver::default();
    let mut random = Random::new(1);
    let stop = AtomicBool::new(false);
    let published = thread::scope(|scope| {
        let publishers = [(Version::V311, 1), (Version::V5, 2)].map(|(version, qos)| {
            let (broker, stop) = (&broker, &stop);
            scope.spawn(move || publish_numbers(broker, version, qos, stop))
        });
        let _stop_at_the_end = SetAtTheEnd(&stop);
        let start = Instant::now();
        for _ in 0..BURSTS_MAX {
            // The current owner is connected and active while others request its session.
            owner = burst(&broker, "the one", &mut random);
            work(&mut owner, &mut receiver, &mut random);
            if start.elapsed() >= TIME_MAX {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        publishers.map(|publisher| publisher.join().expect("the thread does not panic"))
    });
    assert!(published.iter().all(|count| *count > 0), "{published:?}");

    let mut last = Client::kept(&broker, Version::V5, "the one");
    let mut order = InOrder::default();
    while receiver.once.len() < published[0] || receiver.twice.len() < published[1] || !receiver.unreleased.is_empty() {
        match last.read_within(TIMEOUT) {
            Some(Incoming::Packet(packet)) => receiver.take(&mut last, &packet, &mut order, true),
            Some(Incoming::Closed) => panic!("the last connection has ended"),
            None => panic!("lost: of {published:?} came {} and {}", receiver.once.len(), receiver.twice.len()),
        }
    }
    last.nothing_came();
    last.die();
    Client::kept(&broker, Version::V5, "the one").nothing_came();
}

/// A sender's record of its messages at QoS 2, over all its connections.
#[derive(Default)]
struct Sender {
    /// The next number.
    next: usize,
    /// Packet id, number, and whether its PUBREC has arrived.
    under_way: Vec<(u16, usize, bool)>,
}

const SENDER_WINDOW: usize = 10;

impl Sender {
    fn publish(client: &mut Client, packet_id: u16, number: usize, again: bool) {
        let text = number.to_string();
        let mut publish = Publish::new("hammer", &text).qos(2);
        publish.duplicate = again;
        client.try_send(&publish.encode(client.version(), packet_id));
    }

    /// Sends the unfinished exchanges of an earlier connection again.
    fn resume(&self, client: &mut Client) {
        for (packet_id, number, received) in &self.under_way {
            if *received {
                client.try_send(&acknowledge(kind::PUBREL, *packet_id));
            } else {
                Sender::publish(client, *packet_id, *number, true);
            }
        }
    }

    /// Sends new messages while the window has room and there are any.
    fn go_on(&mut self, client: &mut Client, count: usize) {
        while self.under_way.len() < SENDER_WINDOW && self.next < count {
            // An id is free long before it is used again.
            let packet_id = (self.next % 1000) as u16 + 1;
            Sender::publish(client, packet_id, self.next, false);
            self.under_way.push((packet_id, self.next, false));
            self.next += 1;
        }
    }

    fn take(&mut self, client: &mut Client, packet: &Received) {
        if packet.kind() == kind::DISCONNECT {
            return;
        }
        let answer = packet.publish_acknowledgement(client.version());
        let known = self.under_way.iter().position(|(packet_id, ..)| *packet_id == answer.packet_id);
        match (packet.kind(), known) {
            (kind::PUBREC, Some(known)) => {
                assert!(answer.code < 0x80, "{answer:?}");
                self.under_way[known].2 = true;
                client.try_send(&acknowledge(kind::PUBREL, answer.packet_id));
            }
            (kind::PUBCOMP, Some(known)) => drop(self.under_way.remove(known)),
            _ => panic!("not expected: {packet:02X?}"),
        }
    }
}

#[test]
fn a_session_taken_over_hundreds_of_times_loses_and_doubles_nothing_it_sends() {
    let broker = Broker::start();
    let mut subscriber = Client::clean(&broker, Version::V5, "subscriber");
    subscriber.subscribe("hammer", 2);
    let mut sender = Sender::default();
    let mut random = Random::new(2);
    let mut owner = Client::kept(&broker, Version::V311, "the one");
    let start = Instant::now();
    for _ in 0..BURSTS_MAX {
        if start.elapsed() >= TIME_MAX {
            break;
        }
        owner.ping();
        owner = burst(&broker, "the one", &mut random);
        sender.resume(&mut owner);
        let deadline = Instant::now() + Duration::from_millis(random.below(30));
        while Instant::now() < deadline {
            sender.go_on(&mut owner, MESSAGES_MAX);
            if let Some(Incoming::Packet(packet)) = owner.read_within(Duration::from_millis(2)) {
                sender.take(&mut owner, &packet);
            }
        }
    }
    let mut last = Client::kept(&broker, Version::V5, "the one");
    sender.resume(&mut last);
    while !sender.under_way.is_empty() {
        match last.read_within(TIMEOUT) {
            Some(Incoming::Packet(packet)) => sender.take(&mut last, &packet),
            end => panic!("{:?} are under way for ever: {end:?}", sender.under_way),
        }
    }
    assert!(sender.next > 0, "nothing was sent");
    for number in 0..sender.next {
        assert_eq!(subscriber.receive().text(), number.to_string(), "once, and in order");
    }
    subscriber.nothing_came();
}
