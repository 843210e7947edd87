//! Connections whose CONNECT does not come: how many there may be, and how much they may hold.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::host::{Ability, Host, cannot};
use wisp_e2e::packet::Connect;
use wisp_e2e::raw::{Bystanders, RawClient};

#[test]
fn of_too_many_silent_connections_the_oldest_are_closed() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&["--unauthenticated-max", "8", "--workers", "1"]);
    let mut bystanders = Bystanders::connect(broker.addr(), "silence");
    let mut silent: Vec<RawClient> = (0..20).map(|_| RawClient::open(broker.addr(), Version::V5)).collect();
    for client in &mut silent[..12] {
        assert_eq!(client.read_to_close(), []);
    }
    broker.wait_log("unauthenticated-max");
    for (number, client) in silent[12..].iter_mut().enumerate() {
        client.send(&Connect::new(Version::V5, &format!("late {number}")).encode());
        assert_eq!(client.read_packet().conn_ack(Version::V5).code, 0);
    }
    bystanders.round_trip();
}

#[test]
fn an_address_may_have_only_so_many_silent_connections() {
    // The only host that tells no addresses.
    if cannot(Ability::Wisp) || Host::current() == Host::Wasmtime {
        return;
    }
    let broker = Broker::start_with(&["--unauthenticated-per-address-max", "3", "--workers", "1"]);
    let mut silent: Vec<RawClient> = (0..3).map(|_| RawClient::open(broker.addr(), Version::V5)).collect();
    let mut one_too_many = RawClient::open(broker.addr(), Version::V5);
    assert_eq!(one_too_many.read_to_close(), []);
    broker.wait_log("unauthenticated-per-address-max");
    for (number, client) in silent.iter_mut().enumerate() {
        client.send(&Connect::new(Version::V5, &format!("late {number}")).encode());
        assert_eq!(client.read_packet().conn_ack(Version::V5).code, 0);
    }
    RawClient::connect(broker.addr(), Version::V311, "room again").ping();
}

#[test]
fn unfinished_connects_are_bounded_in_bytes() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&["--unauthenticated-bytes-max", "100000", "--workers", "1"]);
    let connect = Connect::new(Version::V5, &"x".repeat(50_000)).encode();
    let mut slow: Vec<RawClient> = Vec::new();
    for _ in 0..5 {
        let mut client = RawClient::open(broker.addr(), Version::V5);
        client.send(&connect[..40_000]);
        slow.push(client);
    }
    assert_eq!(slow[0].read_to_close(), []);
    broker.wait_log("unauthenticated-bytes-max");
    RawClient::connect(broker.addr(), Version::V311, "quick").ping();
}
