//! Receivers that do not read, and clients that ask for too much: memory stays bounded, and all other clients are
//! served.

use std::time::{Duration, Instant};

use wisp_broker::{Limits, StallPolicy};

use crate::support::{Client, Net, PATIENT, V3, V5, connect, numbered, publish, publish_qos1, wait_until};

const QUEUE: usize = 64 * 1024;

/// Bytes in the pipes of the network and in one read, besides the queues.
const UNDER_WAY: usize = 512 * 1024;

fn small_queues() -> Limits {
    PATIENT.with(|limits| limits.queue_bytes_max = QUEUE)
}

fn subscriber(net: &Net, id: &str, filter: &str) -> Client {
    let mut client = net.client(V3, id);
    client.subscribe(filter);
    client
}

/// Two clients that nothing else disturbs exchange messages.
fn assert_others_are_served(net: &Net, rounds: u32) {
    let mut receiver = subscriber(net, "bystander", "quiet");
    let mut sender = net.client(V5, "its friend");
    for number in 0..rounds {
        sender.send(&numbered(V5, "quiet", number, 1000));
        assert_eq!(receiver.number(), number);
    }
}

fn flood(count: u32) -> Vec<u8> {
    (0..count).flat_map(|number| numbered(V3, "loud", number, 1000)).collect()
}

#[test]
fn a_receiver_that_pauses_reading_loses_nothing_and_delays_no_other_client() {
    const COUNT: u32 = 4_000;
    let net = Net::start(2, small_queues());
    let mut slow = subscriber(&net, "slow", "loud");
    let mut sender = net.client(V3, "sender");
    let (flood, mut sent) = (flood(COUNT), 0);
    for _ in 0..20 {
        sent += sender.try_send(&flood[sent..]);
        assert_others_are_served(&net, 20);
        assert!(net.buffered_bytes() < 4 * QUEUE + UNDER_WAY);
    }
    assert!(sent < UNDER_WAY + 2 * QUEUE, "{sent} bytes were taken from a sender without a receiver");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sender.send(&flood[sent..]);
            sender.ping();
        });
        (0..COUNT).for_each(|number| assert_eq!(slow.number(), number));
    });
    slow.ping();
    assert_eq!(net.broker.stats().messages_dropped, 0);
    wait_until("empty buffers", || net.buffered_bytes() == 0);
}

#[test]
fn a_stuck_receiver_misses_messages_and_others_of_the_topic_do_not() {
    const COUNT: u32 = 3_000;
    let net = Net::start(2, small_queues().with(|limits| limits.stall_policy = StallPolicy::Drop));
    let mut stuck = subscriber(&net, "stuck", "loud");
    let mut reader = subscriber(&net, "reader", "loud");
    let mut sender = net.client(V3, "sender");
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(&flood(COUNT)));
        (0..COUNT).for_each(|number| assert_eq!(reader.number(), number));
    });
    sender.ping();
    let missed = net.broker.stats().messages_dropped;
    assert!(missed > 0 && missed < u64::from(COUNT));
    // The received messages are in order, and once the receiver reads it misses no more.
    let got: Vec<u32> = (0..u64::from(COUNT) - missed).map(|_| stuck.number()).collect();
    assert!(got.is_sorted() && got[0] == 0);
    stuck.ping();
    for number in 0..10 {
        sender.send(&numbered(V3, "loud", number, 1000));
        assert_eq!(stuck.number(), number);
    }
}

#[test]
fn the_other_policy_disconnects_a_stuck_receiver() {
    const COUNT: u32 = 3_000;
    let limits = small_queues().with(|limits| {
        limits.stall_ms_max = Some(100);
        limits.stall_policy = StallPolicy::Disconnect;
    });
    let net = Net::start(2, limits);
    let mut stuck = subscriber(&net, "stuck", "loud");
    let mut reader = subscriber(&net, "reader", "loud");
    let mut sender = net.client(V3, "sender");
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(&flood(COUNT)));
        (0..COUNT).for_each(|number| assert_eq!(reader.number(), number));
    });
    stuck.end();
    reader.ping();
    sender.ping();
}

#[test]
fn a_receiver_that_was_full_once_is_not_disconnected_when_it_sends_later() {
    let limits = small_queues().with(|limits| {
        limits.stall_ms_max = Some(300);
        limits.stall_policy = StallPolicy::Disconnect;
    });
    let net = Net::start(1, limits);
    let mut receiver = subscriber(&net, "receiver", "loud");
    let mut sender = net.client(V3, "sender");
    let flood = flood(400);
    sender.try_send(&flood);
    // The sender is held back, and is gone before the receiver has space.
    assert_others_are_served(&net, 3);
    drop(sender);
    let begun = Instant::now();
    wait_until("the time to be stuck", || {
        receiver.drain();
        begun.elapsed() > Duration::from_millis(700)
    });
    receiver.ping();
}

