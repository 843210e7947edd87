//! Back-pressure under virtual time: a full receiver holds its senders back, they resume in order, and receivers that
//! lag delay them no longer than the limit allows, however many they are.

use wisp_engine::{EndReason, Limits, StallPolicy};
use wisp_wire::{Connect, PacketId, Publish, QoS, SubscriptionOptions, TopicName};

use crate::events::Event;
use crate::seeds::{Rng, for_seeds};
use crate::support::{Peer, V3, V5, World, encoded, plain, publish, subscribe, subscribe_with};

const QUEUE_BYTES: usize = 2_000;
const QUEUE_MESSAGES: usize = 20;

fn limits(stall_ms: u64, stall_policy: StallPolicy) -> Limits {
    Limits::DEFAULT.with(|limits| {
        limits.queue_bytes_max = QUEUE_BYTES;
        limits.queue_messages_max = QUEUE_MESSAGES;
        limits.stall_ms_max = Some(stall_ms);
        limits.stall_policy = stall_policy;
    })
}

/// A message from a sender, with its number, and of any length.
fn message(rng: &mut Rng, (sender, number): (u8, u16), qos: QoS) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let mut payload = vec![sender, high, low];
    payload.resize(3 + rng.below(200) as usize, 0);
    let packet_id = if qos == QoS::AtMostOnce { None } else { PacketId::new(number + 1) };
    let publish = Publish { qos, packet_id, ..Publish::new(TopicName::new("t").unwrap(), &payload) };
    encoded(|out| publish.encode(V3, out))
}

/// A receiver that reads irregularly, and the number of the next message from each sender.
struct Receiver {
    peer: Peer,
    qos: QoS,
    next: Vec<u16>,
}

impl Receiver {
    fn new(world: &mut World, id: &str, qos: QoS, senders: usize) -> Self {
        let mut peer = world.connected(V3, id);
        world.feed(&mut peer, &subscribe_with(V3, &["t"], SubscriptionOptions::new(qos), &[]));
        peer.take();
        Self { peer, qos, next: vec![0; senders] }
    }

    /// Reads all waiting messages, which are in order and without a gap, and acknowledges them.
    fn read(&mut self, world: &mut World) {
        let mut acknowledgements = Vec::new();
        for event in self.peer.events() {
            let Event::Message(message) = event else { continue };
            let (sender, number) =
                (usize::from(message.payload[0]), u16::from_be_bytes([message.payload[1], message.payload[2]]));
            assert_eq!((number, message.qos), (self.next[sender], self.qos), "of sender {sender}");
            self.next[sender] += 1;
            if message.qos == QoS::AtLeastOnce {
                acknowledgements.extend([0x40, 2].into_iter().chain(message.id.to_be_bytes()));
            }
        }
        world.feed(&mut self.peer, &acknowledgements);
    }
}

/// Sends messages of several senders to receivers that read irregularly. All of them arrive, in order.
fn hold_back(rng: &mut Rng, qos: QoS) -> bool {
    let mut world = World::new(limits(86_400_000, StallPolicy::Hold));
    let sender_count = rng.between(1, 4) as usize;
    let mut receivers: Vec<Receiver> = (0..rng.between(1, 3))
        .map(|number| Receiver::new(&mut world, &format!("receiver {number}"), qos, sender_count))
        .collect();
    let mut senders: Vec<(Peer, u16)> =
        (0..sender_count).map(|number| (world.connected(V3, &format!("sender {number}")), 0)).collect();
    let mut was_held_back = false;
    for _ in 0..100 {
        let sender = rng.below(sender_count as u64) as usize;
        let (peer, next) = &mut senders[sender];
        let burst: Vec<u8> = (0..rng.below(8))
            .flat_map(|_| {
                *next += 1;
                message(rng, (sender as u8, *next - 1), qos)
            })
            .collect();
        world.feed(peer, &burst);
        peer.take();
        was_held_back |= world.worker.paused() > 0;
        for receiver in &mut receivers {
            assert!(receiver.peer.unread_bytes() <= QUEUE_BYTES, "its senders were held back too late");
            if rng.one_in(8) {
                receiver.read(&mut world);
            }
        }
        world.pass_ms(rng.below(50));
    }
    while world.worker.paused() > 0 || receivers.iter().any(|receiver| receiver.peer.unread_bytes() > 0) {
        receivers.iter_mut().for_each(|receiver| receiver.read(&mut world));
        world.pass_ms(1);
    }
    let sent: Vec<u16> = senders.iter().map(|(_, next)| *next).collect();
    for receiver in &receivers {
        assert_eq!(receiver.next, sent, "all have arrived");
    }
    assert_eq!(world.stats().messages_dropped, 0);
    was_held_back
}

