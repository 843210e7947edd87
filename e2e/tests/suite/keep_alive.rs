//! Keep-alive: a client that is silent for one and a half times as long is disconnected.

use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, publish};
use wisp_e2e::raw::{Bystanders, RawClient};

const SERVER_KEEP_ALIVE: u8 = 0x13;
const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;

fn connect(broker: &Broker, version: Version, client_id: &str, keep_alive_s: u16) -> RawClient {
    let mut client = RawClient::open(broker.addr(), version);
    client.send(&Connect { keep_alive_s, ..Connect::new(version, client_id) }.encode());
    assert_eq!(client.read_packet().conn_ack(version).code, 0);
    client
}

#[test]
fn a_silent_client_is_dropped_after_one_and_a_half_times_its_keep_alive() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let mut bystanders = Bystanders::connect(broker.addr(), "silence");
    let mut silent = Version::ALL.map(|version| {
        let client = connect(&broker, version, &format!("silent {version:?}"), 1);
        (client, Instant::now())
    });
    for (client, connected) in &mut silent {
        client.expect_disconnect(KEEP_ALIVE_TIMEOUT);
        // The broker's clock started a little earlier than this one.
        assert!(connected.elapsed() > Duration::from_millis(1300), "dropped after {:?}", connected.elapsed());
    }
    bystanders.round_trip();
}

#[test]
fn a_client_that_pings_or_publishes_stays() {
    let broker = Broker::start();
    let mut pinging = connect(&broker, Version::V311, "pinging", 2);
    let mut publishing = connect(&broker, Version::V5, "publishing", 2);
    let mut receiving = connect(&broker, Version::V5, "keep-alive is off", 0);
    receiving.subscribe(&["beat"]);
    let message = publish(Version::V5, "beat", b"");
    // The longest silence is a quarter of the allowed one; all together are twice as much.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(6) {
        pinging.ping();
        publishing.send(&message);
        assert_eq!(receiving.read_message("beat"), b"");
        assert_eq!(receiving.read_within(Duration::from_millis(750)), None, "nothing else comes");
    }
}

#[test]
fn the_limit_on_keep_alive_is_announced_and_enforced() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&["--keep-alive-s-max", "1"]);
    let mut client = RawClient::open(broker.addr(), Version::V5);
    client.send(&Connect { keep_alive_s: 600, ..Connect::new(Version::V5, "patient") }.encode());
    let answer = client.read_packet().conn_ack(Version::V5);
    assert_eq!((answer.code, answer.number(SERVER_KEEP_ALIVE)), (0, Some(1)));
    client.expect_disconnect(KEEP_ALIVE_TIMEOUT);
}
