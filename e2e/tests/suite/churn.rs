//! Closed connections leave nothing behind.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::packet::DISCONNECT;
use wisp_e2e::raw::{Bystanders, RawClient};
use wisp_e2e::wait::wait_until;

const CONNECTIONS: usize = 100;
const ROUNDS: usize = 100;
const WARM_UP_ROUNDS: usize = 10;

/// Memory that allocators and runtimes may keep after 9,000 connections, less than 1 KiB for each.
const MEMORY_MARGIN_BYTES: u64 = 8 << 20;

#[test]
fn connections_opened_and_closed_leave_no_descriptor_and_no_memory_behind() {
    let broker = Broker::start();
    let mut bystanders = Bystanders::connect(broker.addr(), "churn");
    let descriptors = broker.descriptors();
    for round in 0..WARM_UP_ROUNDS {
        open_and_close(&broker, round);
    }
    settle(&broker, descriptors);
    let resident_bytes = broker.resident_bytes();

    for round in WARM_UP_ROUNDS..ROUNDS {
        open_and_close(&broker, round);
    }
    settle(&broker, descriptors);
    wait_until("memory that is freed", || broker.resident_bytes() < resident_bytes + MEMORY_MARGIN_BYTES);
    bystanders.round_trip();
}

/// Opens connections that use every feature of a session. Half of them disconnect, the others are just closed.
fn open_and_close(broker: &Broker, round: usize) {
    let mut clients: Vec<RawClient> = (0..CONNECTIONS)
        .map(|number| {
            let version = Version::ALL[number % Version::ALL.len()];
            RawClient::connect(broker.addr(), version, &format!("churn {round} {number}"))
        })
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.subscribe(&["churn/all", &format!("churn/{round}/{number}/+")]);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        // Only the first publishes to all: that is 100 messages, not 10,000.
        let topic = if number == 0 { "churn/all".to_owned() } else { format!("churn/{round}/{number}/x") };
        client.publish(&topic, &[0; 100]);
    }
    for client in clients.iter_mut().step_by(2) {
        client.send(DISCONNECT);
    }
}

fn settle(broker: &Broker, descriptors: usize) {
    wait_until("descriptors that are closed", || broker.descriptors() <= descriptors);
    assert_eq!(broker.descriptors(), descriptors, "the broker closed something of its own");
}