#[test]
fn senders_to_a_full_receiver_are_held_back_and_resume_in_order() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let held_back = std::cell::Cell::new(0);
        for_seeds(150, |rng| held_back.set(held_back.get() + u32::from(hold_back(rng, qos))));
        assert!(held_back.get() > 100, "{} runs had a sender to hold back", held_back.get());
    }
}

/// A stuck receiver and a healthy one, and a sender that has filled the stuck one. Returns how many messages it has sent.
fn fill(rng: &mut Rng, world: &mut World) -> (Peer, Peer, Peer, u64) {
    let mut stuck = world.connected(V5, "stuck");
    world.feed(&mut stuck, &subscribe(V5, &["t"]));
    let mut healthy = world.connected(V3, "healthy");
    world.feed(&mut healthy, &subscribe(V3, &["t"]));
    healthy.take();
    let (mut sender, mut sent) = (world.connected(V3, "sender"), 0);
    while world.worker.paused() == 0 {
        world.feed(&mut sender, &publish(V3, "t", &vec![0; rng.between(1, 300) as usize]));
        healthy.read();
        sent += 1;
        assert!(sent <= 1 + QUEUE_MESSAGES as u64, "the receiver has not become full");
    }
    (stuck, healthy, sender, sent)
}

#[test]
fn a_stuck_receiver_holds_its_senders_back_up_to_the_limit_and_then_misses_messages() {
    for_seeds(100, |rng| {
        let stall_ms = rng.between(1, 5_000);
        let mut world = World::new(limits(stall_ms, StallPolicy::Drop));
        world.now_ms = rng.below(10_000);
        let (mut stuck, mut healthy, mut sender, sent) = fill(rng, &mut world);
        let first_ms = rng.below(stall_ms + 1);
        world.pass_ms(first_ms);
        world.pass_ms(stall_ms - first_ms);
        assert_eq!((world.worker.paused(), world.stats().messages_dropped), (1, 0), "just as long as allowed");
        world.pass_ms(1);
        assert_eq!((world.worker.paused(), world.stats().messages_dropped), (0, 1));
        assert_eq!(healthy.messages().len() as u64, sent, "the healthy one has missed nothing");
        healthy.received.clear();

        // It holds no sender back until it has drained to half.
        world.feed(&mut sender, &publish(V3, "t", b"missed"));
        assert_eq!((world.worker.paused(), healthy.messages().len()), (0, 1));
        stuck.read();
        world.feed(&mut sender, &publish(V3, "t", b"seen"));
        stuck.read();
        assert!(stuck.received.ends_with(b"seen"));
        assert_eq!((stuck.end(), world.stats().messages_dropped), (None, 2));
    });
}

#[test]
fn a_stuck_receiver_is_disconnected_if_the_policy_says_so() {
    for_seeds(100, |rng| {
        let stall_ms = rng.between(1, 5_000);
        let mut world = World::new(limits(stall_ms, StallPolicy::Disconnect));
        world.now_ms = rng.below(10_000);
        let (stuck, mut healthy, _sender, sent) = fill(rng, &mut world);
        world.pass_ms(stall_ms);
        assert_eq!((world.worker.paused(), stuck.end()), (1, None), "just as long as allowed");
        world.pass_ms(1);
        assert_eq!((world.worker.paused(), stuck.end()), (0, Some(EndReason::Stuck)));
        assert_eq!(healthy.messages().len() as u64, sent);
    });
}

/// A sender that sends a short message each millisecond, and asks for an answer every tenth of a second.
struct Publisher {
    peer: Peer,
    payload: Vec<u8>,
    sent: u64,
    asked_ms: Vec<u64>,
    answers: usize,
    /// The longest time to an answer.
    slowest_ms: u64,
    /// The time for which it was held back.
    held_ms: u64,
}

impl Publisher {
    fn new(world: &mut World) -> Self {
        let peer = world.connected(V3, "publisher");
        Self { peer, payload: vec![0; 40], sent: 0, asked_ms: Vec::new(), answers: 0, slowest_ms: 0, held_ms: 0 }
    }

