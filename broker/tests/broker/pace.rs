//! Clients that send faster than their rate limit: they are slowed down, lose nothing, and disturb no other client.

use std::time::{Duration, Instant};

use crate::support::{Client, Net, PATIENT, V3, V5, connect, numbered, publish};

/// Sends `messages` and a ping. Returns the time until all were handled and `receiver` had all `count` in order.
fn time_to_handle(sender: &mut Client, receiver: &mut Client, messages: &[u8], count: u32) -> Duration {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sender.send(messages);
            sender.ping();
        });
        (0..count).for_each(|number| assert_eq!(receiver.number(), number));
    });
    begun.elapsed()
}

fn pair(net: &Net) -> (Client, Client) {
    let mut receiver = net.client(V5, "receiver");
    receiver.subscribe("paced");
    (net.client(V3, "sender"), receiver)
}

#[test]
fn a_client_that_sends_more_messages_than_it_may_is_slowed_down_and_nothing_is_lost() {
    const COUNT: u32 = 600;
    let net = Net::start(1, PATIENT.with(|limits| limits.messages_per_s_max = 200));
    let (mut sender, mut receiver) = pair(&net);
    let messages: Vec<u8> = (0..COUNT).flat_map(|number| numbered(V3, "paced", number, 10)).collect();
    let mut bystander = net.client(V5, "bystander");
    let elapsed = std::thread::scope(|scope| {
        scope.spawn(|| (0..100).for_each(|_| bystander.ping()));
        time_to_handle(&mut sender, &mut receiver, &messages, COUNT)
    });
    // 200 pass at once, and 400 at 200 a second.
    assert!(elapsed > Duration::from_millis(1_900), "{COUNT} messages in {elapsed:?}");
    assert_eq!(net.broker.stats().messages_dropped, 0);
}

#[test]
fn a_client_that_sends_more_bytes_than_it_may_is_slowed_down_and_nothing_is_lost() {
    // Short packets, long ones, and both alternately.
    for lens in [[1_000, 1_000], [150_000, 150_000], [1_000, 100_000]] {
        let net = Net::start(1, PATIENT.with(|limits| limits.bytes_per_s_max = 200_000));
        let (mut sender, mut receiver) = pair(&net);
        let mut messages = Vec::new();
        let mut count = 0;
        while messages.len() < 400_000 {
            messages.extend(numbered(V3, "paced", count, lens[count as usize % 2]));
            count += 1;
        }
        let elapsed = time_to_handle(&mut sender, &mut receiver, &messages, count);
        assert!(elapsed > Duration::from_millis(900), "packets of {lens:?} bytes in {elapsed:?}");
        assert_eq!(net.broker.stats().messages_dropped, 0);
    }
}

#[test]
fn a_client_that_is_within_its_limits_is_not_slowed_down() {
    let limits = PATIENT.with(|limits| {
        limits.messages_per_s_max = 1;
        limits.bytes_per_s_max = 1_000_000;
    });
    let net = Net::start(1, limits);
    let mut client = net.client(V5, "client");
    (0..200).for_each(|_| client.ping());
}

#[test]
fn a_rate_limited_client_has_no_keep_alive_timeout() {
    let net = Net::start(1, PATIENT.with(|limits| limits.bytes_per_s_max = 20_000));
    let mut sender = net.open(V3);
    sender.send(&connect(V3, "sender", 1, &[]));
    assert!(sender.packet().starts_with(&[0x20]));
    // The debt lasts for two seconds, longer than the tolerated silence.
    sender.send(&publish(V3, "paced", &[0; 60_000]));
    sender.ping();
}

#[test]
fn messages_of_a_rate_limited_client_arrive_after_it_has_disconnected() {
    const COUNT: u32 = 60;
    let net = Net::start(1, PATIENT.with(|limits| limits.messages_per_s_max = 40));
    let (mut sender, mut receiver) = pair(&net);
    let messages: Vec<u8> = (0..COUNT).flat_map(|number| numbered(V3, "paced", number, 10)).collect();
    sender.send(&messages);
    drop(sender);
    (0..COUNT).for_each(|number| assert_eq!(receiver.number(), number));
}

#[test]
fn a_rate_that_is_set_later_counts_for_the_connections_to_come() {
    let net = Net::start(1, PATIENT);
    let (mut sender, mut receiver) = pair(&net);
    let slow = PATIENT.with(|limits| {
        limits.messages_per_s_max = 200;
        // No limit for connections to come.
        limits.inflight_count_max = 1;
    });
    assert_eq!(net.broker.control().set_limits(&slow), Ok(vec!["messages-per-s-max"]));
    assert_eq!(net.broker.control().set_limits(&slow), Ok(Vec::new()));
    let messages: Vec<u8> = (0..1_000).flat_map(|number| numbered(V3, "paced", number, 10)).collect();
    // At 200 a second it would take four seconds.
    let elapsed = time_to_handle(&mut sender, &mut receiver, &messages, 1_000);
    assert!(elapsed < Duration::from_millis(3_900), "the sender from before is not slowed down: {elapsed:?}");
    let mut sender = net.client(V3, "later");
    let messages: Vec<u8> = (0..400).flat_map(|number| numbered(V3, "paced", number, 10)).collect();
    let elapsed = time_to_handle(&mut sender, &mut receiver, &messages, 400);
    assert!(elapsed > Duration::from_millis(900), "400 messages in {elapsed:?}");
    let wrong = PATIENT.with(|limits| limits.connections_count_max = 0);
    assert!(net.broker.control().set_limits(&wrong).is_err());
}
