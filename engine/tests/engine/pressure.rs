//! Back-pressure under virtual time: a full receiver holds its senders back, they resume in order, and a stuck receiver
//! delays them no longer than the limit allows.

use wisp_engine::{EndReason, Limits, StallPolicy};
use wisp_wire::{PacketId, Publish, QoS, SubscriptionOptions, TopicName};

use crate::events::Event;
use crate::seeds::{Rng, for_seeds};
use crate::support::{Peer, V3, V5, World, encoded, publish, subscribe, subscribe_with};

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
    let mut world = World::new(limits(86_400_000, StallPolicy::Drop));
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

        // It holds no sender back again until it has drained to half.
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