    /// Sends for a millisecond.
    fn send(&mut self, world: &mut World, qos: QoS) {
        let number = self.sent as u16;
        let packet_id = if qos == QoS::AtMostOnce { None } else { PacketId::new(number % 1_000 + 1) };
        let publish = Publish { qos, packet_id, ..Publish::new(TopicName::new("t").unwrap(), &self.payload) };
        let mut packets = encoded(|out| publish.encode(V3, out));
        self.sent += 1;
        if world.now_ms.is_multiple_of(100) {
            packets.extend([0xc0, 0]);
            self.asked_ms.push(world.now_ms);
        }
        world.feed(&mut self.peer, &packets);
        self.held_ms += u64::from(world.worker.paused() > 0);
        self.note_answers(world.now_ms);
    }

    fn note_answers(&mut self, now_ms: u64) {
        let answers = self.peer.events().into_iter().filter(|event| *event == Event::PingResp);
        for _ in answers {
            self.slowest_ms = self.slowest_ms.max(now_ms - self.asked_ms[self.answers]);
            self.answers += 1;
        }
    }

    fn finish(&mut self, world: &mut World) {
        while self.peer.unreceived_bytes() > 0 || world.worker.paused() > 0 {
            world.pass_ms(1);
            self.note_answers(world.now_ms);
        }
        assert_eq!(self.answers, self.asked_ms.len());
    }
}

/// Reads everything, and acknowledges it. The number of messages.
fn read_all(world: &mut World, peer: &mut Peer) -> u64 {
    let messages = peer.publishes();
    let ids = messages.iter().filter(|message| message.id > 0).map(|message| message.id.to_be_bytes());
    let acknowledgements: Vec<u8> = ids.flat_map(|[high, low]| [0x40, 2, high, low]).collect();
    if !acknowledgements.is_empty() {
        world.feed(peer, &acknowledgements);
    }
    messages.len() as u64
}

/// Reads when a sender has been held back for a while, and just in time.
#[derive(Default)]
struct LateReader {
    held_ms: u64,
    wait_ms: u64,
    received: u64,
}

impl LateReader {
    fn read(&mut self, rng: &mut Rng, world: &mut World, peer: &mut Peer) {
        self.held_ms = if world.worker.paused() > 0 { self.held_ms + 1 } else { 0 };
        if self.held_ms > self.wait_ms {
            self.received += read_all(world, peer);
            (self.held_ms, self.wait_ms) = (0, rng.below(98));
        }
    }

    fn finish(mut self, world: &mut World, publisher: &Publisher, peer: &mut Peer) -> u64 {
        while publisher.peer.unreceived_bytes() > 0 || world.worker.paused() > 0 {
            self.received += read_all(world, peer);
            world.pass_ms(1);
        }
        self.received + read_all(world, peer)
    }
}

#[test]
fn a_receiver_that_does_not_keep_up_soon_delays_nobody() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        for_seeds(6, |rng| {
            let mut world = World::new(limits(100, StallPolicy::Drop));
            let mut healthy = Receiver::new(&mut world, "healthy", qos, 0).peer;
            let mut slow = Receiver::new(&mut world, "slow", qos, 0).peer;
            let mut publisher = Publisher::new(&mut world);
            // From one that never reads to one that reads a twentieth of what comes.
            let pause_ms = rng.pick(&[u64::MAX, 2_000, 1_000, 500]);
            let (mut received, mut last_ms) = (0, 0);
            for _ in 0..60_000 {
                publisher.send(&mut world, qos);
                received += read_all(&mut world, &mut healthy);
                if world.now_ms - last_ms > rng.between(pause_ms - pause_ms / 8, pause_ms) {
                    read_all(&mut world, &mut slow);
                    last_ms = world.now_ms;
                }
                world.pass_ms(1);
            }
            publisher.finish(&mut world);
            received += read_all(&mut world, &mut healthy);
            assert_eq!(received, publisher.sent, "the healthy receiver has missed nothing");
            let episodes = 3 + 60 / 30;
            assert!(publisher.held_ms <= episodes * 101, "{} ms, pauses of {pause_ms} ms", publisher.held_ms);
            assert!(publisher.slowest_ms <= 102, "an answer after {} ms", publisher.slowest_ms);
            assert!(world.stats().messages_dropped > 0);
        });
    }
}

#[test]
fn a_receiver_that_drains_in_time_misses_nothing_however_often_it_is_full() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        for_seeds(6, |rng| {
            let mut world = World::new(limits(100, StallPolicy::Drop));
            let mut receiver = Receiver::new(&mut world, "receiver", qos, 0).peer;
            let mut publisher = Publisher::new(&mut world);
            let mut reader = LateReader::default();
            for _ in 0..20_000 {
                publisher.send(&mut world, qos);
                reader.read(rng, &mut world, &mut receiver);
                world.pass_ms(1);
            }
            let received = reader.finish(&mut world, &publisher, &mut receiver);
            assert_eq!((received, world.stats().messages_dropped), (publisher.sent, 0));
            assert!(publisher.held_ms > 5_000, "it was full for {} ms", publisher.held_ms);
        });
    }
}

