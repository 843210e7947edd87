//! A receiver whose queue is full for longer than --stall-ms-max, and --stall-policy applies. Other receivers lose no
//! message, and do not wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::raw::{Bystanders, RawClient};
use wisp_e2e::wait::wait_until;

use crate::flood::{END_TOPIC, FLOOD_FILTER, Flood, Tally};

const SENDERS: usize = 2;
const MESSAGES_EACH: u64 = 32 << 10;

/// The queue of a receiver that reads holds more than what arrives while its thread does not run for a moment.
fn flags(policy: &str) -> [&str; 6] {
    ["--stall-ms-max", "500", "--stall-policy", policy, "--queue-bytes-max", "4194304"]
}

fn subscriber(addr: SocketAddr, client_id: &str) -> RawClient {
    let mut client = RawClient::connect(addr, Version::V5, client_id);
    client.subscribe(&[FLOOD_FILTER]);
    client
}

/// Runs a flood to a receiver that reads and to a stuck one, and returns the stuck one.
fn flood_past_a_stuck_receiver(broker: &Broker) -> RawClient {
    let stuck = subscriber(broker.addr(), "stuck");
    let mut alive = subscriber(broker.addr(), "alive");
    let reader = thread::spawn(move || {
        Tally::read_all(&mut alive, SENDERS, MESSAGES_EACH);
        alive
    });
    let flood = Flood::start(broker.addr(), SENDERS, MESSAGES_EACH);
    flood.finish();
    reader.join().expect("the receiver that reads gets everything in order").ping();
    stuck
}

/// Reads all remaining messages of a receiver, on a thread, while end markers are published until one arrives.
fn read_to_end(addr: SocketAddr, mut client: RawClient) -> (Tally, RawClient) {
    publish_the_end(addr, thread::spawn(move || (Tally::read_to_end(&mut client, SENDERS), client)))
}

/// Publishes end markers until the reader has got one.
fn publish_the_end<T>(addr: SocketAddr, reader: JoinHandle<T>) -> T {
    let mut publisher = RawClient::connect(addr, Version::V5, "end of the flood");
    wait_until("the end marker at a receiver", || {
        publisher.publish(END_TOPIC, b"");
        thread::sleep(Duration::from_millis(50));
        reader.is_finished()
    });
    reader.join().expect("messages arrive in order")
}

#[test]
fn with_the_policy_drop_a_stuck_receiver_loses_messages_that_are_counted() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&flags("drop"));
    let mut bystanders = Bystanders::connect(broker.addr(), "drop");
    let stuck = flood_past_a_stuck_receiver(&broker);
    bystanders.round_trip();

    let (tally, mut revived) = read_to_end(broker.addr(), stuck);
    assert!(!tally.disconnected, "the policy is to drop messages, not the receiver");
    assert!(tally.received > 0 && tally.received < SENDERS as u64 * MESSAGES_EACH, "{} came", tally.received);
    let line = broker.wait_log("drop");
    assert!(line.chars().any(|letter| letter.is_ascii_digit()), "the log counts dropped messages: {line}");

    // A receiver that reads again is no longer stuck. End markers may still be in transit.
    revived.send(wisp_e2e::packet::PINGREQ);
    while revived.read_packet().kind() != wisp_e2e::packet::kind::PINGRESP {}
    let mut sender = RawClient::connect(broker.addr(), Version::V311, "sender");
    sender.publish("flood/after", b"welcome back");
    while revived.read_packet().publish(Version::V5) != ("flood/after", b"welcome back") {}
}

#[test]
fn with_the_policy_disconnect_a_stuck_receiver_is_disconnected() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&flags("disconnect"));
    let mut bystanders = Bystanders::connect(broker.addr(), "disconnect");
    let stuck = flood_past_a_stuck_receiver(&broker);
    bystanders.round_trip();

    let (tally, _) = read_to_end(broker.addr(), stuck);
    assert!(tally.disconnected, "the connection of a stuck receiver ends");
    broker.wait_log("stuck");
    // It may reconnect.
    let mut back = subscriber(broker.addr(), "stuck");
    let mut sender = RawClient::connect(broker.addr(), Version::V311, "sender");
    sender.publish("flood/after", b"welcome back");
    assert_eq!(back.read_message("flood/after"), b"welcome back");
}

#[test]
fn a_receiver_that_reads_slowly_does_not_set_the_pace_of_the_others() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&flags("drop"));
    let mut slow = subscriber(broker.addr(), "slow");
    let is_over = Arc::new(AtomicBool::new(false));
    let reader = {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || {
            Tally::read_to_end_with(&mut slow, SENDERS, |received| {
                // 640 KiB a second. The flood would take longer than a test may wait.
                if received.is_multiple_of(64) && !is_over.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(100));
                }
            })
        })
    };
    drop(flood_past_a_stuck_receiver(&broker));
    is_over.store(true, Ordering::Relaxed);
    let tally = publish_the_end(broker.addr(), reader);
    assert!(!tally.disconnected && tally.received > 0);
    assert!(tally.received < SENDERS as u64 * MESSAGES_EACH, "it has not kept up");
}