/// With the defaults, under which only receivers are given up after a moment.
#[test]
fn a_sender_of_mqtt_3_to_a_full_topic_queue_is_held_back_and_not_disconnected() {
    const COUNT: u16 = 600;
    let net = Net::start(2, Limits::DEFAULT.with(|limits| limits.queue_bytes_max = QUEUE));
    let mut sender = net.client(V3, "sender");
    let jobs: Vec<u8> = (1..=COUNT).flat_map(|n| publish_qos1("$queue/jobs", n, &[0; 1_000])).collect();
    let (mut sent, begun) = (0, Instant::now());
    wait_until("ten times the stall limit of a receiver", || {
        sent += sender.try_send(&jobs[sent..]);
        begun.elapsed() > Duration::from_millis(1_000)
    });
    let mut worker = subscriber(&net, "worker", "$queue/jobs");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sender.send(&jobs[sent..]);
            (1..=COUNT).for_each(|id| assert_eq!(sender.packet(), [0x40, 2, (id >> 8) as u8, id as u8]));
        });
        (0..COUNT).for_each(|_| assert_eq!(worker.message().1, [0; 1_000]));
    });
    assert_eq!(net.broker.stats().messages_dropped, 0);
}

#[test]
fn a_sender_that_is_held_back_has_no_keep_alive_timeout() {
    let net = Net::start(1, small_queues());
    let mut slow = subscriber(&net, "slow", "loud");
    let mut sender = net.open(V3);
    sender.send(&connect(V3, "sender", 1, &[]));
    assert!(sender.packet().starts_with(&[0x20]));
    let flood = flood(1_000);
    let begun = Instant::now();
    let mut sent = 0;
    // Twice the silence that is tolerated of a client that is read.
    wait_until("a long time without a sign of life", || {
        sent += sender.try_send(&flood[sent..]);
        begun.elapsed() > Duration::from_millis(3_000)
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sender.send(&flood[sent..]);
            sender.ping();
        });
        (0..1_000).for_each(|number| assert_eq!(slow.number(), number));
    });
}

#[test]
fn many_senders_that_a_slow_receiver_holds_back_all_get_their_turn() {
    const SENDERS: usize = 150;
    const COUNT: u32 = 400;
    /// The sender of each message, in the order of arrival. The messages of each sender are in order.
    fn receive(receiver: &mut Client, parity: u32) -> Vec<usize> {
        let mut next = [parity; SENDERS];
        let come = (0..SENDERS as u32 * COUNT / 2).map(|_| {
            let number = receiver.number();
            let sender = (number / COUNT) as usize;
            assert_eq!(number % COUNT, next[sender], "of sender {sender}");
            next[sender] += 2;
            sender
        });
        come.collect()
    }
    let net = Net::start(1, small_queues());
    let mut slow = subscriber(&net, "slow", "loud");
    let mut other = subscriber(&net, "other", "quiet");
    // Every second message is for another receiver than the one that most senders wait for.
    let of = |sender: usize| {
        let first = sender as u32 * COUNT;
        let numbers = first..first + COUNT;
        numbers.flat_map(move |n| numbered(V3, ["loud", "quiet"][n as usize % 2], n, 1000)).collect::<Vec<u8>>()
    };
    let mut senders: Vec<_> = (0..SENDERS).map(|n| (net.client(V3, &format!("sender {n}")), of(n), 0)).collect();
    // All senders are held back before the receivers read.
    for (sender, messages, sent) in &mut senders {
        *sent = sender.try_send(messages);
    }
    let come = std::thread::scope(|scope| {
        for (sender, messages, sent) in &mut senders {
            scope.spawn(move || {
                sender.send(&messages[*sent..]);
                sender.ping();
            });
        }
        scope.spawn(|| receive(&mut other, 1));
        receive(&mut slow, 0)
    });
    let first = |sender| come.iter().position(|other| *other == sender);
    let last = |sender| come.iter().rposition(|other| *other == sender);
    let (latest_first, earliest_last) = ((0..SENDERS).map(first).max(), (0..SENDERS).map(last).min());
    assert!(latest_first < earliest_last, "one sender was done before all had begun");
    wait_until("empty buffers", || net.buffered_bytes() == 0);
    assert_eq!(net.broker.stats().messages_dropped, 0);
}