#[test]
fn the_delays_of_many_stuck_receivers_do_not_add_up() {
    for_seeds(6, |rng| {
        let limits = limits(100, StallPolicy::Drop).with(|limits| limits.queue_bytes_max = 1 << 20);
        let mut world = World::new(limits);
        let mut healthy = Receiver::new(&mut world, "healthy", QoS::AtMostOnce, 0).peer;
        let mut publisher = Publisher::new(&mut world);
        // The healthy receiver is never full before the others come, and then has to take what was held back.
        publisher.payload = vec![0; 10_000];
        let (mut stuck, mut received) = (Vec::new(), 0);
        for _ in 0..2_000 {
            publisher.send(&mut world, QoS::AtMostOnce);
            received += read_all(&mut world, &mut healthy);
            world.pass_ms(1);
        }
        let (every_ms, joins) = (rng.pick(&[1, 10, 100]), 100);
        for step in 0..20_000 {
            if step % every_ms == 0 && step / every_ms < joins {
                // The first half stays, the other is one client that connects again and again.
                let id = format!("stuck {}", (step / every_ms).min(joins / 2));
                stuck.push(Receiver::new(&mut world, &id, QoS::AtMostOnce, 0).peer);
            }
            publisher.send(&mut world, QoS::AtMostOnce);
            received += read_all(&mut world, &mut healthy);
            world.pass_ms(1);
        }
        publisher.finish(&mut world);
        received += read_all(&mut world, &mut healthy);
        assert_eq!(received, publisher.sent, "the healthy receiver has missed nothing");
        assert!(publisher.slowest_ms <= 650, "an answer after {} ms", publisher.slowest_ms);
        assert!(publisher.held_ms <= 750, "held back for {} ms", publisher.held_ms);
    });
}

#[test]
fn a_group_whose_members_do_not_keep_up_soon_delays_nobody() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        for is_away in [false, true] {
            let mut world = World::new(limits(100, StallPolicy::Drop));
            let mut healthy = Receiver::new(&mut world, "healthy", qos, 0).peer;
            let mut member = world.accept();
            let connect = Connect { clean_start: false, ..plain(V3, "member") };
            world.feed(&mut member, &encoded(|out| connect.encode(V3, out)));
            world.feed(&mut member, &subscribe_with(V3, &["$share/g/t"], SubscriptionOptions::new(qos), &[]));
            if is_away {
                world.close(&mut member, EndReason::Closed);
            }
            let mut publisher = Publisher::new(&mut world);
            let mut received = 0;
            for _ in 0..60_000 {
                publisher.send(&mut world, qos);
                received += read_all(&mut world, &mut healthy);
                world.pass_ms(1);
            }
            publisher.finish(&mut world);
            received += read_all(&mut world, &mut healthy);
            assert_eq!(received, publisher.sent, "the healthy receiver has missed nothing");
            assert!(publisher.held_ms <= (3 + 60 / 30) * 101, "{} ms, {qos:?}, {is_away}", publisher.held_ms);
            assert!(publisher.held_ms >= 100, "a group is waited for like a receiver");
            assert!(world.stats().messages_dropped > 50_000);
            // It gets messages again when it has taken half of those that wait.
            if is_away {
                member = world.accept();
                world.feed(&mut member, &encoded(|out| connect.encode(V3, out)));
            }
            let mut read = |world: &mut World| {
                world.pass_ms(1);
                read_all(world, &mut member)
            };
            let taken: u64 = (0..100).map(|_| read(&mut world)).sum();
            assert!(taken > 0, "{qos:?}, {is_away}");
            world.feed(&mut publisher.peer, &publish(V3, "t", b"again"));
            assert_eq!(member.publishes().last().map(|message| message.payload.clone()), Some(b"again".to_vec()));
        }
    }
}

/// How a stuck client connects again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Clean,
    Kept,
    /// It takes its clean session over.
    Takeover,
}

