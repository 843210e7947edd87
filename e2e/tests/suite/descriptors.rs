//! The limit on open descriptors of the native broker: raised at the start, and survived when it is reached.

use std::net::TcpStream;
use std::process::Stdio;

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::host::Host;
use wisp_e2e::raw::{Incoming, RawClient};
use wisp_e2e::wait::wait_for;

fn is_native() -> bool {
    Host::current() == Host::Native
}

/// Connects, if the broker lets it.
fn try_connect(broker: &Broker, id: &str) -> Option<RawClient> {
    let mut client = RawClient::open(broker.addr(), Version::V311);
    client.try_send(&wisp_e2e::packet::Connect::new(Version::V311, id).encode()).ok()?;
    matches!(client.read(), Incoming::Packet(_)).then_some(client)
}

#[test]
fn the_soft_limit_on_descriptors_is_raised_at_the_start() {
    if !is_native() {
        return;
    }
    let broker = Broker::start_after("ulimit -Sn 64", &["--connections-max", "300"]);
    let mut clients: Vec<RawClient> =
        (0..200).map(|number| try_connect(&broker, &number.to_string()).expect("there is room")).collect();
    clients.iter_mut().for_each(RawClient::ping);
    assert!(!broker.log().iter().any(|line| line.contains("cannot be reached")), "{:?}", broker.log());
}

#[test]
fn without_descriptors_new_clients_are_closed_at_once_and_the_log_says_why() {
    if !is_native() {
        return;
    }
    let broker = Broker::start_after("ulimit -n 64", &["--workers", "1"]);
    broker.wait_log("connections-max cannot be reached");
    let mut clients = Vec::new();
    // Each attempt is answered or closed, none waits.
    while let Some(client) = try_connect(&broker, &clients.len().to_string()) {
        clients.push(client);
        assert!(clients.len() < 64);
    }
    assert!(clients.len() > 32, "{}", clients.len());
    for _ in 0..300 {
        assert!(try_connect(&broker, "one too many").is_none());
    }
    broker.wait_log("the host cannot accept a connection");
    assert_eq!(broker.log().iter().filter(|line| line.contains("cannot accept")).count(), 1, "{:?}", broker.log());
    clients.iter_mut().for_each(RawClient::ping);
    clients.truncate(16);
    clients.extend((0..8).map(|number| wait_for("a descriptor", || try_connect(&broker, &format!("later {number}")))));
    clients.iter_mut().for_each(RawClient::ping);
}

#[test]
fn a_log_that_nobody_reads_stops_no_client() {
    if !is_native() {
        return;
    }
    let addr = free_addr();
    let mut command = Host::current().command(addr, &["--log", "debug"]);
    // The pipe is never read.
    let mut broker = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it was built");
    wait_for("the broker to listen", || TcpStream::connect(addr).ok());
    // Each subscription has a line as long as its filter, so these are more than a pipe and the buffer of the log hold.
    let mut client = RawClient::connect(addr, Version::V5, "talkative");
    for number in 0..100 {
        let filter = format!("{number}{}", "x".repeat(30_000));
        assert_eq!(client.subscribe_code(&filter, 0), 0);
        client.unsubscribe(&[&filter]);
    }
    client.ping();
    broker.kill().expect("it runs");
    let output = broker.wait_with_output().expect("it was started here");
    assert!(!output.stderr.is_empty(), "it has written to the log");
}