#[test]
fn a_sender_that_disconnects_while_held_back_frees_its_connection() {
    let net = Net::start(
        1,
        small_queues().with(|limits| {
            limits.connections_count_max = 2;
            limits.stall_ms_max = Some(200);
        }),
    );
    let mut slow = subscriber(&net, "slow", "loud");
    let mut sender = net.client(V3, "sender");
    sender.try_send(&flood(300));
    assert_eq!(slow.number(), 0);
    drop(sender);
    wait_until("a free place", || {
        let mut client = net.open(V3);
        client.send_if_open(&connect(V3, "next", 0, &[])) && client.packet_if_open().is_some()
    });
}

#[test]
fn a_client_that_does_not_read_its_replies_is_disconnected_in_time() {
    let net = Net::start(2, small_queues().with(|limits| limits.reply_stall_ms_max = 200));
    let mut asking = net.client(V5, "asking");
    let pings = [0xc0, 0].repeat(10_000);
    wait_until("an end to the questions", || {
        assert!(net.buffered_bytes() < 2 * (QUEUE + UNDER_WAY));
        !asking.send_if_open(&pings)
    });
    assert_others_are_served(&net, 3);
}

#[test]
fn a_fan_out_to_receivers_that_do_not_read_stays_within_the_limit_on_all_buffers() {
    const BUFFERED: usize = 2 << 20;
    let limits = Limits::DEFAULT.with(|limits| {
        limits.buffered_bytes_max = BUFFERED;
        limits.stall_ms_max = Some(200);
    });
    let net = Net::start(2, limits);
    let stuck: Vec<_> = (0..100).map(|n| subscriber(&net, &n.to_string(), "wide")).collect();
    let message = publish(V3, "wide", &[0; 60_000]);
    let small: Vec<u8> = (0..1_000).flat_map(|number| numbered(V3, "wide", number, 1_000)).collect();
    for packets in [message, small] {
        let mut sender = net.client(V3, "sender");
        let mut most = 0;
        std::thread::scope(|scope| {
            let sending = scope.spawn(move || {
                for _ in 0..5 {
                    sender.send(&packets);
                }
                sender.ping();
            });
            wait_until("the messages to be taken", || {
                most = most.max(net.buffered_bytes());
                sending.is_finished()
            });
        });
        assert!(most <= BUFFERED + BUFFERED / 2 + UNDER_WAY, "{most} bytes in buffers");
    }
    assert!(net.broker.stats().messages_dropped > 0);
    drop(stuck);
    wait_until("empty buffers", || net.buffered_bytes() == 0);
    assert_others_are_served(&net, 10);
}

#[test]
fn receivers_that_use_up_all_buffers_are_disconnected_so_that_long_packets_flow_again() {
    const BUFFERED: usize = 1 << 20;
    let limits = Limits::DEFAULT.with(|limits| {
        limits.buffered_bytes_max = BUFFERED;
        limits.stall_ms_max = Some(200);
    });
    let net = Net::start(2, limits);
    let _hogs: Vec<_> = (0..4).map(|n| subscriber(&net, &format!("hog {n}"), "wide")).collect();
    let mut sender = net.client(V3, "sender");
    sender.send(&publish(V3, "wide", &vec![0; BUFFERED / 2]));
    sender.ping();
    let mut receiver = subscriber(&net, "receiver", "long");
    sender.send(&publish(V3, "long", &[1; 60_000]));
    assert_eq!(receiver.message().1, [1; 60_000]);
}

#[test]
fn many_receivers_get_all_of_many_small_messages() {
    const RECEIVERS: usize = 300;
    const COUNT: u32 = 1_000;
    let net = Net::start(2, PATIENT);
    let mut receivers: Vec<_> = (0..RECEIVERS).map(|n| subscriber(&net, &n.to_string(), "+")).collect();
    let mut sender = net.client(V3, "sender");
    // Two topics alternately, so that neighbouring messages go to all receivers, and in the sizes of both formats.
    let messages: Vec<u8> = (0..COUNT).flat_map(|n| numbered(V3, ["a", "b"][n as usize % 2], n, 40)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send(&messages));
        for share in receivers.chunks_mut(RECEIVERS / 4) {
            scope.spawn(|| {
                for receiver in share {
                    (0..COUNT).for_each(|number| assert_eq!(receiver.number(), number));
                }
            });
        }
    });
}