/// For how long a publisher is held back in a minute by a client that reads nothing and connects again a while after it
/// has become full. Before the next connection the publisher has forgotten all that it has waited for.
fn held_by_reconnecting(again: Again, qos: QoS, full_for_ms: u64) -> u64 {
    let mut world = World::new(limits(100, StallPolicy::Drop));
    let (mut held_ms, mut stuck): (u64, Option<Peer>) = (0, None);
    let end_ms = world.now_ms + 60_000;
    while world.now_ms < end_ms {
        if let Some(old) = stuck.as_mut().filter(|_| again != Again::Takeover) {
            world.close(old, EndReason::Closed);
        }
        let mut peer = world.accept();
        let connect = Connect { clean_start: again != Again::Kept, ..plain(V3, "stuck") };
        world.feed(&mut peer, &encoded(|out| connect.encode(V3, out)));
        world.feed(&mut peer, &subscribe_with(V3, &["t"], SubscriptionOptions::new(qos), &[]));
        peer.take();
        let mut publisher = Publisher::new(&mut world);
        for _ in 0..2 * QUEUE_MESSAGES as u64 + full_for_ms {
            publisher.send(&mut world, qos);
            world.pass_ms(1);
        }
        held_ms += publisher.held_ms;
        world.close(&mut publisher.peer, EndReason::Closed);
        stuck = Some(peer);
    }
    held_ms
}

#[test]
fn a_stuck_receiver_that_connects_again_and_again_soon_delays_nobody() {
    for again in [Again::Clean, Again::Kept, Again::Takeover] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            for full_for_ms in [20, 50, 150, 1_000] {
                let held_ms = held_by_reconnecting(again, qos, full_for_ms);
                let most = (3 + 60 / 30) * 101;
                assert!(held_ms <= most, "{held_ms} ms, {again:?}, {qos:?}, leaves after {full_for_ms} ms");
            }
        }
    }
}

#[test]
fn a_receiver_that_keeps_up_is_waited_for_beside_many_stuck_ones() {
    for_seeds(6, |rng| {
        let mut world = World::new(limits(100, StallPolicy::Drop));
        let mut receiver = Receiver::new(&mut world, "receiver", QoS::AtMostOnce, 0).peer;
        let mut publisher = Publisher::new(&mut world);
        let (mut reader, mut stuck) = (LateReader::default(), Vec::new());
        for step in 0..10_000 {
            if step > 1_000 && step % 50 == 0 {
                stuck.push(Receiver::new(&mut world, &step.to_string(), QoS::AtMostOnce, 0).peer);
            }
            publisher.send(&mut world, QoS::AtMostOnce);
            reader.read(rng, &mut world, &mut receiver);
            world.pass_ms(1);
        }
        assert_eq!(reader.finish(&mut world, &publisher, &mut receiver), publisher.sent);
    });
}

/// Sends messages at QoS 1 to the other, and acknowledges what has come behind them.
fn exchange(world: &mut World, peer: &mut Peer, topic: &str, count: u16) -> u64 {
    let mut packets = Vec::new();
    for id in 1..=count {
        let publish = Publish::new(TopicName::new(topic).unwrap(), &[0; 40]);
        let publish = Publish { qos: QoS::AtLeastOnce, packet_id: PacketId::new(id), ..publish };
        packets.extend(encoded(|out| publish.encode(V3, out)));
    }
    let messages = peer.publishes();
    packets.extend(messages.iter().flat_map(|message| [0x40, 2].into_iter().chain(message.id.to_be_bytes())));
    world.feed(peer, &packets);
    messages.len() as u64
}

#[test]
fn two_clients_with_full_windows_that_send_to_each_other_do_not_wait_for_each_other() {
    for policy in [StallPolicy::Drop, StallPolicy::Hold, StallPolicy::Disconnect] {
        for_seeds(50, |rng| {
            let limits = limits(10_000, policy);
            let mut world =
                World::new(limits.with(|limits| (limits.inflight_count_max, limits.queue_bytes_max) = (3, 100_000)));
            let mut peers = ["a", "b"].map(|id| {
                let mut peer = world.connected(V3, id);
                world.feed(&mut peer, &subscribe_with(V3, &[id], SubscriptionOptions::new(QoS::AtLeastOnce), &[]));
                peer.take();
                peer
            });
            let mut received = [0, 0];
            // More than a queue takes, and less than two.
            let sent = [(), ()].map(|()| rng.between(QUEUE_MESSAGES as u64 + 1, 2 * QUEUE_MESSAGES as u64));
            for index in [0, 1] {
                let count = sent[1 - index] as u16;
                received[index] += exchange(&mut world, &mut peers[index], ["b", "a"][index], count);
            }
            for _ in 0..100 {
                for index in [0, 1] {
                    received[index] += exchange(&mut world, &mut peers[index], "", 0);
                }
                world.pass_ms(1);
            }
            assert_eq!((received, world.worker.paused()), (sent, 0), "at once, and not after ten seconds");
            assert_eq!((world.stats().messages_dropped, peers[0].end(), peers[1].end()), (0, None, None));
        });
    }
}
