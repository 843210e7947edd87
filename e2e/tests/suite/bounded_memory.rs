//! Back-pressure: receivers that do not read cost neither memory nor messages, and do not affect other clients.

use std::thread;
use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{publish, variable_integer};
use wisp_e2e::raw::{Bystanders, Incoming, RawClient};
use wisp_e2e::wait::wait_until;

use crate::flood::{FLOOD_FILTER, Flood, Tally};

const SENDERS: usize = 4;
const MESSAGES_EACH: u64 = 32 << 10;

/// One and a half times the queues and output buffers of this many connections, and a small part of the 256 MiB
/// that the senders offer to the two receivers.
const GROWTH_BYTES_MAX: u64 = 32 << 20;

/// How long the receivers do not read after all traffic has stopped.
const STANDSTILL: Duration = Duration::from_secs(3);

#[test]
fn receivers_that_do_not_read_cost_no_memory_and_lose_nothing() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&["--queue-bytes-max", "1048576", "--stall-ms-max", "600000"]);
    let mut bystanders = Bystanders::connect(broker.addr(), "flood");
    bystanders.round_trip();
    let receivers = [Version::V311, Version::V5].map(|version| {
        let mut client = RawClient::connect(broker.addr(), version, &format!("receiver {version:?}"));
        client.subscribe(&[FLOOD_FILTER]);
        client
    });
    let before = broker.resident_bytes();
    let flood = Flood::start(broker.addr(), SENDERS, MESSAGES_EACH);
    let sent = flood.wait_until_it_stops();

    let start = Instant::now();
    let mut round_trips = 0;
    while start.elapsed() < STANDSTILL {
        bystanders.round_trip();
        RawClient::connect(broker.addr(), Version::V311, "newcomer").ping();
        round_trips += 1;
        let growth = broker.resident_bytes().saturating_sub(before);
        assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more after {sent} messages");
    }
    // Even on a busy machine there should be ten times as many.
    assert!(round_trips > 10, "only {round_trips} round trips in {STANDSTILL:?}");

    let readers = receivers.map(|mut receiver| {
        thread::spawn(move || {
            Tally::read_all(&mut receiver, SENDERS, MESSAGES_EACH);
            receiver
        })
    });
    for reader in readers {
        reader.join().expect("every message arrives, once and in order").ping();
    }
    flood.finish();
    bystanders.round_trip();
}

#[test]
fn a_full_queue_holds_senders_back_by_bytes() {
    a_full_queue_holds_senders_back(&["--queue-bytes-max", "65536", "--packet-bytes-max", "65536"]);
}

#[test]
fn a_full_queue_holds_senders_back_by_messages() {
    a_full_queue_holds_senders_back(&["--queue-messages-max", "10"]);
}

fn a_full_queue_holds_senders_back(limit: &[&str]) {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&[limit, &["--stall-ms-max", "600000"]].concat());
    let mut receiver = RawClient::connect(broker.addr(), Version::V5, "receiver");
    receiver.subscribe(&[FLOOD_FILTER]);
    let flood = Flood::start(broker.addr(), 2, MESSAGES_EACH);
    flood.wait_until_it_stops();
    Tally::read_all(&mut receiver, 2, MESSAGES_EACH);
    flood.finish();
}

#[test]
fn a_packet_that_is_only_announced_takes_no_memory() {
    const CONNECTIONS: usize = 50;
    let broker = Broker::start();
    let mut bystanders = Bystanders::connect(broker.addr(), "announced");
    bystanders.round_trip();
    let before = broker.resident_bytes();
    // Just below the default of --packet-bytes-max; together they announce 750 MiB.
    let announced = [&[0x30][..], &variable_integer(15 << 20), &[0, 5], b"topic", &[0; 100]].concat();
    let mut clients: Vec<RawClient> = (0..CONNECTIONS)
        .map(|number| {
            let mut client = RawClient::connect(broker.addr(), Version::V311, &format!("announces {number}"));
            client.send(&announced);
            client
        })
        .collect();
    // By then the broker has read the earlier bytes.
    for _ in 0..100 {
        bystanders.round_trip();
    }
    let growth = broker.resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes for {CONNECTIONS} announced packets");
    clients.clear();
    bystanders.round_trip();
}

#[test]
fn packets_that_never_end_cannot_take_more_than_the_limit_on_all_buffers() {
    const CONNECTIONS: usize = 40;
    const PIECE: usize = 4 << 20;
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&["--buffered-bytes-max", "16777216"]);
    let mut bystanders = Bystanders::connect(broker.addr(), "endless");
    bystanders.round_trip();
    let before = broker.resident_bytes();
    // Half a packet each, 160 MiB together.
    let half = [&[0x30][..], &variable_integer(2 * PIECE), &[0, 5], b"topic", &[0], &vec![0; PIECE]].concat();
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        let mut client = RawClient::connect(broker.addr(), Version::V5, &format!("endless {number}"));
        // The broker may close the connection in the middle.
        drop(client.try_send(&half));
        bystanders.round_trip();
        let growth = broker.resident_bytes().saturating_sub(before);
        assert!(growth < GROWTH_BYTES_MAX + (16 << 20), "{growth} bytes for {number} halves of packets");
        clients.push(client);
    }
    // Four halves fill the buffers and a fifth may be in transit; the others are refused: Quota exceeded.
    wait_until("an end to all packets but five", || {
        clients.retain_mut(|client| match client.read_within(Duration::from_millis(1)) {
            None => true,
            Some(Incoming::Packet(packet)) => {
                assert_eq!(packet.disconnect_code(), 0x97);
                false
            }
            Some(Incoming::Closed) => panic!("a client was disconnected without a reason"),
        });
        clients.len() <= 5
    });
    drop(clients);
    // There is room again for clients that complete their packets.
    let mut receiver = RawClient::connect(broker.addr(), Version::V311, "receiver");
    receiver.subscribe(&["long"]);
    let long = vec![7; PIECE];
    wait_until("a long packet that gets through", || {
        let mut sender = RawClient::connect(broker.addr(), Version::V311, "sender");
        sender.try_send(&publish(Version::V311, "long", &long)).is_ok()
            && matches!(receiver.read_within(Duration::from_secs(1)), Some(Incoming::Packet(_)))
    });
}
